//! What a published revision hands to the watch hub.

use crate::key_value::KeyValue;

/// One change of one key.
#[derive(Clone, Debug)]
pub struct Change {
    /// A put; otherwise a deletion.
    pub is_put: bool,
    /// Position among the changes of its revision, from 0.
    pub sub: u64,
    /// The record. A deletion has only key and `mod_revision`; a put that creates its key has
    /// `create_revision` equal to `mod_revision`.
    pub kv: KeyValue,
}

/// All changes of one publish, which may span several revisions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// In order of (`mod_revision`, `sub`).
    pub(crate) changes: Vec<Change>,
    /// The store's revision after them.
    pub(crate) revision: i64,
}
