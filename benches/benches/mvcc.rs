//! The key space: puts with their publication, and point reads, in memory and tree.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use revd_disk::Real;
use revd_mvcc::{Options, Put, Range, Store};

fn new_store(dir: &Path) -> Store {
    Store::create(Arc::new(Real::new()), &dir.join("tree"), Options::new([1; 16]), b"note")
        .expect("a store")
}

fn put_of(n: u64) -> Put {
    Put { key: n.to_be_bytes().to_vec().into(), value: vec![0x5a; 256].into(), ..Put::default() }
}

fn put(store: &mut Store, put: &Put) {
    store.put(black_box(put)).expect("storage").expect("a put without a lease");
}

fn checkpoint(store: &mut Store) {
    if let Some(frozen) = store.checkpoint(b"note").expect("a frozen state") {
        store.checkpointed(frozen.write().expect("a written checkpoint"));
    }
}

fn puts(c: &mut Criterion) {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut group = c.benchmark_group("mvcc/put and publish");
    for (keys, batch) in [(10_000_u64, 1_u64), (10_000, 100)] {
        let dir = tempfile::tempdir_in(base).expect("a directory beside the build");
        let mut store = new_store(dir.path());
        let requests: Vec<Put> = (0..keys).map(put_of).collect();
        let mut next = 0_usize;
        group.throughput(Throughput::Elements(batch));
        group.bench_function(BenchmarkId::new(format!("{keys} keys, batches of"), batch), |b| {
            b.iter_custom(|iterations| {
                let mut took = std::time::Duration::ZERO;
                for _ in 0..iterations {
                    let start = std::time::Instant::now();
                    for _ in 0..batch {
                        put(&mut store, &requests[next % requests.len()]);
                        next += 1;
                    }
                    store.publish();
                    took += start.elapsed();
                    if next as u64 % 20_000 < batch {
                        checkpoint(&mut store);
                    }
                }
                took
            });
        });
    }
    group.finish();
}

fn gets(c: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut store = new_store(dir.path());
    for n in 0..10_000 {
        put(&mut store, &put_of(n));
    }
    store.publish();
    checkpoint(&mut store);
    let view = store.view();
    let mut next = 0_u64;
    c.bench_function("mvcc/get of 10,000 keys", |b| {
        b.iter(|| {
            next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = ((next >> 33) % 10_000).to_be_bytes().to_vec();
            let range = Range { key: key.into(), ..Range::default() };
            black_box(view.range(&range).expect("a read"))
        });
    });
}

criterion_group!(benches, puts, gets);
criterion_main!(benches);
