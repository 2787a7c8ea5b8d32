//! One member: its state, and the dispatch of what goes in.

use bytes::Bytes;

use crate::chance::Chance;
use crate::config::Config;
use crate::configuration::Configuration;
use crate::election::Votes;
use crate::error::{Refused, StartError};
use crate::follower::Following;
use crate::handout::Handout;
use crate::input::{Fetched, Input};
use crate::leader::Lead;
use crate::log::Log;
use crate::message::{Body, Message};
use crate::number::{FetchNumber, Index, NUMBER_MAX, NodeId, Position, Term};
use crate::output::{Fetch, HardState, Install, Role, RoleChange, SnapshotRequest};
use crate::persistence::Persistence;
#[cfg(feature = "planted-bugs")]
use crate::planted::Bug;
use crate::reads::Reads;
use crate::recovery::Recovery;
use crate::restart::Restart;
use crate::spare::Spare;
use crate::status::{PeerStatus, Stats, Status};

/// One member of a cluster.
///
/// Invariants, checked where they could break:
/// - `applied <= handed out <= commit <= last`, and none of the first three goes back;
/// - what is committed is never cut off the log;
/// - the term never goes back, and the vote changes only with it;
/// - no entry of the log is of a later term than the member's, and terms never fall along it;
/// - what is not durable is in memory;
/// - a leader's own term, vote and log are never changed by anybody else while it leads: it appends
///   and nothing more (section 5.3);
/// - a leader holds an entry of its own term, and commits nothing by counting before that one
///   (section 5.4.2).
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) chance: Chance,
    pub(crate) configuration: Configuration,
    pub(crate) hard_state: HardState,
    pub(crate) persistence: Persistence,
    pub(crate) log: Log,
    pub(crate) commit: Index,
    pub(crate) handout: Handout,
    pub(crate) reads: Reads,
    pub(crate) role: Role,
    pub(crate) leader: Option<NodeId>,
    /// What only a follower has.
    pub(crate) following: Following,
    /// What only a candidate has.
    pub(crate) votes: Votes,
    /// What only a leader has.
    pub(crate) lead: Lead,
    /// Ticks since the election clock was set, and the number at which it rings.
    pub(crate) elapsed: u32,
    pub(crate) timeout: u32,
    /// An election is to be stood for as soon as nothing forbids it.
    pub(crate) campaign_due: bool,
    /// The last change of configuration that was applied has changed who votes, and no other change
    /// stands behind it.
    pub(crate) seal_due: bool,
    /// The log was damaged, and is not what it was yet.
    pub(crate) recovery: Option<Recovery>,
    /// The snapshot that is to be installed, and whether the driver knows.
    pub(crate) install: Option<Install>,
    pub(crate) install_told: bool,
    /// Members that the driver is sending a snapshot to.
    pub(crate) snapshots_under_way: Vec<NodeId>,
    pub(crate) last_fetch: FetchNumber,
    /// What the next [`Raft::take`] will give out.
    pub(crate) outbox: Vec<Message>,
    pub(crate) fetches: Vec<Fetch>,
    pub(crate) snapshots: Vec<SnapshotRequest>,
    /// What the driver was last told.
    pub(crate) told: RoleChange,
    pub(crate) spare: Spare,
    pub(crate) stats: Stats,
    #[cfg(feature = "planted-bugs")]
    pub(crate) bug: Option<Bug>,
}

