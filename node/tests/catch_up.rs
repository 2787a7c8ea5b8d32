//! Three real processes, one of which was away until the log had nothing left for it: it is given
//! the state, and goes on with everybody else.

#![allow(unreachable_pub, reason = "the modules of a test are nobody else's")]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use prost::Message;
use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use revd_api::etcdserverpb::watch_client::WatchClient;
use revd_api::etcdserverpb::watch_request::RequestUnion;
use revd_api::etcdserverpb::{
    HashKvRequest, PutRequest, StatusRequest, WatchCreateRequest, WatchRequest, WatchResponse,
};
use revd_api::mvccpb::Event;
use rustix::process::{Pid, Signal, kill_process};
use support::Server;
use tonic::Streaming;
use tonic::transport::Channel;

/// Everything that takes no longer than this has happened.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a leader has in memory it sends from there, however far behind the other is, and some is on
/// its way to a member that stands still: so much has to be written before it needs a snapshot.
const BULK: usize = 96;
const MEBIBYTE: usize = 1 << 20;

struct Member {
    ports: (u16, u16),
    dir: tempfile::TempDir,
    /// None while it is down.
    server: Option<Server>,
}

struct Cluster {
    members: Vec<Member>,
    initial: String,
}

impl Cluster {
    fn start() -> Self {
        let member = |_| Member {
            ports: (support::free_port(), support::free_port()),
            dir: support::scratch(),
            server: None,
        };
        let members: Vec<Member> = (0..3).map(member).collect();
        let one =
            |(n, member): (usize, &Member)| format!("m{n}=http://127.0.0.1:{}", member.ports.1);
        let initial = members.iter().enumerate().map(one).collect::<Vec<_>>().join(",");
        let mut cluster = Self { members, initial };
        (0..3).for_each(|n| cluster.bring_up(n));
        cluster
    }

    fn bring_up(&mut self, n: usize) {
        let member = &mut self.members[n];
        let name = format!("m{n}");
        let more = [
            "--name",
            &name,
            "--initial-cluster",
            &self.initial,
            "--snapshot-catchup-entries",
            "10",
            "--log-level",
            "debug",
        ];
        let command = Command::new(env!("CARGO_BIN_EXE_revd"));
        member.server = Some(Server::start_on(member.ports, command, member.dir.path(), &more));
    }

    fn server(&mut self, n: usize) -> &mut Server {
        self.members[n].server.as_mut().expect("it runs")
    }

    fn signal(&mut self, n: usize, signal: Signal) {
        let id = i32::try_from(self.server(n).id()).expect("a process id");
        kill_process(Pid::from_raw(id).expect("not 0"), signal).expect("it runs");
    }

    fn kill(&mut self, n: usize) {
        self.members[n].server.take().expect("it runs").kill();
    }

    async fn kv(&mut self, n: usize) -> KvClient<Channel> {
        KvClient::new(self.server(n).connect().await)
    }

    /// How often a member has logged this line.
    fn logged(&self, n: usize, line: &str) -> usize {
        let log = std::fs::read_to_string(self.members[n].dir.path().join("server.log"));
        log.expect("a log").lines().filter(|text| text.contains(line)).count()
    }

