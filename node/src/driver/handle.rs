//! What the doors (gRPC, HTTP) hold of a member: questions go in, answers come out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use parking_lot::RwLock;
use revd_mvcc::{Hub, View};
use revd_raft::NodeId;
use revd_replica::{
    Alarm, Applied, Author, Command, Decoded, Fatal, Identity, JobDone, Machine, Member, Rejected,
    RequestId, comparison::HashAt, entry,
};
use tokio::sync::oneshot;

use super::inbox::{Inbox, NotTaken};
use super::jobs::Written;
use super::leader::Leader;
use super::meters::Meters;
use super::report;
use crate::config::Config;
use crate::peer::call::{self, Calls};
use crate::peer::{Event, Presence, Reception, Traffic};

/// Requests that may wait for the core at one time; more are refused as too many.
pub const WAITING_BOUND: usize = 65_536;

/// A connection counts for the health of the cluster after this long (etcd's figure).
const SETTLED: Duration = Duration::from_secs(5);

/// Why a call did not get its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The command was applied and refused; the same on every member.
    Rejected(Rejected),
    /// The encoded request is longer than `--max-request-bytes`.
    TooLarge,
    /// Too many requests wait already.
    TooManyRequests,
    /// No answer within the request timeout; the command may still be applied.
    Timeout,
    /// No leader came up within the request timeout; the command was not proposed.
    NoLeaderInTime,
    /// Leadership is just being handed over.
    Dropped,
    /// The learner lacks entries that a voter must have.
    NotCaughtUp,
    /// Only the leader does this.
    NotLeader,
    /// There are as many learners as `--max-learners` allows.
    TooManyLearners,
    /// The leader was asked, and its answer was lost; the command may have been applied.
    Unanswered,
    /// Leadership cannot go to that member.
    BadTransferee,
    /// Leadership did not go over in time.
    TransferTimeout,
    /// No leader is known.
    NoLeader,
    /// The leadership was lost while the call waited.
    LeaderChanged,
    /// The leadership that a lease needs could not be confirmed.
    NotPrimary,
    /// The member is stopping.
    Stopped,
}

impl From<call::CallError> for CallError {
    /// Whatever the reason: another attempt may find a leader.
    fn from(_: call::CallError) -> Self {
        Self::NotPrimary
    }
}

/// Where consensus stands, as of the last batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The cluster, fixed at its bootstrap.
    pub cluster_id: u64,
    /// This member.
    pub member_id: u64,
    /// The leader, 0 when none is known.
    pub leader: u64,
    /// The term of the last applied entry: what headers and Status show.
    pub term: u64,
    /// The term of the election in progress or won.
    pub raft_term: u64,
    /// The last entry known to be committed.
    pub commit: u64,
    /// The last entry applied.
    pub applied: u64,
    /// Whether this member only listens.
    pub is_learner: bool,
}

/// Sizes of the stored data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the tree's file.
    pub db_size: i64,
    /// Of these, bytes in use.
    pub db_in_use: i64,
    /// The quota in force; 0 when there is none.
    pub quota: i64,
    /// Keys that are live.
    pub keys: i64,
    /// Proposals that wait for their answer.
    pub proposals_pending: i64,
}

/// One call to the core thread.
pub(super) enum Request {
    /// Get a command through the log.
    Propose(Proposal),
    /// Something has come from another member.
    Peer(Event),
    /// Ask whether a learner has caught up.
    CheckPromotion { id: NodeId, slot: Slot<()> },
    /// Hand leadership to a member.
    Transfer { to: NodeId, slot: Slot<()> },
    /// Hand leadership to whoever is best placed, if there is anybody.
    HandOver(Slot<()>),
    /// Wait until the local view is as new as any answer given before now.
    Barrier(Slot<()>),
    /// Restart the countdown of a lease.
    KeepAlive { id: i64, slot: Slot<Option<i64>> },
    /// Ask how long a lease has left.
    TimeToLive { id: i64, slot: Slot<Option<(i64, i64)>> },
    /// Tell the hashes by which members are compared.
    Hashes(Slot<Vec<HashAt>>),
    /// A read has met damage.
    Damaged(revd_mvcc::Fatal),
    /// Somebody has found that the member must stop.
    Failed(Fatal),
    /// List the leases, soonest to run out first.
    LeaseIds(Slot<Vec<i64>>),
    /// Wait until nothing of a finished compaction is left to remove.
    PhysicallyCompacted(Slot<()>),
    /// The door has refused something for want of room.
    RefusedRoom,
    /// Entries are durable, or found the disk full.
    Persisted(Written),
    /// Any other job that another thread has run.
    Done(Result<JobDone, Fatal>),
    /// Checkpoint and end.
    Stop,
}

