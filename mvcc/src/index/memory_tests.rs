//! What the index takes, counted by an allocator: the same in each run.

use super::{Entries, Known, Map, Place};
use crate::key_value::LeaseId;
use crate::leases::{Lease, Leases, Numbers};

const KEYS: u64 = 50_000;
/// Bytes beyond its own that a key with one record may take, its attachment to a lease included,
/// and that each further one may.
const KEY_MAX: u64 = 64;
const RECORD_MAX: u64 = 24;

/// Different keys of 16 to 40 bytes, in no order.
fn keys() -> Vec<Vec<u8>> {
    let key = |number: u64| {
        let mut key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec();
        key.resize(16 + (number % 25) as usize, b'k');
        key
    };
    (0..KEYS).map(key).collect()
}

/// Bytes for all keys beyond their own, after `rounds` of puts of all of them.
fn bytes(keys: &[Vec<u8>], rounds: u64) -> u64 {
    let mut built = Map::<Entries>::default();
    let seen = allocation_counter::measure(|| {
        let mut main = 1;
        for _ in 0..rounds {
            for key in keys {
                main += 1;
                let place = Place::new(main, 0, false);
                built.modify(key, |entry| match entry {
                    Some(mut entry) => {
                        entry.put(place, 7, -1);
                        (None, ())
                    }
                    None => (Some(Known::new(place, main, 1, 7)), ()),
                });
            }
        }
    });
    built.assert_sound();
    let own: usize = keys.iter().map(Vec::len).sum();
    seen.bytes_current as u64 - own as u64
}

#[test]
fn a_key_and_its_records_take_what_was_promised() {
    let drawn = keys();
    let mut sorted = drawn.clone();
    sorted.sort();
    let a_key = |bytes: u64| bytes as f64 / KEYS as f64;
    for (order, keys) in [("in order", &sorted), ("at random", &drawn)] {
        let one = bytes(keys, 1);
        println!("{order}: {:.1} bytes a key", a_key(one));
        assert!(one <= KEY_MAX * KEYS, "{order}: {:.1} bytes a key", a_key(one));
        for further in [1, 2, 3, 4, 8, 12, 13, 17, 29, 40] {
            let all = bytes(keys, 1 + further);
            let each = a_key(all - one) / further as f64;
            println!("{order}: {each:.1} bytes for each of {further} further records");
            let promised = one + RECORD_MAX * further * KEYS;
            assert!(all <= promised, "{order}: {each:.1} bytes for each of {further} records");
        }
    }
}

/// Bytes for all keys beyond their own, each put once, with its lease as the only one of `leases`
/// or as one of several. What the leases take themselves is not counted.
fn leased_bytes(keys: &[Vec<u8>], leases: u32) -> u64 {
    let (mut granted, mut numbers) = (Leases::default(), Numbers::default());
    for id in 1..=leases.into() {
        granted.grant(&mut numbers, LeaseId(id), Lease::new(60));
    }
    let mut built = Map::<Entries>::default();
    let seen = allocation_counter::measure(|| {
        for (main, key) in (2..).zip(keys) {
            let place = Place::new(main, 0, false);
            let number = main.wrapping_mul(0x9e37_79b9_7f4a_7c15) % u64::from(leases) + 1;
            built.insert(key, Known::new(place, main, 1, number as u32));
            granted.attach(number as u32, place);
        }
    });
    granted.assert_sound();
    let own: usize = keys.iter().map(Vec::len).sum();
    seen.bytes_current as u64 - own as u64
}

#[test]
fn a_leased_key_takes_what_was_promised() {
    let drawn = keys();
    let mut sorted = drawn.clone();
    sorted.sort();
    for (order, keys) in [("in order", &sorted), ("at random", &drawn)] {
        for leases in [1, KEYS as u32 / 100, KEYS as u32] {
            let bytes = leased_bytes(keys, leases) as f64 / KEYS as f64;
            println!("{order}: {bytes:.1} bytes a key, {leases} leases");
            assert!(bytes <= KEY_MAX as f64, "{order}: {bytes:.1} bytes a key, {leases} leases");
        }
    }
}
