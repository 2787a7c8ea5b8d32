//! A multi-version, watchable key space: revisions, transactions, watch, leases, compaction.
//!
//! This crate keeps every version of every key by the revision that wrote it, in one file of
//! [`revd_btree`], with an index of all keys in memory. It knows nothing of consensus, sockets,
//! clocks or protobuf libraries, owns no thread, and does the same on every replica that gives it
//! the same requests.
//!
//! A [`Store`] is the one writer. It shows its writes to readers with [`Store::publish`] and makes
//! them durable with [`Store::checkpoint`]; until then they are the business of whoever keeps a
//! log. A [`View`] reads the published state from any thread and never waits for the writer. A
//! [`Hub`] makes streams of watches, which get every change from a revision on, once and in order.
//!
//! ```
//! # use std::{path::Path, sync::Arc};
//! use revd_mvcc::{Options, Put, Range, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = Arc::new(revd_disk::Sim::new(1));
//! let mut store = Store::create(disk, Path::new("tree"), Options::new([7; 16]), b"")?;
//! let view = store.view();
//!
//! let put = Put { key: "fruit".into(), value: "pear".into(), ..Put::default() };
//! put.check()?;
//! let done = store.put(&put)??;
//! assert_eq!(done.revision.0, 2);
//!
//! let range = Range { key: "fruit".into(), ..Range::default() };
//! assert_eq!(view.range(&range)?.count, 0, "not published yet");
//! store.publish();
//! assert_eq!(view.range(&range)?.count, 1);
//!
//! if let Some(checkpoint) = store.checkpoint(b"applied: 1")? {
//!     store.checkpointed(checkpoint.write()?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Three layers of failure are kept apart: [`Invalid`] is found in the request alone, by the
//! `check` of each request type; [`Rejected`] is the store's answer, and changes nothing; [`Fatal`]
//! is the end of this store, but for [`Fatal::Full`]: a full disk has changed nothing.

// What a caller hands in and gets back.
mod answer;
mod error;
mod interval;
mod key_value;
mod options;
mod overlap;
mod planted;
mod request;

// How keys and their versions are held.
mod encode;
mod events;
mod index;
mod leases;
mod lock;
mod record;

// The writer, the readers, the watchers, and the way to another replica.
mod scrub;
mod snapshot;
mod store;
mod view;
mod watch;

#[cfg(test)]
mod interleavings;

pub use answer::{Deleted, OpDone, PutDone, Ranged, TxnDone};
pub use encode::{encode_event, encode_key_value, encode_range_element, event_len, key_value_len};
pub use error::{Fatal, Invalid, OpenError, ReadError, Rejected};
pub use events::Change;
pub use interval::Interval;
pub use key_value::{KeyValue, KeyValueRef, LeaseId, Revision};
pub use leases::{LEASE_TTL_MAX, Lease};
pub use options::Options;
#[cfg(feature = "planted-bugs")]
pub use planted::{Bug, with_bug};
pub use request::{Compare, DeleteRange, Op, Operand, Put, Range, SortOrder, SortTarget, Txn};
pub use revd_btree::{Growth, Key, ScrubAt, Scrubbed, Table};
pub use scrub::ScrubJob;
pub use snapshot::{
    ChunkError, Export, ExportError, Import, ImportError, Imported, SNAPSHOT_HEADER_BYTES,
    SnapshotPosition, snapshot_chunk_len,
};
pub use store::{
    Checkpoint, OWNER_TABLES, Opened, Retired, Stats, Store, SweepDone, SweepJob, Written,
};
pub use view::{Hashed, View};
pub use watch::{
    Hub, HubStats, NO_WATCHER, Watch, WatchOptions, WatchOptionsError, WatchResponse, WatchStream,
};
