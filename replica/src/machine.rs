//! The machine: applies committed entries, in log order, to everything that is replicated.
//!
//! Applying is deterministic. An entry either does something, or is rejected by the state that it
//! meets, the same on every member; an error of storage is neither, and stops the member. Nothing
//! local (a clock, a flag, the room on the disk) changes what an entry does.
//!
//! A batch of entries is applied, then published in one step: readers and watchers see all of it
//! or nothing. Answers go out only after that, so whoever has an answer also reads its effect.
//!
//! An entry that meets a full disk stalls the machine: it and all behind it wait, nothing of them
//! is visible, and reads go on. Nothing else can be done with an entry that other members may have
//! carried out; it is tried again when there may be room.
//!
//! The tree's checkpoint follows later, and carries the position of the last applied entry in the
//! same atomic step; see [`crate::note`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use revd_btree::Key;
use revd_mvcc::{Growth, Hub, ScrubAt, ScrubJob, Store, View};
use revd_raft::{Change, Configuration, EntryKind, Index, NodeId, Position, SnapshotRequest};

use crate::apply::{self, Demand};
use crate::command::{Alarm, AlarmType, Applied, Command, Rejected, RequestId};
use crate::comparison::HashTrail;
use crate::consensus::Committed;
use crate::entry::{Decoded, EntryError};
use crate::error::Fatal;
use crate::job::{CheckpointJob, Job, TreeDone};
use crate::log_store::LogStore;
use crate::members::{ALARMS, Members};
use crate::note::{Note, Origin};
use crate::planted::{Bug, planted};
use crate::refill::{self, Lost};
use crate::snapshot::{InstallJob, Installation, Installed, Outgoing, Received, TreeFile};
use crate::state_hash::{Effects, StateHash};

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
    /// It was noted how long it had left.
    Checkpointed {
        /// The lease.
        id: i64,
        /// Seconds; 0 for all that was granted.
        remaining: i64,
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
    /// What keeps the first of the entries that wait from being applied: a full disk.
    pub stalled_by: Option<Fatal>,
    /// The last entry was a change of configuration; consensus waits for what it has led to.
    pub reconfigured: Option<Reconfigured>,
}

/// What a change of configuration has led to, the same on every member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reconfigured {
    /// Who belongs to the cluster from now on.
    To(Configuration),
    /// It was rejected, and everything stays.
    Rejected,
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
    /// Committed entries that wait, the first of them for room on the disk. Bounded by what
    /// consensus hands out before it hears that something is applied.
    backlog: VecDeque<Committed>,
    /// In force after the last applied entry.
    pub(crate) configuration: Configuration,
    applied: Position,
    /// Of everything up to `applied`.
    hash: StateHash,
    trail: HashTrail,
    /// Where the store lies.
    file: TreeFile,
    /// The position in the newest durable checkpoint, and in the one before it, to which the tree
    /// may fall back: the log keeps what comes after the older of the two.
    checkpoints: [Index; 2],
    checkpointing: bool,
    sweeping: bool,
    /// Where the next step of the scrub begins; `None` while one is under way.
    scrub_at: Option<ScrubAt>,
    installing: Option<Installing>,
}

/// What an entry came to, for the state hash.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    is_about_keys: bool,
    rejected: Result<(), Rejected>,
}

impl Outcome {
    /// Done, and not about keys.
    const DONE: Self = Self { is_about_keys: false, rejected: Ok(()) };
}

/// A snapshot that takes the place of the store. No job of the store's own begins meanwhile.
#[derive(Debug)]
enum Installing {
    /// Until those that are under way are done.
    Waiting(Box<InstallJob>),
    UnderWay,
}

/// Snapshots that are sent at one time, at most: each holds back compaction, and they share the
/// disk and the network with everything else. Who is left out asks again.
const EXPORTS: usize = 2;

impl Machine {
    /// The machine of an opened store.
    pub(crate) fn new(store: Store, note: Note, file: TreeFile) -> Result<Self, revd_mvcc::Fatal> {
        let members = Members::load(&store)?;
        let alarms = match planted(Bug::ForgetAlarms) {
            true => BTreeSet::new(),
            false => load_alarms(&store)?,
        };
        Ok(Self {
            store,
            members,
            alarms,
            counted: Applications::default(),
            backlog: VecDeque::new(),
            applied: note.applied,
            hash: StateHash::from_note(note.hash_algorithm, note.state_hash),
            trail: HashTrail::default(),
            configuration: note.configuration,
            file,
            checkpoints: [note.applied.index, Index(0)],
            checkpointing: false,
            sweeping: false,
            scrub_at: Some(ScrubAt::default()),
            installing: None,
        })
    }