impl Raft {
    /// A member as it starts, with what it has found on its disk. The `seed` decides its election
    /// timeouts and nothing else: the same seed and the same inputs give the same outputs.
    ///
    /// # Errors
    /// When the settings cannot work, or the parts of what was found contradict each other.
    pub fn new(config: Config, restart: Restart, seed: u64) -> Result<Raft, StartError> {
        config.validate()?;
        restart.check()?;
        let Restart { hard_state, applied, configuration, log, recovering, .. } = restart;
        let mut raft = Raft {
            chance: Chance::new(seed),
            configuration,
            hard_state,
            persistence: Persistence::new(hard_state),
            commit: committed_for_certain(&log, applied.index),
            handout: Handout::new(applied.index, config.max_committed_bytes),
            log,
            reads: Reads::default(),
            role: Role::Follower,
            leader: None,
            following: Following::default(),
            votes: Votes::default(),
            lead: Lead::default(),
            elapsed: 0,
            timeout: 0,
            campaign_due: false,
            seal_due: false,
            recovery: None,
            install: None,
            install_told: false,
            snapshots_under_way: Vec::new(),
            last_fetch: FetchNumber(0),
            outbox: Vec::new(),
            fetches: Vec::new(),
            snapshots: Vec::new(),
            told: RoleChange { term: hard_state.term, ..RoleChange::default() },
            spare: Spare::default(),
            stats: Stats::default(),
            config,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        };
        raft.set_election_clock();
        if recovering {
            raft.begin_recovery();
        }
        Ok(raft)
    }

