//! Group 3: put and delete.

use revd_mvcc::{DeleteRange, Invalid, LeaseId, Put, Range, Rejected, Revision};

use crate::key_space::{KeySpace, all, bytes, delete, put, range};

fn keeping_value(key: &str) -> Put {
    Put { ignore_value: true, ..put(key, "") }
}

fn keeping_lease(key: &str, value: &str) -> Put {
    Put { ignore_lease: true, ..put(key, value) }
}

#[test]
fn rule_3_1_the_key_must_not_be_empty() {
    assert_eq!(put("", "v").check(), Err(Invalid::EmptyKey));
    assert_eq!(delete("", "z").check(), Err(Invalid::EmptyKey));
}

#[test]
fn rule_3_2_ignored_fields_must_be_empty() {
    let value = Put { value: bytes("v"), ..keeping_value("k") };
    assert_eq!(value.check(), Err(Invalid::ValueProvided));
    let lease = Put { lease: 1, ..keeping_lease("k", "v") };
    assert_eq!(lease.check(), Err(Invalid::LeaseProvided));
}

#[test]
fn rule_3_3_ignoring_needs_the_key() {
    let mut space = KeySpace::new();
    assert_eq!(space.write(&keeping_value("k")), Err(Rejected::KeyNotFound));
    assert_eq!(space.write(&keeping_lease("k", "v")), Err(Rejected::KeyNotFound));
    space.put("k", "v");
    space.delete("k", "");
    assert_eq!(space.write(&keeping_value("k")), Err(Rejected::KeyNotFound));
    assert_eq!(space.revision(), 3);
}

#[test]
fn rule_3_4_both_flags_keep_both() {
    let mut space = KeySpace::new();
    space.grant(7);
    space.write(&Put { lease: 7, ..put("k", "v") }).unwrap();
    space.write(&Put { ignore_lease: true, ..keeping_value("k") }).unwrap();
    let kv = space.get("k").unwrap();
    assert_eq!((&kv.value[..], kv.lease, kv.mod_revision, kv.version), (&b"v"[..], 7, 3, 2));
}

#[test]
fn rule_3_5_keeping_the_value_drops_the_lease() {
    let mut space = KeySpace::new();
    space.grant(7);
    space.write(&Put { lease: 7, ..put("l", "v") }).unwrap();
    space.write(&keeping_value("l")).unwrap();
    assert_eq!(space.get("l").unwrap().lease, 0);
    assert!(space.view.lease_keys(LeaseId(7)).unwrap().is_empty());
}

#[test]
fn rule_3_6_keeping_the_value_with_another_lease() {
    let mut space = KeySpace::new();
    space.grant(8);
    space.put("k", "v");
    space.write(&Put { lease: 8, ..keeping_value("k") }).unwrap();
    let kv = space.get("k").unwrap();
    assert_eq!((&kv.value[..], kv.lease), (&b"v"[..], 8));
    assert_eq!(space.view.lease_keys(LeaseId(8)).unwrap(), [&b"k"[..]]);
}

#[test]
fn rule_3_7_an_unknown_lease_writes_nothing() {
    let mut space = KeySpace::new();
    assert_eq!(space.write(&Put { lease: 5, ..put("k", "v") }), Err(Rejected::LeaseNotFound));
    assert_eq!((space.revision(), space.range(&all()).count), (1, 0));
}

#[test]
fn rule_3_8_the_lease_is_looked_at_first() {
    let mut space = KeySpace::new();
    let both = Put { lease: 5, ..keeping_value("missing") };
    assert_eq!(space.write(&both), Err(Rejected::LeaseNotFound));
}

#[test]
fn rule_3_9_a_key_hangs_on_one_lease() {
    let mut space = KeySpace::new();
    space.grant(1);
    space.grant(2);
    let keys = |space: &KeySpace, id| space.view.lease_keys(LeaseId(id)).unwrap();
    space.write(&Put { lease: 1, ..put("k", "") }).unwrap();
    assert_eq!(keys(&space, 1), [&b"k"[..]]);
    space.write(&Put { lease: 2, ..put("k", "") }).unwrap();
    assert!(keys(&space, 1).is_empty());
    assert_eq!(keys(&space, 2), [&b"k"[..]]);
    space.write(&keeping_lease("k", "kept")).unwrap();
    assert_eq!((keys(&space, 2).len(), space.get("k").unwrap().lease), (1, 2));
    space.put("k", "");
    assert!(keys(&space, 2).is_empty());
}

