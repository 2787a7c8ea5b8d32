//! Group 4: transactions, as they run.

use std::task::{Poll, Waker};

use revd_mvcc::{
    Compare, Op, OpDone, Operand, Put, Range, Rejected, Revision, Txn, TxnDone, Watch, WatchOptions,
};

use crate::key_space::{
    KeySpace, all, bytes, compare, delete, keys, put, range, rejected, success,
};
use crate::wire;

const VERSION: i32 = 0;
const CREATE: i32 = 1;
const MOD: i32 = 2;
const VALUE: i32 = 3;
const LEASE: i32 = 4;

const EQUAL: i32 = 0;
const GREATER: i32 = 1;
const LESS: i32 = 2;
const NOT_EQUAL: i32 = 3;

fn holds(space: &mut KeySpace, compare: Compare) -> bool {
    let txn = Txn { compare: vec![compare], ..Txn::default() };
    let read = space.view.txn(&txn).unwrap().succeeded;
    assert_eq!(read, space.txn(&txn).unwrap().succeeded, "reader and writer agree");
    read
}

fn ranged(done: &TxnDone, at: usize) -> &revd_mvcc::Ranged {
    let OpDone::Range(ranged) = &done.responses[at] else { panic!("{done:?}") };
    ranged
}

#[test]
fn rule_4_1_all_compares_must_hold() {
    let mut space = KeySpace::new();
    space.put("a", "1");
    let yes = compare(VALUE, EQUAL, "a", Operand::Value(bytes("1")));
    let no = compare(VERSION, EQUAL, "a", Operand::Version(7));
    for (compares, expected) in [
        (vec![], true),
        (vec![yes.clone()], true),
        (vec![yes.clone(), no.clone()], false),
        (vec![no, yes], false),
    ] {
        let txn = Txn { compare: compares, ..Txn::default() };
        assert_eq!(space.view.txn(&txn).unwrap().succeeded, expected);
    }
}

#[test]
fn rule_4_2_one_answer_for_each_operation_of_the_branch() {
    let mut space = KeySpace::new();
    let txn = Txn {
        compare: vec![compare(VERSION, GREATER, "a", Operand::Version(0))],
        success: vec![Op::DeleteRange(delete("a", ""))],
        failure: vec![
            Op::Put(put("a", "")),
            Op::Range(all()),
            Op::DeleteRange(delete("x", "")),
            Op::Txn(Txn::default()),
        ],
    };
    let done = space.txn(&txn).unwrap();
    assert!(!done.succeeded);
    let [OpDone::Put(_), OpDone::Range(_), OpDone::Deleted(_), OpDone::Txn(_)] =
        &done.responses[..]
    else {
        panic!("{done:?}")
    };
    let done = space.txn(&txn).unwrap();
    assert!(done.succeeded && matches!(done.responses[..], [OpDone::Deleted(_)]));
}

#[test]
fn rule_4_3_targets_and_results() {
    let mut space = KeySpace::new();
    space.grant(5);
    space.put("a", "m");
    space.write(&Put { lease: 5, ..put("a", "m") }).unwrap();
    let cases = [
        (VERSION, Operand::Version(2), Operand::Version(1), Operand::Version(3)),
        (CREATE, Operand::Create(2), Operand::Create(1), Operand::Create(3)),
        (MOD, Operand::Mod(3), Operand::Mod(2), Operand::Mod(4)),
        (LEASE, Operand::Lease(5), Operand::Lease(4), Operand::Lease(6)),
        (
            VALUE,
            Operand::Value(bytes("m")),
            Operand::Value(bytes("l")),
            Operand::Value(bytes("ma")),
        ),
    ];
    for (target, same, smaller, larger) in cases {
        let mut check = |result, operand: &Operand| {
            holds(&mut space, compare(target, result, "a", operand.clone()))
        };
        assert!(check(EQUAL, &same) && !check(EQUAL, &larger));
        assert!(check(NOT_EQUAL, &larger) && !check(NOT_EQUAL, &same));
        assert!(check(GREATER, &smaller) && !check(GREATER, &same) && !check(GREATER, &larger));
        assert!(check(LESS, &larger) && !check(LESS, &same) && !check(LESS, &smaller));
    }
    for (target, zero) in [
        (VERSION, Operand::Version(0)),
        (CREATE, Operand::Create(0)),
        (MOD, Operand::Mod(0)),
        (LEASE, Operand::Lease(0)),
    ] {
        assert!(holds(&mut space, compare(target, EQUAL, "absent", zero)));
    }
}

