//! See `targets::forged_log`.

#![no_main]

#[path = "../../tests/hostile/forge.rs"]
mod forge;
#[allow(dead_code, reason = "each program fuzzes one of the targets")]
#[path = "../../tests/hostile/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::forged_log(data));
