//! The tree: appending records, publishing them, making them durable by a checkpoint, reading them
//! back, sweeping, and opening a file.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use benches::process::is_in_memory;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use revd_btree::{Key, Options, Reader, Tree};
use revd_disk::Real;

const HEAD: [u8; 24] = [0x11; 24];
const VALUE: [u8; 256] = [0x5a; 256];

fn new_tree(dir: &Path) -> Tree {
    Tree::create(Arc::new(Real::new()), &dir.join("tree"), Options::new([1; 16])).expect("a tree")
}

fn fill(tree: &mut Tree, main: &mut u64, records: u64) {
    for _ in 0..records {
        *main += 1;
        tree.append(Key::new(*main, 0, 0), &HEAD, &VALUE).expect("an append");
    }
    tree.publish();
}

fn append(c: &mut Criterion) {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut group = c.benchmark_group("btree/append and publish");
    for records in [1_u64, 100] {
        let dir = tempfile::tempdir_in(base).expect("a directory beside the build");
        let (mut tree, mut main) = (new_tree(dir.path()), 0);
        group.throughput(Throughput::Elements(records));
        group.bench_function(BenchmarkId::from_parameter(records), |b| {
            b.iter_custom(|iterations| {
                let mut took = std::time::Duration::ZERO;
                for _ in 0..iterations {
                    let start = std::time::Instant::now();
                    fill(&mut tree, &mut main, records);
                    took += start.elapsed();
                    // As in a server, the tree is checkpointed now and then; measured below.
                    if main % 20_000 < records {
                        checkpoint(&mut tree);
                    }
                }
                took
            });
        });
    }
    group.finish();
}

fn checkpoint(tree: &mut Tree) {
    if let Some(frozen) = tree.checkpoint(b"note").expect("a frozen state") {
        tree.checkpointed(frozen.write().expect("a written checkpoint"));
    }
}

fn durable_batches(c: &mut Criterion) {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    assert!(!is_in_memory(base), "{} is in memory: a sync there costs nothing", base.display());
    let mut group = c.benchmark_group("btree/batch and checkpoint");
    group.sample_size(30);
    for records in [1_u64, 10, 100, 1_000, 10_000] {
        let dir = tempfile::tempdir_in(base).expect("a directory beside the build");
        let (mut tree, mut main) = (new_tree(dir.path()), 0);
        group.throughput(Throughput::Elements(records));
        group.bench_function(BenchmarkId::from_parameter(records), |b| {
            b.iter(|| {
                fill(&mut tree, &mut main, records);
                checkpoint(&mut tree);
            });
        });
    }
    group.finish();
}

/// A tree of half a million records, all of which have been read once.
fn filled(dir: &Path) -> Tree {
    let (mut tree, mut main) = (new_tree(dir), 0);
    while main < POPULATION {
        fill(&mut tree, &mut main, 10_000);
        checkpoint(&mut tree);
    }
    let reader = tree.reader();
    assert_eq!(reader.pin().history(Key::MIN).count() as u64, POPULATION);
    tree
}

const POPULATION: u64 = 500_000;

fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn get_some(reader: &Reader, seed: u64, count: u64) {
    let pin = reader.pin();
    let mut state = seed + 1;
    for _ in 0..count {
        let key = Key::new(next_random(&mut state) % POPULATION + 1, 0, 0);
        let record = pin.get(key).expect("a readable tree").expect("a record");
        black_box(record.value().expect("a value")[VALUE.len() - 1]);
    }
}

fn gets(c: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let tree = filled(dir.path());
    let reader = tree.reader();
    let mut group = c.benchmark_group("btree/get at random");
    for threads in [1, 2] {
        group.throughput(Throughput::Elements(threads * 1_000));
        group.bench_function(BenchmarkId::new("threads", threads), |b| {
            b.iter_custom(|iterations| {
                let start = std::time::Instant::now();
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let reader = &reader;
                        scope.spawn(move || get_some(reader, thread, iterations * 1_000));
                    }
                });
                start.elapsed()
            });
        });
    }
    group.finish();
    let mut group = c.benchmark_group("btree/scan");
    for records in [100, 10_000] {
        let mut state = 1;
        group.throughput(Throughput::Elements(records));
        group.bench_function(BenchmarkId::from_parameter(records), |b| {
            b.iter(|| {
                let from = next_random(&mut state) % (POPULATION - records) + 1;
                let pin = reader.pin();
                for record in pin.history(Key::new(from, 0, 0)).take(records as usize) {
                    let record = record.expect("a readable tree");
                    black_box(record.value().expect("a value")[0]);
                }
            });
        });
    }
    group.finish();
}

/// Nine of ten records are removed, a mebibyte of leaves at a time, with a checkpoint at the end.
fn sweep(c: &mut Criterion) {
    let mut group = c.benchmark_group("btree/sweep");
    group.sample_size(10);
    group.throughput(Throughput::Elements(100_000));
    group.bench_function("100000 to a tenth", |b| {
        b.iter_batched(
            || {
                let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
                let (mut tree, mut main) = (new_tree(dir.path()), 0);
                fill(&mut tree, &mut main, 100_000);
                checkpoint(&mut tree);
                (dir, tree)
            },
            |(dir, mut tree)| {
                let mut next = Some(Key::MIN);
                while let Some(from) = next {
                    let Some(sweep) = tree.plan_sweep(from, 1 << 20) else { break };
                    let keep = &mut |key: Key, _: &[u8]| key.main.is_multiple_of(10);
                    let swept = sweep.run(keep).expect("swept leaves");
                    next = swept.next();
                    tree.adopt(swept).expect("adopted leaves");
                }
                checkpoint(&mut tree);
                (dir, tree)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn open(c: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    drop(filled(dir.path()));
    let path = dir.path().join("tree");
    c.bench_function("btree/open", |b| {
        b.iter(|| {
            let disk = Arc::new(Real::new());
            Tree::open(disk, &path, Options::new([1; 16])).expect("an intact tree")
        });
    });
}

criterion_group!(benches, append, durable_batches, gets, sweep, open);
criterion_main!(benches);
