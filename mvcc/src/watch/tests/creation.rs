//! Rules 5.1 to 5.19: creating, refusing and cancelling watchers.

use super::memory::Op;
use super::*;

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const EMPTY: &str = "mvcc: watcher range is empty";
const DUPLICATE: &str = "mvcc: duplicate watch ID provided on the WatchStream";

#[test]
fn rule_5_1_one_created_answer_before_any_event() {
    let world = World::new();
    world.put("a", "1");
    let stream = world.stream();
    stream.create(key("a"));
    stream.create(from(2, key("a")));
    world.put("a", "2");
    let responses = drain(&stream);
    for id in 0..2 {
        let mine: Vec<_> = responses.iter().filter(|r| r.watch_id == id).collect();
        assert!(mine[0].created && mine[0].events.is_empty(), "{mine:?}");
        assert!(mine[1..].iter().all(|r| !r.created && !r.events.is_empty()), "{mine:?}");
        assert!(mine.len() > 1);
    }
}

#[test]
fn rule_5_2_answers_in_request_order_with_the_current_revision() {
    let world = World::new();
    let stream = world.stream();
    stream.create(key("a"));
    world.put("a", "1");
    stream.create(key("b"));
    stream.create(range("z", "a"));
    stream.cancel(0);
    stream.create(from(1, key("a")));
    let answers: Vec<_> = drain(&stream)
        .into_iter()
        .filter(|r| r.created || r.canceled)
        .map(|r| (r.watch_id, r.revision, r.created, r.canceled))
        .collect();
    let expected = [
        (0, 1, true, false),
        (1, 2, true, false),
        (-1, 2, true, true),
        (0, 2, false, true),
        (2, 2, true, false),
    ];
    assert_eq!(answers, expected);
}

#[test]
fn rule_5_2_everything_after_the_created_revision_follows() {
    let world = World::new();
    world.put("a", "before");
    let stream = world.stream();
    stream.create(key("a"));
    world.put("a", "after");
    assert_eq!(next(&stream).revision, 2);
    assert_eq!(brief(&next(&stream)), ["+a@3"]);
    assert_silent(&stream);
}

#[test]
fn rule_5_3_history_from_the_start_revision_then_live() {
    let world = World::new();
    for value in ["1", "2", "3", "4"] {
        world.put("a", value);
    }
    let stream = world.stream();
    created(&stream, from(3, key("a")));
    assert_eq!(brief(&next(&stream)), ["+a@3", "+a@4", "+a@5"]);
    world.put("a", "5");
    assert_eq!(brief(&next(&stream)), ["+a@6"]);
    assert_silent(&stream);
}

#[test]
fn rule_5_4_a_future_start_sees_nothing_before_it() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, from(4, key("a")));
    for value in ["2", "3", "4", "5"] {
        world.put("a", value);
    }
    assert_eq!(drain(&stream).iter().flat_map(brief).collect::<Vec<_>>(), ["+a@4", "+a@5"]);
}

#[test]
fn rule_5_5_a_compacted_start_is_created_and_then_cancelled() {
    let world = World::new();
    for value in ["1", "2", "3", "4"] {
        world.put("a", value);
    }
    world.compact(4);
    let stream = world.stream();
    assert_eq!(created(&stream, from(2, key("a"))), 0);
    let end = next(&stream);
    let expected = WatchResponse {
        watch_id: 0,
        canceled: true,
        compact_revision: 4,
        ..WatchResponse::default()
    };
    assert_eq!(end, expected);
    world.put("a", "5");
    assert_silent(&stream);
    assert_eq!(world.hub.stats().watchers, 0);
}

#[test]
fn rule_5_6_a_start_at_the_floor_replays_the_survivors() {
    let world = World::new();
    world.put("a", "1");
    world.txn(&[Op::Put("a", "2"), Op::Put("b", "2")]);
    world.put("a", "3");
    world.compact(3);
    let stream = world.stream();
    created(&stream, from(3, range("a", "c")));
    assert_eq!(brief(&next(&stream)), ["+a@3", "+b@3", "+a@4"]);
}

#[test]
fn rule_5_7_a_tombstone_at_the_floor_is_replayed() {
    let world = World::new();
    world.put("a", "1");
    world.delete("a");
    world.compact(3);
    let stream = world.stream();
    created(&stream, from(3, key("a")));
    assert_eq!(brief(&next(&stream)), ["-a@3"]);
}

#[test]
fn rule_5_8_a_negative_start_is_refused_first_of_all() {
    let world = World::new();
    let stream = world.stream();
    assert_refused(&stream, from(-1, key("a")), COMPACTED);
    assert_refused(&stream, from(-1, range("b", "a")), COMPACTED);
    created(&stream, key("a"));
    world.put("a", "1");
    assert_eq!(brief(&next(&stream)), ["+a@2"]);
}

#[test]
fn rule_5_9_an_empty_key_is_the_zero_byte() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, key(""));
    world.put("\0", "1");
    world.put("\0\0", "2");
    assert_eq!(brief(&next(&stream)), ["+\0@2"]);
    assert_silent(&stream);
    created(&stream, range("", "\0"));
    world.put("z", "3");
    assert_eq!(brief(&next(&stream)), ["+z@4"]);
}

#[test]
fn rule_5_10_single_key_from_key_and_half_open_range() {
    let world = World::new();
    let (one, rest, some) = (world.stream(), world.stream(), world.stream());
    created(&one, key("b"));
    created(&rest, range("b", "\0"));
    created(&some, range("b", "d"));
    for key in ["a", "b", "b\0", "c", "d", "\u{7f}"] {
        world.put(key, "");
    }
    let all = |stream: &WatchStream| drain(stream).iter().flat_map(brief).collect::<Vec<_>>();
    assert_eq!(all(&one), ["+b@3"]);
    assert_eq!(all(&some), ["+b@3", "+b\0@4", "+c@5"]);
    assert_eq!(all(&rest), ["+b@3", "+b\0@4", "+c@5", "+d@6", "+\u{7f}@7"]);
}

