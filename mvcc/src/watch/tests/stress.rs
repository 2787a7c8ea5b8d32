//! Random writers, watchers, slowness and compaction, against the list of all changes ever made.
//!
//! Each client writes down what it receives and checks at once what each response promises; at the
//! end every watcher must have received the events that the model names, each once and in order, or
//! have been cancelled by compaction, or by its client, somewhere along the way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::memory::Op;
use super::*;
use crate::events::Change;
use crate::key_value::KeyValue;

const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// A small generator (xorshift with a multiplier), enough to vary what happens.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn is(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    fn key(&mut self) -> &'static str {
        KEYS[self.below(KEYS.len() as u64) as usize]
    }
}

/// How a watcher stands in its client's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Canceled,
    Compacted,
}

/// What one client knows of one watcher.
#[derive(Debug)]
struct Tracked {
    watch: Watch,
    /// The first revision that belongs to it; known when it was created.
    first: Option<i64>,
    events: Vec<Seen>,
    end: End,
    is_split: bool,
}

/// One client with its stream.
struct Client {
    stream: WatchStream,
    options: WatchOptions,
    chance: Chance,
    open: BTreeMap<i64, Tracked>,
    ended: Vec<Tracked>,
    next_id: i64,
    /// Kinds of responses seen, so that the test can tell that it tested something.
    counts: BTreeMap<&'static str, usize>,
}

impl Client {
    fn new(world: &World, seed: u64) -> Client {
        let mut chance = Chance(seed * 2 + 1);
        let options = WatchOptions {
            queue_responses: 1 + chance.below(6) as usize,
            queue_bytes: 600 + chance.below(2000) as usize,
            chunk_revisions: 1 + chance.below(20) as usize,
            chunk_bytes: 1 + chance.below(300) as usize,
            chunk_records: 1 + chance.below(40) as usize,
            fragment_bytes: 150 + chance.below(100) as usize,
            ..WatchOptions::default()
        };
        let stream = world.hub.stream(options.clone());
        Client {
            stream,
            options,
            chance,
            open: BTreeMap::new(),
            ended: Vec::new(),
            next_id: 1,
            counts: BTreeMap::new(),
        }
    }

    /// Asks for something at random.
    fn request(&mut self, world: &World) {
        match self.chance.below(10) {
            0..=3 if self.open.len() < 12 => self.create(world),
            4 => {
                let ids: Vec<i64> = self.open.keys().copied().collect();
                if !ids.is_empty() {
                    self.stream.cancel(ids[self.chance.below(ids.len() as u64) as usize]);
                }
            }
            5..=6 => self.stream.request_progress(),
            7..=8 => self.stream.notify_progress(),
            _ => {}
        }
    }

    fn create(&mut self, world: &World) {
        let chance = &mut self.chance;
        let now = world.past.state.lock().revision as u64;
        let start = match chance.below(3) {
            0 => 0,
            1 => now.saturating_sub(chance.below(60)).max(1),
            _ => now + chance.below(6),
        };
        let keys = match chance.below(4) {
            0 => key(chance.key()),
            1 => range("a", "\0"),
            _ => range(chance.key(), "z"),
        };
        let watch = Watch {
            start_revision: start as i64,
            watch_id: self.next_id,
            prev_kv: chance.is(3),
            fragment: chance.is(3),
            progress_notify: chance.is(2),
            no_put: chance.is(8),
            no_delete: chance.is(8),
            ..keys
        };
        self.next_id += 1;
        self.stream.create(watch.clone());
        let tracked =
            Tracked { watch, first: None, events: Vec::new(), end: End::Open, is_split: false };
        self.open.insert(tracked.watch.watch_id, tracked);
    }

    /// Reads up to `count` responses.
    fn read(&mut self, world: &World, count: u64) {
        let (live, bytes) = self.stream.load();
        assert!(live < self.options.queue_responses + 12 + 1, "{live} responses queued");
        assert!(bytes <= self.options.queue_bytes.max(4 * 300), "{bytes} bytes queued");
        for _ in 0..count {
            let Poll::Ready(response) = self.stream.poll_next(Waker::noop()) else { return };
            self.receive(world, response.unwrap());
        }
    }

    fn receive(&mut self, world: &World, response: WatchResponse) {
        let id = response.watch_id;
        let kind = if response.created {
            self.tracked(id).start(&response);
            "created"
        } else if response.canceled {
            self.receive_end(world, &response)
        } else if response.events.is_empty() {
            for tracked in self.open.values() {
                let is_meant = id == NO_WATCHER || id == tracked.watch.watch_id;
                if is_meant && tracked.first.is_some() {
                    tracked.check_progress(world, response.revision);
                }
            }
            "progress"
        } else {
            let is_fragment = response.fragment;
            self.tracked(id).take(world, &response);
            if is_fragment { "fragment" } else { "events" }
        };
        *self.counts.entry(kind).or_default() += 1;
    }

