//! The machine: applies committed entries, in log order, to everything that is replicated.
//!
//! Applying is deterministic. An entry either does something, or is rejected by the state that it
//! meets, the same on every member; an error of storage is neither, and stops the member. Nothing
//! local (a clock, a flag, the room on the disk) changes what an entry does.
//!
//! A batch of entries is applied, then published in one step: readers and watchers see all of it
//! or nothing. Answers go out only after that, so whoever has an answer also reads its effect.
//!
//! The tree's checkpoint follows later, and carries the position of the last applied entry in the
//! same atomic step; see [`crate::note`].

use std::collections::BTreeSet;

use revd_btree::Key;
use revd_mvcc::{Hub, Store, View};
use revd_raft::{Configuration, EntryKind, Index, Position};

use crate::apply;
use crate::command::{Alarm, AlarmType, Applied, Command, Rejected, RequestId};
use crate::consensus::Committed;
use crate::entry::EntryError;
use crate::error::Fatal;
use crate::job::{CheckpointJob, Job, TreeDone};
use crate::members::{ALARMS, Members};
use crate::note::{Note, Origin};

/// What became of a lease, for the [`crate::Lessor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// It was granted.
    Granted {
        /// The lease.
        id: i64,
        /// Its seconds.
        ttl: i64,
    },
    /// It is gone.
    Revoked {
        /// The lease.
        id: i64,
    },
}

/// What a batch of entries led to.
#[derive(Debug, Default)]
pub struct Application {
    /// Answers, for whoever waits for them on this member.
    pub answers: Vec<(RequestId, Result<Applied, Rejected>)>,
    /// Leases that came and went, in order.
    pub leases: Vec<LeaseChange>,
    /// A leader's first entry was among them: the position of the last such one.
    pub term_begun: Option<Position>,
    /// Members, alarms or the cluster version may have changed.
    pub facts_changed: bool,
}

/// What has been applied since the start, for whoever publishes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applications {
    /// Puts, those in transactions included.
    pub puts: u64,
    /// Delete ranges, those in transactions included.
    pub deletes: u64,
    /// Transactions.
    pub txns: u64,
}

/// See the module's first lines.
#[derive(Debug)]
pub struct Machine {
    pub(crate) store: Store,
    pub(crate) members: Members,
    pub(crate) alarms: BTreeSet<Alarm>,
    pub(crate) counted: Applications,
    applied: Position,
    configuration: Configuration,
    origin: Origin,
    /// The position in the newest durable checkpoint, and in the one before it, to which the tree
    /// may fall back: the log keeps what comes after the older of the two.
    checkpoints: [Index; 2],
    checkpointing: bool,
    sweeping: bool,
    /// Leaves were rewritten since the last checkpoint was started.
    swept: bool,
}

impl Machine {
    /// The machine of an opened store.
    pub(crate) fn new(store: Store, note: Note) -> Result<Self, revd_mvcc::Fatal> {
        let members = Members::load(&store)?;
        let alarms = load_alarms(&store)?;
        Ok(Self {
            store,
            members,
            alarms,
            counted: Applications::default(),
            applied: note.applied,
            configuration: note.configuration,
            origin: note.origin,
            checkpoints: [note.applied.index, Index(0)],
            checkpointing: false,
            sweeping: false,
            swept: false,
        })
    }

    /// Applies entries and publishes them.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop, and what was not published is lost with it; the log has
    /// it.
    pub fn apply(&mut self, entries: Vec<Committed>) -> Result<Application, Fatal> {
        let mut result = Application::default();
        for mut entry in entries {
            assert_eq!(
                entry.position.index,
                self.applied.index.next(),
                "entries are applied in order and without gap"
            );
            match entry.kind {
                EntryKind::Empty => result.term_begun = Some(entry.position),
                EntryKind::Normal => self.apply_normal(&mut entry, &mut result)?,
                // Membership is not part of this format yet: only a newer version writes it.
                EntryKind::Configuration => return Err(EntryError::Kind(0).into()),
            }
            self.applied = entry.position;
        }
        self.store.publish();
        Ok(result)
    }

    fn apply_normal(
        &mut self,
        entry: &mut Committed,
        result: &mut Application,
    ) -> Result<(), Fatal> {
        let decoded = entry.decode()?;
        let at = entry.position;
        let done = apply::command(self, decoded.command, at.term.0, result)?;
        if decoded.request != RequestId(0) {
            let revision = self.store.revision().0;
            let answer = done.map(|answer| Applied { answer, revision, term: at.term.0 });
            result.answers.push((decoded.request, answer));
        }
        Ok(())
    }