    /// Applies entries and publishes them; those that wait from earlier calls first. If one meets a
    /// full disk, it waits with all that come behind it: see [`Machine::is_stalled`].
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop, and what was not published is lost with it; the log has
    /// it.
    pub fn apply(&mut self, entries: Vec<Committed>) -> Result<Application, Fatal> {
        let mut result = Application::default();
        self.backlog.extend(entries);
        while let Some(mut entry) = self.backlog.pop_front() {
            assert_eq!(
                entry.position.index,
                self.applied.index.next(),
                "entries are applied in order and without gap"
            );
            match self.apply_one(&mut entry, &mut result) {
                Ok(()) => self.applied = entry.position,
                Err(fatal) if fatal.is_full() => {
                    self.backlog.push_front(entry);
                    result.stalled_by = Some(fatal);
                    break;
                }
                Err(fatal) => return Err(fatal),
            }
        }
        self.store.publish();
        Ok(result)
    }

    fn apply_one(&mut self, entry: &mut Committed, result: &mut Application) -> Result<(), Fatal> {
        let (changes, leases) = (self.store.unpublished().len(), result.leases.len());
        let outcome = match entry.kind {
            EntryKind::Empty => {
                result.term_begun = Some(entry.position);
                Outcome::DONE
            }
            EntryKind::Normal => self.apply_normal(entry, result)?,
            EntryKind::Configuration => self.apply_configuration(entry, result)?,
        };
        self.hash.add(Effects {
            index: entry.position.index,
            kind: entry.kind,
            outcome: outcome.rejected,
            leases: result.leases.len() - leases,
            members: self.members.iter().len(),
            alarms: self.alarms.len(),
            revision: self.store.revision().0,
            changes: &self.store.unpublished()[changes..],
            entry: if outcome.is_about_keys { &[] } else { &entry.data },
        });
        if let Some(hash) = self.hash.value() {
            self.trail.push(entry.position.index.0, hash);
        }
        Ok(())
    }

    fn apply_normal(
        &mut self,
        entry: &mut Committed,
        result: &mut Application,
    ) -> Result<Outcome, Fatal> {
        let decoded = entry.decode()?;
        if matches!(decoded.command, Command::Membership(_)) {
            // Consensus would not learn of it.
            return Err(EntryError::Misplaced.into());
        }
        self.carry_out(entry, decoded, result)
    }

    fn apply_configuration(
        &mut self,
        entry: &mut Committed,
        result: &mut Application,
    ) -> Result<Outcome, Fatal> {
        assert!(result.reconfigured.is_none(), "nothing is handed out behind a change");
        let before = self.configuration.clone();
        let mut outcome = Outcome::DONE;
        if entry.data.is_empty() {
            // The leader's own: out of a joint configuration, or nothing at all.
            self.configuration = before.changed(&Change::Leave).unwrap_or(before.clone());
        } else {
            let decoded = entry.decode()?;
            if !matches!(decoded.command, Command::Membership(_)) {
                return Err(EntryError::Misplaced.into());
            }
            outcome = self.carry_out(entry, decoded, result)?;
        }
        result.reconfigured = Some(match &self.configuration {
            now if *now == before => Reconfigured::Rejected,
            now => Reconfigured::To(now.clone()),
        });
        Ok(outcome)
    }

    fn carry_out(
        &mut self,
        entry: &mut Committed,
        decoded: Decoded,
        result: &mut Application,
    ) -> Result<Outcome, Fatal> {
        let at = entry.position;
        let done = match apply::command(self, &decoded.command, at.term.0, result) {
            Ok(done) => done,
            Err(fatal) => {
                entry.keep(decoded);
                return Err(fatal);
            }
        };
        let is_about_keys = apply::is_about_keys(&decoded.command);
        let rejected = done.as_ref().map(drop).map_err(|rejected| *rejected);
        if decoded.request != RequestId(0) {
            let revision = self.store.revision().0;
            let answer = done.map(|answer| Applied { answer, revision, term: at.term.0 });
            result.answers.push((decoded.request, answer));
        }
        Ok(Outcome { is_about_keys, rejected })
    }

