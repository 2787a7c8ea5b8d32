//! Rules 5.29 to 5.35: progress, periodic and on request.

use super::*;

fn notified(watch: Watch) -> Watch {
    Watch { progress_notify: true, ..watch }
}

#[test]
fn rule_5_29_an_idle_watcher_that_asked_for_it_is_told_the_revision() {
    let world = World::new();
    let stream = world.stream();
    let id = created(&stream, notified(key("a")));
    created(&stream, key("a"));
    world.put("b", "1");
    stream.notify_progress();
    assert_eq!(drain(&stream), [WatchResponse::about(id, 2)]);
}

#[test]
fn rule_5_30_events_since_the_last_tick_skip_the_next() {
    let world = World::new();
    let stream = world.stream();
    for start in [0, 1] {
        created(&stream, notified(from(start, key("a"))));
    }
    world.put("a", "1");
    assert_eq!(drain(&stream).len(), 2);
    stream.notify_progress();
    assert_silent(&stream);
    stream.notify_progress();
    assert_eq!(drain(&stream), [WatchResponse::about(0, 2), WatchResponse::about(1, 2)]);
    stream.notify_progress();
    assert_eq!(drain(&stream).len(), 2, "progress is not an event");
}

#[test]
fn rule_5_31_progress_comes_after_every_event_up_to_it() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, notified(key("a")));
    world.put("a", "1");
    stream.notify_progress();
    stream.request_progress();
    world.put("a", "2");
    let order: Vec<(i64, usize)> =
        drain(&stream).iter().map(|r| (r.revision, r.events.len())).collect();
    assert_eq!(order, [(2, 1), (2, 0), (2, 0), (3, 1)]);
}

#[test]
fn rule_5_31_progress_never_overtakes_history_that_was_read_but_not_sent() {
    let world = World::new();
    world.put("a", "1");
    let stream = world.stream();
    created(&stream, from(2, key("a")));
    created(&stream, notified(from(2, key("a"))));
    // Both are read at once; the second response is still inside when progress is asked for.
    assert_eq!(brief(&next(&stream)), ["+a@2"]);
    assert_eq!(world.hub.stats().behind, 0);
    stream.notify_progress();
    stream.request_progress();
    let order: Vec<(i64, usize)> =
        drain(&stream).iter().map(|r| (r.watch_id, r.events.len())).collect();
    assert_eq!(order, [(1, 1), (1, 0), (NO_WATCHER, 0)]);
}

#[test]
fn rule_5_32_no_progress_while_behind_or_before_the_start() {
    let world = World::new();
    world.put("a", "1");
    let stream = world.stream();
    stream.create(notified(from(1, key("a"))));
    stream.create(notified(from(4, key("a"))));
    assert!(next(&stream).created);
    assert!(next(&stream).created);
    stream.notify_progress();
    assert_eq!(drain(&stream).len(), 1, "events of the first only");
    world.put("b", "2");
    stream.notify_progress();
    stream.notify_progress();
    assert_eq!(drain(&stream), [WatchResponse::about(0, 3)]);
    world.put("b", "3");
    stream.notify_progress();
    assert_eq!(drain(&stream), [WatchResponse::about(0, 4), WatchResponse::about(1, 4)]);
}

#[test]
fn rule_5_33_manual_progress_covers_all_watchers_or_is_not_given() {
    let world = World::new();
    world.put("a", "1");
    let stream = world.stream();
    created(&stream, key("a"));
    stream.request_progress();
    assert_eq!(drain(&stream), [WatchResponse::about(NO_WATCHER, 2)]);
    stream.create(from(1, key("a")));
    stream.request_progress();
    assert_eq!(drain(&stream).len(), 2, "answer and history, no progress, also not later");
    let future = created(&stream, from(4, key("a")));
    world.put("b", "2");
    stream.request_progress();
    assert_silent(&stream);
    stream.cancel(future);
    next(&stream);
    stream.request_progress();
    assert_eq!(drain(&stream), [WatchResponse::about(NO_WATCHER, 3)]);
}

#[test]
fn rule_5_34_manual_progress_without_watchers_is_not_given() {
    let world = World::new();
    let stream = world.stream();
    stream.request_progress();
    assert_silent(&stream);
    let id = created(&stream, key("a"));
    stream.cancel(id);
    next(&stream);
    stream.request_progress();
    assert_silent(&stream);
}

#[test]
fn rule_5_35_progress_waits_its_turn_in_the_queue() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, key("a"));
    for value in 0..50 {
        world.put("a", &value.to_string());
    }
    stream.request_progress();
    let responses = drain(&stream);
    assert_eq!(responses.len(), 51);
    assert_eq!(responses[50], WatchResponse::about(NO_WATCHER, 51));
}

#[test]
fn progress_behind_the_hub_is_not_reported_to_a_watcher_that_read_ahead() {
    let world = World::new();
    let stream = world.stream();
    world.put("a", "1");
    let unpublished = world.past.write(&[&[super::memory::Op::Put("a", "2")]]);
    created(&stream, notified(from(2, key("a"))));
    let ahead = next(&stream);
    assert_eq!((ahead.revision, brief(&ahead).len()), (3, 2));
    stream.notify_progress();
    stream.notify_progress();
    stream.request_progress();
    assert_silent(&stream);
    world.hub.publish(&unpublished);
    assert_silent(&stream);
    stream.request_progress();
    assert_eq!(next(&stream), WatchResponse::about(NO_WATCHER, 3));
}