#[test]
fn rule_4_4_the_value_of_an_absent_key_compares_with_nothing() {
    let mut space = KeySpace::new();
    for result in [EQUAL, GREATER, LESS, NOT_EQUAL] {
        for value in ["", "x"] {
            let compare = compare(VALUE, result, "absent", Operand::Value(bytes(value)));
            assert!(!holds(&mut space, compare));
        }
    }
}

#[test]
fn rule_4_5_a_compare_over_a_range_holds_for_every_key() {
    let mut space = KeySpace::new();
    for key in ["p1", "p2", "p2"] {
        space.put(key, "v");
    }
    let over = |compare: Compare, end: &str| Compare { range_end: bytes(end), ..compare };
    let all_first = compare(VERSION, EQUAL, "p", Operand::Version(1));
    assert!(!holds(&mut space, over(all_first.clone(), "q")));
    assert!(holds(&mut space, over(all_first, "p2")));
    let values = compare(VALUE, EQUAL, "p", Operand::Value(bytes("v")));
    assert!(holds(&mut space, over(values.clone(), "\0")));
    let created = compare(CREATE, GREATER, "k0", Operand::Create(0));
    assert!(!holds(&mut space, over(created, "k1")));
    let missing = compare(VERSION, EQUAL, "k0", Operand::Version(0));
    assert!(holds(&mut space, over(missing, "k1")));
    assert!(!holds(&mut space, over(Compare { key: bytes("k0"), ..values }, "k1")));
}

#[test]
fn rule_4_6_numbers_without_meaning() {
    let mut space = KeySpace::new();
    space.put("a", "");
    assert!(holds(&mut space, compare(VERSION, 17, "a", Operand::Version(99))));
    assert!(holds(&mut space, compare(VERSION, -1, "absent", Operand::Version(99))));
    for key in ["a", "absent"] {
        assert!(holds(&mut space, compare(9, EQUAL, key, Operand::Version(99))));
        for result in [GREATER, LESS, NOT_EQUAL] {
            assert!(!holds(&mut space, compare(9, result, key, Operand::Version(99))));
        }
    }
    assert!(holds(&mut space, compare(VERSION, GREATER, "a", Operand::Mod(99))));
    assert!(holds(&mut space, compare(VERSION, GREATER, "a", Operand::Unset)));
    assert!(holds(&mut space, compare(VALUE, EQUAL, "a", Operand::Version(3))));
}

#[test]
fn rule_4_7_nested_compares_look_at_the_state_before() {
    let mut space = KeySpace::new();
    let nested = Txn {
        compare: vec![compare(VERSION, GREATER, "a", Operand::Version(0))],
        success: vec![Op::Put(put("seen", ""))],
        failure: vec![Op::Put(put("unseen", ""))],
    };
    space.txn(&success(vec![Op::Put(put("a", "")), Op::Txn(nested)])).unwrap();
    assert_eq!(space.keys(&all()), ["a", "unseen"]);
}

