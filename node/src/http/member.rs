//! What the endpoints need to know of the member behind them.

use std::future::Future;

use super::Verdicts;
use crate::peer::LinkCounts;
use crate::rpc::traffic::Traffic;

/// A member as HTTP sees it.
pub trait Member: Clone + Send + Sync + 'static {
    /// What is known without waiting.
    fn facts(&self) -> MemberFacts;

    /// The members of the cluster, as JSON objects in the order of their ids.
    fn members(&self) -> Vec<MemberRecord>;

    /// Numbers to show.
    fn numbers(&self) -> Numbers;

    /// What came of health checks so far.
    fn verdicts(&self) -> &Verdicts;

    /// The other members, and what is counted of the connections with them.
    fn peers(&self) -> Vec<PeerNumbers>;

    /// What goes over the services.
    fn traffic(&self) -> &Traffic;

    /// Performs a read, a linearizable one unless `serializable`; the error is the text that a
    /// gRPC client would get.
    fn read(&self, serializable: bool) -> impl Future<Output = Result<(), String>> + Send;
}

/// What is known of a member without asking anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberFacts {
    /// Id of the cluster.
    pub cluster_id: u64,
    /// Id of this member.
    pub member_id: u64,
    /// How often the cluster has gone on with a single survivor.
    pub generation: u64,
    /// Id of the leader, 0 when none is known.
    pub leader: u64,
    /// Whether this member does not vote.
    pub is_learner: bool,
    /// The cluster version, once it has been decided.
    pub cluster_version: Option<String>,
    /// Standing alarms by etcd's number: 1 is NOSPACE, 2 is CORRUPT.
    pub alarms: Vec<i32>,
}

/// One member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberRecord {
    /// Its id.
    pub id: u64,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where clients reach it; empty until it has started once.
    pub client_urls: Vec<String>,
    /// Whether it does not vote.
    pub is_learner: bool,
}

/// Another member, as this one sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerNumbers {
    /// Its id.
    pub id: u64,
    /// Whether it is connected.
    pub is_active: bool,
    /// What is counted of it.
    pub counts: LinkCounts,
}

/// A histogram as it is counted: observations for each bucket, the last one open, and their sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper bounds in seconds of all buckets but the last.
    pub bounds: Vec<f64>,
    /// Observations in each bucket, one more than there are bounds.
    pub counts: Vec<u64>,
    /// Sum of the observations in seconds.
    pub sum: f64,
}

/// The numbers of `/metrics`, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// Changes of leader seen since the start.
    pub leader_changes: u64,
    /// Batches of entries and ranges that took too long.
    pub slow_applies: u64,
    /// Heartbeats that this member sent too late as a leader.
    pub late_heartbeats: u64,
    /// Read indexes that had to be asked for again.
    pub slow_read_indexes: u64,
    /// Read indexes that were lost with their leader.
    pub failed_read_indexes: u64,
    /// Index of the last committed entry.
    pub committed: u64,
    /// Index of the last applied entry.
    pub applied: u64,
    /// Proposals that wait for their answer.
    pub pending: i64,
    /// Proposals that failed.
    pub failed: u64,
    /// Bytes of the tree's file.
    pub db_bytes: i64,
    /// Of these, bytes in use.
    pub db_bytes_in_use: i64,
    /// The quota in force; 0 when there is none.
    pub quota: i64,
    /// Ranges answered.
    pub ranges: u64,
    /// Puts applied.
    pub puts: u64,
    /// Deletes applied.
    pub deletes: u64,
    /// Transactions.
    pub txns: u64,
    /// Live keys.
    pub keys: i64,
    /// Revision of the last published change.
    pub revision: i64,
    /// Revision of the last compaction, -1 when there was none.
    pub compacted: i64,
    /// Bytes appended to the log.
    pub wal_bytes: u64,
    /// How long making entries durable took.
    pub wal_sync: Histogram,
    /// How long writing a checkpoint took.
    pub checkpoint: Histogram,
    /// How long each step of compaction held up everything else, in milliseconds.
    pub sweep_pause: Histogram,
    /// How long compactions took, in milliseconds.
    pub compaction: Histogram,
    /// Records that compactions have removed.
    pub compacted_records: u64,
    /// Bytes of the tree that were read again to find rot.
    pub scrubbed_bytes: u64,
    /// Standing alarms: the member, and etcd's number of the type.
    pub alarms: Vec<(u64, i32)>,
}
