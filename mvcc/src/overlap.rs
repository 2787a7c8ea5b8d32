//! Whether a transaction puts a key twice, or puts a key that it also deletes.
//!
//! The procedure is etcd's to the letter, two gaps included (rules 4.17 to 4.20): the order in
//! which nested transactions are looked at matters, and a deletion whose `range_end` is a single
//! zero byte is taken literally, which makes it an empty interval that clashes with nothing.
//! Deletions are kept merged and disjoint, so that a hostile transaction costs n log n.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::error::Invalid;
use crate::request::{DeleteRange, Op};

/// Checks one branch of the outermost transaction.
pub(crate) fn check(ops: &[Op]) -> Result<(), Invalid> {
    footprint(ops).map(drop)
}

/// What a list of operations may put and delete, whichever branches are taken.
#[derive(Default)]
struct Footprint<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Intervals<'a>,
}

fn footprint(ops: &[Op]) -> Result<Footprint<'_>, Invalid> {
    let mut all = Footprint::default();
    for op in ops {
        if let Op::DeleteRange(delete) = op {
            all.deletes.add(delete);
        }
    }
    for op in ops {
        if let Op::Txn(txn) = op {
            all.join_nested(footprint(&txn.success)?, footprint(&txn.failure)?)?;
        }
    }
    for op in ops {
        if let Op::Put(put) = op {
            if all.clashes(&put.key) {
                return Err(Invalid::DuplicateKey);
            }
            all.puts.insert(&put.key);
        }
    }
    Ok(all)
}

impl<'a> Footprint<'a> {
    fn clashes(&self, key: &[u8]) -> bool {
        self.puts.contains(key) || self.deletes.contain(key)
    }

    /// Takes over both branches of a nested transaction. Only one of them will run, so they do not
    /// clash with each other; their deletions count for what comes later in the list only.
    fn join_nested(&mut self, success: Self, failure: Self) -> Result<(), Invalid> {
        let clash = success.puts.iter().chain(&failure.puts).any(|key| self.clashes(key));
        if clash {
            return Err(Invalid::DuplicateKey);
        }
        self.puts.extend(success.puts);
        self.puts.extend(failure.puts);
        self.deletes.join(success.deletes);
        self.deletes.join(failure.deletes);
        Ok(())
    }
}

/// The end of a deleted interval.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End<'a> {
    /// This key itself is outside.
    Before(&'a [u8]),
    /// This key is the last one inside.
    At(&'a [u8]),
}

impl End<'_> {
    fn key(&self) -> &[u8] {
        match self {
            Self::Before(key) | Self::At(key) => key,
        }
    }

    fn is_beyond(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => key < *end,
            Self::At(last) => key <= *last,
        }
    }

    fn max(self, other: Self) -> Self {
        let at = |end: &Self| matches!(end, Self::At(_));
        if (self.key(), at(&self)) >= (other.key(), at(&other)) { self } else { other }
    }
}

/// Disjoint intervals by their first key.
#[derive(Default)]
struct Intervals<'a> {
    by_start: BTreeMap<&'a [u8], End<'a>>,
}

impl<'a> Intervals<'a> {
    fn add(&mut self, delete: &'a DeleteRange) {
        if delete.range_end.is_empty() {
            self.insert(&delete.key, End::At(&delete.key));
        } else if delete.key < delete.range_end {
            self.insert(&delete.key, End::Before(&delete.range_end));
        }
    }

    fn join(&mut self, other: Self) {
        for (start, end) in other.by_start {
            self.insert(start, end);
        }
    }

    fn insert(&mut self, mut start: &'a [u8], mut end: End<'a>) {
        if let Some((&before, &its_end)) = self.at_or_before(start)
            && its_end.is_beyond(start)
        {
            start = before;
            end = end.max(its_end);
        }
        let after = (Bound::Included(start), Bound::Unbounded);
        while let Some((&next, &its_end)) = self.by_start.range::<[u8], _>(after).next()
            && end.is_beyond(next)
        {
            self.by_start.remove(next);
            end = end.max(its_end);
        }
        self.by_start.insert(start, end);
    }

    fn contain(&self, key: &[u8]) -> bool {
        self.at_or_before(key).is_some_and(|(_, end)| end.is_beyond(key))
    }

    fn at_or_before(&self, key: &[u8]) -> Option<(&&'a [u8], &End<'a>)> {
        self.by_start.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()
    }
}
