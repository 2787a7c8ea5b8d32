//! From one configuration to the next.
//!
//! One voter may come or go in a single step, because any majority before then meets any majority
//! after (section 4.1 of the dissertation). Everything else goes through a joint configuration
//! (section 4.3), in which both majorities must agree, and is finished by leaving it.

use super::{Configuration, has};
use crate::error::ChangeError;
use crate::number::NodeId;

/// What happens to one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeStep {
    /// A new voter, or a learner that is promoted.
    AddVoter(NodeId),
    /// A new learner, or a voter that is demoted.
    AddLearner(NodeId),
    /// A voter or learner that goes.
    Remove(NodeId),
}

/// A change of configuration, as it is proposed and as it is applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The members stay as they are: the entry only takes its turn among the changes.
    Keep,
    /// One member, in one step.
    Simple(ChangeStep),
    /// Any number of members, through a joint configuration.
    Joint {
        /// What happens to whom; each member at most once.
        steps: Vec<ChangeStep>,
        /// The leader leaves the joint configuration as soon as it is applied; otherwise somebody
        /// has to propose [`Change::Leave`].
        leaves_by_itself: bool,
    },
    /// Out of the joint configuration.
    Leave,
}

impl ChangeStep {
    /// The member that it happens to.
    #[must_use]
    pub const fn node(self) -> NodeId {
        match self {
            ChangeStep::AddVoter(node)
            | ChangeStep::AddLearner(node)
            | ChangeStep::Remove(node) => node,
        }
    }
}

impl Configuration {
    /// The configuration that `change` makes of this one. Every member computes it alike, when it
    /// applies the entry.
    ///
    /// # Errors
    /// When the change does not fit this configuration: a member added that is there, or removed
    /// that is not, nobody left to vote, a joint change inside a joint one.
    pub fn changed(&self, change: &Change) -> Result<Configuration, ChangeError> {
        let next = match change {
            Change::Keep => self.clone(),
            Change::Simple(step) => self.stepped(*step)?,
            Change::Joint { steps, leaves_by_itself } => self.joined(steps, *leaves_by_itself)?,
            Change::Leave => self.left()?,
        };
        next.check()?;
        if next.voters.is_empty() && *change != Change::Keep {
            return Err(ChangeError::NoVoter);
        }
        Ok(next)
    }

    fn stepped(&self, step: ChangeStep) -> Result<Configuration, ChangeError> {
        if self.is_joint() {
            return Err(ChangeError::Joint);
        }
        let mut next = self.clone();
        match step {
            ChangeStep::AddVoter(node) => {
                remove(&mut next.learners, node);
                insert(&mut next.voters, node)?;
            }
            ChangeStep::AddLearner(node) => {
                remove(&mut next.voters, node);
                insert(&mut next.learners, node)?;
            }
            ChangeStep::Remove(node) => {
                if !remove(&mut next.voters, node) && !remove(&mut next.learners, node) {
                    return Err(ChangeError::NoMember { node });
                }
            }
        }
        Ok(next)
    }

    fn joined(
        &self,
        steps: &[ChangeStep],
        leaves_by_itself: bool,
    ) -> Result<Configuration, ChangeError> {
        if self.is_joint() {
            return Err(ChangeError::Joint);
        }
        if self.voters.is_empty() {
            return Err(ChangeError::NoVoter);
        }
        let mut next = self.clone();
        next.outgoing.clone_from(&self.voters);
        next.leaves_by_itself = leaves_by_itself;
        for (position, step) in steps.iter().enumerate() {
            let node = step.node();
            if steps[..position].iter().any(|earlier| earlier.node() == node) {
                return Err(ChangeError::Repeated { node });
            }
            next.join(*step)?;
        }
        Ok(next)
    }

    /// One step into a joint configuration that is being built.
    fn join(&mut self, step: ChangeStep) -> Result<(), ChangeError> {
        match step {
            ChangeStep::AddVoter(node) => {
                remove(&mut self.learners, node);
                insert(&mut self.voters, node)
            }
            ChangeStep::AddLearner(node) => {
                remove(&mut self.voters, node);
                // A voter of the outgoing set must go on voting until that set is left.
                let list =
                    if has(&self.outgoing, node) { &mut self.demoted } else { &mut self.learners };
                insert(list, node)
            }
            ChangeStep::Remove(node) => {
                if !remove(&mut self.voters, node) && !remove(&mut self.learners, node) {
                    return Err(ChangeError::NoMember { node });
                }
                Ok(())
            }
        }
    }

    fn left(&self) -> Result<Configuration, ChangeError> {
        if !self.is_joint() {
            return Err(ChangeError::NotJoint);
        }
        let mut learners = [&self.learners[..], &self.demoted].concat();
        learners.sort_unstable();
        Ok(Configuration { voters: self.voters.clone(), learners, ..Configuration::default() })
    }
}

fn insert(list: &mut Vec<NodeId>, node: NodeId) -> Result<(), ChangeError> {
    match list.binary_search(&node) {
        Ok(_) => Err(ChangeError::Repeated { node }),
        Err(place) => {
            list.insert(place, node);
            Ok(())
        }
    }
}

fn remove(list: &mut Vec<NodeId>, node: NodeId) -> bool {
    match list.binary_search(&node) {
        Ok(place) => {
            list.remove(place);
            true
        }
        Err(_) => false,
    }
}