    fn receive_end(&mut self, world: &World, response: &WatchResponse) -> &'static str {
        let id = response.watch_id;
        let Some(mut tracked) = self.open.remove(&id) else {
            // The client's cancel crossed the end by compaction: it is answered too (5.14).
            let ended = self.ended.iter().find(|tracked| tracked.watch.watch_id == id);
            assert!(ended.is_some_and(|tracked| matches!(tracked.end, End::Compacted)));
            assert_eq!(response.compact_revision, 0);
            return "freed";
        };
        tracked.finish(world, response);
        self.ended.push(tracked);
        if response.compact_revision > 0 { "compacted" } else { "canceled" }
    }

    fn tracked(&mut self, id: i64) -> &mut Tracked {
        self.open.get_mut(&id).expect("responses are about open watchers")
    }

    /// Reads all that is due, and compares everything with the model.
    fn finish(mut self, world: &World) -> BTreeMap<&'static str, usize> {
        while let Some(response) = try_next(&self.stream) {
            self.receive(world, response);
        }
        for tracked in self.open.values().chain(&self.ended) {
            tracked.check_all(world);
        }
        self.counts
    }
}

impl Tracked {
    fn start(&mut self, answer: &WatchResponse) {
        assert!(!answer.canceled, "{answer:?}");
        assert_eq!(self.first, None);
        let asked = self.watch.start_revision;
        self.first = Some(if asked == 0 { answer.revision + 1 } else { asked });
    }

    fn wants(&self, change: &Change) -> bool {
        let kv = &change.kv;
        let is_inside = match self.watch.range_end.as_ref() {
            b"" => kv.key == self.watch.key,
            b"\0" => kv.key >= self.watch.key,
            end => kv.key >= self.watch.key && kv.key.as_ref() < end,
        };
        let is_left_out = if change.is_put { self.watch.no_put } else { self.watch.no_delete };
        is_inside && !is_left_out && self.first.is_some_and(|first| kv.mod_revision >= first)
    }

    /// What the model says about the revisions up to `last`.
    fn expected(&self, world: &World, last: i64) -> Vec<(bool, KeyValue)> {
        let state = world.past.state.lock();
        let wanted = state.all.iter().filter(|c| c.kv.mod_revision <= last && self.wants(c));
        wanted.map(|change| (change.is_put, change.kv.clone())).collect()
    }

    fn take(&mut self, world: &World, response: &WatchResponse) {
        let events = seen(response);
        let (first, last) = (events[0].kv.mod_revision, events[events.len() - 1].kv.mod_revision);
        assert!(response.revision >= last, "{response:?}");
        let begins = self.events.last().is_none_or(|before| before.kv.mod_revision < first);
        assert!(begins || self.is_split, "revision {first} in two responses");
        self.events.extend(events);
        self.is_split = response.fragment;
        if !response.fragment {
            assert_eq!(self.events.len(), self.expected(world, last).len(), "a gap before {last}");
        }
    }

    fn check_progress(&self, world: &World, revision: i64) {
        assert!(revision >= self.watch.start_revision, "progress {revision}: {self:?}");
        let expected = self.expected(world, revision).len();
        let received = self.events.iter().filter(|e| e.kv.mod_revision <= revision).count();
        assert_eq!(received, expected, "progress at {revision} came too early: {self:?}");
    }

    fn finish(&mut self, world: &World, response: &WatchResponse) {
        let floor = response.compact_revision;
        self.end = if floor > 0 { End::Compacted } else { End::Canceled };
        if floor > 0 {
            assert_eq!(response.revision, 0);
            let last = self.events.last().map_or(0, |event| event.kv.mod_revision);
            let needed = (last + 1).max(self.first.expect("it was created first"));
            assert!(needed < floor, "cancelled at {needed} by floor {floor}");
            assert!(floor <= world.past.state.lock().compacted);
        }
    }

    fn check_all(&self, world: &World) {
        let expected = self.expected(world, i64::MAX);
        let received = self.events.iter().map(|event| (event.is_put, event.kv.clone()));
        assert!(received.eq(expected[..self.events.len()].iter().cloned()), "{self:?}");
        if self.end == End::Open {
            assert_eq!(self.events.len(), expected.len(), "{self:?}");
        }
        let floor = world.past.state.lock().compacted;
        for event in &self.events {
            let kv = &event.kv;
            let is_creation = event.is_put && kv.create_revision == kv.mod_revision;
            let model = model_at(world, &kv.key, kv.mod_revision - 1);
            match &event.previous {
                Some(previous) => assert_eq!(Some(previous), model.as_ref()),
                None if !self.watch.prev_kv || is_creation => {}
                None => assert!(model.is_none() || kv.mod_revision - 1 < floor, "{event:?}"),
            }
            assert!(event.previous.is_none() || (self.watch.prev_kv && !is_creation));
        }
    }
}

