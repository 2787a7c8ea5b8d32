//! The whole store on threads, as a server runs it: one writer, whose sweeps and checkpoints are
//! done elsewhere; readers that come back to a revision again and again; watchers that sleep until
//! they are woken. What was read at a revision never changes, and no watcher misses one.
//!
//! The order of steps is the scheduler's, so a failure need not come back; `WRITES=1000000` makes a
//! run longer.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "has more than is asked here")]
#[path = "rules/wire.rs"]
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use bytes::Bytes;
use revd_disk::Sim;
use revd_mvcc::{
    Checkpoint, DeleteRange, Fatal, Op, Options, Put, Range, ReadError, Rejected, Store, SweepDone,
    SweepJob, Txn, View, Watch, WatchOptions, Written,
};

const WRITES: u64 = 200_000;
const KEYS: u64 = 300;
/// No wake-up takes so long: a thread that sleeps longer has missed one.
const FOREVER: Duration = Duration::from_secs(120);

fn options() -> Options {
    let mut options = Options::new([5; 16]);
    options.map_bytes = 1 << 32;
    options.sweep_bytes = 64 * 1024;
    options.sweep_keys = 50;
    options
}

/// Work that the writer gives away.
enum Job {
    Checkpoint(Box<Checkpoint>),
    Sweep(SweepJob),
}

/// What comes back.
enum Done {
    Checkpoint(Result<Written, revd_btree::Error>),
    Sweep(Result<SweepDone, Fatal>),
}

/// What all threads know.
#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    /// The last revision that was published.
    newest: AtomicI64,
    reads: AtomicU64,
    read_again: AtomicU64,
    compacted: AtomicU64,
    events: AtomicU64,
}

fn put(key: &str, value: String) -> Put {
    Put { key: Bytes::copy_from_slice(key.as_bytes()), value: value.into(), ..Put::default() }
}

/// A writer with its jobs.
struct Writer {
    store: Store,
    jobs: Sender<Job>,
    done: Receiver<Done>,
    checkpoint_is_out: bool,
    sweep_is_out: bool,
    checkpoints: u64,
    sweeps: u64,
}

impl Writer {
    /// Every revision writes both ends of the key space to the same value, or a key between them.
    fn write(&mut self, number: u64) {
        let main = self.store.revision().0 + 1;
        match number % 5 {
            0 => {
                let ops = ["a", "z"].map(|key| Op::Put(put(key, main.to_string())));
                let txn = Txn { success: ops.to_vec(), ..Txn::default() };
                assert_eq!(self.store.txn(&txn).unwrap().unwrap().revision.0, main);
            }
            1 if number > 100 => {
                let key = Bytes::from(format!("k{:03}", (number * 7) % KEYS));
                let delete = DeleteRange { key, ..DeleteRange::default() };
                self.store.delete_range(&delete).unwrap().unwrap();
            }
            _ => {
                let len = if number.is_multiple_of(97) { 9_000 } else { 40 };
                let value = format!("{main:0>len$}");
                let put = put(&format!("k{:03}", (number * 13) % KEYS), value);
                assert_eq!(self.store.put(&put).unwrap().unwrap().revision.0, main);
            }
        }
    }

