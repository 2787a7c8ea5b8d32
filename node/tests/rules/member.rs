//! A member in this process, on a simulated disk behind a gate.

use std::path::Path;
use std::sync::Arc;

use revd::config::Config;
use revd::driver::{self, Birth, Driver, Handle};
use revd::rpc::{Services, routes};
use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::lease_client::LeaseClient;
use revd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use revd_api::etcdserverpb::watch_client::WatchClient;
use revd_disk::Sim;
use revd_replica::Identity;

use crate::ask;
use crate::gate::{Gate, GatedDisk};

const IDENTITY: Identity = Identity { cluster: 0xc, member: 0x8e9e_05c5_2164_694d };

/// A running member.
pub struct Member {
    pub handle: Handle,
    pub gate: Arc<Gate>,
    services: Services,
    config: Config,
    disk: Sim,
    driver: Option<Driver>,
}

impl Member {
    /// A new member that leads.
    pub async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    pub async fn start_with(config: Config) -> Self {
        let member = Self::open(config, Sim::new(1), Gate::new());
        // Answered by nobody but a leader.
        member.handle.barrier().await.unwrap();
        member
    }

    /// The same member once more, which the closed gate holds up before its election.
    pub async fn restart_before_election(mut self) -> Self {
        self.driver.take().unwrap().stop();
        let gate = Gate::new();
        gate.close();
        let member = Self::open(self.config.clone(), self.disk.clone(), gate);
        member.gate.reached().await;
        member
    }

    fn open(config: Config, disk: Sim, gate: Arc<Gate>) -> Self {
        let gated = GatedDisk { disk: Arc::new(disk.clone()), gate: Arc::clone(&gate) };
        let founder = revd_replica::Member { id: IDENTITY.member, ..Default::default() };
        let started = driver::start(
            config.clone(),
            Arc::new(gated),
            Path::new("data"),
            Birth { identity: IDENTITY, founders: vec![founder], ..Birth::default() },
        );
        let (handle, driver, _) = started.unwrap();
        let services = routes(handle.clone());
        Self { handle, gate, services, config, disk, driver: Some(driver) }
    }

    pub fn kv(&self) -> KvClient<Services> {
        KvClient::new(self.services.clone())
    }

    pub fn lease(&self) -> LeaseClient<Services> {
        LeaseClient::new(self.services.clone())
    }

    pub fn maintenance(&self) -> MaintenanceClient<Services> {
        MaintenanceClient::new(self.services.clone())
    }

    pub fn watch(&self) -> WatchClient<Services> {
        WatchClient::new(self.services.clone())
    }

    /// Puts; returns the revision.
    pub async fn put(&self, key: &str, value: &str) -> i64 {
        let done = self.kv().put(ask::put(key, value)).await.unwrap().into_inner();
        done.header.unwrap().revision
    }

    /// Closes the gate and returns when a put of the key stands before it, with the call.
    pub async fn hold_up_put(
        &self,
        key: &str,
        value: &str,
    ) -> impl Future<Output = Result<(), tonic::Status>> + use<> {
        self.gate.close();
        let (mut kv, put) = (self.kv(), ask::put(key, value));
        let mut call = Box::pin(async move { kv.put(put).await.map(drop) });
        tokio::select! {
            done = &mut call => panic!("the put was not held up: {done:?}"),
            () = self.gate.reached() => {}
        }
        call
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Stopping the driver waits for the core thread.
        self.gate.open();
    }
}
