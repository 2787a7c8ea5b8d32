//! One member: its state, and the dispatch of what goes in and out.

use bytes::Bytes;

use crate::chance::Chance;
use crate::config::Config;
use crate::configuration::{Change, Configuration};
use crate::entry::EntryKind;
use crate::error::{Refused, StartError};
use crate::handout::Handout;
use crate::input::{Fetched, Input};
use crate::log::Log;
use crate::message::Message;
use crate::number::{FetchNumber, Index, NodeId, PersistNumber, Position, Term};
use crate::output::{Fetch, HardState, Output, Persist, Role, RoleChange};
use crate::reads::Reads;
use crate::restart::Restart;
use crate::status::{PeerStatus, Stats, Status};

/// One member of a cluster.
///
/// Invariants, checked where they could break:
/// - `applied <= handed out <= commit`, and none of them goes back;
/// - a lone voter's `commit <= persisted <= last`;
/// - the term never goes back, and the vote changes only with it;
/// - what is not durable is in memory;
/// - a leader holds an entry of its own term, and commits nothing by counting before that one
///   (section 5.4.2).
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) chance: Chance,
    pub(crate) configuration: Configuration,
    pub(crate) hard_state: HardState,
    pub(crate) log: Log,
    pub(crate) commit: Index,
    pub(crate) handout: Handout,
    pub(crate) reads: Reads,
    pub(crate) role: Role,
    pub(crate) leader: Option<NodeId>,
    /// The first entry of this leader's term; meaningless in other roles.
    pub(crate) term_begins: Index,
    /// What this leader's proposals that are not committed count for.
    pub(crate) uncommitted_bytes: usize,
    /// Ticks since the election clock was set, and the number at which it rings.
    pub(crate) elapsed: u32,
    pub(crate) timeout: u32,
    /// An election is to be stood for as soon as nothing forbids it.
    pub(crate) campaign_due: bool,
    /// The persist that is being carried out.
    outstanding: Option<Outstanding>,
    /// The term and vote that were last handed out to be persisted.
    hard_state_sent: HardState,
    last_persist: PersistNumber,
    last_fetch: FetchNumber,
    /// What the driver was last told.
    told: RoleChange,
    pub(crate) stats: Stats,
}

/// What will be durable once the persist of this number is.
#[derive(Clone, Copy, Debug)]
struct Outstanding {
    number: PersistNumber,
    hard_state: HardState,
    last: Index,
}

