//! A blocked Bloom filter: a bit in each of the sixteen words of two neighbouring cache lines for each key. A new key is told by the first
//! line as a rule, so that a question costs one memory access.
//!
//! After Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters" (2007); a bit for each word, so that no answer
//! depends on the one before it, as in Apache Parquet's "split block" filter. 28 bits a key answer wrongly about once in 150,000: with
//! blocks of one line it was once in 30,000, since some lines get many more keys than others, and each wrong answer reads a row of every
//! run behind the filter. A plain Bloom filter would need fewer bits and nineteen accesses.

use std::sync::atomic::{AtomicU64, Ordering};

const BITS_A_KEY: u64 = 28;
/// Words of a cache line.
const LINE: usize = 8;
const BLOCK_WORDS: usize = 2 * LINE;

/// Says of a hash that it was surely never inserted, or that it may have been.
pub(crate) struct Filter {
    words: Box<[AtomicU64]>,
    keys: u64,
    inserted: AtomicU64,
}

impl Filter {
    /// A filter for about that many keys.
    pub(crate) fn new(keys: u64) -> Filter {
        let blocks = (keys * BITS_A_KEY).div_ceil(64 * BLOCK_WORDS as u64).max(1) as usize;
        Filter {
            words: (0..blocks * BLOCK_WORDS).map(|_| AtomicU64::new(0)).collect(),
            keys,
            inserted: AtomicU64::new(0),
        }
    }

    /// Whether so many more keys are as many as it is for, or fewer.
    pub(crate) fn has_room(&self, more: u64) -> bool {
        self.inserted.load(Ordering::Relaxed) + more <= self.keys
    }

    /// The two lines of a hash.
    fn block(&self, hash: u64) -> (&[AtomicU64], &[AtomicU64]) {
        let blocks = (self.words.len() / BLOCK_WORDS) as u128;
        let at = ((u128::from(hash) * blocks) >> 64) as usize * BLOCK_WORDS;
        self.words[at..at + BLOCK_WORDS].split_at(LINE)
    }

    /// Six bits for each word of a line, from further mixes of the hash: the first bits of it chose the block.
    fn mixed(hash: u64) -> [u64; 2] {
        let mix = |of: u64, by: u64| {
            let mixed = (of ^ of >> 32).wrapping_mul(by);
            mixed ^ mixed >> 29
        };
        let near = mix(hash, 0x9e37_79b9_7f4a_7c15);
        [near, mix(near, 0xd6e8_feb8_6659_fd93)]
    }

    /// Only one may insert at a time: the start, and then the sealer. Whoever asks meanwhile finds a key whole, or not yet.
    pub(crate) fn insert_all(&self, hashes: impl Iterator<Item = u64>) {
        let inserted = hashes.map(|hash| self.insert(hash)).count() as u64;
        self.inserted.fetch_add(inserted, Ordering::Relaxed);
    }

    fn insert(&self, hash: u64) {
        let ([near, far], lines) = (Filter::mixed(hash), self.block(hash));
        for (line, mixed) in [(lines.0, near), (lines.1, far)] {
            for (at, word) in line.iter().enumerate() {
                word.store(word.load(Ordering::Relaxed) | bit(mixed, at), Ordering::Relaxed);
            }
        }
    }

    /// Has the processor fetch what the questions after these hashes will look at first: in a loop that does nothing else, many more of
    /// them are underway at a time.
    pub(crate) fn bring(&self, hashes: &[u64]) {
        let first = |hash: &u64| self.block(*hash).0[0].load(Ordering::Relaxed);
        std::hint::black_box(hashes.iter().fold(0, |seen, hash| seen ^ first(hash)));
    }

    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let ([near, far], lines) = (Filter::mixed(hash), self.block(hash));
        has_all(lines.0, near) && has_all(lines.1, far)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.words.len() * 8
    }
}

fn bit(mixed: u64, at: usize) -> u64 {
    1 << (mixed >> (6 * at) & 63)
}

/// Looks at all words whatever the first ones say: a guess that fails costs more than they do, and who asks for many hashes has the next
/// one's line fetched meanwhile.
fn has_all(line: &[AtomicU64], mixed: u64) -> bool {
    let missing = |(at, word): (usize, &AtomicU64)| !word.load(Ordering::Relaxed) & bit(mixed, at);
    line.iter().enumerate().fold(0, |all, word| all | missing(word)) == 0
}
