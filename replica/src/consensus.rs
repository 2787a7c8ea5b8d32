//! Consensus: the raft core joined to the log that makes its promises durable.
//!
//! It takes proposals, messages, ticks and the results of jobs, and gives out what must be made
//! durable (as a job), what may be sent, and what is committed, in log order. All proposals that
//! wait when [`Consensus::take`] is called travel as one batch: one append, one sync.
//!
//! The command that the door has decoded is kept beside its place in the log, so that applying it
//! need not decode it again. It is used only if index *and* term match: an entry of another
//! leader may have taken the place.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use revd_raft::{
    Configuration, Entry, EntryKind, Feed, Index, Input, Install, Message, NodeId, PeerStatus,
    Position, Raft, ReadId, ReadReady, Refused, Role, RoleChange, SnapshotOutcome, SnapshotRequest,
    Status,
};

use crate::command::{Command, RequestId};
use crate::entry::{self, Author, Decoded, EntryError};
use crate::error::Fatal;
use crate::job::{
    EndRefillJob, FetchJob, Job, LogDone, LogUpkeepJob, PersistJob, Prepared, ReleaseJob,
};
use crate::log_store::LogStore;
use crate::machine::Reconfigured;
use crate::planted::{Bug, planted};
use crate::refill::Refill;
use crate::snapshot::Outgoing;

/// How the log is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Applied entries that stay in the log for followers that lag. etcd keeps 5,000.
    pub entries: u64,
    /// Bytes of the log, at most, that are kept for followers: for those that take entries or a
    /// snapshot right now, however far they lag, and for [`Retention::entries`]. A larger snapshot
    /// on its way lets as many bytes be kept as it has itself.
    pub bytes: u64,
    /// Bytes appended between two steps of preparing room ahead.
    pub upkeep_bytes: usize,
    /// Throw decoded commands away and decode each entry from its bytes again. For tests: both
    /// ways must give the same.
    pub decode_again: bool,
}

impl Default for Retention {
    fn default() -> Self {
        Self { entries: 5_000, bytes: 1 << 30, upkeep_bytes: 256 << 10, decode_again: false }
    }
}

/// A snapshot for another member: what comes behind it stays in the log until the member has it.
#[derive(Clone, Copy, Debug)]
struct Fed {
    index: Index,
    bytes: u64,
}

/// On a full disk, growth leaves so much of the log's last segment to deletions and compactions.
const LOG_RESERVE: u64 = 4 << 20;

/// An entry that is committed and to be applied.
#[derive(Debug)]
pub struct Committed {
    /// Where it stands.
    pub position: Position,
    /// What it is to consensus.
    pub kind: EntryKind,
    /// Its bytes.
    pub data: Bytes,
    /// What the bytes say, if this member's own door has decoded them.
    decoded: Option<Decoded>,
}

impl Committed {
    /// An entry as it was read from the log.
    pub(crate) fn read(entry: Entry) -> Self {
        Self { position: entry.position(), kind: entry.kind, data: entry.data, decoded: None }
    }

    /// What the entry says: as kept from the door, else decoded now.
    ///
    /// # Errors
    /// [`EntryError`] when this version cannot carry it out.
    pub fn decode(&mut self) -> Result<Decoded, EntryError> {
        match self.decoded.take() {
            Some(mut kept) => {
                if let Command::Put(put) = &mut kept.command
                    && planted(Bug::ForgetLeaseOfOwn)
                {
                    put.lease = 0;
                }
                if !planted(Bug::KeepAcrossTerms) && !planted(Bug::ForgetLeaseOfOwn) {
                    debug_assert_eq!(
                        entry::decode(&self.data).map(|d| d.command).as_ref(),
                        Ok(&kept.command),
                        "the command kept for {:?} is not the one in the log",
                        self.position
                    );
                }
                Ok(kept)
            }
            None => entry::decode(&self.data),
        }
    }

    /// Keeps what it says for the next [`Committed::decode`].
    pub(crate) fn keep(&mut self, decoded: Decoded) {
        self.decoded = Some(decoded);
    }
}

