//! Clusters to measure: members on loopback that find each other, are killed, frozen and joined.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prost::Message;
use revd_api::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, PutRequest, StatusRequest, StatusResponse,
};
use rustix::process::Signal;
use tokio::task::LocalSet;

use crate::client::Connection;
use crate::process::{Seat, Server};

/// How long a cluster may take until all its members follow one leader.
const AGREE_LIMIT: Duration = Duration::from_secs(60);

/// How long it may be without writes after it has lost its leader.
const FAILOVER_LIMIT: Duration = Duration::from_secs(30);

/// Between two attempts to write meanwhile.
const ATTEMPT_EVERY: Duration = Duration::from_millis(2);

/// A running cluster; ends when it is dropped.
pub struct Cluster {
    binary: PathBuf,
    seats: Vec<Seat>,
    members: Vec<Server>,
    founders: String,
    dir: tempfile::TempDir,
}

impl Cluster {
    /// Starts a cluster on empty directories below `base`, and waits until it has a leader.
    ///
    /// # Errors
    /// When a member does not start, or they find no leader; as text.
    pub fn start(binary: &Path, base: &Path, size: usize) -> Result<Self, String> {
        let dir = tempfile::tempdir_in(base).map_err(|e| format!("no directory: {e}"))?;
        let seats: Vec<Seat> =
            (0..size).map(|n| Seat::new(&format!("m{n}"), dir.path())).collect::<Result<_, _>>()?;
        let founders: Vec<String> = seats.iter().map(Seat::founder).collect();
        let founders = founders.join(",");
        let members = seats
            .iter()
            .map(|seat| seat.start(binary, &founders, "new"))
            .collect::<Result<_, _>>()?;
        let cluster = Self { binary: binary.to_owned(), seats, members, founders, dir };
        cluster.leader()?;
        Ok(cluster)
    }

    /// Where clients connect, member by member.
    pub fn addresses(&self) -> Vec<&str> {
        self.seats.iter().map(|seat| seat.address.as_str()).collect()
    }

    /// The member that leads, as soon as all members say so.
    ///
    /// # Errors
    /// When they do not within a minute; as text.
    pub fn leader(&self) -> Result<usize, String> {
        let start = Instant::now();
        while start.elapsed() < AGREE_LIMIT {
            let known: Option<Vec<StatusResponse>> =
                self.seats.iter().map(|seat| block_on(status(&seat.address)).ok()).collect();
            if let Some(known) = known
                && known.iter().all(|one| one.leader == known[0].leader)
                && let Some(leader) = known.iter().position(|one| member_id(one) == one.leader)
            {
                return Ok(leader);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("the members of {} found no leader in a minute", self.binary.display()))
    }

    /// Processor time that all members have used so far.
    ///
    /// # Errors
    /// When one of them is gone; as text.
    pub fn processor_time(&self) -> Result<Duration, String> {
        self.members.iter().map(Server::processor_time).sum()
    }

    /// Bytes that each member has resident and that belong to no file.
    ///
    /// # Errors
    /// When one of them is gone; as text.
    pub fn own_memory(&self) -> Result<Vec<u64>, String> {
        self.members.iter().map(Server::own_memory).collect()
    }

    /// Time from a signal to the leader until a put that began after it is acknowledged by another
    /// member. Afterwards the member is brought back.
    ///
    /// # Errors
    /// When there is no leader, or no put succeeds in half a minute; as text.
    pub fn lose_leader(&mut self, signal: Signal) -> Result<Duration, String> {
        let leader = self.leader()?;
        let others: Vec<&str> = self
            .addresses()
            .into_iter()
            .enumerate()
            .filter(|(n, _)| *n != leader)
            .map(|(_, a)| a)
            .collect();
        let took = block_on(first_put_after(&others, || self.members[leader].signal(signal)))?;
        if signal == Signal::STOP {
            self.members[leader].signal(Signal::CONT)?;
        } else {
            self.members[leader].kill()?;
            self.members[leader].start_again()?;
        }
        Ok(took)
    }

    /// Adds a member, and starts it.
    ///
    /// # Errors
    /// When the cluster refuses it, or it cannot be started; as text.
    pub async fn join(&mut self) -> Result<&str, String> {
        let seat = Seat::new(&format!("m{}", self.seats.len()), self.dir.path())?;
        let request = MemberAddRequest {
            peer_urls: vec![format!("http://{}", seat.peer)],
            ..MemberAddRequest::default()
        };
        let path = "/etcdserverpb.Cluster/MemberAdd";
        let answer: MemberAddResponse = call(&self.seats[0].address, path, &request).await?;
        assert!(answer.member.is_some(), "the new member is named");
        self.founders = format!("{},{}", self.founders, seat.founder());
        self.members.push(seat.start(&self.binary, &self.founders, "existing")?);
        self.seats.push(seat);
        Ok(&self.seats[self.seats.len() - 1].address)
    }
}

/// What a member says of itself.
///
/// # Errors
/// When it does not answer; as text.
pub async fn status(address: &str) -> Result<StatusResponse, String> {
    call(address, "/etcdserverpb.Maintenance/Status", &StatusRequest {}).await
}

fn member_id(status: &StatusResponse) -> u64 {
    status.header.as_ref().map_or(0, |header| header.member_id)
}

async fn call<A: Message + Default>(
    address: &str,
    path: &str,
    request: &impl Message,
) -> Result<A, String> {
    let connection =
        Connection::open(address).await.map_err(|e| format!("cannot connect to {address}: {e}"))?;
    let answer = connection.method(path).call(request).await.map_err(|e| e.to_string())?;
    A::decode(answer).map_err(|e| format!("the answer of {path}: {e}"))
}

async fn first_put_after(
    addresses: &[&str],
    signal: impl FnOnce() -> Result<(), String>,
) -> Result<Duration, String> {
    let mut connections = Vec::new();
    for address in addresses {
        let connection = Connection::open(address).await;
        connections.push(connection.map_err(|e| format!("cannot connect to {address}: {e}"))?);
    }
    signal()?;
    let start = Instant::now();
    let (sender, mut first) = tokio::sync::mpsc::channel(1);
    let mut calls = Vec::new();
    for connection in connections.iter().cycle() {
        let mut method = connection.method("/etcdserverpb.KV/Put");
        let sender = sender.clone();
        calls.push(tokio::task::spawn_local(async move {
            let put = PutRequest { key: "failover".into(), ..PutRequest::default() };
            if method.call(&put).await.is_ok() {
                // A later one than the first is of no interest.
                let _ = sender.try_send(start.elapsed());
            }
        }));
        if let Ok(took) = tokio::time::timeout(ATTEMPT_EVERY, first.recv()).await {
            calls.iter().for_each(tokio::task::JoinHandle::abort);
            return took.ok_or_else(|| "no attempt is left".to_owned());
        }
        if start.elapsed() > FAILOVER_LIMIT {
            break;
        }
    }
    Err(format!("no put succeeded within {} s", FAILOVER_LIMIT.as_secs()))
}

/// Runs it on a runtime of its own on this thread.
fn block_on<T>(future: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    LocalSet::new().block_on(&runtime, future)
}