    /// Takes back what is done and gives away what is due.
    fn upkeep(&mut self, number: u64) {
        while let Ok(done) = self.done.try_recv() {
            self.take(done);
        }
        if number.is_multiple_of(500) {
            let revision = self.store.revision().0 - 3_000;
            if revision > self.store.compacted() {
                self.store.compact(revision).unwrap().unwrap();
            }
        }
        if !self.sweep_is_out
            && let Some(job) = self.store.sweep()
        {
            self.sweep_is_out = true;
            self.jobs.send(Job::Sweep(job)).unwrap();
        }
        if !self.checkpoint_is_out && number.is_multiple_of(100) {
            let checkpoint = self.store.checkpoint(&number.to_le_bytes()).unwrap();
            if let Some(checkpoint) = checkpoint {
                self.checkpoint_is_out = true;
                self.jobs.send(Job::Checkpoint(Box::new(checkpoint))).unwrap();
            }
        }
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Checkpoint(written) => {
                self.store.checkpointed(written.unwrap());
                self.checkpoint_is_out = false;
                self.checkpoints += 1;
            }
            Done::Sweep(swept) => {
                self.store.swept(swept.unwrap()).unwrap();
                self.sweep_is_out = false;
                self.sweeps += 1;
            }
        }
    }

    fn run(&mut self, writes: u64, shared: &Shared) {
        for number in 0..writes {
            self.write(number);
            self.upkeep(number);
            if number.is_multiple_of(3) || number + 1 == writes {
                self.store.publish();
                shared.newest.store(self.store.revision().0, Ordering::Release);
            }
        }
        while self.checkpoint_is_out || self.sweep_is_out {
            let done = self.done.recv().unwrap();
            self.take(done);
        }
    }
}

fn work(jobs: &Receiver<Job>, done: &Sender<Done>) {
    for job in jobs {
        let result = match job {
            Job::Checkpoint(checkpoint) => Done::Checkpoint(checkpoint.write()),
            Job::Sweep(sweep) => Done::Sweep(sweep.run()),
        };
        if done.send(result).is_err() {
            return;
        }
    }
}

/// A checksum over all that is there at a revision; `None` once it is compacted.
fn fingerprint(view: &View, revision: i64) -> Option<u32> {
    let (key, range_end) = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    match view.range(&Range { key, range_end, revision, ..Range::default() }) {
        Ok(ranged) => {
            let records = wire::records(&ranged);
            assert!(records.iter().all(|kv| kv.mod_revision <= revision), "at {revision}");
            if let (Some(first), Some(last)) = (records.first(), records.last()) {
                assert_eq!((&first.key[..], &last.key[..]), (&b"a"[..], &b"z"[..]));
                assert_eq!(first.value, last.value, "half of a transaction at {revision}");
            }
            assert_eq!(records.len() as i64, ranged.count);
            Some(crc32c::crc32c(&ranged.kvs))
        }
        Err(ReadError::Rejected(Rejected::Compacted)) => None,
        Err(error) => panic!("at {revision}: {error:?}"),
    }
}

/// Reads at revisions, and at the same ones again later.
fn read(view: &View, shared: &Shared, seed: u64) {
    let mut kept: Vec<(i64, u32)> = Vec::new();
    let mut at = seed as usize;
    while !shared.is_over.load(Ordering::Acquire) {
        let newest = shared.newest.load(Ordering::Acquire);
        let revision = view.revision().0;
        assert!(revision >= newest, "{revision} after {newest}");
        if let Some(print) = fingerprint(view, revision) {
            kept.push((revision, print));
        }
        shared.reads.fetch_add(1, Ordering::Relaxed);
        at = (at * 31 + 7) % kept.len().max(1);
        let Some(&(revision, print)) = kept.get(at) else { continue };
        match fingerprint(view, revision) {
            Some(again) => {
                assert_eq!(again, print, "revision {revision} has changed");
                shared.read_again.fetch_add(1, Ordering::Relaxed);
            }
            None => {
                assert!(view.compacted() > revision, "revision {revision} is gone");
                shared.compacted.fetch_add(1, Ordering::Relaxed);
                kept.swap_remove(at);
            }
        }
        if kept.len() > 200 {
            kept.remove(0);
        }
    }
}

/// Wakes a sleeping thread.
struct Unpark(Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::Release);
        self.0.unpark();
    }
}

