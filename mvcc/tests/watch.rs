//! Watching a whole store: history out of the tree, compaction and its sweeps, checkpoints, reopen.
//!
//! The hub's own rules are tested beside it, over a history in memory; here the model says which
//! encoded events a watcher must receive, byte for byte.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use revd_disk::Sim;
use revd_mvcc::{
    DeleteRange, Hub, KeyValue, Op, Options, Put, Store, Txn, Watch, WatchOptions, WatchResponse,
    WatchStream, encode_event,
};

const PATH: &str = "tree";

/// A change as the model keeps it.
#[derive(Debug, Clone)]
struct Past {
    is_put: bool,
    kv: KeyValue,
    previous: Option<KeyValue>,
}

/// Every change ever made, in order.
type Log = Arc<Mutex<Vec<Past>>>;

/// A store and the list of all its changes.
struct KeySpace {
    disk: Sim,
    store: Store,
    live: BTreeMap<Bytes, KeyValue>,
    log: Log,
}

impl KeySpace {
    fn new() -> KeySpace {
        let disk = Sim::new(1);
        let store = Store::create(Arc::new(disk.clone()), Path::new(PATH), options(), b"").unwrap();
        KeySpace { disk, store, live: BTreeMap::new(), log: Log::default() }
    }

    fn reopen(self) -> KeySpace {
        let KeySpace { disk, mut store, live, log } = self;
        checkpoint(&mut store);
        drop(store);
        let (store, _) = Store::open(Arc::new(disk.clone()), Path::new(PATH), options()).unwrap();
        KeySpace { disk, store, live, log }
    }

    /// Puts, and deletes where there is no value, all in one revision, and publishes.
    fn write(&mut self, changes: &[(&str, Option<&str>)]) -> i64 {
        let success = changes.iter().map(|(key, value)| operation(key, *value)).collect();
        let done = self.store.txn(&Txn { success, ..Txn::default() }).unwrap().unwrap();
        let main = done.revision.0;
        let before = self.live.clone();
        for (key, value) in changes {
            self.record(main, key, *value, &before);
        }
        self.store.publish();
        main
    }

    fn record(
        &mut self,
        main: i64,
        key: &str,
        value: Option<&str>,
        before: &BTreeMap<Bytes, KeyValue>,
    ) {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let old = self.live.get(&key);
        let kv = match value {
            None => KeyValue { key: key.clone(), mod_revision: main, ..KeyValue::default() },
            Some(value) => KeyValue {
                key: key.clone(),
                create_revision: old.map_or(main, |old| old.create_revision),
                mod_revision: main,
                version: old.map_or(1, |old| old.version + 1),
                value: Bytes::copy_from_slice(value.as_bytes()),
                lease: 0,
            },
        };
        let is_put = value.is_some();
        let is_creation = is_put && kv.create_revision == main;
        let previous = before.get(&key).filter(|_| !is_creation).cloned();
        if is_put {
            self.live.insert(key, kv.clone());
        } else {
            self.live.remove(&key);
        }
        self.log.lock().push(Past { is_put, kv, previous });
    }

    fn put(&mut self, key: &str, value: &str) -> i64 {
        self.write(&[(key, Some(value))])
    }

    fn delete(&mut self, key: &str) -> i64 {
        self.write(&[(key, None)])
    }

    fn compact(&mut self, revision: i64) {
        self.store.compact(revision).unwrap().unwrap();
        self.store.publish();
    }

    /// Checkpoints and sweeps until compaction has removed all that it can.
    fn sweep(&mut self) {
        for _ in 0..100 {
            checkpoint(&mut self.store);
            while let Some(job) = self.store.sweep() {
                let done = job.run().unwrap();
                self.store.swept(done).unwrap();
            }
            if !self.store.is_compacting() {
                return;
            }
        }
        panic!("compaction does not come to an end");
    }

    fn stream(&self) -> WatchStream {
        self.store.hub().stream(WatchOptions::default())
    }
}

fn options() -> Options {
    let mut options = Options::new([7; 16]);
    options.map_bytes = 1 << 30;
    options.sweep_bytes = 1 << 16;
    options
}

fn checkpoint(store: &mut Store) {
    if let Some(checkpoint) = store.checkpoint(b"").unwrap() {
        let written = checkpoint.write().unwrap();
        store.checkpointed(written);
    }
}

