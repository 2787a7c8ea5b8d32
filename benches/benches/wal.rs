//! Appends to the log: what one durable batch costs, by records in a batch and bytes in a record.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use benches::process::is_in_memory;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use revd_disk::Real;
use revd_wal::{Options, Wal};

fn append(c: &mut Criterion) {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    assert!(!is_in_memory(base), "{} is in memory: a sync there costs nothing", base.display());
    let mut group = c.benchmark_group("wal/append");
    for (records, bytes) in [(1, 300), (64, 300), (512, 300), (1, 16 << 10)] {
        let dir = tempfile::tempdir_in(base).expect("a directory beside the build");
        let mut options = Options::default();
        options.segment_bytes = 16 << 20;
        let (wal, _) = Wal::open(Arc::new(Real::new()), dir.path(), options).expect("a new log");
        let batch = vec![vec![0x5a_u8; bytes]; records];
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(BenchmarkId::new(format!("{records} records"), bytes), |b| {
            b.iter_batched(
                || {
                    // Room ahead is prepared in the background in a server: not part of an append.
                    while wal.upkeep().expect("room ahead") {}
                    let (_, last) = wal.bounds();
                    wal.release_prefix(last).expect("old segments are given up");
                    last + 1
                },
                |next| wal.append(next, black_box(&batch)).expect("an append"),
                criterion::BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