    /// Where this member stands.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            id: self.config.id,
            term: self.hard_state.term,
            role: self.role,
            leader: self.leader,
            transferring: self.lead.transfer.map(|transfer| transfer.to),
            recovering: self.recovery.is_some(),
            first: self.log.first(),
            last: self.log.last(),
            persisted: self.log.persisted(),
            commit: self.commit,
            handed_out: self.handout.handed(),
            applied: self.handout.applied(),
            installing: self.install.as_ref().map(|install| install.position),
            uncommitted_bytes: self.lead.uncommitted_bytes,
            memory_bytes: self.log.memory_bytes(),
            reads_waiting: self.reads.waiting(),
        }
    }

    /// Term and vote, durable or about to be.
    #[must_use]
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Who belongs to the cluster, as of the last change that was applied.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// What a leader knows of the other members, ascending by id; nothing in other roles.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        self.lead.peers.iter().map(|peer| peer.status())
    }

    /// The term of the entry at `index`, if the log reaches so far and its term is still known.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term(index)
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Takes what has happened. What follows from it is in the next [`Raft::take`]; any number of
    /// inputs may come before it.
    ///
    /// # Errors
    /// When the input is not taken; the member is as it was. [`Refused`] tells what a client may be
    /// told apart from mistakes of the driver, after which it had better stop.
    pub fn step(&mut self, input: Input) -> Result<(), Refused> {
        match input {
            Input::Tick => self.tick(),
            Input::Campaign => self.campaign(),
            Input::Message(mut message) => {
                let taken = self.receive(&mut message);
                self.spare.keep_message(message);
                taken
            }
            Input::Persisted(number) => self.persisted(number),
            Input::Fetched(fetched) => self.fetched(fetched),
            Input::Applied(index) => self.handout.applied_to(index),
            Input::ConfigurationApplied { index, configuration } => {
                self.configuration_applied(index, configuration)
            }
            Input::ConfigurationRejected { index } => self.configuration_rejected(index),
            Input::Checkpointed(index) => self.checkpointed(index),
            Input::Read(id) => self.read(id),
            Input::Propose(data) => self.propose_or_forward(data),
            Input::ProposeConfiguration { change, data } => {
                self.propose_configuration_or_forward(change, data)
            }
            Input::Transfer(to) => self.transfer(to),
            Input::LeaderLost(leader) => self.leader_lost(leader),
            Input::Unreachable(peer) => {
                self.unreachable(peer);
                Ok(())
            }
            Input::SnapshotReport { to, outcome } => {
                self.snapshot_reported(to, outcome);
                Ok(())
            }
            Input::Installed(position) => self.installed(position),
            Input::InstallFailed(position) => self.install_failed(position),
        }
    }

    /// As [`Input::Message`], for a driver that wants the message's memory back: entries may have
    /// been moved out of it.
    ///
    /// # Errors
    /// As [`Raft::step`].
    pub fn receive(&mut self, message: &mut Message) -> Result<(), Refused> {
        let (from, to) = (message.from, message.to);
        if to != self.config.id || from == self.config.id {
            return Err(Refused::Misdirected { from, to });
        }
        if let Err(what) = plausible(message) {
            return Err(Refused::Malformed { from, what });
        }
        let term = message.term;
        match &mut message.body {
            Body::PreVote { campaign, last, committed } => {
                self.learn_committed(*committed);
                self.pre_vote_asked(from, *campaign, *last);
                Ok(())
            }
            Body::PreVoteAnswer { campaign, granted, committed } => {
                self.learn_committed(*committed);
                self.pre_vote_answered(from, term, *campaign, *granted);
                Ok(())
            }
            Body::Vote { last, committed, transfer } => {
                self.learn_committed(*committed);
                self.vote_asked(from, term, *last, *transfer);
                Ok(())
            }
            body if term < self.hard_state.term => {
                self.answer_the_past(from, body);
                Ok(())
            }
            body => {
                if term > self.hard_state.term {
                    self.follow(term, None);
                }
                self.receive_in_term(from, body)
            }
        }
    }

    /// A message of the current term.
    fn receive_in_term(&mut self, from: NodeId, body: &mut Body) -> Result<(), Refused> {
        if self.role == Role::Leader {
            return self.receive_as_leader(from, body);
        }
        match body {
            Body::Append { previous, entries, commit } => {
                self.append_received(from, *previous, entries, *commit)
            }
            Body::Heartbeat { commit, round } => {
                self.heartbeat_received(from, *commit, *round);
                Ok(())
            }
            Body::Snapshot { position, configuration } => {
                self.snapshot_received(from, *position, std::mem::take(configuration));
                Ok(())
            }
            Body::TimeoutNow => self.timeout_now(from),
            Body::ReadAnswer { reads } => {
                self.reads_answered(from, reads);
                Ok(())
            }
            Body::VoteAnswer { granted, committed } => {
                self.learn_committed(*committed);
                self.vote_answered(from, *granted);
                Ok(())
            }
            _ => {
                self.stats.messages_ignored += 1;
                Ok(())
            }
        }
    }

    fn receive_as_leader(&mut self, from: NodeId, body: &mut Body) -> Result<(), Refused> {
        let Some(peer) = self.lead.peer_mut(from) else {
            // A stranger, or no longer a member.
            self.stats.messages_ignored += 1;
            return Ok(());
        };
        peer.active = true;
        match body {
            Body::Appended { matched, counts } => self.appended(from, *matched, *counts),
            Body::AppendRefused { previous, hint } => {
                self.append_refused(from, *previous, *hint);
                Ok(())
            }
            Body::HeartbeatAnswer { round } => self.heartbeat_answered(from, *round),
            Body::Read { ids } => {
                self.read_for(from, ids);
                Ok(())
            }
            Body::Propose { proposals } => {
                self.propose_for(proposals);
                Ok(())
            }
            Body::Append { .. } | Body::Heartbeat { .. } | Body::TimeoutNow => {
                Err(Refused::Malformed { from, what: "a second leader in the term" })
            }
            _ => {
                self.stats.messages_ignored += 1;
                Ok(())
            }
        }
    }

    /// A message of an earlier term: whoever believes to lead in it, or wants to, must learn that
    /// it is over. Nothing else of it matters.
    fn answer_the_past(&mut self, from: NodeId, body: &Body) {
        match body {
            Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot { .. } => {
                self.send(from, Body::HeartbeatAnswer { round: 0 });
            }
            _ => self.stats.messages_ignored += 1,
        }
    }

    /// A message on its way, in the current term.
    pub(crate) fn send(&mut self, to: NodeId, body: Body) {
        let message = Message { from: self.config.id, to, term: self.hard_state.term, body };
        self.outbox.push(message);
    }

    fn checkpointed(&mut self, index: Index) -> Result<(), Refused> {
        let applied = self.handout.applied();
        if index > applied {
            return Err(Refused::ReleasedTooMuch { found: index, applied });
        }
        self.log.release(index);
        Ok(())
    }

    fn fetched(&mut self, mut fetched: Fetched) -> Result<(), Refused> {
        if fetched.number > self.last_fetch {
            return Err(Refused::NotFetching { found: fetched.number });
        }
        if !self.handout.fetched(&mut fetched, &self.log)? {
            self.fetched_for_peer(&fetched)?;
        }
        self.spare.keep(fetched.entries);
        Ok(())
    }

    /// One tick of the clock.
    fn tick(&mut self) -> Result<(), Refused> {
        if self.role == Role::Leader {
            self.tick_as_leader();
            return Ok(());
        }
        self.reads.tick(self.config.election_ticks);
        self.tick_election_clock()
    }

    /// Follows the leader of `term`, if there is one: where every member begins, and what it goes
    /// back to whenever it hears of a later term (section 5.1).
    pub(crate) fn follow(&mut self, term: Term, leader: Option<NodeId>) {
        if self.role == Role::Leader {
            self.stop_leading();
        }
        if term > self.hard_state.term {
            self.hard_state = HardState { term, vote: None };
            self.following.vote_answer_due = false;
        }
        self.reads.lose_leader();
        self.following.begin();
        self.role = Role::Follower;
        self.leader = leader;
        self.campaign_due = false;
        self.set_election_clock();
    }
}

