//! Rules 5.20 to 5.28 and 5.39 to 5.41: what events say, how they are grouped, how they end.

use super::memory::Op;
use super::*;

#[test]
fn rule_5_20_puts_are_whole_and_deletions_bare() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, key("a"));
    world.put("a", "1");
    world.put("a", "2");
    world.delete("a");
    stream.create(from(1, key("a")));
    let events: Vec<Seen> = drain(&stream).iter().flat_map(seen).collect();
    let (live, replayed) = events.split_at(3);
    assert_eq!(live, replayed);
    let put = &live[1].kv;
    assert_eq!((put.create_revision, put.mod_revision, put.version), (2, 3, 2));
    assert_eq!((put.key.as_ref(), put.value.as_ref()), (&b"a"[..], &b"2"[..]));
    let deleted = &live[2];
    assert!(!deleted.is_put);
    assert_eq!((deleted.kv.create_revision, deleted.kv.version), (0, 0));
    assert_eq!((deleted.kv.mod_revision, deleted.kv.value.len()), (4, 0));
}

#[test]
fn rule_5_21_events_are_ordered_by_revision_and_position() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, range("a", "z"));
    world.batch(&[&[Op::Put("c", ""), Op::Put("a", ""), Op::Put("b", "")], &[Op::Put("a", "")]]);
    let expected = ["+c@2", "+a@2", "+b@2", "+a@3"];
    assert_eq!(drain(&stream).iter().flat_map(brief).collect::<Vec<_>>(), expected);
    created(&stream, from(2, range("a", "z")));
    assert_eq!(brief(&next(&stream)), expected);
}

#[test]
fn rule_5_22_a_revision_is_never_spread_over_responses() {
    let world = World::new();
    let options = WatchOptions { chunk_revisions: 1, chunk_bytes: 1, ..WatchOptions::default() };
    let stream = world.hub.stream(options);
    created(&stream, range("a", "z"));
    world.txn(&[Op::Put("a", "1"), Op::Put("b", "1"), Op::Delete("a")]);
    assert_eq!(brief(&next(&stream)), ["+a@2", "+b@2", "-a@2"]);
    world.txn(&[Op::Put("a", "2"), Op::Put("c", "2")]);
    next(&stream);
    created(&stream, from(2, range("a", "z")));
    assert_eq!(brief(&next(&stream)), ["+a@2", "+b@2", "-a@2"]);
    assert_eq!(brief(&next(&stream)), ["+a@3", "+c@3"]);
    assert_silent(&stream);
}

#[test]
fn rule_5_23_live_headers_carry_their_own_revision() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, key("a"));
    world.batch(&[&[Op::Put("a", "1")], &[Op::Put("b", "2")], &[Op::Put("a", "3")]]);
    assert_eq!((next(&stream).revision, next(&stream).revision), (2, 4));
}

#[test]
fn rule_5_23_history_comes_in_thousands_under_the_current_revision() {
    let world = World::new();
    for number in 0..14 {
        world.put("other", &number.to_string());
    }
    for number in 0..2500 {
        world.put("a", &number.to_string());
    }
    let stream = world.stream();
    created(&stream, from(1, key("a")));
    let responses = drain(&stream);
    let sizes: Vec<usize> = responses.iter().map(|r| r.events.len()).collect();
    assert_eq!(sizes, [1000, 1000, 500]);
    assert!(responses.iter().all(|r| r.revision == 2515));
}

#[test]
fn rule_5_24_only_bare_responses_mark_progress() {
    let world = World::new();
    let options = WatchOptions { chunk_revisions: 1, ..WatchOptions::default() };
    let stream = world.hub.stream(options);
    world.put("a", "1");
    world.put("a", "2");
    created(&stream, from(2, key("a")));
    stream.request_progress();
    let first = next(&stream);
    assert_eq!((first.revision, brief(&first)), (3, vec!["+a@2".to_owned()]));
    assert_eq!(brief(&next(&stream)), ["+a@3"]);
    assert_silent(&stream);
    stream.request_progress();
    assert_eq!(next(&stream), WatchResponse::about(NO_WATCHER, 3));
}

