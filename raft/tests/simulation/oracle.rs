//! What must hold after every step, judged from outside of the core.
//!
//! The oracle knows the disks, every message, and what each member says of itself. It keeps what
//! has been proved so far and checks only what a step has added, so that a step costs at most a
//! look at each member. Log Matching follows by induction: an entry is named by index and term, is
//! the same wherever it is seen, and always stands behind the same entry.

mod history;
mod reads;
mod votes;

use revd_raft::*;
use revd_sim::{Checked, ensure};

use crate::disk::Damage;
use crate::machine::{Effect, State};
use crate::member::Member;
use history::History;
pub(crate) use reads::Reads;
use votes::Votes;

pub(crate) struct Oracle {
    history: History,
    votes: Votes,
    pub(crate) reads: Reads,
    /// Every configuration of the cluster and the entry that led to it.
    configurations: Vec<(Index, Configuration)>,
    /// The last change that was applied anywhere, whether it changed anything or not.
    last_change: Index,
    /// Every member that ever belonged to one.
    known: u32,
    /// What each member said of itself after its last step.
    seen: Vec<Option<Status>>,
}

impl Oracle {
    pub(crate) fn new(born: &State) -> Oracle {
        Oracle {
            history: History::new(born.position),
            votes: Votes::default(),
            reads: Reads::default(),
            configurations: vec![(born.position.index, born.configuration.clone())],
            last_change: born.position.index,
            known: bits(&born.configuration),
            seen: Vec::new(),
        }
    }

    /// The newest configuration that any member has applied, and where.
    pub(crate) fn configuration(&self) -> (Index, &Configuration) {
        let (index, configuration) = &self.configurations[self.configurations.len() - 1];
        (*index, configuration)
    }

    /// Whether another change stands behind the one that led to the newest configuration, so that
    /// the log alone tells those who hold it that theirs is in force.
    pub(crate) fn is_sealed(&self) -> bool {
        self.last_change > self.configuration().0
    }

    /// Whether this member belongs to the newest configuration or did to an earlier one.
    pub(crate) fn knows(&self, node: NodeId) -> bool {
        self.known & (1 << node.0) != 0
    }

    /// The highest index that any member knows to be committed.
    pub(crate) fn committed(&self) -> Index {
        self.history.committed()
    }

    /// A member has started from its disk.
    pub(crate) fn started(&mut self, member: &Member) -> Checked {
        let now = member.status();
        let place = member.life.member;
        if self.seen.len() <= place {
            self.seen.resize(place + 1, None);
        }
        self.seen[place] = None;
        let disk = &member.disk;
        ensure!(now.last == disk.last(), "starts with a log to {}, not {}", now.last, disk.last());
        // A member with a damaged log begins a term of its own.
        ensure!(
            now.term == disk.hard_state.term || disk.damage.is_some(),
            "starts in term {}, not {}",
            now.term,
            disk.hard_state.term
        );
        ensure!(now.role == Role::Follower, "starts as {:?}", now.role);
        if now.commit > member.state.position.index {
            self.check_commit(member, &now)?;
        }
        self.seen[place] = Some(now);
        Ok(())
    }

    /// A member has taken an input or given out an output.
    pub(crate) fn stepped(&mut self, members: &[Member], place: usize) -> Checked {
        let member = &members[place];
        let now = member.status();
        let Some(old) = self.seen[place] else { return Ok(()) };
        ensure!(old.term <= now.term, "term fell from {} to {}", old.term, now.term);
        ensure!(old.commit <= now.commit, "commit fell from {} to {}", old.commit, now.commit);
        ensure!(old.applied <= now.applied && old.handed_out <= now.handed_out, "applied fell");
        ensure!(
            now.applied <= now.handed_out && now.handed_out <= now.commit,
            "applied {}, handed out {}, commit {}",
            now.applied,
            now.handed_out,
            now.commit
        );
        ensure!(now.commit <= now.last.index, "commit {}, log to {}", now.commit, now.last);
        let disk = &member.disk;
        ensure!(
            now.persisted <= disk.last().index,
            "calls {} durable, the disk has {}",
            now.persisted,
            disk.last()
        );
        ensure!(
            disk.hard_state.term <= now.term,
            "in term {}, the disk in {}",
            now.term,
            disk.hard_state.term
        );
        ensure!(
            member.configuration() == &member.state.configuration,
            "counts {:?}, applied is {:?}",
            member.configuration(),
            member.state.configuration
        );
        if now.role == Role::Leader && (old.role != Role::Leader || old.term != now.term) {
            self.elected(member, &now)?;
        }
        if now.commit > old.commit {
            if now.commit > self.history.committed() {
                let led = old.role == Role::Leader || now.role == Role::Leader;
                self.committed_first(members, place, led)?;
            }
            self.check_commit(member, &now)?;
        }
        self.seen[place] = Some(now);
        Ok(())
    }

