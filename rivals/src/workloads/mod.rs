//! What is measured: of each workload the part that asks for measurements and makes rows of them,
//! and the part that is done by a process of its own.

mod bulk;
mod commits;
mod compaction;
mod log;
mod open;
mod raft;
mod reads;
mod replay;

use crate::content::{Key, Pool};
use crate::engines::{STORES, Store, StoreEngine};
use crate::session::Session;
use crate::table::Row;
use crate::task::{Step, Task};
use crate::{Result, Workload};

/// A workload's rows.
type Measure = fn(&Session) -> Result<Vec<Row>>;

/// All workloads, in the order of the table.
pub(crate) const ALL: &[(Workload, Measure)] = &[
    (Workload::Log, log::measure),
    (Workload::Replay, replay::measure),
    (Workload::Commits, commits::measure),
    (Workload::Bulk, bulk::measure),
    (Workload::Gets, reads::measure_gets),
    (Workload::Scans, reads::measure_scans),
    (Workload::Compaction, compaction::measure),
    (Workload::Open, open::measure),
    (Workload::Raft, raft::measure),
];

/// Does a task in this process, and prints what it finds.
///
/// # Errors
///
/// When the engine fails.
pub(crate) fn perform(task: &Task) -> Result<()> {
    match task.step {
        Step::Log => log::append(task),
        Step::FillLog => replay::fill(task),
        Step::Replay => replay::replay(task),
        Step::Commits => commits::commit(task),
        Step::Fill => bulk::fill(task),
        Step::Gets | Step::GetsFresh => reads::get(task),
        Step::Scans => reads::scan(task),
        Step::Purge | Step::Control => compaction::load(task),
        Step::WriteOn => open::write_on(task),
        Step::Open => open::open(task),
        Step::Raft => raft::propose(task),
        Step::RaftCosts => raft::count_costs(task),
        Step::Elect => raft::elect(task),
    }
}

/// Records of the store that is read: bytes of a value, and how many.
const VALUE_BYTES: usize = 256;

/// Records that are put before each commit while a store is filled.
const FILL_BATCH: u64 = 10_000;

/// Puts the records after the last one, up to `last`, in durable batches.
fn fill_up(store: &mut dyn Store, last: u64, bytes: usize) -> Result<()> {
    let pool = Pool::new(bytes);
    let mut next = store.last()?.unwrap_or(0) + 1;
    while next <= last {
        let end = (next + FILL_BATCH).min(last + 1);
        let puts: Vec<_> = (next..end).map(|main| (Key(main), pool.slice(main, bytes))).collect();
        store.put(&puts)?;
        store.commit()?;
        next = end;
    }
    Ok(())
}

/// The stores that take part, with or without those that are only written.
fn stores(session: &Session, reading: bool) -> Vec<&'static StoreEngine> {
    let is_in = |engine: &&StoreEngine| session.takes(engine.name) && (engine.reads || !reading);
    STORES.iter().filter(is_in).collect()
}
