//! Removing nine of ten records beside puts that come at their own pace, and the same puts alone.
//!
//! Records are removed as etcd removes revisions: some thousand, then a pause.

use std::thread;
use std::time::{Duration, Instant};

use super::{VALUE_BYTES, fill_up, stores};
use crate::Result;
use crate::content::{KEY_BYTES, Key, Pool};
use crate::engines::{Purged, Store};
use crate::measure::{Processor, allocated_bytes, run_on, written_bytes};
use crate::session::Session;
use crate::statistics::{Better, percentile};
use crate::table::Row;
use crate::task::{Step, Task};

const RECORDS: u64 = 1_000_000;
const QUICK_RECORDS: u64 = 200_000;
/// The puts, whether or not the store keeps up.
const PUTS_EVERY: Duration = Duration::from_micros(500);
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// The pause between two batches of deletes: etcd's own.
const PURGE_PAUSE: Duration = Duration::from_millis(10);
/// Puts before the first delete.
const LEAD: Duration = Duration::from_millis(500);
/// The least time with deletes and after them.
const LEAST: Duration = Duration::from_secs(2);
/// How long after the last delete puts may still suffer from it: its commits.
const AFTERMATH: Duration = Duration::from_millis(300);
/// Commits after the last delete, so that the store can let go of what it no longer needs.
const LAST_COMMITS: usize = 4;

const WANTED_BYTES: f64 = 60.0;
const WANTED_LATENCY: f64 = 1.5;
const WANTED_ROOM: f64 = 1.25;

/// The rows.
pub(super) fn measure(session: &Session) -> Result<Vec<Row>> {
    let row = |what: &str, wanted| {
        let mut row = Row::new(format!("compaction, {what}"), Better::Lower);
        row.wanted = wanted;
        row
    };
    let mut rows = [
        row("bytes written a delete", Some(WANTED_BYTES)),
        row("p99 of a put, of the control's", Some(WANTED_LATENCY)),
        row("p99 of a put, ms", None),
        row("bytes of file a byte that stays", Some(WANTED_ROOM)),
        row("seconds", None),
    ];
    if !rows.iter().any(|row| session.has(&row.what)) {
        return Ok(Vec::new());
    }
    let engines = stores(session, true);
    session.in_turns(&engines, |run, engine| {
        let mut task = Task::new(Step::Purge, engine.name, &session.dir(&format!("purge-{run}")));
        task.bytes = VALUE_BYTES;
        task.count = if session.quick { QUICK_RECORDS } else { RECORDS };
        let purge = session.run_apart(&task).unwrap_or_default();
        task.step = Step::Control;
        task.millis = purge.get("millis").map_or(0, |millis| *millis as u64);
        let control = session.run_apart(&task).unwrap_or_default();
        let of = |name: &str| Some((*purge.get(name)?, *control.get(name)?));
        let deleted = purge.get("deleted").copied().unwrap_or(1.0);
        let beyond = |(purge, control): (f64, f64)| (purge - control) / deleted;
        let figures = [
            of("written").map(beyond),
            of("p99").map(|(purge, control)| purge / control),
            purge.get("p99").copied(),
            purge.get("room").copied(),
            purge.get("seconds").copied(),
        ];
        for (row, figure) in rows.iter_mut().zip(figures) {
            row.add(engine.name, figure);
        }
    });
    Ok(rows.into_iter().filter(|row| session.has(&row.what)).collect())
}

/// The puts of a run.
struct Load<'p> {
    pool: &'p Pool,
    start: Instant,
    /// Keys of the records that were there before are up to this.
    base: u64,
    done: u64,
    /// Of each put: when it was due, and when it was applied, both since the start.
    applied: Vec<(Duration, Duration)>,
}

