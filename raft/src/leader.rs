//! The rules of a leader: what it appends, when an entry is committed, and when it gives up
//! (sections 5.3, 5.4.2 and 6).

use bytes::Bytes;

use crate::entry::{Entry, EntryKind};
use crate::error::Refused;
use crate::message::{Body, Proposal};
use crate::number::{Index, NodeId, Position};
use crate::output::Role;
use crate::planted::Bug;
use crate::progress::Peer;
use crate::raft::{NOTHING, Raft};
use crate::transfer::Transfer;

#[derive(Clone, Debug, Default)]
pub(crate) struct Lead {
    /// The other members, ascending by id.
    pub(crate) peers: Vec<Peer>,
    /// The first entry of this leader's term.
    pub(crate) term_begins: Index,
    /// What this leader's proposals that are not committed count for.
    pub(crate) uncommitted_bytes: usize,
    pub(crate) transfer: Option<Transfer>,
    /// The latest round of heartbeats.
    pub(crate) round: u64,
    /// Ticks since the last heartbeat that the clock demanded.
    heartbeat_elapsed: u32,
    /// This leader has removed itself, and leads on until the entry here is committed.
    pub(crate) until: Option<Index>,
    /// What was committed when the quorum was last checked: who lacks some of it lags.
    pub(crate) settled: Index,
}

impl Lead {
    pub(crate) fn peer(&self, id: NodeId) -> Option<&Peer> {
        self.peers.binary_search_by_key(&id, |peer| peer.id).ok().map(|at| &self.peers[at])
    }

    pub(crate) fn peer_mut(&mut self, id: NodeId) -> Option<&mut Peer> {
        self.peers.binary_search_by_key(&id, |peer| peer.id).ok().map(|at| &mut self.peers[at])
    }
}

impl Raft {
    /// A candidate that a quorum has voted for leads. Its first entry commits what earlier leaders
    /// have left (section 5.4.2), and tells everybody that it leads.
    pub(crate) fn become_leader(&mut self) {
        self.role = Role::Leader;
        self.leader = Some(self.config.id);
        self.stats.elections_won += 1;
        self.elapsed = 0;
        let next = self.log.last().index.next();
        self.lead = Lead { term_begins: next, settled: next, ..Lead::default() };
        let members = self.configuration.members();
        let others = members.into_iter().filter(|&id| id != self.config.id);
        self.lead.peers.extend(others.map(|id| Peer::new(id, next)));
        self.log.append(self.hard_state.term, EntryKind::Empty, NOTHING);
    }

    /// Another takes over, or nobody does. What waits for this leader has lost it.
    pub(crate) fn stop_leading(&mut self) {
        self.lead = Lead::default();
        self.reads.stop_leading(self.config.id);
    }

    /// One tick of a leader's clocks.
    pub(crate) fn tick_as_leader(&mut self) {
        self.tick_transfer();
        self.lead.heartbeat_elapsed += 1;
        self.elapsed += 1;
        if self.elapsed >= self.config.election_ticks {
            self.elapsed = 0;
            self.check_quorum();
        }
        let due = self.lead.heartbeat_elapsed >= self.config.heartbeat_ticks;
        if due && self.role == Role::Leader {
            self.lead.heartbeat_elapsed = 0;
            self.begin_round();
            for peer in &mut self.lead.peers {
                peer.nudge_due = peer.matched == peer.matched_before;
                peer.matched_before = peer.matched;
            }
        }
    }

    /// A leader that has not heard from a quorum for an election timeout gives up: another may have
    /// been elected, and whoever asks this one should go and find it (section 6.2 of the
    /// dissertation).
    fn check_quorum(&mut self) {
        self.lead.settled = self.commit;
        let me = self.config.id;
        let heard = |id| id == me || self.lead.peer(id).is_some_and(|peer| peer.active);
        let quorum = self.electorate().is_quorum(heard);
        for peer in &mut self.lead.peers {
            peer.active = false;
        }
        if quorum || !self.config.check_quorum {
            return;
        }
        if self.planted(Bug::StayWithoutQuorum) {
            self.answer_reads(u64::MAX);
            return;
        }
        self.follow(self.hard_state.term, None);
    }

    /// Begins a round of heartbeats to every other member.
    pub(crate) fn begin_round(&mut self) {
        self.lead.round += 1;
        let (round, commit) = (self.lead.round, self.commit);
        for at in 0..self.lead.peers.len() {
            let peer = &self.lead.peers[at];
            // What the receiver is not known to hold may be another entry there.
            let capped =
                if self.planted(Bug::HeartbeatCommitUncapped) { commit } else { peer.matched };
            let to = peer.id;
            self.send(to, Body::Heartbeat { commit: commit.min(capped), round });
        }
    }