#[test]
fn rule_4_8_checks_look_at_the_state_before_and_leave_nothing() {
    let mut space = KeySpace::new();
    let ignoring = Put { ignore_value: true, ..put("new2x", "") };
    let nested = success(vec![Op::Put(ignoring.clone())]);
    let txn = success(vec![Op::Put(put("new2", "")), Op::Txn(nested)]);
    assert_eq!(space.txn(&txn), Err(Rejected::KeyNotFound));
    let own = success(vec![Op::Put(put("b", "")), Op::Put(Put { lease: 3, ..put("c", "") })]);
    assert_eq!(space.txn(&own), Err(Rejected::LeaseNotFound));
    assert_eq!((space.revision(), space.range(&all()).count), (1, 0));
    space.put("gone", "");
    // A delete before it in the same transaction does not count either.
    let deleted = delete("gone", "\0");
    let keeping = Put { ignore_value: true, ..put("gone", "") };
    let txn = success(vec![Op::DeleteRange(deleted), Op::Put(keeping)]);
    assert_eq!(space.txn(&txn).unwrap().revision, Revision(3));
    assert_eq!(space.get("gone").unwrap().version, 1);
}

#[test]
fn rule_4_9_branches_not_taken_are_not_checked() {
    let mut space = KeySpace::new();
    let future = Op::Range(Range { revision: 1_000, ..all() });
    let lease = Op::Put(Put { lease: 99, ..put("a", "") });
    let txn = Txn { failure: vec![future.clone(), lease], ..Txn::default() };
    assert!(space.txn(&txn).unwrap().succeeded);
    let reading = Txn { failure: vec![future], ..Txn::default() };
    assert!(space.view.txn(&reading).unwrap().succeeded);
}

#[test]
fn rule_4_10_a_range_sees_what_was_written_before_it() {
    let mut space = KeySpace::new();
    space.put("b", "old");
    let ops = vec![
        Op::Put(put("a", "new")),
        Op::Range(range("a", "")),
        Op::DeleteRange(delete("b", "")),
        Op::Range(all()),
    ];
    let done = space.txn(&success(ops)).unwrap();
    assert_eq!(&wire::records(ranged(&done, 1))[0].value[..], b"new");
    assert_eq!(keys(ranged(&done, 3)), ["a"]);
    assert_eq!(ranged(&done, 3).count, 1);
}

#[test]
fn rule_4_11_a_revision_reads_the_old_state() {
    let mut space = KeySpace::new();
    space.put("a", "old");
    let at = |revision| Op::Range(Range { revision, ..range("a", "") });
    let done = space.txn(&success(vec![Op::Put(put("a", "new")), at(2)])).unwrap();
    assert_eq!(&wire::records(ranged(&done, 1))[0].value[..], b"old");
    let future = success(vec![Op::Put(put("a", "")), at(4)]);
    assert_eq!(space.txn(&future), Err(Rejected::FutureRevision));
    assert_eq!(space.revision(), 3);
}

#[test]
fn rule_4_12_negative_revisions_are_compared_with_the_floor() {
    let mut space = KeySpace::new();
    space.put("a", "");
    let txn = |revision| success(vec![Op::Range(Range { revision, ..all() })]);
    assert_eq!(ranged(&space.txn(&txn(-1)).unwrap(), 0).count, 1);
    assert_eq!(ranged(&space.view.txn(&txn(-1)).unwrap(), 0).count, 1);
    assert_eq!(space.txn(&txn(-2)), Err(Rejected::Compacted));
    space.compact(0).unwrap();
    assert_eq!(space.txn(&txn(-1)), Err(Rejected::Compacted));
    assert_eq!(rejected(space.view.txn(&txn(-1))), Rejected::Compacted);
    assert_eq!(ranged(&space.txn(&txn(0)).unwrap(), 0).count, 1);
    space.put("a", "");
    space.compact(3).unwrap();
    assert_eq!(space.txn(&txn(2)), Err(Rejected::Compacted));
    assert_eq!(rejected(space.view.txn(&txn(4))), Rejected::FutureRevision);
}

