//! Reading the last published state, from any thread.
//!
//! A [`View`] is a handle; each of its calls works on one [`Snapshot`], taken together with a pin
//! on the tree, under one short lock that [`publish`](crate::Store::publish) also takes. So index,
//! revision, compaction floor and pages always belong together, and nothing that a call can see is
//! removed or changed while it runs, however far the writer, a compaction or a checkpoint goes
//! meanwhile.

mod compare;
mod events;
mod hash;
mod range;
mod txn;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use revd_btree::{Pin, Reader};

pub(crate) use compare::holds;
pub use hash::Hashed;
pub(crate) use hash::{Hashing, remember};
pub(crate) use range::Reading;
pub(crate) use txn::{Branch, branch, check_ranges, revision_of};

use crate::answer::{Ranged, TxnDone};
use crate::error::{Fatal, ReadError, Rejected};
use crate::index::{Entries, Map, Recent};
use crate::key_value::{LeaseId, Revision};
use crate::leases::{Lease, Leases};
use crate::lock::RwLock;
use crate::planted::{Bug, planted};
use crate::record::Records;
use crate::request::{Range, Txn};

/// A state of the key space that never changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) keys: Map<Entries>,
    /// Belongs to `keys`.
    pub(crate) recent: Recent,
    pub(crate) leases: Leases,
    /// At least 1.
    pub(crate) revision: i64,
    /// The compaction floor; -1 if nothing was ever compacted.
    pub(crate) compacted: i64,
    /// Of the newest finished compactions, ascending (rule 7.19).
    pub(crate) hashes: Arc<[Hashed]>,
}

/// What readers find: a state of the index, and the tree with the state that belongs to it.
#[derive(Debug)]
struct Published {
    snapshot: Arc<Snapshot>,
    reader: Reader,
}

#[derive(Debug)]
struct Shared {
    /// Readers hold this lock for two pointer copies, the writer for the swap.
    published: RwLock<Published>,
}

/// A handle for reading what was last published. Cheap to clone; see the [crate] for an example.
#[derive(Clone, Debug)]
pub struct View {
    shared: Arc<Shared>,
    /// Set once nobody wants the answers of this handle any more.
    abandoned: Option<Arc<AtomicBool>>,
}

impl View {
    pub(crate) fn new(snapshot: Snapshot, reader: Reader) -> Self {
        let published = Published { snapshot: Arc::new(snapshot), reader };
        Self { shared: Arc::new(Shared { published: RwLock::new(published) }), abandoned: None }
    }

    /// The same state through a handle whose ranges and transactions soon end without an answer
    /// once `abandoned` is set, however much they still have to read. Once set it must stay set.
    #[must_use]
    pub fn until(&self, abandoned: Arc<AtomicBool>) -> Self {
        Self { shared: Arc::clone(&self.shared), abandoned: Some(abandoned) }
    }

    /// Replaces what readers see; `publish_tree` runs under the same lock.
    pub(crate) fn publish(&self, snapshot: Snapshot, publish_tree: impl FnOnce()) {
        let snapshot = Arc::new(snapshot);
        let before = {
            let mut published = self.shared.published.write();
            publish_tree();
            std::mem::replace(&mut published.snapshot, snapshot)
        };
        // Freeing the nodes that only the old state had takes longer than the swap.
        drop(before);
    }

