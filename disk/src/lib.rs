//! One door to the file system: the real one, and a simulated one with faults.
//!
//! Storage code is only as good as the failures it was tested with. This crate puts everything that
//! a store asks of a file system behind two traits, [`Disk`] and [`File`], and implements them
//! twice: [`Real`] is the operating system (Linux), and [`Sim`] is a disk in memory that forgets
//! whatever was not synced, tears writes at sectors, fills up, rots and fails on demand, all
//! repeatable from a seed. The contract of the traits says what is durable when; `Sim` keeps that
//! contract and nothing beyond it, so code that survives `Sim` asks no more than was promised.
//!
//! The crate knows no file format, no thread, no clock and none of the crates above it.
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//! use revd_disk::{Access, Disk, Error, Open, Sim};
//!
//! /// Replaces a small file so that a crash leaves the old content or the new one.
//! fn replace(disk: &dyn Disk, dir: &Path, content: &[u8]) -> Result<(), Error> {
//!     let (temporary, path) = (dir.join("note.tmp"), dir.join("note"));
//!     let file = disk.open(&temporary, Open::either(Access::Buffered))?;
//!     file.truncate(0)?;
//!     file.write_at(content, 0)?;
//!     file.sync_data()?;
//!     disk.rename(&temporary, &path)?;
//!     disk.sync_dir(dir)
//! }
//!
//! let (sim, dir) = (Sim::new(42), Path::new("/data"));
//! sim.create_dir(dir)?;
//! replace(&sim, dir, b"old")?;
//! // Cut the power in the midst of each step of a replacement.
//! for step in 0..6 {
//!     let disk = sim.fork();
//!     disk.crash_at(disk.operations() + step);
//!     let _ = replace(&disk, dir, b"new");
//!     disk.recover(step);
//!     let mut content = [0; 3];
//!     disk.open(&dir.join("note"), Open::read())?.read_exact_at(&mut content, 0)?;
//!     assert!(&content == b"old" || &content == b"new");
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! # Invariants
//!
//! - A handle that failed to sync never succeeds in writing or syncing again: after a failed sync
//!   the kernel marks the lost pages as clean, so a second sync would report success for nothing.
//! - Mapped and positional reads agree, on both disks.
//! - `unsafe` code exists only in the modules `mapping` (the one unsafe function,
//!   [`Mapping::slice`], and the handler of [`report_bus_errors`]) and `marks` (one system call).

mod disk;
mod file;

mod error;

mod buffer;
mod mapping;
mod marks;

mod real;
mod sim;

pub use buffer::Buffer;
pub use disk::{Access, Create, Disk, Lock, Open};
pub use error::{Error, Kind, Operation};
pub use file::File;
pub use mapping::{Mapping, report_bus_errors};
pub use real::Real;
pub use sim::{Chances, Effect, Fault, Sim, Survivors};

/// The unit of direct writes, in bytes: the page of the machine and the block of the file system.
pub const BLOCK: usize = 4096;

/// What a disk writes as a whole or not at all, in bytes. A disk with larger sectors tears less.
pub const SECTOR: usize = 512;

/// The examples of the front page compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