/// A command on its way into the log.
pub(super) struct Proposal {
    pub(super) entry: Bytes,
    pub(super) decoded: Decoded,
    pub(super) slot: Slot<Applied>,
}

/// Where the answer of one call goes.
pub(super) type Slot<T> = oneshot::Sender<Result<T, CallError>>;

/// The shared side of a member: what the core writes and the doors read.
pub(super) struct Shared {
    pub(super) inbox: Inbox<Request>,
    pub(super) config: Config,
    pub(super) view: View,
    pub(super) hub: Hub,
    pub(super) meters: Meters,
    pub(super) facts: RwLock<Facts>,
    pub(super) presence: Presence,
    peer_traffic: Traffic,
    reception: Reception,
    pub(super) calls: Calls,
    pub(super) pending: AtomicUsize,
    pub(super) db_size: AtomicI64,
    pub(super) db_in_use: AtomicI64,
    /// Bytes that the key space takes, as of the last batch.
    pub(super) used: AtomicU64,
    /// The disk is full, and something that must be done waits for room.
    pub(super) is_full: AtomicBool,
    next_request: AtomicU64,
}

/// What changes rarely, or once a batch.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) status: Status,
    pub(super) members: Arc<Vec<Member>>,
    /// How often the cluster has gone on with a single survivor.
    pub(super) generation: u64,
    /// Ids of members that were removed.
    pub(super) removed: Arc<Vec<u64>>,
    pub(super) alarms: Arc<Vec<Alarm>>,
    pub(super) cluster_version: Option<Arc<str>>,
    /// Why the member has stopped by itself.
    pub(super) failure: Option<Arc<str>>,
}

impl Shared {
    pub(super) fn new(config: Config, machine: &Machine, first_request: u64) -> Self {
        let meters = Meters::new(config.extensive_metrics);
        Self {
            inbox: Inbox::new(WAITING_BOUND),
            config,
            view: machine.view(),
            hub: machine.hub(),
            meters,
            facts: RwLock::default(),
            presence: Presence::default(),
            peer_traffic: Traffic::default(),
            reception: Reception::new(machine.file().clone()),
            calls: Calls::default(),
            pending: AtomicUsize::new(0),
            db_size: AtomicI64::new(0),
            db_in_use: AtomicI64::new(0),
            used: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            next_request: AtomicU64::new(first_request),
        }
    }

    /// A number that no other request of the cluster has.
    pub(super) fn next_request_id(&self) -> RequestId {
        RequestId(self.next_request.fetch_add(1, Relaxed))
    }
}

/// A proposal that is counted as waiting until this is dropped, be it answered or given up.
struct Pending<'a>(&'a AtomicUsize);

impl<'a> Pending<'a> {
    fn count(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Relaxed);
        Self(waiting)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A running member. Cheap to clone; the member runs until its `Driver` is stopped.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

impl Handle {
    /// Gets a command through the log and waits until it has been applied here.
    ///
    /// # Errors
    /// [`CallError`]; after a timeout or a stop the command may still be applied.
    pub async fn propose(&self, command: Command) -> Result<Applied, CallError> {
        let author = Author::default();
        let request = self.next_request_id();
        let entry = entry::encode(&command, request, &author);
        let payload = entry.len() - entry::envelope_len(&author);
        if measured(request, payload) > self.shared.config.max_request_bytes as usize {
            return Err(CallError::TooLarge);
        }
        let decoded = Decoded { request, author, command };
        let pending = Pending::count(&self.shared.pending);
        let call = self.call(|slot| Request::Propose(Proposal { entry, decoded, slot }));
        let result = match call.await {
            Err(CallError::Timeout) if self.status().leader == 0 => Err(CallError::NoLeaderInTime),
            result => result,
        };
        drop(pending);
        if !matches!(result, Ok(_) | Err(CallError::Rejected(_))) {
            self.shared.meters.proposals_failed.add(1);
        }
        result
    }

    /// Returns when the local view holds everything that was acknowledged anywhere before the
    /// call: a read after it is linearizable.
    ///
    /// # Errors
    /// [`CallError`], when leadership could not be confirmed in time.
    pub async fn barrier(&self) -> Result<(), CallError> {
        self.call(Request::Barrier).await
    }

