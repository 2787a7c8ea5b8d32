//! Watch streams (group 5).

use revd_api::etcdserverpb as pb;

use crate::ops;
use crate::requests::{
    REST, cancel, compact, create, delete, grant, progress, put, put_leased, range, revoke, then,
    watch,
};
use crate::trial::{Streams, Trial};

const WATCH: &str = "etcdserverpb.Watch/Watch";

/// A request for a watcher, with some fields set.
macro_rules! watching {
    ($key:expr, $end:expr $(, $field:ident = $value:expr)* $(,)?) => {
        create(watch($key, $end), |r| { $(r.$field = $value;)* let _ = r; })
    };
}

/// All cases of this file.
pub async fn run(t: &mut Trial) {
    creation(t).await;
    live(t).await;
    history(t).await;
    filters(t).await;
    cancellation(t).await;
    marks_of_progress(t).await;
    deletions_by_lease(t).await;
    large(t).await;
    long_history(t).await;
    metadata(t).await;
}

async fn opened(t: &mut Trial, case: &str, request: pb::WatchRequest) -> Streams {
    let mut stream = t.open(WATCH, &[]);
    stream.send(request).await;
    t.next(case, &mut stream).await;
    stream
}

async fn creation(t: &mut Trial) {
    let s = &mut opened(t, "5.1 created", watching!("v/a", "")).await;
    for (case, request) in [
        ("5.11 the next id", watching!("v/b", "")),
        ("5.13 a chosen id", watching!("v/c", "", watch_id = 7)),
        ("5.13 an id in use", watching!("v/d", "", watch_id = 7)),
        ("5.13 a free id that the server has given", watching!("v/d", "", watch_id = 1)),
        ("5.13 a negative id", watching!("v/e", "", watch_id = -1)),
        ("5.13 the same negative id", watching!("v/e", "", watch_id = -1)),
        ("5.13 a chosen id in the way of the counter", watching!("v/e", "", watch_id = 2)),
        ("5.11 the counter skips it", watching!("v/f", "")),
        ("5.12 an empty range", watching!("v/b", "v/a")),
        ("5.12 equal ends", watching!("v/b", "v/b")),
        ("5.12 before the id", watching!("v/b", "v/a", watch_id = 7)),
        ("5.8 a negative start", watching!("v/a", "", start_revision = -1, watch_id = 900)),
        ("5.8 before the range", watching!("v/b", "v/a", start_revision = -1, watch_id = 901)),
        ("5.9 an empty key", watching!("", "")),
        ("5.10 from a key on", watching!("zz", REST)),
        ("5.4 a start in the future", watching!("v/a", "", start_revision = 1 << 40)),
    ] {
        s.send(request).await;
        t.next(case, s).await;
    }
    s.send(pb::WatchRequest { request_union: None }).await;
    t.quiet("5.16 a request that says nothing", s).await;
    t.call("5.11 a key that is watched", put("v/b", "1")).await;
    t.next("5.11 its event", s).await;
    t.quiet("5.4 nobody else", s).await;
}

