//! How the key space behaves as it grows: rates, pages of a list, opening, and memory, at ten
//! thousand, one million and ten million keys.
//!
//! ```text
//! cargo bench -p benches --bench mvcc_scale -- [rates|pages|open|stream|ordered|drawn]... [N]...
//! ```
//!
//! Without arguments everything is measured at ten thousand and at one million keys, written in
//! order and at random. Ten million take three gigabytes of disk for each order, and as much page
//! cache. With `SCALE_DIR=DIRECTORY` the stores that
//! were loaded are kept there, and used again by the next run: no measurement changes them.
//!
//! Keys have 24 bytes, values 256. A store is loaded in key order or in an order drawn once.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::statistics::{Latencies, median};
use revd_disk::Real;
use revd_mvcc::{DeleteRange, Options, Put, Range, Store, View};

const VALUE_BYTES: usize = 256;
/// Keys on a page of a list.
const PAGE: i64 = 100;
/// How far back the older pages are.
const BACK: i64 = 10_000;
/// Requests for each figure.
const ROUNDS: u64 = 100_000;

/// Measures a store of so many keys, and prints what it finds.
type Measurement = fn(u64, Order);

/// The order in which keys were written.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    ByKey,
    Drawn,
}

impl Order {
    fn name(self) -> &'static str {
        match self {
            Self::ByKey => "in order",
            Self::Drawn => "at random",
        }
    }
}

/// A small generator: the same numbers in each run.
struct Drawn(u64);

impl Drawn {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

fn options() -> Options {
    Options::new([1; 16])
}

fn key(number: u64) -> Vec<u8> {
    format!("/registry/pods/{number:09}").into_bytes()
}

fn put_of(number: u64) -> Put {
    Put { key: key(number).into(), value: vec![0x5a; VALUE_BYTES].into(), ..Put::default() }
}

fn put(store: &mut Store, put: &Put) {
    store.put(black_box(put)).expect("storage").expect("a put without a lease");
}

fn checkpoint(store: &mut Store) {
    if let Some(frozen) = store.checkpoint(b"note").expect("a frozen state") {
        store.checkpointed(frozen.write().expect("a written checkpoint"));
    }
}

/// A directory with a loaded store.
struct Loaded {
    path: PathBuf,
    _dir: Option<tempfile::TempDir>,
}

impl Loaded {
    fn new(keys: u64, order: Order) -> Self {
        let base = option_env!("CARGO_TARGET_TMPDIR").unwrap_or(".");
        let (dir, kept) = match std::env::var_os("SCALE_DIR") {
            Some(dir) => (PathBuf::from(dir), None),
            None => {
                let dir = tempfile::tempdir_in(base).expect("a directory beside the build");
                (dir.path().to_owned(), Some(dir))
            }
        };
        fs::create_dir_all(&dir).expect("a directory for the stores");
        let path = dir.join(format!("{} {keys}", order.name()));
        if !path.exists() {
            load(&path, keys, order);
        }
        Self { path, _dir: kept }
    }

    fn open(&self) -> Store {
        let (store, _) =
            Store::open(Arc::new(Real::new()), &self.path, options()).expect("a loaded store");
        store
    }
}

fn load(path: &Path, keys: u64, order: Order) {
    let loading = path.with_extension("loading");
    drop(fs::remove_file(&loading));
    let mut store =
        Store::create(Arc::new(Real::new()), &loading, options(), b"note").expect("a store");
    let mut numbers: Vec<u32> = (0..keys as u32).collect();
    if order == Order::Drawn {
        let mut drawn = Drawn(keys);
        for at in (1..numbers.len()).rev() {
            numbers.swap(at, drawn.below(at as u64 + 1) as usize);
        }
    }
    for batch in numbers.chunks(10_000) {
        for number in batch {
            put(&mut store, &put_of(u64::from(*number)));
        }
        checkpoint(&mut store);
    }
    fs::rename(loading, path).expect("a new name");
}

fn line(keys: u64, order: Order, what: &str, figure: &str) {
    println!("{keys:>10} keys {:<9}  {what:<44} {figure:>20}", order.name());
}

/// Requests a second, the median of five runs.
fn rate(rounds: u64, mut request: impl FnMut()) -> f64 {
    let runs: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            (0..rounds / 5).for_each(|_| request());
            (rounds / 5) as f64 / start.elapsed().as_secs_f64()
        })
        .collect();
    median(&runs)
}

/// Puts, transactions and point reads, without checkpoints.
fn rates(keys: u64, order: Order) {
    let mut store = Loaded::new(keys, order).open();
    let mut drawn = Drawn(1);
    let value = vec![0x5a; VALUE_BYTES];
    for batch in [1, 64] {
        let rounds = rate(ROUNDS / batch, || {
            for _ in 0..batch {
                let key = key(drawn.below(keys)).into();
                put(&mut store, &Put { key, value: value.clone().into(), ..Put::default() });
            }
            store.publish();
        });
        let figure = format!("{:.0}/s", rounds * batch as f64);
        line(keys, order, &format!("puts, {batch} to a publication"), &figure);
    }
    let rounds = rate(ROUNDS, || {
        let key: bytes::Bytes = key(drawn.below(keys)).into();
        let put = Put { key: key.clone(), value: value.clone().into(), ..Put::default() };
        let compare = revd_mvcc::Compare {
            result: 1,
            target: 0,
            key,
            range_end: bytes::Bytes::new(),
            operand: revd_mvcc::Operand::Version(0),
        };
        let success = vec![revd_mvcc::Op::Put(put)];
        let txn = revd_mvcc::Txn { compare: vec![compare], success, failure: Vec::new() };
        assert!(store.txn(&txn).expect("storage").expect("a txn").succeeded);
        store.publish();
    });
    line(keys, order, "txns (compare, put), 1 to a publication", &format!("{rounds:.0}/s"));
    let view = store.view();
    let rounds = rate(ROUNDS, || {
        let range = Range { key: key(drawn.below(keys)).into(), ..Range::default() };
        assert_eq!(black_box(view.range(&range).expect("a read")).count, 1);
    });
    line(keys, order, "point reads", &format!("{rounds:.0}/s"));
    let rounds = rate(ROUNDS, || {
        let range =
            Range { key: key(drawn.below(keys)).into(), count_only: true, ..Range::default() };
        assert_eq!(black_box(view.range(&range).expect("a read")).count, 1);
    });
    line(keys, order, "point reads of the index alone", &format!("{rounds:.0}/s"));
}

