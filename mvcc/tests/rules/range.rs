//! Group 2: ranges.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use revd_mvcc::{Invalid, Op, OpDone, Put, Range, ReadError, Rejected, SortOrder, SortTarget, Txn};

use crate::key_space::{KeySpace, all, put, range};
use crate::wire;

/// Keys a to e at revisions 2 to 6.
fn five() -> KeySpace {
    let mut space = KeySpace::new();
    for key in ["a", "b", "c", "d", "e"] {
        space.put(key, key);
    }
    space
}

fn sorted(order: SortOrder, target: SortTarget, limit: i64) -> Range {
    Range { sort_order: order, sort_target: target, limit, ..all() }
}

#[test]
fn rule_2_1_the_key_must_not_be_empty() {
    let everything = Range { range_end: Bytes::from_static(b"\0"), ..Range::default() };
    assert_eq!(everything.check(), Err(Invalid::EmptyKey));
    assert_eq!(five().range(&all()).count, 5);
}

#[test]
fn rule_2_2_an_empty_end_is_one_key() {
    let space = five();
    assert_eq!(space.keys(&range("b", "")), ["b"]);
    assert_eq!(space.range(&range("bb", "")).count, 0);
}

#[test]
fn rule_2_3_half_open() {
    let space = five();
    assert_eq!(space.keys(&range("b", "d")), ["b", "c"]);
    let inverted = space.range(&range("d", "b"));
    assert_eq!((inverted.count, inverted.returned, inverted.more), (0, 0, false));
    assert_eq!(space.range(&range("b", "b")).count, 0);
    assert_eq!(space.range(&Range { count_only: true, ..range("d", "b") }).count, 0);
    assert_eq!(space.range(&Range { revision: 4, ..range("d", "b") }).count, 0);
}

#[test]
fn rule_2_4_one_zero_byte_is_no_end() {
    let space = five();
    assert_eq!(space.keys(&range("d", "\0")), ["d", "e"]);
    assert_eq!(space.range(&range("\0", "\0\0")).count, 0);
}

#[test]
fn rule_2_6_no_revision_is_the_newest() {
    let space = five();
    for revision in [0, -1, i64::MIN] {
        assert_eq!(space.range(&Range { revision, ..all() }).count, 5);
    }
}

#[test]
fn rule_2_7_the_future_is_refused_first() {
    let mut space = five();
    space.compact(6).unwrap();
    assert_eq!(space.refused(&Range { revision: 7, ..all() }), Rejected::FutureRevision);
}

#[test]
fn rule_2_8_below_the_floor_is_refused() {
    let mut space = five();
    space.compact(4).unwrap();
    for _ in 0..2 {
        assert_eq!(space.refused(&Range { revision: 3, ..all() }), Rejected::Compacted);
        assert_eq!(space.keys(&Range { revision: 4, ..all() }), ["a", "b", "c"]);
        space.sweep_all();
    }
}

#[test]
fn rule_2_9_more_is_exact() {
    let space = five();
    for (limit, returned, more) in [(0, 5, false), (-1, 5, false), (4, 4, true), (5, 5, false)] {
        let found = space.range(&Range { limit, ..all() });
        assert_eq!((found.returned, found.more, found.count), (returned, more, 5), "{limit}");
    }
    let filtered = Range { limit: 2, min_mod_revision: 5, ..all() };
    assert!(!space.range(&filtered).more);
}

#[test]
fn rule_2_10_count_ignores_limit_and_filters() {
    let mut space = five();
    let one = Range { limit: 1, min_mod_revision: 6, ..all() };
    let found = space.range(&one);
    assert_eq!((found.returned, found.count, found.more), (1, 5, false));
    space.put("f", "");
    let before = space.range(&Range { revision: 6, ..one });
    assert_eq!((before.returned, before.count), (1, 5));
}

