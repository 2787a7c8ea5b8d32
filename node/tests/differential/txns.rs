//! Transactions (group 4).

use revd_api::etcdserverpb as pb;

use crate::ops;
use crate::requests::{
    CompareResult::{Equal, Greater, Less, NotEqual},
    REST, TargetUnion, compare, compare_range, compare_raw, delete, grant, put, put_leased, range,
    revoke, then, txn, value, with,
};
use crate::trial::Trial;

const ANY_RESULT: [crate::requests::CompareResult; 4] = [Equal, Greater, Less, NotEqual];

/// All cases of this file.
pub async fn run(t: &mut Trial) {
    branches(t).await;
    compares(t).await;
    ranges_compared(t).await;
    execution(t).await;
    revisions(t).await;
    nested(t).await;
    overlaps(t).await;
    counts(t).await;
    refusals(t).await;
}

async fn branches(t: &mut Trial) {
    t.call("4.26 nothing at all", then(ops![])).await;
    t.call("4.1 no condition holds", then(ops![put("t/a", "1")])).await;
    let request = |wanted| {
        txn(
            vec![compare("t/a", Equal, value(wanted))],
            ops![put("t/a", "2"), range("t/a", "")],
            ops![range("t/a", ""), delete("t/none", "")],
        )
    };
    t.call("4.2 the branch of success", request("1")).await;
    t.call("4.2 the branch of failure", request("1")).await;
    let both = vec![compare("t/a", Equal, value("2")), compare("t/b", Equal, value(""))];
    t.call("4.1 one of two fails", txn(both, ops![put("t/x", "")], ops![])).await;
    t.call("4.26 a branch that changes nothing", then(ops![delete("t/none", "")])).await;
    t.call("4.22 only ranges", then(ops![range("t/a", ""), range("t/", "t0")])).await;
    let local = |key| with(range(key, ""), |r| r.serializable = true);
    t.call("4.23 serializable ranges", then(ops![local("t/a"), local("t/b")])).await;
    let compare_only = txn(vec![compare("t/a", Equal, value("2"))], ops![], ops![]);
    t.call("4.24 a condition without operations", compare_only).await;
}

async fn compares(t: &mut Trial) {
    let created = t.call("4.3 a key with history", put("t/c", "m")).await.revision();
    t.call("4.3 a lease", grant(801, 1000)).await;
    let modified = t.call("4.3 its second version", put_leased("t/c", "m", 801)).await.revision();
    for result in ANY_RESULT {
        for offset in -1..=1 {
            for (target, operand) in [
                ("version", TargetUnion::Version(2 + offset)),
                ("create", TargetUnion::CreateRevision(created + offset)),
                ("mod", TargetUnion::ModRevision(modified + offset)),
                ("lease", TargetUnion::Lease(801 + offset)),
            ] {
                let case = format!("4.3 {target} {result:?} its own {offset:+}");
                t.call(&case, txn(vec![compare("t/c", result, operand)], ops![], ops![])).await;
            }
        }
        for text in ["", "l", "m", "mm", "n"] {
            let case = format!("4.3 value {result:?} {text:?}");
            t.call(&case, txn(vec![compare("t/c", result, value(text))], ops![], ops![])).await;
            let case = format!("4.4 value of a missing key {result:?} {text:?}");
            t.call(&case, txn(vec![compare("t/no", result, value(text))], ops![], ops![])).await;
        }
        for n in -1..=1 {
            for operand in [
                TargetUnion::Version(n),
                TargetUnion::CreateRevision(n),
                TargetUnion::ModRevision(n),
                TargetUnion::Lease(n),
            ] {
                let case = format!("4.3 missing key {result:?} {operand:?}");
                t.call(&case, txn(vec![compare("t/no", result, operand)], ops![], ops![])).await;
            }
        }
    }
    for (target, operand) in [
        (0, None),
        (1, None),
        (3, None),
        (4, None),
        (0, Some(TargetUnion::ModRevision(2))),
        (3, Some(TargetUnion::Version(2))),
        (2, Some(value("m"))),
    ] {
        for result in 0..=3 {
            let case = format!("4.6 target {target} result {result} operand {operand:?}");
            let condition = compare_raw("t/c", target, result, operand.clone());
            t.call(&case, txn(vec![condition], ops![], ops![])).await;
        }
    }
    for (target, result) in [(0, 9), (3, -1), (9, 0), (9, 1), (9, 2), (9, 3), (9, 9)] {
        for key in ["t/c", "t/no"] {
            let case = format!("4.6 {key} with numbers without meaning: {target} {result}");
            let condition = compare_raw(key, target, result, None);
            t.call(&case, txn(vec![condition], ops![], ops![])).await;
        }
    }
    t.call("4.3 done with the lease", revoke(801)).await;
}

