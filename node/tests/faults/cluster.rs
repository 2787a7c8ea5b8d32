//! Members as processes that can be killed, frozen, stopped and brought back.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use revd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use revd_api::etcdserverpb::{
    AlarmRequest, AlarmType, HashKvRequest, MoveLeaderRequest, StatusRequest, StatusResponse,
    alarm_request::AlarmAction,
};
use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::{Channel, Endpoint};

use super::network::Network;
use crate::support::{self, Server};

/// Everything that takes no longer than this has happened.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A member that does not say how it is within this time is down, for now.
const ASKED: Duration = Duration::from_secs(1);

struct Member {
    host: String,
    ports: (u16, u16),
    /// Holds data and log, unless the data is elsewhere.
    dir: tempfile::TempDir,
    data: Option<PathBuf>,
    /// None while it is down.
    server: Option<Server>,
    is_frozen: bool,
}

impl Member {
    fn client_url(&self) -> String {
        format!("http://{}:{}", self.host, self.ports.0)
    }

    fn peer_url(&self) -> String {
        format!("http://{}:{}", self.host, self.ports.1)
    }

    fn signal(&self, signal: Signal) {
        let server = self.server.as_ref().expect("it runs");
        let pid = Pid::from_raw(server.id() as i32).expect("a process id");
        kill_process(pid, signal).expect("the process is ours");
    }
}

pub struct Cluster {
    members: Vec<Member>,
    pub network: Option<Network>,
}

impl Cluster {
    /// Starts members on loopback, or each in its own network.
    pub fn start(size: usize, network: Option<Network>) -> Self {
        Self::start_on(size, network, None)
    }

    /// The same, with the data of the first in a folder of the test.
    pub fn start_on(size: usize, network: Option<Network>, first: Option<PathBuf>) -> Self {
        let member = |n| Member {
            host: network.as_ref().map_or("127.0.0.1".to_owned(), |network| network.address(n)),
            ports: (support::free_port(), support::free_port()),
            dir: support::scratch(),
            data: first.clone().filter(|_| n == 0),
            server: None,
            is_frozen: false,
        };
        let members = (0..size).map(member).collect();
        let mut cluster = Self { members, network };
        (0..size).for_each(|n| cluster.bring_up(n));
        cluster
    }

    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Starts a member that is down.
    pub fn bring_up(&mut self, n: usize) {
        let entry = |(n, member): (usize, &Member)| format!("m{n}={}", member.peer_url());
        let initial: Vec<String> = self.members.iter().enumerate().map(entry).collect();
        let program = env!("CARGO_BIN_EXE_revd");
        let command = match &self.network {
            Some(network) => network.command(n, program),
            None => Command::new(program),
        };
        let member = &mut self.members[n];
        let (client, peer) = (member.client_url(), member.peer_url());
        let (name, initial) = (format!("m{n}"), initial.join(","));
        let data = member.data.as_ref().map(|data| data.to_string_lossy().into_owned());
        let mut more = vec!["--name", &name, "--initial-cluster", &initial];
        more.extend(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        more.extend(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        more.extend(data.iter().flat_map(|data| ["--data-dir", data]));
        let mut server = Server::start_on(member.ports, command, member.dir.path(), &more);
        server.client_url = client;
        member.server = Some(server);
    }

    /// SIGKILL, which a frozen one gets as well.
    pub fn kill(&mut self, n: usize) {
        self.members[n].is_frozen = false;
        self.members[n].server.take().expect("it runs").kill();
    }

    /// SIGKILL to all before any of them is gone.
    pub fn kill_all(&mut self) {
        self.members.iter().for_each(|member| member.signal(Signal::KILL));
        (0..self.size()).for_each(|n| self.kill(n));
    }

    /// SIGSTOP: time stands still for a member, and its connections stay.
    pub fn freeze(&mut self, n: usize) {
        self.members[n].signal(Signal::STOP);
        self.members[n].is_frozen = true;
    }

    /// SIGCONT.
    pub fn thaw(&mut self, n: usize) {
        self.members[n].signal(Signal::CONT);
        self.members[n].is_frozen = false;
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self, n: usize) {
        let status = self.members[n].server.take().expect("it runs").terminate();
        assert!(status.code().is_none(), "m{n} has ended by itself: {status}");
    }

    /// A connection to a member, made when it is used, and again after it is lost.
    pub fn channel(&self, n: usize) -> Channel {
        let endpoint = Endpoint::from_shared(self.members[n].client_url()).expect("a URL");
        endpoint.connect_timeout(Duration::from_millis(500)).connect_lazy()
    }

    pub fn maintenance(&self, n: usize) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel(n))
    }