/// What must be committed, by the log alone, though the commit index is kept nowhere. A leader
/// proposes a change of configuration only when it has applied every earlier one in its log, so a
/// log that holds two of them shows that the first was committed, whoever holds it.
///
/// That matters: a member that knew only an older configuration than the first of the two made
/// could otherwise win an election by the votes of that older one, which need not meet the
/// majorities of the newest.
fn committed_for_certain(log: &Log, applied: Index) -> Index {
    log.configurations().iter().rev().nth(1).map_or(applied, |&index| index.max(applied))
}

/// Whether a message can be: no number beyond all reason, no list with gaps. What the rules do with
/// it then cannot overflow.
fn plausible(message: &Message) -> Result<(), &'static str> {
    let number = |number: u64| number <= NUMBER_MAX;
    let position =
        |at: Position, term: Term| number(at.index.0) && number(at.term.0) && at.term <= term;
    if !number(message.term.0) {
        return Err("term out of range");
    }
    let term = message.term;
    let fits = match &message.body {
        Body::PreVote { campaign, last, committed } => {
            *campaign == term.next() && position(*last, term) && position(*committed, term)
        }
        Body::Vote { last, committed, .. } => position(*last, term) && position(*committed, term),
        Body::Append { previous, entries, commit } => {
            let mut behind = *previous;
            for entry in entries {
                if entry.index != behind.index.next() || entry.term < behind.term {
                    return Err("entries with a gap, or of falling terms");
                }
                behind = entry.position();
            }
            position(*previous, term) && position(behind, term) && number(commit.0)
        }
        Body::Appended { matched, .. } => number(matched.0),
        Body::AppendRefused { previous, hint } => number(previous.0) && position(*hint, term),
        Body::Heartbeat { commit, .. } => number(commit.0),
        Body::ReadAnswer { reads } => reads.iter().all(|read| number(read.index.0)),
        Body::Snapshot { position: at, .. } => position(*at, term) && at.index > Index(0),
        Body::PreVoteAnswer { committed, .. } | Body::VoteAnswer { committed, .. } => {
            position(*committed, term)
        }
        Body::HeartbeatAnswer { .. }
        | Body::Read { .. }
        | Body::Propose { .. }
        | Body::TimeoutNow => true,
    };
    if fits { Ok(()) } else { Err("a number out of range") }
}

/// The payload of an entry that has none.
pub(crate) const NOTHING: Bytes = Bytes::new();