/// What is due; each part may be carried out at once, in any order.
#[derive(Debug, Default)]
#[must_use = "what is not carried out is never asked for again"]
pub struct Output {
    /// Run it, and feed the result back, before anything in `jobs`.
    pub persist: Option<PersistJob>,
    /// Other work for the disk.
    pub jobs: Vec<Job>,
    /// To be sent.
    pub messages: Vec<Message>,
    /// To be applied, in this order.
    pub committed: Vec<Committed>,
    /// Reads that may be served once their index is applied.
    pub reads: Vec<ReadReady>,
    /// Reads whose leader is gone; ask again.
    pub reads_failed: Vec<ReadId>,
    /// Members that lack what has left the log.
    pub snapshots: Vec<SnapshotRequest>,
    /// A snapshot that has arrived and is to take the place of machine and log.
    pub install: Option<Install>,
    /// Term, role and leader, when one of them has changed.
    pub role: Option<RoleChange>,
}

/// See the module's first lines.
#[derive(Debug)]
pub struct Consensus {
    raft: Raft,
    log: Arc<LogStore>,
    retention: Retention,
    /// What this member's own door has proposed and not seen committed, by rising index.
    proposed: VecDeque<(Position, Decoded)>,
    /// Bytes persisted since the last upkeep of the log; `None` while one is under way.
    since_upkeep: Option<usize>,
    /// The last step of preparing room found the disk full.
    upkeep_is_full: bool,
    /// The log's prefix that was last given up.
    released: Index,
    /// No checkpoint needs entries up to here.
    checkpointed: Index,
    /// Members to which a snapshot is on its way, or that have got one and are installing it.
    fed: BTreeMap<NodeId, Fed>,
    /// Until the member is whole again.
    refill: Option<Refill>,
    jobs: Vec<Job>,
}

impl Consensus {
    pub(crate) fn new(
        raft: Raft,
        log: Arc<LogStore>,
        retention: Retention,
        refill: Option<Refill>,
    ) -> Self {
        let released = Index(log.wal().bounds().0);
        // The first take() asks for upkeep, so that room is prepared from the start.
        let since_upkeep = Some(retention.upkeep_bytes);
        Self {
            raft,
            log,
            retention,
            proposed: VecDeque::new(),
            since_upkeep,
            upkeep_is_full: false,
            released,
            checkpointed: Index(0),
            fed: BTreeMap::new(),
            refill,
            jobs: Vec::new(),
        }
    }

    /// Adds a command to the next batch, or hands it to the leader, once. What was handed on may
    /// be lost; what a leader's clock says of leases is never handed on.
    ///
    /// # Errors
    /// [`Refused`] when no leader is known, too much waits already, or, on the leader, a change of
    /// members does not fit.
    pub fn propose(&mut self, entry: Bytes, decoded: Decoded) -> Result<(), Refused> {
        let leads = self.raft.status().role == Role::Leader;
        let position = match &decoded.command {
            Command::Membership(change) if leads => {
                self.raft.propose_configuration(&change.change(), entry)?
            }
            Command::Membership(change) => {
                let change = change.change();
                return self.raft.step(Input::ProposeConfiguration { change, data: entry });
            }
            Command::LeaseExpire { .. } if planted(Bug::ExpireDeposed) && !leads => {
                return self.raft.step(Input::Propose(entry));
            }
            Command::LeaseExpire { .. } | Command::LeaseCheckpoint { .. } => {
                self.raft.propose(entry)?
            }
            _ if leads => self.raft.propose(entry)?,
            _ => {
                if planted(Bug::ProposeTwice) {
                    self.raft.step(Input::Propose(entry.clone()))?;
                }
                return self.raft.step(Input::Propose(entry));
            }
        };
        if !self.retention.decode_again {
            // What an earlier leadership has left at this place, another leader has cut off.
            while self.proposed.pop_back_if(|(at, _)| at.index >= position.index).is_some() {}
            self.proposed.push_back((position, decoded));
        }
        Ok(())
    }

    /// Proposes a command that nobody waits for.
    ///
    /// # Errors
    /// As [`Consensus::propose`].
    pub fn propose_own(&mut self, command: Command) -> Result<(), Refused> {
        let (author, request) = (Author::default(), RequestId(0));
        let bytes = entry::encode(&command, request, &author);
        self.propose(bytes, Decoded { request, author, command })
    }