#[test]
fn rule_3_10_a_lease_counts_until_it_is_revoked() {
    let mut space = KeySpace::new();
    space.grant(7);
    space.store.set_remaining(LeaseId(7), 0).unwrap().unwrap();
    space.write(&Put { lease: 7, ..put("k", "late") }).unwrap();
    space.store.revoke(LeaseId(7)).unwrap().unwrap();
    space.store.publish();
    assert_eq!(space.get("k"), None);
}

#[test]
fn rule_3_11_prev_kv_of_a_put() {
    let mut space = KeySpace::new();
    let asking = Put { prev_kv: true, ..put("k", "1") };
    assert_eq!(space.write(&asking).unwrap().prev_kv, None);
    let prev = space.write(&asking).unwrap().prev_kv.unwrap();
    assert_eq!((&prev.value[..], prev.mod_revision, prev.version), (&b"1"[..], 2, 1));
    space.delete("k", "");
    assert_eq!(space.write(&asking).unwrap().prev_kv, None);
    assert_eq!(space.write(&put("k", "2")).unwrap().prev_kv, None, "not asked for");
    // Before anything is published, and in the middle of a batch.
    space.store.put(&put("k", "3")).unwrap().unwrap();
    let prev = space.store.put(&asking).unwrap().unwrap().prev_kv.unwrap();
    assert_eq!((&prev.value[..], prev.version), (&b"3"[..], 3));
}

#[test]
fn rule_3_12_delete_counts_and_follows_the_rules_of_ranges() {
    let mut space = KeySpace::new();
    for key in ["a", "b", "c", "d"] {
        space.put(key, "");
    }
    assert_eq!(space.delete("c", "a").deleted, 0);
    assert_eq!(space.delete("a", "c").deleted, 2);
    assert_eq!(space.delete("a", "c").deleted, 0);
    assert_eq!(space.delete("d", "").deleted, 1);
    assert_eq!(space.delete("a", "\0").deleted, 1);
    assert_eq!(space.revision(), 8);
}

#[test]
fn rule_3_13_prev_kvs_in_key_order() {
    let mut space = KeySpace::new();
    for key in ["c", "a", "b"] {
        space.put(key, key);
    }
    let done = space.delete("a", "z");
    let found: Vec<_> = done.prev_kvs.iter().map(|kv| (&kv.key[..], kv.mod_revision)).collect();
    assert_eq!(found, [(&b"a"[..], 3), (b"b", 4), (b"c", 2)]);
    assert!(done.prev_kvs.iter().all(|kv| kv.key == kv.value));
    space.put("a", "");
    let quiet = space.delete_range(&DeleteRange { prev_kv: false, ..delete("a", "") });
    assert_eq!((quiet.deleted, quiet.prev_kvs.len()), (1, 0));
}

#[test]
fn rule_3_14_a_delete_detaches() {
    let mut space = KeySpace::new();
    space.grant(4);
    space.write(&Put { lease: 4, ..put("k", "") }).unwrap();
    space.delete("k", "");
    assert!(space.view.lease_keys(LeaseId(4)).unwrap().is_empty());
    space.put("k", "free");
    assert_eq!(space.store.revoke(LeaseId(4)).unwrap().unwrap(), Revision(4));
    space.store.publish();
    assert!(space.get("k").is_some());
}

#[test]
fn rule_3_19_an_empty_value_is_a_value() {
    let mut space = KeySpace::new();
    space.put("k", "");
    let found = space.range(&range("k", ""));
    assert_eq!((found.count, found.returned), (1, 1));
    assert!(space.get("k").unwrap().value.is_empty());
}

#[test]
fn keys_and_values_of_any_length_come_back() {
    let mut space = KeySpace::new();
    let lengths = [1, 100, 5_000, 8_192, 8_193, 100_000, 1_000_000];
    let key = |len: usize| "k".repeat(len);
    let value = |len: usize| "v".repeat(len / 2 * 3);
    for len in lengths {
        space.put(&key(len), "first");
        space.put(&key(len), &value(len));
    }
    for round in 0..3 {
        for len in lengths {
            let kv = space.get(&key(len)).unwrap();
            assert_eq!((kv.key, kv.value), (bytes(&key(len)), bytes(&value(len))), "{len}");
        }
        let bare = space.range(&Range { keys_only: true, ..all() });
        assert_eq!(bare.returned, lengths.len());
        space.store.verify().unwrap();
        match round {
            0 => space = space.reopen(),
            1 => {
                space.compact(space.revision()).unwrap();
                space.sweep_all();
            }
            _ => {}
        }
    }
}
