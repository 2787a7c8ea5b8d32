//! Any bytes in the place of a whole file: its checksums are whatever they are.

#![no_main]

use revd_btree_fuzz::forge::{Target, exercise, forge};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    exercise(&forge(Target::File, data));
});
