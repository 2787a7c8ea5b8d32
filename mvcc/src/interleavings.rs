//! What readers, watchers and exports are promised, in many orders of the steps between locks.
//!
//! Shuttle runs the threads of a small store as coroutines, and draws at each lock and each waking
//! which of them goes on. A thread that sleeps and is not woken ends the test as a deadlock. The
//! orders follow from a seed: `SEED=n` draws others, `SCHEDULES=n` draws more of them, and a
//! failure prints the schedule that led to it.

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use revd_api::mvccpb;
use revd_disk::Sim;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, future, thread};

use crate::lock::exploring;
use crate::{
    Export, ExportError, Import, Op, Options, Put, Range, ReadError, Rejected, Store, Txn, View,
    Watch, WatchOptions, WatchResponse, WatchStream,
};

const SCHEDULES: usize = 2_000;
/// Changes of rank among the threads of one schedule.
const CHANGES: usize = 3;
/// Bytes of a value: four fill a leaf, and only full leaves are swept.
const WIDTH: usize = 4_000;
/// A coroutine that reads or writes a tree needs more than the usual 32 KiB.
const STACK_BYTES: usize = 512 << 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Runs `threads` in many orders.
fn explore(threads: impl Fn() + Send + Sync + 'static) {
    let schedules = number("SCHEDULES").map_or(SCHEDULES, |count| count as usize);
    let seed = number("SEED").unwrap_or(1);
    println!("SEED={seed}, {schedules} schedules");
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    let threads = Arc::new(threads);
    let (even, uneven) = (Arc::clone(&threads), threads);
    let random = RandomScheduler::new_from_seed(seed, schedules / 2);
    // One goes on as far as it can, but for a few changes: long pauses, which chance alone has not.
    let by_rank = PctScheduler::new_from_seed(seed, CHANGES, schedules / 2);
    exploring(|| {
        Runner::new(random, config.clone()).run(move || even());
        Runner::new(by_rank, config).run(move || uneven());
    });
}

fn store() -> Store {
    let mut options = Options::new([5; 16]);
    options.map_bytes = 64 << 20;
    options.reserve_bytes = 1 << 20;
    options.sweep_bytes = 200;
    options.sweep_keys = 1;
    Store::create(Arc::new(Sim::new(1)), Path::new("tree"), options, b"").unwrap()
}

fn put(key: &'static str, number: i64) -> Put {
    Put { key: key.into(), value: format!("{number:>WIDTH$}").into(), ..Put::default() }
}

/// Both keys get the number in one revision.
fn put_both(store: &mut Store, number: i64) {
    let success = ["a", "b"].map(|key| Op::Put(put(key, number))).into();
    store.txn(&Txn { success, ..Txn::default() }).unwrap().unwrap();
    store.publish();
}

fn checkpoint(store: &mut Store) {
    if let Some(checkpoint) = store.checkpoint(b"").unwrap() {
        store.checkpointed(checkpoint.write().unwrap());
    }
}

/// Sweeps as far as that goes; the number of records removed.
fn sweep_all(store: &mut Store) -> u64 {
    let mut removed = 0;
    while let Some(job) = store.sweep() {
        let done = job.run().unwrap();
        removed += done.removed();
        store.swept(done).unwrap();
        store.publish();
    }
    removed
}

fn all(revision: i64) -> Range {
    let zero = Bytes::from_static(b"\0");
    Range { key: zero.clone(), range_end: zero, revision, ..Range::default() }
}

/// The values of an answer.
fn values(encoded: &[u8]) -> Vec<Bytes> {
    let response = revd_api::etcdserverpb::RangeResponse::decode(encoded).unwrap();
    response.kvs.into_iter().map(|kv| kv.unwrap().value).collect()
}

