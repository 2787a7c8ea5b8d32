//! Whole states between members: sent where the log does not reach, and installed.

use std::time::Instant;

use revd_raft::{Input, Message, Position, SnapshotOutcome, SnapshotRequest};
use revd_replica::{Fatal, Incoming, Installation, Installed, Received};

use super::core::Core;
use super::report;
use super::upkeep::CHECKPOINT_AFTER;

impl Core {
    /// Sends snapshots to those who lack what has left the log. Who is not sent one now asks again.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(super) fn snapshots_wanted(&mut self, wanted: &[SnapshotRequest]) -> Result<(), Fatal> {
        for request in wanted {
            match self.machine.export(request)? {
                Some(outgoing) => {
                    self.consensus.sending(&outgoing);
                    self.peers.send_snapshot(outgoing);
                }
                None => self.consensus.sent(request.to, SnapshotOutcome::Failed),
            }
        }
        Ok(())
    }

    /// A snapshot has arrived: consensus says whether it is of use, and when.
    pub(super) fn received(&mut self, received: Received, message: Message) {
        let position = received.position();
        self.received = Some(received);
        self.input(Input::Message(message));
        if self.consensus.status().installing != Some(position) {
            tracing::info!(
                "incoming-snapshot-index" = position.index.0,
                "ignored snapshot; current is newer, or its leader leads no more"
            );
            self.throw_away_received();
        }
    }

    fn throw_away_received(&mut self) {
        let (received, file) = (self.received.take(), self.machine.file().clone());
        aside(move || {
            drop(received);
            if let Err(error) = Incoming::clear(&file) {
                tracing::warn!(error = %error, "a snapshot of no use could not be removed");
            }
        });
    }

    /// Has the snapshot at this position installed: nothing is in its way any more.
    pub(super) fn install(&mut self, position: Position) {
        match self.received.take_if(|received| received.position() == position) {
            Some(received) => {
                report::applying_snapshot(self.machine.applied(), position);
                self.machine.install(received, self.consensus.log());
            }
            None => self.input(Input::InstallFailed(position)),
        }
    }

    /// A snapshot has taken the place of tree and log: everything that was derived from them is
    /// derived anew.
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop.
    pub(super) fn installed(
        &mut self,
        installation: Installation,
        now: Instant,
    ) -> Result<(), Fatal> {
        let Installed { position, leases, retired } = self.machine.installed(installation)?;
        self.consensus.installed(position)?;
        self.leases.replace(leases);
        // A large index takes longer to drop than a leader waits for an answer.
        aside(move || drop(retired));
        report::applied_snapshot(position, self.machine.store().revision());
        self.members_changed(now);
        self.publish_status();
        self.publish_sizes();
        self.checkpoint_at.get_or_insert(now + CHECKPOINT_AFTER);
        Ok(())
    }
}

/// Does what may take a while and nobody waits for. Without a thread for it, at once.
fn aside(work: impl FnOnce() + Send + 'static) {
    drop(std::thread::Builder::new().name("revd-aside".into()).spawn(work));
}
