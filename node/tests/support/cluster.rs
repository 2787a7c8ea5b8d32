//! Several real servers that are one cluster, and the calls that tests make to them.

use std::process::Command;
use std::time::{Duration, Instant};

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::cluster_client::ClusterClient;
use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::Status;
use tonic::transport::Channel;

use super::Server;

/// Everything that takes no longer than this has happened.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One of the servers.
pub struct Member {
    /// For clients and for other members.
    pub ports: (u16, u16),
    pub dir: tempfile::TempDir,
    /// What it is started with besides ports and directory.
    pub flags: Vec<String>,
    /// None while it is down.
    pub server: Option<Server>,
}

impl Member {
    /// A member of this name that does not run yet.
    fn new(name: &str) -> Self {
        let ports = (super::free_port(), super::free_port());
        let flags = vec!["--name".to_owned(), name.to_owned()];
        Self { ports, dir: super::scratch(), flags, server: None }
    }

    /// Where other members reach it.
    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.1)
    }

    fn flag(&mut self, name: &str, value: &str) {
        self.flags.push(format!("--{name}={value}"));
    }
}

/// The servers, by number; `m` and the number is their name.
pub struct Cluster {
    pub members: Vec<Member>,
    /// Flags that all of them get.
    pub more: Vec<String>,
}

impl Cluster {
    /// Starts so many founders.
    pub fn start(size: usize) -> Self {
        Self::start_with(size, &[])
    }

    /// The same with further flags for all members, also for those to come.
    pub fn start_with(size: usize, more: &[&str]) -> Self {
        let mut members: Vec<Member> = (0..size).map(|n| Member::new(&format!("m{n}"))).collect();
        let entry = |(n, member): (usize, &Member)| format!("m{n}={}", member.peer_url());
        let initial = members.iter().enumerate().map(entry).collect::<Vec<_>>().join(",");
        for member in &mut members {
            member.flag("initial-cluster", &initial);
        }
        let more = more.iter().map(|flag| (*flag).to_owned()).collect();
        let mut cluster = Self { members, more };
        (0..size).for_each(|n| cluster.bring_up(n));
        cluster
    }

    /// Starts a member that is down.
    pub fn bring_up(&mut self, n: usize) {
        self.bring_up_with(n, &[]);
    }

    /// The same with further flags, this time.
    pub fn bring_up_with(&mut self, n: usize, more: &[&str]) {
        let member = &mut self.members[n];
        let flags = member.flags.iter().chain(&self.more).map(String::as_str);
        let flags: Vec<&str> = flags.chain(more.iter().copied()).collect();
        let command = Command::new(env!("CARGO_BIN_EXE_revd"));
        member.server = Some(Server::start_on(member.ports, command, member.dir.path(), &flags));
    }

    pub fn kill(&mut self, n: usize) {
        self.members[n].server.take().expect("it runs").kill();
    }

    pub fn server(&mut self, n: usize) -> &mut Server {
        self.members[n].server.as_mut().expect("it runs")
    }

    pub async fn connect(&mut self, n: usize) -> Channel {
        self.server(n).connect().await
    }

    pub async fn kv(&mut self, n: usize) -> KvClient<Channel> {
        KvClient::new(self.connect(n).await)
    }

    /// Where those that run serve clients.
    pub fn client_urls(&self) -> Vec<String> {
        let servers = self.members.iter().filter_map(|member| member.server.as_ref());
        servers.map(|server| server.client_url.clone()).collect()
    }

    /// What a member says of itself.
    pub async fn status(&mut self, n: usize) -> pb::StatusResponse {
        let mut client = MaintenanceClient::new(self.connect(n).await);
        client.status(pb::StatusRequest {}).await.expect("a status").into_inner()
    }

    /// The id of a member that runs.
    pub async fn id(&mut self, n: usize) -> u64 {
        self.status(n).await.header.expect("a header").member_id
    }

