//! Group 1: revisions.

use revd_mvcc::{LeaseId, Op, Put, Range, Revision};

use crate::key_space::{KeySpace, all, delete, put, range, success};
use crate::wire;

#[test]
fn rule_1_1_an_empty_store_is_at_revision_1() {
    let mut space = KeySpace::new();
    assert_eq!(space.revision(), 1);
    assert_eq!(space.range(&Range { revision: 1, ..all() }).count, 0);
    assert_eq!(space.put("a", "1"), 2);
}

#[test]
fn rule_1_2_one_request_is_one_revision() {
    let mut space = KeySpace::new();
    for key in ["a", "b", "c"] {
        space.put(key, "");
    }
    assert_eq!(space.delete("a", "c").revision, Revision(5));
    let ops = vec![Op::Put(put("x", "")), Op::Put(put("y", "")), Op::DeleteRange(delete("c", ""))];
    assert_eq!(space.txn(&success(ops)).unwrap().revision, Revision(6));
    space.grant(7);
    for key in ["l", "m"] {
        space.write(&Put { lease: 7, ..put(key, "") }).unwrap();
    }
    assert_eq!(space.store.revoke(LeaseId(7)).unwrap().unwrap(), Revision(9));
}

#[test]
fn rule_1_3_what_changes_nothing_has_no_revision() {
    let mut space = KeySpace::new();
    space.put("a", "");
    assert_eq!(space.delete("x", "z").revision, Revision(2));
    let nothing = success(vec![Op::DeleteRange(delete("x", "")), Op::Range(all())]);
    assert_eq!(space.txn(&nothing).unwrap().revision, Revision(2));
    space.grant(5);
    assert_eq!(space.store.revoke(LeaseId(5)).unwrap().unwrap(), Revision(2));
    space.compact(2).unwrap();
    space.sweep_all();
    assert_eq!(space.revision(), 2);
}

#[test]
fn rule_1_4_subs_count_the_changes_in_order() {
    let mut space = KeySpace::new();
    for key in ["y", "x"] {
        space.put(key, "");
    }
    let ops = vec![Op::Put(put("a", "")), Op::Put(put("b", "")), Op::DeleteRange(delete("x", "z"))];
    space.txn(&success(ops)).unwrap();
    // HashKV covers (main, sub) of every record, in storage order.
    let stored = [
        (2, 0, "y", Some((2, 1))),
        (3, 0, "x", Some((3, 1))),
        (4, 0, "a", Some((4, 1))),
        (4, 1, "b", Some((4, 1))),
        (4, 2, "x", None),
        (4, 3, "y", None),
    ];
    let hash = space.view.hash_kv(0).unwrap();
    assert_eq!(hash.hash, crate::compaction::hash_of(&stored));
}

#[test]
fn rule_1_5_put_on_live_and_on_absent_key() {
    let mut space = KeySpace::new();
    space.put("a", "1");
    space.put("a", "2");
    let kv = space.get("a").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 3, 2));
    space.delete("a", "");
    space.put("a", "3");
    let kv = space.get("a").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

#[test]
fn rule_1_6_the_same_value_is_a_change() {
    let mut space = KeySpace::new();
    space.put("a", "same");
    assert_eq!(space.put("a", "same"), 3);
    assert_eq!(space.get("a").unwrap().version, 2);
    space.write(&Put { ignore_value: true, ..put("a", "") }).unwrap();
    let kv = space.get("a").unwrap();
    assert_eq!((kv.mod_revision, kv.version, &kv.value[..]), (4, 3, &b"same"[..]));
}

#[test]
fn rule_1_7_a_delete_ends_the_generation() {
    let mut space = KeySpace::new();
    space.put("a", "1");
    space.put("a", "2");
    space.delete("a", "");
    assert_eq!(space.get("a"), None);
    space.put("a", "3");
    assert_eq!(space.get("a").unwrap().version, 1);
    assert_eq!(space.get_at("a", 3).unwrap().version, 2);
}

#[test]
fn rule_1_8_visible_from_creation_to_before_the_tombstone() {
    let mut space = KeySpace::new();
    space.put("other", "");
    space.put("other", "");
    assert_eq!(space.put("k", "v"), 4);
    for _ in 5..8 {
        space.put("other", "");
    }
    assert_eq!(space.delete("k", "").revision, Revision(8));
    for revision in 1..=8 {
        let is_visible = space.get_at("k", revision).is_some();
        assert_eq!(is_visible, (4..8).contains(&revision), "at {revision}");
    }
}

