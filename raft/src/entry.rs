//! One entry of the replicated log.

use bytes::Bytes;

use crate::number::{Index, Position, Term};

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A proposal of the driver's: opaque here.
    Normal,
    /// A change of configuration: opaque here too, but applied before anything behind it, and
    /// answered with the configuration that it led to. Without data it is the leader's own order
    /// to leave a joint configuration ([`Entry::is_leave`]).
    Configuration,
    /// The first entry of a leader's term, without data. It commits what earlier leaders left
    /// (section 5.4.2); it changes no state, but takes an index like any other.
    Empty,
}

/// One entry of the replicated log. Cloning it counts a reference up and copies no payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that made the entry.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
    /// What it is for.
    pub kind: EntryKind,
    /// The payload, opaque to this crate.
    pub data: Bytes,
}

impl Entry {
    /// What an entry without data counts for in every bound on bytes: about what it takes in
    /// memory, so that a flood of empty proposals is bounded too.
    pub const OVERHEAD: usize = 64;

    /// Where the entry stands and who made it.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position::new(self.index, self.term)
    }

    /// What the entry counts for in every bound on bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        Entry::OVERHEAD + self.data.len()
    }

    /// Whether this is the order to leave a joint configuration, which a leader proposes on its
    /// own; also behind a change of voters, to seal it, where it is to be rejected because
    /// nothing is joint. Either way answer it with
    /// [`Configuration::changed`](crate::Configuration::changed) by
    /// [`Change::Leave`](crate::Change::Leave).
    #[must_use]
    pub fn is_leave(&self) -> bool {
        self.kind == EntryKind::Configuration && self.data.is_empty()
    }
}
