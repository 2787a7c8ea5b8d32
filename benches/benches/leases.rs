//! Leases: what a million of them take in memory, and what each step on one of them costs.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use revd_disk::Real;
use revd_mvcc::{Lease, LeaseId, Options, Put, Store};
use revd_replica::lessor::{self, Lessor, Now};

const LEASES: i64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const TTL: i64 = 3600;

fn options() -> lessor::Options {
    lessor::Options {
        election_timeout: SECOND,
        longest_gap: u64::MAX,
        retry: 7 * SECOND,
        checkpoint_interval: None,
    }
}

/// Prints what `make` keeps allocated, for each lease.
fn memory<T>(of: &str, make: impl FnOnce() -> T) -> T {
    let mut made = None;
    let info = allocation_counter::measure(|| made = Some(make()));
    println!("{of}: {:.0} bytes a lease", info.bytes_current as f64 / LEASES as f64);
    made.expect("it was made")
}

/// Numbers in an order without a pattern, the same in each run.
fn scattered(n: i64) -> i64 {
    1 + (n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) as u64 % LEASES as u64) as i64
}

fn countdowns(c: &mut Criterion) {
    let mut lessor = memory("countdowns", || {
        let mut lessor = Lessor::new(options(), []);
        lessor.lead(2, Now(0));
        for id in 1..=LEASES {
            lessor.granted(id, TTL, Now(id as u64));
        }
        lessor
    });
    let mut group = c.benchmark_group("leases/countdown");
    let mut n = 0;
    group.bench_function("renew one of a million", |b| {
        b.iter(|| {
            n += 1;
            black_box(lessor.renew(scattered(n), Now(SECOND + n as u64)))
        });
    });
    group.bench_function("revoke and grant one of a million", |b| {
        b.iter(|| {
            n += 1;
            let id = scattered(n);
            lessor.revoked(id);
            lessor.granted(id, TTL, Now(SECOND + n as u64));
        });
    });
    group.bench_function("nothing due among a million", |b| {
        b.iter(|| black_box(lessor.due(Now(SECOND))));
    });
    group.sample_size(10);
    group.bench_function("take over a million", |b| {
        b.iter_batched_ref(
            || Lessor::new(options(), (1..=LEASES).map(|id| (id, Lease::new(TTL)))),
            |lessor| lessor.lead(2, Now(0)),
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn records(c: &mut Criterion) {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(base).expect("a directory beside the build");
    let path = dir.path().join("tree");
    let grant = |store: &mut Store, id| {
        store.grant(LeaseId(id), TTL).expect("storage").expect("a new lease");
    };
    let mut store = memory("records, unwritten pages of the tree included", || {
        let disk = Arc::new(Real::new());
        let mut store =
            Store::create(disk, &path, Options::new([1; 16]), b"note").expect("a store");
        (1..=LEASES).for_each(|id| grant(&mut store, id));
        store.publish();
        store
    });
    let frozen = store.checkpoint(b"note").expect("a frozen state").expect("something new");
    store.checkpointed(frozen.write().expect("a written checkpoint"));
    let mut group = c.benchmark_group("leases/record");
    let mut n = 0;
    for keys in [0, 1, 10] {
        group.bench_function(format!("revoke with {keys} keys and grant, of a million"), |b| {
            b.iter(|| {
                n += 1;
                let id = scattered(n);
                for key in 0..keys {
                    let key = format!("{id}/{key}").into();
                    let put = Put { key, lease: id, ..Put::default() };
                    store.put(&put).expect("storage").expect("the lease exists");
                }
                store.revoke(LeaseId(id)).expect("storage").expect("the lease exists");
                grant(&mut store, id);
                store.publish();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, countdowns, records);
criterion_main!(benches);