#[test]
fn rule_2_11_filters_are_inclusive() {
    let mut space = five();
    space.put("a", "again");
    let by_mod = Range { min_mod_revision: 4, max_mod_revision: 6, ..all() };
    assert_eq!(space.keys(&by_mod), ["c", "d", "e"]);
    let by_create = Range { min_create_revision: 2, max_create_revision: 3, ..all() };
    assert_eq!(space.keys(&by_create), ["a", "b"]);
    assert_eq!(space.range(&Range { max_mod_revision: -1, ..all() }).returned, 0);
    assert_eq!(space.range(&Range { max_create_revision: -1, ..all() }).returned, 0);
    let limited = space.range(&Range { limit: 2, min_mod_revision: 4, ..all() });
    assert_eq!((limited.returned, limited.more), (2, true));
    // An older record's create revision is not in the index.
    space.put("a", "third");
    let older = Range { revision: 7, max_create_revision: 2, ..all() };
    assert_eq!(space.keys(&older), ["a"]);
}

#[test]
fn rule_2_12_count_only() {
    let space = five();
    let range = Range { count_only: true, limit: 1, min_mod_revision: 6, ..all() };
    let found = space.range(&range);
    assert_eq!((found.count, found.returned, found.more), (5, 0, false));
    assert!(found.kvs.is_empty());
    let before = space.range(&Range { revision: 3, ..range });
    assert_eq!((before.count, before.returned, before.more), (2, 0, false));
}

#[test]
fn rule_2_13_keys_only_has_neither_value_nor_lease() {
    let mut space = KeySpace::new();
    space.grant(7);
    space.write(&Put { lease: 7, ..put("a", "v1") }).unwrap();
    space.write(&Put { lease: 7, ..put("a", "v2") }).unwrap();
    space.put("b", "");
    for revision in [0, 3, 2] {
        let bare = Range { keys_only: true, revision, ..range("a", "") };
        let kv = wire::records(&space.range(&bare)).remove(0);
        assert_eq!((&kv.value[..], kv.lease, kv.create_revision), (&b""[..], 0, 2));
        assert_eq!(kv.version, if revision == 2 { 1 } else { 2 });
        let by_value = Range { sort_target: SortTarget::Value, ..bare };
        let kv = wire::records(&space.range(&by_value)).remove(0);
        assert_eq!((&kv.value[..], kv.lease), (&b""[..], 7));
    }
}

#[test]
fn rule_2_14_no_order_is_ascending() {
    let mut space = KeySpace::new();
    for (key, value) in [("c", "1"), ("b", "3"), ("a", "2")] {
        space.put(key, value);
    }
    assert_eq!(space.keys(&all()), ["a", "b", "c"]);
    let none = |target| sorted(SortOrder::None, target, 0);
    assert_eq!(space.keys(&none(SortTarget::Mod)), ["c", "b", "a"]);
    assert_eq!(space.keys(&none(SortTarget::Value)), ["c", "a", "b"]);
}

#[test]
fn rule_2_15_a_limit_without_order_cuts_before_sorting() {
    let mut space = KeySpace::new();
    for key in ["c", "b", "a"] {
        space.put(key, "");
    }
    let none = space.range(&sorted(SortOrder::None, SortTarget::Mod, 1));
    assert_eq!((crate::key_space::keys(&none), none.more), (vec!["b".to_owned()], true));
    assert_eq!(space.keys(&sorted(SortOrder::Ascend, SortTarget::Mod, 1)), ["c"]);
    let filtered = Range { min_mod_revision: 1, ..sorted(SortOrder::None, SortTarget::Mod, 1) };
    assert_eq!(space.keys(&filtered), ["c"], "with a filter the whole range is read");
}

