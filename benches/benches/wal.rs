//! What the log costs, and beside it the floor: the same bytes by one write and one sync over space
//! that was written before, and for reading, by reads and checksums of each record.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use benches::process::is_in_memory;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use revd_disk::Real;
use revd_wal::{Options, Wal};

fn base() -> &'static Path {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    assert!(!is_in_memory(base), "{} is in memory: a sync there costs nothing", base.display());
    base
}

fn open(dir: &Path) -> Wal {
    Wal::open(Arc::new(Real::new()), dir, Options::default()).expect("a log").0
}

/// What a server does in the background: room ahead, and old segments given up.
fn keep_up(wal: &Wal) {
    while wal.upkeep().expect("room ahead") {}
    wal.release_prefix(wal.bounds().1).expect("old segments are given up");
}

/// A file of zeros, written again from the start when its end is reached.
struct Floor {
    file: File,
    end: u64,
}

const FLOOR_BYTES: u64 = 64 << 20;

impl Floor {
    fn new(path: &Path) -> Floor {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.expect("a new file");
        for at in (0..FLOOR_BYTES).step_by(1 << 20) {
            file.write_all_at(&[0; 1 << 20], at).expect("zeros");
        }
        file.sync_all().expect("zeros");
        Floor { file, end: 0 }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.end + bytes.len() as u64 > FLOOR_BYTES {
            self.end = 0;
        }
        self.file.write_all_at(bytes, self.end).expect("a write");
        self.file.sync_data().expect("a sync");
        self.end += bytes.len() as u64;
    }
}

fn append(c: &mut Criterion) {
    let dir = tempfile::tempdir_in(base()).expect("a directory beside the build");
    let wal = open(&dir.path().join("log"));
    let mut floor = Floor::new(&dir.path().join("floor"));
    let mut group = c.benchmark_group("wal/append");
    for bytes in [128, 1 << 10, 4 << 10, 16 << 10] {
        for records in [1, 8, 64, 512] {
            let batch = vec![vec![0x5a_u8; bytes]; records];
            let flat = batch.concat();
            let case = format!("{records} x {bytes}");
            group.throughput(Throughput::Bytes(flat.len() as u64));
            group.bench_function(BenchmarkId::new("floor", &case), |b| {
                b.iter(|| floor.append(black_box(&flat)));
            });
            group.bench_function(BenchmarkId::new("wal", &case), |b| {
                let next = || {
                    keep_up(&wal);
                    wal.bounds().1 + 1
                };
                let append = |next| wal.append(next, black_box(&batch)).expect("an append");
                b.iter_batched(next, append, BatchSize::PerIteration);
            });
        }
    }
    group.finish();
}

const APPENDERS: usize = 8;

/// The time that so many batches take, when all threads append at once.
fn together(batches: u64, append: &(impl Fn() + Sync)) -> Duration {
    let each = batches.div_ceil(APPENDERS as u64);
    let barrier = Barrier::new(APPENDERS + 1);
    thread::scope(|scope| {
        let appender = || {
            barrier.wait();
            (0..each).for_each(|_| append());
        };
        let threads: Vec<_> = (0..APPENDERS).map(|_| scope.spawn(appender)).collect();
        barrier.wait();
        let start = Instant::now();
        threads.into_iter().for_each(|thread| thread.join().expect("an appender"));
        start.elapsed()
    })
}

fn push(c: &mut Criterion) {
    let dir = tempfile::tempdir_in(base()).expect("a directory beside the build");
    let wal = open(dir.path());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                keep_up(&wal);
                thread::sleep(Duration::from_millis(2));
            }
        });
        let mut group = c.benchmark_group("wal/push by 8");
        for (records, bytes) in [(1, 128), (8, 128), (64, 128), (1, 16 << 10), (64, 1 << 10)] {
            let batch = vec![vec![0x5a_u8; bytes]; records];
            group.throughput(Throughput::Bytes((records * bytes) as u64));
            group.bench_function(
                BenchmarkId::from_parameter(format!("{records} x {bytes}")),
                |b| {
                    let push = || {
                        black_box(wal.push(&batch).expect("an append"));
                    };
                    b.iter_custom(|batches| together(batches, &push));
                },
            );
        }
        group.finish();
        done.store(true, Ordering::Relaxed);
    });
}

const REPLAYED: usize = 128 << 20;

fn replay(c: &mut Criterion) {
    for bytes in [256, 1 << 10, 4 << 10, 16 << 10] {
        let mut group = c.benchmark_group(format!("wal/read {bytes}"));
        let dir = tempfile::tempdir_in(base()).expect("a directory beside the build");
        let log = dir.path().join("log");
        let wal = open(&log);
        let batch = vec![vec![0x5a_u8; bytes]; (1 << 20) / bytes];
        for _ in 0..REPLAYED >> 20 {
            wal.push(&batch).expect("an append");
        }
        let path = dir.path().join("floor");
        std::fs::write(&path, vec![0x5a; REPLAYED]).expect("a file");
        group.throughput(Throughput::Bytes(REPLAYED as u64)).sample_size(10);
        group.bench_function("floor", |b| {
            let file = File::open(&path).expect("a file");
            let mut buffer = vec![0; 256 << 10];
            b.iter(|| {
                for at in (0..REPLAYED as u64).step_by(256 << 10) {
                    file.read_exact_at(&mut buffer, at).expect("a read");
                    for record in buffer.chunks(bytes) {
                        black_box(crc32fast::hash(record));
                    }
                }
            });
        });
        group.bench_function("replay, lent", |b| {
            b.iter(|| {
                let mut replay = wal.replay(1).expect("all entries");
                while let Some(entry) = replay.next_entry().expect("an entry") {
                    black_box(entry);
                }
            });
        });
        group.bench_function("replay, owned", |b| {
            b.iter(|| wal.replay(1).expect("all entries").for_each(|entry| drop(black_box(entry))));
        });
        drop(wal);
        group.bench_function("open", |b| b.iter(|| open(&log)));
        group.finish();
    }
}

criterion_group!(benches, append, push, replay);
criterion_main!(benches);
