//! Linearizable reads by read index (section 6.4 of the dissertation).
//!
//! A leader that has committed an entry of its own term knows everything that was committed before
//! it (section 8 of the paper). Its commit index, noted after a read arrived, is what the read has
//! to see, provided that it still led then: a round of heartbeats that began after the read arrived
//! and that a quorum answers in the same term shows that. No clock is involved.
//!
//! All reads that arrive between two [`Raft::take`]s share a round, and an answer to a round counts
//! for all before it.

use std::collections::VecDeque;

use crate::error::Refused;
use crate::message::Body;
use crate::number::{Index, NodeId, ReadId};
use crate::output::{ReadReady, Role};
use crate::planted::Bug;
use crate::raft::Raft;
use crate::recovery::RECOVERY_READ;

/// Rounds under way for the sake of reads; later reads share the next one.
const ROUNDS: usize = 16;

#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    /// Arrived at this leader, and not part of a round yet.
    waiting: Vec<Asked>,
    /// Wait for a quorum to answer their round.
    rounds: VecDeque<Round>,
    /// How many the rounds hold.
    in_rounds: usize,
    /// Handed to the leader, each with the tick at which that was; or about to be.
    handed_on: VecDeque<(ReadId, u64)>,
    /// How many of `handed_on`, at its end, are yet to be sent.
    unsent: usize,
    now: u64,
    /// Answered and not taken yet.
    ready: Vec<ReadReady>,
    failed: Vec<ReadId>,
}

/// A read, and the member that wants to serve it.
#[derive(Clone, Copy, Debug)]
struct Asked {
    from: NodeId,
    id: ReadId,
}

#[derive(Clone, Debug)]
struct Round {
    /// The round of heartbeats that has to be answered.
    round: u64,
    /// What was committed when it began.
    index: Index,
    asked: Vec<Asked>,
}

impl Reads {
    /// Reads that wait for their index.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len() + self.in_rounds + self.handed_on.len()
    }

    /// Reads that wait for their index, or whose answers have not been taken yet.
    fn held(&self) -> usize {
        self.waiting() + self.ready.len() + self.failed.len()
    }

    /// A tick of a member that does not lead: what was handed on an election timeout ago is lost.
    pub(crate) fn tick(&mut self, election_ticks: u32) {
        self.now += 1;
        while let Some(&(id, since)) = self.handed_on.front() {
            if self.now - since <= u64::from(election_ticks) {
                break;
            }
            self.handed_on.pop_front();
            self.failed.push(id);
        }
        self.unsent = self.unsent.min(self.handed_on.len());
    }

    /// The leader that reads were handed to is not the leader any more.
    pub(crate) fn lose_leader(&mut self) {
        self.failed.extend(self.handed_on.drain(..).map(|(id, _)| id));
        self.unsent = 0;
    }

    /// This leader does not lead any more. Other members see that for themselves.
    pub(crate) fn stop_leading(&mut self, me: NodeId) {
        let rounds = self.rounds.drain(..).flat_map(|round| round.asked);
        let own = rounds.chain(self.waiting.drain(..)).filter(|asked| asked.from == me);
        self.failed.extend(own.map(|asked| asked.id));
        self.in_rounds = 0;
    }

    /// The answers that are due, into lists that are empty.
    pub(crate) fn take(&mut self, ready: &mut Vec<ReadReady>, failed: &mut Vec<ReadId>) {
        if !self.ready.is_empty() {
            std::mem::swap(ready, &mut self.ready);
        }
        if !self.failed.is_empty() {
            std::mem::swap(failed, &mut self.failed);
        }
    }
}

impl Raft {
    /// A read asks for its read index.
    pub(crate) fn read(&mut self, id: ReadId) -> Result<(), Refused> {
        if self.leader.is_none() {
            return Err(Refused::NoLeader);
        }
        if self.reads.held() >= self.config.max_reads {
            return Err(Refused::TooManyReads { waiting: self.reads.held() });
        }
        if self.role != Role::Leader {
            self.reads.handed_on.push_back((id, self.reads.now));
            self.reads.unsent += 1;
            return Ok(());
        }
        self.ask(Asked { from: self.config.id, id });
        Ok(())
    }

