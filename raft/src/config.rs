//! The settings of one member.

use crate::error::ConfigError;
use crate::number::NodeId;

/// The settings of one member. Bytes are counted as [`Entry::bytes`](crate::Entry::bytes).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// This member's id, not 0.
    pub id: NodeId,
    /// Ticks without word from a leader before this member stands for election; the wait is drawn
    /// anew from `election_ticks..2 * election_ticks` each time. 100 ticks of 10 ms are etcd's 1 s.
    pub election_ticks: u32,
    /// Ticks between a leader's heartbeats. 10 ticks of 10 ms are etcd's 100 ms.
    pub heartbeat_ticks: u32,
    /// Ask whether an election could be won before raising the term (section 9.6 of the
    /// dissertation), so that a member that was cut off does not depose a healthy leader.
    pub pre_vote: bool,
    /// A leader that has not heard from a quorum for `election_ticks` steps down, and a member
    /// that has heard from a leader within them grants no vote (section 6.2 of the dissertation).
    pub check_quorum: bool,
    /// Entries in one append message: at most so many bytes, at least one entry. etcd's 1 MiB.
    pub max_append_bytes: usize,
    /// Append messages under way to one member without an answer. etcd's 512.
    pub max_inflight_appends: usize,
    /// Bytes under way to one member without an answer, at least one message.
    pub max_inflight_bytes: usize,
    /// Proposals that are not committed yet: beyond so many bytes they are refused with
    /// [`Refused::Full`](crate::Refused::Full). One proposal is taken at any size when nothing
    /// waits.
    pub max_uncommitted_bytes: usize,
    /// Committed entries that are handed out and not yet reported applied: at most so many bytes,
    /// at least one entry. What is fetched ahead for them is bounded by the same number again.
    pub max_committed_bytes: usize,
    /// Durable entries at the end of the log that stay in memory; older ones are fetched. What is
    /// not durable, or not committed by this leader, is in memory regardless, and all of it until
    /// the next [`Raft::take`](crate::Raft::take): at most `max_uncommitted_bytes` twice. A lone
    /// voter, which has nobody to send to, keeps nothing that it has handed out.
    pub tail_bytes: usize,
    /// Reads that wait for their read index.
    pub max_reads: usize,
}

impl Config {
    /// The default settings for member `id`.
    #[must_use]
    pub fn new(id: NodeId) -> Config {
        Config {
            id,
            election_ticks: 100,
            heartbeat_ticks: 10,
            pre_vote: true,
            check_quorum: true,
            max_append_bytes: 1 << 20,
            max_inflight_appends: 512,
            max_inflight_bytes: 16 << 20,
            max_uncommitted_bytes: 64 << 20,
            max_committed_bytes: 16 << 20,
            tail_bytes: 64 << 20,
            max_reads: 65_536,
        }
    }

    /// Whether a member can run with these settings.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.id == NodeId(0) {
            return Err(ConfigError::NoId);
        }
        let sizes = [
            ("heartbeat_ticks", self.heartbeat_ticks as usize),
            ("max_append_bytes", self.max_append_bytes),
            ("max_inflight_appends", self.max_inflight_appends),
            ("max_inflight_bytes", self.max_inflight_bytes),
            ("max_uncommitted_bytes", self.max_uncommitted_bytes),
            ("max_committed_bytes", self.max_committed_bytes),
            ("tail_bytes", self.tail_bytes),
            ("max_reads", self.max_reads),
        ];
        if let Some((setting, _)) = sizes.into_iter().find(|&(_, size)| size == 0) {
            return Err(ConfigError::Zero { setting });
        }
        if self.election_ticks / 2 < self.heartbeat_ticks {
            return Err(ConfigError::ElectionTooShort {
                election: self.election_ticks,
                heartbeat: self.heartbeat_ticks,
            });
        }
        Ok(())
    }
}