fn operation(key: &str, value: Option<&str>) -> Op {
    let key = Bytes::copy_from_slice(key.as_bytes());
    match value {
        Some(value) => {
            Op::Put(Put { key, value: Bytes::copy_from_slice(value.as_bytes()), ..Put::default() })
        }
        None => Op::DeleteRange(DeleteRange { key, ..DeleteRange::default() }),
    }
}

fn encoded(past: &Past, prev_kv: bool) -> Bytes {
    let previous = past.previous.as_ref().filter(|_| prev_kv).map(KeyValue::as_ref);
    let mut out = Vec::new();
    encode_event(past.is_put, past.kv.as_ref(), previous, &mut out);
    out.into()
}

/// The encoded events of `log` from revision `from` on.
fn since(log: &Log, from: i64, prev_kv: bool) -> Vec<Bytes> {
    let log = log.lock();
    let begin = log.partition_point(|past| past.kv.mod_revision < from);
    log[begin..].iter().map(|past| encoded(past, prev_kv)).collect()
}

fn all_from(start_revision: i64) -> Watch {
    let all = Bytes::from_static(b"\0");
    Watch { key: all.clone(), range_end: all, start_revision, ..Watch::default() }
}

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

fn events(stream: &WatchStream) -> Vec<Bytes> {
    drain(stream).into_iter().flat_map(|response| response.events).collect()
}

#[test]
fn rule_5_3_history_out_of_the_tree_then_live() {
    let mut space = KeySpace::new();
    let large = "v".repeat(200_000);
    for (key, value) in [("a", "1"), ("b", "2"), ("a", &large), ("a", ""), ("b", "5")] {
        space.put(key, value);
    }
    space.delete("a");
    let stream = space.stream();
    for prev_kv in [false, true] {
        stream.create(Watch { prev_kv, ..all_from(3) });
        assert_eq!(events(&stream), since(&space.log, 3, prev_kv));
        stream.cancel(i64::from(prev_kv));
    }
    stream.create(all_from(0));
    let last = space.put("c", "live");
    assert_eq!(events(&stream), since(&space.log, last, false));
}

#[test]
fn rule_5_3_history_survives_a_reopen() {
    let mut space = KeySpace::new();
    for number in 0..300 {
        space.put(["a", "b", "c"][number % 3], &number.to_string());
    }
    let mut space = space.reopen();
    let stream = space.stream();
    stream.create(Watch { prev_kv: true, ..all_from(1) });
    space.put("a", "after");
    assert_eq!(events(&stream), since(&space.log, 1, true));
}

#[test]
fn rule_5_5_compaction_cancels_at_once_and_after_its_sweep() {
    let mut space = KeySpace::new();
    for number in 0..2000 {
        space.put("a", &format!("{number:0100}"));
    }
    space.compact(1500);
    for _ in 0..2 {
        let stream = space.stream();
        stream.create(all_from(1499));
        let responses = drain(&stream);
        assert_eq!(responses.len(), 2);
        assert!(responses[0].created && !responses[0].canceled);
        let expected =
            WatchResponse { canceled: true, compact_revision: 1500, ..WatchResponse::default() };
        assert_eq!(responses[1], expected);
        stream.create(all_from(1500));
        assert_eq!(events(&stream), since(&space.log, 1500, false));
        space.sweep();
    }
}

#[test]
fn rule_5_6_rule_5_7_survivors_at_the_floor_before_and_after_the_sweep() {
    let mut space = KeySpace::new();
    space.write(&[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]);
    let floor = space.write(&[("a", Some("2")), ("b", None)]);
    space.put("c", "2");
    space.compact(floor);
    for _ in 0..2 {
        let stream = space.stream();
        stream.create(all_from(floor));
        assert_eq!(events(&stream), since(&space.log, floor, false));
        space.sweep();
    }
}

#[test]
fn rule_5_25_the_previous_record_until_compaction_takes_it() {
    let mut space = KeySpace::new();
    let stream = space.stream();
    stream.create(Watch { prev_kv: true, ..all_from(0) });
    space.write(&[("a", Some("1")), ("b", Some("1"))]);
    space.write(&[("a", Some("2")), ("b", None)]);
    let last = space.write(&[("a", None), ("b", Some("2"))]);
    assert_eq!(events(&stream), since(&space.log, 1, true));
    let next = space.put("a", "3");
    space.put("a", "4");
    space.compact(next + 1);
    let received = events(&stream);
    assert_eq!(received, since(&space.log, last + 1, false), "left out, both of them");
}

