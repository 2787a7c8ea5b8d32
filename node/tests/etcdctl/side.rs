//! One of the two sides: a server, or a cluster, and what a script has under way on it.
//!
//! Lone servers are told the same name, token and peer URL, so that member and cluster ids come out
//! equal; nothing ever dials that URL, because a cluster of one has no peers. The members of
//! clusters need addresses of their own, and so have other ids on each side: these are put aside by
//! name. The founders `m0` to `m2` are numbered by rising id, so that lists have one order.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use revd::bootstrap::member_id;
use revd::config::Urls;
use revd_api::etcdserverpb::alarm_request::AlarmAction;
use revd_api::etcdserverpb::cluster_client::ClusterClient;
use revd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use revd_api::etcdserverpb::{AlarmRequest, AlarmType, MemberListRequest, StatusRequest};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Endpoint;

use crate::process::{Outcome, Process};
use crate::rules::Facts;
use crate::script::Call;
use crate::support::{Server, free_port, scratch};

/// How long a server may take from its start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long a cluster may take to become what a script waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The later value of a repeated flag counts.
const SAME_IDENTITY: &[&str] = &[
    "--initial-advertise-peer-urls=http://127.0.0.1:2380",
    "--initial-cluster=m0=http://127.0.0.1:2380",
    "--initial-cluster-token=etcdctl",
    "--logger=zap",
];

/// Founders of a cluster, and members that a script may add besides.
const FOUNDERS: usize = 3;
const SEATS: usize = 5;

/// A member as a cluster lists it: its id, its name and its first peer URL.
type Listed = (u64, String, String);

/// Where a server is, or is to be.
struct Seat {
    /// Gone between a kill and the next start, and before the first.
    server: Option<Server>,
    ports: (u16, u16),
    // Removed after the process has gone: fields are dropped in order.
    dir: TempDir,
}

impl Seat {
    fn new() -> Self {
        Self { server: None, ports: (free_port(), free_port()), dir: scratch() }
    }

    fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.ports.0)
    }

    fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.1)
    }

    fn spawn(&mut self, binary: &str, flags: &[String]) {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let server = Server::start_on(self.ports, Command::new(binary), self.dir.path(), &flags);
        self.server = Some(server);
    }

    /// Waits until `etcdctl` gets an answer to one of its `endpoint` commands.
    fn wait(&mut self, command: &str) {
        let (endpoint, started) = (self.endpoint(), Instant::now());
        let words = [b"endpoint".to_vec(), command.as_bytes().to_vec()];
        let server = self.server.as_mut().expect("it was started");
        // `etcdctl` waits for a second before it tries to connect again.
        while TcpStream::connect(&endpoint).is_err()
            || Process::start(&endpoint, &words, b"").join().exit != "0"
        {
            std::thread::sleep(Duration::from_millis(5));
            assert!(
                server.is_alive() && started.elapsed() < START_LIMIT,
                "the server does not answer; its log:\n{}",
                std::fs::read_to_string(&server.log).unwrap_or_default()
            );
        }
    }
}

/// One server or cluster, and what the script has under way on it.
pub struct Side {
    binary: &'static str,
    seats: Vec<Seat>,
    /// Of the first server, or of all founders.
    endpoint: String,
    pub leases: BTreeMap<String, i64>,
    revisions: BTreeMap<String, i64>,
    /// Ids of the members of a cluster by name, also of those who were removed.
    ids: BTreeMap<String, u64>,
    /// What differs between the clusters, with what is put in its place.
    names: Vec<(String, String)>,
    pub background: BTreeMap<String, (Call, Process)>,
}

impl Side {
    fn new(binary: &'static str, seats: Vec<Seat>, founders: usize) -> Self {
        let endpoints: Vec<String> = seats.iter().take(founders).map(Seat::endpoint).collect();
        Self {
            binary,
            endpoint: endpoints.join(","),
            seats,
            leases: BTreeMap::new(),
            revisions: BTreeMap::new(),
            ids: BTreeMap::new(),
            names: Vec::new(),
            background: BTreeMap::new(),
        }
    }

    /// Starts a lone server.
    pub fn start(binary: &'static str) -> Self {
        let mut side = Self::new(binary, vec![Seat::new()], 1);
        side.launch();
        side
    }

    fn launch(&mut self) {
        let flags: Vec<String> = SAME_IDENTITY.iter().map(|flag| (*flag).to_owned()).collect();
        self.seats[0].spawn(self.binary, &flags);
        self.seats[0].wait("health");
    }

    /// Kills the lone server, and starts it again.
    pub fn restart(&mut self) {
        self.seats[0].server.take().expect("it runs").kill();
        self.launch();
    }

