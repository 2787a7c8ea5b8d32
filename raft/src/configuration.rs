//! Who belongs to the cluster: voters, learners, and both sets of voters while a change of several
//! members at once is under way (joint consensus, section 6 of the paper).

mod change;
mod format;

pub use change::{Change, ChangeStep};

use crate::error::ChangeError;
use crate::number::NodeId;

/// The members that the core counts, as of one index of the log.
///
/// Invariants, held by every constructor:
/// - each list rises strictly;
/// - a learner is in neither set of voters;
/// - only a joint configuration (`outgoing` not empty) has demoted members or leaves by itself;
/// - a demoted member is in `outgoing`, not in `voters`, and not yet a learner.
///
/// The empty configuration is that of a member that is about to join and has heard of nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Configuration {
    voters: Vec<NodeId>,
    /// The voters before the change; empty unless joint.
    outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
    /// Members that vote in `outgoing` and become learners when it is left.
    demoted: Vec<NodeId>,
    /// A leader leaves the joint configuration as soon as it is applied.
    leaves_by_itself: bool,
}

impl Configuration {
    /// A configuration outside of any change. The order of the ids does not matter.
    ///
    /// # Errors
    /// When an id occurs twice, in one list or in both.
    pub fn new(
        voters: impl IntoIterator<Item = NodeId>,
        learners: impl IntoIterator<Item = NodeId>,
    ) -> Result<Configuration, ChangeError> {
        let configuration = Configuration {
            voters: sorted(voters),
            learners: sorted(learners),
            ..Configuration::default()
        };
        configuration.check()?;
        Ok(configuration)
    }

    /// The configuration of a cluster of one.
    #[must_use]
    pub fn lone(voter: NodeId) -> Configuration {
        Configuration { voters: vec![voter], ..Configuration::default() }
    }

    /// The voters, or during a joint change those that come in; ascending.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// The voters that go out; empty unless the configuration is joint.
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.outgoing
    }

    /// Members that receive the log and never count; ascending.
    #[must_use]
    pub fn learners(&self) -> &[NodeId] {
        &self.learners
    }

    /// Members that still vote in `outgoing` and become learners when it is left.
    #[must_use]
    pub fn demoted(&self) -> &[NodeId] {
        &self.demoted
    }

    /// Whether a change of several members is half done: decisions then need a majority of the
    /// voters and a majority of the outgoing ones.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the leader leaves a joint configuration without being told to.
    #[must_use]
    pub fn leaves_by_itself(&self) -> bool {
        self.leaves_by_itself
    }

    /// Whether `node` votes, in either set.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        has(&self.voters, node) || has(&self.outgoing, node)
    }

    /// Whether `node` is a learner (a demoted member is not one yet).
    #[must_use]
    pub fn is_learner(&self, node: NodeId) -> bool {
        has(&self.learners, node)
    }

    /// Whether `node` belongs to the cluster at all.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.is_learner(node)
    }

    /// Whether `node` is the only member: nobody else votes, and nobody learns.
    #[must_use]
    pub fn is_lone(&self, node: NodeId) -> bool {
        self.voters == [node] && self.outgoing.is_empty() && self.learners.is_empty()
    }

    /// Every member once, ascending.
    #[must_use]
    pub fn members(&self) -> Vec<NodeId> {
        let mut members = [&self.voters[..], &self.outgoing, &self.learners].concat();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// The invariants of the type: the gate through which everything from outside must pass.
    fn check(&self) -> Result<(), ChangeError> {
        for list in [&self.voters, &self.outgoing, &self.learners, &self.demoted] {
            if let Some(pair) = list.windows(2).find(|pair| pair[0] >= pair[1]) {
                return Err(ChangeError::Repeated { node: pair[1] });
            }
        }
        if let Some(&node) = self.learners.iter().find(|&&node| self.is_voter(node)) {
            return Err(ChangeError::Repeated { node });
        }
        if let Some(&node) = self.demoted.iter().find(|&&node| {
            !has(&self.outgoing, node) || has(&self.voters, node) || has(&self.learners, node)
        }) {
            return Err(ChangeError::NotDemoted { node });
        }
        if self.leaves_by_itself && !self.is_joint() {
            return Err(ChangeError::NotJoint);
        }
        if self.voters.is_empty() && !(self.outgoing.is_empty() && self.learners.is_empty()) {
            return Err(ChangeError::NoVoter);
        }
        Ok(())
    }
}

fn sorted(ids: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = ids.into_iter().collect();
    ids.sort_unstable();
    ids
}

fn has(list: &[NodeId], node: NodeId) -> bool {
    list.binary_search(&node).is_ok()
}

#[cfg(test)]
mod tests;
