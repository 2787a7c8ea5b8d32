//! The index: which records each key has, in memory and ordered by key.
//!
//! [`Map`] is the structure (shared nodes, counted subtrees), [`Entry`] what it holds of a key. The
//! same map also holds lease records and which keys hang on which lease.

mod entry;
mod keys;
mod map;
mod past;
mod places;

#[cfg(test)]
mod memory_tests;

pub(crate) use entry::{Entry, Trimmed, Version};
pub(crate) use map::{Map, Weigh, Weight};
pub(crate) use places::Place;