    /// Starts a cluster of three.
    pub fn start_cluster(binary: &'static str) -> Self {
        let mut seats: Vec<Seat> = (0..SEATS).map(|_| Seat::new()).collect();
        seats[..FOUNDERS]
            .sort_by_key(|seat| member_id(&Urls::parse(&seat.peer_url()).unwrap(), "etcdctl"));
        let mut side = Self::new(binary, seats, FOUNDERS);
        let founders = side.peers().take(FOUNDERS);
        let initial: Vec<String> =
            founders.enumerate().map(|(n, (_, url))| format!("m{n}={url}")).collect();
        for n in 0..FOUNDERS {
            side.spawn_member(n, &initial.join(","), "new");
        }
        side.seats.iter_mut().take(FOUNDERS).for_each(|seat| seat.wait("health"));
        side.learn_names();
        side
    }

    fn spawn_member(&mut self, n: usize, initial: &str, state: &str) {
        let flags = [
            format!("--name=m{n}"),
            format!("--initial-cluster={initial}"),
            format!("--initial-cluster-state={state}"),
            "--initial-cluster-token=etcdctl".to_owned(),
            "--logger=zap".to_owned(),
        ];
        self.seats[n].spawn(self.binary, &flags);
    }

    /// The peer URLs by the names that scripts use.
    fn peers(&self) -> impl Iterator<Item = (String, String)> {
        self.seats.iter().enumerate().map(|(n, seat)| (format!("PEER{n}"), seat.peer_url()))
    }

    /// Starts a member that was added.
    pub fn enter(&mut self, n: usize) {
        let listed = self.listed().expect("a cluster lists its members").1;
        let own = self.seats[n].peer_url();
        let entry = |(name, url): &(String, String)| match *url == own {
            true => format!("m{n}={url}"),
            false => format!("{name}={url}"),
        };
        let initial: Vec<String> =
            listed.iter().map(|(_, name, url)| entry(&(name.clone(), url.clone()))).collect();
        self.spawn_member(n, &initial.join(","), "existing");
        // A learner answers nothing about health.
        self.seats[n].wait("status");
    }

    /// Has a member lead.
    pub fn lead(&mut self, n: usize) {
        let id = self.ids[&format!("m{n}")];
        let words = ["move-leader".to_owned(), format!("{id:x}")];
        let words: Vec<Vec<u8>> = words.into_iter().map(String::into_bytes).collect();
        let start = Instant::now();
        while self.leader() != Some(id) {
            drop(Process::start(&self.endpoint, &words, b"").join());
            assert!(start.elapsed() < PATIENCE, "m{n} of {} does not lead", self.binary);
        }
    }

    /// The leader, if all founders that run agree on one.
    fn leader(&self) -> Option<u64> {
        let mut leaders = Vec::new();
        for endpoint in self.endpoint.split(',') {
            let endpoint = Endpoint::from_shared(format!("http://{endpoint}")).unwrap();
            let status = runtime().block_on(async {
                let mut client = MaintenanceClient::new(endpoint.connect().await.ok()?);
                client.status(StatusRequest {}).await.ok()
            });
            leaders.push(status?.into_inner().leader);
        }
        leaders.dedup();
        (leaders.len() == 1).then(|| leaders[0])
    }

    /// The cluster and its members.
    fn listed(&self) -> Option<(u64, Vec<Listed>)> {
        for endpoint in self.endpoint.split(',') {
            let endpoint = Endpoint::from_shared(format!("http://{endpoint}")).unwrap();
            let list = runtime().block_on(async {
                let mut client = ClusterClient::new(endpoint.connect().await.ok()?);
                client.member_list(MemberListRequest::default()).await.ok()
            });
            let Some(list) = list.map(tonic::Response::into_inner) else { continue };
            let members = list.members.into_iter();
            let members = members.map(|m| (m.id, m.name, m.peer_urls[0].clone())).collect();
            return Some((list.header.expect("a header").cluster_id, members));
        }
        None
    }

    /// Finds the names for what differs between clusters.
    pub fn learn_names(&mut self) {
        if self.seats.len() == 1 {
            return;
        }
        let Some((cluster, listed)) = self.listed() else { return };
        for (n, seat) in self.seats.iter().enumerate() {
            let url = seat.peer_url();
            if let Some((id, ..)) = listed.iter().find(|(.., listed)| *listed == url) {
                self.ids.insert(format!("m{n}"), *id);
            }
        }
        let ids = self.ids.iter().map(|(name, id)| (*id, format!("<{name}>")));
        let all: Vec<(u64, String)> = ids.chain([(cluster, "<CLUSTER>".to_owned())]).collect();
        // Where it is padded to sixteen digits.
        let padded = all.iter().flat_map(|(id, name)| {
            ["Member ", "cluster "]
                .map(|word| (format!("{word}{id:>16x}"), format!("{word}{name}")))
        });
        let padded: Vec<(String, String)> = padded.collect();
        let numbers = all.into_iter();
        let numbers = numbers
            .flat_map(|(id, name)| [(format!("{id:x}"), name.clone()), (id.to_string(), name)]);
        let peers = self.peers().map(|(name, url)| (url, name));
        let seats = self.seats.iter().enumerate();
        let endpoints = seats.map(|(n, seat)| (seat.endpoint(), format!("ENDPOINT{n}")));
        self.names = numbers.chain(padded).chain(peers).chain(endpoints).collect();
        self.names.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    }