#[test]
fn rule_1_9_the_higher_sub_wins() {
    let mut space = KeySpace::new();
    space.put("t1", "old");
    // Accepted by the gap of rule 4.18: a delete to the end of all keys, then a put.
    let ops = vec![Op::DeleteRange(delete("t1", "\0")), Op::Put(put("t1", "new"))];
    let done = space.txn(&success(ops)).unwrap();
    let kv = space.get("t1").unwrap();
    let main = done.revision.0;
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (main, main, 1));
    let space = space.reopen();
    assert_eq!(space.get("t1").unwrap(), kv);
}

#[test]
fn rule_1_13_the_revision_never_goes_back() {
    let mut space = KeySpace::new();
    space.put("a", "");
    space.put("b", "");
    space.delete("a", "");
    let mut space = space.reopen();
    assert_eq!(space.revision(), 4);
    space.delete("b", "");
    space.put("c", "");
    space.delete("c", "");
    space.compact(7).unwrap();
    space.sweep_all();
    let space = space.reopen();
    assert_eq!(space.revision(), 7);
    assert_eq!(space.store.compacted(), 7);
}

#[test]
fn rule_1_14_index_and_attachments_are_rebuilt() {
    let mut space = KeySpace::new();
    space.grant(9);
    for key in ["k1", "k2", "k3"] {
        space.write(&Put { lease: 9, ..put(key, "v") }).unwrap();
    }
    space.delete("k1", "");
    space.put("k2", "detached");
    let mut space = space.reopen();
    assert_eq!(space.view.lease_keys(LeaseId(9)).unwrap(), [&b"k3"[..]]);
    assert_eq!(space.keys(&all()), ["k2", "k3"]);
    assert_eq!(space.get_at("k1", 2).unwrap().lease, 9);
    space.store.verify().unwrap();
    space.store.revoke(LeaseId(9)).unwrap().unwrap();
    space.store.publish();
    assert_eq!(space.keys(&all()), ["k2"]);
}

#[test]
fn rule_1_17_the_header_says_the_present_revision() {
    let mut space = KeySpace::new();
    for _ in 0..17 {
        space.put("a", "");
    }
    assert_eq!(space.range(&Range { revision: 9, ..all() }).revision, Revision(18));
}

#[test]
fn rule_1_18_header_revisions_of_writes() {
    let mut space = KeySpace::new();
    assert_eq!(space.write(&put("a", "")).unwrap().revision, Revision(2));
    assert_eq!(space.delete("zz", "").revision, Revision(2));
    assert_eq!(space.delete("a", "").revision, Revision(3));
    assert_eq!(space.txn(&success(vec![])).unwrap().revision, Revision(3));
    let done = space.txn(&success(vec![Op::Put(put("b", ""))])).unwrap();
    assert_eq!(done.revision, Revision(4));
    assert_eq!(space.compact(3).unwrap(), Revision(4));
}

#[test]
fn rule_1_20_a_nested_answer_has_no_revision() {
    let mut space = KeySpace::new();
    let nested = success(vec![Op::Put(put("b", ""))]);
    let done = space.txn(&success(vec![Op::Txn(nested)])).unwrap();
    let revd_mvcc::OpDone::Txn(inner) = &done.responses[0] else { panic!("{done:?}") };
    assert_eq!((done.revision, inner.revision), (Revision(2), Revision(0)));
}

#[test]
fn rule_1_25_readers_see_all_of_a_request_or_nothing() {
    let mut space = KeySpace::new();
    let txn = success(vec![Op::Put(put("a", "")), Op::Put(put("b", ""))]);
    space.store.txn(&txn).unwrap().unwrap();
    assert_eq!((space.revision(), space.range(&all()).count), (1, 0));
    space.store.put(&put("c", "")).unwrap().unwrap();
    space.store.publish();
    assert_eq!((space.revision(), space.range(&all()).count), (3, 3));
}

#[test]
fn rule_1_26_a_read_at_a_revision_repeats_byte_for_byte() {
    let mut space = KeySpace::new();
    for number in 0..200 {
        space.put(&format!("k{}", number % 37), &format!("v{number}"));
        if number % 11 == 0 {
            space.delete(&format!("k{}", number % 7), "");
        }
    }
    let fixed = Range { revision: 150, ..all() };
    let before = space.range(&fixed);
    assert!(!wire::records(&before).is_empty());
    for number in 0..300 {
        space.put(&format!("k{}", number % 41), "later");
    }
    space.compact(150).unwrap();
    space.sweep_all();
    let space = space.reopen();
    let after = space.range(&fixed);
    assert_eq!((after.kvs, after.count), (before.kvs, before.count));
    assert_eq!(space.range(&range("k1", "")).count, 1);
}