    /// Election Safety and Leader Completeness (figure 3 of the paper).
    fn elected(&mut self, member: &Member, now: &Status) -> Checked {
        let (place, term) = (member.life.member, now.term);
        self.votes.elected(term, place)?;
        let configuration = &member.state.configuration;
        ensure!(
            has_quorum(configuration, |voter| self.votes.durable(term, voter) == Some(place)),
            "leads in term {term} without durable votes of a quorum of {configuration:?}: {:?}",
            self.votes.of(term)
        );
        let floor = self.history.committed_before(term);
        ensure!(
            member.agrees(floor.index, floor.term),
            "leads in term {term} without {floor}, committed before: log to {}, there {:?}",
            now.last,
            member.term_at(floor.index)
        );
        Ok(())
    }

    /// A member knows of a commit before all others: it must be a leader that counted a quorum.
    fn committed_first(&mut self, members: &[Member], place: usize, led: bool) -> Checked {
        let member = &members[place];
        let Status { commit, term, .. } = member.status();
        ensure!(led, "commits {commit} before any leader did");
        ensure!(
            member.term_at(commit) == Some(term),
            "commits {commit} of term {:?} by counting in term {term} (section 5.4.2)",
            member.term_at(commit)
        );
        let configuration = &member.state.configuration;
        let position = Position::new(commit, term);
        ensure!(
            has_quorum(configuration, |voter| members[voter].disk.held(position)),
            "commits {position}, which is durable on no quorum of {configuration:?}: {:?}",
            configuration
                .members()
                .iter()
                .map(|node| (node.0, members[node.0 as usize - 1].disk.last()))
                .collect::<Vec<_>>()
        );
        for other in members.iter().filter(|other| other.is_up()) {
            let status = other.status();
            let behind = status.role == Role::Leader && status.term > term;
            ensure!(
                !behind || other.agrees(commit, term),
                "commits {position}, which member {} does not hold, leader of term {}",
                status.id,
                status.term
            );
        }
        self.history.commit(position, |index| member.term_at(index))
    }

    /// What a member calls committed is what the cluster has committed.
    fn check_commit(&self, member: &Member, now: &Status) -> Checked {
        let term = self.history.committed_term(now.commit);
        ensure!(
            term.is_some_and(|term| member.agrees(now.commit, term)),
            "commits {} of term {:?}, the cluster committed term {term:?} there",
            now.commit,
            member.term_at(now.commit)
        );
        Ok(())
    }

