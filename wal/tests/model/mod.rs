//! What a log must hold: the truth that the tests compare it with, and the work they give it.

mod random;
mod workload;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use revd_disk::Disk;
use revd_wal::{Error, OpenError, Options, Recovery, Wal};

pub(crate) use random::Random;
pub(crate) use workload::{Step, options, workload};

/// Where every log of the tests lies.
pub(crate) const DIR: &str = "/data/wal";

/// Opens the log of a test.
pub(crate) fn open(
    disk: impl Disk + 'static,
    options: &Options,
) -> Result<(Wal, Recovery), OpenError> {
    Wal::open(Arc::new(disk), Path::new(DIR), options.clone())
}

/// The content of a log, as its caller knows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    /// Released entries stay here: the log may or may not hold them.
    entries: BTreeMap<u64, Arc<[u8]>>,
    /// The index of the next entry.
    pub(crate) next: u64,
    /// Entries before this one may be gone.
    released: u64,
}

impl Model {
    /// A new log.
    pub(crate) fn new() -> Model {
        Model { entries: BTreeMap::new(), next: 1, released: 1 }
    }

    /// The state after a step of a log with these bounds.
    pub(crate) fn after(&self, step: &Step, bounds: (u64, u64)) -> Model {
        let mut after = self.clone();
        match step {
            Step::Append(entries) | Step::Push(entries) => {
                for entry in entries {
                    after.entries.insert(after.next, Arc::clone(entry));
                    after.next += 1;
                }
            }
            Step::Truncate(percent) => {
                after.next = share(bounds, *percent);
                after.entries.split_off(&after.next);
                after.released = after.released.min(after.next);
            }
            Step::Release(percent) => {
                after.released = after.released.max(share(bounds, *percent)).min(after.next);
            }
            Step::Reset(ahead) => {
                after.next += ahead;
                after.released = after.next;
                after.entries.clear();
            }
            Step::Upkeep | Step::Reopen => {}
        }
        after
    }

    /// Says what is wrong with an opened log.
    pub(crate) fn compare(&self, wal: &Wal) -> Result<(), String> {
        let (first, last) = wal.bounds();
        if last + 1 != self.next {
            return Err(format!("the last entry is {last}, not {}", self.next - 1));
        }
        if first > self.released {
            return Err(format!("the first entry is {first}, above {}", self.released));
        }
        let mut expected = first;
        for entry in wal.replay(first).map_err(|error| format!("{error:?}"))? {
            let (index, entry) = entry.map_err(|error| format!("{error:?}"))?;
            let known = self.entries.get(&index);
            if index != expected || known.is_none_or(|known| **known != *entry) {
                return Err(format!("entry {index} of {} bytes is wrong", entry.len()));
            }
            expected += 1;
        }
        if expected != self.next {
            return Err(format!("the replay ends before {expected}"));
        }
        self.compare_some(wal, first)
    }

    /// The same for a few entries that are read alone, and for a replay that begins among them.
    fn compare_some(&self, wal: &Wal, first: u64) -> Result<(), String> {
        for quarter in (0..4).rev() {
            let index = first + (self.next - first) * quarter / 4;
            if index == self.next {
                return Ok(());
            }
            let read = wal.read(index, index, 0).map_err(|error| format!("{error:?}"))?;
            let replayed = wal.replay(index).map_err(|error| format!("{error:?}"))?.next();
            let known = self.entries.get(&index).map(|known| known.to_vec());
            if read.first() != known.as_ref() {
                return Err(format!("entry {index} is read wrong"));
            }
            if replayed.and_then(Result::ok) != known.map(|known| (index, known)) {
                return Err(format!("entry {index} is replayed wrong"));
            }
        }
        Ok(())
    }

    /// Finds the state that the log is in.
    ///
    /// # Panics
    ///
    /// If it is in none of them.
    pub(crate) fn find<'a>(states: &'a [Model], wal: &Wal, context: &str) -> &'a Model {
        let mut wrong = Vec::new();
        for state in states {
            match state.compare(wal) {
                Ok(()) => return state,
                Err(reason) => wrong.push(reason),
            }
        }
        panic!("{context}: the log is in none of its states: {wrong:?}");
    }
}

/// The index that lies at so many percent of the log.
fn share((first, last): (u64, u64), percent: u64) -> u64 {
    first + (last + 1 - first) * percent / 100
}

/// Does one step; [`Step::Reopen`] is the caller's.
pub(crate) fn apply(wal: &Wal, step: &Step) -> Result<(), Error> {
    let (first, last) = wal.bounds();
    match step {
        Step::Append(entries) => wal.append(last + 1, entries),
        Step::Push(entries) => {
            let pushed = wal.push(entries)?;
            assert!(pushed == last + 1, "pushed at {pushed} instead of {}", last + 1);
            Ok(())
        }
        Step::Truncate(percent) => wal.truncate_suffix(share((first, last), *percent)),
        Step::Release(percent) => wal.release_prefix(share((first, last), *percent)),
        Step::Reset(ahead) => wal.reset(last + 1 + ahead),
        Step::Upkeep => wal.upkeep().map(|_| ()),
        Step::Reopen => Ok(()),
    }
}
