//! The single writer of a key space.
//!
//! A write changes three things: the history tree gets a record, the index an entry, and the list
//! of pending changes an event. Readers see none of them until [`Store::publish`] shows all of them
//! at once. Until then the writer itself reads what is pending from that list.
//!
//! What holds between any two calls:
//!
//! 1. `revision` is the main number of the newest record ever written, or 1.
//! 2. `pending` holds exactly the records above the published revision, in their order.
//! 3. For each key, the index has every record of the tree above the compaction floor, and the
//!    newest up to it; anything further down in the tree is waiting to be swept.
//! 4. A lease's keys are the keys whose newest record names that lease.
//! 5. After any [`Fatal`] but [`Fatal::Full`], every further write is [`Fatal::Poisoned`]: part of
//!    it may have happened.

mod compact;
mod export;
mod lease;
mod open;
mod replace;
mod room;
mod tables;
mod txn;
mod upkeep;
mod write;

pub use compact::{SweepDone, SweepJob};
pub(crate) use lease::is_lease_row;
pub use open::Opened;
pub use replace::Retired;
pub use revd_btree::{Checkpoint, Written};
pub use tables::OWNER_TABLES;
pub(crate) use tables::{LEASES, describe_import};

use std::sync::Arc;

use crate::error::{Fatal, Rejected};
use crate::events::{Batch, Change};
use crate::index::{Entries, Map, Recent};
use crate::key_value::Revision;
use crate::leases::{Leases, Numbers};
use crate::record::Records;
use crate::snapshot::Floors;
use crate::view::{Hashed, Reading, Snapshot, View};
use crate::watch::Hub;
use compact::Compaction;

/// A key space, and the only handle that can change it. See the [crate] for an example.
#[derive(Debug)]
pub struct Store {
    tree: revd_btree::Tree,
    keys: Map<Entries>,
    recent: Recent,
    leases: Leases,
    numbers: Numbers,
    revision: i64,
    pending: Vec<Change>,
    /// Something besides `pending` is not published yet.
    is_changed: bool,
    compaction: Compaction,
    /// Of the newest finished compactions, ascending.
    hashes: Arc<[Hashed]>,
    /// What exports hold against sweeps.
    floors: Arc<Floors>,
    view: View,
    hub: Hub,
    is_poisoned: bool,
    /// Room to encode heads in.
    head: Vec<u8>,
    /// When [`Store::upkeep`] writes the next checkpoint.
    checkpoint_at: std::time::Duration,
    options: crate::Options,
}

/// What a write comes to: done, refused for a reason that is the same everywhere, or failed.
type Outcome<T> = Result<Result<T, Rejected>, Fatal>;

/// What a store is made of, in numbers.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Keys that exist.
    pub keys: u64,
    /// Older versions and tombstones in the index.
    pub spare: u64,
    /// Leases that exist.
    pub leases: u64,
    /// The store's revision.
    pub revision: i64,
    /// The compaction floor; -1 if nothing was ever compacted.
    pub compacted: i64,
    /// The last compaction whose sweep has finished; -1 if there was none.
    pub finished: i64,
    /// Changes not published yet.
    pub pending: usize,
    /// Figures of the tree.
    pub tree: revd_btree::Stats,
}

impl Store {
    /// The opaque note of the last checkpoint.
    #[must_use]
    pub fn note(&self) -> &[u8] {
        self.tree.note()
    }

    /// The revision after all writes so far, published or not.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    /// The changes that [`Store::publish`] has yet to show, in their order.
    #[must_use]
    pub fn unpublished(&self) -> &[Change] {
        &self.pending
    }

    /// The compaction floor; -1 if nothing was ever compacted.
    #[must_use]
    pub fn compacted(&self) -> i64 {
        self.compaction.scheduled
    }

    /// A handle for reading from any thread.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// A handle for watching from any thread.
    #[must_use]
    pub fn hub(&self) -> Hub {
        self.hub.clone()
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let weight = self.keys.weight();
        Stats {
            keys: weight.live,
            spare: weight.spare,
            leases: self.leases.count(),
            revision: self.revision,
            compacted: self.compaction.scheduled,
            finished: self.compaction.finished,
            pending: self.pending.len(),
            tree: self.tree.stats(),
        }
    }

    /// Shows everything written so far to readers, in one step, and then to watchers.
    ///
    /// Costs no more for a thousand writes than for one, so a batch is published once.
    pub fn publish(&mut self) {
        if self.pending.is_empty() && !self.is_changed {
            return;
        }
        let snapshot = Snapshot {
            keys: self.keys.clone(),
            recent: self.recent.clone(),
            leases: self.leases.clone(),
            revision: self.revision,
            compacted: self.compaction.scheduled,
            hashes: Arc::clone(&self.hashes),
        };
        self.view.publish(snapshot, || self.tree.publish());
        self.compaction.published = self.compaction.scheduled;
        self.is_changed = false;
        let changes = std::mem::take(&mut self.pending);
        if !changes.is_empty() {
            self.hub.publish(&Batch { changes, revision: self.revision });
        }
    }

    /// Publishes, and freezes that state together with `note` into a value whose `write` makes it
    /// durable, on any thread, in one atomic step. `None` if nothing changed since the last one.
    ///
    /// # Errors
    /// [`Fatal::Full`] if even the reserve does not suffice. Any other [`Fatal`] if the last
    /// checkpoint's result has not been handed to [`Store::checkpointed`] yet, the store has failed
    /// before, or the tree fails.
    pub fn checkpoint(&mut self, note: &[u8]) -> Result<Option<Checkpoint>, Fatal> {
        self.writing(|store| {
            store.publish();
            store.tree.checkpoint(note).map_err(Fatal::before_change)
        })
    }

    /// Takes the result of a checkpoint's `write`. If the write failed, drop the store: it must not
    /// be used any more.
    pub fn checkpointed(&mut self, written: Written) {
        self.tree.checkpointed(written);
    }

    /// Checks the whole tree, then that the index and it say the same.
    ///
    /// # Errors
    /// [`Fatal`] names the first thing found wrong.
    ///
    /// # Panics
    /// If the index contradicts itself, which only a mistake of this crate can cause.
    pub fn verify(&self) -> Result<(), Fatal> {
        self.keys.assert_sound();
        self.leases.assert_sound();
        self.tree.verify()?;
        let reading = self.reading();
        for (key, entry) in self.keys.range(b"", None) {
            let floor = u64::try_from(self.compaction.scheduled).unwrap_or(0);
            for place in entry.since(floor).chain(entry.survivor(floor)) {
                let meta = reading.records.load_head(key, place)?;
                let is_newest = place == entry.place();
                if is_newest && (meta.create, meta.version) != entry.generation() {
                    let reason = "its head does not agree with the index";
                    return Err(Fatal::BadRecord { main: place.main, sub: place.sub(), reason });
                }
            }
        }
        Ok(())
    }

    /// The writer's own state, unpublished writes included.
    fn reading(&self) -> Reading<'_> {
        let records = Records::new(self.view.pin(), &self.pending);
        Reading::new(&self.keys, &self.recent, records, self.revision)
    }

    /// Runs a write; whatever fails in it poisons the store, unless it was a full disk before
    /// anything was changed.
    fn writing<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<T, Fatal>,
    ) -> Result<T, Fatal> {
        if self.is_poisoned {
            return Err(Fatal::Poisoned);
        }
        let done = write(self);
        self.is_poisoned = done.as_ref().is_err_and(|fatal| !fatal.is_full());
        done
    }
}