    /// As a client of the gRPC interface.
    pub fn raise_alarm(&mut self) {
        let server = self.seats[0].server.as_mut().expect("it runs");
        runtime().block_on(async {
            let channel = server.connect().await;
            let mut cluster = ClusterClient::new(channel.clone());
            let list = cluster.member_list(MemberListRequest::default()).await.unwrap();
            let member_id = list.into_inner().members[0].id;
            let (action, alarm) = (AlarmAction::Activate as i32, AlarmType::Nospace as i32);
            let request = AlarmRequest { action, member_id, alarm };
            MaintenanceClient::new(channel).alarm(request).await.unwrap();
        });
    }

    pub fn facts<'a>(&'a self, command: &'a str) -> Facts<'a> {
        Facts { endpoint: &self.endpoint, leases: &self.leases, names: &self.names, command }
    }

    pub fn run(&mut self, call: &Call) -> Outcome {
        self.spawn(call).join()
    }

    /// Runs a command until it succeeds, as long as there is patience.
    pub fn run_at_last(&mut self, call: &Call) -> Outcome {
        let start = Instant::now();
        loop {
            let outcome = self.run(call);
            if outcome.exit == "0" || start.elapsed() > PATIENCE {
                return outcome;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn begin(&mut self, name: &str, call: &Call) {
        let process = self.spawn(call);
        let earlier = self.background.insert(name.to_owned(), (call.clone(), process));
        assert!(earlier.is_none(), "two commands are called {name}");
    }

    pub fn background(&mut self, name: &str) -> &mut (Call, Process) {
        self.background.get_mut(name).expect("the script started it")
    }

    fn spawn(&self, call: &Call) -> Process {
        let words: Vec<Vec<u8>> = call.words.iter().map(|word| self.fill_in(word)).collect();
        Process::start(&self.endpoint, &words, &self.fill_in(&call.input))
    }

    /// A text with the values of the names in it. The longest of several names counts.
    pub fn fill_in(&self, text: &[u8]) -> Vec<u8> {
        let leases = self.leases.iter().map(|(name, id)| (name.as_str(), format!("{id:x}")));
        let revisions = self.revisions.iter();
        let revisions = revisions.map(|(name, revision)| (name.as_str(), revision.to_string()));
        let dir = self.seats[0].dir.path().to_string_lossy().into_owned();
        let places = [("ENDPOINT", self.endpoint.clone()), ("DIR", dir)];
        let ids = self.ids.iter().map(|(name, id)| (name.as_str(), format!("{id:x}")));
        let seats = self.seats.iter().enumerate();
        let endpoints = seats.map(|(n, seat)| (format!("ENDPOINT{n}"), seat.endpoint()));
        let addresses: Vec<(String, String)> = self.peers().chain(endpoints).collect();
        let addresses = addresses.iter().map(|(name, text)| (name.as_str(), text.clone()));
        let members = ids.chain(addresses);
        let mut values: Vec<(&str, String)> =
            leases.chain(revisions).chain(places).chain(members).collect();
        values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let Ok(text) = std::str::from_utf8(text) else { return text.to_vec() };
        let fill =
            |text: String, (name, value): &(&str, String)| text.replace(&format!("${name}"), value);
        values.iter().fold(text.to_owned(), fill).into_bytes()
    }

    pub fn note_revision(&mut self, name: &str, plus: i64) -> i64 {
        let call = ["get", "no such key", "-w", "json"].map(|word| word.as_bytes().to_vec());
        let answer = Process::start(&self.endpoint, &call, b"").join().output;
        let revision = number_after(&answer, "\"revision\":").expect("a header has a revision");
        self.revisions.insert(name.to_owned(), revision + plus);
        revision
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The lease that an answer of `lease grant` names, in any of its forms.
pub fn chosen_lease(answer: &str) -> Option<i64> {
    let in_words = || {
        let id = answer.strip_prefix("lease ")?.get(..16)?;
        i64::from_str_radix(id, 16).ok()
    };
    let in_json = || number_after(answer, "\"ID\":");
    let in_fields = || number_after(answer, "\"ID\" : ");
    in_words().or_else(in_json).or_else(in_fields)
}

fn number_after(text: &str, label: &str) -> Option<i64> {
    let (_, rest) = text.split_once(label)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