    /// Hands leadership to a member, and returns when it leads.
    ///
    /// # Errors
    /// [`CallError`] when this member does not lead, the other cannot, or it takes too long.
    pub async fn transfer(&self, to: u64) -> Result<(), CallError> {
        match self.call(|slot| Request::Transfer { to: NodeId(to), slot }).await {
            Err(CallError::Timeout) => Err(CallError::TransferTimeout),
            result => result,
        }
    }

    /// Hands leadership to the voter that is best placed, if this member leads and there is one,
    /// and returns when it leads.
    ///
    /// # Errors
    /// [`CallError::NotLeader`] when there is nothing to hand over; others when it takes too long.
    pub async fn hand_over(&self) -> Result<(), CallError> {
        self.call(Request::HandOver).await
    }

    /// Whether a learner may be promoted: whether it has caught up with this member, which leads.
    ///
    /// # Errors
    /// [`CallError::NotCaughtUp`], [`CallError::NotLeader`]; others when the core is in the way.
    pub async fn check_promotion(&self, id: u64) -> Result<(), CallError> {
        self.call(|slot| Request::CheckPromotion { id: NodeId(id), slot }).await
    }

    /// Has the leader change the members: the status of its answer, and the text.
    ///
    /// # Errors
    /// [`CallError::NotPrimary`], if it cannot be asked, or does not lead: nothing has happened.
    /// After all others the change may have been made.
    pub async fn change_at(
        &self,
        urls: &[String],
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let answer = self.shared.calls.change(urls, path, body);
        match tokio::time::timeout(self.request_timeout(), answer).await {
            Ok(Err(call::CallError::Unanswered(_))) => Err(CallError::Unanswered),
            Ok(answer) => answer.map_err(CallError::from),
            Err(_) => Err(CallError::Timeout),
        }
    }

    /// Takes an event of the streams between members; says whether its sender is to go on. A
    /// message that finds the inbox full is lost, as it might have been on the way.
    pub fn peer_event(&self, event: Event) -> bool {
        if let Event::Message(message) = &event
            && self.was_removed(message.from.0)
        {
            // It dials again, and is told.
            return false;
        }
        let pushed = match event {
            Event::Message(_) => self.shared.inbox.push(Request::Peer(event)),
            // One for each stream that begins or ends.
            _ => self.shared.inbox.push_always(Request::Peer(event)),
        };
        pushed != Err(NotTaken::Closed)
    }

    /// Restarts the countdown of a lease: its granted seconds, or `None` if there is no such
    /// lease. The leader does it, wherever it is. A lease that has run out is waited for until it
    /// is gone.
    ///
    /// # Errors
    /// [`CallError`], when no leader could be asked in time.
    pub async fn keep_alive(&self, id: i64) -> Result<Option<i64>, CallError> {
        let mut search = self.search();
        loop {
            let answer = match search.next(self).await? {
                Leader::Here => self.renew_here(id).await,
                Leader::At(urls) => self.in_time(self.shared.calls.renew(&urls, id)).await,
            };
            if !matches!(answer, Err(CallError::NotPrimary)) {
                return answer;
            }
        }
    }

    /// Whole seconds left of a lease, and seconds granted; `None` if there is no such lease. The
    /// leader counts them, wherever it is.
    ///
    /// # Errors
    /// [`CallError`], when no leader could be asked in time.
    pub async fn time_to_live(&self, id: i64) -> Result<Option<(i64, i64)>, CallError> {
        let mut search = self.search();
        loop {
            let answer = match search.next(self).await? {
                Leader::Here => self.remaining_here(id).await,
                Leader::At(urls) => self.in_time(self.shared.calls.remaining(&urls, id)).await,
            };
            if !matches!(answer, Err(CallError::NotPrimary)) {
                return answer;
            }
        }
    }

    /// As [`Handle::keep_alive`], on the leader alone.
    ///
    /// # Errors
    /// [`CallError`], when this member does not lead, or could not confirm it.
    pub async fn renew_here(&self, id: i64) -> Result<Option<i64>, CallError> {
        self.of_a_lease(|slot| Request::KeepAlive { id, slot }).await
    }

    /// As [`Handle::time_to_live`], on the leader alone.
    ///
    /// # Errors
    /// [`CallError`], when this member does not lead.
    pub async fn remaining_here(&self, id: i64) -> Result<Option<(i64, i64)>, CallError> {
        self.of_a_lease(|slot| Request::TimeToLive { id, slot }).await
    }

