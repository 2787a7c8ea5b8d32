//! Snapshots (section 7): for members that need what has left the log. The core only says who needs
//! one and which one to install; the bytes are the drivers' business.

use crate::configuration::Configuration;
use crate::error::Refused;
use crate::input::SnapshotOutcome;
use crate::log::Log;
use crate::number::{NodeId, Position};
use crate::output::Install;
use crate::planted::Bug;
use crate::raft::Raft;
use crate::status::Feed;

impl Raft {
    /// [`Input::SnapshotReport`](crate::Input::SnapshotReport). After a failure the next heartbeat
    /// that is answered begins anew.
    pub(crate) fn snapshot_reported(&mut self, to: NodeId, outcome: SnapshotOutcome) {
        self.snapshots_under_way.retain(|&id| id != to);
        let Some(peer) = self.lead.peer_mut(to).filter(|peer| peer.feed == Feed::Snapshot) else {
            return;
        };
        match outcome {
            SnapshotOutcome::Delivered(position) => peer.has_got_snapshot(position.index),
            SnapshotOutcome::Failed => peer.probe_from(peer.next),
        }
        peer.paused = true;
    }

    /// The driver has received a snapshot whole.
    pub(crate) fn snapshot_received(
        &mut self,
        from: NodeId,
        position: Position,
        configuration: Configuration,
    ) {
        self.hear_from_leader(from);
        if self.install_told {
            self.stats.messages_ignored += 1;
            return;
        }
        let held = self.log.term(position.index) == Some(position.term);
        let behind = position.index <= self.commit && !self.planted(Bug::InstallBehind);
        if behind || held {
            // Nothing to install, but it tells what is committed (section 7, last paragraphs).
            self.commit_to(position.index);
            self.following.accepted = self.following.accepted.max(self.commit);
            self.following.answer_later();
            return;
        }
        self.install = Some(Install { from, position, configuration });
    }

    /// The snapshot to be installed, once nothing of what it replaces is under way.
    pub(crate) fn take_install(&mut self) -> Option<Install> {
        let idle = self.persistence.is_idle()
            && self.persistence.durable() == self.hard_state
            && self.handout.is_idle();
        if self.install_told || !idle {
            return None;
        }
        self.install_told = self.install.is_some();
        self.install.clone()
    }

    /// [`Input::Installed`](crate::Input::Installed).
    pub(crate) fn installed(&mut self, position: Position) -> Result<(), Refused> {
        let install = self.take_installing(position)?;
        self.log = Log::behind(position);
        self.commit = position.index;
        self.handout.reset(position.index);
        self.count_by(install.configuration);
        self.seal_due = false;
        self.following.accepted = position.index;
        self.following.answer_later();
        self.campaign_if_due();
        Ok(())
    }

    /// [`Input::InstallFailed`](crate::Input::InstallFailed). The leader finds out when it goes on.
    pub(crate) fn install_failed(&mut self, position: Position) -> Result<(), Refused> {
        self.take_installing(position).map(drop)
    }

    fn take_installing(&mut self, found: Position) -> Result<Install, Refused> {
        let told = self.install_told;
        let install = self.install.take_if(|install| told && install.position == found);
        let outstanding = self.install.as_ref().filter(|_| told).map(|install| install.position);
        let install = install.ok_or(Refused::NotInstalling { outstanding, found })?;
        self.install_told = false;
        Ok(install)
    }
}