    /// A follower asks for the read indexes of its reads. Those beyond the bound are dropped; it
    /// gives up waiting by itself.
    pub(crate) fn read_for(&mut self, from: NodeId, ids: &[ReadId]) {
        let room = self.config.max_reads.saturating_sub(self.reads.held());
        for &id in ids.iter().take(room) {
            self.ask(Asked { from, id });
        }
    }

    fn ask(&mut self, asked: Asked) {
        self.reads.waiting.push(asked);
        if self.planted(Bug::ReadWithoutRound) {
            self.begin_reads();
            self.answer_reads(u64::MAX);
        }
    }

    /// Begins a round for the reads that wait, once that can mean something. Where this member is a
    /// quorum, the round is over at once.
    pub(crate) fn begin_reads(&mut self) {
        let reads = &self.reads;
        let idle = reads.waiting.is_empty() || reads.rounds.len() >= ROUNDS;
        let knows = self.commit >= self.lead.term_begins || self.planted(Bug::ReadBeforeOwnEntry);
        if idle || self.role != Role::Leader || !knows {
            return;
        }
        let alone = self.electorate().is_quorum(|id| id == self.config.id);
        if !alone {
            self.begin_round();
        }
        let asked = std::mem::take(&mut self.reads.waiting);
        self.reads.in_rounds += asked.len();
        let round = Round { round: self.lead.round, index: self.commit, asked };
        self.reads.rounds.push_back(round);
        if alone {
            self.answer_reads(u64::MAX);
        }
    }

    /// Answers the reads whose round a quorum has answered.
    pub(crate) fn confirm_reads(&mut self) {
        if self.reads.rounds.is_empty() {
            return;
        }
        let (me, lead) = (self.config.id, &self.lead);
        let answered = |id| {
            if id == me { lead.round } else { lead.peer(id).map_or(0, |peer| peer.round) }
        };
        let confirmed = self.electorate().reached(answered);
        self.answer_reads(confirmed);
    }

    /// Answers the reads of all rounds up to `confirmed`.
    pub(crate) fn answer_reads(&mut self, confirmed: u64) {
        while self.reads.rounds.front().is_some_and(|round| round.round <= confirmed) {
            let Some(Round { index, asked, .. }) = self.reads.rounds.pop_front() else { return };
            self.reads.in_rounds -= asked.len();
            self.stats.reads += asked.len() as u64;
            for group in asked.chunk_by(|one, next| one.from == next.from) {
                let from = group[0].from;
                let answers = group.iter().map(|asked| ReadReady { id: asked.id, index });
                if from == self.config.id {
                    self.reads.ready.extend(answers);
                } else {
                    let reads = answers.collect();
                    self.send(from, Body::ReadAnswer { reads });
                }
            }
        }
    }

    /// Hands the reads that wait for the leader to it.
    pub(crate) fn hand_on_reads(&mut self) {
        let (Some(leader), Role::Follower) = (self.leader, self.role) else { return };
        if self.reads.unsent > 0 {
            let sent = self.reads.handed_on.len() - self.reads.unsent;
            let ids = self.reads.handed_on.range(sent..).map(|&(id, _)| id).collect();
            self.reads.unsent = 0;
            self.send(leader, Body::Read { ids });
        }
    }

    /// The leader has answered reads that were handed to it.
    pub(crate) fn reads_answered(&mut self, from: NodeId, answers: &[ReadReady]) {
        if self.leader != Some(from) {
            self.stats.messages_ignored += 1;
            return;
        }
        for answer in answers {
            if answer.id == RECOVERY_READ {
                self.recovery_confirmed(answer.index);
                continue;
            }
            let handed_on = &mut self.reads.handed_on;
            let Some(at) = handed_on.iter().position(|&(id, _)| id == answer.id) else { continue };
            if at + self.reads.unsent < handed_on.len() {
                handed_on.remove(at);
                self.reads.ready.push(*answer);
            }
        }
    }
}