async fn live(t: &mut Trial) {
    let s = &mut opened(t, "5.2 now", watching!("v/", "v0", prev_kv = true)).await;
    t.call("5.20 a put", put("v/x", "1")).await;
    t.next("5.20 a creation", s).await;
    t.call("5.20 another put", put("v/x", "2")).await;
    t.next("5.25 with the record before", s).await;
    t.call("1.6 the same value", put("v/x", "2")).await;
    t.next("1.6 is an event", s).await;
    t.call("5.20 a deletion", delete("v/x", "")).await;
    t.next("5.20 has only key and revision", s).await;
    t.call("5.20 outside", put("w/x", "1")).await;
    t.call("1.3 no change", delete("v/none", "")).await;
    t.quiet("5.20 nothing to tell", s).await;
    let request =
        then(ops![put("v/1", "a"), put("v/2", "b"), delete("v/b", "v/c"), put("v/3", "")]);
    t.call("4.28 a transaction", request).await;
    t.next("4.28 its events in order", s).await;
    t.call("1.4 several deleted", delete("v/", "v0")).await;
    t.next("1.4 in the order of keys", s).await;
    let request = then(ops![then(ops![put("v/n", "1")]), then(ops![delete("v/n", "")])]);
    t.call("4.19 put and deleted at one revision", request).await;
    t.next("4.19 both events", s).await;
    t.call("1.9 a key to write twice", put("v/n", "0")).await;
    t.next("1.9 its event", s).await;
    let request = then(ops![delete("v/n", REST), put("v/n2", "1")]);
    t.call("4.18 deleted from a key on, then put", request).await;
    t.next("4.18 both events", s).await;
    s.half_close();
    t.call("5.19 after the client has closed its side", put("v/y", "1")).await;
    t.next("5.19 events go on", s).await;
    t.call("5.19 away", delete("v/y", "")).await;
    t.next("5.19 and on", s).await;
}

async fn history(t: &mut Trial) {
    let first = t.call("5.3 history", put("h/a", "1")).await.revision();
    t.call("5.3 history", put("h/b", "1")).await;
    t.call("5.3 history", put("h/a", "2")).await;
    t.call("5.3 history", delete("h/b", "")).await;
    t.call("5.3 history", then(ops![put("h/a", "3"), put("h/c", "1"), put("h/d", "1")])).await;
    for offset in 0..=5 {
        let case = format!("5.3 from the first revision + {offset}");
        let start_revision = first + offset;
        let request = watching!("h/", "h0", start_revision = start_revision, prev_kv = true);
        let s = &mut opened(t, &case, request).await;
        // What the rounds before have written is history too.
        t.next(&format!("{case}: history"), s).await;
        t.call("5.3 a live change", put("h/z", "1")).await;
        t.next(&format!("{case}: live"), s).await;
        t.call("5.3 and its end", delete("h/z", "")).await;
        t.next(&format!("{case}: live again"), s).await;
    }
    let one = watching!("h/a", "", start_revision = 1);
    let s = &mut opened(t, "5.3 one key from the beginning", one).await;
    t.next("5.3 its history", s).await;
    let none = watching!("h/none", "", start_revision = 1);
    let s = &mut opened(t, "5.3 a key without history", none).await;
    t.quiet("5.3 has none", s).await;
    let present = t.call("5.4 the present", range("h/", "h0")).await.revision();
    let future = watching!("h/", "h0", start_revision = present + 3);
    let s = &mut opened(t, "5.4 from a revision to come", future).await;
    for _ in 0..2 {
        t.call("5.4 too early", put("h/a", "early")).await;
    }
    t.quiet("5.4 nothing below the start", s).await;
    t.call("5.4 at the start", put("h/a", "due")).await;
    t.next("5.4 the first event", s).await;
}

async fn filters(t: &mut Trial) {
    let request = watching!("f/", "f0", filters = vec![0]);
    let s = &mut opened(t, "5.15 without puts", request).await;
    for (case, request) in [
        ("5.15 without deletions", watching!("f/", "f0", filters = vec![1])),
        ("5.15 without either", watching!("f/", "f0", filters = vec![0, 1])),
        ("5.15 an unknown filter", watching!("f/", "f0", filters = vec![5])),
    ] {
        s.send(request).await;
        t.next(case, s).await;
    }
    let first = t.call("5.15 a put", put("f/a", "1")).await.revision();
    // Watchers of one stream are served in no fixed order.
    t.events("5.15 two see the put", s, 2).await;
    t.call("5.15 a deletion", delete("f/a", "")).await;
    t.events("5.15 two see the deletion", s, 2).await;
    t.quiet("5.26 nothing for the others", s).await;
    for (case, filter) in [("puts", 0), ("deletions", 1)] {
        let request = watching!("f/", "f0", start_revision = first, filters = vec![filter]);
        let s = &mut opened(t, &format!("5.15 history without {case}"), request).await;
        t.next(&format!("5.15 what is left without {case}"), s).await;
    }
}

