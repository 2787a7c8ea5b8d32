//! Opening a store whose process was killed amid writes.

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use super::log::size;
use super::{VALUE_BYTES, stores};
use crate::Result;
use crate::content::{Key, Pool};
use crate::engines::Snapshot;
use crate::session::{Session, discard};
use crate::statistics::Better;
use crate::table::Row;
use crate::task::{READY, Step, Task};

const RECORDS: u64 = 2_000_000;
const QUICK_RECORDS: u64 = 500_000;
const LARGE_RECORDS: u64 = 20_000_000;
/// How long it writes before it is killed.
const WRITES: Duration = Duration::from_millis(200);
/// Records of one commit meanwhile.
const BATCH: u64 = 10;
const WANTED_MILLIS: f64 = 50.0;

/// The rows.
pub(super) fn measure(session: &Session) -> Result<Vec<Row>> {
    let mut populations = vec![if session.quick { QUICK_RECORDS } else { RECORDS }];
    populations.extend(session.large.then_some(LARGE_RECORDS));
    let mut rows = Vec::new();
    for population in populations {
        let millions = population as f64 / 1e6;
        let what = format!("open after kill, {millions} M of {}, ms", size(VALUE_BYTES));
        if session.has(&what) {
            rows.push(measure_case(session, what, population));
        }
    }
    Ok(rows)
}

fn measure_case(session: &Session, what: String, population: u64) -> Row {
    let mut row = Row::new(what, Better::Lower);
    row.wanted = Some(WANTED_MILLIS);
    // One after the other, so that one store at a time has to be in the page cache.
    for engine in stores(session, true) {
        let dir = session.dir(&format!("open-{}", engine.name));
        let mut task = Task::new(Step::Fill, engine.name, &dir);
        (task.bytes, task.count) = (VALUE_BYTES, population);
        let filled = session.run(&task);
        for _ in 0..session.runs {
            let killed = filled.as_ref().and_then(|_| kill(&task).ok());
            let opened = Task { step: Step::Open, ..task.clone() };
            let figures = killed.and_then(|()| session.run(&opened));
            row.add(engine.name, figures.and_then(|figures| figures.get("millis").copied()));
        }
        discard(&dir);
    }
    row
}

/// Starts a process that writes, and kills it.
fn kill(task: &Task) -> Result<()> {
    let mut child = Task { step: Step::WriteOn, ..task.clone() }.start()?;
    thread::sleep(WRITES);
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Puts and commits until the process is killed.
pub(super) fn write_on(task: &Task) -> Result<()> {
    let mut store = task.open_store()?;
    let pool = Pool::new(task.bytes);
    let mut next = store.last()?.unwrap_or(0) + 1;
    let mut is_ready = false;
    loop {
        let puts: Vec<_> =
            (next..next + BATCH).map(|main| (Key(main), pool.slice(main, task.bytes))).collect();
        store.put(&puts)?;
        store.commit()?;
        next += BATCH;
        if !is_ready {
            println!("{READY}");
            std::io::stdout().flush()?;
            is_ready = true;
        }
    }
}

/// Opens the store and gets one record.
pub(super) fn open(task: &Task) -> Result<()> {
    let start = Instant::now();
    let store = task.open_store()?;
    store.reader().gets(&[task.count / 2], Snapshot::Reused)?;
    println!("millis {}", start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
