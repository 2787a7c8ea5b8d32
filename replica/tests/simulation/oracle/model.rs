//! The key space as it must be: every committed command carried out on plain maps that keep all
//! versions for ever.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use revd_mvcc::{Compare, DeleteRange, KeyValue, Op, Operand, Put, Rejected as Refused, Txn};
use revd_raft::{Change, Configuration};
use revd_replica::{Alarm, AlarmAction, AlarmType, Command, Member, Membership, Rejected, cost};

use super::done::Done;

/// An event of a watch: a put, or a deletion if the version is 0.
pub(crate) type Event = KeyValue;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) ttl: i64,
    /// As last checkpointed, else 0.
    pub(crate) remaining: i64,
    pub(crate) keys: BTreeSet<Bytes>,
}

/// Everything that is replicated.
pub(crate) struct Model {
    pub(crate) revision: i64,
    /// The compaction floor; -1 if nothing was ever compacted.
    pub(crate) compacted: i64,
    /// All versions of each key, oldest first; deletions have version 0.
    keys: BTreeMap<Bytes, Vec<KeyValue>>,
    /// The changes of each revision from 2 on.
    events: Vec<Vec<Event>>,
    pub(crate) leases: BTreeMap<i64, Lease>,
    pub(crate) members: BTreeMap<u64, Member>,
    pub(crate) removed: BTreeSet<u64>,
    pub(crate) alarms: BTreeSet<Alarm>,
    pub(crate) configuration: Configuration,
}

impl Model {
    /// The state that the founding leaves.
    pub(crate) fn new(founders: &[Member], configuration: Configuration) -> Model {
        Model {
            revision: 1,
            compacted: -1,
            keys: BTreeMap::new(),
            events: Vec::new(),
            leases: BTreeMap::new(),
            members: founders.iter().map(|member| (member.id, member.clone())).collect(),
            removed: BTreeSet::new(),
            alarms: BTreeSet::new(),
            configuration,
        }
    }

    /// The version of a key that counts at a revision, if the key exists there.
    fn get(&self, key: &[u8], revision: i64) -> Option<&KeyValue> {
        visible(self.keys.get(key)?, revision)
    }

    /// The keys of a range at a revision, in order.
    pub(crate) fn range(&self, key: &[u8], end: &[u8], revision: i64) -> Vec<KeyValue> {
        let from = self.keys.range::<[u8], _>((
            std::ops::Bound::Included(key),
            std::ops::Bound::<&[u8]>::Unbounded,
        ));
        from.take_while(|(found, _)| is_within(key, end, found))
            .filter_map(|(_, versions)| visible(versions, revision).cloned())
            .collect()
    }