#[test]
fn rule_4_13_header_revisions_inside() {
    let mut space = KeySpace::new();
    let ops = vec![
        Op::Range(all()),
        Op::DeleteRange(delete("none", "")),
        Op::Put(put("a", "")),
        Op::Range(all()),
        Op::DeleteRange(delete("none", "")),
    ];
    let done = space.txn(&success(ops)).unwrap();
    let revision = |op: &OpDone| match op {
        OpDone::Range(done) => done.revision.0,
        OpDone::Put(done) => done.revision.0,
        OpDone::Deleted(done) => done.revision.0,
        OpDone::Txn(done) => done.revision.0,
    };
    let found: Vec<i64> = done.responses.iter().map(revision).collect();
    assert_eq!(found, [1, 1, 2, 2, 2]);
}

#[test]
fn rule_4_14_a_nested_transaction_shares_the_revision() {
    let mut space = KeySpace::new();
    let nested = success(vec![Op::Put(put("b", "")), Op::Range(all())]);
    let ops = vec![Op::Put(put("a", "")), Op::Txn(nested), Op::Put(put("c", ""))];
    let done = space.txn(&success(ops)).unwrap();
    assert_eq!(done.revision, Revision(2));
    let OpDone::Txn(inner) = &done.responses[1] else { panic!("{done:?}") };
    assert_eq!((inner.revision, inner.succeeded), (Revision(0), true));
    assert_eq!(keys(ranged(inner, 1)), ["a", "b"]);
    let stored = [(2, 0, "a", Some((2, 1))), (2, 1, "b", Some((2, 1))), (2, 2, "c", Some((2, 1)))];
    assert_eq!(space.view.hash_kv(0).unwrap().hash, crate::compaction::hash_of(&stored));
}

#[test]
fn rule_4_18_a_delete_to_the_end_of_all_keys_then_a_put() {
    let mut space = KeySpace::new();
    space.put("a", "");
    space.put("b", "old");
    let ops = vec![Op::DeleteRange(delete("a", "\0")), Op::Put(put("b", "new"))];
    assert_eq!(space.txn(&success(ops)).unwrap().revision, Revision(4));
    assert_eq!(space.keys(&all()), ["b"]);
    assert_eq!(space.get("b").unwrap().version, 1);
}

#[test]
fn rule_4_19_siblings_put_and_then_delete_a_key() {
    let mut space = KeySpace::new();
    let ops = vec![
        Op::Txn(success(vec![Op::Put(put("x", ""))])),
        Op::Txn(success(vec![Op::DeleteRange(delete("x", ""))])),
    ];
    let done = space.txn(&success(ops)).unwrap();
    assert_eq!((done.revision, space.get("x")), (Revision(2), None));
    let OpDone::Txn(second) = &done.responses[1] else { panic!("{done:?}") };
    assert!(matches!(&second.responses[0], OpDone::Deleted(deleted) if deleted.deleted == 1));
    let stored = [(2, 0, "x", Some((2, 1))), (2, 1, "x", None)];
    assert_eq!(space.view.hash_kv(0).unwrap().hash, crate::compaction::hash_of(&stored));
}

#[test]
fn rule_4_22_what_counts_as_read_only() {
    let reading = Txn {
        success: vec![Op::Range(all())],
        failure: vec![Op::Range(range("a", ""))],
        ..Txn::default()
    };
    assert!(reading.is_read_only() && Txn::default().is_read_only());
    for op in [Op::Put(put("a", "")), Op::DeleteRange(delete("a", "")), Op::Txn(Txn::default())] {
        assert!(!success(vec![op.clone()]).is_read_only());
        let failure = Txn { failure: vec![op], ..reading.clone() };
        assert!(!failure.is_read_only());
    }
    let mut space = KeySpace::new();
    space.put("a", "");
    let done = space.view.txn(&reading).unwrap();
    assert_eq!((done.revision, done.succeeded), (Revision(2), true));
    assert_eq!(keys(ranged(&done, 0)), ["a"]);
    assert_eq!(space.txn(&reading).unwrap(), done, "the writer gives the same answer");
}

