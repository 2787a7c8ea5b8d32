//! What is stored: keys, and bytes that do not compress.

/// A key, by its first part; the others are zero. Keys rise from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub u64);

/// Bytes of a key: two numbers of 8 and one of 1.
pub(crate) const KEY_BYTES: usize = 17;

impl Key {
    /// The bytes, which sort as the keys do.
    #[must_use]
    pub(crate) fn bytes(self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        bytes[..8].copy_from_slice(&self.0.to_be_bytes());
        bytes
    }

    /// The key of these bytes.
    #[must_use]
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Key> {
        bytes.first_chunk().map(|main| Key(u64::from_be_bytes(*main)))
    }
}

/// Numbers that look random and repeat from their seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// A sequence of its own for each seed.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Random bytes that records and values are slices of.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    bytes: Vec<u8>,
}

/// Bytes of a pool: few enough to stay in the processor's cache, for every engine alike.
const POOL_BYTES: usize = 256 << 10;

impl Pool {
    /// A pool from which slices of up to `len` bytes are cut.
    #[must_use]
    pub(crate) fn new(len: usize) -> Pool {
        let mut dice = Dice::new(len as u64);
        let words = (POOL_BYTES + len).div_ceil(8);
        Pool { bytes: (0..words).flat_map(|_| dice.roll().to_le_bytes()).collect() }
    }

    /// A slice that is different for each number, most of the time.
    #[must_use]
    pub(crate) fn slice(&self, number: u64, len: usize) -> &[u8] {
        let start = (number.wrapping_mul(509) % POOL_BYTES as u64) as usize;
        &self.bytes[start..start + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_bytes_do() {
        for (low, high) in [(1, 2), (255, 256), (1 << 40, (1 << 40) + 1)] {
            assert!(Key(low).bytes() < Key(high).bytes());
            assert_eq!(Key::from_bytes(&Key(low).bytes()), Some(Key(low)));
        }
    }

    #[test]
    fn slices_have_their_length_and_differ() {
        let pool = Pool::new(300);
        assert_eq!(pool.slice(u64::MAX, 300).len(), 300);
        assert_ne!(pool.slice(1, 300), pool.slice(2, 300));
    }
}
