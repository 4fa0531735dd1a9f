//! Which SKU comes next: all alike, or a few in nearly every basket.
//!
//! Sampled by the alias method (A. J. Walker 1977; M. D. Vose, IEEE Trans. Softw. Eng. 17(9), 1991): one draw costs the same
//! for a thousand SKUs and for a million. Rejected: a search in running sums, twenty cache misses a draw at a million.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

/// A prime above any number of SKUs: it spreads the popular ones over the whole range of ids.
const SPREAD: u64 = 2_147_483_647;

/// A choice of SKUs by weight; shared by all connections.
#[derive(Debug)]
pub struct Picker {
    skus: u32,
    /// For each rank, the chance to stay with it and the rank to go to otherwise; empty when all are alike.
    aliases: Vec<(f32, u32)>,
}

impl Picker {
    /// `skus` SKUs, the one of rank r with weight 1 / r^`zipf`; 0 makes all alike.
    pub fn new(skus: u32, zipf: f64) -> Picker {
        let skus = skus.max(1);
        Picker {
            skus,
            aliases: if zipf > 0.0 { aliases(skus, zipf) } else { Vec::new() },
        }
    }

    /// How many SKUs there are.
    pub fn skus(&self) -> u32 {
        self.skus
    }

    /// The number of the next SKU, from 0.
    pub fn pick(&self, rng: &mut Xoshiro256PlusPlus) -> u32 {
        let drawn = rng.random_range(0..self.skus);
        let Some((stay, other)) = self.aliases.get(drawn as usize) else {
            return drawn;
        };
        let rank = if rng.random::<f32>() < *stay { drawn } else { *other };
        (u64::from(rank) * SPREAD % u64::from(self.skus)) as u32
    }

    /// Several SKUs, no two alike; fewer when there are not so many.
    pub fn pick_distinct(&self, rng: &mut Xoshiro256PlusPlus, count: usize, picked: &mut Vec<u32>) {
        picked.clear();
        while picked.len() < count.min(self.skus as usize) {
            let mut sku = self.pick(rng);
            // A popular one that is in the basket already gives way to its neighbour, so that this always ends.
            while picked.contains(&sku) {
                sku = (sku + 1) % self.skus;
            }
            picked.push(sku);
        }
    }
}

fn aliases(skus: u32, zipf: f64) -> Vec<(f32, u32)> {
    let weights: Vec<f64> = (1..=skus).map(|rank| f64::from(rank).powf(-zipf)).collect();
    let mean = weights.iter().sum::<f64>() / f64::from(skus);
    let mut shares: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
    let (mut rich, mut poor): (Vec<u32>, Vec<u32>) = (0..skus).partition(|rank| shares[*rank as usize] >= 1.0);
    let mut aliases = vec![(1.0, 0); skus as usize];
    while let (Some(from), Some(to)) = (rich.last().copied(), poor.pop()) {
        aliases[to as usize] = (shares[to as usize] as f32, from);
        shares[from as usize] -= 1.0 - shares[to as usize];
        if shares[from as usize] < 1.0 {
            rich.pop();
            poor.push(from);
        }
    }
    aliases
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn counts(skus: u32, zipf: f64, draws: usize) -> Vec<usize> {
        let (picker, mut rng) = (Picker::new(skus, zipf), Xoshiro256PlusPlus::seed_from_u64(1));
        let mut counts = vec![0; skus as usize];
        for _ in 0..draws {
            counts[picker.pick(&mut rng) as usize] += 1;
        }
        counts
    }

    #[test]
    fn all_alike_without_a_skew() {
        let counts = counts(10, 0.0, 100_000);
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_skew_of_one_draws_each_rank_by_its_reciprocal() {
        let mut counts = counts(100, 1.0, 500_000);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // The harmonic number of 100 is 5.187: rank 1 gets 19.3 %, rank 2 gets 9.6 %, rank 10 gets 1.9 %.
        for (rank, permille) in [(1, 193), (2, 96), (10, 19)] {
            let seen = counts[rank - 1] * 1_000 / 500_000;
            assert!(
                seen.abs_diff(permille) <= 3,
                "rank {rank}: {seen} of 1,000, expected {permille}"
            );
        }
        assert!(counts.iter().all(|count| *count > 0));
    }

    #[test]
    fn a_basket_has_no_sku_twice() {
        let (picker, mut rng) = (Picker::new(12, 2.0), Xoshiro256PlusPlus::seed_from_u64(3));
        let mut picked = Vec::new();
        for _ in 0..200 {
            picker.pick_distinct(&mut rng, 10, &mut picked);
            let mut sorted = picked.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 10);
        }
    }
}
