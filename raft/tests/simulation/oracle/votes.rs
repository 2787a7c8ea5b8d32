//! Who voted for whom, as far as it is durable, and who led.

use std::collections::BTreeMap;

use revd_raft::Term;
use revd_sim::{Checked, ensure};

#[derive(Default)]
pub(crate) struct Votes {
    /// For each term and voter, the candidate. What was durable once counts for good.
    given: BTreeMap<(Term, usize), usize>,
    /// The leader of each term, by term.
    leaders: Vec<Option<usize>>,
}

impl Votes {
    /// At most one vote a term.
    pub(crate) fn give(&mut self, term: Term, voter: usize, candidate: usize) -> Checked {
        let earlier = *self.given.entry((term, voter)).or_insert(candidate);
        ensure!(
            earlier == candidate,
            "votes for {} in term {term}, after {}",
            candidate + 1,
            earlier + 1
        );
        Ok(())
    }

    /// Whom a member has voted for, durably.
    pub(crate) fn durable(&self, term: Term, voter: usize) -> Option<usize> {
        self.given.get(&(term, voter)).copied()
    }

    /// All votes of a term, as (voter, candidate) ids.
    pub(crate) fn of(&self, term: Term) -> Vec<(usize, usize)> {
        let votes = self.given.range((term, 0)..=(term, usize::MAX));
        votes.map(|(&(_, voter), &candidate)| (voter + 1, candidate + 1)).collect()
    }

    /// At most one leader a term, and once: a leader that restarts never leads in that term again.
    pub(crate) fn elected(&mut self, term: Term, place: usize) -> Checked {
        let number = term.0 as usize;
        if self.leaders.len() <= number {
            self.leaders.resize(number + 1, None);
        }
        let earlier = self.leaders[number].replace(place);
        ensure!(
            earlier.is_none(),
            "leads in term {term}, which member {} led already",
            earlier.unwrap_or_default() + 1
        );
        Ok(())
    }

    pub(crate) fn leader(&self, term: Term) -> Option<usize> {
        self.leaders.get(term.0 as usize).copied().flatten()
    }
}
