//! A segmented, checksummed write-ahead log of opaque entries.
//!
//! Entries have consecutive indexes. What [`Wal::append`] was given is durable when it returns;
//! what follows a wrong turn is removed by [`Wal::truncate_suffix`], what is no longer needed by
//! [`Wal::release_prefix`], everything by [`Wal::reset`]. After a crash, [`Wal::open`] finds all
//! that was acknowledged, and each call that was cut short has happened or not, as a whole.
//!
//! The crate does not know what an entry means, nor terms, votes or replicas; it has no threads and
//! no clock. It sees files through [`revd_disk`] only, so that its tests can cut the power at every
//! step.
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//! use revd_disk::Sim;
//! use revd_wal::{Options, Wal};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = Sim::new(1);
//! let (wal, _) = Wal::open(Arc::new(disk.clone()), Path::new("/log"), Options::default())?;
//! wal.append(1, &["one", "two", "three"])?;
//! wal.truncate_suffix(3)?;
//!
//! disk.crash(2);
//! let (wal, recovery) = Wal::open(Arc::new(disk), Path::new("/log"), Options::default())?;
//! assert_eq!((recovery.first, recovery.last), (1, 2));
//! assert_eq!(wal.read(1, 2, 1000)?, [b"one", b"two"]);
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! `FORMAT.md` tells the bytes and why they survive. In short: each append is one *batch*, which
//! starts on a fresh block and is written past the page cache, synchronously, to a place where
//! there are zeros already, so that one write is all it costs. A block that was acknowledged is
//! never written again. Checksums are chained from entry to entry and over segments, and salted by
//! the segment, so that whatever an earlier use of the file has left behind is no part of the log.
//!
//! # The end of a log
//!
//! A log ends in one of three ways, and they are never confused. A *clean end* is where nothing
//! follows the last batch. A *torn* batch is one that was not durable when the power failed; since
//! at most one batch is un-synced at a time, nothing follows it either, and it is left out. Where a
//! batch is damaged and a later one can be found, there was no crash but *corruption*, and the log
//! does not open: to cut off acknowledged entries is not for this crate to decide.
//!
//! # Reading order
//!
//! `format` (the bytes), `walk` (what is valid), `wal` (the calls), then `append`, `pool` (files to
//! come and to go), `recover`, `index` and `replay`.

mod format;
mod walk;
mod window;

mod append;
mod group;
mod index;
mod pool;
mod segment;
mod wal;

mod inspect;
mod recover;
mod replay;
mod sealed;

mod error;
mod options;

pub use error::{Corruption, Error, OpenError};
pub use format::BatchKind;
pub use inspect::{Part, inspect};
pub use options::{InvalidOptions, Options};
pub use recover::{End, Recovery};
pub use replay::Replay;
pub use wal::{Stats, Verified, Wal};

/// The examples of the front page compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
