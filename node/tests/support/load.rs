//! Writes that go on while something else happens, and are looked for afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use revd_api::etcdserverpb::RangeRequest;
use revd_api::etcdserverpb::kv_client::KvClient;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::cluster::{put, wait_or_fail};

/// Where all keys of the load begin.
const PREFIX: &str = "load/";

/// After a write that failed: who is down refuses at once.
const PAUSE: Duration = Duration::from_millis(25);

/// A client that puts one key after the other, each once, at any of the endpoints.
pub struct Load {
    endpoints: Arc<Mutex<Vec<String>>>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Load {
    /// Begins to write.
    pub fn start(endpoints: Vec<String>) -> Self {
        let endpoints = Arc::new(Mutex::new(endpoints));
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (to, written, end) = (endpoints.clone(), acknowledged.clone(), stop.clone());
        let task = tokio::spawn(async move {
            for n in 0_u64.. {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let endpoint = {
                    let endpoints = to.lock();
                    endpoints[n as usize % endpoints.len()].clone()
                };
                let key = format!("{PREFIX}{n:08}");
                if write(&endpoint, &key).await {
                    written.lock().insert(key);
                } else {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        Self { endpoints, acknowledged, stop, task }
    }

    /// Writes there from now on.
    pub fn move_to(&self, endpoints: Vec<String>) {
        *self.endpoints.lock() = endpoints;
    }

    /// How many writes were acknowledged so far.
    pub fn count(&self) -> usize {
        self.acknowledged.lock().len()
    }

    /// Waits until so many more writes are acknowledged.
    pub async fn more(&self, count: usize) {
        let until = self.count() + count;
        let start = std::time::Instant::now();
        while self.count() < until {
            assert!(start.elapsed() < super::cluster::PATIENCE, "the cluster takes no writes");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the load, and asserts that each acknowledged write is there.
    pub async fn finish(self, mut kv: KvClient<Channel>) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the load does not panic");
        let (key, range_end) = (PREFIX.into(), "load0".into());
        let all = RangeRequest { key, range_end, keys_only: true, ..RangeRequest::default() };
        let start = std::time::Instant::now();
        let found = loop {
            match kv.range(all.clone()).await {
                Ok(found) => break found.into_inner().kvs,
                Err(status) => wait_or_fail(start, &status).await,
            }
        };
        let found: BTreeSet<String> = found
            .into_iter()
            .map(|kv| String::from_utf8(kv.expect("a record").key.to_vec()).expect("text"))
            .collect();
        let acknowledged = self.acknowledged.lock();
        let lost: Vec<&String> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), acknowledged.len());
        acknowledged.len()
    }
}

/// Whether a write was acknowledged.
async fn write(endpoint: &str, key: &str) -> bool {
    let endpoint = Endpoint::from_shared(endpoint.to_owned()).expect("a valid URL");
    match endpoint.connect().await {
        Ok(channel) => put(&mut KvClient::new(channel), key, "x").await.is_ok(),
        Err(_) => false,
    }
}