    async fn wait_for_log(&self, n: usize, line: &str) {
        let start = Instant::now();
        while self.logged(n, line) == 0 {
            let log = || std::fs::read_to_string(self.members[n].dir.path().join("server.log"));
            assert!(start.elapsed() < PATIENCE, "m{n} never says {line:?}; its log:\n{:?}", log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Puts until those who are there have given up all entries so far.
    async fn let_the_log_go(&mut self, away: usize) {
        let others: Vec<usize> = (0..3).filter(|n| *n != away).collect();
        let mut kv = self.kv(others[0]).await;
        let mut client = MaintenanceClient::new(self.server(others[0]).connect().await);
        let status = client.status(StatusRequest {}).await.expect("a status").into_inner();
        let start = Instant::now();
        while !others.iter().all(|n| self.released(*n) >= status.raft_index) {
            assert!(start.elapsed() < PATIENCE, "up to {}", status.raft_index);
            put(&mut kv, "another", 1).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The last entry that a member has given up.
    fn released(&self, n: usize) -> u64 {
        let log = std::fs::read_to_string(self.members[n].dir.path().join("server.log"));
        let log = log.expect("a log");
        let lines = log.lines().filter_map(|line| line.split_once("\"compact-index\":"));
        let number = |(_, rest): (&str, &str)| {
            rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok())
        };
        lines.filter_map(number).max().unwrap_or(0)
    }

    /// A member that does not lead.
    async fn follower(&mut self) -> usize {
        let mut client = MaintenanceClient::new(self.server(0).connect().await);
        let start = Instant::now();
        loop {
            let status = client.status(StatusRequest {}).await.expect("a status").into_inner();
            let own = status.header.expect("a header").member_id;
            if status.leader != 0 {
                return if status.leader == own { 1 } else { 0 };
            }
            assert!(start.elapsed() < PATIENCE, "no leader");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until all members are at this revision, and compares what they hold.
    async fn assert_alike(&mut self, revision: i64) {
        let mut hashes = Vec::new();
        for n in 0..3 {
            let mut client = MaintenanceClient::new(self.server(n).connect().await);
            let start = Instant::now();
            loop {
                let hash = client.hash_kv(HashKvRequest { revision }).await;
                match hash.map(tonic::Response::into_inner) {
                    Ok(answer) => {
                        hashes.push((answer.hash, answer.compact_revision));
                        break;
                    }
                    Err(status) => assert!(start.elapsed() < PATIENCE, "m{n}: {status}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    }
}

/// Puts until it is acknowledged: leadership may move while a member is away.
async fn put(kv: &mut KvClient<Channel>, key: &str, length: usize) -> i64 {
    let start = Instant::now();
    loop {
        let (key, value) = (key.to_owned().into(), vec![b'v'; length].into());
        match kv.put(PutRequest { key, value, ..PutRequest::default() }).await {
            Ok(answer) => return answer.into_inner().header.expect("a header").revision,
            Err(status) => assert!(start.elapsed() < PATIENCE, "{status}"),
        }
    }
}

async fn watch(channel: Channel, key: &str) -> Streaming<WatchResponse> {
    let create = WatchCreateRequest {
        key: key.to_owned().into(),
        range_end: format!("{key}~").into(),
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The stream of requests stays open.
    let requests =
        tokio_stream::StreamExt::chain(tokio_stream::iter([request]), tokio_stream::pending());
    let mut stream =
        WatchClient::new(channel).watch(requests).await.expect("a stream").into_inner();
    let created = stream.message().await.expect("an answer").expect("one");
    assert!(created.created);
    stream
}

/// The keys of the next events, in order.
async fn events(stream: &mut Streaming<WatchResponse>, count: usize) -> Vec<String> {
    let mut keys = Vec::new();
    while keys.len() < count {
        let next = tokio::time::timeout(PATIENCE, stream.message()).await.expect("more events");
        let response = next.expect("the stream lives").expect("it goes on");
        assert!(!response.canceled, "{response:?}");
        for event in response.events {
            let kv = Event::decode(event).expect("an event").kv.expect("a record");
            keys.push(String::from_utf8(kv.key.to_vec()).expect("text"));
        }
    }
    keys
}

#[tokio::test]
async fn a_member_that_stood_still_goes_on_with_its_watchers() {
    let mut cluster = Cluster::start();
    let victim = cluster.follower().await;
    let mut kv = cluster.kv((victim + 1) % 3).await;
    put(&mut kv, "w/00", 1).await;
    let channel = cluster.server(victim).connect().await;
    let mut stream = watch(channel, "w/").await;
    let mut expected = Vec::new();
    for n in 0..5 {
        expected.push(format!("w/1{n}"));
        put(&mut kv, &expected[n], 10).await;
    }
    assert_eq!(events(&mut stream, 5).await, expected);

    cluster.signal(victim, Signal::STOP);
    let mut written = Vec::new();
    for n in 0..BULK {
        put(&mut kv, &format!("bulk/{}", n % 8), MEBIBYTE).await;
        if n % 3 == 0 {
            written.push(format!("w/2{n:02}"));
            put(&mut kv, &written[n / 3], 10).await;
        }
    }
    cluster.let_the_log_go(victim).await;
    cluster.signal(victim, Signal::CONT);
    cluster.wait_for_log(victim, "applied snapshot").await;
    written.push("w/3".to_owned());
    let revision = put(&mut kv, "w/3", 10).await;
    assert_eq!(events(&mut stream, written.len()).await, written, "no gap and no repeat");
    cluster.assert_alike(revision).await;
}

#[tokio::test]
async fn a_member_that_dies_while_it_is_given_the_state_begins_anew() {
    let mut cluster = Cluster::start();
    let victim = cluster.follower().await;
    let mut kv = cluster.kv((victim + 1) % 3).await;
    put(&mut kv, "first", 1).await;
    cluster.kill(victim);
    for n in 0..BULK {
        put(&mut kv, &format!("bulk/{n}"), MEBIBYTE).await;
    }
    cluster.let_the_log_go(victim).await;
    cluster.bring_up(victim);
    cluster.wait_for_log(victim, "receiving database snapshot").await;
    cluster.kill(victim);
    cluster.bring_up(victim);
    let revision = put(&mut kv, "last", 1).await;
    cluster.assert_alike(revision).await;
    assert!(cluster.logged(victim, "applied snapshot") > 0);
    cluster.kill(victim);
    cluster.bring_up(victim);
    cluster.assert_alike(revision).await;
    assert_eq!(leftovers(cluster.members[victim].dir.path()), Vec::<String>::new());
}

/// Names of files below a folder that an unfinished snapshot has left.
fn leftovers(dir: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().expect("a type").is_dir() {
            found.extend(leftovers(&entry.path()));
        } else if name.contains(".import") {
            found.push(name);
        }
    }
    found
}
