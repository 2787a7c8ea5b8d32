//! Any bytes in the place of a leaf of the history. All checksums are right.

#![no_main]

use revd_btree_fuzz::forge::{Target, exercise, forge};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    exercise(&forge(Target::Leaf, data));
});
