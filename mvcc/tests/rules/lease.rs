//! Group 6: the part of leases that lives in the key space.

use revd_mvcc::{LEASE_TTL_MAX, LeaseId, Put, Rejected, Revision};

use crate::key_space::{KeySpace, all, put};

#[test]
fn rule_6_1_any_id_but_zero() {
    let mut space = KeySpace::new();
    for id in [1, -1, i64::MIN, i64::MAX] {
        assert_eq!(space.store.grant(LeaseId(id), 10).unwrap(), Ok(()));
    }
    assert_eq!(space.store.grant(LeaseId(0), 10).unwrap(), Err(Rejected::LeaseNotFound));
    assert!(space.view.lease_ids().is_empty(), "not published yet");
    space.store.publish();
    assert_eq!(space.view.lease_ids().len(), 4);
}

#[test]
fn rule_6_2_an_id_in_use_is_refused() {
    let mut space = KeySpace::new();
    space.grant(7);
    assert_eq!(space.store.grant(LeaseId(7), 10).unwrap(), Err(Rejected::LeaseExists));
    assert_eq!(space.view.lease(LeaseId(7)).unwrap().ttl, 60);
}

#[test]
fn rule_6_3_the_longest_ttl() {
    let mut space = KeySpace::new();
    let mut grant = |id, ttl| space.store.grant(LeaseId(id), ttl).unwrap();
    assert_eq!(grant(1, LEASE_TTL_MAX), Ok(()));
    assert_eq!(grant(2, LEASE_TTL_MAX + 1), Err(Rejected::LeaseTtlTooLarge));
    assert_eq!(grant(1, LEASE_TTL_MAX + 1), Err(Rejected::LeaseTtlTooLarge), "looked at first");
}

#[test]
fn rule_6_5_a_grant_has_no_revision_and_is_durable() {
    let mut space = KeySpace::new();
    space.grant(7);
    assert_eq!(space.store.set_remaining(LeaseId(7), 33).unwrap(), Ok(()));
    let space = space.reopen();
    assert_eq!(space.revision(), 1);
    let lease = space.view.lease(LeaseId(7)).unwrap();
    assert_eq!((lease.ttl, lease.remaining), (60, 33));
    assert_eq!(space.store.leases().count(), 1);
}

#[test]
fn rule_6_6_an_unknown_lease_cannot_be_revoked() {
    let mut space = KeySpace::new();
    assert_eq!(space.store.revoke(LeaseId(7)).unwrap(), Err(Rejected::LeaseNotFound));
    assert_eq!(space.store.set_remaining(LeaseId(7), 1).unwrap(), Err(Rejected::LeaseNotFound));
}

#[test]
fn rule_6_7_a_revoke_deletes_in_key_order_and_one_revision() {
    let mut space = KeySpace::new();
    space.grant(7);
    for key in ["c", "a", "b"] {
        space.write(&Put { lease: 7, ..put(key, "") }).unwrap();
    }
    space.put("d", "");
    assert_eq!(space.store.revoke(LeaseId(7)).unwrap(), Ok(Revision(6)));
    space.store.publish();
    assert_eq!(space.keys(&all()), ["d"]);
    let stored = [
        (2, 0, "c", None),
        (3, 0, "a", None),
        (4, 0, "b", None),
        (5, 0, "d", Some((5, 1))),
        (6, 0, "a", None),
        (6, 1, "b", None),
        (6, 2, "c", None),
    ];
    space.compact(5).unwrap();
    assert_eq!(
        space.view.hash_kv(0).unwrap().hash,
        crate::compaction::hash_of(&stored[3..]),
        "keys of the revoke in ascending order"
    );
    let mut space = space.reopen();
    assert_eq!(space.view.lease(LeaseId(7)), None);
    space.grant(8);
    assert_eq!(space.store.revoke(LeaseId(8)).unwrap(), Ok(Revision(6)));
}

#[test]
fn rule_6_8_a_key_that_moved_on_survives() {
    let mut space = KeySpace::new();
    space.grant(1);
    space.grant(2);
    for key in ["moved", "freed", "held"] {
        space.write(&Put { lease: 1, ..put(key, "") }).unwrap();
    }
    space.write(&Put { lease: 2, ..put("moved", "") }).unwrap();
    space.put("freed", "");
    space.store.revoke(LeaseId(1)).unwrap().unwrap();
    space.store.publish();
    assert_eq!(space.keys(&all()), ["freed", "moved"]);
    // The lease's number is given to another one; the survivors do not follow.
    space.grant(3);
    space.store.revoke(LeaseId(3)).unwrap().unwrap();
    space.store.publish();
    assert_eq!(space.keys(&all()), ["freed", "moved"]);
}

#[test]
fn rule_6_16_the_keys_of_a_lease() {
    let mut space = KeySpace::new();
    space.grant(-5);
    for key in ["b", "a"] {
        space.write(&Put { lease: -5, ..put(key, "") }).unwrap();
    }
    assert_eq!(space.view.lease_keys(LeaseId(-5)).unwrap(), [&b"a"[..], b"b"]);
    assert!(space.view.lease_keys(LeaseId(6)).unwrap().is_empty());
    assert_eq!(space.get("a").unwrap().lease, -5);
}
