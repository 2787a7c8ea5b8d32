//! Reads (groups 1 and 2 of the rules).

use tonic::Code;

use crate::requests::{REST, compact, delete, put, range, with};
use crate::trial::Trial;

/// `range` with some fields set.
macro_rules! ranged {
    ($key:expr, $end:expr $(, $field:ident = $value:expr)* $(,)?) => {
        with(range($key, $end), |r| { $(r.$field = $value;)* })
    };
}

/// All cases of this file, on an empty store.
pub async fn run(t: &mut Trial) {
    empty_store(t).await;
    let base = write_history(t).await;
    intervals(t).await;
    revisions(t, base).await;
    limits_and_filters(t, base).await;
    orders(t).await;
    streams(t, base).await;
    refusals(t).await;
}

async fn empty_store(t: &mut Trial) {
    t.call("1.1 an empty store is at revision 1", range("a", REST)).await;
    t.call("1.1 revision 1 is readable", ranged!("a", REST, revision = 1)).await;
    t.call("2.7 revision 2 is a future one", ranged!("a", "", revision = 2)).await;
    t.call("3.12 nothing to delete", delete("a", REST)).await;
}

/// Keys below `r/` with versions, revisions and values in different orders. Returns the revision
/// before the first.
async fn write_history(t: &mut Trial) -> i64 {
    let first = t.call("1.1 the first change is revision 2", put("r/c", "3")).await.revision();
    t.call("1.5 a new key", put("r/b", "9")).await;
    t.call("1.5 another", put("r/a", "5")).await;
    t.call("1.5 a second version", put("r/c", "1")).await;
    t.call("1.6 the same value again", put("r/c", "1")).await;
    t.call("3.19 an empty value", put("r/d", "")).await;
    t.call("1.5 a key to delete", put("r/e", "gone")).await;
    t.call("1.7 a tombstone", delete("r/e", "")).await;
    t.call("1.5 a key that ends in zero", put("r/f\0", "z")).await;
    t.call("1.5 a key that ends in 0xff", put(b"r/\xff", "ff")).await;
    t.call("1.7 a deleted key begins anew", put("r/e", "back")).await;
    first - 1
}

async fn intervals(t: &mut Trial) {
    t.call("2.2 one key", range("r/a", "")).await;
    t.call("2.2 a key that does not exist", range("r/nothing", "")).await;
    t.call("2.2 a prefix is no key", range("r/", "")).await;
    t.call("2.3 half-open", range("r/a", "r/c")).await;
    t.call("2.3 the end is excluded", range("r/a", "r/b")).await;
    t.call("2.3 equal ends", range("r/a", "r/a")).await;
    t.call("2.3 ends the wrong way round", range("r/c", "r/a")).await;
    t.call("2.4 from a key on", range("r/d", REST)).await;
    t.call("2.4 two zero bytes are an ordinary end", range("r/d", "\0\0")).await;
    t.call("2.1 all keys", range("\0", REST)).await;
    t.call("2.5 a prefix", range("r/", "r0")).await;
    t.call("2.5 unsigned bytes", range(b"r/\xff", "")).await;
    t.call("2.20 serializable", ranged!("r/", "r0", serializable = true)).await;
}

async fn revisions(t: &mut Trial, base: i64) {
    for revision in base..base + 12 {
        let case = format!("1.8 all keys at revision base + {}", revision - base);
        t.call(&case, ranged!("r/", "r0", revision = revision)).await;
        let case = format!("1.8 one key at revision base + {}", revision - base);
        t.call(&case, ranged!("r/e", "", revision = revision)).await;
    }
    t.call("2.7 the next revision", ranged!("r/a", "", revision = base + 12)).await;
    t.call("2.7 far in the future", ranged!("r/a", "", revision = i64::MAX)).await;
    t.call("2.6 a negative revision", ranged!("r/a", "", revision = -1)).await;
    t.call("2.6 a very negative revision", ranged!("r/a", "", revision = i64::MIN)).await;
    t.call("1.17 the header shows the present", ranged!("r/c", "", revision = base + 1)).await;
}

async fn limits_and_filters(t: &mut Trial, base: i64) {
    for limit in [-1, 0, 1, 2, 6, 7, 8, i64::MAX] {
        t.call(&format!("2.9 limit {limit}"), ranged!("r/", "r0", limit = limit)).await;
    }
    t.call("2.9 limit at a revision", ranged!("r/", "r0", limit = 2, revision = base + 3)).await;
    t.call("2.10 count and filter", ranged!("r/", "r0", limit = 1, min_mod_revision = base + 6))
        .await;
    t.call("2.11 min mod", ranged!("r/", "r0", min_mod_revision = base + 5)).await;
    t.call("2.11 max mod", ranged!("r/", "r0", max_mod_revision = base + 5)).await;
    t.call("2.11 min create", ranged!("r/", "r0", min_create_revision = base + 3)).await;
    t.call("2.11 max create", ranged!("r/", "r0", max_create_revision = base + 3)).await;
    let both = ranged!("r/", "r0", min_mod_revision = base + 3, max_mod_revision = base + 5);
    t.call("2.11 both ends are included", both).await;
    t.call("2.11 a negative max removes all", ranged!("r/", "r0", max_mod_revision = -1)).await;
    t.call("2.11 a negative min", ranged!("r/", "r0", min_mod_revision = -1)).await;
    let cut = ranged!("r/", "r0", limit = 2, max_create_revision = base + 6);
    t.call("2.11 filter before limit", cut).await;
    t.call("2.12 count only", ranged!("r/", "r0", count_only = true)).await;
    t.call("2.12 count of nothing", ranged!("x/", "x0", count_only = true)).await;
    let counted = ranged!("r/", "r0", count_only = true, limit = 1, max_mod_revision = base + 2);
    t.call("2.12 count only ignores limit and filter", counted).await;
    let past = ranged!("r/", "r0", count_only = true, revision = base + 3);
    t.call("2.12 count at a revision", past).await;
    t.call("2.13 keys only", ranged!("r/", "r0", keys_only = true)).await;
    t.call("2.13 keys only with a limit", ranged!("r/", "r0", keys_only = true, limit = 2)).await;
    let sorted = ranged!("r/", "r0", keys_only = true, sort_order = 2, sort_target = 4);
    t.call("2.18 sorted by values that are left out", sorted).await;
}

