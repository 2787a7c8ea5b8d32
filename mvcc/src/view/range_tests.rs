use std::path::Path;
use std::sync::Arc;

use revd_disk::{Access, Disk, Open, Sim};

use super::*;
use crate::{DeleteRange, Options, Put, ReadError, Store, View};

const TREE: &str = "tree";

fn options() -> Options {
    let mut options = Options::new([3; 16]);
    options.map_bytes = 1 << 30;
    options
}

fn new_store(disk: &Sim) -> Store {
    Store::create(Arc::new(disk.clone()), Path::new(TREE), options(), b"").expect("a store")
}

fn put(store: &mut Store, number: u64, value: Vec<u8>) {
    let key = format!("k{number:05}").into();
    let put = Put { key, value: value.into(), ..Put::default() };
    store.put(&put).expect("storage").expect("a put without a lease");
}

/// Keys k00000 and so on, each with a value that some others have, too.
fn filled(keys: u64) -> Store {
    let mut store = new_store(&Sim::new(1));
    for number in 0..keys {
        put(&mut store, number, vec![(number * 7 % 13) as u8; 1 + (number % 5) as usize]);
    }
    store.publish();
    store
}

fn all() -> Range {
    Range { key: "k".into(), range_end: "l".into(), ..Range::default() }
}

#[test]
fn rule_2_26_an_abandoned_read_stops_where_it_is() {
    let store = filled(100);
    let view = store.view();
    let (snapshot, pin) = view.pinned();
    let abandoned = AtomicBool::new(false);
    let reading = Reading { abandoned: Some(&abandoned), ..view.reading(&snapshot, pin) };
    let all = all();
    let mut seen = 0;
    let visited = reading.visit(&all, 101, &mut |_, _| {
        seen += 1;
        abandoned.store(seen == 10, Relaxed);
        Ok(true)
    });
    visited.unwrap();
    assert_eq!(seen, 10);
}

#[test]
fn a_limited_range_costs_its_limit_now_and_before() {
    let mut store = filled(5_000);
    let before = store.revision().0 as u64;
    for number in 0..1_000 {
        put(&mut store, 4_000 + 2 * number, Vec::new());
        let key = format!("k{:05}", 3 * number).into();
        store.delete_range(&DeleteRange { key, ..DeleteRange::default() }).unwrap().unwrap();
    }
    store.publish();
    let newest = store.revision().0 as u64;
    let view = store.view();
    let (snapshot, pin) = view.pinned();
    let reading = view.reading(&snapshot, pin);
    let page = Range { limit: 10, ..all() };
    for (at, expected) in [(newest, 4_500), (before, 5_000)] {
        assert_eq!(reading.count(&page, at), Some(expected), "at {at}");
        assert_eq!(reading.count_by_walk(&page, at).unwrap(), expected, "at {at}");
        assert_eq!(reading.walk(&page, at, true).unwrap().visible, 11, "at {at}");
        let answer = reading.range(&page, at).unwrap();
        assert_eq!((answer.returned, answer.more, answer.count), (10, true, expected));
    }
}

#[test]
fn a_revision_too_old_to_be_counted_is_walked() {
    let disk = Sim::new(1);
    let mut store = new_store(&disk);
    for number in 0..100 {
        put(&mut store, number, Vec::new());
    }
    let written = store.checkpoint(b"").unwrap().unwrap().write().unwrap();
    store.checkpointed(written);
    drop(store);
    let (mut store, _) = Store::open(Arc::new(disk), Path::new(TREE), options()).unwrap();
    put(&mut store, 500, Vec::new());
    store.publish();
    let view = store.view();
    for (revision, count) in [(102, 101), (101, 100), (51, 50)] {
        let range = Range { revision, limit: 3, ..all() };
        let answer = view.range(&range).unwrap();
        assert_eq!((answer.returned, answer.more, answer.count), (3, true, count));
        let count_only = Range { count_only: true, ..range };
        assert_eq!(view.range(&count_only).unwrap().count, count);
        assert_eq!(view.piece(&count_only, 1, true).unwrap().count, count);
    }
}

