//! Rules 5.36 to 5.38 and the bounds: what a slow stream costs, and whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::memory::Op;
use super::*;

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn rule_5_36_a_full_queue_leaves_the_watcher_behind() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, key("a"));
    for value in 0..128 {
        world.put("a", &value.to_string());
    }
    assert_eq!(world.hub.stats().behind, 0);
    world.put("a", "one too many");
    assert_eq!(world.hub.stats().behind, 1);
    for value in 0..1000 {
        world.put("a", &value.to_string());
    }
    let responses = drain(&stream);
    let sizes: Vec<usize> = responses.iter().map(|r| r.events.len()).collect();
    let mut expected = vec![1; 128];
    expected.extend([1000, 1]);
    assert_eq!(sizes, expected);
    let revisions: Vec<i64> =
        responses.iter().flat_map(seen).map(|event| event.kv.mod_revision).collect();
    assert!(revisions.iter().copied().eq(2..=1130));
    assert_eq!(world.hub.stats().behind, 0);
}

#[test]
fn rule_5_37_one_read_serves_the_watchers_that_fell_behind_together() {
    let world = World::new();
    let options = WatchOptions { queue_responses: 1, ..WatchOptions::default() };
    let stream = world.hub.stream(options);
    for _ in 0..50 {
        created(&stream, key("a"));
    }
    for value in 0..20 {
        world.put("a", &value.to_string());
    }
    let responses = drain(&stream);
    assert_eq!(responses.iter().map(|r| r.events.len()).sum::<usize>(), 50 * 20);
    assert_eq!(responses.len(), 2 * 50, "one live and one out of history each");
    assert_eq!(world.past.state.lock().reads, 1);
    let shared = &responses[50].events[0];
    assert!(responses[50..].iter().all(|r| r.events[0].as_ptr() == shared.as_ptr()));
}

#[test]
fn rule_5_37_a_watcher_far_behind_does_not_hold_up_the_others() {
    let world = World::new();
    for value in 0..5000 {
        world.put("a", &value.to_string());
    }
    let stream = world.stream();
    created(&stream, from(1, key("a")));
    created(&stream, from(4900, key("a")));
    created(&stream, key("b"));
    world.put("b", "1");
    let responses = drain(&stream);
    let last_of = |id| responses.iter().rposition(|r| r.watch_id == id).unwrap();
    assert!(last_of(1) < last_of(0), "it was served in between");
    assert!(last_of(2) < last_of(0), "and so was the live one");
}

#[test]
fn rule_5_38_a_blocked_watcher_goes_on_where_it_stopped() {
    let world = World::new();
    let options = WatchOptions { queue_responses: 3, ..WatchOptions::default() };
    let stream = world.hub.stream(options);
    created(&stream, key("a"));
    let mut got = Vec::new();
    let mut last = 1;
    for round in 1..=40_i64 {
        for _ in 0..round % 7 {
            last = world.put("a", "x");
        }
        for _ in 0..round % 3 {
            got.extend(try_next(&stream));
        }
    }
    got.extend(drain(&stream));
    let revisions: Vec<i64> =
        got.iter().flat_map(seen).map(|event| event.kv.mod_revision).collect();
    assert!(revisions.into_iter().eq(2..=last));
}

#[test]
fn rule_5_39_a_stream_that_nobody_reads_stays_small_and_hurts_nobody() {
    let world = World::new();
    let options = WatchOptions { queue_bytes: 10_000, ..WatchOptions::default() };
    let (stopped, reading) = (world.hub.stream(options), world.stream());
    for stream in [&stopped, &reading] {
        created(stream, key("a"));
    }
    let value = "v".repeat(1000);
    for _ in 0..500 {
        world.put("a", &value);
        assert_eq!(next(&reading).events.len(), 1);
    }
    assert_eq!(world.hub.stats().behind, 1);
    let live = drain(&stopped).iter().take_while(|r| r.events.len() == 1).count();
    assert!((5..=9).contains(&live), "{live} responses of a kilobyte below 10,000 bytes");
}

#[test]
fn a_revision_above_the_byte_bound_is_taken_in_alone() {
    let world = World::new();
    let options = WatchOptions { queue_bytes: 100, ..WatchOptions::default() };
    let stream = world.hub.stream(options);
    created(&stream, key("a"));
    world.put("a", &"v".repeat(1000));
    assert_eq!(world.hub.stats().behind, 0);
    world.put("a", "1");
    assert_eq!(world.hub.stats().behind, 1);
    assert_eq!(drain(&stream).iter().flat_map(brief).collect::<Vec<_>>(), ["+a@2", "+a@3"]);
}

#[test]
fn watchers_that_a_full_queue_does_not_concern_stay_live() {
    let world = World::new();
    let options = WatchOptions { queue_responses: 1, ..WatchOptions::default() };
    let stream = world.hub.stream(options);
    created(&stream, key("a"));
    created(&stream, key("b"));
    world.put("a", "1");
    world.put("a", "2");
    assert_eq!(world.hub.stats().behind, 1);
    drain(&stream);
    world.put("b", "1");
    assert_eq!(brief(&next(&stream)), ["+b@4"]);
    assert_eq!(world.past.state.lock().reads, 1);
}