impl Raft {
    /// A member as it starts, with what it has found on its disk. The `seed` decides its election
    /// timeouts and nothing else: the same seed and the same inputs give the same outputs.
    ///
    /// # Errors
    /// When the settings cannot work, the parts of what was found contradict each other, or the
    /// configuration has members besides this one.
    pub fn new(config: Config, restart: Restart, seed: u64) -> Result<Raft, StartError> {
        config.validate()?;
        restart.check()?;
        let Restart { hard_state, applied, configuration, log, .. } = restart;
        // Without any member, this one has yet to be told of its cluster.
        if !configuration.is_lone(config.id) && configuration != Configuration::default() {
            return Err(StartError::SeveralMembers {
                voters: configuration.voters().len() + configuration.outgoing().len(),
                learners: configuration.learners().len(),
            });
        }
        let mut raft = Raft {
            chance: Chance::new(seed),
            configuration,
            hard_state,
            commit: committed_for_certain(&log, applied.index),
            handout: Handout::new(applied.index, config.max_committed_bytes),
            log,
            reads: Reads::default(),
            role: Role::Follower,
            leader: None,
            term_begins: Index(0),
            uncommitted_bytes: 0,
            elapsed: 0,
            timeout: 0,
            campaign_due: false,
            outstanding: None,
            hard_state_sent: hard_state,
            last_persist: PersistNumber(0),
            last_fetch: FetchNumber(0),
            told: RoleChange { term: hard_state.term, ..RoleChange::default() },
            stats: Stats::default(),
            config,
        };
        raft.set_election_clock();
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
            transferring: None,
            first: self.log.first(),
            last: self.log.last(),
            persisted: self.log.persisted(),
            commit: self.commit,
            handed_out: self.handout.handed(),
            applied: self.handout.applied(),
            uncommitted_bytes: self.uncommitted_bytes,
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
        std::iter::empty()
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
            Input::Message(message) => self.message(&message),
            Input::Persisted(number) => self.persisted(number),
            Input::Fetched(fetched) => self.fetched(fetched),
            Input::Applied(index) => self.handout.applied_to(index),
            Input::ConfigurationApplied { index, configuration } => {
                self.configuration_applied(index, configuration)
            }
            Input::ConfigurationRejected { index } => self.configuration_answered(index),
            Input::Checkpointed(index) => self.checkpointed(index),
            Input::Read(id) => self.read(id),
            Input::Propose(data) => self.propose(data).map(drop).map_err(without_leader),
            Input::ProposeConfiguration { change, data } => {
                self.propose_configuration(&change, data).map(drop).map_err(without_leader)
            }
            Input::Transfer(to) => self.transfer(to),
            Input::Installed(found) | Input::InstallFailed(found) => {
                Err(Refused::NotInstalling { outstanding: None, found })
            }
            // News of a member that this one does not feed: too late to matter.
            Input::LeaderLost(_) | Input::Unreachable(_) | Input::SnapshotReport { .. } => Ok(()),
        }
    }

    /// Appends a normal entry to the leader's log and returns where. It becomes durable with the
    /// next [`Output::persist`], together with all others that were proposed meanwhile.
    ///
    /// # Errors
    /// When this member is not the leader, or too much waits to be committed.
    pub fn propose(&mut self, data: Bytes) -> Result<Position, Refused> {
        self.append(EntryKind::Normal, data)
    }

    /// Appends a change of configuration to the leader's log and returns where. `data` is what the
    /// log keeps of it; it must not be empty. The configuration changes when the entry has been
    /// applied and its answer is fed back.
    ///
    /// # Errors
    /// As [`Raft::propose`], and when an earlier change is not applied yet, when the change does
    /// not fit the configuration, or when it would make the cluster one of several members.
    pub fn propose_configuration(
        &mut self,
        change: &Change,
        data: Bytes,
    ) -> Result<Position, Refused> {
        self.check_leader()?;
        if data.is_empty() {
            return Err(Refused::ChangeWithoutData);
        }
        if let Some(&index) = self.log.configurations().back() {
            return Err(Refused::ConfigurationPending { index });
        }
        if !self.configuration.changed(change)?.is_lone(self.config.id) {
            return Err(Refused::SeveralMembers);
        }
        self.append(EntryKind::Configuration, data)
    }

    /// Everything that is due since the last time. Costs next to nothing when nothing is.
    pub fn take(&mut self) -> Output {
        let committed = self.handout.take(&self.log, self.commit);
        self.stats.handed_out += committed.len() as u64;
        let output = Output {
            committed,
            fetches: self.take_fetch().into_iter().collect(),
            persist: self.take_persist(),
            reads: self.reads.take(),
            role: self.take_role(),
            ..Output::default()
        };
        self.evict();
        self.assert_order();
        output
    }

    /// Lets go of entries that nobody will ask for soon.
    fn evict(&mut self) {
        // What this leader has not committed is still to be counted when it is.
        let keep = if self.role == Role::Leader { self.commit.next() } else { Index(u64::MAX) };
        self.log.evict(self.config.tail_bytes, keep);
        if self.configuration.is_lone(self.config.id) {
            // There is nobody else to send to.
            self.log.evict(0, self.handout.handed().next());
        }
    }

    fn take_fetch(&mut self) -> Option<Fetch> {
        let number = FetchNumber(self.last_fetch.0 + 1);
        let fetch = self.handout.fetch(&self.log, self.commit, number)?;
        self.last_fetch = number;
        self.stats.fetches += 1;
        Some(fetch)
    }

    /// How far each step of an entry's way has come.
    fn assert_order(&self) {
        let Status { applied, handed_out, commit, persisted, last, .. } = self.status();
        assert!(
            applied <= handed_out && handed_out <= commit && commit <= persisted,
            "applied {applied}, handed out {handed_out}, commit {commit}, persisted {persisted}"
        );
        assert!(persisted <= last.index, "persisted {persisted} of a log that ends at {last}");
        assert!(
            self.hard_state_sent.term <= self.hard_state.term && last.term <= self.hard_state.term,
            "term {} with {} handed out and the log at {last}",
            self.hard_state.term,
            self.hard_state_sent.term
        );
    }

    fn take_persist(&mut self) -> Option<Persist> {
        let hard_state = (self.hard_state != self.hard_state_sent).then_some(self.hard_state);
        let idle = hard_state.is_none() && !self.log.has_unsent();
        if self.outstanding.is_some() || idle {
            return None;
        }
        let entries = self.log.take_unsent();
        self.last_persist.0 += 1;
        self.hard_state_sent = self.hard_state;
        self.outstanding = Some(Outstanding {
            number: self.last_persist,
            hard_state: self.hard_state,
            last: self.log.sent(),
        });
        self.stats.persists += 1;
        Some(Persist { number: self.last_persist, hard_state, truncate_from: None, entries })
    }

    fn take_role(&mut self) -> Option<RoleChange> {
        let now = RoleChange { term: self.hard_state.term, role: self.role, leader: self.leader };
        let changed = now != self.told;
        self.told = now;
        changed.then_some(now)
    }

    fn persisted(&mut self, number: PersistNumber) -> Result<(), Refused> {
        let done = self.outstanding.take_if(|outstanding| outstanding.number == number).ok_or(
            Refused::NotPersisting {
                outstanding: self.outstanding.map(|outstanding| outstanding.number),
                found: number,
            },
        )?;
        self.log.persisted_to(done.last);
        self.vote_persisted(done.hard_state);
        self.commit_persisted();
        Ok(())
    }

    fn message(&mut self, message: &Message) -> Result<(), Refused> {
        if message.to != self.config.id || message.from == self.config.id {
            return Err(Refused::Misdirected { from: message.from, to: message.to });
        }
        // A lone voter has no peers: whoever writes to it is no member, or no longer one.
        self.stats.messages_ignored += 1;
        Ok(())
    }

    /// Whether this member leads, and takes proposals.
    pub(crate) fn check_leader(&mut self) -> Result<(), Refused> {
        if self.role == Role::Leader {
            return Ok(());
        }
        self.stats.proposals_refused += 1;
        Err(Refused::NotLeader { leader: self.leader })
    }

    fn configuration_applied(
        &mut self,
        index: Index,
        configuration: Configuration,
    ) -> Result<(), Refused> {
        self.handout.check_changing(index)?;
        if !configuration.is_lone(self.config.id) {
            return Err(Refused::SeveralMembers);
        }
        self.configuration = configuration;
        self.configuration_answered(index)
    }

    fn configuration_answered(&mut self, index: Index) -> Result<(), Refused> {
        self.handout.changed(index)?;
        self.log.forget_configurations(index);
        self.campaign_if_due();
        Ok(())
    }

    fn checkpointed(&mut self, index: Index) -> Result<(), Refused> {
        let applied = self.handout.applied();
        if index > applied {
            return Err(Refused::ReleasedTooMuch { found: index, applied });
        }
        self.log.release(index);
        Ok(())
    }

    fn fetched(&mut self, fetched: Fetched) -> Result<(), Refused> {
        if fetched.number > self.last_fetch {
            return Err(Refused::NotFetching { found: fetched.number });
        }
        self.handout.fetched(fetched, &self.log)
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

/// The refusal of what would have been handed on, had there been anybody to hand it to.
fn without_leader(refused: Refused) -> Refused {
    match refused {
        Refused::NotLeader { .. } => Refused::NoLeader,
        other => other,
    }
}
