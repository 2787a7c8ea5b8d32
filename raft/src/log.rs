//! The log as the core sees it: the entries behind its end in memory, the rest by term alone.
//!
//! ```text
//!            first         tail              sent        last
//!   ┄┄┄┄┄┄┄┄┄┄├──────────────├─────────┬────────┬───────────┤
//!    released   to be fetched  in memory, …
//!                              durable  │ being │ not yet
//!                               persisted written  handed out
//! ```
//!
//! Whatever is not durable is in memory; of what is durable, as much of the end as the bound on
//! bytes allows.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::entry::{Entry, EntryKind};
use crate::error::StartError;
use crate::number::{Index, NUMBER_MAX, Position, Term};
use crate::planted::invariant;
use crate::terms::Terms;

#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The first entry that can be fetched; older ones have been released.
    first: Index,
    /// The entries in memory, without gap, the last of them the last of the log.
    tail: VecDeque<Entry>,
    /// What the entries in memory count for.
    tail_bytes: usize,
    /// Where the log ends.
    last: Position,
    terms: Terms,
    /// Entries up to here have been handed out to be persisted.
    sent: Index,
    /// Entries up to here are durable.
    persisted: Index,
    /// Entries from here on have been handed out to be persisted, and then cut off: the disk does
    /// not know yet.
    cut: Option<Index>,
    /// The changes of configuration that are not applied yet, ascending.
    configurations: VecDeque<Index>,
}