    /// A checkpoint of the published state as a job, unless one is under way, nothing is new, or
    /// the log is not yet durable up to what has been applied: the tree must never be ahead of
    /// what this member can prove.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub fn checkpoint(&mut self, durable: Index) -> Result<Option<Job>, Fatal> {
        let applied = self.applied.index;
        let is_new = self.swept || applied != self.checkpoints[0];
        if self.checkpointing || !is_new || durable < applied {
            return Ok(None);
        }
        let note = Note {
            origin: self.origin,
            applied: self.applied,
            hash_algorithm: 0,
            state_hash: 0,
            configuration: self.configuration.clone(),
        };
        let checkpoint = self.store.checkpoint(&note.encode())?;
        self.checkpointing = checkpoint.is_some();
        self.swept = false;
        Ok(checkpoint.map(|checkpoint| {
            let checkpoint = Box::new(checkpoint);
            Job::Checkpoint(CheckpointJob { checkpoint, applied })
        }))
    }

    /// The next bounded step of removing what compactions have given up, if there is one and none
    /// is under way.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub fn sweep(&mut self) -> Result<Option<Job>, Fatal> {
        if self.sweeping {
            return Ok(None);
        }
        let job = self.store.sweep();
        self.sweeping = job.is_some();
        Ok(job.map(Job::Sweep))
    }

    /// Takes the result of a job of its own. Returns the index up to which no checkpoint needs the
    /// log any more, when that has moved.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub fn done(&mut self, done: TreeDone) -> Result<Option<Index>, Fatal> {
        match done {
            TreeDone::Checkpointed { written, applied } => {
                self.store.checkpointed(written);
                self.checkpointing = false;
                self.checkpoints = [applied, self.checkpoints[0]];
                Ok(Some(self.checkpoints[1]))
            }
            TreeDone::Swept(swept) => {
                self.store.swept(swept)?;
                // Readers get the index without what is gone.
                self.store.publish();
                self.sweeping = false;
                self.swept = true;
                Ok(None)
            }
        }
    }

    /// Whether a step of compaction is due or under way.
    pub fn is_compacting(&self) -> bool {
        self.sweeping || self.store.is_compacting()
    }

    /// Whether a checkpoint is under way.
    pub fn is_checkpointing(&self) -> bool {
        self.checkpointing
    }

    /// Whether a step of compaction is under way.
    pub fn is_sweeping(&self) -> bool {
        self.sweeping
    }

    /// The last entry applied.
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The entry whose effects the newest durable checkpoint holds.
    pub fn checkpointed(&self) -> Index {
        self.checkpoints[0]
    }

    /// The members of the cluster.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The standing alarms, by member.
    pub fn alarms(&self) -> impl Iterator<Item = Alarm> {
        self.alarms.iter().copied()
    }

    /// What has been applied since the start.
    pub fn counted(&self) -> Applications {
        self.counted
    }

    /// The published key space.
    pub fn view(&self) -> View {
        self.store.view()
    }

    /// Where watches are made.
    pub fn hub(&self) -> Hub {
        self.store.hub()
    }

    /// The store, for its figures.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether an alarm of this kind stands on any member.
    pub(crate) fn has_alarm(&self, alarm: AlarmType) -> bool {
        self.alarms.iter().any(|standing| standing.alarm == alarm)
    }

    /// Refuses what the standing alarms forbid.
    pub(crate) fn check_alarms(&self, command: &Command) -> Result<(), Rejected> {
        if self.alarms.is_empty() {
            return Ok(());
        }
        if self.has_alarm(AlarmType::Corrupt) && apply::changes_keys_or_leases(command) {
            return Err(Rejected::Corrupt);
        }
        if self.has_alarm(AlarmType::NoSpace) && apply::cost(command) > 0 {
            return Err(Rejected::NoSpace);
        }
        Ok(())
    }
}

/// The tree key of an alarm.
pub(crate) fn alarm_key(alarm: Alarm) -> Key {
    Key { main: alarm.member, sub: u64::from(alarm.alarm.number()), kind: 0 }
}

fn load_alarms(store: &Store) -> Result<BTreeSet<Alarm>, revd_mvcc::Fatal> {
    let mut alarms = BTreeSet::new();
    store.scan(ALARMS, Key { main: 0, sub: 0, kind: 0 }, &mut |key, _| {
        let alarm = i32::try_from(key.sub).ok().and_then(AlarmType::from_number);
        alarms.extend(alarm.map(|alarm| Alarm { member: key.main, alarm }));
        true
    })?;
    Ok(alarms)
}
