//! Watchers with random ranges and beginnings that are read at random moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};

use bytes::Bytes;
use revd_mvcc::{Hub, Interval, KeyValue, Watch, WatchOptions, WatchResponse, WatchStream};

use crate::model::Model;
use crate::random::Random;
use crate::wire;

/// One watcher on a stream of its own.
pub(crate) struct Watching {
    stream: WatchStream,
    keys: Interval,
    from: i64,
    prev_kv: bool,
    seen: Vec<Seen>,
}

#[derive(Clone, Debug, PartialEq)]
struct Seen {
    key: Bytes,
    main: i64,
    /// `None` for a deletion.
    put: Option<KeyValue>,
    previous: Option<KeyValue>,
}

/// Whether a stream has woken its task.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Watching {
    pub(crate) fn begin(random: &mut Random, hub: &Hub, published: &Model) -> Self {
        let (key, range_end) = random.interval();
        let keys = Interval::new(&key, &range_end);
        let newest = published.revision;
        let start = if random.one_in(2) { 0 } else { random.revision(newest).max(0) };
        let from = if start == 0 { newest + 1 } else { start };
        let options = WatchOptions {
            queue_responses: 4,
            chunk_revisions: 7,
            chunk_records: 20,
            ..WatchOptions::default()
        };
        let stream = hub.stream(options);
        let prev_kv = random.one_in(2);
        stream.create(Watch { key, range_end, start_revision: start, prev_kv, ..Watch::default() });
        Self { stream, keys, from, prev_kv, seen: Vec::new() }
    }

    /// Takes what there is, or some of it. False once the watcher has ended.
    pub(crate) fn read(&mut self, published: &Model, at_most: usize) -> bool {
        for _ in 0..at_most {
            let Some(response) = self.next() else { break };
            if response.canceled {
                if response.compact_revision != 0 {
                    assert!(response.compact_revision <= published.floor);
                    self.check(published, false);
                }
                return false;
            }
            for event in &response.events {
                let (is_put, kv, previous) = wire::event(event);
                let (key, main) = (kv.key.clone(), kv.mod_revision);
                self.seen.push(Seen { key, main, put: is_put.then_some(kv), previous });
            }
        }
        true
    }

    /// The next response; a stream that wakes itself is still looking for one.
    fn next(&self) -> Option<WatchResponse> {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            match self.stream.poll_next(&waker) {
                Poll::Ready(response) => return Some(response.unwrap()),
                Poll::Pending if woken.0.swap(false, Ordering::Relaxed) => {}
                Poll::Pending => return None,
            }
        }
    }

    /// Compares with the model: all that happened since, or a beginning of it.
    pub(crate) fn check(&self, model: &Model, is_complete: bool) {
        let mut expected: Vec<Seen> = Vec::new();
        for written in &model.written {
            if written.main < self.from || !self.keys.contains(&written.key) {
                continue;
            }
            let (key, main) = (written.key.clone(), written.main);
            expected.push(Seen { key, main, put: written.kv.clone(), previous: None });
        }
        let plain = |seen: &Seen| Seen { previous: None, ..seen.clone() };
        let seen = last_of_each_revision(self.seen.iter().map(plain).collect());
        let expected = last_of_each_revision(expected);
        if is_complete {
            assert_eq!(seen, expected, "from {}", self.from);
        } else {
            assert!(expected.starts_with(&seen), "from {}: {seen:?} {expected:?}", self.from);
        }
        for seen in self.seen.iter().filter(|seen| self.prev_kv && seen.main > model.floor) {
            let is_creation = seen.put.as_ref().is_some_and(|kv| kv.create_revision == seen.main);
            let before = model.at(seen.main - 1).get(&seen.key).cloned();
            assert_eq!(seen.previous, before.filter(|_| !is_creation), "{seen:?}");
        }
    }
}

/// At the compaction floor only the last record of a key that was written twice in one revision
/// is part of history; elsewhere both are.
fn last_of_each_revision(mut seen: Vec<Seen>) -> Vec<Seen> {
    let all = seen.clone();
    let mut at = 0;
    seen.retain(|this| {
        at += 1;
        !all[at..].iter().any(|later| later.main == this.main && later.key == this.key)
    });
    seen
}
