//! Durable appends: records of several sizes, several for each sync, one appender and eight.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::content::Pool;
use crate::engines::{FLOOR, FLOOR_LOCKED, LOGS, Log, LogEngine, LogShape, UPKEEP_EVERY};
use crate::session::Session;
use crate::statistics::Better;
use crate::table::Row;
use crate::task::{Step, Task};

const RECORD_BYTES: &[usize] = &[128, 256, 300, 1024, 4096, 16384];
const BATCHES: &[usize] = &[1, 8, 64, 512];
const APPENDERS: &[usize] = &[1, 8];
/// The subset for `--quick`.
const QUICK_RECORD_BYTES: &[usize] = &[128, 1024, 16384];
const QUICK_BATCHES: &[usize] = &[1, 64];

/// What one sync writes where direct writes are at their best, and what is wanted there.
const SMALL_SYNC_BYTES: usize = 64 << 10;
const WANTED_SMALL: f64 = 1.1;
const WANTED_LARGE: f64 = 0.95;
const WANTED_SHARED: f64 = 1.1;

/// The rows.
pub(super) fn measure(session: &Session) -> Result<Vec<Row>> {
    let sizes = if session.quick { QUICK_RECORD_BYTES } else { RECORD_BYTES };
    let batches = if session.quick { QUICK_BATCHES } else { BATCHES };
    let mut rows = Vec::new();
    for &appenders in APPENDERS {
        for &bytes in sizes {
            for &batch in batches {
                let threads = if appenders == 1 { "1 appender" } else { "8 appenders" };
                let what = format!("log, {} x {batch}, {threads}", size(bytes));
                if session.has(&what) {
                    rows.push(measure_case(session, what, bytes, batch, appenders));
                }
            }
        }
    }
    Ok(rows)
}

fn measure_case(
    session: &Session,
    what: String,
    bytes: usize,
    batch: usize,
    appenders: usize,
) -> Row {
    let mut row = Row::new(format!("{what}, records/s"), Better::Higher);
    row.base = Some(FLOOR);
    row.foremost = true;
    row.wanted = Some(match appenders {
        1 if bytes * batch <= SMALL_SYNC_BYTES => WANTED_SMALL,
        1 => WANTED_LARGE,
        _ => WANTED_SHARED,
    });
    let is_in = |engine: &&LogEngine| match engine.name {
        FLOOR_LOCKED => appenders > 1 && session.takes(FLOOR),
        name => session.takes(name),
    };
    let engines: Vec<_> = LOGS.iter().filter(is_in).collect();
    session.in_turns(&engines, |run, engine| {
        let dir = session.dir(&format!("log-{run}-{}", engine.name));
        let mut task = Task::new(Step::Log, engine.name, &dir);
        (task.bytes, task.batch, task.threads) = (bytes, batch, appenders);
        task.millis = session.millis();
        let figures = session.run_apart(&task);
        row.add(engine.name, figures.and_then(|figures| figures.get("rate").copied()));
    });
    take_better_floor(&mut row);
    row
}

/// Of the two floors the one that is quicker counts, in each run.
fn take_better_floor(row: &mut Row) {
    let Some(locked) = row.figures.remove(FLOOR_LOCKED) else { return };
    let Some(free) = row.figures.get_mut(FLOOR) else { return };
    for (free, locked) in free.iter_mut().zip(locked) {
        *free = [*free, locked].into_iter().flatten().reduce(f64::max);
    }
}

/// So much is written before anything counts: a log that uses its files again has come to that, as
/// the floor's space was written before. What takes too many batches is far from it anyway, and
/// has its space prepared in time.
const WARM_UP_BYTES: usize = 384 << 20;
const WARM_UP_BATCHES: usize = 6000;

/// Appends for as long as the task says, after a quarter of it, and more if the batches are long,
/// that does not count.
pub(super) fn append(task: &Task) -> Result<()> {
    let shape =
        LogShape { appenders: task.threads, batch_bytes: task.bytes * task.batch, keep: false };
    let log = (task.log_engine()?.open)(&task.dir, shape)?;
    let pool = Pool::new(task.bytes);
    let records: Vec<Vec<&[u8]>> = (0..task.threads)
        .map(|thread| {
            let number = |record| (thread * task.batch + record) as u64;
            (0..task.batch).map(|record| pool.slice(number(record), task.bytes)).collect()
        })
        .collect();
    let (stopped, start) = (AtomicBool::new(false), Barrier::new(task.threads));
    let warm_up = (WARM_UP_BYTES / (task.bytes * task.batch)).min(WARM_UP_BATCHES) / task.threads;
    let phases = Phases { warm_up, millis: task.millis, start: &start };
    let rates = thread::scope(|scope| {
        scope.spawn(|| keep_up(&*log, &stopped));
        let threads: Vec<_> = records
            .iter()
            .enumerate()
            .map(|(number, records)| {
                let log = &*log;
                scope.spawn(move || append_for(log, number, records, phases))
            })
            .collect();
        let rates: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        stopped.store(true, Ordering::Relaxed);
        rates
    });
    let mut rate = 0.0;
    for appender in rates {
        rate += appender.map_err(|_| "an appender panicked")??;
    }
    println!("rate {}", rate * task.batch as f64);
    Ok(())
}

/// When an appender begins to count, and when it ends.
#[derive(Clone, Copy, Debug)]
struct Phases<'t> {
    /// Batches of each appender before anything counts.
    warm_up: usize,
    /// How long is counted.
    millis: u64,
    /// All begin together: to append, and to count.
    start: &'t Barrier,
}

/// Appends, and returns how many batches a second.
fn append_for(
    log: &dyn Log,
    number: usize,
    records: &[&[u8]],
    Phases { warm_up, millis, start }: Phases<'_>,
) -> Result<f64> {
    let mut appender = log.appender(number, records);
    for _ in 0..warm_up {
        appender.append()?;
    }
    start.wait();
    let time = Duration::from_millis(millis);
    let begun = Instant::now();
    while begun.elapsed() < time / 4 {
        appender.append()?;
    }
    let (mut batches, measured) = (0_u32, Instant::now());
    while measured.elapsed() < time {
        appender.append()?;
        batches += 1;
    }
    let rate = f64::from(batches) / measured.elapsed().as_secs_f64();
    // The others are still being measured, so they are not left alone.
    while begun.elapsed() < time * 5 / 4 + time / 20 {
        appender.append()?;
    }
    Ok(rate)
}

fn keep_up(log: &dyn Log, stopped: &AtomicBool) {
    while !stopped.load(Ordering::Relaxed) {
        if let Err(error) = log.upkeep() {
            eprintln!("upkeep: {error}");
        }
        thread::sleep(UPKEEP_EVERY);
    }
}

/// A size as one says it.
pub(super) fn size(bytes: usize) -> String {
    if bytes >= 1024 { format!("{} KiB", bytes / 1024) } else { format!("{bytes} B") }
}
