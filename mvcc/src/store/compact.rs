//! Compaction: logical at once, physical in bounded steps.
//!
//! [`Store::compact`] only raises the floor; from the next publish on, reads below it are refused.
//! What has become unreachable is removed by *sweep jobs*. A job rewrites a bounded run of leaves
//! of the history tree without what compaction gave up; it reads and decides on any thread, by an
//! index that never changes, and the writer only swaps pointers when the job comes back. With each
//! job the writer also trims a bounded number of index entries.
//!
//! A job may remove a record only if no reader can want it: jobs are planned once the floor is
//! published, and a reader that took its snapshot before holds a pin on the old pages.
//!
//! Before the first sweep of a compaction come jobs that hash what is there (rule 7.19): what it
//! gives up counts, so nothing may be removed until it was seen.
//!
//! The floor and the last finished one are rows of the tree. If they differ at open, the sweep
//! begins again: what was swept already costs a look, not a rewrite. Then there is no hash, as some
//! of what counts may be gone.

use std::sync::Arc;

use bytes::Bytes;
use revd_btree::{Key, Sweep, Swept};

use super::tables::{FINISHED_ROW, META, SCHEDULED_ROW};
use super::{Outcome, Store};
use crate::error::{Fatal, Rejected};
use crate::index::{Entries, Map, Trimmed};
use crate::key_value::Revision;
use crate::record::{self, Name};
use crate::view::{Hashed, Hashing, Snapshot, View, remember};

const FIRST: Key = Key { main: 0, sub: 0, kind: 0 };

/// How far compaction has come.
#[derive(Debug)]
pub(super) struct Compaction {
    /// The floor; -1 if nothing was ever compacted.
    pub(super) scheduled: i64,
    /// The floor that readers see.
    pub(super) published: i64,
    /// The last floor whose sweep is finished.
    pub(super) finished: i64,
    /// The hash that must be complete before the first sweep; `None` once it is, while a job has
    /// it, and for a compaction without one.
    hashing: Option<Hashing>,
    /// Some of the hash has been given to a job, and it is not complete.
    is_hash_begun: bool,
    /// The complete hash, to be remembered when the compaction is finished.
    hashed: Option<Hashed>,
    /// The first record that the sweep has not seen; `None` once it has seen all it can.
    tree_at: Option<Key>,
    /// The first key whose entry has not been trimmed; `None` once all have.
    index_at: Option<Bytes>,
    /// A job is out.
    is_out: bool,
}

impl Compaction {
    pub(super) fn none() -> Self {
        Self::resume(-1, -1)
    }

    /// After opening, when the index has been rebuilt without what is below the floor.
    pub(super) fn resume(scheduled: i64, finished: i64) -> Self {
        let tree_at = (scheduled > finished).then_some(FIRST);
        Self {
            scheduled,
            published: scheduled,
            finished,
            hashing: None,
            is_hash_begun: false,
            hashed: None,
            tree_at,
            index_at: None,
            is_out: false,
        }
    }

    /// Raises the floor of a store that has this index.
    fn begin(&mut self, keys: &Map<Entries>, revision: i64) {
        // Revision 0 has no hash of its own: as an argument it means the newest. And one that
        // overtakes a hash goes without: in a hurry, every other compaction still gets to sweeping.
        let is_hashed = revision > 0 && !self.is_hash_begun;
        self.is_hash_begun = false;
        self.hashing = is_hashed.then(|| Hashing::new(keys.clone(), self.scheduled, revision));
        self.hashed = None;
        self.scheduled = revision;
        self.tree_at = Some(FIRST);
        self.index_at = Some(Bytes::new());
    }

