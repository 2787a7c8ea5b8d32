//! Commands on leases.

use revd_mvcc::{self as mvcc, LeaseId};

use crate::command::{Answer, Rejected};
use crate::error::Fatal;
use crate::machine::{Application, LeaseChange, Machine};

type Done = Result<Result<Answer, Rejected>, Fatal>;

pub(super) fn grant(machine: &mut Machine, id: i64, ttl: i64, result: &mut Application) -> Done {
    let done = machine.store.grant(LeaseId(id), ttl)?;
    if done.is_ok() {
        result.leases.push(LeaseChange::Granted { id, ttl });
    }
    Ok(done.map(|_| Answer::Granted { id, ttl }).map_err(Rejected::KeySpace))
}

pub(super) fn revoke(machine: &mut Machine, id: i64, result: &mut Application) -> Done {
    let done = machine.store.revoke(LeaseId(id))?;
    if done.is_ok() {
        result.leases.push(LeaseChange::Revoked { id });
    }
    Ok(done.map(|_| Answer::Revoked).map_err(Rejected::KeySpace))
}

/// An expiry counts only in the term of the leader whose clock ran out. A lease that is gone by
/// then was revoked by a client in the meantime, which is no fault.
pub(super) fn expire(
    machine: &mut Machine,
    id: i64,
    in_its_term: bool,
    result: &mut Application,
) -> Done {
    if !in_its_term {
        return Ok(Ok(Answer::Done));
    }
    match revoke(machine, id, result)? {
        Err(Rejected::KeySpace(mvcc::Rejected::LeaseNotFound)) => Ok(Ok(Answer::Done)),
        other => Ok(other),
    }
}

/// Counts only in the term of the leader whose clock it was. Leases that are gone by then are
/// passed over.
pub(super) fn checkpoint(
    machine: &mut Machine,
    remaining: &[(i64, i64)],
    in_its_term: bool,
    result: &mut Application,
) -> Done {
    if !in_its_term {
        return Ok(Ok(Answer::Done));
    }
    for &(id, remaining) in remaining {
        if machine.store.set_remaining(LeaseId(id), remaining)?.is_ok() {
            result.leases.push(LeaseChange::Checkpointed { id, remaining });
        }
    }
    Ok(Ok(Answer::Done))
}