#[test]
fn rule_4_23_serializable_if_every_range_is() {
    let local = Range { serializable: true, ..all() };
    assert!(success(vec![Op::Range(local.clone())]).is_serializable());
    let mixed =
        Txn { success: vec![Op::Range(local)], failure: vec![Op::Range(all())], ..Txn::default() };
    assert!(!mixed.is_serializable());
}

#[test]
fn rule_4_24_no_operations_count_as_serializable() {
    let compare = compare(VERSION, EQUAL, "a", Operand::Version(0));
    let txn = Txn { compare: vec![compare], ..Txn::default() };
    assert!(txn.is_read_only() && txn.is_serializable());
}

#[test]
fn rule_4_26_an_empty_transaction_succeeds() {
    let mut space = KeySpace::new();
    let done = space.txn(&Txn::default()).unwrap();
    assert_eq!(done, TxnDone { revision: Revision(1), succeeded: true, responses: vec![] });
}

#[test]
fn rule_4_25_a_transaction_is_atomic_over_a_restart() {
    let mut space = KeySpace::new();
    let ops = (0..100).map(|n| Op::Put(put(&format!("k{n:03}"), "v"))).collect();
    space.txn(&success(ops)).unwrap();
    let space = space.reopen();
    assert_eq!(space.range(&all()).count, 100);
    assert_eq!(space.range(&Range { revision: 1, ..all() }).count, 0);
    let records = wire::records(&space.range(&all()));
    assert!(records.iter().all(|kv| kv.mod_revision == 2 && kv.value == "v"));
}

#[test]
fn rule_4_27_members_without_a_client_check_the_ranges_too() {
    for (revision, expected) in [
        (0, Ok(())),
        (1, Ok(())),
        (3, Ok(())),
        (4, Err(Rejected::FutureRevision)),
        (i64::MAX, Err(Rejected::FutureRevision)),
        (-2, Err(Rejected::Compacted)),
    ] {
        let read = Op::Range(Range { revision, ..all() });
        let txn = success(vec![Op::Put(put("a", "1")), read]);
        // Every member applies the transaction; one has a client, who looks at the answer.
        let members = [true, false].map(|has_client| {
            let mut space = KeySpace::new();
            space.put("b", "");
            space.put("c", "");
            let done = space.store.txn(&txn).unwrap();
            if let (true, Ok(done)) = (has_client, &done) {
                assert_eq!(ranged(done, 1).returned > 0, revision != 1);
            }
            space.store.publish();
            assert_eq!(done.map(drop), expected, "a range at {revision}");
            space.range(&all())
        });
        assert_eq!(members[0].revision.0, 3 + i64::from(expected.is_ok()));
        assert_eq!(members[0], members[1]);
    }
}

#[test]
fn rule_4_28_events_come_in_the_order_of_the_operations() {
    let mut space = KeySpace::new();
    space.put("y", "");
    space.put("x", "");
    let stream = space.store.hub().stream(WatchOptions::default());
    let everything = Watch { key: bytes("\0"), range_end: bytes("\0"), ..Watch::default() };
    stream.create(everything);
    let ops = vec![
        Op::Put(put("b", "")),
        Op::Txn(success(vec![Op::Put(put("a", ""))])),
        Op::DeleteRange(delete("x", "z")),
    ];
    space.txn(&success(ops)).unwrap();
    let mut seen = Vec::new();
    while let Poll::Ready(response) = stream.poll_next(Waker::noop()) {
        for event in response.unwrap().events {
            let (is_put, kv, _) = wire::event(&event);
            seen.push((is_put, kv.key, kv.mod_revision));
        }
    }
    let expected = [(true, "b"), (true, "a"), (false, "x"), (false, "y")];
    assert_eq!(seen, expected.map(|(is_put, key)| (is_put, bytes(key), 4)));
}
