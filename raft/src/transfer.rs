//! Handing leadership over (section 3.10 of the dissertation): the leader takes no more proposals,
//! waits until its successor holds everything, and tells it to stand at once.

use crate::error::Refused;
use crate::message::Body;
use crate::number::NodeId;
use crate::output::Role;
use crate::raft::Raft;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    /// Who is to take over.
    pub(crate) to: NodeId,
    /// Ticks since it was asked for.
    elapsed: u32,
    /// The successor has been told to stand.
    told: bool,
}

impl Raft {
    /// [`Input::Transfer`](crate::Input::Transfer). Another successor takes the place of the first.
    pub(crate) fn transfer(&mut self, to: NodeId) -> Result<(), Refused> {
        if self.role != Role::Leader {
            return Err(Refused::NotLeader { leader: self.leader });
        }
        if !self.configuration.is_voter(to) {
            return Err(Refused::NotVoter { node: to });
        }
        if to == self.config.id {
            self.lead.transfer = None;
        } else if self.lead.transfer.is_none_or(|transfer| transfer.to != to) {
            self.lead.transfer = Some(Transfer { to, elapsed: 0, told: false });
            self.finish_transfer();
        }
        Ok(())
    }

    /// Tells the successor to stand, once it holds everything.
    pub(crate) fn finish_transfer(&mut self) {
        let last = self.log.last().index;
        let Some(transfer) = &mut self.lead.transfer else { return };
        let to = transfer.to;
        let holds = |peer: &&crate::progress::Peer| peer.id == to && peer.matched == last;
        if !transfer.told && self.lead.peers.iter().find(holds).is_some() {
            transfer.told = true;
            self.send(to, Body::TimeoutNow);
        }
    }

    /// A transfer that takes longer than an election timeout has failed.
    pub(crate) fn tick_transfer(&mut self) {
        if let Some(transfer) = &mut self.lead.transfer {
            transfer.elapsed += 1;
            if transfer.elapsed >= self.config.election_ticks {
                self.lead.transfer = None;
            }
        }
    }
}
