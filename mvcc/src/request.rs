//! Requests, and the checks that need nothing but the request.
//!
//! Everything is a plain structure over [`Bytes`]; nobody here knows protobuf. Numbers that a
//! client may have made up (sort options, compare targets) are kept, since a request is refused
//! only in a fixed order of checks, and some unknown numbers are not refused at all (rule 4.6).

use bytes::Bytes;

use crate::error::Invalid;
use crate::interval::Interval;

/// The order in which a range is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Ascending keys, or ascending in another target.
    #[default]
    None,
    /// Ascending.
    Ascend,
    /// Descending.
    Descend,
    /// A number that has no meaning; refused by [`Range::check`].
    Unknown(i32),
}

impl From<i32> for SortOrder {
    fn from(number: i32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Ascend,
            2 => Self::Descend,
            unknown => Self::Unknown(unknown),
        }
    }
}

/// What a range is ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The create revision.
    Create,
    /// The mod revision.
    Mod,
    /// The value.
    Value,
    /// A number that has no meaning; refused by [`Range::check`].
    Unknown(i32),
}

impl From<i32> for SortTarget {
    fn from(number: i32) -> Self {
        match number {
            0 => Self::Key,
            1 => Self::Version,
            2 => Self::Create,
            3 => Self::Mod,
            4 => Self::Value,
            unknown => Self::Unknown(unknown),
        }
    }
}

/// A read of one key or a range of keys at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First key.
    pub key: Bytes,
    /// See [`Interval`].
    pub range_end: Bytes,
    /// Records wanted at most; 0 or less means all.
    pub limit: i64,
    /// Revision to read at; 0 or less means the newest.
    pub revision: i64,
    /// Order of the answer.
    pub sort_order: SortOrder,
    /// What the answer is ordered by.
    pub sort_target: SortTarget,
    /// The caller is content with the local state of a replica; of no effect in this crate.
    pub serializable: bool,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Smallest mod revision wanted; 0 means unset.
    pub min_mod_revision: i64,
    /// Largest mod revision wanted; 0 means unset.
    pub max_mod_revision: i64,
    /// Smallest create revision wanted; 0 means unset.
    pub min_create_revision: i64,
    /// Largest create revision wanted; 0 means unset.
    pub max_create_revision: i64,
}

impl Range {
    /// The keys meant.
    #[must_use]
    pub fn interval(&self) -> Interval {
        Interval::new(&self.key, &self.range_end)
    }

    /// Checks what can be checked without a store: the key, then the order, then the target.
    ///
    /// # Errors
    /// [`Invalid::EmptyKey`] or [`Invalid::SortOption`].
    pub fn check(&self) -> Result<(), Invalid> {
        check_key(&self.key)?;
        if matches!(self.sort_order, SortOrder::Unknown(_))
            || matches!(self.sort_target, SortTarget::Unknown(_))
        {
            return Err(Invalid::SortOption);
        }
        Ok(())
    }

    /// True if some record may be left out because of its revisions.
    #[must_use]
    pub fn has_filters(&self) -> bool {
        self.min_mod_revision != 0
            || self.max_mod_revision != 0
            || self.min_create_revision != 0
            || self.max_create_revision != 0
    }
}

/// A write of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// The key.
    pub key: Bytes,
    /// Its new value.
    pub value: Bytes,
    /// The lease to attach it to; 0 for none.
    pub lease: i64,
    /// Answer the record before.
    pub prev_kv: bool,
    /// Keep the present value; the key must exist.
    pub ignore_value: bool,
    /// Keep the present lease; the key must exist.
    pub ignore_lease: bool,
}

impl Put {
    /// Checks what can be checked without a store.
    ///
    /// # Errors
    /// [`Invalid::EmptyKey`], [`Invalid::ValueProvided`] or [`Invalid::LeaseProvided`].
    pub fn check(&self) -> Result<(), Invalid> {
        check_key(&self.key)?;
        if self.ignore_value && !self.value.is_empty() {
            return Err(Invalid::ValueProvided);
        }
        if self.ignore_lease && self.lease != 0 {
            return Err(Invalid::LeaseProvided);
        }
        Ok(())
    }
}