    async fn status(&self, n: usize) -> Option<StatusResponse> {
        let member = &self.members[n];
        if member.server.is_none() || member.is_frozen {
            return None;
        }
        let mut client = self.maintenance(n);
        let answer = tokio::time::timeout(ASKED, client.status(StatusRequest {})).await;
        answer.ok()?.ok().map(tonic::Response::into_inner)
    }

    /// Waits until one of the members that are up leads, and returns its number. One that has been
    /// cut off may still think that it leads; so the newest term counts.
    pub async fn leader(&self) -> usize {
        let start = Instant::now();
        loop {
            let mut newest = None;
            for n in 0..self.size() {
                if let Some(status) = self.status(n).await {
                    let own = status.header.as_ref().map(|header| header.member_id);
                    let leads = own == Some(status.leader);
                    newest = newest.max(Some((status.raft_term, leads, n)));
                }
            }
            if let Some((_, true, n)) = newest {
                return n;
            }
            assert!(start.elapsed() < PATIENCE, "no leader; {}", self.logs());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Gives leadership to a member, from whichever has it.
    pub async fn let_lead(&self, n: usize) {
        let start = Instant::now();
        loop {
            let leader = self.leader().await;
            if leader == n {
                return;
            }
            let own = self.status(n).await.and_then(|status| status.header);
            if let Some(header) = own {
                let to = MoveLeaderRequest { target_id: header.member_id };
                // It may have lost leadership by itself meanwhile.
                let _ = self.maintenance(leader).move_leader(to).await;
            }
            assert!(start.elapsed() < PATIENCE, "m{n} does not get to lead; {}", self.logs());
        }
    }

    /// Whether an alarm for want of room stands, as far as any member can say.
    pub async fn has_space_alarm(&self) -> bool {
        let request = AlarmRequest { action: AlarmAction::Get.into(), ..Default::default() };
        for n in 0..self.size() {
            let mut client = self.maintenance(n);
            let answer = tokio::time::timeout(ASKED, client.alarm(request)).await;
            if let Ok(Ok(answer)) = answer {
                return !answer.into_inner().alarms.is_empty();
            }
        }
        false
    }

    /// Clears the alarm for want of room wherever it stands; whoever still has none raises it
    /// again.
    pub async fn clear_space_alarm(&self) {
        let mut request =
            AlarmRequest { action: AlarmAction::Deactivate.into(), ..Default::default() };
        request.set_alarm(AlarmType::Nospace);
        for n in 0..self.size() {
            let mut client = self.maintenance(n);
            if let Some(header) = self.status(n).await.and_then(|status| status.header) {
                request.member_id = header.member_id;
                let _ = tokio::time::timeout(ASKED, client.alarm(request)).await;
            }
        }
    }

    /// The hash of all history up to a revision, which a member may still have to get to.
    pub async fn hash_at(&self, n: usize, revision: i64) -> u32 {
        let start = Instant::now();
        loop {
            let mut client = self.maintenance(n);
            match client.hash_kv(HashKvRequest { revision }).await {
                Ok(answer) => return answer.into_inner().hash,
                Err(status) => assert!(
                    start.elapsed() < PATIENCE,
                    "m{n} does not get to revision {revision}: {status}; {}",
                    self.logs()
                ),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The last lines of each member's log.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for (n, member) in self.members.iter().enumerate() {
            let log = std::fs::read_to_string(member.dir.path().join("server.log"));
            let log = log.unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(20).collect();
            text += &format!("\n-- m{n}:\n");
            lines.iter().rev().for_each(|line| text += &format!("{line}\n"));
        }
        text
    }
}