fn model_at(world: &World, key: &[u8], revision: i64) -> Option<KeyValue> {
    let state = world.past.state.lock();
    let of_key = |c: &&Change| c.kv.key == key && c.kv.mod_revision <= revision;
    let newest = state.all.iter().rev().find(of_key)?;
    newest.is_put.then(|| newest.kv.clone())
}

/// Writes one to four revisions, each of one to four keys, none twice in a revision.
fn write(world: &World, chance: &mut Chance) -> crate::events::Batch {
    let value = "v".repeat(chance.below(60) as usize);
    let mut batch = crate::events::Batch::default();
    for _ in 0..=chance.below(4) {
        let mut ops = BTreeMap::new();
        for _ in 0..=chance.below(4) {
            let key = chance.key();
            let is_delete = world.past.is_live(key) && chance.is(3);
            ops.insert(key, if is_delete { Op::Delete(key) } else { Op::Put(key, &value) });
        }
        let ops: Vec<Op<'_>> = ops.into_values().collect();
        let written = world.past.write(&[&ops]);
        batch.changes.extend(written.changes);
        batch.revision = written.revision;
    }
    batch
}

fn compact(world: &World, chance: &mut Chance) {
    let mut state = world.past.state.lock();
    let floor = state.revision - chance.below(30) as i64;
    if floor > state.compacted.max(1) {
        state.compact(floor);
    }
}

fn seeds(default: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (1..=default).collect(),
    }
}

fn assert_all_seen(counts: &BTreeMap<&'static str, usize>) {
    for kind in ["created", "canceled", "compacted", "progress", "fragment", "events"] {
        assert!(counts.get(kind).is_some_and(|count| *count > 50), "{kind} in {counts:?}");
    }
    println!("{counts:?}");
}

fn add(total: &mut BTreeMap<&'static str, usize>, counts: BTreeMap<&'static str, usize>) {
    for (kind, count) in counts {
        *total.entry(kind).or_default() += count;
    }
}

#[test]
fn every_watcher_sees_its_history_in_any_order_of_steps() {
    let mut total = BTreeMap::new();
    for seed in seeds(150) {
        println!("SEED={seed}");
        let world = World::new();
        let mut chance = Chance(seed);
        let mut clients: Vec<Client> = (0..4).map(|n| Client::new(&world, seed * 10 + n)).collect();
        let mut unpublished = None;
        for _ in 0..600 {
            let client = chance.below(clients.len() as u64) as usize;
            let client = &mut clients[client];
            match chance.below(12) {
                // Readers of history may be ahead of the hub.
                0..=3 => match unpublished.take() {
                    None => unpublished = Some(write(&world, &mut chance)),
                    Some(batch) => world.hub.publish(&batch),
                },
                4..=6 => client.request(&world),
                7 => compact(&world, &mut chance),
                _ => client.read(&world, chance.below(6)),
            }
        }
        if let Some(batch) = unpublished {
            world.hub.publish(&batch);
        }
        clients.into_iter().for_each(|client| add(&mut total, client.finish(&world)));
        assert_eq!((world.hub.stats().streams, world.hub.stats().watchers), (0, 0));
    }
    if std::env::var("SEED").is_err() {
        assert_all_seen(&total);
    }
}

#[test]
fn every_watcher_sees_its_history_while_threads_run_freely() {
    let mut total = BTreeMap::new();
    for seed in seeds(6) {
        println!("SEED={seed} (the order of steps is the scheduler's)");
        let world = World::new();
        let is_over = AtomicBool::new(false);
        let counts = std::thread::scope(|scope| {
            let reading = |n: u64| {
                let (world, is_over) = (&world, &is_over);
                move || {
                    let mut client = Client::new(world, seed * 10 + n);
                    while !is_over.load(Ordering::Acquire) {
                        if client.next_id < 300 {
                            client.request(world);
                        }
                        let count = client.chance.below(10);
                        client.read(world, count);
                    }
                    client.finish(world)
                }
            };
            let readers: Vec<_> = (0..3).map(|n| scope.spawn(reading(n))).collect();
            let mut chance = Chance(seed);
            for _ in 0..400 {
                let batch = write(&world, &mut chance);
                world.hub.publish(&batch);
                if chance.is(8) {
                    compact(&world, &mut chance);
                }
                if chance.is(4) {
                    std::thread::yield_now();
                }
            }
            is_over.store(true, Ordering::Release);
            readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
        });
        counts.into_iter().for_each(|counts| add(&mut total, counts));
    }
    println!("{total:?}");
    assert!(total.get("events").is_some_and(|count| *count > 1000), "{total:?}");
}
