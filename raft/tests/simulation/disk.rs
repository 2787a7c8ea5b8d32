//! What a member keeps over a crash, and the writes that are under way to it.

use std::collections::VecDeque;

use revd_raft::*;
use revd_sim::Chance;

use crate::machine::State;

/// A member's disk. Jobs are carried out one after another; what a crash interrupts is done to
/// some beginning of it, in the order that the contract prescribes.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    /// The position before the first entry.
    before: Position,
    entries: VecDeque<Entry>,
    /// The changes of configuration among them.
    changes: VecDeque<Index>,
    /// What the state machine starts from.
    pub(crate) checkpoint: State,
    /// Under way, the first one being written.
    pub(crate) jobs: VecDeque<Job>,
    /// Damage took the end of the log, and what it may have said to hold is not there again yet.
    pub(crate) damage: Option<Damage>,
    /// Everything that damage took. An earlier leader may still count on it.
    lost: Vec<Position>,
}

/// What is known of damage to a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Damage {
    /// The cluster had committed this much when it was found.
    pub(crate) committed: Position,
}

#[derive(Debug)]
pub(crate) enum Job {
    /// What the core wants durable; the member had applied this much when it said so.
    Persist(Persist, Index),
    /// A snapshot takes the place of state machine and log, in one step.
    Install(State),
}

impl Disk {
    /// The disk of a member that is born with this state.
    pub(crate) fn new(born: State) -> Disk {
        Disk {
            hard_state: HardState { term: born.position.term, vote: None },
            before: born.position,
            entries: VecDeque::new(),
            changes: VecDeque::new(),
            checkpoint: born,
            jobs: VecDeque::new(),
            damage: None,
            lost: Vec::new(),
        }
    }

    /// Where the durable log ends.
    pub(crate) fn last(&self) -> Position {
        self.entries.back().map_or(self.before, Entry::position)
    }

    /// The first entry of the durable log, or the one that will be.
    pub(crate) fn first(&self) -> Index {
        self.before.index.next()
    }

    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.0.checked_sub(self.first().0)?).ok()?)
    }

    /// The term of the durable entry at `index`, or of the position before the first.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.before.index {
            return Some(self.before.term);
        }
        self.entry(index).map(|entry| entry.term)
    }

    /// Whether the entry at `position` is durable here, or was applied and let go.
    pub(crate) fn holds(&self, position: Position) -> bool {
        position.index < self.before.index || self.term_at(position.index) == Some(position.term)
    }

    /// Whether it is durable here, or was before damage took it.
    pub(crate) fn held(&self, position: Position) -> bool {
        self.holds(position) || self.lost.contains(&position)
    }

    /// Damage takes the entries from `index` on, none of them in the checkpoint.
    pub(crate) fn take_damage(&mut self, index: Index, damage: Damage) {
        let gone = self.entries.iter().filter(|entry| entry.index >= index);
        self.lost.extend(gone.map(Entry::position));
        self.truncate(index);
        self.damage = Some(damage);
    }

    /// Cuts off the entries from `index` on; returns how many those were.
    pub(crate) fn truncate(&mut self, index: Index) -> u64 {
        let keep = index.0.saturating_sub(self.first().0);
        let cut = (self.entries.len() as u64).saturating_sub(keep);
        self.entries.truncate(keep as usize);
        while self.changes.back().is_some_and(|&change| change >= index) {
            self.changes.pop_back();
        }
        cut
    }

    /// The last change of configuration in the log.
    pub(crate) fn last_change(&self) -> Option<Index> {
        self.changes.back().copied()
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if entry.kind == EntryKind::Configuration {
            self.changes.push_back(entry.index);
        }
        self.entries.push_back(entry);
    }

    pub(crate) fn install(&mut self, state: State) {
        self.before = state.position;
        self.entries.clear();
        self.changes.clear();
        self.checkpoint = state;
    }

    /// Entries up to `index` leave the log; the checkpoint contains them.
    pub(crate) fn release(&mut self, index: Index) {
        while self.entries.front().is_some_and(|entry| entry.index <= index) {
            if let Some(entry) = self.entries.pop_front() {
                self.before = entry.position();
            }
        }
        while self.changes.front().is_some_and(|&change| change <= index) {
            self.changes.pop_front();
        }
    }

    /// The entries that answer `fetch`: some of those asked for, none if the first is gone.
    pub(crate) fn read(&self, fetch: &Fetch, chance: &mut Chance) -> Vec<Entry> {
        let count = fetch.last.0 - fetch.first.0 + 1;
        let most = if chance.permille(800) { count } else { chance.between(1, count) };
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in (fetch.first.0..).take(most as usize) {
            let Some(entry) = self.entry(Index(index)) else { break };
            bytes += entry.bytes();
            if bytes > fetch.max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        entries
    }

    /// What a member finds here when it starts. It may be shown entries that are applied, too.
    pub(crate) fn restart(
        &self,
        config: &Config,
        chance: &mut Chance,
    ) -> Result<Restart, StartError> {
        let State { position, configuration, .. } = &self.checkpoint;
        let mut restart = Restart::new(config, self.hard_state, *position, configuration.clone());
        let back = if chance.permille(500) { 0 } else { chance.below(20) };
        let from = Index(position.index.next().0.saturating_sub(back)).max(self.first());
        for entry in self.entries.iter().filter(|entry| entry.index >= from) {
            restart.push(entry.clone())?;
        }
        restart.log_begins_at(self.first());
        if self.damage.is_some() {
            restart.recovering();
        }
        Ok(restart)
    }
}
