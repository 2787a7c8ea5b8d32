//! A store inside a program of one's own: writes, a transaction, reads of the past, a watch, and
//! the upkeep that a log-keeping owner would run on threads of its own.
//!
//! `cargo run -p revd-mvcc --example embedded`

use std::error::Error;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use revd_mvcc::{
    Compare, LeaseId, Op, Operand, Options, Put, Range, Store, Txn, Watch, WatchOptions,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (disk, path) = (Arc::new(revd_disk::Real::new()), folder.path().join("tree"));
    let mut store = Store::create(disk.clone(), &path, Options::new(*b"embedded example"), b"")?;

    // Handles for other threads: one to read, one to watch.
    let view = store.view();
    let watch = store.hub().stream(WatchOptions::default());
    watch.create(Watch { key: "fruit/".into(), range_end: "fruit0".into(), ..Watch::default() });

    // A lease and three keys, one of them on the lease. Readers see all of it at the publish.
    store.grant(LeaseId(7), 60)??;
    for (key, value, lease) in [("fruit/a", "apple", 0), ("fruit/b", "pear", 7), ("nut", "", 0)] {
        let put = Put { key: key.into(), value: value.into(), lease, ..Put::default() };
        put.check()?;
        store.put(&put)??;
    }
    store.publish();

    // If fruit/a was written once, replace it and drop fruit/b, in one revision.
    let txn = Txn {
        compare: vec![Compare {
            key: "fruit/a".into(),
            operand: Operand::Version(1),
            ..Compare::default()
        }],
        success: vec![
            Op::Put(Put { key: "fruit/a".into(), value: "quince".into(), ..Put::default() }),
            Op::DeleteRange(revd_mvcc::DeleteRange { key: "fruit/b".into(), ..Default::default() }),
        ],
        failure: vec![],
    };
    txn.check(128)?;
    let done = store.txn(&txn)??;
    store.publish();
    println!("the transaction was revision {}", done.revision);

    // Now, and as it was.
    let fruit = Range { key: "fruit/".into(), range_end: "fruit0".into(), ..Range::default() };
    println!("fruit now: {}", view.range(&fruit)?.count);
    let before = Range { revision: done.revision.0 - 1, ..fruit };
    println!("fruit before: {}", view.range(&before)?.count);

    // The watcher got each change once, in order.
    while let Poll::Ready(response) = watch.poll_next(Waker::noop()) {
        let response = response?;
        let what = if response.created { "created" } else { "events" };
        println!("watch at {}: {what}, {}", response.revision, response.events.len());
    }

    // Upkeep: give up what is older than the present, remove it in bounded steps, make it durable.
    // Whoever has threads for it runs the jobs of `sweep` and `checkpoint` there instead.
    store.compact(done.revision.0)??;
    store.publish();
    let start = Instant::now();
    while let Some(next) = store.upkeep(start.elapsed(), 1 << 20, b"everything so far")? {
        std::thread::sleep(next.saturating_sub(start.elapsed()));
    }
    println!("reading the past: {}", view.range(&before).expect_err("it is compacted"));

    drop((store, view, watch));
    let (store, opened) = Store::open(disk, &path, Options::new(*b"embedded example"))?;
    println!("reopened at revision {} from {} records", store.revision(), opened.records);
    Ok(())
}