    /// Takes back the hash from a job. That of a compaction which was overtaken is given up.
    fn take_hash(&mut self, hashing: Hashing, is_complete: bool, is_current: bool) {
        match (is_current, is_complete) {
            (false, _) => {}
            (true, false) => self.hashing = Some(hashing),
            (true, true) => {
                self.hashed = Some(hashing.hashed());
                self.is_hash_begun = false;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.tree_at.is_none() && self.index_at.is_none()
    }
}

/// A bounded step of compaction, to be run on any thread.
#[derive(Debug)]
#[must_use = "the sweep stands still until the job has been run and handed back"]
pub struct SweepJob {
    step: Step,
    /// To hash, and for the few records whose key is too long for a head.
    view: View,
    floor: i64,
}

#[derive(Debug)]
enum Step {
    /// Hash about so many bytes.
    Hash(Box<Hashing>, usize),
    Sweep(Box<Sweep>, Arc<Snapshot>),
    /// Only the index is left to trim.
    Trim,
}

/// A step of compaction that has been run; goes to [`Store::swept`].
#[derive(Debug)]
pub struct SweepDone {
    done: Done,
    floor: i64,
}

#[derive(Debug)]
enum Done {
    /// True if the hash is complete.
    Hash(Box<Hashing>, bool),
    Sweep(Swept),
    Trim,
}

impl SweepDone {
    /// Records that this step removes.
    #[must_use]
    pub fn removed(&self) -> u64 {
        match &self.done {
            Done::Sweep(swept) => swept.removed(),
            Done::Hash(..) | Done::Trim => 0,
        }
    }
}

impl SweepJob {
    /// Reads a run of leaves, and hashes it or rewrites what compaction keeps of it.
    ///
    /// # Errors
    /// [`Fatal`] if the tree cannot be read: the store must not be used any more.
    pub fn run(self) -> Result<SweepDone, Fatal> {
        let Self { step, view, floor } = self;
        let done = match step {
            Step::Trim => Done::Trim,
            Step::Hash(mut hashing, max_bytes) => {
                let is_complete = hashing.step(&view.pin(), max_bytes)?;
                Done::Hash(hashing, is_complete)
            }
            Step::Sweep(sweep, snapshot) => Done::Sweep(rewrite(*sweep, &snapshot, &view, floor)?),
        };
        Ok(SweepDone { done, floor })
    }
}

fn rewrite(sweep: Sweep, snapshot: &Snapshot, view: &View, floor: i64) -> Result<Swept, Fatal> {
    let mut failed = None;
    let swept = sweep.run(&mut |key, head| match keeps(snapshot, view, floor, key, head) {
        Ok(keep) => keep,
        Err(fatal) => {
            failed.get_or_insert(fatal);
            true
        }
    })?;
    failed.map_or(Ok(swept), Err)
}

/// Rule 7.5: everything above the floor, and of each key the newest up to it.
fn keeps(
    snapshot: &Snapshot,
    view: &View,
    floor: i64,
    key: Key,
    head: &[u8],
) -> Result<bool, Fatal> {
    if key.main as i64 > floor {
        return Ok(true);
    }
    let place = record::place(key)?;
    let survivor =
        |name: &[u8]| snapshot.keys.get(name).and_then(|entry| entry.survivor(floor as u64));
    let survivor = match record::decode_head(place, head)?.name {
        Name::InHead(name) => survivor(name),
        Name::InValue(_) => match view.pin().get(key)? {
            Some(record) => survivor(record::user_key(&record)?),
            None => None,
        },
    };
    Ok(survivor == Some(place))
}

impl Store {
    /// Raises the compaction floor: `revision` itself stays readable, nothing below it does.
    /// Returns the store's revision, which does not change.
    ///
    /// Rejected with [`Rejected::Compacted`], then [`Rejected::FutureRevision`].
    ///
    /// # Errors
    /// [`Fatal::Full`], if even the reserve is used up: nothing was changed. Any other [`Fatal`]:
    /// the store must not be used any more.
    pub fn compact(&mut self, revision: i64) -> Outcome<Revision> {
        self.writing(|store| {
            if revision <= store.compaction.scheduled {
                return Ok(Err(Rejected::Compacted));
            }
            if revision > store.revision {
                return Ok(Err(Rejected::FutureRevision));
            }
            let row = revision.to_le_bytes();
            let put = store.tree.put_from_reserve(META, SCHEDULED_ROW, &row);
            put.map_err(Fatal::before_change)?;
            store.compaction.begin(&store.keys, revision);
            store.is_changed = true;
            Ok(Ok(Revision(store.revision)))
        })
    }

    /// True while unreachable records wait to be removed.
    #[must_use]
    pub fn is_compacting(&self) -> bool {
        self.compaction.scheduled > self.compaction.finished
    }

    /// The last compaction whose removals are finished; -1 if there was none.
    #[must_use]
    pub fn finished(&self) -> i64 {
        self.compaction.finished
    }

    /// The next step of compaction, if one can be done: none while one is out, before the floor is
    /// published, or while an export of a lower floor lives.
    ///
    /// Hand the job's result to [`Store::swept`]. The room comes back with later checkpoints.
    pub fn sweep(&mut self) -> Option<SweepJob> {
        let floor = self.compaction.scheduled;
        let is_due = self.is_compacting() && self.compaction.published == floor;
        let is_held = self.floors.is_any_below(floor);
        if self.is_poisoned || self.compaction.is_out || !is_due || is_held {
            return None;
        }
        let step = if let Some(hashing) = self.compaction.hashing.take() {
            self.compaction.is_hash_begun = true;
            Step::Hash(Box::new(hashing), self.options.sweep_bytes)
        } else if let Some(sweep) = self.plan(floor) {
            Step::Sweep(Box::new(sweep), self.view.snapshot())
        } else {
            // What is left up to the floor lies in the leaf that is still being filled, if
            // anywhere; the next compaction will come to it.
            self.compaction.tree_at = None;
            Step::Trim
        };
        self.compaction.is_out = true;
        Some(SweepJob { step, view: self.view.clone(), floor })
    }

    fn plan(&mut self, floor: i64) -> Option<Sweep> {
        let from = self.compaction.tree_at.filter(|from| from.main as i64 <= floor)?;
        self.tree.plan_sweep(from, self.options.sweep_bytes)
    }

    /// Takes the result of a job: the rewritten leaves, and trims a bounded part of the index.
    ///
    /// # Errors
    /// [`Fatal`]: the store must not be used any more.
    pub fn swept(&mut self, done: SweepDone) -> Result<(), Fatal> {
        self.writing(|store| {
            store.compaction.is_out = false;
            let is_current = done.floor == store.compaction.scheduled;
            match done.done {
                Done::Hash(hashing, is_complete) => {
                    store.compaction.take_hash(*hashing, is_complete, is_current);
                    return Ok(());
                }
                Done::Sweep(swept) => {
                    let next = swept.next();
                    match store.tree.adopt(swept) {
                        Ok(()) if is_current => store.compaction.tree_at = next,
                        // The leaves are not those that were planned: they are planned again.
                        Ok(()) | Err(revd_btree::Error::StaleSweep { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Done::Trim => {}
            }
            if is_current {
                store.trim();
                store.finish_compaction()?;
            }
            Ok(())
        })
    }

    /// Trims the index entries from `index_at` on, as many as one step may look at.
    fn trim(&mut self) {
        let Some(from) = self.compaction.index_at.take() else { return };
        let floor = self.compaction.scheduled as u64;
        let mut left = self.options.sweep_keys.max(1);
        let mut droppable = Vec::new();
        let mut next = None;
        self.keys.visit_spare(&from, &mut |key, entry| {
            if left == 0 {
                next = Some(Bytes::copy_from_slice(key));
                return false;
            }
            left -= 1;
            if entry.has_droppable(floor) {
                droppable.push(Bytes::copy_from_slice(key));
            }
            true
        });
        for key in &droppable {
            let trimmed = self.keys.modify(key, |entry| {
                (None, entry.map_or(Trimmed::Kept, |mut entry| entry.trim(floor)))
            });
            if trimmed == Trimmed::Gone {
                self.keys.remove(key);
            }
        }
        self.is_changed |= !droppable.is_empty();
        self.compaction.index_at = next;
    }

    fn finish_compaction(&mut self) -> Result<(), Fatal> {
        if self.compaction.is_done() {
            let finished = self.compaction.scheduled;
            let row = finished.to_le_bytes();
            match self.tree.put_from_reserve(META, FINISHED_ROW, &row) {
                Ok(()) => {
                    self.compaction.finished = finished;
                    if let Some(hashed) = self.compaction.hashed.take() {
                        remember(&mut self.hashes, hashed);
                        self.is_changed = true;
                    }
                }
                // The next step, which has nothing else to do, tries again.
                Err(revd_btree::Error::Full { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
