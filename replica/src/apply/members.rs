//! Members that come, go, and are promoted.
//!
//! Whether a change is wise (enough members started, connections healthy) was judged at the door;
//! here counts only whether it fits the members that there are, which every member sees alike.

use revd_raft::{Configuration, NodeId};

use crate::command::{Answer, Membership, Rejected};
use crate::error::Fatal;
use crate::machine::{Application, Machine};
use crate::members::Member;
use crate::planted::{Bug, planted};

type Done = Result<Result<Answer, Rejected>, Fatal>;

pub(super) fn update(
    machine: &mut Machine,
    id: u64,
    peer_urls: &[String],
    result: &mut Application,
) -> Done {
    let Some(member) = machine.members.get(id) else {
        return Ok(Err(Rejected::MemberNotFound));
    };
    if machine.members.others_have(id, peer_urls) {
        return Ok(Err(Rejected::PeerUrlExists));
    }
    let member = Member { peer_urls: peer_urls.to_vec(), ..member.clone() };
    machine.members.put(&mut machine.store, member)?;
    result.facts_changed = true;
    Ok(Ok(Answer::Done))
}

/// Carries out a change, and puts the configuration that it leads to in force. The members and the
/// configuration change in the same entry, so no checkpoint ever holds one without the other.
pub(super) fn change(machine: &mut Machine, change: &Membership, result: &mut Application) -> Done {
    if let Err(rejected) = check(machine, change) {
        return Ok(Err(rejected));
    }
    let configuration = match change {
        Membership::Found(founders) => {
            Configuration::new(founders.iter().map(|founder| NodeId(founder.id)), [])
        }
        Membership::Survive(own) => Configuration::new([NodeId(own.id)], []),
        change => machine.configuration.changed(&change.change()),
    };
    // The members allow it; what is left is a last voter who would go.
    let Ok(configuration) = configuration else {
        return Ok(Err(Rejected::LastVoter));
    };
    match change {
        Membership::Found(founders) => {
            for founder in founders {
                machine.members.put(&mut machine.store, founder.clone())?;
            }
        }
        Membership::Add(member) => machine.members.put(&mut machine.store, member.clone())?,
        Membership::Remove(id) => machine.members.remove(&mut machine.store, *id)?,
        Membership::Promote(id) => {
            let member = machine.members.get(*id).expect("checked above").clone();
            let member = Member { is_learner: false, ..member };
            machine.members.put(&mut machine.store, member)?;
        }
        Membership::Survive(own) => {
            let others = machine.members.iter().map(|member| member.id).filter(|id| *id != own.id);
            for id in others.collect::<Vec<u64>>() {
                machine.members.remove(&mut machine.store, id)?;
            }
            let own = machine.members.get(own.id).unwrap_or(own).clone();
            let own = Member { is_learner: false, ..own };
            machine.members.put(&mut machine.store, own)?;
            machine.members.begin_generation(&mut machine.store)?;
        }
    }
    if !matches!(change, Membership::Remove(_)) || !planted(Bug::CountRemoved) {
        machine.configuration = configuration;
    }
    result.facts_changed = true;
    Ok(Ok(Answer::Done))
}

fn check(machine: &Machine, change: &Membership) -> Result<(), Rejected> {
    let members = &machine.members;
    match change {
        Membership::Found(_) if machine.configuration == Configuration::default() => Ok(()),
        Membership::Found(_) => Err(Rejected::MemberExists),
        Membership::Add(member) if members.was_removed(member.id) => Err(Rejected::MemberNotFound),
        Membership::Add(member) if members.get(member.id).is_some() => Err(Rejected::MemberExists),
        Membership::Add(member) if members.others_have(member.id, &member.peer_urls) => {
            Err(Rejected::PeerUrlExists)
        }
        Membership::Add(_) => Ok(()),
        Membership::Survive(own) if members.was_removed(own.id) => Err(Rejected::MemberNotFound),
        Membership::Survive(_) => Ok(()),
        Membership::Remove(id) => members.get(*id).map(drop).ok_or(Rejected::MemberNotFound),
        Membership::Promote(id) => match members.get(*id) {
            None => Err(Rejected::MemberNotFound),
            Some(member) if !member.is_learner => Err(Rejected::NotLearner),
            Some(_) => Ok(()),
        },
    }
}