async fn cancellation(t: &mut Trial) {
    let s = &mut opened(t, "5.17 a watcher", watching!("c/", "c0")).await;
    s.send(watching!("c/", "c0", watch_id = 5)).await;
    t.next("5.17 another", s).await;
    s.send(cancel(0)).await;
    t.next("5.17 canceled", s).await;
    t.call("5.17 a change", put("c/a", "1")).await;
    t.next("5.17 only the other sees it", s).await;
    s.send(cancel(0)).await;
    s.send(cancel(99)).await;
    t.quiet("5.18 unknown ids", s).await;
    s.send(watching!("c/", "c0", watch_id = 5)).await;
    t.next("5.13 still in use", s).await;
    s.send(cancel(5)).await;
    t.next("5.17 canceled too", s).await;
    s.send(watching!("c/", "c0", watch_id = 5)).await;
    t.next("5.13 free again", s).await;
    t.call("5.17 another change", put("c/a", "2")).await;
    t.next("5.17 the new one sees it", s).await;
}

async fn marks_of_progress(t: &mut Trial) {
    let mut stream = t.open(WATCH, &[]);
    let s = &mut stream;
    s.send(progress()).await;
    s.send(watching!("g/", "g0")).await;
    // Answered in order, so that a mark would come before.
    t.next("5.34 progress without watchers", s).await;
    let s = &mut opened(t, "5.33 a watcher", watching!("g/", "g0")).await;
    s.send(progress()).await;
    t.next("5.33 progress", s).await;
    t.call("5.33 a change elsewhere", put("other", "1")).await;
    s.send(progress()).await;
    t.next("5.33 progress again", s).await;
    t.call("5.35 a change", put("g/a", "1")).await;
    t.next("5.35 its event", s).await;
    s.send(progress()).await;
    t.next("5.35 progress behind it", s).await;
    s.send(watching!("g/", "g0", progress_notify = true, watch_id = 3)).await;
    t.next("5.29 one that asks for notes", s).await;
    s.send(progress()).await;
    t.next("5.33 one mark for all", s).await;
    s.send(watching!("g/", "g0", start_revision = 1 << 40, watch_id = 4)).await;
    t.next("5.33 one from the future", s).await;
    s.send(cancel(4)).await;
    t.next("5.33 and its end", s).await;
    s.send(progress()).await;
    t.next("5.33 progress once more", s).await;
}

async fn deletions_by_lease(t: &mut Trial) {
    t.call("6.7 a lease", grant(501, 600)).await;
    for key in ["e/c", "e/a", "e/b"] {
        t.call("6.7 a key of it", put_leased(key, "v", 501)).await;
    }
    let s = &mut opened(t, "6.7 a watcher", watching!("e/", "e0", prev_kv = true)).await;
    t.call("6.7 revoked", revoke(501)).await;
    t.next("6.7 its keys go in order, at one revision", s).await;
}

