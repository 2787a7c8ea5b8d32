//! A persistent B+tree file keyed by `(main, sub, kind)`, made for rising revisions.
//!
//! One file holds two kinds of tree, all committed in one root:
//!
//! - the **history**, whose keys only rise: its leaves are filled from the left to the brim and
//!   never change afterwards; records are removed by sweeps alone, which rewrite what is kept into
//!   new full leaves;
//! - sixteen **tables**, ordinary copy-on-write B+trees for small things that change.
//!
//! There is one writer, [`Tree`], and any number of [`Reader`]s on other threads; neither waits for
//! the other, and reads copy nothing. Changes become visible with [`Tree::publish`] and durable
//! with a [`Checkpoint`], which carries a note of the owner's in the same atomic step. Blocking
//! work is a value ([`Checkpoint`], [`Sweep`]) that the owner runs where it likes: this crate knows
//! no thread, no clock, no log, and nothing of what the keys and bytes mean.
//!
//! Every pointer in the file has the checksum of what it points to. Damaged bytes yield
//! [`Error::Corrupt`], never other data than was written, and never a panic.
//!
//! ```
//! use std::sync::Arc;
//! use revd_btree::{Key, Options, Table, Tree};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("tree");
//! let disk = Arc::new(revd_disk::Real::new());
//! let mut tree = Tree::create(disk.clone(), &path, Options::new(*b"an example store"))?;
//! tree.append(Key::new(1, 0, 0), b"name", b"first value")?;
//! tree.put(Table(1), Key::new(7, 0, 0), b"a row")?;
//! tree.publish();
//!
//! let reader = tree.reader();
//! let pin = reader.pin();
//! let record = pin.get(Key::new(1, 0, 0))?.expect("it was published");
//! assert_eq!(record.value()?, b"first value");
//! drop(pin);
//!
//! let checkpoint = tree.checkpoint(b"applied: 1")?.expect("something has changed");
//! let written = checkpoint.write()?; // on any thread
//! tree.checkpointed(written);
//! drop(tree);
//!
//! let (tree, opened) = Tree::open(disk, &path, Options::new(*b"an example store"))?;
//! assert!(!opened.fell_back);
//! assert_eq!(tree.note(), b"applied: 1");
//! assert_eq!(tree.get(Table(1), Key::new(7, 0, 0))?.as_deref(), Some(&b"a row"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! FORMAT.md beside this crate's manifest describes the file, byte by byte, and argues why a crash
//! at any point is safe. The modules, in the order in which they are best read:

// What a user sees.
mod checkpoint;
mod cursor;
mod error;
mod growth;
mod key;
mod options;
mod read_only;
mod reader;
mod scrub;
mod stats;
mod sweep;
mod tree;
mod verify;
// The file.
mod format;
mod open;
mod pages;
mod placing;
mod runs;
mod space;
// The nodes, and how they change.
mod history;
mod inner;
mod leaf;
mod link;
mod rows;
mod shelf;
mod table;
mod view;

pub use checkpoint::{Checkpoint, Written};
pub use cursor::{Cursor, Record, Rows};
pub use error::{Corruption, Error, OpenError};
pub use growth::{Growth, Reserve};
pub use key::{Key, Table};
pub use options::{Opened, Options};
pub use read_only::ReadOnly;
pub use reader::{Pin, Reader};
pub use scrub::{ScrubAt, Scrubbed};
pub use stats::Stats;
pub use sweep::{Sweep, Swept};
pub use tree::Tree;
pub use verify::Verified;
