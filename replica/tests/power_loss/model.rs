//! A simple key space to compare with: a map that is copied whole for each command.

use std::collections::BTreeMap;

use revd_mvcc::{DeleteRange, Op, Operand, Put, Txn};
use revd_replica::Command;

use super::load::THIS_TERM;

/// One live key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub create: i64,
    pub modified: i64,
    pub version: i64,
    pub lease: i64,
    pub value: Vec<u8>,
}

pub type Keys = BTreeMap<Vec<u8>, Record>;

/// Everything that a client could find out, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub revision: i64,
    pub compacted: i64,
    pub keys: Keys,
    /// Granted and checkpointed seconds by lease.
    pub leases: BTreeMap<i64, (i64, i64)>,
    /// What the member has published as its name.
    pub name: String,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            revision: 1,
            compacted: -1,
            keys: Keys::new(),
            leases: BTreeMap::new(),
            name: String::new(),
        }
    }
}

impl Snapshot {
    /// The state after a command.
    fn after(&self, command: &Command) -> Self {
        let mut next = self.clone();
        match command {
            Command::Put(put) if self.can_put(put) => {
                next.revision += 1;
                next.put(put);
            }
            Command::DeleteRange(delete) => {
                next.revision += 1;
                if next.delete(delete) == 0 {
                    next.revision -= 1;
                }
            }
            Command::Txn(txn) => self.txn(txn, &mut next),
            Command::LeaseGrant { id, ttl } => {
                next.leases.entry(*id).or_insert((*ttl, 0));
            }
            Command::LeaseRevoke { id } => next.revoke(*id),
            Command::LeaseExpire { id, term: THIS_TERM } => next.revoke(*id),
            Command::LeaseCheckpoint { remaining, term: THIS_TERM } => {
                for (id, seconds) in remaining {
                    if let Some(lease) = next.leases.get_mut(id) {
                        lease.1 = *seconds;
                    }
                }
            }
            Command::Compact { revision, .. }
                if (self.compacted + 1..=self.revision).contains(revision) =>
            {
                next.compacted = *revision;
            }
            Command::Attributes { name, .. } => next.name.clone_from(name),
            _ => {}
        }
        next
    }

    fn revoke(&mut self, id: i64) {
        if self.leases.remove(&id).is_some() {
            let before = self.keys.len();
            self.keys.retain(|_, record| record.lease != id);
            self.revision += i64::from(self.keys.len() < before);
        }
    }

    fn can_put(&self, put: &Put) -> bool {
        put.lease == 0 || self.leases.contains_key(&put.lease)
    }

    fn put(&mut self, put: &Put) {
        let record = self.keys.entry(put.key.to_vec()).or_default();
        if record.version == 0 {
            record.create = self.revision;
        }
        record.modified = self.revision;
        record.version += 1;
        record.lease = put.lease;
        record.value = put.value.to_vec();
    }

    fn delete(&mut self, delete: &DeleteRange) -> usize {
        let before = self.keys.len();
        self.keys.retain(|key, _| match &delete.range_end[..] {
            [] => key[..] != delete.key[..],
            end => !(delete.key[..] <= key[..] && key[..] < *end),
        });
        before - self.keys.len()
    }

    fn txn(&self, txn: &Txn, next: &mut Self) {
        let holds = txn.compare.iter().all(|compare| {
            let version = self.keys.get(&compare.key[..]).map_or(0, |record| record.version);
            let Operand::Version(wanted) = compare.operand else { panic!("only versions") };
            match compare.result {
                0 => version == wanted,
                1 => version > wanted,
                2 => version < wanted,
                _ => version != wanted,
            }
        });
        let branch = if holds { &txn.success } else { &txn.failure };
        let possible = branch.iter().all(|op| !matches!(op, Op::Put(put) if !self.can_put(put)));
        if !possible {
            return;
        }
        next.revision += 1;
        let mut changes = 0;
        for op in branch {
            changes += match op {
                Op::Put(put) => {
                    next.put(put);
                    1
                }
                Op::DeleteRange(delete) => next.delete(delete),
                _ => panic!("only puts and deletes"),
            };
        }
        if changes == 0 {
            next.revision -= 1;
        }
    }
}

/// The states after each command since the last start, and what every revision looked like.
pub struct Model {
    /// The state after `first + n` commands.
    states: Vec<Snapshot>,
    first: usize,
    acknowledged: usize,
    history: BTreeMap<i64, Keys>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            states: vec![Snapshot::default()],
            first: 0,
            acknowledged: 0,
            history: BTreeMap::from([(1, Keys::new())]),
        }
    }
}

impl Model {
    pub fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    pub fn proposed(&self) -> usize {
        self.first + self.states.len() - 1
    }

    /// The number of commands that lead to this state; at least those acknowledged.
    pub fn find(&self, found: &Snapshot) -> Option<usize> {
        let from = self.acknowledged - self.first;
        let at = self.states[from..].iter().position(|state| state == found)?;
        Some(self.first + from + at)
    }

    /// The member goes on from the state after so many commands; the others are gone.
    pub fn continue_from(&mut self, commands: usize) {
        let state = self.states.swap_remove(commands - self.first);
        self.history.retain(|revision, _| *revision <= state.revision);
        self.states = vec![state];
        self.first = commands;
        self.acknowledged = commands;
    }

    /// The newest state.
    pub fn newest(&self) -> &Snapshot {
        self.states.last().expect("there is always one")
    }

    pub fn propose(&mut self, command: &Command) {
        let next = self.newest().after(command);
        self.history.insert(next.revision, next.keys.clone());
        self.states.push(next);
    }

    pub fn acknowledge(&mut self, commands: usize) {
        self.acknowledged += commands;
        assert!(self.acknowledged <= self.proposed(), "an answer to a command nobody gave");
    }

    /// The keys at a revision.
    pub fn at(&self, revision: i64) -> &Keys {
        &self.history[&revision]
    }
}