async fn ranges_compared(t: &mut Trial) {
    for (key, text) in [("tr/a", "5"), ("tr/b", "7"), ("tr/c", "5")] {
        t.call("4.5 keys to compare", put(key, text)).await;
    }
    for (case, condition) in [
        ("all at least", compare_range("tr/", "tr0", Greater, value("4"))),
        ("not all equal", compare_range("tr/", "tr0", Equal, value("5"))),
        ("part of it equal", compare_range("tr/a", "tr/b", Equal, value("5"))),
        ("all versions", compare_range("tr/", "tr0", Equal, TargetUnion::Version(1))),
        ("from a key on", compare_range("tr/", REST, Less, value("8"))),
        ("empty: create", compare_range("k0", "k1", Greater, TargetUnion::CreateRevision(0))),
        ("empty: version", compare_range("k0", "k1", Equal, TargetUnion::Version(0))),
        ("empty: value", compare_range("k0", "k1", NotEqual, value("x"))),
        ("wrong way round", compare_range("tr/c", "tr/a", Equal, TargetUnion::Version(0))),
    ] {
        t.call(&format!("4.5 {case}"), txn(vec![condition], ops![], ops![])).await;
    }
}

async fn execution(t: &mut Trial) {
    let all = || range("te/", "te0");
    let request = then(ops![
        range("te/a", ""),
        put("te/a", "1"),
        range("te/a", ""),
        put("te/b", "2"),
        all(),
        with(put("te/c", "3"), |r| r.prev_kv = true),
        delete("te/x", "te/z"),
        with(all(), |r| r.limit = 1),
        with(all(), |r| r.count_only = true),
        with(all(), |r| r.keys_only = true),
    ]);
    t.call("4.10 operations see those before them", request).await;
    t.call("1.2 they share one revision", all()).await;
    let request = then(ops![
        with(delete("te/a", ""), |r| r.prev_kv = true),
        range("te/", "te0"),
        with(put("te/b", "22"), |r| r.prev_kv = true),
        with(put("te/d", ""), |r| r.lease = 0),
        delete("te/a", ""),
    ]);
    t.call("4.13 a deletion, then what follows", request).await;
    let request = then(ops![delete("te/none", ""), range("te/", "te0"), put("te/e", "5")]);
    t.call("4.13 nothing deleted, then a put", request).await;
    let sorted = with(all(), |r| {
        r.sort_order = 2;
        r.sort_target = 4;
    });
    t.call("2.16 sorted inside", then(ops![put("te/f", "0"), sorted])).await;
    t.call("4.10 the end", all()).await;
}

