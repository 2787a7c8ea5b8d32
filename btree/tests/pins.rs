//! The pin rule (`src/pages.rs`): what a pin has lent stays as it was, however often blocks are
//! used again meanwhile, and is not written while it is lent.
//!
//! The last is what `cargo +nightly miri test -p revd-btree --test pins` shows: Miri sees all that
//! the simulated disk writes to its mapping, and all slices of it that are still used.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::sync::Arc;

use revd_btree::{Key, Options, Pin, Table, Tree};
use revd_disk::{Disk, Sim};

/// Miri takes minutes for what else takes a millisecond.
const ROUNDS: u64 = if cfg!(miri) { 1 } else { 60 };
const BATCH: u64 = if cfg!(miri) { 8 } else { 80 };
const COUNTER: Key = Key::new(1, 0, 0);

fn create() -> Tree {
    let disk = Sim::new(1);
    disk.create_dir(Path::new("/data")).unwrap();
    let mut options = Options::new([1; 16]);
    (options.map_bytes, options.reserve_bytes) = (8 << 20, 64 << 10);
    Tree::create(Arc::new(disk), Path::new("/data/tree"), options).unwrap()
}

fn value_of(main: u64) -> Vec<u8> {
    let len = if main.is_multiple_of(16) { 5_000 + main % 9 * 500 } else { 150 + main % 5 * 120 };
    vec![main as u8; len as usize]
}

/// Appends, sweeps, and checkpoints twice, so that what the sweep has freed is used again by what
/// comes next.
fn work(tree: &mut Tree) {
    let first = tree.last_key().map_or(1, |key| key.main + 1);
    for main in first..first + BATCH {
        tree.append(Key::new(main, 0, 0), b"", &value_of(main)).unwrap();
    }
    tree.put(Table(0), COUNTER, &first.to_le_bytes()).unwrap();
    if let Some(sweep) = tree.plan_sweep(Key::MIN, 1 << 20) {
        let swept = sweep.run(&mut |key, _| (key.main + first).is_multiple_of(3)).unwrap();
        tree.adopt(swept).unwrap();
    }
    for note in [first, first + 1] {
        if let Some(checkpoint) = tree.checkpoint(&note.to_le_bytes()).unwrap() {
            let written = checkpoint.write().unwrap();
            tree.checkpointed(written);
        }
    }
}

/// Values where they lie, with their keys.
fn lend<'a>(pin: &'a Pin<'_>) -> Vec<(u64, &'a [u8])> {
    let records = pin.history(Key::MIN).map(|record| record.unwrap());
    let lent = records.map(|record| (record.key.main, record.value().unwrap()));
    let mut lent: Vec<(u64, &[u8])> = lent.collect();
    if let Some(row) = pin.row(Table(0), COUNTER).unwrap() {
        lent.push((0, row));
    }
    lent
}

fn check(lent: &[(u64, &[u8])]) {
    for (main, bytes) in lent.iter().filter(|(main, _)| *main > 0) {
        assert!(*bytes == value_of(*main), "value of {main}");
    }
}

/// Takes a pin, has the tree go on, and looks at what it was lent; again and again within.
fn nest(tree: &mut Tree, depth: u64) {
    let reader = tree.reader();
    let pin = reader.pin();
    let lent = lend(&pin);
    assert!(lent.len() > 1, "nothing was lent");
    work(tree);
    if depth > 0 {
        nest(tree, depth - 1);
    }
    check(&lent);
    work(tree);
    check(&lent);
}

#[test]
fn what_a_pin_lends_is_not_used_again() {
    let mut tree = create();
    work(&mut tree);
    for round in 0..ROUNDS {
        nest(&mut tree, if cfg!(miri) { 0 } else { round % 4 + 1 });
    }
    tree.verify().unwrap();
    println!("{:?}", tree.stats());
}

#[test]
fn nor_is_it_on_other_threads() {
    let mut tree = create();
    work(&mut tree);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let reader = tree.reader();
            scope.spawn(move || {
                for _ in 0..ROUNDS * 2 {
                    let pin = reader.pin();
                    let lent = lend(&pin);
                    std::thread::yield_now();
                    check(&lent);
                }
            });
        }
        (0..ROUNDS).for_each(|_| work(&mut tree));
    });
    tree.verify().unwrap();
}
