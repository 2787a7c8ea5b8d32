//! Changes of members, which the leader makes, and whether they are wise by what it sees: whether
//! enough members have started, and whether enough of them are connected
//! (`--strict-reconfig-check`). Whether a change fits is judged where it is applied.

use revd_replica::{Command, Membership};
use tonic::Status;

use super::errors::{self, Refusal};
use crate::driver::{CallError, Handle, Leader};
use crate::http::change::write;
use crate::http::member::{Member as Record, MemberRecord};
use crate::http::peer::read_list;

/// How many of so many voters decide.
const fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// How many voters there are, apart from one, and how many of them have started.
fn voters_but(handle: &Handle, id: u64) -> (usize, usize) {
    let members = handle.members();
    let voters = || members.iter().filter(|member| !member.is_learner && member.id != id);
    (voters().count(), voters().filter(|member| !member.name.is_empty()).count())
}

/// Refuses a new member that would put the quorum at risk: a voter, if too few have started, and
/// anybody while too few are connected. A cluster of one may always grow.
fn check_addition(handle: &Handle, is_learner: bool) -> Result<(), Refusal> {
    if !handle.config().strict_reconfig_check {
        return Ok(());
    }
    let (voters, started) = voters_but(handle, 0);
    if !is_learner && started < quorum(voters + 1) && (voters, started) != (1, 1) {
        return Err(Refusal::MemberNotEnoughStarted);
    }
    if voters > 1 && handle.settled_voters() < quorum(voters + 1) {
        return Err(Refusal::Unhealthy);
    }
    Ok(())
}

/// Refuses to take a voter away if those who stay and have started would be no quorum, or if it is
/// connected and too few of the others are.
fn check_removal(handle: &Handle, id: u64) -> Result<(), Refusal> {
    let is_learner = handle.members().iter().any(|member| member.id == id && member.is_learner);
    if is_learner || !handle.config().strict_reconfig_check {
        return Ok(());
    }
    let (left, started) = voters_but(handle, id);
    if started < quorum(left) {
        return Err(Refusal::MemberNotEnoughStarted);
    }
    let is_voter = handle.members().iter().any(|member| member.id == id);
    if is_voter && handle.is_settled(id) && handle.settled_voters() - 1 < quorum(left) {
        return Err(Refusal::Unhealthy);
    }
    Ok(())
}

/// Has the leader change the members, wherever it is, and returns the members after that.
///
/// # Errors
/// As [`change_here`]; in the end that there is no leader. Without one it is judged by what this
/// member sees: what would be unwise is refused at once.
pub(super) async fn change(
    handle: &Handle,
    change: &Membership,
) -> Result<Vec<MemberRecord>, Status> {
    if handle.leader().is_none() {
        check(handle, change)?;
    }
    let mut search = handle.search();
    loop {
        let leader = search.next(handle).await.map_err(|_| match change {
            Membership::Promote(_) => Refusal::NoLeader,
            _ => Refusal::DeadlineExceeded,
        })?;
        match leader {
            Leader::Here => match change_here(handle, change).await {
                Err(refused) if refused.message() == Refusal::NotLeader.text() => {}
                outcome => return outcome.map(|()| Record::members(handle)),
            },
            Leader::At(urls) => match change_there(handle, &urls, change).await {
                Err(CallError::NotPrimary) => {}
                Err(error) => return Err(errors::call_failed(error)),
                Ok(outcome) => return outcome,
            },
        }
    }
}

/// Asks the leader for a change, and returns its answer.
async fn change_there(
    handle: &Handle,
    urls: &[String],
    change: &Membership,
) -> Result<Result<Vec<MemberRecord>, Status>, CallError> {
    let (path, body) = write(change).expect("clients ask for no other changes");
    let (status, text) = handle.change_at(urls, &path, body).await?;
    if !status.is_success() {
        return Ok(Err(refused_there(&text)));
    }
    let own = handle.status().member_id;
    if !matches!(change, Membership::Remove(id) if *id == own) {
        // Whoever asks this member next is to see the change. It is made, whether or not.
        let _ = handle.barrier().await;
    }
    Ok(read_list(&text).ok_or_else(errors::misanswered))
}

/// A refusal as the leader has put it.
fn refused_there(text: &[u8]) -> Status {
    let text = String::from_utf8_lossy(text);
    let known = Refusal::ALL.iter().find(|refusal| refusal.text() == text.trim_end());
    known.map_or_else(|| Status::unknown(text.trim_end()), |refusal| (*refusal).into())
}

/// Whether a change is wise, by what this member sees.
fn check(handle: &Handle, change: &Membership) -> Result<(), Refusal> {
    match change {
        Membership::Add(member) => check_addition(handle, member.is_learner),
        Membership::Remove(id) => check_removal(handle, *id),
        _ => Ok(()),
    }
}

/// Changes the members, on the leader alone.
///
/// # Errors
/// What is refused, in etcd's order; [`Refusal::NotLeader`] if this member does not lead: nothing
/// has happened then.
pub async fn change_here(handle: &Handle, change: &Membership) -> Result<(), Status> {
    check(handle, change)?;
    match change {
        Membership::Add(added) if knows(handle, added.id) => {
            return Err(Refusal::MemberExists.into());
        }
        Membership::Remove(id) if !knows(handle, *id) => {
            // It may have been added just before this member began to lead.
            handle.barrier().await.map_err(errors::call_failed)?;
            if !knows(handle, *id) {
                return Err(Refusal::MemberNotFound.into());
            }
        }
        Membership::Promote(id) => check_promotion(handle, *id).await?,
        _ => {}
    }
    let command = Command::Membership(change.clone());
    handle.propose(command).await.map(drop).map_err(errors::call_failed)
}

fn knows(handle: &Handle, id: u64) -> bool {
    handle.members().iter().any(|member| member.id == id)
}

/// Refuses to promote who is no learner, or has not caught up, or whose vote would put the quorum
/// at risk.
async fn check_promotion(handle: &Handle, id: u64) -> Result<(), Status> {
    let members = handle.members();
    let Some(member) = members.iter().find(|member| member.id == id) else {
        return Err(Refusal::MemberNotFound.into());
    };
    handle.check_promotion(id).await.map_err(errors::call_failed)?;
    if !member.is_learner {
        return Err(Refusal::MemberNotLearner.into());
    }
    // It counts as started, since it has caught up.
    let (voters, started) = voters_but(handle, id);
    if handle.config().strict_reconfig_check && started + 1 < quorum(voters + 1) {
        return Err(Refusal::MemberNotEnoughStarted.into());
    }
    Ok(())
}