/// A deletion of one key or a range of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRange {
    /// First key.
    pub key: Bytes,
    /// See [`Interval`].
    pub range_end: Bytes,
    /// Answer the records before.
    pub prev_kv: bool,
}

impl DeleteRange {
    /// The keys meant.
    #[must_use]
    pub fn interval(&self) -> Interval {
        Interval::new(&self.key, &self.range_end)
    }

    /// Checks what can be checked without a store.
    ///
    /// # Errors
    /// [`Invalid::EmptyKey`].
    pub fn check(&self) -> Result<(), Invalid> {
        check_key(&self.key)
    }
}

/// Operations that run if comparisons hold, and others that run if they do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold; none at all holds.
    pub compare: Vec<Compare>,
    /// Run in order if all compares hold.
    pub success: Vec<Op>,
    /// Run in order otherwise.
    pub failure: Vec<Op>,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A read.
    Range(Range),
    /// A write.
    Put(Put),
    /// A deletion.
    DeleteRange(DeleteRange),
    /// A nested transaction.
    Txn(Txn),
    /// An operation that says nothing; refused by [`Txn::check`].
    Empty,
}

/// A condition on one key, or on every key of a range, before the transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compare {
    /// 0 equal, 1 greater, 2 less, 3 not equal; any other number always holds.
    pub result: i32,
    /// 0 version, 1 create revision, 2 mod revision, 3 value, 4 lease; any other number compares
    /// as equal.
    pub target: i32,
    /// The key.
    pub key: Bytes,
    /// See [`Interval`].
    pub range_end: Bytes,
    /// What to compare with. If it is not of the target's kind it counts as 0 or empty.
    pub operand: Operand,
}

impl Compare {
    /// The keys meant.
    #[must_use]
    pub fn interval(&self) -> Interval {
        Interval::new(&self.key, &self.range_end)
    }
}

/// What a [`Compare`] compares with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Operand {
    /// Nothing was given.
    #[default]
    Unset,
    /// A version.
    Version(i64),
    /// A create revision.
    Create(i64),
    /// A mod revision.
    Mod(i64),
    /// A value.
    Value(Bytes),
    /// A lease.
    Lease(i64),
}

impl Txn {
    /// Checks what can be checked without a store, in this order (rule 4.21): counts, compare
    /// keys, operations of `success`, of `failure`, overlaps of `success`, of `failure`.
    ///
    /// `max_ops` bounds compares and the operations of each branch; a nested transaction gets what
    /// its parent left of it, which also bounds the depth of nesting.
    ///
    /// # Errors
    /// The first [`Invalid`] in that order.
    pub fn check(&self, max_ops: usize) -> Result<(), Invalid> {
        self.check_operations(max_ops)?;
        crate::overlap::check(&self.success)?;
        crate::overlap::check(&self.failure)
    }

    fn check_operations(&self, max_ops: usize) -> Result<(), Invalid> {
        let largest = self.compare.len().max(self.success.len()).max(self.failure.len());
        let Some(left) = max_ops.checked_sub(largest) else { return Err(Invalid::TooManyOps) };
        for compare in &self.compare {
            check_key(&compare.key)?;
        }
        for op in self.success.iter().chain(&self.failure) {
            match op {
                Op::Range(range) => range.check()?,
                Op::Put(put) => put.check()?,
                Op::DeleteRange(delete) => delete.check()?,
                Op::Txn(txn) => txn.check_operations(left)?,
                Op::Empty => return Err(Invalid::EmptyOperation),
            }
        }
        Ok(())
    }

    /// True if every operation of both branches is a plain range; a nested transaction, even an
    /// empty one, makes it a writing one (rule 4.22).
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.ops().all(|op| matches!(op, Op::Range(_)))
    }

    /// True if a read-only transaction may be answered from the local state of a replica: every
    /// range says so, which holds too when there is none (rules 4.23, 4.24).
    #[must_use]
    pub fn is_serializable(&self) -> bool {
        self.ops().all(|op| matches!(op, Op::Range(range) if range.serializable))
    }

    fn ops(&self) -> impl Iterator<Item = &Op> {
        self.success.iter().chain(&self.failure)
    }
}

fn check_key(key: &Bytes) -> Result<(), Invalid> {
    if key.is_empty() { Err(Invalid::EmptyKey) } else { Ok(()) }
}
