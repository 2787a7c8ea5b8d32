//! What requests are answered with.

use bytes::Bytes;

use crate::key_value::{KeyValue, Revision};

/// The answer to a [`Range`](crate::Range).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranged {
    /// The records found, encoded as `repeated KeyValue kvs = 2` of a `RangeResponse`.
    pub kvs: Bytes,
    /// Number of records in `kvs`.
    pub returned: usize,
    /// More records than the limit allowed would have matched.
    pub more: bool,
    /// Keys in the range at that revision, whatever limit and filters say.
    pub count: i64,
    /// The store's revision when the range was read (never the requested one).
    pub revision: Revision,
}

/// The answer to a [`Put`](crate::Put).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutDone {
    /// The revision of the put.
    pub revision: Revision,
    /// The record before, if asked for and there was one.
    pub prev_kv: Option<KeyValue>,
}

/// The answer to a [`DeleteRange`](crate::DeleteRange).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// The revision of the deletion; the store's present one if nothing was deleted.
    pub revision: Revision,
    /// Number of keys deleted.
    pub deleted: i64,
    /// The records before, in key order, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// The answer to a [`Txn`](crate::Txn).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnDone {
    /// The transaction's revision if it changed anything, else the store's; 0 in a nested answer.
    pub revision: Revision,
    /// All compares held, so the `success` operations ran.
    pub succeeded: bool,
    /// One answer for each operation of the branch that ran.
    pub responses: Vec<OpDone>,
}

/// The answer to one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpDone {
    /// Of a range.
    Range(Ranged),
    /// Of a put.
    Put(PutDone),
    /// Of a deletion.
    Deleted(Deleted),
    /// Of a nested transaction.
    Txn(TxnDone),
}
