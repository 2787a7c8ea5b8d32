//! raft-rs with its own storage in memory. Payloads go in by a proposal's message, which takes a
//! reference; `RawNode::propose` would copy them.

use std::mem;

use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};
use slog::{Discard, Logger, o};

use super::{
    Cluster, ELECTION_MILLIS, Election, Elections, HEARTBEAT_MILLIS, KEPT, Origin, Payloads,
    REPLICAS, Tally,
};
use crate::Result;

struct RaftRs {
    nodes: Vec<RawNode<MemStorage>>,
    /// What has arrived at each, and is to be taken in next.
    inboxes: [Vec<Message>; REPLICAS],
    /// The last entry of each storage's that was let go of.
    compacted: [u64; REPLICAS],
    origin: Origin,
    tally: Tally,
    /// Neither takes nor gives anything any more.
    lost: Option<usize>,
}

/// See [`ClusterEngine::start`](super::ClusterEngine::start).
pub(super) fn start() -> Result<Box<dyn Cluster>> {
    let mut cluster = RaftRs::new()?;
    cluster.nodes[0].campaign()?;
    cluster.deliver()?;
    if cluster.leader() != Some(0) {
        return Err("the first member does not lead".into());
    }
    Ok(Box::new(cluster))
}

/// See [`ClusterEngine::elect`](super::ClusterEngine::elect). Its timeouts have no seed.
pub(super) fn elect(number: u64) -> Result<Elections> {
    let mut cluster = RaftRs::new()?;
    let cold = cluster.wait_for_leader()?;
    for _ in 0..500 + number % u64::from(HEARTBEAT_MILLIS) {
        cluster.tick()?;
    }
    cluster.lost = cluster.leader();
    let lost = cluster.wait_for_leader()?;
    Ok(Elections { cold, lost })
}

impl RaftRs {
    fn new() -> Result<RaftRs> {
        let logger = Logger::root(Discard, o!());
        let ids = || 1..=REPLICAS as u64;
        let node = |id| -> Result<RawNode<MemStorage>> {
            let config = Config {
                id,
                election_tick: ELECTION_MILLIS as usize,
                heartbeat_tick: HEARTBEAT_MILLIS as usize,
                max_size_per_msg: 1 << 20,
                max_inflight_msgs: 512,
                check_quorum: true,
                pre_vote: true,
                batch_append: true,
                ..Config::default()
            };
            let storage = MemStorage::new_with_conf_state((ids().collect::<Vec<_>>(), Vec::new()));
            Ok(RawNode::new(&config, storage, &logger)?)
        };
        Ok(RaftRs {
            nodes: ids().map(node).collect::<Result<_>>()?,
            inboxes: Default::default(),
            compacted: [0; REPLICAS],
            origin: Origin::default(),
            tally: Tally::default(),
            lost: None,
        })
    }

    /// Does what one member asks for; whether that was anything.
    fn turn(&mut self, at: usize) -> Result<bool> {
        let mut inbox = mem::take(&mut self.inboxes[at]);
        let heard = !inbox.is_empty();
        for message in inbox.drain(..) {
            self.nodes[at].step(message)?;
        }
        self.inboxes[at] = inbox;
        if !self.nodes[at].has_ready() {
            return Ok(heard);
        }
        let mut ready = self.nodes[at].ready();
        self.send(at, ready.take_messages());
        self.apply(at, &ready.take_committed_entries());
        let storage = self.nodes[at].store().clone();
        storage.wl().append(ready.entries())?;
        if let Some(hard_state) = ready.hs() {
            storage.wl().set_hardstate(hard_state.clone());
        }
        self.send(at, ready.take_persisted_messages());
        let mut light = self.nodes[at].advance(ready);
        if let Some(commit) = light.commit_index() {
            storage.wl().mut_hard_state().set_commit(commit);
        }
        self.send(at, light.take_messages());
        self.apply(at, &light.take_committed_entries());
        self.nodes[at].advance_apply();
        self.compact(at, &storage)?;
        Ok(true)
    }

    fn send(&mut self, at: usize, messages: Vec<Message>) {
        if self.lost == Some(at) {
            return;
        }
        for message in messages {
            self.tally.messages += 1;
            let to = message.to as usize - 1;
            if self.lost != Some(to) {
                self.inboxes[to].push(message);
            }
        }
    }

    fn apply(&mut self, at: usize, entries: &[Entry]) {
        for entry in entries {
            if entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty() {
                self.tally.apply(at, &entry.data, self.origin);
            }
        }
    }

    /// Lets go of old entries, many at a time: the storage moves what it keeps.
    fn compact(&mut self, at: usize, storage: &MemStorage) -> Result<()> {
        let applied = self.nodes[at].raft.raft_log.applied;
        if applied - self.compacted[at] > 4 * KEPT as u64 {
            self.compacted[at] = applied - KEPT as u64;
            storage.wl().compact(self.compacted[at])?;
        }
        Ok(())
    }

    /// Goes on until nothing is left to do.
    fn deliver(&mut self) -> Result<()> {
        loop {
            let mut busy = false;
            for at in 0..REPLICAS {
                busy |= self.turn(at)?;
            }
            if !busy {
                return Ok(());
            }
        }
    }

    fn tick(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.tick();
        }
        self.deliver()
    }

    /// Whom all that are there follow.
    fn leader(&self) -> Option<usize> {
        let there = |at: &usize| self.lost != Some(*at);
        let known = |at: usize| (self.nodes[at].raft.term, self.nodes[at].raft.leader_id);
        let mut members = (0..REPLICAS).filter(there);
        let first = known(members.next()?);
        let leader = (first.1 as usize).checked_sub(1)?;
        let same = members.all(|member| known(member) == first);
        let leads = self.nodes[leader].raft.state == StateRole::Leader;
        (same && leads && there(&leader)).then_some(leader)
    }

    fn wait_for_leader(&mut self) -> Result<Election> {
        let (before, mut millis) = (self.tally.messages, 0);
        while self.leader().is_none() {
            self.tick()?;
            millis += 1;
        }
        Ok(Election { millis, messages: self.tally.messages - before })
    }
}

impl Cluster for RaftRs {
    fn pump(&mut self, payloads: &mut Payloads, outstanding: usize, rounds: usize) -> Result<()> {
        self.origin = payloads.origin();
        for _ in 0..rounds {
            let target = self.tally.applied[0] + outstanding as u64;
            for _ in 0..outstanding {
                let entry = Entry { data: payloads.take(), ..Entry::default() };
                let mut message = Message { from: 1, to: 1, ..Message::default() };
                message.set_msg_type(MessageType::MsgPropose);
                message.mut_entries().push(entry);
                self.nodes[0].step(message)?;
            }
            while self.tally.applied[0] < target {
                for at in 0..REPLICAS {
                    self.turn(at)?;
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<Tally> {
        self.deliver()?;
        Ok(self.tally)
    }
}