/// A small generator (xorshift with a multiplier), enough to vary what happens.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// Watches everything from random revisions on until `is_over`, at a random pace, each time until
/// it has had enough or is overtaken by compaction. Adds what it received to `count`; returns how
/// often it was overtaken.
fn watch_at_random(
    (hub, log): (&Hub, &Log),
    is_over: &AtomicBool,
    count: &AtomicUsize,
    seed: u64,
) -> usize {
    let mut chance = Chance(seed);
    let mut overtaken = 0;
    loop {
        let is_last = is_over.load(Ordering::Acquire);
        let options = WatchOptions {
            queue_responses: 1 + chance.below(20) as usize,
            chunk_revisions: 1 + chance.below(100) as usize,
            ..WatchOptions::default()
        };
        let stream = hub.stream(options);
        let now = log.lock().last().map_or(1, |past| past.kv.mod_revision);
        let from = (now - chance.below(400) as i64).max(1);
        stream.create(all_from(from));
        let mut received = Vec::new();
        let mut is_overtaken = false;
        let rounds = if is_last { u64::MAX } else { chance.below(200) };
        for _ in 0..rounds {
            match try_next(&stream) {
                Some(response) if response.canceled => {
                    assert!(response.compact_revision > from, "{response:?} from {from}");
                    is_overtaken = true;
                    break;
                }
                Some(response) => received.extend(response.events),
                None if is_last => break,
                None => std::thread::yield_now(),
            }
            if chance.below(8) == 0 {
                std::thread::yield_now();
            }
        }
        let expected = since(log, from, false);
        assert!(received.len() <= expected.len(), "from {from}");
        assert_eq!(received, expected[..received.len()], "from {from}");
        assert!(!is_last || is_overtaken || received.len() == expected.len(), "from {from}");
        count.fetch_add(received.len(), Ordering::Relaxed);
        overtaken += usize::from(is_overtaken);
        if is_last {
            return overtaken;
        }
    }
}

/// Events that the watchers below must have compared in all.
const ENOUGH: usize = 5000;

#[test]
fn watchers_from_random_revisions_beside_writes_compaction_and_checkpoints() {
    let mut space = KeySpace::new();
    space.put("a", "first");
    let (hub, log) = (space.store.hub(), space.log.clone());
    let (is_over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let overtaken = std::thread::scope(|scope| {
        let reading = |seed| {
            let (shared, is_over, count) = ((&hub, &log), &is_over, &count);
            scope.spawn(move || watch_at_random(shared, is_over, count, seed))
        };
        let readers = [11, 12, 13].map(reading);
        let mut chance = Chance(7);
        let names: Vec<String> = (0..20).map(|number| format!("key{number}")).collect();
        // Goes on until the watchers have had their share of a busy machine, within reason.
        for step in 1..=30_000 {
            if step > 2000 && count.load(Ordering::Relaxed) > ENOUGH {
                break;
            }
            if step % 20 == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
            let mut changes = BTreeMap::new();
            for _ in 0..=chance.below(3) {
                let name = names[chance.below(20) as usize].as_str();
                let is_delete = space.live.contains_key(name.as_bytes()) && chance.below(4) == 0;
                changes.insert(name, (!is_delete).then_some("some value of a key"));
            }
            let changes: Vec<_> = changes.into_iter().collect();
            let now = space.write(&changes);
            if step % 100 == 0 {
                checkpoint(&mut space.store);
            }
            if step % 150 == 0 {
                space.compact(now - chance.below(200) as i64 / 2);
            }
            if let Some(job) = space.store.sweep() {
                let done = job.run().unwrap();
                space.store.swept(done).unwrap();
            }
        }
        is_over.store(true, Ordering::Release);
        readers.map(|reader| reader.join().unwrap())
    });
    println!("{count:?} events, overtaken {overtaken:?} times");
    assert!(count.into_inner() > ENOUGH);
    space.store.verify().unwrap();
    assert_eq!(hub.stats().watchers, 0);
}
