//! A full disk, and upkeep by one call.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use revd_disk::{Disk, Sim};
use revd_mvcc::{DeleteRange, Fatal, Growth, Op, Options, Put, Range, Store, Txn};

const PATH: &str = "/tree";

fn put(n: u64, len: usize) -> Put {
    Put { key: format!("k{n:05}").into(), value: vec![b'v'; len].into(), ..Put::default() }
}

fn all() -> Range {
    Range { key: "k".into(), range_end: "l".into(), ..Range::default() }
}

fn checkpoint(store: &mut Store) {
    if let Some(checkpoint) = store.checkpoint(b"note").unwrap() {
        store.checkpointed(checkpoint.write().unwrap());
    }
}

/// Puts until the disk is full; returns how many went in.
fn fill(store: &mut Store) -> u64 {
    for n in 0..100_000 {
        match store.put(&put(n, 3_000 + 9_000 * usize::from(n % 5 == 0))) {
            Ok(done) => drop(done.unwrap()),
            Err(fatal) => {
                assert!(fatal.is_full(), "{fatal}");
                return n;
            }
        }
        if n % 50 == 49 {
            checkpoint(store);
        }
    }
    panic!("the disk is never full");
}

#[test]
fn a_full_disk_changes_nothing_and_is_not_the_end() {
    let disk = Sim::new(1);
    disk.set_capacity(12 << 20);
    let path = Path::new(PATH);
    let mut store =
        Store::create(Arc::new(disk.clone()), path, Options::new([7; 16]), b"").unwrap();
    let count = fill(&mut store);
    store.publish();
    let revision = store.revision();
    assert!(!store.has_room(Growth { records: 1, bytes: 3_000, long: 0 }).unwrap());

    // A transaction happens as a whole or not at all.
    let ops = (0..100).map(|n| Op::Put(put(n, 3_000))).collect();
    let txn = Txn { success: ops, ..Txn::default() };
    assert!(store.txn(&txn).unwrap_err().is_full());
    store.publish();
    assert_eq!(store.revision(), revision);
    assert_eq!(store.view().range(&all()).unwrap().count, count as i64);

    // Deletions, compaction and its sweeps go on; then there is room.
    let (key, range_end) = (all().key, all().range_end);
    let deleted = store.delete_range(&DeleteRange { key, range_end, prev_kv: false });
    assert_eq!(deleted.unwrap().unwrap().deleted, count as i64);
    store.compact(store.revision().0).unwrap().unwrap();
    store.publish();
    let mut now = Duration::ZERO;
    while let Some(next) = store.upkeep(now, 64 << 10, b"note").unwrap() {
        now = next;
        assert!(now < Duration::from_secs(3_600), "upkeep does not end");
    }
    assert_eq!(store.stats().finished, store.stats().compacted);
    store.put(&put(7, 12_000)).unwrap().unwrap();
    assert!(store.has_room(Growth { records: 100, bytes: 1 << 20, long: 1 }).unwrap());
    store.verify().unwrap();

    checkpoint(&mut store);
    drop(store);
    let (store, _) = Store::open(Arc::new(disk), path, Options::new([7; 16])).unwrap();
    assert_eq!(store.view().range(&all()).unwrap().count, 1);
}

#[test]
fn other_failures_are_the_end() {
    let disk = Sim::new(2);
    let path = Path::new(PATH);
    let mut store =
        Store::create(Arc::new(disk.clone()), path, Options::new([7; 16]), b"").unwrap();
    store.put(&put(1, 10)).unwrap().unwrap();
    disk.cut_power();
    let failed = (0..100_000).find_map(|n| store.put(&put(n, 30_000)).err()).unwrap();
    assert!(!failed.is_full(), "{failed}");
    assert!(matches!(store.put(&put(1, 1)), Err(Fatal::Poisoned)));
    assert!(disk.exists(path).is_err(), "the power is gone");
}