#[test]
fn rule_5_25_the_previous_record_live_and_replayed() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, Watch { prev_kv: true, ..key("a") });
    world.put("a", "1");
    world.put("a", "2");
    world.delete("a");
    world.put("a", "3");
    let live: Vec<Seen> = drain(&stream).iter().flat_map(seen).collect();
    created(&stream, Watch { prev_kv: true, ..from(1, key("a")) });
    created(&stream, from(1, key("a")));
    let replayed = seen(&next(&stream));
    assert_eq!(live, replayed);
    let values: Vec<_> =
        live.iter().map(|e| e.previous.as_ref().map(|kv| kv.value.clone())).collect();
    assert_eq!(values, [None, Some("1".into()), Some("2".into()), None]);
    assert_eq!(live[2].previous.as_ref(), Some(&live[1].kv));
    assert!(seen(&next(&stream)).iter().all(|event| event.previous.is_none()));
}

#[test]
fn rule_5_25_a_compacted_previous_record_is_left_out() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, Watch { prev_kv: true, ..key("a") });
    world.put("a", "1");
    world.put("a", "2");
    world.compact(3);
    let events: Vec<Seen> = drain(&stream).iter().flat_map(seen).collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].previous, None);
    created(&stream, Watch { prev_kv: true, ..from(3, key("a")) });
    assert_eq!(seen(&next(&stream)), events[1..]);
}

#[test]
fn rule_5_25_the_previous_record_is_that_of_the_revision_before() {
    let world = World::new();
    world.put("a", "before");
    let stream = world.stream();
    created(&stream, Watch { prev_kv: true, ..key("a") });
    world.txn(&[Op::Put("a", "within"), Op::Delete("a")]);
    let events = seen(&next(&stream));
    assert!(events.iter().all(|e| e.previous.as_ref().unwrap().value == "before"));
}

#[test]
fn rule_5_26_a_fully_filtered_revision_sends_nothing() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, Watch { no_put: true, ..range("a", "z") });
    world.put("a", "1");
    assert_silent(&stream);
    world.txn(&[Op::Put("b", "1"), Op::Delete("a")]);
    assert_eq!(brief(&next(&stream)), ["-a@3"]);
    created(&stream, Watch { no_put: true, ..from(2, range("a", "z")) });
    assert_eq!(brief(&next(&stream)), ["-a@3"]);
    assert_silent(&stream);
}

/// Ten puts of 1,000 bytes in one revision, and one more key.
fn big_revision(world: &World) {
    let value = "v".repeat(1000);
    let keys: Vec<String> = (0..10).map(|n| format!("k{n}")).collect();
    let ops: Vec<Op<'_>> = keys.iter().map(|key| Op::Put(key, &value)).collect();
    world.txn(&ops);
}

#[test]
fn rule_5_27_large_responses_are_split_if_asked_for() {
    let world = World::new();
    let options = WatchOptions { fragment_bytes: 3500, ..WatchOptions::default() };
    for start in [0, 2] {
        let stream = world.hub.stream(options.clone());
        created(&stream, Watch { fragment: true, ..from(start, range("k", "l")) });
        created(&stream, from(start, range("k", "l")));
        if start == 0 {
            big_revision(&world);
        }
        let (parts, whole): (Vec<_>, Vec<_>) =
            drain(&stream).into_iter().partition(|r| r.watch_id == 0);
        assert_eq!(whole.len(), 1);
        assert!(!whole[0].fragment);
        assert_eq!(parts.iter().map(|r| r.events.len()).collect::<Vec<_>>(), [3, 3, 3, 1]);
        let flags: Vec<bool> = parts.iter().map(|r| r.fragment).collect();
        assert_eq!(flags, [true, true, true, false]);
        assert!(parts.iter().all(|r| (r.revision, r.watch_id) == (2, 0)));
        let joined: Vec<_> = parts.iter().flat_map(|r| r.events.clone()).collect();
        assert_eq!(joined, whole[0].events);
    }
}