    /// From now on shows what `other` shows, another store.
    pub(crate) fn turn_to(&self, other: &Self) {
        let (snapshot, reader) = {
            let other = other.shared.published.read();
            (Arc::clone(&other.snapshot), other.reader.clone())
        };
        let mut published = self.shared.published.write();
        let before = std::mem::replace(&mut *published, Published { snapshot, reader });
        drop(published);
        drop(before);
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.published.read().snapshot)
    }

    pub(crate) fn pinned(&self) -> (Arc<Snapshot>, Pin<'_>) {
        let published = self.shared.published.read();
        (Arc::clone(&published.snapshot), published.reader.hold())
    }

    /// A pin that may be kept apart from this handle.
    pub(crate) fn hold(&self) -> Pin<'static> {
        self.shared.published.read().reader.hold()
    }

    pub(crate) fn pin(&self) -> Pin<'_> {
        self.hold()
    }

    /// The store's revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.shared.published.read().snapshot.revision)
    }

    /// The revision below which nothing can be read any more; -1 if nothing was ever compacted.
    #[must_use]
    pub fn compacted(&self) -> i64 {
        self.shared.published.read().snapshot.compacted
    }

    /// Number of keys that exist.
    #[must_use]
    pub fn key_count(&self) -> i64 {
        self.shared.published.read().snapshot.keys.weight().live as i64
    }

    /// Reads a range of keys at one revision.
    ///
    /// # Errors
    /// [`Rejected::FutureRevision`], then [`Rejected::Compacted`]; [`Fatal`] if storage fails;
    /// [`ReadError::Abandoned`] behind [`View::until`].
    pub fn range(&self, range: &Range) -> Result<Ranged, ReadError> {
        let (snapshot, pin) = self.pinned();
        let at = snapshot.resolve(range.revision)?;
        let done = self.reading(&snapshot, pin).range(range, at);
        self.complete(done.map_err(|fatal| self.explain(fatal, at)))
    }

    /// Reads the beginning of a range: as [`View::range`], but ends early once the records found
    /// take `bytes_max` encoded, though not before the first. Then `more` is set. The keys are
    /// counted only if `is_counted`, else `count` is zero: of the pieces of one range at one
    /// revision, one needs to know.
    ///
    /// An order other than by rising key is not for pieces; it goes by what the limit lets through.
    ///
    /// # Errors
    /// As [`View::range`].
    pub fn piece(
        &self,
        range: &Range,
        bytes_max: usize,
        is_counted: bool,
    ) -> Result<Ranged, ReadError> {
        let (snapshot, pin) = self.pinned();
        let at = snapshot.resolve(range.revision)?;
        let done = self.reading(&snapshot, pin).piece(range, at, bytes_max, is_counted);
        self.complete(done.map_err(|fatal| self.explain(fatal, at)))
    }

    /// Runs a transaction that only reads ([`Txn::is_read_only`]), all of it in one state.
    ///
    /// # Errors
    /// [`Rejected::FutureRevision`] or [`Rejected::Compacted`] for a range of the branch taken;
    /// [`Fatal`] if storage fails; [`ReadError::Abandoned`] behind [`View::until`].
    ///
    /// # Panics
    /// If the transaction writes: that is for [`Store::txn`](crate::Store::txn).
    pub fn txn(&self, txn: &Txn) -> Result<TxnDone, ReadError> {
        assert!(txn.is_read_only(), "a view was given a transaction that writes");
        let (snapshot, pin) = self.pinned();
        let oldest = txn::oldest_revision(txn, snapshot.revision);
        let done = txn::read_only(&self.reading(&snapshot, pin), snapshot.compacted, txn);
        self.complete(done.map_err(|error| match error {
            ReadError::Fatal(fatal) => self.explain(fatal, oldest),
            refused => refused,
        }))
    }

    /// A lease, if it exists.
    #[must_use]
    pub fn lease(&self, id: LeaseId) -> Option<Lease> {
        self.snapshot().leases.get(id)
    }

    /// The keys attached to a lease, ascending; none if it does not exist.
    ///
    /// # Errors
    /// [`Fatal`] if storage, which knows the keys, fails; [`ReadError::Abandoned`] behind
    /// [`View::until`].
    pub fn lease_keys(&self, id: LeaseId) -> Result<Vec<Bytes>, ReadError> {
        let (snapshot, pin) = self.pinned();
        let keys = leased_keys(&snapshot.leases, &Records::new(pin, &[]), id);
        self.complete(keys.map_err(ReadError::from))
    }

    /// All leases, ascending.
    #[must_use]
    pub fn lease_ids(&self) -> Vec<LeaseId> {
        self.snapshot().leases.iter().map(|(id, _)| id).collect()
    }

    fn reading<'a>(&'a self, snapshot: &'a Snapshot, pin: Pin<'a>) -> Reading<'a> {
        let Snapshot { keys, recent, revision, .. } = snapshot;
        let reading = Reading::new(keys, recent, Records::new(pin, &[]), *revision);
        Reading { abandoned: self.abandoned.as_deref(), ..reading }
    }

    /// A read that was abandoned has stopped anywhere: it has no answer, nor a reason of its own.
    fn complete<T>(&self, done: Result<T, ReadError>) -> Result<T, ReadError> {
        match &self.abandoned {
            Some(abandoned) if abandoned.load(Ordering::Relaxed) => Err(ReadError::Abandoned),
            _ => done,
        }
    }

    /// A record that the index knows is missing: if a compaction has passed the revision read, its
    /// sweep took it. A pin rules that out while a call runs; this is the second line.
    fn explain(&self, fatal: Fatal, at: u64) -> ReadError {
        match fatal {
            Fatal::MissingRecord { .. } if (at as i64) < self.compacted() => {
                Rejected::Compacted.into()
            }
            fatal => fatal.into(),
        }
    }
}

/// The keys attached to a lease, ascending.
pub(crate) fn leased_keys(
    leases: &Leases,
    records: &Records<'_>,
    id: LeaseId,
) -> Result<Vec<Bytes>, Fatal> {
    let keys = leases.attached_to(id).map(|place| records.load_key(place));
    let mut keys = keys.collect::<Result<Vec<_>, _>>()?;
    keys.sort_unstable();
    Ok(keys)
}

impl Snapshot {
    /// The revision that a request outside transactions means: 0 and less are the newest.
    fn resolve(&self, revision: i64) -> Result<u64, Rejected> {
        if revision > self.revision {
            return Err(Rejected::FutureRevision);
        }
        if revision <= 0 {
            return Ok(self.revision as u64);
        }
        if revision < self.compacted && !planted(Bug::ReadBelowFloor) {
            return Err(Rejected::Compacted);
        }
        Ok(revision as u64)
    }
}
