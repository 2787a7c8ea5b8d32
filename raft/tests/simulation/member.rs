//! One member: the core, its disk, its state machine, and the driver's own notes.

use std::collections::VecDeque;

use revd_raft::*;
use revd_sim::{Life, Time};

use crate::disk::Disk;
use crate::event::TICK;
use crate::machine::State;
use crate::plan::MEMBERS_MAX;

pub(crate) struct Member {
    pub(crate) life: Life,
    pub(crate) config: Config,
    /// None while it is down.
    pub(crate) raft: Option<Raft>,
    pub(crate) disk: Disk,

    // Lost in a crash.
    pub(crate) state: State,
    /// Handed out and not applied yet.
    pub(crate) to_apply: VecDeque<Entry>,
    pub(crate) handed: Index,
    pub(crate) fetches: Vec<Fetch>,
    /// Reads that have their index, and wait until it is applied.
    pub(crate) reads: Vec<ReadReady>,
    /// Snapshots under way from here; the log behind their positions is kept.
    pub(crate) sending: Vec<(NodeId, Position)>,
    pub(crate) take_due: bool,
    pub(crate) apply_due: bool,

    /// The process stands still until then.
    pub(crate) paused_until: Time,
    /// The disk is slow until then.
    pub(crate) slow_until: Time,
    /// The length of a tick of its clock, and ticks since it started.
    pub(crate) tick: Time,
    pub(crate) ticks: u64,
    /// The tick in which each other member was last heard in this one's term.
    pub(crate) heard: [u64; MEMBERS_MAX],
    /// While it leads: what was committed one to two, and up to one, election timeouts ago.
    pub(crate) settled: (Index, Index),
    /// Removed and shut down for good.
    pub(crate) retired: bool,
}

impl Member {
    /// A member that has yet to be started, `place` counted from 0.
    pub(crate) fn new(place: usize, config: &Config, born: State) -> Member {
        let mut config = config.clone();
        config.id = NodeId(place as u64 + 1);
        Member {
            life: Life { member: place, incarnation: 0 },
            config,
            raft: None,
            handed: born.position.index,
            disk: Disk::new(born.clone()),
            state: born,
            to_apply: VecDeque::new(),
            fetches: Vec::new(),
            reads: Vec::new(),
            sending: Vec::new(),
            take_due: false,
            apply_due: false,
            paused_until: 0,
            slow_until: 0,
            tick: TICK,
            ticks: 0,
            heard: [0; MEMBERS_MAX],
            settled: (Index(0), Index(0)),
            retired: false,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.raft.is_some()
    }

    /// The core of a member that is up.
    pub(crate) fn core(&self) -> &Raft {
        self.raft.as_ref().expect("asked of members that are up")
    }

    pub(crate) fn core_mut(&mut self) -> &mut Raft {
        self.raft.as_mut().expect("asked of members that are up")
    }

    pub(crate) fn status(&self) -> Status {
        self.core().status()
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.raft.as_ref().is_some_and(|raft| raft.status().role == Role::Leader)
    }

    pub(crate) fn configuration(&self) -> &Configuration {
        self.core().configuration()
    }

    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        self.core().term_at(index)
    }

    /// Whether the log has an entry of `term` at `index`, or had one that was applied and let go.
    pub(crate) fn agrees(&self, index: Index, term: Term) -> bool {
        match self.term_at(index) {
            Some(found) => found == term,
            None => index < self.status().first && index <= self.status().applied,
        }
    }

    /// Everything that is not on the disk is gone.
    pub(crate) fn forget(&mut self) {
        self.raft = None;
        self.state = self.disk.checkpoint.clone();
        self.handed = self.state.position.index;
        self.to_apply.clear();
        self.fetches.clear();
        self.reads.clear();
        self.sending.clear();
        self.take_due = false;
        self.apply_due = false;
        self.paused_until = 0;
        self.ticks = 0;
        self.heard = [0; MEMBERS_MAX];
    }

    /// Its clock ticks.
    pub(crate) fn tick(&mut self) {
        self.ticks += 1;
        if self.ticks.is_multiple_of(u64::from(self.config.election_ticks)) {
            self.settled = (self.settled.1, self.status().commit);
        }
    }

    /// It leads from now on.
    pub(crate) fn lead(&mut self) {
        self.hear_all();
        self.settled = (Index(0), Index(0));
    }

    /// Every member counts as heard of now: the leader has just been elected, or counts otherwise.
    pub(crate) fn hear_all(&mut self) {
        self.heard = [self.ticks; MEMBERS_MAX];
    }
}
