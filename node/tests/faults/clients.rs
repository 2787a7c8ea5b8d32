//! Clients that write, compare and swap, and read a few keys, and write down what they saw.
//!
//! The first clients stay with one member each and wait for long: they are who sees what a member
//! says that was frozen or cut off. The others go on to the next member after an error.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use revd_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::request_op::Request;
use revd_api::etcdserverpb::watch_client::WatchClient;
use revd_api::etcdserverpb::watch_request::RequestUnion;
use revd_api::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest,
};
use revd_api::mvccpb::Event as Changed;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::Channel;

use super::cluster::{Cluster, PATIENCE};
use super::history::{self, Act, Event, Op, Outcome, Tally};

const KEYS: u64 = 8;
const ROAMING: usize = 5;

/// How long the two kinds of clients wait for an answer.
const LONG: Duration = Duration::from_secs(12);
const SHORT: Duration = Duration::from_secs(1);

/// Between two operations of a client: the load is not what is tested here.
const PACE: Duration = Duration::from_millis(5);

/// Running clients.
pub struct Clients {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<Vec<Op>>>,
}

struct Shared {
    start: Instant,
    stop: AtomicBool,
    next_value: AtomicU64,
    /// Acknowledged writes, the count by which tests see that the cluster works.
    acknowledged: AtomicU64,
    seed: u64,
}

impl Clients {
    pub fn start(cluster: &Cluster, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            start: Instant::now(),
            stop: AtomicBool::new(false),
            next_value: AtomicU64::new(1),
            acknowledged: AtomicU64::new(0),
            seed,
        });
        let size = cluster.size();
        let tasks = (0..size + ROAMING).map(|id| {
            let members: Vec<usize> = if id < size { vec![id] } else { (0..size).collect() };
            let client = Client {
                shared: Arc::clone(&shared),
                members: members.iter().map(|n| KvClient::new(cluster.channel(*n))).collect(),
                at: id % members.len(),
                patience: if id < size { LONG } else { SHORT },
                chance: seed ^ (id as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                known: HashMap::new(),
                ops: Vec::new(),
            };
            tokio::spawn(client.run())
        });
        let tasks = tasks.collect();
        Self { shared, tasks }
    }

    /// Waits until so many more writes have been acknowledged.
    pub async fn progress(&self, writes: u64, cluster: &Cluster) {
        let (start, before) = (Instant::now(), self.shared.acknowledged.load(Relaxed));
        loop {
            let done = self.shared.acknowledged.load(Relaxed) - before;
            if done >= writes {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "SEED={}: only {done} writes in {PATIENCE:?}; {}",
                self.shared.seed,
                cluster.logs()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Puts large values through the first member until that is refused for want of room; how many
    /// there were.
    pub async fn write_until_refused(&self, cluster: &Cluster) -> u64 {
        let mut kv = KvClient::new(cluster.channel(0));
        let (start, mut written) = (Instant::now(), 0);
        loop {
            let value = vec![b'v'; 300_000].into();
            let put = PutRequest { key: "large".into(), value, ..PutRequest::default() };
            match kv.put(put).await {
                Ok(_) => written += 1,
                Err(status) if status.code() == Code::ResourceExhausted => return written,
                Err(status) => {
                    assert!(start.elapsed() < PATIENCE, "{status}; {}", cluster.logs());
                }
            }
        }
    }

    /// Acknowledged writes so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Relaxed)
    }

    /// Ends the clients, reads the whole history from the cluster, and holds all that was seen
    /// against it. The members must have come to the same state.
    pub async fn check(self, cluster: &Cluster, name: &str) -> Tally {
        self.shared.stop.store(true, Relaxed);
        let mut ops = Vec::new();
        for task in self.tasks {
            ops.extend(task.await.expect("a client does not panic"));
        }
        let revision = last_revision(cluster).await;
        let events = all_events(cluster.channel(0), revision).await;
        let verdict = history::check(&ops, &events);
        let tally = verdict.unwrap_or_else(|why| panic!("SEED={}: {why}", self.shared.seed));
        let hash = cluster.hash_at(0, revision).await;
        for n in 1..cluster.size() {
            assert_eq!(cluster.hash_at(n, revision).await, hash, "m{n} at revision {revision}");
        }
        println!(
            "{name}: SEED={} {:.1} s, {} writes acknowledged and none lost, {} compared and \
             refused, {} linearizable reads; {} without an answer, of which {} happened",
            self.shared.seed,
            self.shared.start.elapsed().as_secs_f64(),
            tally.acknowledged,
            tally.refused,
            tally.reads,
            tally.unknown,
            tally.happened,
        );
        tally
    }
}

struct Client {
    shared: Arc<Shared>,
    members: Vec<KvClient<Channel>>,
    at: usize,
    patience: Duration,
    chance: u64,
    /// When each key was changed last, as far as this client knows.
    known: HashMap<u64, i64>,
    ops: Vec<Op>,
}

impl Client {
    async fn run(mut self) -> Vec<Op> {
        while !self.shared.stop.load(Relaxed) {
            let key = self.draw(KEYS);
            let begun = self.now();
            let act = match self.draw(10) {
                0..5 => Some(self.write(key, None).await),
                5..7 => {
                    let expected = self.known.get(&key).copied().unwrap_or(0);
                    Some(self.write(key, Some(expected)).await)
                }
                _ => self.read(key).await,
            };
            let is_answered =
                !matches!(act, None | Some(Act::Write { outcome: Outcome::Unknown, .. }));
            if !is_answered || self.draw(100) == 0 {
                self.at = (self.at + 1) % self.members.len();
            }
            let ended = self.now();
            self.ops.extend(act.map(|act| Op { begun, ended, act }));
            tokio::time::sleep(PACE).await;
        }
        self.ops
    }

    fn now(&self) -> u64 {
        self.shared.start.elapsed().as_nanos() as u64
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.chance >> 33) % below
    }

    async fn write(&mut self, key: u64, expected: Option<i64>) -> Act {
        let value = self.shared.next_value.fetch_add(1, Relaxed);
        let put = PutRequest {
            key: name(key).into(),
            value: value.to_string().into(),
            ..PutRequest::default()
        };
        let kv = &mut self.members[self.at];
        let outcome = match expected {
            None => {
                let answer = tokio::time::timeout(self.patience, kv.put(put)).await;
                let header =
                    answer.ok().and_then(Result::ok).and_then(|done| done.into_inner().header);
                header.map_or(Outcome::Unknown, |header| Outcome::At(header.revision))
            }
            Some(expected) => {
                let answer = tokio::time::timeout(self.patience, kv.txn(swap(put, expected))).await;
                let done = answer.ok().and_then(Result::ok).map(tonic::Response::into_inner);
                let revision = |done: &revd_api::etcdserverpb::TxnResponse| {
                    done.header.as_ref().map_or(0, |header| header.revision)
                };
                match done {
                    Some(done) if done.succeeded => Outcome::At(revision(&done)),
                    Some(done) => Outcome::Refused(revision(&done)),
                    None => Outcome::Unknown,
                }
            }
        };
        if let Outcome::At(revision) = outcome {
            self.known.insert(key, revision);
            self.shared.acknowledged.fetch_add(1, Relaxed);
        }
        Act::Write { key, value, expected, outcome }
    }

    async fn read(&mut self, key: u64) -> Option<Act> {
        let range = RangeRequest { key: name(key).into(), ..RangeRequest::default() };
        let answer = tokio::time::timeout(self.patience, self.members[self.at].range(range)).await;
        let done = answer.ok()?.ok()?.into_inner();
        let kv = done.kvs.into_iter().next();
        let found = kv.map(|kv| {
            let kv = kv.expect("a record");
            (number(&kv.value), kv.mod_revision)
        });
        self.known.insert(key, found.map_or(0, |(_, changed)| changed));
        Some(Act::Read { key, revision: done.header?.revision, found })
    }
}

