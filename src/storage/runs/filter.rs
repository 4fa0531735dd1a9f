//! A blocked Bloom filter: a bit in each of the eight words of one cache line for each key, so that a question costs one memory access.
//!
//! After Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters" (2007); a bit for each word, so that no answer
//! depends on the one before it, as in Apache Parquet's "split block" filter. 28 bits a key answer wrongly about once in 30,000. A
//! plain Bloom filter would need fewer bits and eight accesses.

use std::sync::atomic::{AtomicU64, Ordering};

const BITS_A_KEY: u64 = 28;
const BLOCK_WORDS: usize = 8;

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

    fn block(&self, hash: u64) -> &[AtomicU64] {
        let blocks = (self.words.len() / BLOCK_WORDS) as u128;
        let at = ((u128::from(hash) * blocks) >> 64) as usize * BLOCK_WORDS;
        &self.words[at..at + BLOCK_WORDS]
    }

    /// Six bits for each word, from a second mix of the hash: the first chose the block.
    fn mixed(hash: u64) -> u64 {
        let mixed = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 29
    }

    /// Only one may insert at a time: the start, and then the sealer. Whoever asks meanwhile finds a key whole, or not yet.
    pub(crate) fn insert_all(&self, hashes: impl Iterator<Item = u64>) {
        let inserted = hashes.map(|hash| self.insert(hash)).count() as u64;
        self.inserted.fetch_add(inserted, Ordering::Relaxed);
    }

    fn insert(&self, hash: u64) {
        let mixed = Filter::mixed(hash);
        for (at, word) in self.block(hash).iter().enumerate() {
            let bit = 1 << (mixed >> (6 * at) & 63);
            word.store(word.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
        }
    }

    /// Looks at all words whatever the first ones say: a guess that fails costs more than they do, and who asks for many hashes has
    /// the next one's line fetched meanwhile.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let mixed = Filter::mixed(hash);
        let words = self.block(hash).iter().enumerate();
        let all = words.fold(1, |all, (at, word)| {
            all & word.load(Ordering::Relaxed) >> (mixed >> (6 * at) & 63)
        });
        all & 1 == 1
    }

    pub(crate) fn bytes(&self) -> usize {
        self.words.len() * 8
    }
}