    /// Whether a committed entry waits for room on the disk. [`Machine::apply`] tries it again,
    /// without new entries too.
    pub fn is_stalled(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether there is room for so much growth: below the quota, and on the disk, besides what is
    /// kept back there.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub fn has_room(&mut self, demand: Demand, quota: Option<u64>) -> Result<bool, Fatal> {
        let used = self.store.bytes_in_use().saturating_add(demand.cost);
        Ok(quota.is_none_or(|quota| used < quota) && self.store.has_room(demand.growth)?)
    }

    /// Whether there is so much room that a NOSPACE alarm may be cleared: a tenth of the quota, and
    /// on the disk as much again as is kept back.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub fn has_ample_room(&mut self, quota: Option<u64>) -> Result<bool, Fatal> {
        if quota.is_some_and(|quota| self.store.bytes_in_use() > quota - quota / 10) {
            return Ok(false);
        }
        self.store.look_for_room();
        let bytes = self.store.stats().tree.reserve_bytes;
        Ok(self.store.has_room(Growth { bytes, ..Growth::default() })?)
    }

    /// Has the next change ask the file system for room, although it was full a moment ago.
    pub fn look_for_room(&mut self) {
        self.store.look_for_room();
    }

    /// Has a checkpoint written although nothing was applied since the last one: then the older of
    /// the two that the tree may fall back to moves on, and the log may give up more.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub fn renew_checkpoint(&mut self) -> Result<(), Fatal> {
        if self.checkpoints[0] != self.checkpoints[1] && !self.checkpointing {
            self.store.touch()?;
        }
        Ok(())
    }

    /// A checkpoint of the published state as a job, unless one is under way, or nothing is new and
    /// no room waits to be given back, or the log is not yet durable up to what has been applied:
    /// the tree must never be ahead of what this member can prove.
    ///
    /// # Errors
    /// If [`Fatal::is_full`], there is no room for it now. Any other [`Fatal`]: the member must
    /// stop.
    pub fn checkpoint(&mut self, durable: Index) -> Result<Option<Job>, Fatal> {
        let applied = self.applied.index;
        let is_ahead = durable < applied && !planted(Bug::CheckpointAheadOfLog);
        if self.checkpointing || is_ahead || self.installing.is_some() {
            return Ok(None);
        }
        // The log goes on behind an installed tree by now: it is as good as grown from it.
        let note = self.note(Origin::Grown);
        let checkpoint = self.store.checkpoint(&note.encode())?;
        self.checkpointing = checkpoint.is_some();
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
        if self.sweeping || self.installing.is_some() {
            return Ok(None);
        }
        let job = self.store.sweep();
        self.sweeping = job.is_some();
        Ok(job.map(Job::Sweep))
    }

    /// The next step of reading everything again, unless one is under way. After the last one it
    /// begins anew.
    pub fn scrub(&mut self, max_bytes: u64) -> Option<Job> {
        let at = self.scrub_at.take_if(|_| self.installing.is_none())?;
        Some(Job::Scrub(ScrubJob::new(self.store.view(), at, max_bytes)))
    }

    /// Whether the next step of the scrub is its first.
    pub fn has_scrubbed_all(&self) -> bool {
        self.scrub_at == Some(ScrubAt::default())
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
                Ok(None)
            }
            TreeDone::Scrubbed(scrubbed) => {
                self.scrub_at = Some(scrubbed.next.unwrap_or_default());
                Ok(None)
            }
        }
    }

    /// What the tree says of its place in the log.
    fn note(&self, origin: Origin) -> Note {
        let (mut applied, configuration) = (self.applied, self.configuration.clone());
        if planted(Bug::CheckpointBehind) {
            applied.index = applied.index.previous();
        }
        let (hash_algorithm, state_hash) = self.hash.to_note();
        Note { origin, applied, hash_algorithm, state_hash, configuration }
    }

    /// The present state, for a member that lacks what has left the log. `None` if others are
    /// being sent, or this is not what was asked for.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub fn export(&mut self, request: &SnapshotRequest) -> Result<Option<Outgoing>, Fatal> {
        if self.store.exports() >= EXPORTS || self.applied.index < request.after {
            return Ok(None);
        }
        let export = self.store.export(&self.note(Origin::Installed).encode())?;
        let bytes = self.store.bytes_in_use();
        Ok(Some(Outgoing::new(export, request, self.applied, bytes)))
    }

    /// Where snapshots for this member are received.
    pub fn file(&self) -> &TreeFile {
        &self.file
    }

    /// Has the member, which stops now, begin anew without what it has lost when it is started
    /// again. False if the others cannot do without it: then nothing is done.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn begin_refill(&self, own: NodeId, lost: Lost) -> Result<bool, revd_disk::Error> {
        let TreeFile { disk, path, .. } = &self.file;
        let dir = path.parent().expect("the tree lies in the data directory");
        let is_spare = refill::is_spare(&self.configuration, own);
        if is_spare {
            refill::begin(&**disk, dir, lost)?;
        }
        Ok(is_spare)
    }

    /// Has a snapshot take the place of the store, and of what is in `log`, as consensus has asked
    /// for ([`Output::install`](crate::Output::install)). The job comes out of
    /// [`Machine::installation`].
    ///
    /// # Panics
    /// If another is being installed, or an entry waits to be applied: consensus asks for the next
    /// one only when nothing is under way.
    pub fn install(&mut self, received: Received, log: &Arc<LogStore>) {
        assert!(self.installing.is_none() && !self.is_stalled(), "consensus waits for neither");
        let (file, log) = (self.file.clone(), Arc::clone(log));
        let job = Box::new(InstallJob { received, file, log });
        self.installing = Some(Installing::Waiting(job));
    }

    /// The job of a snapshot that is to be installed, once no other job of the store is under way.
    /// Until its result is handed to [`Machine::installed`], nothing but reading goes on.
    pub fn installation(&mut self) -> Option<Job> {
        let is_busy = self.checkpointing || self.sweeping || self.scrub_at.is_none();
        if is_busy || !matches!(self.installing, Some(Installing::Waiting(_))) {
            return None;
        }
        match self.installing.replace(Installing::UnderWay) {
            Some(Installing::Waiting(job)) => Some(Job::Install(job)),
            _ => None,
        }
    }

    /// Whether the job of [`Machine::installation`] is under way.
    pub fn is_installing(&self) -> bool {
        matches!(self.installing, Some(Installing::UnderWay))
    }

    /// Goes on as the snapshot in its place: members, alarms, leases and configuration are its own.
    /// Views and watchers go on with it, too.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    ///
    /// # Panics
    /// If the snapshot is not ahead of what was applied.
    pub fn installed(&mut self, installation: Installation) -> Result<Installed, Fatal> {
        assert!(self.is_installing(), "no installation is under way");
        let Installation { store, note } = installation;
        assert!(
            note.applied.index > self.applied.index,
            "a snapshot at {} replaces the state at {}",
            note.applied.index,
            self.applied.index
        );
        if !planted(Bug::InstallWithoutMembers) {
            self.members = Members::load(&store)?;
        }
        self.alarms = load_alarms(&store)?;
        let leases = store.leases().map(|(id, lease)| (id.0, lease)).collect();
        let retired = self.store.replace(store);
        self.configuration = note.configuration;
        self.applied = note.applied;
        self.hash = StateHash::from_note(note.hash_algorithm, note.state_hash);
        self.trail = HashTrail::default();
        self.checkpoints = [note.applied.index, Index(0)];
        self.scrub_at = Some(ScrubAt::default());
        self.installing = None;
        Ok(Installed { position: note.applied, leases, retired })
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

    /// The hash of all that was applied; `None` if it is unknown. See [`crate::state_hash`].
    pub fn state_hash(&self) -> Option<u64> {
        self.hash.value()
    }

    /// The hashes by which it can be compared with other members.
    pub fn trail(&self) -> &HashTrail {
        &self.trail
    }

    /// The entry whose effects the newest durable checkpoint holds.
    pub fn checkpointed(&self) -> Index {
        self.checkpoints[0]
    }

    /// Who belongs to the cluster, as consensus counts it.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
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
