//! Random gets, and scans from random starts.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use super::{VALUE_BYTES, stores};
use crate::Result;
use crate::content::Dice;
use crate::engines::{LMDB, Reader, Snapshot};
use crate::session::{Session, discard};
use crate::statistics::Better;
use crate::table::Row;
use crate::task::{Figures, Step, Task};

const RECORDS: u64 = 2_000_000;
const QUICK_RECORDS: u64 = 500_000;
/// Gets of each thread.
const GETS: u64 = 400_000;
const QUICK_GETS: u64 = 100_000;
/// Records that all scans of a run read together.
const SCANNED: u64 = 2_000_000;
const QUICK_SCANNED: u64 = 400_000;
const WANTED_GETS: f64 = 2.0;
const WANTED_SCANS: f64 = 1.0;

/// The rows of the gets.
pub(super) fn measure_gets(session: &Session) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (step, snapshot) in [(Step::Gets, "one snapshot"), (Step::GetsFresh, "a snapshot each")] {
        for threads in [1, 2] {
            let plural = if threads == 1 { "" } else { "s" };
            let what = format!("gets, {threads} thread{plural}, {snapshot}, gets/s");
            let mut task = Task::new(step, "", &session.dir("reads"));
            task.threads = threads;
            task.count = if session.quick { QUICK_GETS } else { GETS };
            rows.push((row(what, WANTED_GETS), task));
        }
    }
    measure(session, rows)
}

/// The rows of the scans.
pub(super) fn measure_scans(session: &Session) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for length in [100, 10_000] {
        let mut task = Task::new(Step::Scans, "", &session.dir("reads"));
        task.batch = length;
        task.count = if session.quick { QUICK_SCANNED } else { SCANNED };
        rows.push((row(format!("scans of {length}, items/s"), WANTED_SCANS), task));
    }
    measure(session, rows)
}

fn row(what: String, wanted: f64) -> Row {
    let mut row = Row::new(what, Better::Higher);
    (row.base, row.wanted) = (Some(LMDB), Some(wanted));
    row
}

/// Fills each store once, and runs the tasks in turns.
fn measure(session: &Session, mut rows: Vec<(Row, Task)>) -> Result<Vec<Row>> {
    rows.retain(|(row, _)| session.has(&row.what));
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let engines = stores(session, true);
    let population = if session.quick { QUICK_RECORDS } else { RECORDS };
    let mut filled = Vec::new();
    for engine in &engines {
        let mut task = Task::new(Step::Fill, engine.name, &session.dir("reads").join(engine.name));
        (task.bytes, task.count) = (VALUE_BYTES, population);
        if session.run(&task).is_some() {
            filled.push(*engine);
        }
    }
    for (row, task) in &mut rows {
        session.in_turns(&filled, |run, engine| {
            let mut task = Task { engine: engine.name.to_owned(), ..task.clone() };
            task.dir.push(engine.name);
            (task.population, task.run) = (population, run as u64);
            let figures: Option<Figures> = session.run(&task);
            row.add(engine.name, figures.and_then(|figures| figures.get("rate").copied()));
        });
    }
    discard(&session.dir("reads"));
    Ok(rows.into_iter().map(|(row, _)| row).collect())
}

/// Gets random records, on each thread, from a store that was read through before.
pub(super) fn get(task: &Task) -> Result<()> {
    let store = task.open_store()?;
    let snapshot = if task.step == Step::Gets { Snapshot::Reused } else { Snapshot::Fresh };
    let readers: Vec<Box<dyn Reader>> = (0..task.threads).map(|_| store.reader()).collect();
    readers[0].scans(&[1], task.population as usize)?;
    let start = Barrier::new(task.threads);
    let get = |thread: usize, reader: &dyn Reader| -> Result<f64> {
        let mains = random_mains(task, thread, task.count);
        // What a thread's first reads cost is not what is measured.
        reader.gets(&mains[..mains.len() / 20], snapshot)?;
        start.wait();
        let measured = Instant::now();
        std::hint::black_box(reader.gets(&mains, snapshot)?);
        Ok(measured.elapsed().as_secs_f64())
    };
    let get = &get;
    let times: Vec<_> = thread::scope(|scope| {
        let spawn = |(thread, reader)| {
            let reader: &dyn Reader = reader;
            scope.spawn(move || get(thread, reader))
        };
        let readers = readers.iter().map(|reader| &**reader);
        let threads: Vec<_> = readers.enumerate().map(spawn).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut rate = 0.0;
    for time in times {
        rate += task.count as f64 / time.map_err(|_| "a reader panicked")??;
    }
    println!("rate {rate}");
    Ok(())
}

/// Scans from random starts, in a store that was read through before.
pub(super) fn scan(task: &Task) -> Result<()> {
    let store = task.open_store()?;
    let reader = store.reader();
    reader.scans(&[1], task.population as usize)?;
    let length = task.batch as u64;
    let last_start = Task { population: task.population - length, ..task.clone() };
    let mains = random_mains(&last_start, 0, task.count / length);
    let start = Instant::now();
    let items = reader.scans(&mains, task.batch)?;
    let took = start.elapsed().as_secs_f64();
    if items != mains.len() as u64 * length {
        return Err(format!("{items} records were scanned").into());
    }
    println!("rate {}", items as f64 / took);
    Ok(())
}

/// Keys of records that are there.
fn random_mains(task: &Task, thread: usize, count: u64) -> Vec<u64> {
    let mut dice = Dice::new(task.run << 8 | thread as u64);
    (0..count).map(|_| 1 + dice.roll() % task.population).collect()
}