async fn orders(t: &mut Trial) {
    // The keys below `o/` differ in every target: ties have no defined order (2.17).
    for (key, value) in [("o/c", "2"), ("o/b", "3"), ("o/a", "1"), ("o/b", "3"), ("o/a", "1")] {
        t.call("2.16 keys to sort", put(key, value)).await;
    }
    t.call("2.16 keys to sort", put("o/a", "1")).await;
    for target in 0..=4 {
        for order in 0..=2 {
            for limit in [0, 1, 2] {
                let case = format!("2.14-2.16 target {target} order {order} limit {limit}");
                let request =
                    ranged!("o/", "o0", sort_target = target, sort_order = order, limit = limit);
                t.call(&case, request).await;
            }
        }
    }
    let past = ranged!("r/", "r0", sort_order = 2, limit = 3, revision = 6);
    t.call("2.16 sorted in the past", past).await;
}

async fn streams(t: &mut Trial, base: i64) {
    for i in 0..95 {
        t.call("2.30 keys for pieces", put(format!("s/{i:03}"), "v".repeat(i))).await;
    }
    let messages = t.range_as_stream("2.31 a stream of many keys", range("s/", "s0")).await;
    if messages != 4 {
        // 10, 20 and 40 keys, then the last 25.
        t.report.fail(format!("2.30: 95 small keys came in {messages} pieces, not in 4"));
    }
    for (case, request) in [
        ("2.31 one key", range("s/001", "")),
        ("2.31 nothing", range("x/", "x0")),
        ("2.31 count only", ranged!("s/", "s0", count_only = true)),
        ("2.31 with a limit inside the first piece", ranged!("s/", "s0", limit = 3)),
        ("2.31 with a limit at the end of a piece", ranged!("s/", "s0", limit = 30)),
        ("2.31 with a limit inside a later piece", ranged!("s/", "s0", limit = 45)),
        ("2.31 with a limit beyond the end", ranged!("s/", "s0", limit = 96)),
        ("2.31 at a revision", ranged!("\0", REST, revision = base + 9)),
        ("2.31 ascending by key", ranged!("s/", "s0", sort_order = 1)),
        ("2.31 serializable", ranged!("s/", "s0", serializable = true)),
        ("2.31 empty key", range("", "s0")),
        ("2.31 a future revision", ranged!("s/", "s0", revision = i64::MAX)),
    ] {
        t.range_as_stream(case, request).await;
    }
    let method = "etcdserverpb.KV/RangeStream";
    for (case, request) in [
        ("2.27 descending", ranged!("s/", "s0", sort_order = 2)),
        ("2.27 ascending by another target", ranged!("s/", "s0", sort_order = 1, sort_target = 1)),
        ("2.27 a filter", ranged!("s/", "s0", max_mod_revision = 5)),
    ] {
        let body = prost::Message::encode_to_vec(&request);
        t.raw(case, method, body, &[]).await;
    }
    t.call("2.30 keys that are done with", delete("s/", "s0")).await;
}

async fn refusals(t: &mut Trial) {
    t.call("2.1 empty key", range("", "")).await;
    t.call("2.1 empty key with an end", range("", "z")).await;
    t.call("2.1 the key before the order", ranged!("", "", sort_order = 9)).await;
    t.call("2.19 unknown order", ranged!("r/", "r0", sort_order = 3)).await;
    let refusal = (Code::InvalidArgument, "etcdserver: invalid sort option");
    let unknown_target = ranged!("r/", "r0", sort_target = 5);
    t.alone("2.19 unknown target", unknown_target, &[], refusal).await;
    t.call("2.19 negative order", ranged!("r/", "r0", sort_order = -1)).await;
}

/// Cases for a store that has been compacted.
pub async fn after_compaction(t: &mut Trial) {
    t.call("7.1 a key to compact", put("p/a", "1")).await;
    t.call("7.1 its second version", put("p/a", "2")).await;
    let floor = t.call("7.1 its third version", put("p/a", "3")).await.revision();
    t.call("7.1 a key that goes", put("p/b", "1")).await;
    t.call("7.5 a tombstone above", delete("p/b", "")).await;
    t.call("7.9 compact", compact(floor)).await;
    for revision in [floor - 1, floor, floor + 1, floor + 2, 1, 0, -1, -5] {
        let case = format!("2.8 at floor {:+}", revision - floor);
        t.call(&case, ranged!("p/", "p0", revision = revision)).await;
        t.range_as_stream(&case, ranged!("p/", "p0", revision = revision)).await;
    }
}
