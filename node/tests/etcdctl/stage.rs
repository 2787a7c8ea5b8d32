//! Both servers, and a script that is played to them.
//!
//! They are told the same name, token and peer URL, so that member and cluster ids come out equal;
//! nothing ever dials that URL, because a cluster of one has no peers.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use revd_api::etcdserverpb::alarm_request::AlarmAction;
use revd_api::etcdserverpb::cluster_client::ClusterClient;
use revd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use revd_api::etcdserverpb::{AlarmRequest, AlarmType, MemberListRequest};
use tempfile::TempDir;

use crate::process::{Outcome, Process};
use crate::report::{Place, Report};
use crate::rules::Facts;
use crate::script::{Action, Call, Expect, Script, Step};
use crate::support::{Server, free_port, scratch};

/// How long a server may take from its start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The later value of a repeated flag counts.
const SAME_IDENTITY: &[&str] = &[
    "--initial-advertise-peer-urls=http://127.0.0.1:2380",
    "--initial-cluster=m0=http://127.0.0.1:2380",
    "--initial-cluster-token=etcdctl",
    "--logger=zap",
];

/// One server and what the script has under way on it.
struct Side {
    binary: &'static str,
    /// Gone only between a kill and the next start.
    server: Option<Server>,
    ports: (u16, u16),
    endpoint: String,
    leases: BTreeMap<String, i64>,
    revisions: BTreeMap<String, i64>,
    background: BTreeMap<String, (Call, Process)>,
    // Removed after the process has gone: fields are dropped in order.
    dir: TempDir,
}

/// The two sides.
pub struct Stage {
    etcd: Side,
    revd: Side,
}

impl Stage {
    /// Starts both servers, each on an empty directory, and waits until they answer.
    pub fn start() -> Self {
        let (etcd, revd) = both(|| Side::start("etcd"), || Side::start(env!("CARGO_BIN_EXE_revd")));
        Self { etcd, revd }
    }

    /// Plays a script to both.
    pub fn play(&mut self, script: &Script, report: &mut Report) {
        let mut heading = String::new();
        for step in &script.steps {
            let place = Place { script: script.name.clone(), line: step.line, heading };
            self.act(step, &place, report);
            heading = match &step.action {
                Action::Heading(text) => text.clone(),
                _ => place.heading,
            };
        }
        for side in [&self.etcd, &self.revd] {
            let left: Vec<&String> = side.background.keys().collect();
            assert!(left.is_empty(), "{}: still running: {left:?}", script.name);
        }
    }

    fn act(&mut self, step: &Step, place: &Place, report: &mut Report) {
        match &step.action {
            Action::Heading(_) => {}
            Action::Run(call) if step.expect.is_for_revd_only => {
                let revd = self.revd.run(call);
                report.check(place, call, "revd", &revd, &step.expect, "0");
                report.count_alone();
            }
            Action::Run(call) => {
                let (etcd, revd) = self.on_both(|side| side.run(call));
                self.compare(place, call, (etcd, revd), &step.expect, "0", report);
            }
            Action::Start(name, call) => {
                self.on_both(|side| side.begin(name, call));
            }
            Action::Await { name, etcd, revd } => {
                for (server, lines, came) in self.wait(name, *etcd, *revd) {
                    if !came {
                        report.fail(place, format!("{name}: {server} did not print {lines} lines"));
                    }
                }
            }
            Action::Tell(name, text) => {
                self.on_both(|side| {
                    let line = side.fill_in(format!("{text}\n").as_bytes());
                    side.background(name).1.tell(&line);
                });
            }
            Action::Stop(name) => self.finish(name, Process::end, step, "signal 15", place, report),
            Action::Join(name) => self.finish(name, Process::join, step, "0", place, report),
            Action::Revision(name, plus) => {
                let (etcd, revd) = self.on_both(|side| side.note_revision(name, *plus));
                if etcd != revd {
                    report.fail(place, format!("etcd is at revision {etcd}, revd at {revd}"));
                }
            }
            Action::Alarm => drop(self.on_both(Side::raise_alarm)),
            Action::Kill => drop(self.on_both(Side::restart)),
        }
    }

    fn wait(&mut self, name: &str, etcd: usize, revd: usize) -> [(&'static str, usize, bool); 2] {
        let wait = |side: &mut Side, lines| side.background(name).1.wait_lines(lines);
        let came = both(|| wait(&mut self.etcd, etcd), || wait(&mut self.revd, revd));
        [("etcd", etcd, came.0), ("revd", revd, came.1)]
    }

    fn finish(
        &mut self,
        name: &str,
        end: fn(Process) -> Outcome,
        step: &Step,
        exit: &str,
        place: &Place,
        report: &mut Report,
    ) {
        let (etcd, revd) = self.on_both(|side| {
            let (call, process) = side.background.remove(name).expect("the script started it");
            (call, end(process))
        });
        self.compare(place, &etcd.0, (etcd.1, revd.1), &step.expect, exit, report);
    }

    fn compare(
        &mut self,
        place: &Place,
        call: &Call,
        (etcd, revd): (Outcome, Outcome),
        expect: &Expect,
        exit: &str,
        report: &mut Report,
    ) {
        for (name, side, outcome) in
            [("etcd", &mut self.etcd, &etcd), ("revd", &mut self.revd, &revd)]
        {
            report.check(place, call, name, outcome, expect, exit);
            if let Some(lease) = &expect.lease {
                match chosen_lease(&outcome.output) {
                    Some(id) => drop(side.leases.insert(lease.clone(), id)),
                    None => report.fail(place, format!("{name} names no lease: {outcome:?}")),
                }
            }
        }
        let command = call.shown();
        let facts = (self.etcd.facts(&command), self.revd.facts(&command));
        report.compare(place, (&facts.0, &etcd), (&facts.1, &revd), expect.is_untimed);
    }

    /// Does the same on both sides at the same time.
    fn on_both<T: Send>(&mut self, act: impl Fn(&mut Side) -> T + Sync) -> (T, T) {
        let (etcd, revd) = (&mut self.etcd, &mut self.revd);
        both(|| act(etcd), || act(revd))
    }
}

/// Two things at the same time.
fn both<T: Send>(one: impl FnOnce() -> T + Send, other: impl FnOnce() -> T) -> (T, T) {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().expect("it does not panic"), other)
    })
}