#[test]
fn rule_5_11_ids_count_up_and_skip_those_in_use() {
    let world = World::new();
    let stream = world.stream();
    let with_id = |watch_id| Watch { watch_id, ..key("a") };
    assert_eq!(created(&stream, with_id(1)), 1);
    assert_eq!(created(&stream, key("a")), 0);
    assert_eq!(created(&stream, key("a")), 2);
    stream.cancel(0);
    next(&stream);
    assert_eq!(created(&stream, key("a")), 3);
    let other = world.stream();
    assert_eq!(created(&other, key("a")), 0);
}

#[test]
fn rule_5_12_an_empty_range_is_refused() {
    let world = World::new();
    let stream = world.stream();
    assert_refused(&stream, range("b", "a"), EMPTY);
    assert_refused(&stream, range("a", "a"), EMPTY);
    assert_refused(&stream, range("\0\0", "\0\0"), EMPTY);
    assert_eq!(world.hub.stats().watchers, 0);
}

#[test]
fn rule_5_13_chosen_ids_are_used_and_duplicates_refused() {
    let world = World::new();
    let stream = world.stream();
    for watch_id in [7, -1, i64::MIN, i64::MAX] {
        assert_eq!(created(&stream, Watch { watch_id, ..key("a") }), watch_id);
    }
    assert_refused(&stream, Watch { watch_id: 7, ..key("b") }, DUPLICATE);
    world.put("a", "1");
    world.put("b", "2");
    let ids: Vec<i64> = drain(&stream).iter().map(|r| r.watch_id).collect();
    assert_eq!(ids, [7, -1, i64::MIN, i64::MAX], "in the order of creation, untouched");
}

#[test]
fn rule_5_14_an_id_ended_by_compaction_is_in_use_until_cancelled() {
    let world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    world.compact(3);
    let stream = world.stream();
    let watch = || Watch { watch_id: 5, ..key("a") };
    created(&stream, from(2, watch()));
    assert_eq!(next(&stream).compact_revision, 3);
    assert_refused(&stream, watch(), DUPLICATE);
    stream.cancel(5);
    let freed = next(&stream);
    assert_eq!((freed.watch_id, freed.canceled, freed.compact_revision), (5, true, 0));
    stream.cancel(5);
    assert_silent(&stream);
    assert_eq!(created(&stream, watch()), 5);
}

#[test]
fn rule_5_15_filters_leave_out_puts_or_deletions() {
    let world = World::new();
    world.put("a", "1");
    world.delete("a");
    let stream = world.stream();
    for start in [0, 2] {
        created(&stream, Watch { no_put: true, ..from(start, key("a")) });
        created(&stream, Watch { no_delete: true, ..from(start, key("a")) });
        created(&stream, Watch { no_put: true, no_delete: true, ..from(start, key("a")) });
    }
    world.put("a", "2");
    world.delete("a");
    let mut got = vec![Vec::new(); 6];
    for response in drain(&stream) {
        assert!(!response.events.is_empty());
        got[response.watch_id as usize].extend(brief(&response));
    }
    assert_eq!(got[0], ["-a@5"]);
    assert_eq!(got[1], ["+a@4"]);
    assert_eq!(got[2], [""; 0]);
    assert_eq!(got[3], ["-a@3", "-a@5"]);
    assert_eq!(got[4], ["+a@2", "+a@4"]);
    assert_eq!(got[5], [""; 0]);
}

#[test]
fn rule_5_17_cancel_answers_once_and_no_event_follows() {
    let world = World::new();
    world.put("a", "1");
    let stream = world.stream();
    let live = created(&stream, key("a"));
    stream.create(from(2, key("a")));
    world.put("a", "2");
    stream.cancel(live);
    stream.cancel(1);
    world.put("a", "3");
    let responses = drain(&stream);
    for id in [live, 1] {
        let last = responses.iter().rev().find(|r| r.watch_id == id).unwrap();
        let expected = WatchResponse { canceled: true, ..WatchResponse::about(id, 3) };
        assert_eq!(*last, expected);
    }
    assert_eq!(responses.iter().filter(|r| r.canceled).count(), 2);
}

#[test]
fn rule_5_18_cancel_of_an_unknown_id_is_silent() {
    let world = World::new();
    let stream = world.stream();
    stream.cancel(3);
    let id = created(&stream, key("a"));
    stream.cancel(id);
    stream.cancel(id);
    assert!(next(&stream).canceled);
    assert_silent(&stream);
}

#[test]
fn rule_5_19_watchers_deliver_without_requests_and_end_with_the_stream() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, key("a"));
    created(&stream, range("a", "b"));
    for value in ["1", "2"] {
        world.put("a", value);
        assert_eq!(next(&stream).events.len(), 1);
        assert_eq!(next(&stream).events.len(), 1);
    }
    assert_eq!((world.hub.stats().streams, world.hub.stats().watchers), (1, 2));
    drop(stream);
    assert_eq!((world.hub.stats().streams, world.hub.stats().watchers), (0, 0));
    world.put("a", "3");
}

#[test]
fn rule_5_45_a_refusal_by_the_caller_keeps_its_turn() {
    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    let world = World::new();
    let stream = world.stream();
    stream.create(key("a"));
    stream.refuse(denied);
    stream.create(key("b"));
    assert_eq!(next(&stream).watch_id, 0);
    assert_eq!(next(&stream), WatchResponse::refused(denied.into(), 1));
    assert_eq!(next(&stream).watch_id, 1);
}