async fn revisions(t: &mut Trial) {
    let at = |revision| with(range("te/", "te0"), |r| r.revision = revision);
    let now = t.call("4.11 the present", range("te/", "te0")).await.revision();
    for offset in [-3, -1, 0, 1, 2] {
        let case = format!("4.11 a range at the present {offset:+}, after a write");
        let revision = now + offset;
        // The revision moves on with each that succeeds.
        t.call(&case, then(ops![put("te/a", "x"), at(revision)])).await;
        let case = format!("4.11 a range at the present {offset:+}, alone");
        t.call(&case, then(ops![at(revision)])).await;
    }
    for revision in [-1, -2, -5, i64::MIN] {
        let case = format!("4.12 revision {revision} before any compaction");
        t.call(&case, then(ops![at(revision)])).await;
        t.call(&format!("{case}, writing"), then(ops![put("te/a", "y"), at(revision)])).await;
    }
    let not_taken = txn(
        vec![compare("te/a", Equal, value("none"))],
        ops![at(i64::MAX), put_leased("te/a", "", 999)],
        ops![put("te/a", "z")],
    );
    t.call("4.9 a branch that is not taken", not_taken).await;
    t.call("4.8 unknown lease", then(ops![put("te/q", ""), put_leased("te/a", "", 999)])).await;
    t.call("4.8 nothing was applied", range("te/q", "")).await;
    let ignoring = with(put("te/none", ""), |r| r.ignore_value = true);
    t.call("4.8 a missing key", then(ops![put("te/q", ""), ignoring])).await;
    let early = with(put("te/new", ""), |r| r.ignore_value = true);
    let later = then(ops![then(ops![put("te/new", "v")]), then(ops![early])]);
    t.call("4.8 a key of the same transaction is not there yet", later).await;
}

/// Cases for a store that has been compacted.
pub async fn after_compaction(t: &mut Trial) {
    for revision in [-5, -1, 0, 1] {
        let request = with(range("te/", "te0"), |r| r.revision = revision);
        let case = format!("4.12 revision {revision} after a compaction");
        t.call(&case, then(ops![request.clone()])).await;
        t.call(&format!("{case}, writing"), then(ops![put("te/a", "y"), request])).await;
    }
}

async fn nested(t: &mut Trial) {
    let inner = |text: &str| {
        txn(
            vec![compare("tn/a", Equal, value(text))],
            ops![put("tn/yes", text), range("tn/", "tn0")],
            ops![put("tn/no", text)],
        )
    };
    t.call("4.22 a nested one alone", then(ops![then(ops![])])).await;
    t.call("4.14 nested", then(ops![put("tn/a", "1"), inner("1")])).await;
    t.call("4.7 compared with the state before", then(ops![put("tn/a", "2"), inner("1")])).await;
    t.call("4.7 not with the state within", then(ops![put("tn/a", "3"), inner("3")])).await;
    let deep = then(ops![then(ops![then(ops![put("tn/deep", "1"), range("tn/deep", "")])])]);
    t.call("4.14 three levels", deep).await;
    let read = then(ops![then(ops![range("tn/", "tn0")]), range("tn/a", "")]);
    t.call("4.22 nested ranges only", read).await;
    let after = then(ops![then(ops![delete("tn/deep", "")]), range("tn/", "tn0")]);
    t.call("4.14 the level above sees it", after).await;
}

async fn overlaps(t: &mut Trial) {
    let k = || put("to/k", "1");
    let del = || delete("to/k", "");
    let either = |yes: Vec<pb::RequestOp>, no: Vec<pb::RequestOp>| txn(vec![], yes, no);
    for (case, operations) in [
        ("put twice", ops![k(), k()]),
        ("put, delete", ops![k(), del()]),
        ("delete, put", ops![del(), k()]),
        ("put in a deleted range", ops![k(), delete("to/a", "to/z")]),
        ("put at the end of a deleted range", ops![put("to/z", ""), delete("to/q", "to/z")]),
        ("put at the start of a deleted range", ops![put("to/q", ""), delete("to/q", "to/z")]),
        ("deletions", ops![delete("to/a", "to/z"), delete("to/b", "to/c")]),
        ("the same deletion twice", ops![del(), del()]),
        ("a range and a put", ops![range("to/k", ""), k()]),
        ("4.18 from a key on", ops![delete("to/a", REST), put("to/b", "")]),
        ("put left of a deletion from a key on", ops![put("to/0", ""), delete("to/a", REST)]),
        ("an inverted deletion", ops![delete("to/z", "to/a"), k()]),
        ("nested: both branches put", ops![either(ops![k()], ops![k()])]),
        ("nested: put or delete", ops![either(ops![k()], ops![del()])]),
        ("nested: delete or put", ops![either(ops![del()], ops![k()])]),
        ("nested put, put", ops![then(ops![k()]), k()]),
        ("nested put, delete", ops![then(ops![k()]), del()]),
        ("delete, nested put", ops![del(), then(ops![k()])]),
        ("nested delete, put", ops![then(ops![del()]), k()]),
        ("nested failure put, put", ops![either(ops![], ops![k()]), k()]),
        ("two nested puts", ops![then(ops![k()]), then(ops![k()])]),
        ("nested put, nested failure put", ops![then(ops![k()]), either(ops![], ops![k()])]),
        ("nested delete, nested put", ops![then(ops![del()]), then(ops![k()])]),
        ("4.19 nested put, nested delete", ops![then(ops![k()]), then(ops![del()])]),
        ("nested deletions", ops![then(ops![del()]), then(ops![del()])]),
        ("inside a nested one", ops![then(ops![k(), k()])]),
        ("two levels down", ops![then(ops![then(ops![k()])]), k()]),
    ] {
        t.call(&format!("4.17 {case}"), then(operations.clone())).await;
        t.call("4.17 what it left", range("to/", "to0")).await;
        let failing = vec![compare("to/none", Greater, TargetUnion::Version(0))];
        t.call(&format!("4.17 as failure: {case}"), txn(failing, ops![], operations)).await;
    }
    t.call("4.17 the branches are apart", either(ops![k()], ops![k(), put("to/l", "")])).await;
}

