//! Whole states between members: sent where the log does not reach, and installed.

use std::time::Instant;

use revd_replica::{Fatal, Installation, Installed};

use super::core::Core;
use super::report;
use super::upkeep::CHECKPOINT_AFTER;

impl Core {
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
        self.lessor.replace(leases);
        // A large index takes longer to drop than a leader waits for an answer. Without a thread for
        // it, it is dropped here.
        drop(std::thread::Builder::new().spawn(move || drop(retired)));
        report::applied_snapshot(position, self.machine.store().revision());
        self.members_changed(now);
        self.publish_status();
        self.publish_sizes();
        self.checkpoint_at.get_or_insert(now + CHECKPOINT_AFTER);
        Ok(())
    }
}
