//! openraft on a runtime of one thread, with storage in memory that is written for this: the one
//! that it publishes for its tests encodes each entry as JSON.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::future::Future;
use std::io::{self, Cursor};
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::{LogFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{
    Config, Entry, EntryPayload, LogId, LogState, Raft, RaftLogReader, RaftNetwork,
    RaftNetworkFactory, RaftSnapshotBuilder, RaftTypeConfig, Snapshot, SnapshotMeta,
    SnapshotPolicy, StorageError, StorageIOError, StoredMembership, Vote,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::{
    Cluster, ELECTION_MILLIS, Election, Elections, HEARTBEAT_MILLIS, KEPT, Origin, Payloads,
    REPLICAS, Tally,
};
use crate::Result;

openraft::declare_raft_types!(
    Types:
        D = Bytes,
        R = (),
        Node = (),
);

type Member = Raft<Types>;
type StorageResult<T> = Result<T, StorageError<u64>>;
type Answer<T, E = RaftError<u64>> = Result<T, RPCError<u64, (), E>>;

/// What all members share.
#[derive(Default)]
struct Shared {
    members: RefCell<Vec<Member>>,
    origin: Cell<Origin>,
    tally: Cell<Tally>,
    /// Neither takes nor gives anything any more.
    lost: Cell<Option<u64>>,
}

struct Openraft {
    runtime: Runtime,
    tasks: LocalSet,
    shared: Rc<Shared>,
    proposed: u64,
}

/// See [`ClusterEngine::start`](super::ClusterEngine::start).
pub(super) fn start() -> Result<Box<dyn Cluster>> {
    let cluster = Openraft::new(false)?;
    cluster.run(async |shared| {
        shared.start_members().await?;
        shared.wait_for_leader().await
    })?;
    Ok(Box::new(cluster))
}

/// See [`ClusterEngine::elect`](super::ClusterEngine::elect). Its timeouts have no seed. A cluster
/// of openraft's is founded by one member, who stands for election at once.
pub(super) fn elect(number: u64) -> Result<Elections> {
    let cluster = Openraft::new(true)?;
    cluster.run(async |shared| {
        let cold = shared.measure(shared.start_members()).await?;
        let pause = 500 + number % u64::from(HEARTBEAT_MILLIS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        shared.lost.set(shared.leader());
        let lost = shared.measure(async { Ok(()) }).await?;
        Ok(Elections { cold, lost })
    })
}

impl Openraft {
    fn new(virtual_time: bool) -> Result<Openraft> {
        let runtime =
            Builder::new_current_thread().enable_time().start_paused(virtual_time).build()?;
        let (tasks, shared) = (LocalSet::new(), Rc::default());
        Ok(Openraft { runtime, tasks, shared, proposed: 0 })
    }

    fn run<T>(&self, work: impl AsyncFnOnce(Rc<Shared>) -> Result<T>) -> Result<T> {
        self.tasks.block_on(&self.runtime, work(self.shared.clone()))
    }
}

impl Shared {
    async fn start_members(self: &Rc<Self>) -> Result<()> {
        let config = Config {
            election_timeout_min: u64::from(ELECTION_MILLIS),
            election_timeout_max: u64::from(2 * ELECTION_MILLIS),
            heartbeat_interval: u64::from(HEARTBEAT_MILLIS),
            max_payload_entries: KEPT as u64 / 2,
            snapshot_policy: SnapshotPolicy::Never,
            ..Config::default()
        };
        let config = Arc::new(config.validate()?);
        for id in 1..=REPLICAS as u64 {
            let network = Network { shared: self.clone(), from: id, to: 0 };
            let machine = Machine { shared: self.clone(), replica: id as usize - 1 };
            let member = Member::new(id, config.clone(), network, Log::default(), machine).await?;
            self.members.borrow_mut().push(member);
        }
        let members: BTreeMap<u64, ()> = (1..=REPLICAS as u64).map(|id| (id, ())).collect();
        self.member(1).initialize(members).await?;
        Ok(())
    }

    fn member(&self, id: u64) -> Member {
        self.members.borrow()[id as usize - 1].clone()
    }

    /// Whom all that are there follow.
    fn leader(&self) -> Option<u64> {
        let known = |member: &Member| {
            let metrics = member.metrics();
            let metrics = metrics.borrow();
            (metrics.current_term, metrics.current_leader)
        };
        let members = self.members.borrow();
        let there = |id: &u64| self.lost.get() != Some(*id);
        let mut found = (1..).zip(members.iter()).filter(|(id, _)| there(id));
        let first = known(found.next()?.1);
        let same = found.all(|(_, member)| known(member) == first);
        first.1.filter(|leader| same && there(leader))
    }

    async fn wait_for_leader(&self) -> Result<()> {
        while self.leader().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The time and messages that it takes to a leader, once something has been done.
    async fn measure(&self, first: impl Future<Output = Result<()>>) -> Result<Election> {
        let (start, before) = (Instant::now(), self.tally.get().messages);
        first.await?;
        self.wait_for_leader().await?;
        let millis = u64::try_from(start.elapsed().as_millis())?;
        Ok(Election { millis, messages: self.tally.get().messages - before })
    }

    fn count(&self, count: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally.get();
        count(&mut tally);
        self.tally.set(tally);
    }
}

impl Cluster for Openraft {
    fn pump(&mut self, payloads: &mut Payloads, outstanding: usize, rounds: usize) -> Result<()> {
        self.shared.origin.set(payloads.origin());
        self.proposed += (outstanding * rounds) as u64;
        self.run(async |shared| {
            let leader = shared.member(1);
            let mut answers = Vec::with_capacity(outstanding);
            for _ in 0..rounds {
                for _ in 0..outstanding {
                    answers.push(leader.client_write_ff(payloads.take()).await?);
                }
                for answer in answers.drain(..) {
                    answer.await??;
                }
            }
            Ok(())
        })
    }

    fn settle(&mut self) -> Result<Tally> {
        let proposed = self.proposed;
        self.run(async |shared| {
            while shared.tally.get().applied.iter().any(|&applied| applied < proposed) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(shared.tally.get())
        })
    }
}

/// The way from one member to another: calls, which openraft makes one at a time for each.
struct Network {
    shared: Rc<Shared>,
    from: u64,
    to: u64,
}

impl Network {
    /// The other side, if it can be reached.
    fn reach(&self) -> Result<Member, Unreachable> {
        let lost = self.shared.lost.get();
        if lost != Some(self.from) {
            self.shared.count(|tally| tally.messages += 1);
        }
        if lost == Some(self.from) || lost == Some(self.to) {
            return Err(Unreachable::new(&io::Error::from(io::ErrorKind::NotConnected)));
        }
        Ok(self.shared.member(self.to))
    }

    fn answered<T, E: std::error::Error + 'static>(
        &self,
        answer: Result<T, E>,
    ) -> Result<T, NetworkError> {
        self.shared.count(|tally| tally.messages += 1);
        answer.map_err(|error| NetworkError::new(&error))
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Network;

    async fn new_client(&mut self, to: u64, (): &()) -> Network {
        Network { shared: self.shared.clone(), from: self.from, to }
    }
}

impl RaftNetwork<Types> for Network {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Answer<AppendEntriesResponse<u64>> {
        let answer = self.reach()?.append_entries(request).await;
        Ok(self.answered(answer)?)
    }

    async fn vote(&mut self, request: VoteRequest<u64>, _: RPCOption) -> Answer<VoteResponse<u64>> {
        let answer = self.reach()?.vote(request).await;
        Ok(self.answered(answer)?)
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Answer<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>> {
        Err(Unreachable::new(&io::Error::from(io::ErrorKind::Unsupported)).into())
    }
}

/// The end of a log.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<LogContent>>);

#[derive(Default)]
struct LogContent {
    entries: VecDeque<Entry<Types>>,
    vote: Option<Vote<u64>>,
    forgotten: Option<LogId<u64>>,
}

impl LogContent {
    /// Where among the entries that of this index is, or would be.
    fn place(&self, index: u64) -> usize {
        let first = self.entries.front().map_or(index, |entry| entry.log_id.index);
        index.saturating_sub(first) as usize
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug>(
        &mut self,
        range: R,
    ) -> StorageResult<Vec<Entry<Types>>> {
        let log = self.0.borrow();
        let start = match range.start_bound() {
            Bound::Included(&index) => log.place(index),
            Bound::Excluded(&index) => log.place(index + 1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&index) => log.place(index + 1),
            Bound::Excluded(&index) => log.place(index),
            Bound::Unbounded => log.entries.len(),
        };
        let end = end.min(log.entries.len());
        Ok(log.entries.range(start.min(end)..end).cloned().collect())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> StorageResult<LogState<Types>> {
        let log = self.0.borrow();
        let last = log.entries.back().map(|entry| entry.log_id).or(log.forgotten);
        Ok(LogState { last_purged_log_id: log.forgotten, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> StorageResult<()> {
        self.0.borrow_mut().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> StorageResult<Option<Vote<u64>>> {
        Ok(self.0.borrow().vote)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> StorageResult<()>
    where
        I: IntoIterator<Item = Entry<Types>>,
    {
        let mut log = self.0.borrow_mut();
        log.entries.extend(entries);
        let surplus = log.entries.len().saturating_sub(KEPT);
        let last = log.entries.drain(..surplus).next_back();
        log.forgotten = last.map(|last| last.log_id).or(log.forgotten);
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<u64>) -> StorageResult<()> {
        let mut log = self.0.borrow_mut();
        let place = log.place(from.index);
        log.entries.truncate(place);
        Ok(())
    }

    async fn purge(&mut self, to: LogId<u64>) -> StorageResult<()> {
        let mut log = self.0.borrow_mut();
        let end = log.place(to.index + 1).min(log.entries.len());
        log.entries.drain(..end);
        log.forgotten = Some(to);
        Ok(())
    }
}

/// Counts what is applied.
#[derive(Clone)]
struct Machine {
    shared: Rc<Shared>,
    replica: usize,
}

type Data = <Types as RaftTypeConfig>::SnapshotData;

/// Nobody lags so far here that a snapshot were needed.
fn no_snapshot() -> StorageError<u64> {
    StorageIOError::read_state_machine(&io::Error::from(io::ErrorKind::Unsupported)).into()
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> StorageResult<Snapshot<Types>> {
        Err(no_snapshot())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Machine;

    async fn applied_state(
        &mut self,
    ) -> StorageResult<(Option<LogId<u64>>, StoredMembership<u64, ()>)> {
        Ok((None, StoredMembership::default()))
    }

    async fn apply<I>(&mut self, entries: I) -> StorageResult<Vec<()>>
    where
        I: IntoIterator<Item = Entry<Types>>,
    {
        let origin = self.shared.origin.get();
        let mut answers = Vec::new();
        self.shared.count(|tally| {
            for entry in entries {
                if let EntryPayload::Normal(payload) = &entry.payload {
                    tally.apply(self.replica, payload, origin);
                }
                answers.push(());
            }
        });
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> StorageResult<Box<Data>> {
        Ok(Box::new(Cursor::default()))
    }

    async fn install_snapshot(
        &mut self,
        _: &SnapshotMeta<u64, ()>,
        _: Box<Data>,
    ) -> StorageResult<()> {
        Err(no_snapshot())
    }

    async fn get_current_snapshot(&mut self) -> StorageResult<Option<Snapshot<Types>>> {
        Ok(None)
    }
}
