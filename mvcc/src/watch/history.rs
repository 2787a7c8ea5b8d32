//! What the hub asks of the store: the past, from any thread, without a lock that the writer needs.

use std::fmt;

use crate::error::{Fatal, ReadError};
use crate::key_value::{KeyValue, KeyValueRef};

/// Where to stop a read of history. No revision is ever split: the one that crosses a bound is read
/// to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventBound {
    /// Distinct revisions with a wanted event.
    pub(crate) revisions: usize,
    /// Bytes of wanted events.
    pub(crate) bytes: usize,
    /// Records looked at, wanted or not.
    pub(crate) records: usize,
}

/// How far a read of history came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Every wanted event below this revision has been seen; at least the revision asked for.
    pub(crate) next: i64,
    /// The store's revision in the state that was read: nothing was left if `next` is above it.
    pub(crate) revision: i64,
}

/// A change as history keeps it.
pub(crate) trait PastEvent {
    /// A put; otherwise a deletion.
    fn is_put(&self) -> bool;
    /// The record; of a deletion key and `mod_revision` only.
    fn kv(&self) -> KeyValueRef<'_>;
    /// The record that the change replaced, as of the revision before; `None` for a creation, and
    /// where compaction took it.
    fn previous(&self) -> Result<Option<KeyValueRef<'_>>, Fatal>;
}

/// The published past of a store.
///
/// Called by streams, on their readers' threads, without any lock of the hub. Each call sees one
/// published state; a revision that was handed to the hub is part of every state seen afterwards.
pub(crate) trait History: fmt::Debug + Send + Sync {
    /// The store's revision.
    fn revision(&self) -> i64;

    /// The compaction floor; -1 if nothing was ever compacted.
    fn compacted(&self) -> i64;

    /// Visits the events from revision `from` on, in order of (main, sub), whose key and revision
    /// are `wanted`. A `from` above the store's revision sees nothing and is no error; one below
    /// the floor is [`crate::Rejected::Compacted`].
    fn events(
        &self,
        from: i64,
        bound: EventBound,
        wanted: &mut dyn FnMut(&[u8], i64) -> bool,
        each: &mut dyn FnMut(&dyn PastEvent) -> Result<(), ReadError>,
    ) -> Result<Scanned, ReadError>;

    /// The record of `key` at `revision`; `None` if there was none, or compaction took it.
    fn record_at(&self, key: &[u8], revision: i64) -> Result<Option<KeyValue>, Fatal>;
}
