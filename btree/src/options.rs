//! How a tree is opened, and what is told about it then.

use crate::format::{BLOCK_BYTES, FIRST_FREE_BLOCK};
use crate::{Corruption, OpenError};

/// How a file is created or opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Identity of the store, written into the file and compared at open.
    pub owner: [u8; 16],
    /// Address space to reserve for the file, in bytes, and with it the largest size that the file
    /// may have. Costs nothing but numbers of pages until it is used. Default: 64 GiB.
    pub map_bytes: u64,
    /// Free bytes, backed by the disk, below which growth is refused, so that checkpoints, deletes
    /// and sweeps can go on when the disk is full. This is the most: a file that uses less than 32
    /// times as much holds a 32nd of what it uses back, but at least 4 MiB. Twice the largest
    /// checkpoint of late is held back if that is more. Default: 64 MiB.
    pub reserve_bytes: u64,
}

impl Options {
    /// The default options for a store of this identity.
    #[must_use]
    pub fn new(owner: [u8; 16]) -> Options {
        Options { owner, map_bytes: 64 << 30, reserve_bytes: 64 << 20 }
    }

    /// Checks that the options make sense.
    ///
    /// # Errors
    ///
    /// [`OpenError::Options`] says which does not.
    pub fn validate(&self) -> Result<(), OpenError> {
        let least = u64::from(FIRST_FREE_BLOCK + 16) * BLOCK_BYTES as u64;
        if self.map_bytes < least {
            return Err(OpenError::Options("map_bytes leaves no room for an empty tree"));
        }
        if self.map_bytes / BLOCK_BYTES as u64 > u64::from(u32::MAX) {
            return Err(OpenError::Options("map_bytes is more than a file can have, 16 TiB"));
        }
        if self.reserve_bytes > self.map_bytes / 2 {
            return Err(OpenError::Options("reserve_bytes is more than half of map_bytes"));
        }
        Ok(())
    }
}

/// What was found when a tree was opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The number of the checkpoint whose state the tree has; they are counted from 1.
    pub sequence: u64,
    /// True if one of the two roots, or what was written with the newest, is not intact, and the
    /// tree has the state of the other: after a crash the broken one was being written; otherwise
    /// acknowledged state may have been lost.
    pub fell_back: bool,
    /// What was wrong, if the tree fell back.
    pub damage: Option<Corruption>,
}
