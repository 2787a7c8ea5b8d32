//! Group 4: what a transaction may hold, whatever the store holds.

use bytes::Bytes;
use revd_mvcc::{Invalid, Op, Operand, Put, Range, Txn};

use crate::key_space::{compare, delete, put, range, success};

fn p(key: &str) -> Op {
    Op::Put(put(key, ""))
}

fn d(key: &str, end: &str) -> Op {
    Op::DeleteRange(delete(key, end))
}

fn r(key: &str) -> Op {
    Op::Range(range(key, ""))
}

fn t(success: Vec<Op>, failure: Vec<Op>) -> Op {
    Op::Txn(Txn { compare: vec![], success, failure })
}

fn check(ops: Vec<Op>) -> Result<(), Invalid> {
    let failing = Txn { failure: ops.clone(), ..Txn::default() };
    let succeeding = success(ops);
    assert_eq!(failing.check(128), succeeding.check(128), "both branches follow the same rules");
    succeeding.check(128)
}

const DUPLICATE: Result<(), Invalid> = Err(Invalid::DuplicateKey);

#[test]
fn rule_4_15_counts_and_what_is_left_for_nested_ones() {
    let compares = |n| vec![compare(0, 0, "k", Operand::Unset); n];
    let ranges = |n| vec![r("k"); n];
    let full = Txn { compare: compares(128), success: ranges(128), failure: ranges(128) };
    assert_eq!(full.check(128), Ok(()));
    for txn in [
        Txn { compare: compares(129), ..Txn::default() },
        Txn { success: ranges(129), ..Txn::default() },
        Txn { failure: ranges(129), ..Txn::default() },
    ] {
        assert_eq!(txn.check(128), Err(Invalid::TooManyOps));
    }
    let nested = |inner| success(vec![r("k"), t(ranges(inner), vec![])]);
    assert_eq!(nested(2).check(4), Ok(()));
    assert_eq!(nested(3).check(4), Err(Invalid::TooManyOps));
    let mut siblings = ranges(98);
    siblings.extend([t(ranges(28), vec![]), t(ranges(28), vec![])]);
    assert_eq!(success(siblings.clone()).check(128), Ok(()));
    siblings[99] = t(vec![], ranges(29));
    assert_eq!(success(siblings).check(128), Err(Invalid::TooManyOps));
}

#[test]
fn rule_4_15_nesting_is_bounded_by_the_count() {
    let mut txn = Txn::default();
    for _ in 0..128 {
        txn = success(vec![Op::Txn(txn)]);
    }
    assert_eq!(txn.check(128), Ok(()));
    let deeper = success(vec![Op::Txn(txn)]);
    assert_eq!(deeper.check(128), Err(Invalid::TooManyOps));
}

#[test]
fn rule_4_16_operations_must_say_something() {
    assert_eq!(check(vec![Op::Empty]), Err(Invalid::EmptyOperation));
    assert_eq!(check(vec![t(vec![], vec![Op::Empty])]), Err(Invalid::EmptyOperation));
    let keyless = Txn { compare: vec![compare(0, 0, "", Operand::Unset)], ..Txn::default() };
    assert_eq!(keyless.check(128), Err(Invalid::EmptyKey));
    assert_eq!(check(vec![r("")]), Err(Invalid::EmptyKey));
    assert_eq!(check(vec![p("")]), Err(Invalid::EmptyKey));
    assert_eq!(check(vec![d("", "z")]), Err(Invalid::EmptyKey));
    let valued = Put { ignore_value: true, ..put("k", "v") };
    assert_eq!(check(vec![Op::Put(valued)]), Err(Invalid::ValueProvided));
    let leased = Put { ignore_lease: true, lease: 1, ..put("k", "v") };
    assert_eq!(check(vec![Op::Put(leased)]), Err(Invalid::LeaseProvided));
    let sorted = Range { sort_order: 7.into(), ..range("k", "") };
    assert_eq!(check(vec![Op::Range(sorted)]), Err(Invalid::SortOption));
}

#[test]
fn rule_4_17_puts_and_deletes_of_one_list() {
    assert_eq!(check(vec![p("k"), p("k")]), DUPLICATE);
    assert_eq!(check(vec![p("k"), d("k", "")]), DUPLICATE);
    assert_eq!(check(vec![d("k", ""), p("k")]), DUPLICATE);
    assert_eq!(check(vec![p("k"), d("a", "z")]), DUPLICATE);
    assert_eq!(check(vec![d("a", "z"), p("k")]), DUPLICATE);
    assert_eq!(check(vec![p("z"), d("q", "z")]), Ok(()));
    assert_eq!(check(vec![p("q"), d("q", "z")]), DUPLICATE);
    assert_eq!(check(vec![d("a", "z"), d("b", "c"), d("b", "")]), Ok(()));
    assert_eq!(check(vec![r("k"), p("k"), r("k"), d("l", "")]), Ok(()));
    assert_eq!(check(vec![d("z", "a"), p("b")]), Ok(()), "an inverted interval is empty");
    let both = Txn { compare: vec![], success: vec![p("k")], failure: vec![p("k"), d("l", "")] };
    assert_eq!(both.check(128), Ok(()));
}