#[test]
fn rule_2_16_an_explicit_order_sorts_the_whole_range() {
    let mut space = KeySpace::new();
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("a", "4"), ("c", "0")] {
        space.put(key, value);
    }
    let top = |order, target| space.keys(&sorted(order, target, 2));
    let (up, down) = (SortOrder::Ascend, SortOrder::Descend);
    assert_eq!(top(up, SortTarget::Key), ["a", "b"]);
    assert_eq!(top(down, SortTarget::Key), ["c", "b"]);
    assert_eq!(top(up, SortTarget::Create), ["a", "b"]);
    assert_eq!(top(down, SortTarget::Create), ["c", "b"]);
    assert_eq!(top(up, SortTarget::Mod), ["b", "a"]);
    assert_eq!(top(down, SortTarget::Mod), ["c", "a"]);
    assert_eq!(top(up, SortTarget::Value), ["c", "b"]);
    assert_eq!(top(down, SortTarget::Value), ["a", "b"]);
    assert_eq!(top(up, SortTarget::Version)[0], "b");
    let all_descending = space.range(&sorted(down, SortTarget::Key, 2));
    assert!(all_descending.more && all_descending.count == 3);
}

#[test]
fn rule_2_17_ties_keep_the_order_of_keys() {
    let space = five();
    for order in [SortOrder::Ascend, SortOrder::Descend] {
        assert_eq!(space.keys(&sorted(order, SortTarget::Version, 3)), ["a", "b", "c"]);
    }
}

#[test]
fn rule_2_18_a_value_sort_of_keys_only_uses_the_values() {
    let mut space = KeySpace::new();
    for (key, value) in [("a", "2"), ("b", "1")] {
        space.put(key, value);
    }
    let range = Range { keys_only: true, ..sorted(SortOrder::Ascend, SortTarget::Value, 0) };
    let found = wire::records(&space.range(&range));
    assert_eq!((&found[0].key[..], &found[0].value[..]), (&b"b"[..], &b""[..]));
}

#[test]
fn rule_2_19_unknown_sort_options_are_refused() {
    let order = Range { sort_order: SortOrder::from(3), ..all() };
    let target = Range { sort_target: SortTarget::from(-1), ..all() };
    assert_eq!(order.check(), Err(Invalid::SortOption));
    assert_eq!(target.check(), Err(Invalid::SortOption));
    assert_eq!(Range { key: Bytes::new(), ..order }.check(), Err(Invalid::EmptyKey));
    assert_eq!(sorted(2.into(), 4.into(), 0).check(), Ok(()));
}

#[test]
fn rule_2_5_a_prefix_is_an_ordinary_range() {
    let mut space = KeySpace::new();
    for key in ["p", "p/1", "p/2", "p0", "q"] {
        space.put(key, "");
    }
    assert_eq!(space.keys(&range("p/", "p0")), ["p/1", "p/2"]);
    let mut space = KeySpace::new();
    let key = Bytes::from_static(b"\xff\xff");
    space.write(&Put { key: key.clone(), ..Put::default() }).unwrap();
    let from = Range { key, range_end: Bytes::from_static(b"\0"), ..Range::default() };
    assert_eq!(space.range(&from).count, 1);
}

#[test]
fn rule_2_26_a_read_that_nobody_waits_for_has_no_answer() {
    let space = five();
    let abandoned = Arc::new(AtomicBool::new(false));
    let view = space.view.until(Arc::clone(&abandoned));
    let txn = Txn { success: vec![Op::Range(all())], ..Txn::default() };
    let expected = space.range(&all());
    assert_eq!(view.range(&all()).unwrap(), expected);
    assert_eq!(view.txn(&txn).unwrap().responses, [OpDone::Range(expected)]);

    abandoned.store(true, Ordering::Relaxed);
    for range in [
        all(),
        Range { revision: 3, ..all() },
        Range { revision: 3, count_only: true, ..all() },
        sorted(SortOrder::Descend, SortTarget::Value, 2),
    ] {
        let done = view.range(&range);
        assert!(matches!(done, Err(ReadError::Abandoned)), "{range:?}: {done:?}");
    }
    assert!(matches!(view.txn(&txn), Err(ReadError::Abandoned)));
    assert_eq!(space.range(&all()).count, 5, "other handles go on");
}
