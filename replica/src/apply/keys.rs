//! Commands on keys.

use revd_mvcc as mvcc;

use crate::command::{Answer, Rejected};
use crate::error::Fatal;
use crate::machine::Machine;

type Done = Result<Result<Answer, Rejected>, Fatal>;

pub(super) fn put(machine: &mut Machine, put: &mvcc::Put) -> Done {
    let done = machine.store.put(put)?;
    machine.counted.puts += 1;
    Ok(done.map(Answer::Put).map_err(Rejected::KeySpace))
}

pub(super) fn delete_range(machine: &mut Machine, delete: &mvcc::DeleteRange) -> Done {
    let done = machine.store.delete_range(delete)?;
    machine.counted.deletes += 1;
    Ok(done.map(Answer::Deleted).map_err(Rejected::KeySpace))
}

pub(super) fn txn(machine: &mut Machine, txn: &mvcc::Txn) -> Done {
    let done = machine.store.txn(txn)?;
    machine.counted.txns += 1;
    if let Ok(done) = &done {
        count(machine, done);
    }
    Ok(done.map(Answer::Txn).map_err(Rejected::KeySpace))
}

fn count(machine: &mut Machine, done: &mvcc::TxnDone) {
    for response in &done.responses {
        match response {
            mvcc::OpDone::Put(_) => machine.counted.puts += 1,
            mvcc::OpDone::Deleted(_) => machine.counted.deletes += 1,
            mvcc::OpDone::Txn(nested) => count(machine, nested),
            mvcc::OpDone::Range(_) => {}
        }
    }
}

pub(super) fn compact(machine: &mut Machine, revision: i64) -> Done {
    let done = machine.store.compact(revision)?;
    Ok(done.map(|_| Answer::Compacted).map_err(Rejected::KeySpace))
}