#[test]
fn rule_4_17_deletes_that_overlap_each_other_stay_covered() {
    let deletes = vec![d("m", ""), d("a", "c"), d("b", "f"), d("x", "z"), d("e", "n")];
    let cases = [("a", true), ("bb", true), ("f", true), ("m", true), ("n", false), ("w", false)];
    for (key, clashes) in cases.into_iter().chain([("x", true), ("z", false), ("A", false)]) {
        let mut ops = deletes.clone();
        ops.push(p(key));
        assert_eq!(check(ops), if clashes { DUPLICATE } else { Ok(()) }, "{key}");
    }
    // An end that is a key of its own, then an interval that begins there.
    assert_eq!(check(vec![d("a", "m"), d("m", ""), p("m")]), DUPLICATE);
    assert_eq!(check(vec![d("m", ""), d("a", "m"), p("m\0")]), Ok(()));
    assert_eq!(check(vec![d("k", ""), d("a", "k"), p("k")]), DUPLICATE);
}

#[test]
fn rule_4_18_the_open_end_is_taken_literally() {
    assert_eq!(check(vec![d("a", "\0"), p("b")]), Ok(()));
    assert_eq!(check(vec![p("b"), d("a", "\0")]), Ok(()));
    assert_eq!(check(vec![d("a", "\0"), p("a")]), Ok(()));
}

#[test]
fn rule_4_19_order_matters_among_siblings() {
    let put_then_delete = vec![t(vec![p("k")], vec![]), t(vec![d("k", "")], vec![])];
    assert_eq!(check(put_then_delete), Ok(()));
    let delete_then_put = vec![t(vec![d("k", "")], vec![]), t(vec![p("k")], vec![])];
    assert_eq!(check(delete_then_put), DUPLICATE);
    let in_failure = vec![t(vec![], vec![d("a", "z")]), t(vec![], vec![p("k")])];
    assert_eq!(check(in_failure), DUPLICATE);
}

#[test]
fn rule_4_20_nested_against_the_enclosing_list_and_each_other() {
    assert_eq!(check(vec![t(vec![p("k")], vec![p("k")])]), Ok(()));
    assert_eq!(check(vec![t(vec![p("k")], vec![d("k", "")])]), Ok(()));
    assert_eq!(check(vec![t(vec![p("k")], vec![]), p("k")]), DUPLICATE);
    assert_eq!(check(vec![p("k"), t(vec![p("k")], vec![])]), DUPLICATE);
    assert_eq!(check(vec![t(vec![p("k")], vec![]), d("k", "")]), DUPLICATE);
    assert_eq!(check(vec![d("a", "z"), t(vec![], vec![p("k")])]), DUPLICATE);
    assert_eq!(check(vec![t(vec![d("k", "")], vec![]), p("k")]), DUPLICATE);
    assert_eq!(check(vec![p("k"), t(vec![], vec![d("k", "")])]), DUPLICATE);
    for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
        let put_in = |is_success| {
            if is_success { t(vec![p("k")], vec![]) } else { t(vec![], vec![p("k")]) }
        };
        assert_eq!(check(vec![put_in(first), put_in(second)]), DUPLICATE);
    }
    let deep = t(vec![t(vec![t(vec![p("k")], vec![])], vec![])], vec![]);
    assert_eq!(check(vec![deep.clone(), p("k")]), DUPLICATE);
    assert_eq!(check(vec![deep, p("l")]), Ok(()));
    assert_eq!(check(vec![t(vec![p("k"), p("k")], vec![])]), DUPLICATE);
}

#[test]
fn rule_4_21_the_order_of_checks() {
    let broken = Txn {
        compare: vec![compare(0, 0, "", Operand::Unset)],
        success: vec![p("k"), p("k"), Op::Empty],
        failure: vec![p("")],
    };
    assert_eq!(broken.check(2), Err(Invalid::TooManyOps));
    assert_eq!(broken.check(9), Err(Invalid::EmptyKey));
    let broken = Txn { compare: vec![], ..broken };
    assert_eq!(broken.check(9), Err(Invalid::EmptyOperation));
    let broken = Txn { success: vec![p("k"), p("k")], ..broken };
    assert_eq!(broken.check(9), Err(Invalid::EmptyKey), "operations before overlaps");
    let broken = Txn { failure: vec![p("l")], ..broken };
    assert_eq!(broken.check(9), DUPLICATE);
    let fixed = Txn { success: vec![p("k")], failure: vec![p("l"), p("l")], ..broken };
    assert_eq!(fixed.check(9), DUPLICATE);
}

#[test]
fn a_hostile_transaction_is_checked_quickly() {
    let key = |number: u32| Bytes::from(number.to_be_bytes().to_vec());
    let nested = |from: u32| {
        let deletes = (0..60).map(|n| {
            let (key, range_end) = (key(from + 2 * n), key(from + 2 * n + 1));
            Op::DeleteRange(revd_mvcc::DeleteRange { key, range_end, prev_kv: false })
        });
        let puts = (0..60).map(|n| Op::Put(Put { key: key(from + 2 * n + 1), ..Put::default() }));
        Op::Txn(Txn { compare: vec![], success: deletes.collect(), failure: puts.collect() })
    };
    let level = |from: u32| t((0..60).map(|n| nested(from + 200 * n)).collect(), vec![]);
    let txn = success((0..60).map(|n| level(1 + 20_000 * n)).collect());
    // 432,000 operations that do not clash: seconds if compared pair by pair.
    assert_eq!(txn.check(1_000), Ok(()));
}
