//! An open loop of puts: each is due at its own moment, whether or not the last is answered, and
//! its latency counts from that moment. So a server that stands still for a while is seen by all
//! puts that were due meanwhile, and not by one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use revd_api::etcdserverpb::PutRequest;

use crate::client::Connection;
use crate::load::incompressible;
use crate::statistics::Latencies;

/// How many and how often.
#[derive(Clone, Copy, Debug)]
pub struct OpenLoop {
    /// Puts a second.
    pub rate: u32,
    /// Bytes of a value; keys have 8.
    pub value_bytes: usize,
    /// Different keys, written in turn.
    pub key_space: u64,
}

/// Puts at the rate until `is_over` says so, within a `LocalSet`; then waits for all answers.
///
/// # Errors
/// The first call that failed, as text.
pub async fn puts(
    connections: &[Connection],
    load: OpenLoop,
    is_over: Rc<Cell<bool>>,
) -> Result<Latencies, String> {
    let latencies = Rc::new(RefCell::new(Latencies::default()));
    let value = incompressible(load.value_bytes);
    let start = Instant::now();
    let mut calls = Vec::new();
    for n in 0.. {
        let due = start + Duration::from_nanos(n * 1_000_000_000 / u64::from(load.rate));
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        if is_over.get() {
            break;
        }
        let mut method = connections[n as usize % connections.len()].method("/etcdserverpb.KV/Put");
        let key = (n % load.key_space).to_be_bytes().to_vec();
        let put = PutRequest { key: key.into(), value: value.clone(), ..PutRequest::default() };
        let latencies = Rc::clone(&latencies);
        calls.push(tokio::task::spawn_local(async move {
            method.call(&put).await.map_err(|e| e.to_string())?;
            latencies.borrow_mut().add(due.elapsed());
            Ok::<(), String>(())
        }));
    }
    for call in calls {
        call.await.map_err(|e| e.to_string())??;
    }
    Ok(latencies.take())
}
