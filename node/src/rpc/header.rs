//! Which header fields a response carries.
//!
//! | response | header |
//! | --- | --- |
//! | KV, Lease, Watch, Alarm, Status, Hash, HashKV, Downgrade, Auth | all four fields ([`Header::at`]) |
//! | Cluster | the same, with revision 0 ([`Header::without_revision`]) |
//! | Defragment, MoveLeader, Snapshot | no header at all |
//! | answers inside a Txn | the revision only; a nested Txn: an empty header |
//!
//! `raft_term` is the term of the entry that was applied last on this member, never that of an
//! election in progress; for an answer of the replicated state it is the term of its own entry.

use revd_api::etcdserverpb::ResponseHeader;

use crate::driver::Handle;

/// The two numbers of a header that never change while a member runs.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    cluster_id: u64,
    member_id: u64,
}

impl Header {
    /// The header of what the member behind `handle` answers.
    pub fn of(handle: &Handle) -> Self {
        let status = handle.status();
        Self { cluster_id: status.cluster_id, member_id: status.member_id }
    }

    /// The full header of an answer at a revision and a term.
    pub const fn at(self, revision: i64, raft_term: u64) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision,
            raft_term,
        })
    }

    /// The full header of an answer that this member gives from what it has published.
    pub fn now(self, handle: &Handle) -> Option<ResponseHeader> {
        self.at(handle.view().revision().0, handle.status().term)
    }

    /// The header of a Cluster answer, which never shows a revision.
    pub fn without_revision(self, handle: &Handle) -> Option<ResponseHeader> {
        self.at(0, handle.status().term)
    }
}
