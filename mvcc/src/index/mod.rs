//! The index: which records each key has, in memory and ordered by key.
//!
//! [`Map`] is the structure (shared nodes, counted subtrees), [`Entries`] what a leaf of it holds
//! of its keys. The same map also holds lease records and which keys hang on which lease.
//! [`Recent`] knows which keys came and went lately, [`Loading`] builds the index when a store is
//! opened.
//!
//! Readers want a state that stays, the writer wants to go on: so nodes are shared, and published
//! by their root. A leaf holds many keys in one buffer and their entries in one array. A node for
//! each key, as in the usual persistent trees, would take two pointers, a count and an allocation
//! for each, and copy a logarithm of such nodes with each write, all of them elsewhere in memory.
//!
//! What a key takes beyond its own bytes, counted by an allocator for keys of 16 to 40 bytes: 39
//! bytes if they were written in order, 43 at random. That is an entry of 32, four for the end of
//! the key (none where all keys of a leaf are equally long), and the share of the nodes, which
//! random writes leave two thirds full. A lease takes 18 bytes more. Each further record takes
//! twelve bytes, up to twelve of them; of more they take 22 each at most.

mod column;
mod entry;
mod keys;
mod load;
mod map;
mod past;
mod places;
mod recent;

#[cfg(test)]
mod memory_tests;

pub(crate) use column::Plain;
pub(crate) use entry::{Entries, Entry, Known, Trimmed, Version};
pub(crate) use load::{Loading, Written};
pub(crate) use map::Map;
pub(crate) use places::Place;
pub(crate) use recent::Recent;