    /// A member says something. What a message rests on must be durable.
    pub(crate) fn said(&mut self, members: &[Member], place: usize, message: &Message) -> Checked {
        let member = &members[place];
        let (term, to) = (message.term, message.to.0 as usize - 1);
        ensure!(term <= member.status().term, "speaks for term {term}, ahead of its own");
        match &message.body {
            Body::Vote { .. } => ensure!(
                self.votes.durable(term, place) == Some(place),
                "stands in term {term} before its own vote is durable"
            ),
            Body::VoteAnswer { granted: true, .. } => {
                ensure!(member.disk.damage.is_none(), "votes before its log is recovered");
                ensure!(
                    self.votes.durable(term, place) == Some(to),
                    "votes for {} in term {term}, durable is {:?}",
                    message.to,
                    self.votes.durable(term, place).map(|place| place + 1)
                );
            }
            Body::Append { previous, entries, commit } => {
                self.check_leads(place, message)?;
                ensure!(*commit <= self.committed(), "spreads commit {commit}");
                let mut before = previous.term;
                let made_by = Some(member.status().applied);
                for entry in entries {
                    self.history.saw(entry, before, made_by)?;
                    before = entry.term;
                }
            }
            Body::Heartbeat { commit, .. } => {
                self.check_leads(place, message)?;
                ensure!(*commit <= self.committed(), "spreads commit {commit}");
            }
            Body::TimeoutNow | Body::ReadAnswer { .. } => self.check_leads(place, message)?,
            Body::Appended { matched, counts } => {
                let recovered = member.disk.damage.is_none();
                ensure!(recovered || !counts, "acknowledges before its log is recovered");
                self.check_acknowledged(members, place, term, *matched)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn check_leads(&self, place: usize, message: &Message) -> Checked {
        ensure!(
            self.votes.leader(message.term) == Some(place),
            "speaks as the leader of term {}, which is {:?}",
            message.term,
            self.votes.leader(message.term).map(|place| place + 1)
        );
        Ok(())
    }

    /// An acknowledged entry is durable, and is the leader's.
    fn check_acknowledged(
        &self,
        members: &[Member],
        place: usize,
        term: Term,
        matched: Index,
    ) -> Checked {
        let disk = &members[place].disk;
        ensure!(matched <= disk.last().index, "acknowledges {matched}, durable is {}", disk.last());
        let leader = self.votes.leader(term).map(|leader| &members[leader]);
        let leader = leader.filter(|leader| {
            leader.is_up() && leader.status().role == Role::Leader && leader.status().term == term
        });
        let theirs = leader.and_then(|leader| leader.term_at(matched));
        if let (Some(ours), Some(theirs)) = (disk.term_at(matched), theirs) {
            ensure!(
                ours == theirs,
                "acknowledges {matched} of term {ours}, the leader of {term} has term {theirs}"
            );
        }
        Ok(())
    }

    /// A term and vote became durable: at most one vote a term, over all restarts.
    pub(crate) fn durable_vote(&mut self, place: usize, old: HardState, new: HardState) -> Checked {
        ensure!(old.term <= new.term, "the durable term falls from {} to {}", old.term, new.term);
        if let Some(candidate) = new.vote {
            self.votes.give(new.term, place, candidate.0 as usize - 1)?;
        }
        Ok(())
    }

    /// A log is about to be cut off, for entries that begin with one of term `by`: nothing that was
    /// committed up to that term, because its leader has that too. (A member that was away may obey
    /// a late message of such a leader even when a later one has committed what is cut off here.)
    pub(crate) fn truncating(&self, member: &Member, from: Index, by: Term) -> Checked {
        let safe = self.history.committed_before(by.next());
        ensure!(
            from > safe.index || member.disk.term_at(from) != self.history.committed_term(from),
            "cuts off {from} for an entry of term {by}, {safe} is committed"
        );
        Ok(())
    }

    /// An entry is appended to a durable log.
    pub(crate) fn durable_entry(
        &mut self,
        member: &Member,
        entry: &Entry,
        applied: Index,
    ) -> Checked {
        let last = member.disk.last();
        ensure!(entry.index == last.index.next(), "persists {} behind {last}", entry.position());
        ensure!(
            entry.term <= member.disk.hard_state.term,
            "persists {} in durable term {}",
            entry.position(),
            member.disk.hard_state.term
        );
        let made_by =
            (self.votes.leader(entry.term) == Some(member.life.member)).then_some(applied);
        self.history.saw(entry, last.term, made_by)?;
        match member.disk.last_change() {
            Some(earlier) if entry.kind == EntryKind::Configuration => {
                self.history.check_change(entry.position(), earlier)
            }
            _ => Ok(()),
        }
    }

    /// An entry is handed out to be applied: the next one, and what the cluster has committed.
    pub(crate) fn handed_out(&self, member: &Member, entry: &Entry) -> Checked {
        ensure!(
            entry.index == member.handed.next(),
            "hands out {} behind {}",
            entry.index,
            member.handed
        );
        let behind = member.to_apply.back().is_some_and(|e| e.kind == EntryKind::Configuration);
        ensure!(!behind, "hands out {} behind a change", entry.index);
        self.history.check_committed(entry)
    }

    /// A member has applied an entry. State Machine Safety: all that did are in the same state.
    /// Returns whether it is the first to.
    pub(crate) fn applied(&mut self, state: &State, effect: &Effect) -> Checked<bool> {
        let index = state.position.index;
        let first = self.history.applied(index, state.digest)?;
        if matches!(effect, Effect::Changed(_) | Effect::Rejected) {
            self.last_change = self.last_change.max(index);
        }
        if let Effect::Written { key, .. } = *effect {
            self.reads.written(key, state.registers[key]);
        }
        if first && matches!(effect, Effect::Changed(_)) {
            let old = self.configuration().1;
            ensure!(
                quorums_meet(old, &state.configuration),
                "a quorum of {old:?} misses one of {:?}",
                state.configuration
            );
            self.configurations.push((index, state.configuration.clone()));
            self.known |= bits(&state.configuration);
        }
        Ok(first)
    }

    /// A snapshot has taken the place of a member's state.
    pub(crate) fn installing(&self, member: &Member, install: &Install) -> Checked {
        let (position, status) = (install.position, member.status());
        ensure!(
            position.index > status.applied,
            "installs a snapshot at {position}, applied is {}",
            status.applied
        );
        ensure!(
            self.history.committed_term(position.index) == Some(position.term),
            "installs a snapshot at {position}, which is not committed"
        );
        Ok(())
    }

    /// A member says that it holds again whatever damage may have taken.
    pub(crate) fn recovered(&self, member: &Member, damage: Damage) -> Checked {
        let disk = &member.disk;
        ensure!(
            disk.holds(damage.committed),
            "calls its log recovered at {}, without {}, which was committed before the damage",
            disk.last(),
            damage.committed
        );
        Ok(())
    }

    /// A leader has taken up a promotion: the learner must hold what was committed two election
    /// timeouts ago.
    pub(crate) fn promoting(&self, members: &[Member], place: usize, change: &Change) -> Checked {
        let steps = match change {
            Change::Simple(step) => std::slice::from_ref(step),
            Change::Joint { steps, .. } => steps,
            Change::Keep | Change::Leave => &[],
        };
        let leader = &members[place];
        for step in steps {
            let ChangeStep::AddVoter(node) = *step else { continue };
            let learner = &members[node.0 as usize - 1];
            ensure!(
                !leader.state.configuration.is_learner(node)
                    || learner.disk.last().index >= leader.settled.0,
                "promotes {node}, which holds {}, long after {} was committed",
                learner.disk.last(),
                leader.settled.0
            );
        }
        Ok(())
    }

    /// The last position that is known to be committed.
    pub(crate) fn committed_position(&self) -> Position {
        let index = self.committed();
        Position::new(index, self.history.committed_term(index).unwrap_or_default())
    }

    /// With check-quorum a leader steps down that heard of no quorum for long enough. Its own
    /// clock counts, and the last word that each member said in its term.
    pub(crate) fn check_contact(&self, member: &Member) -> Checked {
        let status = member.status();
        if !member.config.check_quorum || status.role != Role::Leader {
            return Ok(());
        }
        let since = member.ticks.saturating_sub(2 * u64::from(member.config.election_ticks) + 1);
        let heard = |voter: usize| voter == member.life.member || member.heard[voter] >= since;
        ensure!(
            has_quorum(&member.state.configuration, heard),
            "still leads in term {} without a word of a quorum",
            status.term
        );
        Ok(())
    }
}

/// A bit for each member.
fn bits(configuration: &Configuration) -> u32 {
    configuration.members().iter().fold(0, |bits, node| bits | 1 << node.0)
}

/// Whether those members are a majority of the voters, and of the outgoing ones if there are any.
pub(crate) fn has_quorum(configuration: &Configuration, agrees: impl Fn(usize) -> bool) -> bool {
    let majority = |voters: &[NodeId]| {
        let agreeing = voters.iter().filter(|node| agrees(node.0 as usize - 1)).count();
        2 * agreeing > voters.len()
    };
    let outgoing = configuration.outgoing();
    majority(configuration.voters()) && (outgoing.is_empty() || majority(outgoing))
}

/// Whether every quorum of one configuration has a member in every quorum of the other: no quorum
/// of the one may be free of a quorum of the other. By trying every set of members.
fn quorums_meet(one: &Configuration, other: &Configuration) -> bool {
    let mut members = one.members();
    members.extend(other.members());
    members.sort_unstable();
    members.dedup();
    let place = |node: usize| members.iter().position(|m| m.0 as usize - 1 == node).unwrap_or(31);
    (0_u32..1 << members.len()).all(|set| {
        let inside = has_quorum(one, |node| set & (1 << place(node)) != 0);
        let outside = has_quorum(other, |node| set & (1 << place(node)) == 0);
        !(inside && outside)
    })
}