async fn counts(t: &mut Trial) {
    let ranges = |n: usize| (0..n).flat_map(|_| ops![range("t/a", "")]).collect::<Vec<_>>();
    let conditions = |n: usize| vec![compare("t/none", Equal, TargetUnion::Version(0)); n];
    for n in [127, 128, 129] {
        t.call(&format!("4.15 {n} of success"), then(ranges(n))).await;
        t.call(&format!("4.15 {n} of failure"), txn(vec![], vec![], ranges(n))).await;
        t.call(&format!("4.15 {n} conditions"), txn(conditions(n), vec![], vec![])).await;
    }
    let full = txn(conditions(128), ranges(128), ranges(128));
    t.call("4.15 each count for itself", full).await;
    for inner in [26, 27, 28, 29, 30] {
        let mut outer = ranges(98);
        outer.extend(ops![then(ranges(inner)), then(ranges(inner))]);
        t.call(&format!("4.15 100 and twice {inner} nested"), then(outer)).await;
    }
    let bad =
        pb::TxnRequest { compare: vec![compare("", Equal, value("")); 129], ..<_>::default() };
    t.call("4.21 counts before keys", bad).await;
}

async fn refusals(t: &mut Trial) {
    let empty_op = || pb::RequestOp { request: None };
    t.call("4.16 an operation that says nothing", then(vec![empty_op()])).await;
    let no_key = vec![compare("", Equal, value(""))];
    t.call("4.16 a condition without a key", txn(no_key, vec![empty_op()], vec![])).await;
    let with_value = with(put("t/a", "v"), |r| r.ignore_value = true);
    let with_lease = with(put("t/a", "v"), |r| {
        r.ignore_lease = true;
        r.lease = 1;
    });
    for (case, operation) in [
        ("a range without a key", ops![range("", "")]),
        ("a put without a key", ops![put("", "v")]),
        ("a deletion without a key", ops![delete("", "")]),
        ("a value with ignore_value", ops![with_value]),
        ("a lease with ignore_lease", ops![with_lease]),
        ("2.19 an unknown order", ops![with(range("t/a", ""), |r| r.sort_order = 7)]),
        ("nested without a key", ops![then(ops![put("", "")])]),
        ("nested without content", ops![then(vec![empty_op()])]),
    ] {
        t.call(&format!("4.16 {case}"), then(operation.clone())).await;
        t.call(&format!("4.16 failure with {case}"), txn(vec![], vec![], operation)).await;
    }
    let first = then(ops![put("", ""), range("", ""), put("t/a", ""), put("t/a", "")]);
    t.call("4.21 operations before overlaps", first).await;
    let second = txn(vec![], ops![put("t/a", ""), put("t/a", "")], ops![put("", "")]);
    t.call("4.21 operations of failure before overlaps", second).await;
}