    pub(crate) fn heartbeat_answered(&mut self, from: NodeId, round: u64) -> Result<(), Refused> {
        let latest = self.lead.round;
        if round > latest {
            return Err(Refused::Malformed { from, what: "an answer to no heartbeat" });
        }
        let counted = if self.planted(Bug::CountEarlierRound) { latest } else { round };
        if let Some(peer) = self.lead.peer_mut(from) {
            peer.round = peer.round.max(counted);
        }
        self.nudge(from);
        self.confirm_reads();
        Ok(())
    }

    /// A follower holds this leader's log up to `matched`.
    pub(crate) fn appended(
        &mut self,
        from: NodeId,
        matched: Index,
        counts: bool,
    ) -> Result<(), Refused> {
        let (last, first) = (self.log.last().index, self.log.first());
        if matched > last {
            return Err(Refused::Malformed { from, what: "holds more than the leader" });
        }
        let Some(peer) = self.lead.peer_mut(from) else { return Ok(()) };
        peer.counts = counts;
        if peer.acknowledged(matched, first) || matched == last {
            self.advance_commit();
            self.finish_transfer();
        }
        Ok(())
    }

    /// Commits what a quorum holds durably, if that includes an entry of this leader's term
    /// (section 5.4.2): all before it is then committed with it.
    pub(crate) fn advance_commit(&mut self) {
        let own = if self.planted(Bug::CountUnpersisted) {
            self.log.last().index
        } else {
            self.log.persisted()
        };
        let (me, lead) = (self.config.id, &self.lead);
        let held = |id| {
            if id == me {
                return own;
            }
            lead.peer(id).filter(|peer| peer.counts).map_or(Index(0), |peer| peer.matched)
        };
        let agreed = self.electorate().reached(held);
        let own_term = agreed >= lead.term_begins || self.planted(Bug::CommitOlderTerm);
        if agreed > self.commit && own_term {
            self.count_committed(agreed);
            self.commit = agreed;
        }
    }

    /// What is committed up to `to` no longer waits.
    fn count_committed(&mut self, to: Index) {
        // The leader's first entry counts for nothing, and all behind it are in memory until they
        // are committed.
        let from = self.commit.next().max(self.lead.term_begins.next());
        let count = usize::try_from(to.next().0.saturating_sub(from.0)).unwrap_or(usize::MAX);
        if count == 0 {
            return;
        }
        let entries = self.log.in_memory(from).expect("uncommitted proposals are in memory");
        let bytes: usize = entries.take(count).map(Entry::bytes).sum();
        self.lead.uncommitted_bytes -= bytes;
    }

    /// Appends a normal entry to the leader's log and returns where. It becomes durable with the
    /// next [`Output::persist`](crate::Output::persist), and goes to the other members with the
    /// next [`Output::messages`](crate::Output::messages), together with all others that were
    /// proposed meanwhile.
    ///
    /// # Errors
    /// When this member is not the leader, when leadership is being handed over, or when too much
    /// waits to be committed.
    pub fn propose(&mut self, data: Bytes) -> Result<Position, Refused> {
        self.append(EntryKind::Normal, data)
    }

    /// Appends an entry to the leader's log.
    pub(crate) fn append(&mut self, kind: EntryKind, data: Bytes) -> Result<Position, Refused> {
        let bytes = Entry::OVERHEAD + data.len();
        if let Err(refused) = self.check_leader().and_then(|()| self.check_room(bytes)) {
            self.stats.proposals_refused += 1;
            return Err(refused);
        }
        self.lead.uncommitted_bytes += bytes;
        self.stats.proposed += 1;
        Ok(self.log.append(self.hard_state.term, kind, data))
    }

    /// Whether this member leads, and takes proposals.
    pub(crate) fn check_leader(&self) -> Result<(), Refused> {
        if self.role != Role::Leader {
            return Err(Refused::NotLeader { leader: self.leader });
        }
        if !self.configuration.is_voter(self.config.id) {
            return Err(Refused::NotLeader { leader: None });
        }
        match self.lead.transfer {
            Some(transfer) => Err(Refused::Transferring { to: transfer.to }),
            None => Ok(()),
        }
    }

    fn check_room(&self, bytes: usize) -> Result<(), Refused> {
        let (uncommitted, limit) = (self.lead.uncommitted_bytes, self.config.max_uncommitted_bytes);
        if uncommitted > 0 && bytes > limit.saturating_sub(uncommitted) {
            return Err(Refused::Full { uncommitted, bytes, limit });
        }
        Ok(())
    }

    /// Proposals that a follower has handed on. What is refused is lost, as the contract says.
    pub(crate) fn propose_for(&mut self, proposals: &mut Vec<Proposal>) {
        for proposal in proposals.drain(..) {
            let _lost = match proposal {
                Proposal::Normal(data) => self.propose(data),
                Proposal::Configuration { change, data } => {
                    self.propose_configuration(&change, data)
                }
            };
        }
    }
}
