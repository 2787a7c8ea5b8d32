//! A scrub, step by step: it reads everything, and finds what has rotted since it was first read.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::sync::Arc;

use revd_btree::{Error, Key, Options, ScrubAt, Table, Tree};
use revd_disk::{Disk, Sim};

const PATH: &str = "/tree";

/// A checkpointed tree with long and short values, rows, and enough leaves for inner nodes.
fn tree(disk: &Sim) -> Tree {
    let mut tree =
        Tree::create(Arc::new(disk.clone()), Path::new(PATH), Options::new([7; 16])).unwrap();
    for round in 0..40 {
        for number in 0..60 {
            let key = Key::new(1 + round * 60 + number, 0, 0);
            let len = if number % 20 == 0 { 30_000 } else { 300 };
            tree.append(key, b"head", &vec![number as u8; len]).unwrap();
            tree.put(Table((number % 3) as u8), key, &[1; 200]).unwrap();
        }
        let written = tree.checkpoint(b"note").unwrap().unwrap().write().unwrap();
        tree.checkpointed(written);
    }
    tree
}

/// Scrubs to the end; the bytes read, and the steps.
fn scrub(tree: &Tree, max_bytes: u64) -> Result<(u64, u64), Error> {
    let reader = tree.reader();
    let (mut at, mut bytes, mut steps) = (Some(ScrubAt::default()), 0, 0);
    while let Some(from) = at {
        let step = reader.pin().scrub(from, max_bytes)?;
        assert!(step.bytes < max_bytes + (256 << 10), "a step is bounded");
        bytes += step.bytes;
        steps += 1;
        at = step.next;
    }
    Ok((bytes, steps))
}

#[test]
fn everything_is_read_in_bounded_steps() {
    let disk = Sim::new(1);
    let tree = tree(&disk);
    let used = tree.verify().unwrap();
    let (bytes, steps) = scrub(&tree, 64 << 10).unwrap();
    assert!(steps > 20, "{steps} steps");
    // Root slots, map, commit record and open leaf are not reached from a pin; inner nodes are read
    // again in each step.
    assert!(bytes + (256 << 10) > used.bytes, "{bytes} of {}", used.bytes);
    let (bytes, steps) = scrub(&tree, u64::MAX / 2).unwrap();
    assert_eq!(steps, 1);
    assert!(bytes <= used.bytes && bytes + (256 << 10) > used.bytes, "{bytes} of {}", used.bytes);
}

#[test]
fn rot_in_any_block_is_found_although_it_was_read_before() {
    let disk = Sim::new(2);
    let tree = tree(&disk);
    for record in tree.reader().pin().history(Key::MIN) {
        record.unwrap().value().unwrap();
    }
    let (all, _) = scrub(&tree, u64::MAX / 2).unwrap();
    let blocks = disk.open(Path::new(PATH), revd_disk::Open::read()).unwrap().len().unwrap() / 4096;
    let (mut found, mut silent) = (0, 0);
    for block in 0..blocks {
        disk.damage(Path::new(PATH), block * 4096 + 7, 0x10).unwrap();
        match scrub(&tree, u64::MAX / 2) {
            Err(Error::Corrupt(corruption)) => {
                assert_eq!(corruption.file, Path::new(PATH));
                assert!(corruption.offset <= block * 4096);
                found += 1;
            }
            Ok(_) => silent += 1,
            Err(error) => panic!("{error}"),
        }
        disk.damage(Path::new(PATH), block * 4096 + 7, 0x10).unwrap();
    }
    // Each block that a scrub reads, and no other.
    assert_eq!(found, all / 4096, "{silent} blocks are free, or of the roots");
    scrub(&tree, 1 << 20).unwrap();
}
