//! Durable batches of records with rising keys.

use std::time::{Duration, Instant};

use super::log::size;
use super::stores;
use crate::Result;
use crate::content::{Key, Pool};
use crate::engines::{FLOOR, Store};
use crate::session::Session;
use crate::statistics::Better;
use crate::table::Row;
use crate::task::{Step, Task};

const VALUE_BYTES: &[usize] = &[256, 1024];
/// Records of a batch, and the share of the floor that is wanted.
const BATCHES: &[(usize, f64)] = &[(1, 0.7), (10, 0.55), (100, 0.5), (1000, 0.5), (10_000, 0.5)];

/// The rows.
pub(super) fn measure(session: &Session) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &bytes in VALUE_BYTES {
        for &(batch, wanted) in BATCHES {
            let what = format!("commits, {} x {batch}, puts/s", size(bytes));
            if session.has(&what) {
                rows.push(measure_case(session, what, bytes, batch, wanted));
            }
        }
    }
    Ok(rows)
}

fn measure_case(session: &Session, what: String, bytes: usize, batch: usize, wanted: f64) -> Row {
    let mut row = Row::new(what, Better::Higher);
    (row.base, row.wanted) = (Some(FLOOR), Some(wanted));
    session.in_turns(&stores(session, false), |run, engine| {
        let dir = session.dir(&format!("commits-{run}-{}", engine.name));
        let mut task = Task::new(Step::Commits, engine.name, &dir);
        (task.bytes, task.batch, task.millis) = (bytes, batch, session.millis());
        let figures = session.run_apart(&task);
        row.add(engine.name, figures.and_then(|figures| figures.get("rate").copied()));
    });
    row
}

/// Commits for as long as the task says, after a quarter of it that does not count.
pub(super) fn commit(task: &Task) -> Result<()> {
    let mut store = task.open_store()?;
    let pool = Pool::new(task.bytes);
    let mut next = 1;
    let mut commit_one = |store: &mut dyn Store| -> Result<()> {
        let end = next + task.batch as u64;
        let puts: Vec<_> =
            (next..end).map(|main| (Key(main), pool.slice(main, task.bytes))).collect();
        next = end;
        store.put(&puts)?;
        store.commit()
    };
    let time = Duration::from_millis(task.millis);
    let warm_up = Instant::now();
    while warm_up.elapsed() < time / 4 {
        commit_one(&mut *store)?;
    }
    let (mut batches, measured) = (0_u32, Instant::now());
    while measured.elapsed() < time {
        commit_one(&mut *store)?;
        batches += 1;
    }
    let rate = f64::from(batches) / measured.elapsed().as_secs_f64();
    println!("rate {}", rate * task.batch as f64);
    Ok(())
}
