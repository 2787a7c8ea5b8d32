//! Streams of watchers with random ranges, beginnings and bounds, read at random moments.
//!
//! Each response is compared with the list of all versions at once: no gap, no repeat, no split
//! revision, no progress ahead of the events. A stream that had nothing more must wake its reader
//! when it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};

use revd_mvcc::{
    Hub, Interval, KeyValue, NO_WATCHER, Watch, WatchOptions, WatchResponse, WatchStream,
};

use crate::model::{Mark, Model, Written};
use crate::random::Random;
use crate::wire;

/// Remembers that it was woken.
#[derive(Debug, Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One stream with its watchers.
pub(crate) struct Watching {
    stream: WatchStream,
    bell: Arc<Bell>,
    /// The last poll found nothing, and nothing has been asked for since.
    is_waiting: bool,
    watchers: BTreeMap<i64, Watcher>,
    next_id: i64,
}

#[derive(Debug)]
struct Watcher {
    keys: Interval,
    watch: Watch,
    /// The first revision that belongs to it.
    from: i64,
    /// The first place in the list that it has not come to.
    at: usize,
    /// The revision of the last event.
    last: i64,
    /// More of the last response follows.
    is_split: bool,
    is_created: bool,
}

/// How many responses of which kind a read gave.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

impl Watching {
    pub(crate) fn begin(random: &mut Random, hub: &Hub) -> Self {
        let options = WatchOptions {
            queue_responses: 1 + random.below(8) as usize,
            queue_bytes: 600 + random.below(60_000) as usize,
            chunk_revisions: 1 + random.below(20) as usize,
            chunk_bytes: 1 + random.below(3_000) as usize,
            chunk_records: 1 + random.below(60) as usize,
            fragment_bytes: 150 + random.below(300) as usize,
            ..WatchOptions::default()
        };
        Self {
            stream: hub.stream(options),
            bell: Arc::default(),
            is_waiting: false,
            watchers: BTreeMap::new(),
            next_id: 1,
        }
    }

    /// Asks for something; the word for it.
    pub(crate) fn ask(&mut self, random: &mut Random, published: &Mark) -> &'static str {
        self.is_waiting = false;
        match random.below(8) {
            0 if !self.watchers.is_empty() => {
                let at = random.below(self.watchers.len() as u64) as usize;
                self.stream.cancel(*self.watchers.keys().nth(at).unwrap());
                "watch cancelled"
            }
            1 | 2 => {
                self.stream.request_progress();
                "progress asked for"
            }
            3 => {
                self.stream.notify_progress();
                "progress due"
            }
            _ if self.watchers.len() < 6 => self.create(random, published),
            _ => "nothing asked for",
        }
    }

    fn create(&mut self, random: &mut Random, published: &Mark) -> &'static str {
        let (key, range_end) = random.interval();
        let keys = Interval::new(&key, &range_end);
        if keys.is_empty() {
            return "nothing asked for";
        }
        let newest = published.revision;
        let start_revision = match random.below(4) {
            0 | 1 => 0,
            2 => random.revision(newest).max(1),
            _ => newest + random.below(9) as i64,
        };
        let watch = Watch {
            key,
            range_end,
            start_revision,
            watch_id: self.next_id,
            prev_kv: random.one_in(2),
            fragment: random.one_in(3),
            progress_notify: random.one_in(2),
            no_put: random.one_in(8),
            no_delete: random.one_in(8),
        };
        self.next_id += 1;
        self.stream.create(watch.clone());
        let from = if start_revision == 0 { newest + 1 } else { start_revision };
        let watcher =
            Watcher { keys, watch, from, at: 0, last: 0, is_split: false, is_created: false };
        self.watchers.insert(watcher.watch.watch_id, watcher);
        "watch"
    }

    /// Takes what there is, or some of it. If it took all, every watcher must have seen all that
    /// is published.
    pub(crate) fn read(
        &mut self,
        model: &Model,
        published: &Mark,
        at_most: usize,
        counts: &mut Counts,
    ) {
        let was_woken = self.bell.0.swap(false, Ordering::Relaxed);
        let mut taken = 0;
        while taken < at_most {
            let waker = Waker::from(Arc::clone(&self.bell));
            let Poll::Ready(response) = self.stream.poll_next(&waker) else {
                // A stream yields between two pieces of history.
                if self.bell.0.swap(false, Ordering::Relaxed) {
                    continue;
                }
                self.is_waiting = true;
                for watcher in self.watchers.values() {
                    watcher.check_seen(model, published, published.revision);
                }
                return;
            };
            assert!(!self.is_waiting || was_woken, "the reader was not woken");
            self.is_waiting = false;
            taken += 1;
            let kind = self.receive(model, published, &response.unwrap());
            *counts.entry(kind).or_default() += 1;
        }
    }

    fn receive(&mut self, model: &Model, now: &Mark, response: &WatchResponse) -> &'static str {
        assert!(response.revision <= now.revision, "{response:?}");
        let id = response.watch_id;
        if response.canceled {
            let ended = self.watchers.remove(&id);
            if response.compact_revision == 0 {
                // The id of a watcher that compaction has ended is told to be free as well.
                return if ended.is_some() { "cancelled" } else { "freed" };
            }
            let ended = ended.expect("a watcher ends once");
            assert!(response.compact_revision <= now.floor, "{response:?}");
            assert!(ended.last < response.compact_revision, "{ended:?} {response:?}");
            // A client may cancel it still, to use the id again.
            self.stream.cancel(id);
            return "compacted";
        }
        if id == NO_WATCHER {
            for watcher in self.watchers.values().filter(|watcher| watcher.is_created) {
                watcher.check_seen(model, now, response.revision);
            }
            return "progress of all";
        }
        let watcher = self.watchers.get_mut(&id).expect("a response about an open watcher");
        if response.created {
            assert!(!watcher.is_created && response.events.is_empty());
            watcher.is_created = true;
            return "created";
        }
        assert!(watcher.is_created, "{response:?}");
        if response.events.is_empty() {
            assert!(watcher.watch.progress_notify, "{response:?}");
            watcher.check_seen(model, now, response.revision);
            return "progress";
        }
        watcher.take(model, now, response);
        if response.fragment { "fragment" } else { "events" }
    }
}