async fn large(t: &mut Trial) {
    let value = "x".repeat(700_000);
    let first = t.call("5.27 a large value", put("b/a", &value)).await.revision();
    for key in ["b/b", "b/c", "b/d"] {
        t.call("5.27 another", put(key, &value)).await;
    }
    // How much history is read at a time is each server's own business.
    let request = watching!("b/", "b0", start_revision = first);
    let s = &mut opened(t, "5.27 behind by large values", request).await;
    t.events("5.27 large history", s, 4).await;
    let request = watching!("b/", "b0", start_revision = first, fragment = true);
    let s = &mut opened(t, "5.27 the same, with fragments", request).await;
    t.events("5.27 large history in fragments", s, 4).await;

    let whole = &mut opened(t, "5.27 unsplit", watching!("b/", "b0", prev_kv = true)).await;
    let request = watching!("b/", "b0", prev_kv = true, fragment = true);
    let split = &mut opened(t, "5.27 split", request).await;
    let both = then(ops![put("b/a", &value), put("b/b", &value)]);
    t.call("5.27 two large events at one revision", both).await;
    t.next("5.27 in one response", whole).await;
    t.next("5.27 in two: the first", split).await;
    t.next("5.27 in two: the second", split).await;
    t.call("5.28 a large value to replace", put("b/e", "y".repeat(1_500_000))).await;
    t.next("5.28 its event", split).await;
    t.call("5.28 a single event of 3 MB", put("b/e", "z".repeat(1_500_000))).await;
    t.next("5.28 is not split", split).await;
    t.call("5.27 away", delete("b/", "b0")).await;
}

async fn long_history(t: &mut Trial) {
    let mut first = 0;
    for i in 0..2500 {
        let revision =
            t.call("5.37 history", put(format!("n/{:02}", i % 50), "v")).await.revision();
        first = if i == 0 { revision } else { first };
    }
    let request = watching!("n/", "n0", start_revision = first);
    let s = &mut opened(t, "5.37 behind by 2500 revisions", request).await;
    for part in 1..=3 {
        t.next(&format!("5.37 a thousand revisions at a time: {part}"), s).await;
    }
    t.call("5.37 live", put("n/00", "live")).await;
    t.next("5.37 and then live", s).await;
}

async fn metadata(t: &mut Trial) {
    let mut stream = t.open(WATCH, &[("hasleader", b"true")]);
    stream.send(watching!("m/", "m0")).await;
    t.next("5.42 there is a leader", &mut stream).await;
    let mut stream = t.open(WATCH, &[("client-api-version", b"3.7")]);
    stream.send(watching!("m/", "m0")).await;
    t.next("9.34 a version", &mut stream).await;
}

/// Watches below a compaction, and one that a compaction overtakes. Compacts the store.
pub async fn around_compaction(t: &mut Trial) {
    let first = t.call("5.5 history", put("x/a", "1")).await.revision();
    t.call("5.5 history", put("x/a", "2")).await;
    t.call("5.5 history", put("x/b", "1")).await;
    let floor = t.call("5.5 a deletion at the floor", delete("x/b", "")).await.revision();
    t.call("5.5 a later change", put("x/a", "3")).await;
    let s = &mut opened(t, "5.41 a watcher from the past", watching!("x/", "x0")).await;
    t.call("5.5 compact", compact(floor)).await;
    t.quiet("5.41 does not mind", s).await;

    let request = watching!("x/", "x0", start_revision = first);
    let s = &mut opened(t, "5.5 below the floor", request).await;
    t.next("5.5 canceled", s).await;
    t.quiet("5.5 and nothing else", s).await;
    s.send(watching!("x/", "x0", watch_id = 8, start_revision = 1)).await;
    t.next("5.14 a chosen id below the floor", s).await;
    t.next("5.14 canceled", s).await;
    s.send(watching!("x/", "x0", watch_id = 8)).await;
    t.next("5.14 the id stays taken", s).await;
    s.send(cancel(8)).await;
    t.next("5.14 until it is canceled", s).await;
    s.send(cancel(8)).await;
    s.send(watching!("x/", "x0", watch_id = 8)).await;
    t.next("5.14 which is answered once, and frees it", s).await;

    let request = watching!("x/a", "", start_revision = floor, prev_kv = true);
    let s = &mut opened(t, "5.6 at the floor", request).await;
    t.next("5.25 the record before may be gone", s).await;
    t.call("5.6 live", put("x/a", "4")).await;
    t.next("5.6 and live", s).await;
    let s = &mut opened(t, "5.7 at the floor", watching!("x/b", "", start_revision = floor)).await;
    t.next("5.7 the deletion at the floor", s).await;
}