#[test]
fn an_ordered_range_holds_no_more_than_twice_its_limit() {
    let mut store = filled(4_000);
    for number in 0..1_500 {
        put(&mut store, number * 11 % 4_000, vec![number as u8]);
    }
    store.publish();
    let at = store.revision().0 as u64;
    let view = store.view();
    let (snapshot, pin) = view.pinned();
    let reading = view.reading(&snapshot, pin);
    let targets = [SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value];
    for sort_target in targets.into_iter().chain([SortTarget::Key]) {
        for sort_order in [SortOrder::Ascend, SortOrder::Descend] {
            let whole = Range { sort_order, sort_target, ..all() };
            let expected = reading.range(&whole, at).unwrap();
            assert_eq!((expected.returned, expected.more), (4_000, false));
            for limit in [1, 7, 600, 3_999, 4_000] {
                let range = Range { limit, ..whole.clone() };
                let found = reading.walk(&range, at, true).unwrap().found.len();
                assert!(found <= FOUND_MIN.max(2 * limit as usize + 2), "{found} of {limit}");
                let answer = reading.range(&range, at).unwrap();
                let is_front = expected.kvs.starts_with(&answer.kvs);
                assert!(is_front, "{sort_target:?} {sort_order:?} limit {limit}");
                assert_eq!(answer.returned, limit as usize);
                assert_eq!(answer.more, limit < 4_000);
            }
        }
    }
}

#[test]
fn pieces_join_to_the_whole_range() {
    let store = filled(2_000);
    let view = store.view();
    let whole = view.range(&all()).unwrap();
    for (limit, bytes_max) in [(0, 1_000), (7, 1_000), (100, 50), (5, 1)] {
        let mut range = Range { limit, ..all() };
        let (mut kvs, mut returned, mut count) = (Vec::new(), 0, None);
        loop {
            let piece = view.piece(&range, bytes_max, count.is_none()).unwrap();
            assert!(piece.returned == 1 || piece.kvs.len() <= bytes_max);
            assert_eq!(piece.count, if count.is_none() { whole.count } else { 0 });
            count.get_or_insert(piece.count);
            kvs.extend_from_slice(&piece.kvs);
            returned += piece.returned;
            if !piece.more {
                break;
            }
            range.key = format!("k{:05}\0", returned - 1).into();
        }
        assert_eq!(returned, whole.returned);
        assert!(kvs == whole.kvs, "limit {limit}, {bytes_max} bytes");
    }
}

/// Overwrites each block that holds nothing but bytes of values.
fn damage_values(disk: &Sim, byte: u8) -> usize {
    const BLOCK: usize = 4096;
    let file = disk.open(Path::new(TREE), Open::existing(Access::Buffered)).expect("a file");
    let mut bytes = vec![0; file.len().expect("a length") as usize];
    file.read_exact_at(&mut bytes, 0).expect("a read");
    let blocks = bytes.chunks_exact(BLOCK).enumerate();
    let values = blocks.filter(|(_, block)| block.iter().all(|found| *found == byte));
    let mut damaged = 0;
    for (at, _) in values {
        file.write_at(&[!byte; BLOCK], (at * BLOCK) as u64).expect("a write");
        damaged += 1;
    }
    damaged
}

#[test]
fn keys_counts_and_open_never_touch_large_values() {
    let disk = Sim::new(1);
    let mut store = new_store(&disk);
    for round in 0..4 {
        // The last rounds are small: a file opens with a look at all of its last checkpoints.
        for number in 0..if round < 2 { 20 } else { 1 } {
            put(&mut store, number, vec![0xa5; if round < 2 { 40_000 } else { 10 }]);
        }
        let written = store.checkpoint(b"").unwrap().unwrap().write().unwrap();
        store.checkpointed(written);
    }
    drop(store);
    assert!(damage_values(&disk, 0xa5) >= 40 * 9);
    let (store, _) = Store::open(Arc::new(disk), Path::new(TREE), options()).unwrap();
    let view = store.view();
    let read = |range: Range| -> Result<Ranged, ReadError> { View::range(&view, &range) };
    for revision in [0, 41, 30, 21] {
        let range = Range { revision, ..all() };
        assert_eq!(read(Range { count_only: true, ..range.clone() }).unwrap().count, 20);
        let keys_only = Range { keys_only: true, ..range.clone() };
        assert_eq!(read(keys_only.clone()).unwrap().returned, 20);
        for sort_target in [SortTarget::Version, SortTarget::Create, SortTarget::Mod] {
            let sort_order = SortOrder::Descend;
            let sorted = Range { sort_target, sort_order, limit: 3, ..keys_only.clone() };
            assert_eq!(read(sorted).unwrap().returned, 3);
        }
        let filtered = Range { min_create_revision: 2, max_mod_revision: 99, ..keys_only.clone() };
        assert_eq!(read(filtered).unwrap().returned, 20);
        let refused = read(range).unwrap_err();
        assert!(matches!(refused, ReadError::Fatal(_)), "the values were damaged: {refused}");
    }
}
