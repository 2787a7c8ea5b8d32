//! Whether a change of members is wise, by what this member sees: whether enough members have
//! started, and whether enough of them are connected (`--strict-reconfig-check`). Whether it fits
//! is judged where it is applied.

use std::time::Instant;

use revd_replica::{Command, Membership};
use tonic::Status;

use super::errors::{self, Refusal};
use crate::driver::{ASK_AGAIN, CallError, Handle, Leader};
use crate::http::member::{Member, MemberRecord};
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
pub(super) fn check_addition(handle: &Handle, is_learner: bool) -> Result<(), Refusal> {
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
pub(super) fn check_removal(handle: &Handle, id: u64) -> Result<(), Refusal> {
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

/// Has the leader promote a learner, wherever it is, and returns the members after that.
pub(super) async fn promote(handle: &Handle, id: u64) -> Result<Vec<MemberRecord>, Status> {
    let until = Instant::now() + handle.request_timeout();
    loop {
        match handle.leader() {
            Some(Leader::Here) => match promote_here(handle, id).await {
                Err(refused) if refused.message() == Refusal::NotLeader.text() => {}
                outcome => return outcome.map(|()| Member::members(handle)),
            },
            Some(Leader::At(urls)) => match handle.promote_at(&urls, id).await {
                Ok((status, text)) if status.is_success() => {
                    return read_list(&text).ok_or_else(errors::misanswered);
                }
                Ok((_, text)) => return Err(refused_there(&text)),
                Err(CallError::Timeout) => return Err(Refusal::Timeout.into()),
                Err(_) => {}
            },
            None => {}
        }
        if Instant::now() >= until {
            return Err(Refusal::NoLeader.into());
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// A refusal as the leader has put it.
fn refused_there(text: &[u8]) -> Status {
    let text = String::from_utf8_lossy(text);
    let known = Refusal::ALL.iter().find(|refusal| refusal.text() == text.trim_end());
    known.map_or_else(|| Status::unknown(text.trim_end()), |refusal| (*refusal).into())
}

/// Promotes a learner, on the leader alone.
///
/// # Errors
/// What is refused, in etcd's order; [`Refusal::NotLeader`] if this member does not lead.
pub async fn promote_here(handle: &Handle, id: u64) -> Result<(), Status> {
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
    let promotion = Command::Membership(Membership::Promote(id));
    handle.propose(promotion).await.map(drop).map_err(errors::call_failed)
}
