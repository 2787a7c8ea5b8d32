//! Every entry that was ever made, what is committed of them, and the states that they led to.

use revd_raft::*;
use revd_sim::{Checked, ensure};

use crate::machine::content;

pub(crate) struct History {
    born: Position,
    /// For each index behind the birth, the entries that leaders made there: rarely more than one.
    made: Vec<Vec<Made>>,
    /// The term of each entry that is known to be committed.
    committed: Vec<Term>,
    /// The digest of the state behind each entry that was applied.
    states: Vec<u64>,
    /// Up to where each leader committed first, ascending by index. Terms need not ascend: a leader
    /// may learn late of what an earlier quorum has made durable.
    firsts: Vec<(Term, Index)>,
}

/// An entry, by its term, and what it stands behind.
struct Made {
    term: Term,
    previous: Term,
    content: u64,
    /// What its leader had applied when it was first seen.
    applied: Index,
}

impl History {
    pub(crate) fn new(born: Position) -> History {
        History {
            born,
            made: Vec::new(),
            committed: Vec::new(),
            states: Vec::new(),
            firsts: Vec::new(),
        }
    }

    fn place(&self, index: Index) -> Option<usize> {
        index.0.checked_sub(self.born.index.0 + 1).map(|place| place as usize)
    }

    fn made(&self, index: Index, term: Term) -> Option<&Made> {
        self.made.get(self.place(index)?)?.iter().find(|made| made.term == term)
    }

    /// An entry was seen behind one of term `previous`. A new one must have been made by its
    /// sender, a leader, which had applied so much.
    pub(crate) fn saw(&mut self, entry: &Entry, previous: Term, made_by: Option<Index>) -> Checked {
        let (position, content) = (entry.position(), content(entry));
        if let Some(made) = self.made(entry.index, entry.term) {
            ensure!(made.content == content, "there are two entries {position}");
            ensure!(
                made.previous == previous,
                "{position} stands behind terms {} and {previous}",
                made.previous
            );
            return Ok(());
        }
        let Some(applied) = made_by else {
            ensure!(false, "{position} was made by nobody");
            return Ok(());
        };
        ensure!(previous <= entry.term, "{position} stands behind term {previous}");
        let Some(place) = self.place(entry.index) else {
            ensure!(false, "{position} is older than the cluster");
            return Ok(());
        };
        if self.made.len() <= place {
            self.made.resize_with(place + 1, Vec::new);
        }
        self.made[place].push(Made { term: entry.term, previous, content, applied });
        Ok(())
    }

    /// A change of configuration stands in a log behind another one, which its leader must have
    /// applied before it made this one.
    pub(crate) fn check_change(&self, change: Position, earlier: Index) -> Checked {
        let made = self.made(change.index, change.term);
        ensure!(
            made.is_some_and(|made| earlier <= made.applied),
            "{change} changes the configuration, the change at {earlier} was not applied yet"
        );
        Ok(())
    }

    /// The highest index that is known to be committed.
    pub(crate) fn committed(&self) -> Index {
        Index(self.born.index.0 + self.committed.len() as u64)
    }

    /// The term of the entry at `index`, if it is committed.
    pub(crate) fn committed_term(&self, index: Index) -> Option<Term> {
        if index == self.born.index {
            return Some(self.born.term);
        }
        self.committed.get(self.place(index)?).copied()
    }

    /// The leader of `position.term` commits so far, before anybody else.
    pub(crate) fn commit(
        &mut self,
        position: Position,
        term_at: impl Fn(Index) -> Option<Term>,
    ) -> Checked {
        while self.committed() < position.index {
            let index = self.committed().next();
            let Some(term) = term_at(index) else {
                ensure!(false, "commits {position} without {index}");
                break;
            };
            self.committed.push(term);
        }
        self.firsts.push((position.term, position.index));
        Ok(())
    }

    /// The last position that was committed in a term before this one.
    pub(crate) fn committed_before(&self, term: Term) -> Position {
        let first = self.firsts.iter().rev().find(|(by, _)| *by < term);
        let index = first.map_or(self.born.index, |&(_, index)| index);
        Position::new(index, self.committed_term(index).unwrap_or_default())
    }

    /// An entry is handed out: it must be the committed one.
    pub(crate) fn check_committed(&self, entry: &Entry) -> Checked {
        let term = self.committed_term(entry.index);
        ensure!(
            term == Some(entry.term),
            "hands out {}, committed there is term {term:?}",
            entry.position()
        );
        let made = self.made(entry.index, entry.term);
        ensure!(
            made.is_some_and(|made| made.content == content(entry)),
            "hands out {} with other content",
            entry.position()
        );
        Ok(())
    }

    /// A state machine has applied the entry at `index`. Returns whether it is the first to.
    pub(crate) fn applied(&mut self, index: Index, state: u64) -> Checked<bool> {
        let place = self.place(index).unwrap_or_default();
        if place == self.states.len() {
            self.states.push(state);
            return Ok(true);
        }
        ensure!(
            self.states.get(place) == Some(&state),
            "is in another state than others behind {index}"
        );
        Ok(false)
    }
}
