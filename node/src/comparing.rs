//! Whether this member is what the others are: its state hashes beside theirs, again and again.
//!
//! Each member asks all others at their peer ports and judges itself (`revd_replica::comparison`).
//! One that differs from a majority stops at once, so that nobody reads from it any more, and is
//! refilled by the others as if its tree were damaged. If it leads, it hands over before. Where no
//! majority agrees, nobody can tell who is right: the leader raises the CORRUPT alarm, which
//! refuses all writes until an operator has decided.

use std::time::Duration;

use revd_replica::comparison::{HashAt, Judgement, judge};
use revd_replica::{Alarm, AlarmAction, AlarmType, Command, Fatal};

use crate::driver::Handle;

/// From one comparison to the next; the first comes as soon as one that has told nothing.
const EVERY: Duration = Duration::from_secs(60);

/// After a comparison that has told nothing, because others did not answer or lag.
const AGAIN: Duration = Duration::from_secs(3);

/// How long a member may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An alarm about nobody in particular (etcd's number).
const NOBODY: u64 = 0;

/// Compares for as long as the member runs.
pub async fn compare(handle: Handle) {
    let mut pause = AGAIN;
    loop {
        tokio::time::sleep(pause).await;
        if handle.failure().is_some() {
            return;
        }
        let judgement = examine(&handle).await;
        pause = if judgement == Judgement::Unknown { AGAIN } else { EVERY };
        match judgement {
            Judgement::Unknown | Judgement::Agrees => {}
            Judgement::Differs(difference) => {
                let status = handle.status();
                tracing::error!(
                    "local-member-id" = %format_args!("{:x}", status.member_id),
                    index = difference.index,
                    "this member has diverged: {difference}"
                );
                if status.leader == status.member_id {
                    // If nobody can take over, an election follows.
                    let _ = handle.hand_over().await;
                }
                handle.failed(Fatal::Differs(difference));
                return;
            }
            Judgement::Split { index, hashes } => disagree(&handle, index, &hashes).await,
        }
    }
}

/// Asks all others, and judges this member.
async fn examine(handle: &Handle) -> Judgement {
    let (me, members) = (handle.status().member_id, handle.members());
    let mut asking = tokio::task::JoinSet::new();
    for member in members.iter().filter(|member| member.id != me) {
        let (calls, urls, id) = (handle.calls().clone(), member.peer_urls.clone(), member.id);
        asking.spawn(async move {
            let answer = tokio::time::timeout(PATIENCE, calls.hashes(&urls)).await;
            Some((id, answer.ok()?.ok()?))
        });
    }
    if asking.is_empty() {
        return Judgement::Agrees;
    }
    let mut others: Vec<(u64, Vec<HashAt>)> = Vec::new();
    while let Some(answer) = asking.join_next().await {
        others.extend(answer.ok().flatten());
    }
    match handle.hashes().await {
        Ok(own) => judge((me, &own), &others, members.len()),
        Err(_) => Judgement::Unknown,
    }
}

/// No majority agrees on the state after an entry.
async fn disagree(handle: &Handle, index: u64, hashes: &[(u64, u64)]) {
    let alarm = Alarm { member: NOBODY, alarm: AlarmType::Corrupt };
    let status = handle.status();
    if status.leader != status.member_id || handle.alarms().contains(&alarm) {
        return;
    }
    let hashes: Vec<String> =
        hashes.iter().map(|(member, hash)| format!("{member:x}: {hash:016x}")).collect();
    tracing::error!(
        index,
        hashes = crate::log::list(hashes).as_slice(),
        "members have diverged, and no majority agrees"
    );
    let Alarm { member, alarm } = alarm;
    let raise = Command::Alarm { action: AlarmAction::Activate, member, alarm };
    if let Err(error) = handle.propose(raise).await {
        tracing::warn!(error = ?error, "the CORRUPT alarm could not be raised; it is tried again");
    }
}