    /// Waits until some member that is up says that it leads, and returns its number.
    pub async fn leader(&mut self) -> usize {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            for n in 0..self.members.len() {
                if !self.members[n].server.as_mut().is_some_and(Server::is_alive) {
                    continue;
                }
                let mut client = MaintenanceClient::new(self.connect(n).await);
                if let Ok(status) = client.status(pb::StatusRequest {}).await {
                    let status = status.into_inner();
                    let own = status.header.map(|header| header.member_id);
                    if own == Some(status.leader) {
                        return n;
                    }
                }
            }
        }
        panic!("no leader within {PATIENCE:?}");
    }

    /// The members as all that was done so far has left them.
    pub async fn list(&mut self, through: usize) -> Vec<pb::Member> {
        self.list_as(through, true).await
    }

    /// The members as one of them knows them, which needs no quorum.
    pub async fn list_there(&mut self, through: usize) -> Vec<pb::Member> {
        self.list_as(through, false).await
    }

    async fn list_as(&mut self, through: usize, linearizable: bool) -> Vec<pb::Member> {
        let mut client = ClusterClient::new(self.connect(through).await);
        let start = Instant::now();
        loop {
            match client.member_list(pb::MemberListRequest { linearizable }).await {
                Ok(list) => return list.into_inner().members,
                Err(status) => wait_or_fail(start, &status).await,
            }
        }
    }

    /// Adds a member that does not run yet, and returns its number and its id.
    pub async fn add(&mut self, through: usize, is_learner: bool) -> Result<(usize, u64), Status> {
        let n = self.members.len();
        let mut member = Member::new(&format!("m{n}"));
        let peer_urls = vec![member.peer_url()];
        let mut client = ClusterClient::new(self.connect(through).await);
        let added = client.member_add(pb::MemberAddRequest { peer_urls, is_learner }).await?;
        let added = added.into_inner();
        let id = added.member.expect("the new member").id;
        let name = |listed: &pb::Member| match listed.id == id {
            true => format!("m{n}"),
            false => listed.name.clone(),
        };
        let entry = |listed: &pb::Member| format!("{}={}", name(listed), listed.peer_urls[0]);
        let initial: Vec<String> = added.members.iter().map(entry).collect();
        member.flag("initial-cluster", &initial.join(","));
        member.flag("initial-cluster-state", "existing");
        self.members.push(member);
        Ok((n, id))
    }

    /// Adds a voter as soon as the cluster is healthy enough for that.
    pub async fn add_at_last(&mut self, through: usize) -> (usize, u64) {
        let start = Instant::now();
        loop {
            match self.add(through, false).await {
                Ok(added) => return added,
                Err(status) => wait_or_fail(start, &status).await,
            }
        }
    }

    /// Removes a member.
    pub async fn remove(&mut self, through: usize, id: u64) -> Result<Vec<pb::Member>, Status> {
        let mut client = ClusterClient::new(self.connect(through).await);
        let removed = client.member_remove(pb::MemberRemoveRequest { id }).await?;
        Ok(removed.into_inner().members)
    }

    /// Removes a member as soon as the cluster is healthy enough for that.
    pub async fn remove_at_last(&mut self, through: usize, id: u64) -> Vec<pb::Member> {
        let start = Instant::now();
        loop {
            match self.remove(through, id).await {
                Ok(left) => return left,
                Err(status) => wait_or_fail(start, &status).await,
            }
        }
    }

    /// Promotes a learner.
    pub async fn promote(&mut self, through: usize, id: u64) -> Result<Vec<pb::Member>, Status> {
        let mut client = ClusterClient::new(self.connect(through).await);
        let promoted = client.member_promote(pb::MemberPromoteRequest { id }).await?;
        Ok(promoted.into_inner().members)
    }
}

/// Waits before the next attempt at what a cluster that has just changed may refuse.
pub async fn wait_or_fail(start: Instant, status: &Status) {
    let passes = status.code() == tonic::Code::Unavailable;
    assert!(passes && start.elapsed() < PATIENCE, "{status}");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

pub async fn put(kv: &mut KvClient<Channel>, key: &str, value: &str) -> Result<(), Status> {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    kv.put(pb::PutRequest { key, value, ..pb::PutRequest::default() }).await.map(drop)
}

/// Reads; when the leader has just changed, once more.
pub async fn get(kv: &mut KvClient<Channel>, key: &str, serializable: bool) -> Option<String> {
    let key = key.to_owned().into();
    let range = pb::RangeRequest { key, serializable, ..pb::RangeRequest::default() };
    let start = Instant::now();
    let answer = loop {
        match kv.range(range.clone()).await {
            Ok(answer) => break answer.into_inner(),
            Err(status) => wait_or_fail(start, &status).await,
        }
    };
    let kv = answer.kvs.into_iter().next()?.expect("a record");
    Some(String::from_utf8(kv.value.to_vec()).expect("text"))
}

/// Puts until it is acknowledged.
pub async fn put_at_last(kv: &mut KvClient<Channel>, key: &str, value: &str) {
    let start = Instant::now();
    while let Err(status) = put(kv, key, value).await {
        assert!(start.elapsed() < PATIENCE, "{status}");
    }
}
