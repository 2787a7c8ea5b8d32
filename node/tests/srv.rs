//! Members that find each other by SRV records, of which a server in this test answers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use revd_api::etcdserverpb::cluster_client::ClusterClient;
use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::{Member, MemberAddRequest, MemberListRequest};
use support::cluster::{get, put_at_last};
use support::{Server, free_port, scratch};

/// Everything that takes no longer than this has happened.
const PATIENCE: Duration = Duration::from_secs(60);

/// Service, port and target.
type Service = (&'static str, u16, &'static str);

/// A server of names, and all records that there are.
#[derive(Clone)]
struct Names {
    address: SocketAddr,
    records: Arc<Mutex<Vec<Service>>>,
}

impl Names {
    fn serve() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let names = Self { address: socket.local_addr().unwrap(), records: Arc::default() };
        let server = names.clone();
        // It ends with the process of the test.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                let query = Message::from_vec(&buffer[..length]).unwrap();
                socket.send_to(&server.answer(&query).to_vec().unwrap(), from).unwrap();
            }
        });
        names
    }

    fn add(&self, service: &'static str, port: u16, target: &'static str) {
        self.records.lock().unwrap().push((service, port, target));
    }

    fn answer(&self, query: &Message) -> Message {
        let asked = &query.queries[0];
        let mut answer = Message::response(query.metadata.id, OpCode::Query);
        answer.queries.push(asked.clone());
        let records = self.records.lock().unwrap();
        let name = asked.name.to_ascii().to_lowercase();
        let known = |service: &str| asked.query_type == RecordType::SRV && service == name;
        for (_, port, target) in records.iter().filter(|(service, ..)| known(service)) {
            let data = RData::SRV(SRV::new(0, 0, *port, Name::from_ascii(target).unwrap()));
            answer.add_answer(Record::from_rdata(asked.name.clone(), 60, data));
        }
        if answer.answers.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        answer
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_revd"));
        command.env("REVD_NAME_SERVER", self.address.to_string());
        command
    }

    fn start(&self, dir: &Path, peer_port: u16, name: &str, more: &[&str]) -> Server {
        let mut flags = vec!["--name", name, "--initial-cluster=", "--discovery-srv=Test"];
        flags.extend(["--discovery-srv-name=green", "--strict-reconfig-check=false"]);
        flags.extend(more);
        Server::start_on((free_port(), peer_port), self.command(), dir, &flags)
    }
}

async fn members(server: &mut Server) -> Vec<Member> {
    let list = MemberListRequest { linearizable: true };
    let mut client = ClusterClient::new(server.connect().await);
    let start = Instant::now();
    loop {
        match client.member_list(list).await {
            Ok(list) => return list.into_inner().members,
            Err(status) => assert!(start.elapsed() < PATIENCE, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn members_find_each_other_and_one_that_joins_finds_them() {
    let names = Names::serve();
    let service = "_etcd-server-green._tcp.test.";
    let dirs: Vec<_> = (0..4).map(|_| scratch()).collect();
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
    // Others that have nothing to do with it.
    names.add("_etcd-server._tcp.test.", 1, "localhost.");
    for (port, target) in ports.iter().zip(["localhost.", "LocalHost.", "127.0.0.1."]) {
        names.add(service, *port, target);
    }
    let start =
        |n: usize, more: &[&str]| names.start(dirs[n].path(), ports[n], &format!("m{n}"), more);
    let mut servers: Vec<Server> = (0..3).map(|n| start(n, &[])).collect();
    for server in &mut servers {
        put_at_last(&mut KvClient::new(server.connect().await), "k", "v").await;
        assert_eq!(members(server).await.len(), 3);
    }
    let peer_urls = vec![format!("http://127.0.0.1:{}", ports[3])];
    let add = MemberAddRequest { peer_urls, is_learner: false };
    let mut client = ClusterClient::new(servers[0].connect().await);
    client.member_add(add).await.unwrap();
    names.add(service, ports[3], "localhost.");
    let mut joined = start(3, &["--initial-cluster-state=existing"]);
    let mut kv = KvClient::new(joined.connect().await);
    assert_eq!(get(&mut kv, "k", false).await.as_deref(), Some("v"));
    let mut all: Vec<String> = members(&mut joined).await.into_iter().map(|m| m.name).collect();
    all.sort_unstable();
    assert_eq!(all, ["m0", "m1", "m2", "m3"]);
}

/// Starts a member that cannot be; the line that says why.
fn refused(mut command: Command, domain: &str) -> String {
    let (dir, peer) = (scratch(), format!("http://127.0.0.1:{}", free_port()));
    let output = command
        .current_dir(dir.path())
        .args(["--name=me", "--discovery-srv", domain])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let line: serde_json::Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
    assert_eq!(line["msg"], "discovery failed");
    line["error"].as_str().unwrap().replace(&peer, "OWN")
}

#[test]
fn mistakes_are_told_in_one_line() {
    let names = Names::serve();
    names.add("_etcd-server._tcp.others.", 2380, "127.0.0.7.");
    names.add("_etcd-server._tcp.others.", 2379, "127.0.0.7.");
    // The service is decidedly not there (RFC 2782).
    names.add("_etcd-server-ssl._tcp.none.", 2380, ".");
    assert_eq!(
        refused(names.command(), "empty.test"),
        "discovery: no members are found below empty.test: _etcd-server-ssl._tcp.empty.test.: no \
         such name; _etcd-server._tcp.empty.test.: no such name"
    );
    assert_eq!(
        refused(names.command(), "others"),
        "cannot find local etcd member \"me\" in SRV records: they name http://127.0.0.7:2379, \
         http://127.0.0.7:2380, and this member is at --initial-advertise-peer-urls=OWN"
    );
    let none = refused(names.command(), "none");
    assert!(none.starts_with("discovery: no members are found below none: \"\": "), "{none}");
    let mut command = names.command();
    command.env("REVD_NAME_SERVER", "localhost");
    assert_eq!(
        refused(command, "others"),
        "discovery: no server to ask for SRV records: REVD_NAME_SERVER=localhost is no ip:port"
    );
}

#[test]
fn a_record_of_another_scheme_is_named() {
    let names = Names::serve();
    let (dir, port) = (scratch(), free_port());
    names.add("_etcd-server-ssl-green._tcp.test.", port, "127.0.0.1.");
    let mut server = names.start(dir.path(), port, "me", &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (status, log) = runtime.block_on(server.ended());
    assert_eq!(status.code(), Some(1));
    let expected = format!(
        "discovery: no members are found below Test: https://127.0.0.1:{port} is this member, but \
         it advertises http; _etcd-server-green._tcp.Test.: no such name"
    );
    assert!(log.contains(&expected), "{log}");
}
