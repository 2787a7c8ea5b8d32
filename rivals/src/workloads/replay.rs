//! Reading a log from its first record to its last, checksums included.

use std::path::Path;
use std::{fs, io};

use super::log::size;
use crate::Result;
use crate::content::Pool;
use crate::engines::{FLOOR, LOGS, LogEngine, LogShape, RECORD_BYTES_FILE, Sink};
use crate::measure::anonymous_bytes;
use crate::session::{Session, discard};
use crate::statistics::Better;
use crate::table::Row;
use crate::task::{Step, Task};

const RECORD_BYTES: &[usize] = &[256, 1024, 4096, 16384];
const LOG_BYTES: usize = 400 << 20;
const QUICK_LOG_BYTES: usize = 100 << 20;
/// Bytes of a batch while the log is filled.
const FILL_BYTES: usize = 1 << 20;
const WANTED: f64 = 0.8;

/// The rows: the replay, the opening before it with it, and the memory.
pub(super) fn measure(session: &Session) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &bytes in RECORD_BYTES {
        let what = format!("replay, {}", size(bytes));
        if session.has(&what) {
            rows.extend(measure_case(session, &what, bytes));
        }
    }
    Ok(rows)
}

fn measure_case(session: &Session, what: &str, bytes: usize) -> [Row; 3] {
    let mut replay = Row::new(format!("{what}, bytes/s"), Better::Higher);
    let mut whole = Row::new(format!("{what} with open, bytes/s"), Better::Higher);
    let mut memory = Row::new(format!("{what}, MiB of memory"), Better::Lower);
    (replay.base, replay.wanted, replay.foremost) = (Some(FLOOR), Some(WANTED), true);
    whole.base = Some(FLOOR);
    let is_in = |engine: &&LogEngine| engine.replay.is_some() && session.takes(engine.name);
    let engines: Vec<_> = LOGS.iter().filter(is_in).collect();
    session.in_turns(&engines, |run, engine| {
        let dir = session.dir(&format!("replay-{run}-{}", engine.name));
        let mut task = Task::new(Step::FillLog, engine.name, &dir);
        (task.bytes, task.batch) = (bytes, FILL_BYTES / bytes);
        let log_bytes = if session.quick { QUICK_LOG_BYTES } else { LOG_BYTES };
        task.count = (log_bytes / bytes) as u64;
        let filled = session.run(&task);
        task.step = Step::Replay;
        let figures = filled.and_then(|_| session.run(&task)).unwrap_or_default();
        discard(&dir);
        replay.add(engine.name, figures.get("replay").copied());
        whole.add(engine.name, figures.get("whole").copied());
        memory.add(engine.name, figures.get("memory").copied());
    });
    [replay, whole, memory]
}

/// Fills the log.
pub(super) fn fill(task: &Task) -> Result<()> {
    let shape = LogShape { appenders: 1, batch_bytes: task.bytes * task.batch, keep: true };
    let log = (task.log_engine()?.open)(&task.dir, shape)?;
    let pool = Pool::new(task.bytes);
    let records: Vec<_> =
        (0..task.batch).map(|record| pool.slice(record as u64, task.bytes)).collect();
    let mut appender = log.appender(0, &records);
    for _ in 0..task.count.div_ceil(task.batch as u64) {
        appender.append()?;
        log.upkeep()?;
    }
    Ok(fs::write(task.dir.join(RECORD_BYTES_FILE), task.bytes.to_string())?)
}

/// Reads all files once: what an engine wrote past the page cache is as near then as the rest.
fn warm(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            warm(&entry.path())?;
        } else {
            io::copy(&mut fs::File::open(entry.path())?, &mut io::sink())?;
        }
    }
    Ok(())
}

/// Opens and replays it.
pub(super) fn replay(task: &Task) -> Result<()> {
    let replay = task.log_engine()?.replay.ok_or("this log is not replayed")?;
    warm(&task.dir)?;
    let before = anonymous_bytes();
    let (sink, took) = replay(&task.dir, Sink::default())?;
    let filled = task.count.div_ceil(task.batch as u64) * task.batch as u64;
    if sink.records != filled || sink.bytes != filled * task.bytes as u64 {
        return Err(format!("{} records were replayed of {filled}", sink.records).into());
    }
    let bytes = sink.bytes as f64;
    let whole = took.open + took.replay.unwrap_or_default();
    println!("replay {}", bytes / took.replay.unwrap_or(whole).as_secs_f64());
    println!("whole {}", bytes / whole.as_secs_f64());
    println!("memory {}", sink.memory.saturating_sub(before) as f64 / f64::from(1 << 20));
    Ok(())
}