/// Reads twice at the newest revision, which the writer leaves behind and compacts.
fn read(view: &View) {
    let mut last = 0;
    for _ in 0..3 {
        let first = view.range(&all(0)).unwrap();
        let revision = first.revision.0;
        assert!(revision >= last, "revision {revision} after {last}");
        last = revision;
        let found = values(&first.kvs);
        assert!(found.iter().all(|value| value == &found[0]), "half of {revision}: {found:?}");
        match view.range(&all(revision)) {
            Ok(second) => assert_eq!(second.kvs, first.kvs, "{revision} has changed"),
            Err(ReadError::Rejected(Rejected::Compacted)) => assert!(view.compacted() > revision),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_reader_sees_whole_revisions_that_do_not_change() {
    explore(|| {
        let mut store = store();
        put_both(&mut store, 0);
        let readers = [store.view(), store.view()].map(|view| thread::spawn(move || read(&view)));
        let mut removed = 0;
        for number in 1..7 {
            put_both(&mut store, number);
            if number % 2 == 0 {
                store.compact(store.revision().0).unwrap().unwrap();
                store.publish();
                checkpoint(&mut store);
                removed += sweep_all(&mut store);
            }
        }
        assert!(removed > 0, "nothing was swept");
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        store.verify().unwrap();
    });
}

/// The next response of a stream, however long that takes.
fn next(stream: &WatchStream) -> WatchResponse {
    future::block_on(poll_fn(|context| stream.poll_next(context.waker()))).unwrap()
}

/// The revisions of the events in a response.
fn revisions(response: &WatchResponse) -> Vec<i64> {
    let revision = |event: &Bytes| {
        let event = mvccpb::Event::decode(&event[..]).unwrap();
        event.kv.unwrap().mod_revision
    };
    response.events.iter().map(revision).collect()
}

/// Watches "a", which is written in every revision, up to the revision `last`. Queues of one
/// response make it fall behind, and catch up, again and again.
fn watch(stream: &WatchStream, start_revision: i64, last: i64) {
    stream.create(Watch { key: "a".into(), start_revision, ..Watch::default() });
    let created = next(stream);
    assert!(created.created, "{created:?}");
    let mut due = if start_revision > 0 { start_revision } else { created.revision + 1 };
    while due <= last {
        let response = next(stream);
        if response.canceled {
            assert!(response.compact_revision > due, "{response:?} with {due} due");
            return;
        }
        for revision in revisions(&response) {
            assert_eq!(revision, due, "a gap or a repeat");
            due += 1;
        }
    }
}

fn narrow() -> WatchOptions {
    WatchOptions { queue_responses: 1, chunk_revisions: 1, ..WatchOptions::default() }
}

#[test]
fn a_watcher_gets_each_revision_once_and_is_woken() {
    explore(|| {
        let mut store = store();
        put_both(&mut store, 0);
        let watchers = [0, 2, 4].map(|start| {
            let stream = store.hub().stream(narrow());
            thread::spawn(move || watch(&stream, start, 7))
        });
        for number in 3..=7 {
            put_both(&mut store, number);
            if number == 5 {
                store.compact(4).unwrap().unwrap();
                store.publish();
                sweep_all(&mut store);
            }
        }
        watchers.into_iter().for_each(|watcher| watcher.join().unwrap());
        assert_eq!(store.hub().stats().watchers, 0, "a dropped stream has left its watcher");
    });
}

#[test]
fn watchers_of_one_stream_come_and_go_while_it_is_read() {
    explore(|| {
        let mut store = store();
        let stream = Arc::new(store.hub().stream(narrow()));
        let requests = Arc::clone(&stream);
        let requester = thread::spawn(move || {
            for watch_id in 1..=3 {
                future::block_on(poll_fn(|context| requests.poll_ready(context.waker())));
                let key = Bytes::from_static(b"a");
                requests.create(Watch { key, watch_id, start_revision: 1, ..Watch::default() });
                requests.cancel(watch_id);
            }
        });
        let reader = thread::spawn(move || {
            let mut open = None;
            for _ in 0..3 {
                loop {
                    let response = next(&stream);
                    if response.created {
                        assert_eq!(open.replace(response.watch_id), None);
                    } else if response.canceled {
                        assert_eq!(open.take(), Some(response.watch_id));
                        break;
                    } else {
                        assert_eq!(open, Some(response.watch_id), "events of no watcher");
                    }
                }
            }
        });
        (0..3).for_each(|number| put_both(&mut store, number));
        requester.join().unwrap();
        reader.join().unwrap();
    });
}

/// Takes an export to its end into another store, which must hold `expected`, unless it is ended.
fn copy(mut export: Export, expected: &Bytes) {
    let disk = Arc::new(Sim::new(2));
    let (path, options) = (Path::new("copy"), Options::new([6; 16]));
    let mut import = Import::begin(disk.clone(), path, options.clone()).unwrap();
    loop {
        match export.next_chunk(1) {
            Ok(Some(chunk)) => import.push(&chunk).unwrap(),
            Ok(None) => break,
            Err(ExportError::Released) => return,
            Err(error) => panic!("{error}"),
        }
    }
    import.finish(b"").unwrap().install().unwrap();
    let (copy, _) = Store::open(disk, path, options).unwrap();
    assert_eq!(copy.view().range(&all(0)).unwrap().kvs, *expected);
    copy.verify().unwrap();
}

#[test]
fn an_export_is_whole_or_ended_while_sweeps_pass_it() {
    explore(|| {
        let mut store = store();
        (0..4).for_each(|number| put_both(&mut store, number));
        let expected = store.view().range(&all(0)).unwrap().kvs;
        let export = store.export(b"").unwrap();
        let copier = thread::spawn(move || copy(export, &expected));
        put_both(&mut store, 4);
        store.compact(store.revision().0).unwrap().unwrap();
        store.publish();
        checkpoint(&mut store);
        let mut removed = sweep_all(&mut store);
        store.release_exports();
        removed += sweep_all(&mut store);
        put_both(&mut store, 5);
        copier.join().unwrap();
        assert!(removed + sweep_all(&mut store) > 0, "nothing was swept");
        assert!(!store.is_compacting());
        store.verify().unwrap();
    });
}
