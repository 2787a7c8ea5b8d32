//! Which term each entry of the log is of, without the entries.
//!
//! Terms rise along a log, and few of them are as many as elections were held: where each begins is
//! enough, however much of the log has left the memory.

use crate::number::{Index, Position, Term};
use crate::planted::invariant;

/// Where each term begins, for a stretch of the log that ends with it.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The first entry of each term, index and term rising strictly. The first one is the start of
    /// what is known. Never empty.
    runs: Vec<Position>,
}

impl Terms {
    /// Knows one position and what will be appended behind it.
    pub(crate) fn from(position: Position) -> Terms {
        Terms { runs: vec![position] }
    }

    /// The term at `index`, which the log must reach; none below what is known.
    pub(crate) fn at(&self, index: Index) -> Option<Term> {
        let behind = self.runs.partition_point(|run| run.index <= index);
        behind.checked_sub(1).map(|place| self.runs[place].term)
    }

    /// The log goes on with an entry at `position`.
    pub(crate) fn append(&mut self, position: Position) {
        let last = self.runs[self.runs.len() - 1];
        invariant!(last.term <= position.term, "term fell from {last} to {position}");
        if last.term != position.term {
            self.runs.push(position);
        }
    }

    /// The log ends before `index`, which is behind the first position that is known.
    pub(crate) fn truncate(&mut self, index: Index) {
        let kept = self.runs.partition_point(|run| run.index < index);
        self.runs.truncate(kept.max(1));
    }

    /// The last position at or before `position` whose term is not above `position`'s, if it is
    /// known. The log must reach so far.
    pub(crate) fn last_at_most(&self, position: Position) -> Option<Position> {
        let mut index = position.index;
        let behind = self.runs.partition_point(|run| run.index <= index);
        for run in self.runs[..behind].iter().rev() {
            if run.term <= position.term {
                return Some(Position::new(index, run.term));
            }
            index = run.index.previous();
        }
        None
    }

    /// What is before `index` will not be asked for again.
    pub(crate) fn forget_before(&mut self, index: Index) {
        let Some(term) = self.at(index) else { return };
        let behind = self.runs.partition_point(|run| run.index <= index);
        self.runs.drain(..behind - 1);
        self.runs[0] = Position::new(index, term);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(index: u64, term: u64) -> Position {
        Position::new(Index(index), Term(term))
    }

    #[test]
    fn terms_are_those_appended_until_forgotten() {
        let mut terms = Terms::from(position(4, 1));
        let log = [(5, 1), (6, 3), (7, 3), (8, 7), (9, 7)];
        for (index, term) in log {
            terms.append(position(index, term));
        }
        assert_eq!(terms.runs.len(), 3);
        assert_eq!(terms.at(Index(3)), None);
        assert_eq!(terms.at(Index(4)), Some(Term(1)));
        for (index, term) in log {
            assert_eq!(terms.at(Index(index)), Some(Term(term)), "at {index}");
        }
        terms.forget_before(Index(7));
        assert_eq!(terms.at(Index(6)), None);
        assert_eq!(terms.at(Index(7)), Some(Term(3)));
        assert_eq!(terms.at(Index(9)), Some(Term(7)));
        terms.forget_before(Index(2));
        assert_eq!(terms.at(Index(7)), Some(Term(3)), "forgetting again changes nothing");
        terms.forget_before(Index(9));
        assert_eq!(terms.runs, [position(9, 7)]);
    }

    #[test]
    fn a_conflict_is_looked_for_one_term_at_a_time() {
        let mut terms = Terms::from(position(4, 1));
        for (index, term) in [(5, 1), (6, 3), (7, 3), (8, 7), (9, 7)] {
            terms.append(position(index, term));
        }
        let at_most = |index, term| terms.last_at_most(position(index, term));
        assert_eq!(at_most(9, 9), Some(position(9, 7)));
        assert_eq!(at_most(9, 6), Some(position(7, 3)));
        assert_eq!(at_most(6, 6), Some(position(6, 3)));
        assert_eq!(at_most(9, 2), Some(position(5, 1)));
        assert_eq!(at_most(9, 0), None, "before what is known");
        assert_eq!(at_most(3, 9), None);
        terms.truncate(Index(7));
        assert_eq!(terms.runs, [position(4, 1), position(6, 3)]);
        terms.truncate(Index(6));
        assert_eq!(terms.runs, [position(4, 1)]);
        terms.append(position(6, 4));
        assert_eq!(terms.at(Index(6)), Some(Term(4)));
    }
}
