//! Committed entries on their way to the state machine: once each, in order, bounded in bytes, and
//! none behind a change of configuration that has not been answered.
//!
//! What has left the memory is fetched, one batch ahead of what is being applied.

use std::collections::VecDeque;

use crate::entry::{Entry, EntryKind};
use crate::error::Refused;
use crate::input::Fetched;
use crate::log::Log;
use crate::number::{FetchNumber, Index};
use crate::output::Fetch;
use crate::planted::invariant;

#[derive(Clone, Debug)]
pub(crate) struct Handout {
    /// Applied up to here.
    applied: Index,
    /// Handed out up to here.
    handed: Index,
    /// The batches handed out and not reported applied: the last index of each, and its bytes.
    under_way: VecDeque<(Index, usize)>,
    /// The bytes of all of them.
    under_way_bytes: usize,
    /// The change of configuration that was handed out last and has not been answered.
    changing: Option<Index>,
    /// Entries that were fetched, to be handed out next: the one behind `handed` first.
    fetched: VecDeque<Entry>,
    /// The fetch that has not been answered.
    fetching: Option<Fetch>,
    max_bytes: usize,
}

impl Handout {
    pub(crate) fn new(applied: Index, max_bytes: usize) -> Handout {
        Handout {
            applied,
            handed: applied,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            changing: None,
            fetched: VecDeque::new(),
            fetching: None,
            max_bytes,
        }
    }

    pub(crate) fn applied(&self) -> Index {
        self.applied
    }

    pub(crate) fn handed(&self) -> Index {
        self.handed
    }

    /// Puts the next batch of what is committed up to `commit` into `batch`, which is empty;
    /// nothing when nothing may be handed out.
    pub(crate) fn take(&mut self, log: &Log, commit: Index, batch: &mut Vec<Entry>) {
        if self.handed >= commit || self.changing.is_some() {
            return;
        }
        let bytes = if self.fetched.is_empty() {
            let due = usize::try_from(commit.0 - self.handed.0).unwrap_or(usize::MAX);
            let entries = || log.in_memory(self.handed.next()).map(|entries| entries.take(due));
            let Some(ahead) = entries() else { return };
            let (count, bytes) = self.fitting(ahead);
            // Counted first, so that there is at most one allocation.
            batch.reserve_exact(count);
            batch.extend(entries().into_iter().flatten().take(count).cloned());
            bytes
        } else {
            let (count, bytes) = self.fitting(self.fetched.iter());
            batch.extend(self.fetched.drain(..count));
            bytes
        };
        self.hand_out(batch, bytes, commit);
    }

    /// How many of `entries` may be handed out now, and their bytes: as many as fit, up to and
    /// including a change of configuration, and one at any size if nothing is under way.
    fn fitting<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> (usize, usize) {
        let allowed = self.max_bytes.saturating_sub(self.under_way_bytes);
        let (mut count, mut bytes) = (0, 0);
        for entry in entries {
            let one_at_any_size = count == 0 && self.under_way.is_empty();
            if entry.bytes() > allowed.saturating_sub(bytes) && !one_at_any_size {
                break;
            }
            count += 1;
            bytes += entry.bytes();
            if entry.kind == EntryKind::Configuration {
                break;
            }
        }
        (count, bytes)
    }

    fn hand_out(&mut self, batch: &[Entry], bytes: usize, commit: Index) {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return };
        let (handed, place) = (self.handed, first.index);
        invariant!(place == handed.next(), "{place} handed out behind {handed}");
        invariant!(last.index <= commit, "{} handed out, committed is {commit}", last.index);
        self.handed = last.index;
        self.under_way.push_back((last.index, bytes));
        self.under_way_bytes += bytes;
        self.changing = (last.kind == EntryKind::Configuration).then_some(last.index);
    }

    /// A fetch of what is due next, if it has left the memory and is not being fetched yet.
    pub(crate) fn fetch(&mut self, log: &Log, commit: Index, number: FetchNumber) -> Option<Fetch> {
        let (first, tail) = (self.handed.next(), log.tail_first());
        let wanted = first <= commit && first < tail;
        if !wanted || self.fetching.is_some() || !self.fetched.is_empty() {
            return None;
        }
        let last = commit.min(tail.previous());
        self.fetching = Some(Fetch { number, first, last, max_bytes: self.max_bytes });
        self.fetching
    }

    /// Takes what was fetched, if this was asked for: whether it was.
    pub(crate) fn fetched(&mut self, fetched: &mut Fetched, log: &Log) -> Result<bool, Refused> {
        let number = fetched.number;
        let Some(fetch) = self.fetching.filter(|fetch| fetch.number == number) else {
            return Ok(false);
        };
        fetch.check(&fetched.entries, log)?;
        if fetched.entries.is_empty() {
            return Err(Refused::WrongEntries { number, expected: fetch.first, found: None });
        }
        self.fetched = std::mem::take(&mut fetched.entries).into();
        self.fetching = None;
        Ok(true)
    }

    /// A snapshot has taken the place of everything up to `index`.
    pub(crate) fn reset(&mut self, index: Index) {
        *self = Handout::new(index, self.max_bytes);
    }

    /// Whether everything handed out has been applied.
    pub(crate) fn is_idle(&self) -> bool {
        self.applied == self.handed
    }

    /// Everything up to `index` has been applied.
    pub(crate) fn applied_to(&mut self, index: Index) -> Result<(), Refused> {
        let to = self.changing.map_or(self.handed, Index::previous);
        if index < self.applied || index > to {
            return Err(Refused::NotHandedOut { found: index, from: self.applied, to });
        }
        self.applied = index;
        while let Some(&(last, bytes)) = self.under_way.front() {
            if last > index {
                break;
            }
            self.under_way_bytes -= bytes;
            self.under_way.pop_front();
        }
        Ok(())
    }

    /// Whether `index` is the change of configuration that waits for its answer.
    pub(crate) fn check_changing(&self, index: Index) -> Result<(), Refused> {
        if self.changing == Some(index) {
            return Ok(());
        }
        Err(Refused::NotChanging { waiting: self.changing, found: index })
    }

    /// The change of configuration at `index` has been answered.
    pub(crate) fn changed(&mut self, index: Index) -> Result<(), Refused> {
        self.check_changing(index)?;
        self.changing = None;
        self.applied_to(index)
    }
}

impl Fetch {
    /// Whether `entries` are what was asked for, or the beginning of it.
    pub(crate) fn check(&self, entries: &[Entry], log: &Log) -> Result<(), Refused> {
        let mut expected = self.first;
        for entry in entries {
            let fits = expected <= self.last
                && entry.index == expected
                && log.term(expected).is_none_or(|term| term == entry.term);
            if !fits {
                let found = Some(entry.position());
                return Err(Refused::WrongEntries { number: self.number, expected, found });
            }
            expected = expected.next();
        }
        Ok(())
    }
}