    /// Asks the core about a lease. That there is no such lease is said only behind a read index: a
    /// leader that was deposed and has not heard of it, or that is behind with applying, does not
    /// know every lease that a client was told of.
    async fn of_a_lease<T>(
        &self,
        request: impl Fn(Slot<Option<T>>) -> Request,
    ) -> Result<Option<T>, CallError> {
        if let Some(found) = self.call(&request).await? {
            return Ok(Some(found));
        }
        self.barrier().await.map_err(|_| CallError::NotPrimary)?;
        self.call(&request).await
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, call::CallError>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout(self.request_timeout(), answer).await {
            Ok(answer) => answer.map_err(CallError::from),
            Err(_) => Err(CallError::Timeout),
        }
    }

    /// How other members are asked.
    pub fn calls(&self) -> &Calls {
        &self.shared.calls
    }

    /// The state hashes by which this member can be compared with others.
    ///
    /// # Errors
    /// [`CallError`], when the member is stopping.
    pub async fn hashes(&self) -> Result<Vec<HashAt>, CallError> {
        self.call(Request::Hashes).await
    }

    /// A read has met damage. The member stops, to be refilled, if others can do without it; else
    /// it goes on with what it has.
    pub fn damaged(&self, what: revd_mvcc::Fatal) {
        // Where many reads meet it, one is enough; a member that ends anyway need not be told.
        let _ = self.shared.inbox.push(Request::Damaged(what));
    }

    /// Has the member stop: this was found, and it must not go on.
    pub fn failed(&self, fatal: Fatal) {
        // A member that ends anyway need not be told.
        let _ = self.shared.inbox.push_always(Request::Failed(fatal));
    }

    /// All leases: soonest to run out first on the leader, by id elsewhere.
    ///
    /// # Errors
    /// [`CallError`], when the member is stopping.
    pub async fn lease_ids(&self) -> Result<Vec<i64>, CallError> {
        self.call(Request::LeaseIds).await
    }

    /// Returns when all that compactions have given up so far is also gone from the disk.
    ///
    /// # Errors
    /// [`CallError::Stopped`] when the member is stopping.
    pub async fn physically_compacted(&self) -> Result<(), CallError> {
        let (slot, answer) = oneshot::channel();
        self.send(Request::PhysicallyCompacted(slot))?;
        answer.await.unwrap_or(Err(CallError::Stopped))
    }

    /// The published key space, for reads.
    pub fn view(&self) -> &View {
        &self.shared.view
    }

    /// Where watches are made.
    pub fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    /// Where consensus stands.
    pub fn status(&self) -> Status {
        self.shared.facts.read().status
    }

    /// The members of the cluster in the order of their ids.
    pub fn members(&self) -> Arc<Vec<Member>> {
        Arc::clone(&self.shared.facts.read().members)
    }

    fn was_removed(&self, id: u64) -> bool {
        self.shared.facts.read().removed.binary_search(&id).is_ok()
    }

    /// How often the cluster has gone on with a single survivor.
    pub fn generation(&self) -> u64 {
        self.shared.facts.read().generation
    }

    /// Ids of the members that were removed, in order.
    pub fn removed(&self) -> Arc<Vec<u64>> {
        Arc::clone(&self.shared.facts.read().removed)
    }

    /// Who is connected to this member.
    pub fn presence(&self) -> &Presence {
        &self.shared.presence
    }

    /// What is counted of the connections with other members.
    pub fn peer_traffic(&self) -> &Traffic {
        &self.shared.peer_traffic
    }

    /// Where snapshots of other members are received.
    pub fn reception(&self) -> &Reception {
        &self.shared.reception
    }

    /// Whether a member has been connected for long enough to count on it; this one has.
    pub fn is_settled(&self, id: u64) -> bool {
        id == self.status().member_id
            || self.presence().of(id).is_some_and(|since| since >= SETTLED)
    }

    /// How many voters have been connected for long enough, this one included.
    pub fn settled_voters(&self) -> usize {
        let members = self.members();
        members.iter().filter(|member| !member.is_learner && self.is_settled(member.id)).count()
    }

    /// The standing alarms.
    pub fn alarms(&self) -> Arc<Vec<Alarm>> {
        Arc::clone(&self.shared.facts.read().alarms)
    }

    /// The cluster version, once it has been decided.
    pub fn cluster_version(&self) -> Option<Arc<str>> {
        self.shared.facts.read().cluster_version.clone()
    }