impl Log {
    /// A log that holds nothing and goes on behind `position`.
    pub(crate) fn behind(position: Position) -> Log {
        Log {
            first: position.index.next(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            last: position,
            terms: Terms::from(position),
            sent: position.index,
            persisted: position.index,
            cut: None,
            configurations: VecDeque::new(),
        }
    }

    /// A durable log that begins with `entry`, whatever stands before it.
    fn beginning_with(entry: Entry) -> Log {
        let position = entry.position();
        let mut log = Log::behind(Position::new(position.index.previous(), position.term));
        log.terms = Terms::from(position);
        log.push_durable(entry);
        log
    }

    /// Where the log ends.
    pub(crate) fn last(&self) -> Position {
        self.last
    }

    /// The first entry that can be fetched.
    pub(crate) fn first(&self) -> Index {
        self.first
    }

    /// Entries up to here are durable.
    pub(crate) fn persisted(&self) -> Index {
        self.persisted
    }

    /// What the entries in memory count for.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// The term of the entry at `index`, if the log reaches so far and it is still known.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        if index == Index(0) && self.first <= Index(1) {
            // Before its first entry every log is the same.
            return Some(Term(0));
        }
        if index > self.last.index { None } else { self.terms.at(index) }
    }

    /// The position at `index`, if the log reaches so far and its term is still known.
    pub(crate) fn position(&self, index: Index) -> Option<Position> {
        self.term(index).map(|term| Position::new(index, term))
    }

    /// The last position that may agree with a log that has `other`: at or before it, and of at
    /// most its term. None if it would be before what is known.
    pub(crate) fn may_agree(&self, other: Position) -> Option<Position> {
        self.terms.last_at_most(Position::new(other.index.min(self.last.index), other.term))
    }

    /// The changes of configuration that are not applied yet, ascending.
    pub(crate) fn configurations(&self) -> &VecDeque<Index> {
        &self.configurations
    }

    /// The entries from `from` on, or none if the first of them is not in memory.
    pub(crate) fn in_memory(&self, from: Index) -> Option<impl Iterator<Item = &Entry>> {
        let skip = usize::try_from(from.0.checked_sub(self.tail_first().0)?).ok()?;
        (skip <= self.tail.len()).then(|| self.tail.range(skip..))
    }

    /// The first entry in memory, or the one that will be.
    pub(crate) fn tail_first(&self) -> Index {
        Index(self.last.index.0 + 1 - self.tail.len() as u64)
    }

    /// Appends an entry that a leader of `term` makes, and returns where it stands.
    pub(crate) fn append(&mut self, term: Term, kind: EntryKind, data: Bytes) -> Position {
        let position = Position::new(self.last.index.next(), term);
        self.push(Entry { term, index: position.index, kind, data });
        position
    }

    /// Appends an entry that a leader has sent, right behind the last one.
    pub(crate) fn push(&mut self, entry: Entry) {
        let position = entry.position();
        if self.last.term != position.term {
            self.terms.append(position);
        }
        if entry.kind == EntryKind::Configuration {
            self.configurations.push_back(position.index);
        }
        self.last = position;
        self.tail_bytes += entry.bytes();
        self.tail.push_back(entry);
    }

    /// Cuts off the entries from `from` on, which conflict with the leader's (section 5.3). They
    /// are not committed.
    pub(crate) fn truncate(&mut self, from: Index) {
        while self.tail.back().is_some_and(|entry| entry.index >= from) {
            self.tail_bytes -= self.tail.pop_back().map_or(0, |entry| entry.bytes());
        }
        self.terms.truncate(from);
        let end = from.previous();
        self.last = Position::new(end, self.terms.at(end).unwrap_or_default());
        while self.configurations.back().is_some_and(|&index| index >= from) {
            self.configurations.pop_back();
        }
        if from <= self.sent {
            self.sent = end;
            self.cut = Some(self.cut.map_or(from, |cut| cut.min(from)));
        }
        self.persisted = self.persisted.min(end);
    }

    fn push_durable(&mut self, entry: Entry) {
        self.push(entry);
        self.sent = self.last.index;
        self.persisted = self.last.index;
    }

    /// Takes over an entry that was read back from the durable log.
    pub(crate) fn restore(
        &mut self,
        entry: Entry,
        applied: Position,
        empty: bool,
    ) -> Result<(), StartError> {
        let found = entry.position();
        if found.index.0 > NUMBER_MAX || found.term.0 > NUMBER_MAX {
            return Err(StartError::OutOfRange(found.index.0.max(found.term.0)));
        }
        if empty && Index(0) < found.index && found.index <= applied.index {
            *self = Log::beginning_with(entry);
        } else {
            let expected = self.last.index.next();
            if found.index != expected {
                return Err(StartError::OutOfOrder { expected, found });
            }
            if found.term < self.last.term {
                return Err(StartError::TermFell { previous: self.last.term, found });
            }
            self.push_durable(entry);
        }
        if found.index == applied.index && found.term != applied.term {
            return Err(StartError::BehindApplied { applied, found: Some(found.term) });
        }
        self.forget_configurations(applied.index);
        Ok(())
    }

    /// The durable log holds entries from `first` on, further back than what was restored.
    pub(crate) fn begins_at(&mut self, first: Index) {
        self.first = self.first.min(first);
    }

    /// From where on the durable log is to be cut off, and the entries to be made durable behind
    /// that; `list` gives the room for so many.
    pub(crate) fn take_unsent(
        &mut self,
        list: impl FnOnce(usize) -> Vec<Entry>,
    ) -> (Option<Index>, Vec<Entry>) {
        let count = usize::try_from(self.last.index.0 - self.sent.0).unwrap_or(usize::MAX);
        let mut entries = list(count);
        let unsent = self.in_memory(self.sent.next()).expect("what is not durable is in memory");
        entries.extend(unsent.cloned());
        self.sent = self.last.index;
        (self.cut.take(), entries)
    }

    /// Whether entries wait to be made durable.
    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.last.index || self.cut.is_some()
    }

    /// Entries up to `index`, which have been handed out for it, are durable.
    pub(crate) fn persisted_to(&mut self, index: Index) {
        invariant!(
            self.persisted <= index && index <= self.sent,
            "durable up to {}, reported {index}, handed out {}",
            self.persisted,
            self.sent
        );
        self.persisted = index;
    }

    /// Lets durable entries before `keep` out of memory until the rest fits into `limit` bytes.
    pub(crate) fn evict(&mut self, limit: usize, keep: Index) {
        while self.tail_bytes > limit {
            let Some(entry) = self.tail.front() else { break };
            if entry.index > self.persisted || entry.index >= keep {
                break;
            }
            self.tail_bytes -= entry.bytes();
            self.tail.pop_front();
        }
    }

    /// Changes of configuration up to `applied` have been applied.
    pub(crate) fn forget_configurations(&mut self, applied: Index) {
        while self.configurations.front().is_some_and(|&index| index <= applied) {
            self.configurations.pop_front();
        }
    }

    /// Entries up to `index` have left the durable log.
    pub(crate) fn release(&mut self, index: Index) {
        if index < self.first {
            return;
        }
        self.first = index.next();
        self.terms.forget_before(index);
    }
}