/// One page of a list, from anywhere.
fn page(view: &View, start: u64, revision: i64, keys_only: bool) -> Duration {
    let range = Range {
        key: key(start).into(),
        range_end: b"/registry/pods0".to_vec().into(),
        limit: PAGE,
        revision,
        keys_only,
        ..Range::default()
    };
    let start = Instant::now();
    let done = black_box(view.range(&range).expect("a page"));
    let took = start.elapsed();
    assert!(done.more && done.count > PAGE);
    took
}

/// A write beside the reads: most of them change a key, some make or delete one.
fn write(store: &mut Store, drawn: &mut Drawn, keys: u64) {
    let number = drawn.below(keys);
    match drawn.below(10) {
        0 => {
            let delete = DeleteRange { key: key(number).into(), ..DeleteRange::default() };
            store.delete_range(&delete).expect("storage").expect("a deletion");
        }
        1 => put(store, &put_of(keys + drawn.below(keys))),
        _ => put(store, &put_of(number)),
    }
    store.publish();
}

/// Pages of a list at the newest revision and at an older one, between writes.
fn pages(keys: u64, order: Order) {
    let mut store = Loaded::new(keys, order).open();
    let view = store.view();
    let mut drawn = Drawn(2);
    for _ in 0..BACK {
        write(&mut store, &mut drawn, keys);
    }
    for (what, keys_only) in [("keys only", true), ("with values", false)] {
        for (when, back) in [("newest", 0), ("10,000 revisions back", BACK)] {
            let mut latencies = Latencies::default();
            for _ in 0..2_000 {
                write(&mut store, &mut drawn, keys);
                let revision = store.revision().0 - back;
                let start = drawn.below(keys - 3 * PAGE as u64);
                latencies.add(page(&view, start, revision, keys_only));
            }
            let figure = format!("{:.1?}", latencies.percentile(0.5));
            line(keys, order, &format!("page of 100, {what}, {when}"), &figure);
        }
    }
}

/// Opening, and the memory that it leaves behind.
fn open(keys: u64, order: Order) {
    let loaded = Loaded::new(keys, order);
    let mut took = Vec::new();
    let mut seen = allocation_counter::AllocationInfo::default();
    for _ in 0..3 {
        let mut store = None;
        let start = Instant::now();
        seen = allocation_counter::measure(|| store = Some(loaded.open()));
        took.push(start.elapsed().as_secs_f64());
    }
    let records = keys as f64 / median(&took);
    line(keys, order, "records read at open", &format!("{:.2} million/s", records / 1e6));
    let bytes = |bytes: i64| format!("{:.1}", bytes as f64 / keys as f64);
    let own = key(0).len() as i64 * keys as i64;
    line(keys, order, "bytes a key beyond its own", &bytes(seen.bytes_current - own));
    line(keys, order, "bytes a key at most while opening", &bytes(seen.bytes_max as i64));
}

/// A whole range in pieces of at most three megabytes, each a fresh read.
fn stream(keys: u64, order: Order) {
    let store = Loaded::new(keys, order).open();
    let view = store.view();
    let mut returned = 0;
    let start = Instant::now();
    let seen = allocation_counter::measure(|| {
        let mut next = key(0);
        loop {
            let range = Range {
                key: next.into(),
                range_end: b"/registry/pods0".to_vec().into(),
                limit: 10_000,
                ..Range::default()
            };
            let piece = black_box(view.piece(&range, 3 << 20, returned == 0).expect("a piece"));
            returned += piece.returned as u64;
            if !piece.more {
                return;
            }
            next = key(returned);
        }
    });
    assert_eq!(returned, keys);
    let rate = keys as f64 / start.elapsed().as_secs_f64() / 1e6;
    line(keys, order, "records read in pieces", &format!("{rate:.2} million/s"));
    let most = seen.bytes_max as f64 / f64::from(1 << 20);
    line(keys, order, "memory for it at most", &format!("{most:.1} MiB"));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let (numbers, names): (Vec<_>, Vec<_>) =
        arguments.iter().partition(|a| a.bytes().all(|b| b.is_ascii_digit()));
    let mut sizes: Vec<u64> = numbers.iter().filter_map(|n| n.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![10_000, 1_000_000];
    }
    let is_named = |name: &str| names.iter().any(|n| *n == name);
    let all: [(&str, Measurement); 4] =
        [("open", open), ("rates", rates), ("pages", pages), ("stream", stream)];
    let is_all = !all.iter().any(|(name, _)| is_named(name));
    let is_both = is_named("ordered") == is_named("drawn");
    for (_, run) in all.iter().filter(|(name, _)| is_all || is_named(name)) {
        for keys in &sizes {
            if is_both || is_named("ordered") {
                run(*keys, Order::ByKey);
            }
            if is_both || is_named("drawn") {
                run(*keys, Order::Drawn);
            }
        }
    }
}