#[test]
fn a_revision_is_queued_for_all_watchers_of_a_stream_or_for_none() {
    let world = World::new();
    let options = WatchOptions { queue_responses: 4, ..WatchOptions::default() };
    let stream = world.hub.stream(options);
    for _ in 0..10 {
        created(&stream, key("a"));
    }
    world.put("a", "1");
    assert_eq!(world.hub.stats().behind, 0);
    world.put("a", "2");
    assert_eq!(world.hub.stats().behind, 10);
}

#[test]
fn requests_wait_while_their_answers_are_not_read() {
    let world = World::new();
    let options = WatchOptions { pending_requests: 2, ..WatchOptions::default() };
    let stream = world.hub.stream(options);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    for _ in 0..2 {
        assert_eq!(stream.poll_ready(&waker), Poll::Ready(()));
        stream.create(key("a"));
    }
    assert_eq!(stream.poll_ready(&waker), Poll::Pending);
    assert_eq!(bell.rung(), 0);
    next(&stream);
    assert_eq!(bell.rung(), 1);
    assert_eq!(stream.poll_ready(&waker), Poll::Ready(()));
}

#[test]
fn periodic_progress_does_not_pile_up() {
    let world = World::new();
    let stream = world.stream();
    for _ in 0..4 {
        created(&stream, Watch { progress_notify: true, ..key("a") });
    }
    for _ in 0..1000 {
        stream.notify_progress();
    }
    assert_eq!(drain(&stream).len(), 128);
}

#[test]
fn the_reader_is_woken_once_for_what_concerns_it() {
    let world = World::new();
    let stream = world.stream();
    created(&stream, key("a"));
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    assert!(stream.poll_next(&waker).is_pending());
    world.put("b", "1");
    assert_eq!(bell.rung(), 0, "not its key");
    world.batch(&[&[Op::Put("a", "1")], &[Op::Put("a", "2")]]);
    world.put("a", "3");
    assert_eq!(bell.rung(), 1, "until it polls again");
    assert_eq!(drain(&stream).len(), 3);
    assert!(stream.poll_next(&waker).is_pending());
    stream.create(key("a"));
    assert_eq!(bell.rung(), 2);
    next(&stream);
    assert!(stream.poll_next(&waker).is_pending());
    stream.request_progress();
    assert_eq!(bell.rung(), 3);
}

#[test]
fn a_long_search_yields_and_wakes_itself() {
    let world = World::new();
    for value in 0..100 {
        world.put("other", &value.to_string());
    }
    world.put("a", "1");
    let options = WatchOptions { chunk_records: 10, ..WatchOptions::default() };
    let stream = world.hub.stream(options);
    created(&stream, from(1, key("a")));
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut polls = 0;
    let response = loop {
        polls += 1;
        match stream.poll_next(&waker) {
            Poll::Ready(response) => break response.unwrap(),
            Poll::Pending => assert_eq!(bell.rung(), polls),
        }
    };
    assert_eq!(brief(&response), ["+a@102"]);
    assert_eq!(polls, 11, "ten records in each");
}

#[test]
fn rule_5_37_streams_that_are_behind_come_forward_together() {
    let world = World::new();
    for value in 0..1000 {
        world.put("a", &value.to_string());
    }
    let options = WatchOptions { chunk_revisions: 10, ..WatchOptions::default() };
    let streams: Vec<WatchStream> = (0..10)
        .map(|n| {
            let stream = world.hub.stream(options.clone());
            // One of them has many more watchers that are behind.
            let watchers = if n == 0 { 100 } else { 1 };
            for _ in 0..watchers {
                created(&stream, from(1, key("a")));
            }
            stream
        })
        .collect();
    let live = world.stream();
    created(&live, key("b"));
    let mut seen_by = vec![0; streams.len()];
    for round in 0..100 {
        for (stream, seen_by) in streams.iter().zip(&mut seen_by) {
            match stream.poll_next(Waker::noop()) {
                Poll::Ready(response) => *seen_by += response.unwrap().events.len(),
                Poll::Pending => {}
            }
        }
        assert!(seen_by.iter().all(|count| *count == 10 * (round + 1)), "{seen_by:?}");
        world.put("b", &round.to_string());
        assert_eq!(next(&live).events.len(), 1);
    }
    assert_eq!(seen_by, [1000; 10]);
}

#[test]
fn a_failed_read_is_an_error_each_time() {
    let world = World::new();
    world.put("a", "1");
    let stream = world.stream();
    created(&stream, from(1, key("a")));
    world.past.state.lock().is_broken = true;
    for _ in 0..2 {
        assert!(matches!(stream.poll_next(Waker::noop()), Poll::Ready(Err(_))));
    }
}

#[test]
fn options_that_let_nothing_through_are_refused() {
    assert!(WatchOptions::default().validate().is_ok());
    let options = WatchOptions { chunk_bytes: 0, ..WatchOptions::default() };
    assert_eq!(options.validate().unwrap_err().option, "chunk_bytes");
}
