//! Filling a store: what a put costs the processor, and a byte the disk.

use std::time::Instant;

use super::log::size;
use super::{fill_up, stores};
use crate::Result;
use crate::content::KEY_BYTES;
use crate::engines::FLOOR;
use crate::measure::{allocated_bytes, processor_time};
use crate::session::Session;
use crate::statistics::Better;
use crate::table::Row;
use crate::task::{Step, Task};

const RECORDS: u64 = 2_000_000;
const QUICK_RECORDS: u64 = 300_000;
/// Bytes of a value, and how many bytes of file are wanted at most for each of key and value.
const VALUES: &[(usize, f64)] = &[(256, 1.05), (1024, 1.10)];
const WANTED_MICROS: f64 = 0.5;

/// The rows: processor time, wall time, bytes.
pub(super) fn measure(session: &Session) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &(bytes, wanted) in VALUES {
        let what = format!("bulk, {}", size(bytes));
        if session.has(&what) {
            rows.extend(measure_case(session, &what, bytes, wanted));
        }
    }
    Ok(rows)
}

fn measure_case(session: &Session, what: &str, bytes: usize, wanted: f64) -> [Row; 3] {
    let mut cpu = Row::new(format!("{what}, CPU us/put"), Better::Lower);
    let mut wall = Row::new(format!("{what}, us/put"), Better::Lower);
    let mut file = Row::new(format!("{what}, bytes of file a byte"), Better::Lower);
    (cpu.wanted, file.wanted) = (Some(WANTED_MICROS), Some(wanted));
    session.in_turns(&stores(session, false), |run, engine| {
        let dir = session.dir(&format!("bulk-{run}-{}", engine.name));
        let mut task = Task::new(Step::Fill, engine.name, &dir);
        task.bytes = bytes;
        task.count = if session.quick { QUICK_RECORDS } else { RECORDS };
        let figures = session.run_apart(&task).unwrap_or_default();
        cpu.add(engine.name, figures.get("cpu").copied());
        wall.add(engine.name, figures.get("wall").copied());
        if engine.name != FLOOR {
            file.add(engine.name, figures.get("file").copied());
        }
    });
    [cpu, wall, file]
}

/// Fills the store, in durable batches.
pub(super) fn fill(task: &Task) -> Result<()> {
    let mut store = task.open_store()?;
    let (start, before) = (Instant::now(), processor_time());
    fill_up(&mut *store, task.count, task.bytes)?;
    let (wall, cpu) = (start.elapsed(), processor_time() - before);
    let payload = task.count * (task.bytes + KEY_BYTES) as u64;
    println!("cpu {}", cpu.as_secs_f64() * 1e6 / task.count as f64);
    println!("wall {}", wall.as_secs_f64() * 1e6 / task.count as f64);
    println!("file {}", allocated_bytes(&task.dir)? as f64 / payload as f64);
    Ok(())
}