    /// Sizes of the stored data.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            db_size: self.shared.db_size.load(Relaxed),
            db_in_use: self.shared.db_in_use.load(Relaxed),
            quota: self.quota().unwrap_or(0),
            keys: self.shared.view.key_count(),
            proposals_pending: self.shared.pending.load(Relaxed) as i64,
        }
    }

    /// The bytes that the key space may take, if they are bounded.
    pub fn quota(&self) -> Option<i64> {
        // The flag is a signed number, so whatever it sets fits into one.
        self.shared.config.quota().map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
    }

    /// Whether a request of this cost may be proposed, as far as the door can tell: the core
    /// decides by what is true when the request comes to it. If not, the core is told, and raises
    /// the NOSPACE alarm that then stands for the whole cluster.
    pub fn has_room(&self, cost: i64) -> bool {
        let used = self.shared.used.load(Relaxed).saturating_add(cost.unsigned_abs());
        let is_within = self.shared.config.quota().is_none_or(|quota| used < quota);
        if cost == 0 || (is_within && !self.shared.is_full.load(Relaxed)) {
            return true;
        }
        // If the inbox is full or closed, nobody is waiting for this alarm.
        let _ = self.send(Request::RefusedRoom);
        false
    }

    /// What has been counted.
    pub fn meters(&self) -> &Meters {
        &self.shared.meters
    }

    /// The configuration that the member runs with.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Why the member has stopped by itself, if it has.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.shared.facts.read().failure.clone()
    }

    /// A number that no other request of the cluster has.
    pub fn next_request_id(&self) -> RequestId {
        self.shared.next_request_id()
    }

    /// How long a call may take: 5 s and two election timeouts.
    pub fn request_timeout(&self) -> Duration {
        self.shared.config.request_timeout()
    }

    /// Tells the cluster this member's name and client URLs, and decides the cluster version if
    /// nobody has yet. Client traffic is served once this has returned.
    ///
    /// # Errors
    /// [`CallError`], when the member could not get an entry through the log in time.
    pub async fn publish(&self, version: &str) -> Result<(), CallError> {
        let member = self.status().member_id;
        let name = self.shared.config.name.clone();
        let client_urls = self.shared.config.advertised_client_urls();
        let status = self.status();
        let identity = Identity { cluster: status.cluster_id, member };
        let attributes =
            Command::Attributes { member, name: name.clone(), client_urls: client_urls.clone() };
        self.propose(attributes).await?;
        report::published(identity, &name, &client_urls, self.request_timeout());
        if self.cluster_version().is_none() {
            self.propose(Command::ClusterVersion(version.to_owned())).await?;
            report::cluster_version(identity, version);
        }
        Ok(())
    }

    async fn call<T>(&self, request: impl FnOnce(Slot<T>) -> Request) -> Result<T, CallError> {
        let (slot, answer) = oneshot::channel();
        self.send(request(slot))?;
        match tokio::time::timeout(self.request_timeout(), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CallError::Stopped),
            Err(_) => Err(CallError::Timeout),
        }
    }

    fn send(&self, request: Request) -> Result<(), CallError> {
        self.shared.inbox.push(request).map_err(|why| match why {
            NotTaken::Full => CallError::TooManyRequests,
            NotTaken::Closed => CallError::Stopped,
        })
    }
}

/// The size of a request as etcd measures it, which is in the envelope that etcd's log has, so that
/// the same requests pass the same limit: a header (two bytes of tag, its length, the request's id
/// behind a tag), then the payload behind its tag and length.
fn measured(request: RequestId, payload: usize) -> usize {
    let header = 2 + 1 + 1 + varint_len(request.0);
    header + 1 + varint_len(payload as u64) + payload
}

/// Bytes of a number in protobuf's form: seven bits each, at least one.
const fn varint_len(number: u64) -> usize {
    (u64::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measured on etcd 3.4.23: the longest value that a put of a key of one byte may have.
    #[test]
    fn rule_3_16_requests_are_measured_as_etcd_does() {
        let max = 1_572_864;
        for (member, value) in
            [(0x95d9_07fc_9790_dbbd_u64, max - 25), (0x2fd3_4c6a_7a14_15d8, max - 24)]
        {
            let request = RequestId((member << 48) | 0x98d5_a1c0_0001);
            let put = 1 + 1 + 1 + 1 + varint_len(value as u64) + value;
            assert_eq!(measured(request, put), max, "{member:x}");
        }
    }

    #[test]
    fn numbers_have_seven_bits_a_byte() {
        for (number, bytes) in
            [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX, 10)]
        {
            assert_eq!(varint_len(number), bytes, "{number}");
        }
    }
}