impl Load<'_> {
    /// Applies the puts that are due.
    fn apply_due(&mut self, store: &mut dyn Store) -> Result<()> {
        let now = self.start.elapsed();
        let due = (now.as_micros() / PUTS_EVERY.as_micros()) as u64;
        let numbers = self.done + 1..due + 1;
        if numbers.is_empty() {
            return Ok(());
        }
        let put = |number: u64| {
            let main = self.base + number;
            (Key(main), self.pool.slice(main, VALUE_BYTES))
        };
        let puts: Vec<_> = numbers.clone().map(put).collect();
        store.put(&puts)?;
        let applied = self.start.elapsed();
        self.applied.extend(numbers.map(|number| (PUTS_EVERY * number as u32, applied)));
        self.done = due;
        Ok(())
    }

    /// The latency that 99 % of the puts due in this time stayed below, in milliseconds.
    fn p99(&self, from: Duration, to: Duration) -> Option<f64> {
        let is_in = |(due, _): &&(Duration, Duration)| (from..=to).contains(due);
        let latency = |(due, applied): &(Duration, Duration)| (*applied - *due).as_secs_f64() * 1e3;
        percentile(&mut self.applied.iter().filter(is_in).map(latency).collect::<Vec<_>>(), 0.99)
    }
}

/// The load with deletes, until all are done, or without them, for as long as the task says.
pub(super) fn load(task: &Task) -> Result<()> {
    // Threads of the store run beside the one that puts, and not instead of it.
    run_on(Processor::Last)?;
    let mut store = task.open_store()?;
    fill_up(&mut *store, task.count, task.bytes)?;
    run_on(Processor::First)?;
    let pool = Pool::new(VALUE_BYTES);
    let before = written_bytes()?;
    let start = Instant::now();
    let mut load = Load { pool: &pool, start, base: task.count, done: 0, applied: Vec::new() };
    let is_control = task.step == Step::Control;
    let least = if is_control { Duration::from_millis(task.millis) } else { LEAST };
    let (mut deleted, mut purged_at, mut committed) = (0, None, Duration::ZERO);
    let mut purge_at = LEAD;
    // The commit and the purge that the puts had to wait for longest.
    let mut longest = (Duration::ZERO, Duration::ZERO);
    loop {
        load.apply_due(&mut *store)?;
        let now = start.elapsed();
        if now >= committed + COMMIT_EVERY {
            store.commit_aside()?;
            longest.0 = longest.0.max(start.elapsed() - now);
            committed = now;
        }
        if !is_control && now >= purge_at && purged_at.is_none() {
            let step = start.elapsed();
            let purged = store.purge(task.count)?;
            longest.1 = longest.1.max(start.elapsed() - step);
            match purged {
                Purged::Some(number) => {
                    deleted += number;
                    purge_at = start.elapsed() + PURGE_PAUSE;
                }
                Purged::Waiting => {}
                Purged::Done => purged_at = Some(start.elapsed()),
            }
        }
        if now >= least && (is_control || purged_at.is_some_and(|at| now >= at + AFTERMATH)) {
            break;
        }
        let next = PUTS_EVERY * (load.done + 1) as u32;
        thread::sleep(next.saturating_sub(start.elapsed()));
    }
    let took = start.elapsed();
    for _ in 0..LAST_COMMITS {
        let main = Key(load.base + load.done + 1);
        load.done += 1;
        store.put(&[(main, pool.slice(main.0, VALUE_BYTES))])?;
        store.commit()?;
    }
    let kept = (task.count + load.done - deleted) * (VALUE_BYTES + KEY_BYTES) as u64;
    let until = purged_at.map_or(took, |at| (at + AFTERMATH).min(took));
    println!("millis {}", took.as_millis());
    println!("deleted {deleted}");
    println!("seconds {}", purged_at.unwrap_or(took).saturating_sub(LEAD).as_secs_f64());
    println!("written {}", written_bytes()? - before);
    println!("longest_commit {}", longest.0.as_secs_f64() * 1e3);
    println!("longest_purge {}", longest.1.as_secs_f64() * 1e3);
    println!("p99 {}", load.p99(LEAD, until).ok_or("there were no puts")?);
    println!("room {}", allocated_bytes(&task.dir)? as f64 / kept as f64);
    Ok(())
}