impl Side {
    fn start(binary: &'static str) -> Self {
        let ports = (free_port(), free_port());
        let mut side = Self {
            binary,
            server: None,
            ports,
            endpoint: format!("127.0.0.1:{}", ports.0),
            leases: BTreeMap::new(),
            revisions: BTreeMap::new(),
            background: BTreeMap::new(),
            dir: scratch(),
        };
        side.launch();
        side
    }

    /// Starts the server and waits until it serves.
    fn launch(&mut self) {
        let command = Command::new(self.binary);
        let server = Server::start_on(self.ports, command, self.dir.path(), SAME_IDENTITY);
        let server = self.server.insert(server);
        let started = Instant::now();
        let health = [b"endpoint".to_vec(), b"health".to_vec()];
        // `etcdctl` waits for a second before it tries to connect again.
        while TcpStream::connect(&self.endpoint).is_err()
            || Process::start(&self.endpoint, &health, b"").join().exit != "0"
        {
            std::thread::sleep(Duration::from_millis(5));
            assert!(
                server.is_alive() && started.elapsed() < START_LIMIT,
                "{} does not answer; its log:\n{}",
                self.binary,
                std::fs::read_to_string(&server.log).unwrap_or_default()
            );
        }
    }

    fn restart(&mut self) {
        self.server.take().expect("it runs").kill();
        self.launch();
    }

    /// As a client of the gRPC interface.
    fn raise_alarm(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = self.server.as_mut().expect("it runs");
        runtime.block_on(async {
            let channel = server.connect().await;
            let mut cluster = ClusterClient::new(channel.clone());
            let list = cluster.member_list(MemberListRequest::default()).await.unwrap();
            let member_id = list.into_inner().members[0].id;
            let (action, alarm) = (AlarmAction::Activate as i32, AlarmType::Nospace as i32);
            let request = AlarmRequest { action, member_id, alarm };
            MaintenanceClient::new(channel).alarm(request).await.unwrap();
        });
    }

    fn facts<'a>(&'a self, command: &'a str) -> Facts<'a> {
        Facts { endpoint: &self.endpoint, leases: &self.leases, command }
    }

    fn run(&mut self, call: &Call) -> Outcome {
        self.spawn(call).join()
    }

    fn begin(&mut self, name: &str, call: &Call) {
        let process = self.spawn(call);
        let earlier = self.background.insert(name.to_owned(), (call.clone(), process));
        assert!(earlier.is_none(), "two commands are called {name}");
    }

    fn background(&mut self, name: &str) -> &mut (Call, Process) {
        self.background.get_mut(name).expect("the script started it")
    }

    fn spawn(&self, call: &Call) -> Process {
        let words: Vec<Vec<u8>> = call.words.iter().map(|word| self.fill_in(word)).collect();
        Process::start(&self.endpoint, &words, &self.fill_in(&call.input))
    }

    /// A text with the values of the names in it. The longest of several names counts.
    fn fill_in(&self, text: &[u8]) -> Vec<u8> {
        let leases = self.leases.iter().map(|(name, id)| (name.as_str(), format!("{id:x}")));
        let revisions = self.revisions.iter();
        let revisions = revisions.map(|(name, revision)| (name.as_str(), revision.to_string()));
        let dir = self.dir.path().to_string_lossy().into_owned();
        let places = [("ENDPOINT", self.endpoint.clone()), ("DIR", dir)];
        let mut values: Vec<(&str, String)> = leases.chain(revisions).chain(places).collect();
        values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let Ok(text) = std::str::from_utf8(text) else { return text.to_vec() };
        let fill =
            |text: String, (name, value): &(&str, String)| text.replace(&format!("${name}"), value);
        values.iter().fold(text.to_owned(), fill).into_bytes()
    }

    fn note_revision(&mut self, name: &str, plus: i64) -> i64 {
        let call = ["get", "no such key", "-w", "json"].map(|word| word.as_bytes().to_vec());
        let answer = Process::start(&self.endpoint, &call, b"").join().output;
        let revision = number_after(&answer, "\"revision\":").expect("a header has a revision");
        self.revisions.insert(name.to_owned(), revision + plus);
        revision
    }
}

/// The lease that an answer of `lease grant` names, in any of its forms.
fn chosen_lease(answer: &str) -> Option<i64> {
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
