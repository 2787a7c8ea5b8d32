//! A closed loop of puts or gets: each client sends its next when the last is answered.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use revd_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use revd_api::etcdserverpb::request_op::Request;
use revd_api::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};
use tokio::task::LocalSet;

use crate::client::Connection;
use crate::statistics::Latencies;

/// What a client does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writes one key.
    Put,
    /// Writes one key in a transaction, if it exists.
    Txn,
    /// Reads one key as of now.
    Get,
    /// Reads one key as the member that is asked has it.
    SerializableGet,
}

/// How much, how long, and from how many.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections; the clients are spread over them.
    pub connections: usize,
    /// Clients, each with one call under way.
    pub clients: usize,
    /// Bytes of a value; keys have 8.
    pub value_bytes: usize,
    /// Different keys, that come in turn.
    pub key_space: u64,
    /// They come in an order without a pattern instead, some more than once: one order for each
    /// number.
    pub scattered: Option<u64>,
    /// No call starts after this long.
    pub duration: Duration,
    /// No call starts after so many.
    pub total: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Calls that were answered.
    pub calls: u64,
    /// From the first call to the last answer.
    pub took: Duration,
    /// Send to answer.
    pub latencies: Latencies,
}

impl Outcome {
    /// Answered calls a second.
    pub fn rate(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }
}

/// Runs a load of puts on this thread.
///
/// # Errors
/// The first connection or call that failed, as text.
pub fn puts(address: &str, load: Load) -> Result<Outcome, String> {
    run(&[address], Operation::Put, load)
}

/// Runs a load on this thread, its connections spread over these addresses.
///
/// # Errors
/// The first connection or call that failed, as text.
pub fn run(addresses: &[&str], operation: Operation, load: Load) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    LocalSet::new().block_on(&runtime, clients(addresses, operation, load))
}

struct Shared {
    next: Cell<u64>,
    done: Cell<u64>,
    latencies: RefCell<Latencies>,
    operation: Operation,
    load: Load,
    start: Instant,
}

async fn clients(addresses: &[&str], operation: Operation, load: Load) -> Result<Outcome, String> {
    let mut connections = Vec::new();
    for address in addresses.iter().cycle().take(load.connections) {
        let connection = Connection::open(address).await;
        connections.push(connection.map_err(|e| format!("cannot connect to {address}: {e}"))?);
    }
    let shared = Rc::new(Shared {
        next: Cell::new(0),
        done: Cell::new(0),
        latencies: RefCell::default(),
        operation,
        load,
        start: Instant::now(),
    });
    let clients: Vec<_> = (0..load.clients)
        .map(|n| {
            let connection = connections[n % connections.len()].clone();
            tokio::task::spawn_local(client(connection, Rc::clone(&shared)))
        })
        .collect();
    for client in clients {
        client.await.map_err(|e| e.to_string())??;
    }
    let took = shared.start.elapsed();
    let latencies = shared.latencies.take();
    Ok(Outcome { calls: shared.done.get(), took, latencies })
}

async fn client(connection: Connection, shared: Rc<Shared>) -> Result<(), String> {
    let path = match shared.operation {
        Operation::Put => "/etcdserverpb.KV/Put",
        Operation::Txn => "/etcdserverpb.KV/Txn",
        Operation::Get | Operation::SerializableGet => "/etcdserverpb.KV/Range",
    };
    let mut method = connection.method(path);
    let value = incompressible(shared.load.value_bytes);
    loop {
        let n = shared.next.get();
        let sent = Instant::now();
        if n >= shared.load.total || sent - shared.start >= shared.load.duration {
            return Ok(());
        }
        shared.next.set(n + 1);
        let key = shared.load.key(n);
        let put = |key| PutRequest { key, value: value.clone(), ..PutRequest::default() };
        let answer = match shared.operation {
            Operation::Put => method.call(&put(key)).await,
            Operation::Txn => method.call(&if_present(put(key))).await,
            get => {
                let serializable = get == Operation::SerializableGet;
                method.call(&RangeRequest { key, serializable, ..RangeRequest::default() }).await
            }
        };
        answer.map_err(|e| e.to_string())?;
        shared.latencies.borrow_mut().add(sent.elapsed());
        shared.done.set(shared.done.get() + 1);
    }
}

impl Load {
    /// The key of the call with this number.
    fn key(&self, n: u64) -> Bytes {
        let scatter = |order: u64| (n + (order << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let n = self.scattered.map_or(n, scatter);
        (n % self.key_space).to_be_bytes().to_vec().into()
    }
}

/// The transaction that makes a put if its key exists.
fn if_present(put: PutRequest) -> TxnRequest {
    let compare = Compare {
        result: CompareResult::Greater.into(),
        target: CompareTarget::Version.into(),
        key: put.key.clone(),
        target_union: Some(TargetUnion::Version(0)),
        ..Compare::default()
    };
    let success = vec![RequestOp { request: Some(Request::RequestPut(put)) }];
    TxnRequest { compare: vec![compare], success, ..TxnRequest::default() }
}

/// Bytes without a pattern, the same in each run.
pub fn incompressible(length: usize) -> Bytes {
    let mut state = 0x243f_6a88_85a3_08d3_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect::<Vec<u8>>()
        .into()
}
