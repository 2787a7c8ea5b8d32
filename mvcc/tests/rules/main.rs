//! One test for each rule of the key space that this crate answers for, named after the rule.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod compaction;
mod key_space;
mod lease;
mod put_delete;
mod range;
mod revisions;
mod txn;
mod txn_check;
mod wire;
