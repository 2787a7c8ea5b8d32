//! The hub over a history in memory: one test for each rule, the bounds, and a stress test.

mod bounds;
mod creation;
mod events;
mod memory;
mod progress;
mod stress;

use std::task::{Poll, Waker};

use bytes::Bytes;

use memory::{Seen, World, decode};

use super::{NO_WATCHER, Watch, WatchOptions, WatchResponse, WatchStream};

/// A request for one key.
fn key(key: &str) -> Watch {
    Watch { key: Bytes::copy_from_slice(key.as_bytes()), ..Watch::default() }
}

/// A request for the keys from `key` up to `end`.
fn range(key: &str, end: &str) -> Watch {
    let range_end = Bytes::copy_from_slice(end.as_bytes());
    Watch { range_end, ..self::key(key) }
}

fn from(start_revision: i64, watch: Watch) -> Watch {
    Watch { start_revision, ..watch }
}

/// The next response; a stream that says nothing fails the test.
fn next(stream: &WatchStream) -> WatchResponse {
    try_next(stream).expect("a response is due")
}

/// The next response, if there is one. Asks again while the stream only yields the thread.
fn try_next(stream: &WatchStream) -> Option<WatchResponse> {
    for _ in 0..100 {
        if let Poll::Ready(response) = stream.poll_next(Waker::noop()) {
            return Some(response.unwrap());
        }
    }
    None
}

/// All responses that are due.
fn drain(stream: &WatchStream) -> Vec<WatchResponse> {
    std::iter::from_fn(|| try_next(stream)).collect()
}

fn seen(response: &WatchResponse) -> Vec<Seen> {
    response.events.iter().map(|event| decode(event)).collect()
}

/// "+key@revision" for a put, "-key@revision" for a deletion.
fn brief(response: &WatchResponse) -> Vec<String> {
    seen(response)
        .iter()
        .map(|event| {
            let sign = if event.is_put { '+' } else { '-' };
            format!("{sign}{}@{}", String::from_utf8_lossy(&event.kv.key), event.kv.mod_revision)
        })
        .collect()
}

/// Creates a watcher and takes the answer, which must grant it. Returns its id.
fn created(stream: &WatchStream, watch: Watch) -> i64 {
    stream.create(watch);
    let answer = next(stream);
    assert!(answer.created && !answer.canceled, "{answer:?}");
    answer.watch_id
}

/// Asserts that a request for `watch` is refused with `reason`.
fn assert_refused(stream: &WatchStream, watch: Watch, reason: &str) {
    stream.create(watch);
    let answer = next(stream);
    assert!(answer.created && answer.canceled, "{answer:?}");
    assert_eq!((answer.watch_id, answer.compact_revision), (NO_WATCHER, 0));
    assert_eq!(answer.cancel_reason, reason);
    assert!(answer.events.is_empty());
}

/// Asserts that nothing is due.
fn assert_silent(stream: &WatchStream) {
    assert_eq!(try_next(stream), None);
}