impl Watcher {
    fn wants(&self, written: &Written) -> bool {
        let is_left_out =
            if written.kv.is_some() { self.watch.no_put } else { self.watch.no_delete };
        written.main >= self.from && !is_left_out && self.keys.contains(&written.key)
    }

    fn take(&mut self, model: &Model, now: &Mark, response: &WatchResponse) {
        let mut is_first = true;
        for encoded in &response.events {
            let (is_put, kv, previous) = wire::event(encoded);
            let main = kv.mod_revision;
            if std::mem::take(&mut is_first) {
                let begins = if self.is_split { main >= self.last } else { main > self.last };
                assert!(begins, "revision {main} in two responses: {self:?}");
            }
            assert!(main <= now.revision && main >= self.last, "{kv:?} {self:?}");
            self.last = main;
            let put = is_put.then_some(&kv);
            assert!(is_put || (kv.version, kv.create_revision, kv.lease) == (0, 0, 0), "{kv:?}");
            let written = self.advance(model, now, &kv.key, main, put);
            self.check_previous(model, now, written, previous);
        }
        assert!(response.revision >= self.last, "{response:?}");
        self.is_split = response.fragment;
        assert!(!self.is_split || self.watch.fragment, "{response:?}");
        if !self.is_split {
            // The rest of this revision would have been in the same response.
            self.check_seen(model, now, self.last);
        }
    }

    /// Goes on in the list to this event; nothing that is wanted may lie between.
    fn advance<'m>(
        &mut self,
        model: &'m Model,
        now: &Mark,
        key: &[u8],
        main: i64,
        put: Option<&KeyValue>,
    ) -> &'m Written {
        loop {
            let place = self.at;
            let written = model.written.get(place).expect("an event that was never written");
            self.at += 1;
            if !self.wants(written) {
                continue;
            }
            if written.main == main && written.key == key && written.kv.as_ref() == put {
                return written;
            }
            let is_given_up = model.is_given_up(place, now.floor);
            assert!(is_given_up, "{written:?} is missing before {key:?} at {main}: {self:?}");
        }
    }

    fn check_previous(
        &self,
        model: &Model,
        now: &Mark,
        written: &Written,
        previous: Option<KeyValue>,
    ) {
        let is_creation =
            written.kv.as_ref().is_some_and(|kv| kv.create_revision == kv.mod_revision);
        let before = model.at(&written.key, written.main - 1).filter(|_| !is_creation);
        let before = before.filter(|_| self.watch.prev_kv);
        // What was compacted may be left out, or be there still.
        if written.main > now.floor || previous.is_some() {
            assert_eq!(previous.as_ref(), before, "before {written:?}");
        }
    }

    /// Nothing that is wanted is missing up to a revision.
    fn check_seen(&self, model: &Model, now: &Mark, up_to: i64) {
        for (place, written) in model.written.iter().enumerate().skip(self.at) {
            if written.main > up_to {
                break;
            }
            let is_seen = !self.wants(written) || model.is_given_up(place, now.floor);
            assert!(is_seen, "{written:?} is missing up to {up_to}: {self:?}");
        }
    }
}
