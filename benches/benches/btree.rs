//! The tree: appending records, publishing them, and making them durable by a checkpoint.

use std::path::Path;
use std::sync::Arc;

use benches::process::is_in_memory;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use revd_btree::{Key, Options, Tree};
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
    for records in [1_u64, 100, 10_000] {
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

criterion_group!(benches, append, durable_batches);
criterion_main!(benches);
