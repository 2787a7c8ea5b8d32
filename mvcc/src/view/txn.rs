//! What writing and read-only transactions have in common: the path through the branches, decided
//! before anything runs, and the checks of the ranges on it.

use super::{Reading, holds};
use crate::answer::{OpDone, TxnDone};
use crate::error::{Fatal, ReadError, Rejected};
use crate::key_value::Revision;
use crate::request::{Op, Range, Txn};

/// Which branch of a transaction runs, and which of each transaction nested in it.
pub(crate) struct Branch<'t> {
    pub(crate) succeeded: bool,
    pub(crate) ops: &'t [Op],
    /// One for each nested transaction among `ops`, in order.
    pub(crate) nested: Vec<Branch<'t>>,
}

/// Evaluates all comparisons on the path, nested ones included, against the state before the
/// transaction (rules 4.1, 4.7).
pub(crate) fn branch<'t>(reading: &Reading<'_>, txn: &'t Txn) -> Result<Branch<'t>, Fatal> {
    let at = reading.revision as u64;
    let mut succeeded = true;
    for compare in &txn.compare {
        if !holds(reading, compare, at)? {
            succeeded = false;
            break;
        }
    }
    let ops = if succeeded { &txn.success } else { &txn.failure };
    let mut nested = Vec::new();
    for op in ops {
        if let Op::Txn(inner) = op {
            nested.push(branch(reading, inner)?);
        }
    }
    Ok(Branch { succeeded, ops, nested })
}

/// Checks the revisions of all ranges on the path (rules 4.8, 4.11, 4.12).
pub(crate) fn check_ranges(
    branch: &Branch<'_>,
    revision: i64,
    compacted: i64,
) -> Result<(), Rejected> {
    let mut nested = branch.nested.iter();
    for op in branch.ops {
        match op {
            Op::Range(range) if range.revision > revision => return Err(Rejected::FutureRevision),
            Op::Range(range) if range.revision != 0 && range.revision < compacted => {
                return Err(Rejected::Compacted);
            }
            Op::Txn(_) => {
                let inner = nested.next().expect("one branch for each nested transaction");
                check_ranges(inner, revision, compacted)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The revision that a range inside a transaction reads at, once it has passed its check.
pub(crate) fn revision_of(range: &Range, newest: i64) -> u64 {
    if range.revision > 0 { range.revision as u64 } else { newest as u64 }
}

/// The oldest revision that a read-only transaction may look at.
pub(super) fn oldest_revision(txn: &Txn, newest: i64) -> u64 {
    let of = |op: &Op| match op {
        Op::Range(range) => revision_of(range, newest),
        _ => newest as u64,
    };
    txn.success.iter().chain(&txn.failure).map(of).min().unwrap_or(newest as u64)
}

pub(super) fn read_only(
    reading: &Reading<'_>,
    compacted: i64,
    txn: &Txn,
) -> Result<TxnDone, ReadError> {
    let branch = branch(reading, txn)?;
    check_ranges(&branch, reading.revision, compacted)?;
    let mut responses = Vec::with_capacity(branch.ops.len());
    for op in branch.ops {
        if let Op::Range(range) = op {
            let at = revision_of(range, reading.revision);
            responses.push(OpDone::Range(reading.range(range, at)?));
        }
    }
    Ok(TxnDone { revision: Revision(reading.revision), succeeded: branch.succeeded, responses })
}