/// Watches everything from the beginning on, with a small queue, until it has seen `last`.
fn watch(store_hub: &revd_mvcc::Hub, shared: &Shared, queue: usize, last: &AtomicI64) {
    let options = WatchOptions { queue_responses: queue, ..WatchOptions::default() };
    let stream = store_hub.stream(options);
    let (key, range_end) = (Bytes::from_static(b"a"), Bytes::from_static(b"\0"));
    stream.create(Watch { key, range_end, prev_kv: queue.is_multiple_of(2), ..Watch::default() });
    let bell = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let (mut seen, mut first) = (0, None);
    loop {
        let end = last.load(Ordering::Acquire);
        if end > 0 && seen >= end {
            return;
        }
        let response = match stream.poll_next(&Waker::from(Arc::clone(&bell))) {
            Poll::Ready(response) => response.unwrap(),
            Poll::Pending => {
                // The writer is over once `last` is set: then nothing more may be due.
                while !bell.1.swap(false, Ordering::AcqRel) {
                    let end = last.load(Ordering::Acquire);
                    if end > 0 && seen >= end {
                        return;
                    }
                    let begun = std::time::Instant::now();
                    thread::park_timeout(FOREVER);
                    assert!(begun.elapsed() < FOREVER, "nobody woke the watcher at {seen}");
                }
                continue;
            }
        };
        if response.created {
            seen = response.revision;
            first = Some(seen);
            continue;
        }
        if response.canceled {
            // Compaction was faster than a slow watcher: that is said, and it begins anew.
            assert!(response.compact_revision > seen, "{response:?}");
            shared.compacted.fetch_add(1, Ordering::Relaxed);
            return watch(store_hub, shared, queue, last);
        }
        assert!(first.is_some() && !response.events.is_empty(), "{response:?}");
        for event in &response.events {
            let (_, kv, _) = wire::event(event);
            let main = kv.mod_revision;
            assert!(main == seen + 1 || main == seen && kv.key == "z", "{main} after {seen}");
            seen = main;
            shared.events.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn what_was_read_never_changes_while_everything_runs() {
    let writes = std::env::var("WRITES").map_or(WRITES, |text| text.parse().unwrap());
    let disk = Sim::new(1);
    let files = Arc::new(disk.clone());
    let store = Store::create(files, Path::new("tree"), options(), b"").unwrap();
    let (view, hub) = (store.view(), store.hub());
    let (jobs, jobs_in) = channel();
    let (done_out, done) = channel();
    let (checkpoint_is_out, sweep_is_out) = (false, false);
    let mut writer =
        Writer { store, jobs, done, checkpoint_is_out, sweep_is_out, checkpoints: 0, sweeps: 0 };
    let (shared, last) = (Shared::default(), AtomicI64::new(0));
    let writer = thread::scope(|scope| {
        scope.spawn(move || work(&jobs_in, &done_out));
        for seed in 1..3 {
            let (view, shared) = (view.clone(), &shared);
            scope.spawn(move || read(&view, shared, seed));
        }
        let watchers = [1, 2, 64].map(|queue| {
            let (hub, shared, last) = (&hub, &shared, &last);
            scope.spawn(move || watch(hub, shared, queue, last))
        });
        writer.run(writes, &shared);
        last.store(writer.store.revision().0, Ordering::Release);
        for watcher in watchers {
            watcher.thread().unpark();
            watcher.join().unwrap();
        }
        shared.is_over.store(true, Ordering::Release);
        let Writer { store, jobs, checkpoints, sweeps, .. } = writer;
        drop(jobs);
        (store, checkpoints, sweeps)
    });
    let (mut store, checkpoints, sweeps) = writer;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (reads, again) = (count(&shared.reads), count(&shared.read_again));
    let (events, compacted) = (count(&shared.events), count(&shared.compacted));
    println!(
        "{writes} writes, {checkpoints} checkpoints, {sweeps} sweeps, {reads} reads, {again} read \
         again, {events} events, {compacted} overtaken by compaction"
    );
    assert!(checkpoints > 0 && sweeps > 0 && reads > 0 && again > 0 && events > 0);
    store.verify().unwrap();
    let newest = store.revision().0;
    let print = fingerprint(&view, newest);
    if let Some(checkpoint) = store.checkpoint(b"last").unwrap() {
        store.checkpointed(checkpoint.write().unwrap());
    }
    drop(store);
    disk.crash(1);
    let (store, _) = Store::open(Arc::new(disk), Path::new("tree"), options()).unwrap();
    store.verify().unwrap();
    assert_eq!(fingerprint(&store.view(), newest), print);
}
