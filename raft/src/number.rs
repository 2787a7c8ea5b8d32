//! The numbers of the protocol, each with a type of its own so that no two can be swapped.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A term of office: at most one leader is elected in each. The first term that a vote is cast
    /// in is 1 or later; 0 stands before everything.
    Term
}
number! {
    /// The place of an entry in the log, from 1; 0 stands before the first entry.
    Index
}
number! {
    /// Names a member for ever: an id is never given to another member.
    NodeId
}
number! {
    /// A read that waits for its read index. Chosen by the driver, which must not use one twice
    /// while the first is unanswered, and not `u64::MAX`, which the core uses for itself. One id
    /// may stand for any number of client reads.
    ReadId
}
number! {
    /// Names one [`Persist`](crate::Persist); rises by one with each.
    PersistNumber
}
number! {
    /// Names one [`Fetch`](crate::Fetch); rises by one with each.
    FetchNumber
}

/// The largest index and term that the core accepts from outside: sums of what is accepted then
/// never overflow, however hostile a message is.
pub(crate) const NUMBER_MAX: u64 = u64::MAX / 4;

impl Index {
    /// The index behind this one.
    #[must_use]
    pub const fn next(self) -> Index {
        Index(self.0.saturating_add(1))
    }

    /// The index before this one; the one before 0 is 0.
    #[must_use]
    pub const fn previous(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

impl Term {
    /// The term behind this one.
    #[must_use]
    pub const fn next(self) -> Term {
        Term(self.0.saturating_add(1))
    }
}

/// An entry's place in the log and the term of the leader that made it. By the Log Matching
/// Property (section 5.3 of the paper) two logs that share a position share all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Where the entry stands.
    pub index: Index,
    /// The term in which its leader made it.
    pub term: Term,
}

impl Position {
    /// The position of the entry of `term` at `index`.
    #[must_use]
    pub const fn new(index: Index, term: Term) -> Position {
        Position { index, term }
    }

    /// Whether a log that ends here is at least as up to date as one that ends at `other`
    /// (section 5.4.1: the later term wins, then the longer log).
    #[must_use]
    pub fn is_up_to_date_with(self, other: Position) -> bool {
        (self.term, self.index) >= (other.term, other.index)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}
