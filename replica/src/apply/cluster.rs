//! Commands on the cluster itself: alarms, what members say of themselves, the version.

use crate::command::{Alarm, AlarmAction, AlarmType, Answer, Rejected};
use crate::error::Fatal;
use crate::machine::{Application, Machine, alarm_key};
use crate::members::{ALARMS, Member};

type Done = Result<Result<Answer, Rejected>, Fatal>;

/// Answers the alarms that were found, raised or cleared. Raising a standing alarm answers it
/// again; clearing an absent one answers none, and so does raising `None`.
pub(super) fn alarm(
    machine: &mut Machine,
    action: AlarmAction,
    member: u64,
    kind: AlarmType,
    result: &mut Application,
) -> Done {
    let alarm = Alarm { member, alarm: kind };
    let found = match action {
        AlarmAction::Get => machine
            .alarms
            .iter()
            .copied()
            .filter(|standing| kind == AlarmType::None || standing.alarm == kind)
            .collect(),
        AlarmAction::Activate if kind == AlarmType::None => Vec::new(),
        AlarmAction::Activate => {
            if !machine.alarms.contains(&alarm) {
                // First in the store: if it has no room now, this is done once more.
                machine.store.put_record(ALARMS, alarm_key(alarm), &[])?;
                machine.alarms.insert(alarm);
                result.facts_changed = true;
            }
            vec![alarm]
        }
        AlarmAction::Deactivate => {
            if machine.alarms.remove(&alarm) {
                machine.store.delete_record(ALARMS, alarm_key(alarm))?;
                result.facts_changed = true;
                vec![alarm]
            } else {
                Vec::new()
            }
        }
    };
    Ok(Ok(Answer::Alarms(found)))
}

pub(super) fn attributes(
    machine: &mut Machine,
    id: u64,
    name: &str,
    client_urls: &[String],
    result: &mut Application,
) -> Done {
    let Some(member) = machine.members.get(id) else {
        return Ok(Err(Rejected::MemberNotFound));
    };
    let (name, client_urls) = (name.to_owned(), client_urls.to_owned());
    let member = Member { name, client_urls, ..member.clone() };
    machine.members.put(&mut machine.store, member)?;
    result.facts_changed = true;
    Ok(Ok(Answer::Done))
}

pub(super) fn version(machine: &mut Machine, version: &str, result: &mut Application) -> Done {
    machine.members.set_version(&mut machine.store, version.to_owned())?;
    result.facts_changed = true;
    Ok(Ok(Answer::Done))
}
