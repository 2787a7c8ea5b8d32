//! How a log is kept.

use revd_disk::BLOCK;
use thiserror::Error;

use crate::format::NUMBER_MAX;

/// How a log is kept. Start from [`Options::default`] and change what you need.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Size of a segment file, a multiple of 4096; at least 16 KiB, default 64 MiB. A batch that
    /// does not fit gets a larger segment of its own.
    pub segment_bytes: u64,
    /// Identity of the store that the log belongs to. A log of another store is refused at open,
    /// so that mixed up directories are noticed. Default: zeros.
    pub owner: [u8; 16],
    /// Where salts are drawn from; best a number by chance. Salts tell what is left in recycled
    /// files from what was just written. Default: 0.
    pub salt_seed: u64,
    /// Index of the first entry of a new log, at most 2^62. Ignored if there is a log. Default: 1.
    pub first_index: u64,
    /// How many released segments are kept for reuse; more are removed. Default: 2.
    pub spares_max: usize,
    /// How far ahead of its end [`Wal::upkeep`](crate::Wal::upkeep) fills the log with zeros, the
    /// next segment included. Default: 8 MiB, some hundred milliseconds of appending at full speed.
    pub fill_ahead_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            owner: [0; 16],
            salt_seed: 0,
            first_index: 1,
            spares_max: 2,
            fill_ahead_bytes: 8 << 20,
        }
    }
}

/// The smallest segment: its header and three blocks.
const SEGMENT_BYTES_MIN: u64 = 4 * BLOCK as u64;

impl Options {
    /// Checks that every field is in its range.
    ///
    /// # Errors
    ///
    /// The first field that is not.
    pub fn validate(&self) -> Result<(), InvalidOptions> {
        if self.segment_bytes < SEGMENT_BYTES_MIN
            || !self.segment_bytes.is_multiple_of(BLOCK as u64)
        {
            return Err(InvalidOptions::SegmentBytes { found: self.segment_bytes });
        }
        if self.first_index == 0 || self.first_index > NUMBER_MAX {
            return Err(InvalidOptions::FirstIndex);
        }
        Ok(())
    }
}

/// Options that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidOptions {
    /// The size of a segment is too small or not a multiple of a block.
    #[error("a segment of {found} bytes is not a multiple of {BLOCK} or below {SEGMENT_BYTES_MIN}")]
    SegmentBytes {
        /// The size that was asked for.
        found: u64,
    },
    /// Entries are counted from 1, so that an empty log has a last index, and begin at 2^62 at
    /// most, so that no index overflows.
    #[error("the first index of a log lies between 1 and {NUMBER_MAX}")]
    FirstIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_nonsense_is_not() {
        let options = Options::default();
        assert_eq!(options.validate(), Ok(()));
        for segment_bytes in [0, 4096, 12288, 16385] {
            let options = Options { segment_bytes, ..options.clone() };
            let expected = InvalidOptions::SegmentBytes { found: segment_bytes };
            assert_eq!(options.validate(), Err(expected));
        }
        let options = Options { first_index: 0, ..options };
        assert_eq!(options.validate(), Err(InvalidOptions::FirstIndex));
    }
}