    /// Takes anything else that has happened.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn step(&mut self, input: Input) -> Result<(), Refused> {
        self.raft.step(input)
    }

    /// Takes the result of a job of its own.
    ///
    /// # Errors
    /// [`Fatal`] when the result is not of a job that is under way.
    pub fn done(&mut self, done: LogDone) -> Result<(), Fatal> {
        let input = match done {
            LogDone::Persisted(number) => Input::Persisted(number),
            LogDone::Fetched(fetched) => Input::Fetched(fetched),
            LogDone::Released | LogDone::Refilled => return Ok(()),
            LogDone::Upkeep(prepared) => {
                let is_due = prepared == Prepared::More;
                self.since_upkeep = Some(if is_due { self.retention.upkeep_bytes } else { 0 });
                self.upkeep_is_full = prepared == Prepared::Full;
                return Ok(());
            }
        };
        self.own(input)
    }

    /// Everything up to this entry has been applied and published; if the last of it was a change
    /// of configuration, with what that has led to.
    ///
    /// # Errors
    /// [`Fatal`] when it was never handed out.
    pub fn applied(
        &mut self,
        index: Index,
        reconfigured: Option<Reconfigured>,
    ) -> Result<(), Fatal> {
        self.own(match reconfigured {
            None => Input::Applied(index),
            Some(Reconfigured::To(configuration)) => {
                Input::ConfigurationApplied { index, configuration }
            }
            Some(Reconfigured::Rejected) => Input::ConfigurationRejected { index },
        })
    }

    /// No checkpoint on the disk needs entries up to this one any more: the log may give them up,
    /// apart from those kept for followers.
    ///
    /// # Errors
    /// [`Fatal`] when it is not applied.
    pub fn checkpointed(&mut self, index: Index) -> Result<(), Fatal> {
        self.checkpointed = index;
        let kept = self.kept_from();
        self.release(kept)
    }

    /// The first entry that stays in the log, of those that no checkpoint needs.
    fn kept_from(&mut self) -> Index {
        let peers: Vec<PeerStatus> = self.raft.peers().collect();
        let has_it = |id, fed: &Fed| {
            peers.iter().find(|peer| peer.id == id).is_none_or(|peer| peer.matched >= fed.index)
        };
        self.fed.retain(|id, fed| !has_it(*id, fed));
        let followed = peers.iter().filter(|peer| peer.active && peer.feed == Feed::Replicate);
        let needed =
            followed.map(|peer| peer.matched).chain(self.fed.values().map(|fed| fed.index));
        let spare = Index(self.checkpointed.0.saturating_sub(self.retention.entries));
        let wanted = needed.chain([spare]).min().unwrap_or(spare).next();
        let largest = self.fed.values().map(|fed| fed.bytes).max();
        let bytes = self.retention.bytes.max(largest.unwrap_or(0));
        let bounded = Index(self.log.wal().first_within(bytes));
        wanted.max(bounded).min(self.checkpointed.next())
    }

    /// A snapshot goes out to a member that has asked for it: what is behind it stays in the log.
    pub fn sending(&mut self, outgoing: &Outgoing) {
        let fed = Fed { index: outgoing.position().index, bytes: outgoing.bytes() };
        self.fed.insert(outgoing.to(), fed);
    }

    /// What has become of a snapshot that a member has asked for.
    pub fn sent(&mut self, to: NodeId, outcome: SnapshotOutcome) {
        if outcome == SnapshotOutcome::Failed {
            self.fed.remove(&to);
        }
        let told = self.raft.step(Input::SnapshotReport { to, outcome });
        debug_assert!(told.is_ok(), "a report is never refused");
    }

    /// The snapshot that was to be installed is in its place, and so is the log behind it.
    ///
    /// # Errors
    /// [`Fatal`] when it was not to be.
    pub fn installed(&mut self, position: Position) -> Result<(), Fatal> {
        self.own(Input::Installed(position))?;
        self.proposed.clear();
        self.checkpointed = position.index;
        self.released = position.index.next();
        Ok(())
    }

    /// Has the next [`Consensus::take`] prepare room in the log, if that found the disk full.
    pub fn prepare(&mut self) {
        if self.upkeep_is_full
            && let Some(since) = &mut self.since_upkeep
        {
            *since = self.retention.upkeep_bytes;
        }
    }

    /// Gives up the entries that are kept for followers alone: the log has no room for others.
    ///
    /// # Errors
    /// [`Fatal`] when what checkpoints were reported is not applied.
    pub fn give_up_spare(&mut self) -> Result<(), Fatal> {
        self.release(self.checkpointed.next())
    }

    /// Whether the log can take `bytes` of entries and keep room for those that lead to room, as
    /// far as is known.
    pub fn has_room(&self, bytes: u64) -> bool {
        if !self.upkeep_is_full {
            return true;
        }
        let stats = self.log.wal().stats();
        let left = stats.capacity_bytes.saturating_sub(stats.used_bytes);
        stats.spares > 0 || left >= bytes.saturating_add(LOG_RESERVE)
    }

    fn release(&mut self, keep_from: Index) -> Result<(), Fatal> {
        if keep_from > self.released {
            self.own(Input::Checkpointed(keep_from.previous()))?;
            self.released = keep_from;
            let log = Arc::clone(&self.log);
            self.jobs.push(Job::Release(ReleaseJob { log, before: keep_from }));
        }
        Ok(())
    }

    /// Everything that is due since the last call.
    pub fn take(&mut self) -> Output {
        let output = self.raft.take();
        let mut jobs = std::mem::take(&mut self.jobs);
        let is_whole = |_: &mut Refill| !self.raft.status().recovering;
        if let Some(refill) = self.refill.take_if(is_whole) {
            jobs.push(Job::EndRefill(EndRefillJob { refill }));
        }
        let log = &self.log;
        jobs.extend(
            output
                .fetches
                .into_iter()
                .map(|fetch| Job::Fetch(FetchJob { log: Arc::clone(log), fetch })),
        );
        let persist =
            output.persist.map(|persist| PersistJob { log: Arc::clone(&self.log), persist });
        if let Some(upkeep) = self.upkeep(persist.as_ref()) {
            jobs.push(upkeep);
        }
        let committed = output.committed.into_iter().map(|entry| self.committed(entry)).collect();
        Output {
            persist,
            jobs,
            messages: output.messages,
            committed,
            reads: output.reads,
            reads_failed: output.reads_failed,
            snapshots: output.snapshots,
            install: output.install,
            role: output.role,
        }
    }

    /// Where this member stands.
    pub fn status(&self) -> Status {
        self.raft.status()
    }

    /// Who belongs to the cluster, as far as this member has applied it.
    pub fn configuration(&self) -> &Configuration {
        self.raft.configuration()
    }

    /// Whether this member is the only one: there is nobody to wait for.
    pub fn is_lone(&self) -> bool {
        self.configuration().is_lone(self.raft.status().id)
    }

    /// What a leader knows of the others.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        self.raft.peers()
    }

    /// The voter that should lead if this leader does not: of those that it hears and feeds, the
    /// one that holds most of the log. None while voters are being changed.
    pub fn successor(&self) -> Option<NodeId> {
        let configuration = self.configuration();
        let is_able = |peer: &PeerStatus| {
            peer.active && configuration.is_voter(peer.id) && !configuration.is_joint()
        };
        let best = self.peers().filter(is_able);
        best.max_by_key(|peer| (peer.feed == Feed::Replicate, peer.matched)).map(|peer| peer.id)
    }

    /// Plants a bug in the core of consensus.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: revd_raft::Bug) {
        self.raft.plant(bug);
    }

    /// Whether this leader would take a proposal to promote a learner now.
    ///
    /// # Errors
    /// [`Refused`] when this member does not lead, or the learner lags.
    pub fn check_promotion(&self, learner: NodeId) -> Result<(), Refused> {
        self.raft.check_promotion(learner)
    }

    /// The log.
    pub fn log(&self) -> &Arc<LogStore> {
        &self.log
    }

    /// Takes an input that only this member's own driver can have produced.
    fn own(&mut self, input: Input) -> Result<(), Fatal> {
        self.raft.step(input).map_err(|refused| Fatal::Consensus(refused.to_string()))
    }

    /// Joins an entry with what the door knew of it.
    fn committed(&mut self, entry: Entry) -> Committed {
        let position = entry.position();
        let mut decoded = None;
        while let Some((front, _)) = self.proposed.front() {
            if front.index > position.index {
                break;
            }
            let (at, kept) = self.proposed.pop_front().expect("it has a front");
            if at == position || (at.index == position.index && planted(Bug::KeepAcrossTerms)) {
                decoded = Some(kept);
            }
        }
        Committed { position, kind: entry.kind, data: entry.data, decoded }
    }

    /// A step of preparing room, when enough has been appended since the last.
    fn upkeep(&mut self, persist: Option<&PersistJob>) -> Option<Job> {
        let bytes = self.since_upkeep.as_mut()?;
        // An append takes at least one block.
        *bytes += persist.map_or(0, |job| job.bytes().max(revd_disk::BLOCK));
        if *bytes < self.retention.upkeep_bytes {
            return None;
        }
        self.since_upkeep = None;
        Some(Job::LogUpkeep(LogUpkeepJob { log: Arc::clone(&self.log) }))
    }
}