    /// What changed within a range from one revision to another, both included, in order.
    pub(crate) fn events<'a>(
        &'a self,
        (key, end): (&'a [u8], &'a [u8]),
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = &'a Event> {
        let (from, to) = ((from - 2).max(0) as usize, (to - 1).max(0) as usize);
        let revisions = self.events.get(from..to.max(from)).unwrap_or_default();
        revisions.iter().flatten().filter(move |event| is_within(key, end, &event.key))
    }

    /// What an event has replaced.
    pub(crate) fn before(&self, event: &Event) -> Option<&KeyValue> {
        self.get(&event.key, event.mod_revision - 1)
    }

    /// Carries out the command of an entry of `term`.
    pub(crate) fn apply(&mut self, command: &Command, term: u64) -> Result<Done, Rejected> {
        if cost(command) > 0 && self.has_no_space() {
            return Err(Rejected::NoSpace);
        }
        match command {
            Command::Put(put) => self.change(|model| model.put(put)),
            Command::DeleteRange(delete) => self.change(|model| Ok(model.delete(delete))),
            Command::Txn(txn) => self.change(|model| model.txn(txn)),
            Command::Compact { revision, .. } => self.compact(*revision),
            Command::LeaseGrant { id, ttl } => self.grant(*id, *ttl),
            Command::LeaseRevoke { id } => self.change(|model| model.revoke(*id)),
            Command::LeaseExpire { id, term: at } => {
                if *at == term && self.leases.contains_key(id) {
                    return self.change(|model| model.revoke(*id));
                }
                Ok(Done::Nothing)
            }
            Command::LeaseCheckpoint { remaining, term: at } => {
                for (id, seconds) in remaining.iter().filter(|_| *at == term) {
                    if let Some(lease) = self.leases.get_mut(id) {
                        lease.remaining = *seconds;
                    }
                }
                Ok(Done::Nothing)
            }
            Command::Alarm { action, member, alarm } => Ok(self.alarm(*action, *member, *alarm)),
            Command::Membership(change) => self.membership(change),
            other => panic!("nobody proposes {other:?}"),
        }
    }

    /// Leaves a joint configuration, if it is in one: what an entry of consensus' own says.
    pub(crate) fn leave(&mut self) {
        if let Ok(left) = self.configuration.changed(&Change::Leave) {
            self.configuration = left;
        }
    }

    fn has_no_space(&self) -> bool {
        self.alarms.iter().any(|standing| standing.alarm == AlarmType::NoSpace)
    }

    /// A change that takes a revision if it changes anything.
    fn change(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<Done, Refused>,
    ) -> Result<Done, Rejected> {
        self.revision += 1;
        self.events.push(Vec::new());
        let done = change(self);
        if self.events.last().is_some_and(Vec::is_empty) {
            self.events.pop();
            self.revision -= 1;
        }
        done.map_err(Rejected::KeySpace)
    }

    fn put(&mut self, put: &Put) -> Result<Done, Refused> {
        if put.lease != 0 && !self.leases.contains_key(&put.lease) {
            return Err(Refused::LeaseNotFound);
        }
        let previous = self.get(&put.key, self.revision).cloned();
        let (create, version) = match &previous {
            Some(before) => (before.create_revision, before.version + 1),
            None => (self.revision, 1),
        };
        self.detach(previous.as_ref());
        if let Some(lease) = self.leases.get_mut(&put.lease) {
            lease.keys.insert(put.key.clone());
        }
        self.write(KeyValue {
            key: put.key.clone(),
            create_revision: create,
            mod_revision: self.revision,
            version,
            value: put.value.clone(),
            lease: put.lease,
        });
        Ok(Done::Put(previous.filter(|_| put.prev_kv)))
    }

    fn write(&mut self, version: KeyValue) {
        self.events.last_mut().expect("within a change").push(version.clone());
        self.keys.entry(version.key.clone()).or_default().push(version);
    }

    fn detach(&mut self, before: Option<&KeyValue>) {
        let lease = before.and_then(|before| self.leases.get_mut(&before.lease));
        if let (Some(before), Some(lease)) = (before, lease) {
            lease.keys.remove(&before.key);
        }
    }

    fn delete(&mut self, delete: &DeleteRange) -> Done {
        let found = self.range(&delete.key, &delete.range_end, self.revision);
        for before in &found {
            self.detach(Some(before));
            self.write(KeyValue {
                key: before.key.clone(),
                mod_revision: self.revision,
                ..KeyValue::default()
            });
        }
        let deleted = found.len() as i64;
        Done::Deleted(deleted, if delete.prev_kv { found } else { Vec::new() })
    }

    fn txn(&mut self, txn: &Txn) -> Result<Done, Refused> {
        let holds = txn.compare.iter().all(|compare| self.holds(compare));
        let branch = if holds { &txn.success } else { &txn.failure };
        let mut done = Vec::new();
        for op in branch {
            done.push(match op {
                Op::Put(put) => self.put(put)?,
                Op::DeleteRange(delete) => self.delete(delete),
                Op::Range(range) => {
                    Done::Range(self.range(&range.key, &range.range_end, self.revision))
                }
                other => panic!("no client asks for {other:?} in a transaction"),
            });
        }
        Ok(Done::Txn(holds, done))
    }

    /// Clients compare for equality alone.
    fn holds(&self, compare: &Compare) -> bool {
        let found = self.get(&compare.key, self.revision - 1);
        match &compare.operand {
            Operand::Version(wanted) => found.map_or(0, |kv| kv.version) == *wanted,
            Operand::Mod(wanted) => found.map_or(0, |kv| kv.mod_revision) == *wanted,
            Operand::Value(wanted) => found.is_some_and(|kv| kv.value == *wanted),
            other => panic!("no client compares with {other:?}"),
        }
    }

    fn compact(&mut self, revision: i64) -> Result<Done, Rejected> {
        if revision <= self.compacted {
            return Err(Refused::Compacted.into());
        }
        if revision > self.revision {
            return Err(Refused::FutureRevision.into());
        }
        self.compacted = revision;
        Ok(Done::Nothing)
    }

    fn grant(&mut self, id: i64, ttl: i64) -> Result<Done, Rejected> {
        if self.leases.contains_key(&id) {
            return Err(Refused::LeaseExists.into());
        }
        self.leases.insert(id, Lease { ttl, ..Lease::default() });
        Ok(Done::Granted(id, ttl))
    }

    fn revoke(&mut self, id: i64) -> Result<Done, Refused> {
        let lease = self.leases.remove(&id).ok_or(Refused::LeaseNotFound)?;
        for key in lease.keys {
            let deleted = KeyValue { key, mod_revision: self.revision, ..KeyValue::default() };
            self.write(deleted);
        }
        Ok(Done::Nothing)
    }

    fn alarm(&mut self, action: AlarmAction, member: u64, alarm: AlarmType) -> Done {
        let alarm = Alarm { member, alarm };
        let found = match action {
            AlarmAction::Get => self.alarms.iter().copied().collect(),
            AlarmAction::Activate => {
                self.alarms.insert(alarm);
                vec![alarm]
            }
            AlarmAction::Deactivate => self.alarms.take(&alarm).into_iter().collect(),
        };
        Done::Alarms(found)
    }

    fn membership(&mut self, change: &Membership) -> Result<Done, Rejected> {
        match change {
            Membership::Found(_) | Membership::Survive(_) => panic!("nobody proposes {change:?}"),
            Membership::Add(member) if self.removed.contains(&member.id) => {
                return Err(Rejected::MemberNotFound);
            }
            Membership::Add(member) if self.members.contains_key(&member.id) => {
                return Err(Rejected::MemberExists);
            }
            Membership::Add(_) => {}
            Membership::Remove(id) | Membership::Promote(id) => {
                let member = self.members.get(id).ok_or(Rejected::MemberNotFound)?;
                if matches!(change, Membership::Promote(_)) && !member.is_learner {
                    return Err(Rejected::NotLearner);
                }
            }
        }
        let changed = self.configuration.changed(&change.change());
        self.configuration = changed.map_err(|_| Rejected::LastVoter)?;
        match change {
            Membership::Add(member) => drop(self.members.insert(member.id, member.clone())),
            Membership::Remove(id) => {
                self.members.remove(id);
                self.removed.insert(*id);
            }
            Membership::Promote(id) => {
                self.members.get_mut(id).expect("checked above").is_learner = false;
            }
            Membership::Found(_) | Membership::Survive(_) => unreachable!("refused above"),
        }
        Ok(Done::Nothing)
    }
}

/// The last version up to a revision, unless it is a deletion.
fn visible(versions: &[KeyValue], revision: i64) -> Option<&KeyValue> {
    let behind = versions.partition_point(|version| version.mod_revision <= revision);
    versions[..behind].last().filter(|version| version.version > 0)
}

/// Whether a key belongs to a range: the one key, all from it on (`\0`), or up to the end.
fn is_within(key: &[u8], end: &[u8], found: &[u8]) -> bool {
    match end {
        [] => found == key,
        [0] => found >= key,
        end => found >= key && found < end,
    }
}
