//! What the fuzz targets share with the ordinary tests of revd-btree (`tests/hostile.rs`): files of
//! any bytes with right checksums, and all that can be done with them.
//!
//! Run one of them, from the crate's folder, with `cargo +nightly fuzz run leaf`.

#![allow(missing_docs, dead_code, clippy::unwrap_used, reason = "they are a test's modules")]

#[path = "../../tests/support/forge.rs"]
pub mod forge;
#[path = "../../tests/support/layout.rs"]
mod layout;
