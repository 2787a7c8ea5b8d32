//! revd-raft: persists are answered at once, messages are handed over by reference, and outputs are
//! used again.

use revd_raft::{
    Config, Configuration, Entry, EntryKind, HardState, Input, NodeId, Output, Position, Raft,
    Restart, Role,
};

use super::{
    Cluster, ELECTION_MILLIS, Election, Elections, HEARTBEAT_MILLIS, KEPT, Origin, Payloads,
    REPLICAS, Tally,
};
use crate::Result;

struct Revd {
    rafts: Vec<Raft>,
    outputs: Vec<Output>,
    origin: Origin,
    tally: Tally,
    /// Neither takes nor gives anything any more.
    lost: Option<usize>,
}

/// See [`ClusterEngine::start`](super::ClusterEngine::start).
pub(super) fn start() -> Result<Box<dyn Cluster>> {
    let mut cluster = Revd::new(0)?;
    cluster.rafts[0].step(Input::Campaign)?;
    cluster.deliver()?;
    if cluster.leader() != Some(0) {
        return Err("the first member does not lead".into());
    }
    Ok(Box::new(cluster))
}

/// See [`ClusterEngine::elect`](super::ClusterEngine::elect).
pub(super) fn elect(number: u64) -> Result<Elections> {
    let mut cluster = Revd::new(number)?;
    let cold = cluster.wait_for_leader()?;
    for _ in 0..500 + number % u64::from(HEARTBEAT_MILLIS) {
        cluster.tick()?;
    }
    cluster.lost = cluster.leader();
    let lost = cluster.wait_for_leader()?;
    Ok(Elections { cold, lost })
}

impl Revd {
    fn new(seed: u64) -> Result<Revd> {
        let ids = || (1..=REPLICAS as u64).map(NodeId);
        let member = |id: NodeId| -> Result<Raft> {
            let mut config = Config::new(id);
            config.election_ticks = ELECTION_MILLIS;
            config.heartbeat_ticks = HEARTBEAT_MILLIS;
            config.tail_bytes = KEPT * (Entry::OVERHEAD + 256);
            let members = Configuration::new(ids(), [])?;
            let restart = Restart::new(&config, HardState::default(), Position::default(), members);
            Ok(Raft::new(config, restart, seed * REPLICAS as u64 + id.0)?)
        };
        Ok(Revd {
            rafts: ids().map(member).collect::<Result<_>>()?,
            outputs: ids().map(|_| Output::default()).collect(),
            origin: Origin::default(),
            tally: Tally::default(),
            lost: None,
        })
    }

    /// Does what one member asks for; whether that was anything.
    fn turn(&mut self, at: usize) -> Result<bool> {
        let (raft, output) = (&mut self.rafts[at], &mut self.outputs[at]);
        raft.take_into(output);
        if let Some(persist) = &output.persist {
            raft.step(Input::Persisted(persist.number))?;
        }
        for entry in &output.committed {
            if entry.kind == EntryKind::Normal {
                self.tally.apply(at, &entry.data, self.origin);
            }
        }
        if let Some(last) = output.committed.last() {
            raft.step(Input::Applied(last.index))?;
        }
        if self.lost == Some(at) {
            return Ok(false);
        }
        for message in &mut output.messages {
            self.tally.messages += 1;
            let to = message.to.0 as usize - 1;
            if self.lost != Some(to) {
                self.rafts[to].receive(message)?;
            }
        }
        Ok(!output.is_empty())
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
        for raft in &mut self.rafts {
            raft.step(Input::Tick)?;
        }
        self.deliver()
    }

    /// Whom all that are there follow.
    fn leader(&self) -> Option<usize> {
        let there = |at: &usize| self.lost != Some(*at);
        let mut statuses = (0..REPLICAS).filter(there).map(|at| self.rafts[at].status());
        let first = statuses.next()?;
        let same = statuses.all(|other| (other.term, other.leader) == (first.term, first.leader));
        let leader = first.leader.filter(|_| same)?.0 as usize - 1;
        let leads = there(&leader) && self.rafts[leader].status().role == Role::Leader;
        leads.then_some(leader)
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

impl Cluster for Revd {
    fn pump(&mut self, payloads: &mut Payloads, outstanding: usize, rounds: usize) -> Result<()> {
        self.origin = payloads.origin();
        for _ in 0..rounds {
            let target = self.tally.applied[0] + outstanding as u64;
            for _ in 0..outstanding {
                self.rafts[0].propose(payloads.take())?;
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