#[test]
fn rule_5_28_an_event_above_the_limit_goes_out_alone() {
    let world = World::new();
    let options = WatchOptions { fragment_bytes: 500, ..WatchOptions::default() };
    let stream = world.hub.stream(options);
    created(&stream, Watch { fragment: true, ..range("k", "l") });
    big_revision(&world);
    let parts = drain(&stream);
    assert!(parts.iter().all(|r| r.events.len() == 1));
    assert_eq!(parts.iter().filter(|r| r.fragment).count(), 9);
    world.put("k", &"v".repeat(1000));
    assert!(!next(&stream).fragment);
}

#[test]
fn rule_5_39_a_slow_watcher_that_compaction_overtakes_is_cancelled() {
    let world = World::new();
    let options = WatchOptions { queue_responses: 2, ..WatchOptions::default() };
    let stream = world.hub.stream(options);
    created(&stream, key("a"));
    for value in ["2", "3", "4", "5", "6"] {
        world.put("a", value);
    }
    world.compact(6);
    let responses = drain(&stream);
    assert_eq!(responses.iter().flat_map(brief).collect::<Vec<_>>(), ["+a@2", "+a@3"]);
    let expected =
        WatchResponse { canceled: true, compact_revision: 6, ..WatchResponse::about(0, 0) };
    assert_eq!(responses.last(), Some(&expected));
    stream.create(key("a"));
    assert!(next(&stream).created);
}

#[test]
fn rule_5_40_a_replaced_key_space_leaves_every_watcher_behind() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, key("a"));
    created(&stream, from(100, key("a")));
    world.put("a", "2");
    let installed = World::new();
    for value in ["2", "3", "4"] {
        installed.put("a", value);
    }
    world.hub.reset_over(installed.past.clone());
    assert_eq!(world.hub.stats().behind, 2);
    assert_eq!(brief(&next(&stream)), ["+a@2"], "queued before");
    assert_eq!(brief(&next(&stream)), ["+a@3", "+a@4"]);
    assert_silent(&stream);
    assert_eq!(world.hub.stats().behind, 0);
    world.hub.publish(&installed.past.write(&[&[Op::Put("a", "5")]]));
    assert_eq!(brief(&next(&stream)), ["+a@5"]);
    let later = World::new();
    for value in 2..=9 {
        later.put("a", &value.to_string());
    }
    later.compact(8);
    world.hub.reset_over(later.past.clone());
    assert_eq!(next(&stream).compact_revision, 8);
    assert_silent(&stream);
}

#[test]
fn rule_5_41_compaction_leaves_watchers_beyond_it_alone() {
    let world = World::new();
    let options = WatchOptions { queue_responses: 1, ..WatchOptions::default() };
    let (live, slow) = (world.hub.stream(options.clone()), world.hub.stream(options));
    created(&live, key("a"));
    created(&slow, key("a"));
    world.put("other", "2");
    world.put("a", "3");
    next(&live);
    world.put("a", "4");
    world.compact(4);
    assert_eq!(brief(&next(&live)), ["+a@4"]);
    assert_eq!(drain(&slow).iter().flat_map(brief).collect::<Vec<_>>(), ["+a@3", "+a@4"]);
}

#[test]
fn events_are_encoded_once_for_all_watchers() {
    let world = World::new();
    let streams: Vec<WatchStream> = (0..3).map(|_| world.stream()).collect();
    for stream in &streams {
        created(stream, key("a"));
        created(stream, Watch { prev_kv: true, ..range("a", "b") });
    }
    world.put("a", "1");
    world.put("a", "2");
    let all: Vec<WatchResponse> = streams.iter().flat_map(drain).collect();
    for (id, revision) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        let same = all.iter().filter(|r| (r.watch_id, r.revision) == (id, revision));
        let places: Vec<*const u8> = same.map(|r| r.events[0].as_ptr()).collect();
        assert_eq!(places.len(), 3);
        assert!(places.iter().all(|place| *place == places[0]), "watcher {id} at {revision}");
    }
    assert_eq!(world.past.state.lock().lookups, 1, "the creation needs none");
}