fn name(key: u64) -> String {
    format!("fault/{key}")
}

fn number(text: &[u8]) -> u64 {
    let text = std::str::from_utf8(text).expect("a value of ours is text");
    text.parse().expect("a value of ours is a number")
}

/// A put under the condition that the key was last changed at a revision.
fn swap(put: PutRequest, expected: i64) -> TxnRequest {
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: put.key.clone(),
        target_union: Some(TargetUnion::ModRevision(expected)),
        ..Compare::default()
    };
    let success = vec![RequestOp { request: Some(Request::RequestPut(put)) }];
    TxnRequest { compare: vec![compare], success, ..TxnRequest::default() }
}

/// The revision that all have agreed on, once the cluster answers.
async fn last_revision(cluster: &Cluster) -> i64 {
    let mut kv = KvClient::new(cluster.channel(0));
    let start = Instant::now();
    loop {
        let range = RangeRequest { key: name(0).into(), ..RangeRequest::default() };
        match kv.range(range).await {
            Ok(answer) => return answer.into_inner().header.expect("a header").revision,
            Err(status) => assert!(start.elapsed() < PATIENCE, "{status}; {}", cluster.logs()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every write up to a revision, as a watch from the beginning tells them.
async fn all_events(channel: Channel, revision: i64) -> Vec<Event> {
    let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
    let create = WatchCreateRequest {
        key: "fault/".into(),
        range_end: "fault0".into(),
        start_revision: 1,
        ..WatchCreateRequest::default()
    };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The stream of requests must stay open.
    let requests = tokio_stream::StreamExt::chain(
        tokio_stream::iter([create]),
        tokio_stream::pending::<WatchRequest>(),
    );
    let mut answers = client.watch(requests).await.expect("a watch").into_inner();
    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.revision < revision) {
        let answer = tokio::time::timeout(PATIENCE, answers.message()).await;
        let answer = answer.expect("events come").expect("no error").expect("no end");
        assert!(!answer.canceled, "{}", answer.cancel_reason);
        for event in answer.events {
            let event: Changed = prost::Message::decode(event).expect("an event");
            let kv = event.kv.expect("a record");
            let key = std::str::from_utf8(&kv.key).expect("text").trim_start_matches("fault/");
            let (key, value) = (key.parse().expect("a key of ours"), number(&kv.value));
            events.push(Event { revision: kv.mod_revision, key, value });
        }
    }
    events
}
