//! Majorities, of one set of voters or of both sets of a joint configuration (sections 5 and 6 of
//! the paper). Pure functions: what each voter stands for comes as an argument.

use crate::configuration::Configuration;
use crate::number::NodeId;

/// Who decides: a majority of `incoming`, and one of `outgoing` unless that is empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Electorate<'a> {
    pub(crate) incoming: &'a [NodeId],
    pub(crate) outgoing: &'a [NodeId],
}

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Enough have agreed.
    Won,
    /// So many have refused that nobody else could make up for them.
    Lost,
    /// Neither.
    Open,
}

impl<'a> Electorate<'a> {
    pub(crate) fn of(configuration: &'a Configuration) -> Electorate<'a> {
        Electorate { incoming: configuration.voters(), outgoing: configuration.outgoing() }
    }

    /// The most that a quorum has reached, when each voter has reached what `of` says. The least
    /// there is, when nobody votes.
    pub(crate) fn reached<T: Ord + Copy + Default>(self, of: impl Fn(NodeId) -> T) -> T {
        let incoming = reached_by_majority(self.incoming, &of);
        if self.outgoing.is_empty() {
            incoming
        } else {
            incoming.min(reached_by_majority(self.outgoing, &of))
        }
    }

    /// Whether those of whom `holds` is true are a quorum.
    pub(crate) fn is_quorum(self, holds: impl Fn(NodeId) -> bool) -> bool {
        self.reached(holds)
    }

    /// The outcome of an election: `vote` tells what each voter has answered, if anything.
    pub(crate) fn outcome(self, vote: impl Fn(NodeId) -> Option<bool>) -> Outcome {
        if self.is_quorum(|id| vote(id) == Some(true)) {
            Outcome::Won
        } else if self.is_quorum(|id| vote(id) != Some(false)) {
            Outcome::Open
        } else {
            Outcome::Lost
        }
    }
}

/// The largest value that more than half of `voters` have reached. Quadratic, and without memory:
/// clusters are small.
fn reached_by_majority<T: Ord + Copy + Default>(voters: &[NodeId], of: &impl Fn(NodeId) -> T) -> T {
    let mut best = T::default();
    for &voter in voters {
        let value = of(voter);
        if value > best {
            let count = voters.iter().filter(|&&other| of(other) >= value).count();
            if count > voters.len() / 2 {
                best = value;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every assignment of `0..values` to the members `1..=members`.
    fn assignments(members: usize, values: u64) -> impl Iterator<Item = Vec<u64>> {
        let all = values.pow(u32::try_from(members).unwrap());
        (0..all).map(move |mut number| {
            let mut digits = Vec::with_capacity(members);
            for _ in 0..members {
                digits.push(number % values);
                number /= values;
            }
            digits
        })
    }

    fn set(members: usize, bits: u64) -> Vec<NodeId> {
        (1..=members as u64).filter(|id| bits >> (id - 1) & 1 == 1).map(NodeId).collect()
    }

    /// By the definition: sorted, the value at which a majority ends.
    fn naive(voters: &[NodeId], values: &[u64]) -> u64 {
        let mut sorted: Vec<u64> = voters.iter().map(|id| values[id.0 as usize - 1]).collect();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        sorted.get(voters.len() / 2).copied().unwrap_or(0)
    }

    #[test]
    fn what_a_quorum_has_reached_is_as_defined() {
        const MEMBERS: usize = 4;
        for (incoming, outgoing) in (1..16).flat_map(|i| (0..16).map(move |o| (i, o))) {
            let (incoming, outgoing) = (set(MEMBERS, incoming), set(MEMBERS, outgoing));
            let electorate = Electorate { incoming: &incoming, outgoing: &outgoing };
            for values in assignments(MEMBERS, 4) {
                let mut expected = naive(&incoming, &values);
                if !outgoing.is_empty() {
                    expected = expected.min(naive(&outgoing, &values));
                }
                let found = electorate.reached(|id| values[id.0 as usize - 1]);
                assert_eq!(found, expected, "{incoming:?} {outgoing:?} {values:?}");
            }
        }
    }

    #[test]
    fn elections_are_decided_as_soon_as_they_can_be() {
        const MEMBERS: usize = 4;
        let votes = [None, Some(false), Some(true)];
        for (incoming, outgoing) in (1..16).flat_map(|i| (0..16).map(move |o| (i, o))) {
            let (incoming, outgoing) = (set(MEMBERS, incoming), set(MEMBERS, outgoing));
            let electorate = Electorate { incoming: &incoming, outgoing: &outgoing };
            for answers in assignments(MEMBERS, 3) {
                let vote = |id: NodeId| votes[answers[id.0 as usize - 1] as usize];
                let enough = |doubt: bool| {
                    [&incoming, &outgoing].into_iter().filter(|set| !set.is_empty()).all(|set| {
                        let yes = set.iter().filter(|&&id| vote(id).unwrap_or(doubt)).count();
                        2 * yes > set.len()
                    })
                };
                let expected = match (enough(false), enough(true)) {
                    (true, _) => Outcome::Won,
                    (false, true) => Outcome::Open,
                    (false, false) => Outcome::Lost,
                };
                assert_eq!(electorate.outcome(vote), expected, "{incoming:?} {outgoing:?}");
            }
        }
    }

    #[test]
    fn two_quorums_always_meet() {
        const MEMBERS: usize = 5;
        for (incoming, outgoing) in (1..32).flat_map(|i| (0..32).map(move |o| (i, o))) {
            let (incoming, outgoing) = (set(MEMBERS, incoming), set(MEMBERS, outgoing));
            let electorate = Electorate { incoming: &incoming, outgoing: &outgoing };
            let quorums: Vec<u64> = (0..32)
                .filter(|bits| electorate.is_quorum(|id| bits >> (id.0 - 1) & 1 == 1))
                .collect();
            assert!(quorums.iter().all(|a| quorums.iter().all(|b| a & b != 0)));
        }
    }

    #[test]
    fn nobody_is_no_quorum() {
        let nobody = Electorate { incoming: &[], outgoing: &[] };
        assert!(!nobody.is_quorum(|_| true));
        assert_eq!(nobody.outcome(|_| Some(true)), Outcome::Lost);
    }
}
