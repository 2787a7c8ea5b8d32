//! A whole server as one value.
//!
//! The order of a start: lock the data directory, find out who the member is, listen (so that a
//! port in use is told before any file changes), open the member and start its threads, publish the
//! member to its cluster, serve clients. The order of a stop is the reverse: no new connections,
//! calls in progress end, a last checkpoint, the lock.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use revd_disk::{Disk, Real};
use revd_replica::vote::VoteFile;
use revd_replica::{Lost, OpenError, refill};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::body::Body;

use crate::bootstrap::{self, DataDir, DirectoryError, DiscoveryError, JoinError};
use crate::config::{ClusterError, ClusterState, Config};
use crate::driver::{self, Birth, CallError, Driver, DriverError, Ended, Handle};
use crate::http::listen::{self, ListenError};
use crate::http::serve::{Keepalive, Place, Protocols, Stopper, Stopping, serve};
use crate::http::workers::Workers;
use crate::http::{change, door, endpoints, hashes, lease, peer};
use crate::log::{list, took};
use crate::peer::{Acquaintance, Arrivals};
use crate::{ETCD_VERSION, comparing, readiness, rpc};

/// Time for the last bytes of finished calls and for streams that end with the member, after
/// which their connections are cut.
const FLUSH: Duration = Duration::from_millis(100);

/// How often a start looks for the end of the first election, which takes two syncs.
const ELECTION_POLL: Duration = Duration::from_millis(1);

/// Threads that serve clients, at most.
const WORKERS_MAX: usize = 16;

/// Connections from other members, each of which needs a few.
const PEER_CONNECTIONS: usize = 1024;

/// Connections of those who only watch.
const METRICS_CONNECTIONS: usize = 64;

/// Why a server could not start. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The initial cluster cannot be started.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// There is no such place for it in the cluster that it should belong to.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The other members cannot be found.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// A port is in use, or an address is not ours.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The member's files or threads.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The process may open too few files.
    #[error("file descriptor limit[{limit}] is too low; it must be above {reserved}")]
    Descriptors {
        /// What the process may open.
        limit: u64,
        /// What is kept for files and other members.
        reserved: u64,
    },
    /// The member stopped before it could serve.
    #[error("the member has stopped: {0}")]
    Stopped(String),
    /// The member does not belong to its cluster any more.
    #[error("the member has been permanently removed from the cluster")]
    Removed,
    /// The member has lost some of what it had, and has to be started again.
    #[error("the member begins anew without what it has lost")]
    Lost,
    /// The tree is damaged, and others cannot replace it.
    #[error(
        "{damage}; nothing was changed. Others cannot refill this member: {why}. Name members that \
         run in --initial-cluster, or restore the data directory from a backup, or remove the \
         member from its cluster and add it again with an empty one"
    )]
    Damaged {
        /// What is damaged.
        damage: OpenError,
        /// Why nobody can help.
        why: JoinError,
    },
    /// The member could not be made known to its cluster.
    #[error("cannot publish the member: {0}")]
    Publish(String),
    /// The system gave no threads.
    #[error("cannot start the threads that serve connections: {0}")]
    Threads(#[from] std::io::Error),
    /// The thread that opened the files is gone.
    #[error("opening the member failed: {0}")]
    Opening(#[from] tokio::task::JoinError),
}

/// A running server.
pub struct Server {
    config: Config,
    handle: Handle,
    driver: Driver,
    /// Of clients and of those who watch.
    stopper: Stopper,
    /// Of other members, who are needed until the last call has been answered.
    peer_stopper: Stopper,
    workers: Arc<Workers>,
    /// Compares the member with the others; ends when this is dropped.
    _comparing: JoinSet<()>,
    client_addresses: Vec<SocketAddr>,
    peer_addresses: Vec<SocketAddr>,
    /// Held as long as the threads may touch the files.
    directory: DataDir,
}

impl Server {
    /// Starts a server, and returns when it serves clients. To be called in a runtime of tokio.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(config: Config) -> Result<Server, StartError> {
        let disk: Arc<dyn Disk> = Arc::new(Real::new());
        let directory = DataDir::open(&disk, &config.data_dir)?;
        log_directory(&directory);
        let limit = listen::client_limit().ok_or_else(too_few_descriptors)?;
        let workers = Arc::new(Workers::start(worker_count())?);
        let birth = birth(&config, &directory).await?;
        let Listeners { peers, clients, metrics } = bind(&config)?;
        log_config(&config, &directory);
        let (handle, mut driver) = open(&config, disk, &directory, birth).await?;

        let (stopper, peer_stopper) = (Stopper::default(), Stopper::default());
        let peer_addresses = serve_peers(peers, &handle, &peer_stopper);
        log_serving(&config, &handle);
        if let Err(error) = publish(&handle, &mut driver).await {
            // Whoever begins anew finds the ports free.
            peer_stopper.stop_accepting(Duration::ZERO).await.ended(FLUSH).await;
            return Err(error);
        }
        tracing::info!("ready to serve client requests");
        let client_addresses = serve_clients(clients, &handle, &stopper, limit, &workers);
        serve_metrics(metrics, &handle, &stopper);
        readiness::notify();
        let mut comparing = JoinSet::new();
        comparing.spawn(comparing::compare(handle.clone()));
        Ok(Server {
            config,
            handle,
            driver,
            stopper,
            peer_stopper,
            workers,
            _comparing: comparing,
            client_addresses,
            peer_addresses,
            directory,
        })
    }

    /// Where clients connect, as bound: a port 0 has become a real one.
    #[must_use]
    pub fn client_addresses(&self) -> &[SocketAddr] {
        &self.client_addresses
    }

    /// Where other members connect, as bound.
    #[must_use]
    pub fn peer_addresses(&self) -> &[SocketAddr] {
        &self.peer_addresses
    }

    /// Resolves when the member has ended by itself: because it was removed from its cluster, or
    /// with the reason why it cannot go on. Dropping the future is harmless.
    ///
    /// # Errors
    /// The reason, as text.
    pub async fn ended(&mut self) -> Result<Ended, String> {
        self.driver.ended().await
    }

    /// Stops: lets calls in progress end, for at most the request timeout, then writes a last
    /// checkpoint and gives the data directory free.
    pub async fn stop(self) {
        let Server { config, handle, driver, stopper, peer_stopper, workers, directory, .. } = self;
        log_ends(&config, "closing etcd server");
        hand_over(&handle).await;
        let connections = stopper.stop_accepting(config.request_timeout()).await;
        for address in &self.peer_addresses {
            tracing::info!(address = %address, "stopping serving peer traffic");
        }
        let streams = peer_stopper.stop_accepting(Duration::ZERO).await;
        // It waits for a checkpoint, which is for a thread that may wait.
        if let Err(error) = tokio::task::spawn_blocking(move || driver.stop()).await {
            tracing::error!(error = %error, "failed to stop the member");
        }
        drop(directory);
        connections.ended(FLUSH).await;
        streams.ended(FLUSH).await;
        drop(workers);
        for address in &self.peer_addresses {
            tracing::info!(address = %address, "stopped serving peer traffic");
        }
        log_ends(&config, "closed etcd server");
    }
}

/// Hands leadership over, if this member leads and somebody can take it: the cluster then need not
/// wait for an election.
async fn hand_over(handle: &Handle) {
    let status = handle.status();
    let local = format!("{:x}", status.member_id);
    let is_lone = handle.members().iter().filter(|member| !member.is_learner).count() == 1;
    if !is_lone && status.leader == status.member_id {
        if let Err(error) = handle.hand_over().await {
            let error = rpc::errors::call_failed(error);
            let error = error.message();
            tracing::warn!("local-member-id" = local, error, "failed to transfer leadership");
        }
        return;
    }
    let why = if is_lone {
        "skipped leadership transfer for single voting member cluster"
    } else {
        "skipped leadership transfer; local server is not leader"
    };
    tracing::info!(
        "local-member-id" = local,
        "current-leader-member-id" = %format_args!("{:x}", status.leader),
        "{why}"
    );
}

/// A thread for each processor, up to a bound: more of them only hold memory, since the thread that
/// applies and syncs is not among them.
fn worker_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX)
}

fn too_few_descriptors() -> StartError {
    let limit = listen::descriptor_limit().unwrap_or_default();
    StartError::Descriptors { limit, reserved: listen::RESERVED_DESCRIPTORS }
}

/// Sockets that connections wait at.
struct Listeners {
    peers: Vec<TcpListener>,
    clients: Vec<TcpListener>,
    metrics: Vec<TcpListener>,
}

fn bind(config: &Config) -> Result<Listeners, ListenError> {
    let urls = list(&config.listen_peer_urls);
    tracing::info!("listen-peer-urls" = urls.as_slice(), "configuring peer listeners");
    let peers = listen::bind(&config.listen_peer_urls)?;
    let urls = list(&config.listen_client_urls);
    tracing::info!("listen-client-urls" = urls.as_slice(), "configuring client listeners");
    let clients = listen::bind(&config.listen_client_urls)?;
    Ok(Listeners { peers, clients, metrics: listen::bind(&config.listen_metrics_urls)? })
}

/// Opens the member's files and starts its threads. A tree that is damaged is set aside, if the
/// others say that they can replace it.
async fn open(
    config: &Config,
    disk: Arc<dyn Disk>,
    directory: &DataDir,
    birth: Birth,
) -> Result<(Handle, Driver), StartError> {
    match open_files(config, Arc::clone(&disk), directory, birth.clone()).await {
        Err(StartError::Driver(DriverError::Open(damage)))
            if damage.lost() == Some(Lost::Tree) && !config.force_new_cluster =>
        {
            begin_refill(config, &*disk, directory, damage).await?;
            open_files(config, disk, directory, birth).await
        }
        opened => opened,
    }
}

/// Has a member begin anew without its tree.
async fn begin_refill(
    config: &Config,
    disk: &dyn Disk,
    directory: &DataDir,
    damage: OpenError,
) -> Result<(), StartError> {
    tracing::error!(error = %damage, "the tree is damaged; asking other members to replace it");
    let path = directory.path();
    let identity = VoteFile::open(disk, path).map_err(DriverError::from)?.identity();
    if let Err(why) = bootstrap::check_spare(config, identity).await {
        return Err(StartError::Damaged { damage, why });
    }
    refill::begin(disk, path, Lost::Tree).map_err(|e| DriverError::Open(e.into()))?;
    Ok(())
}

/// Does so aside of the runtime: replaying a log can take seconds, in which signals must be heard.
async fn open_files(
    config: &Config,
    disk: Arc<dyn Disk>,
    directory: &DataDir,
    birth: Birth,
) -> Result<(Handle, Driver), StartError> {
    let (config, path) = (config.clone(), directory.path().to_owned());
    let opening = tokio::task::spawn_blocking(move || driver::start(config, disk, &path, birth));
    let (handle, driver, _) = opening.await??;
    Ok((handle, driver))
}

/// Finds out who a new member is. One that has run before knows.
async fn birth(config: &Config, directory: &DataDir) -> Result<Birth, StartError> {
    if !directory.is_new() {
        if config.discovery.is_some() {
            tracing::warn!("discovery is ignored: the member has been initialized already");
        }
        return Ok(Birth::default());
    }
    let mut config = config.clone();
    bootstrap::discover(&mut config).await?;
    if config.initial_cluster_state == ClusterState::Existing {
        return Ok(bootstrap::join(&config).await?);
    }
    let birth = bootstrap::found(&config)?;
    bootstrap::check_unknown(&birth).await?;
    Ok(birth)
}

/// Makes the member known to its cluster; as often as it takes, as long as the member runs.
async fn publish(handle: &Handle, driver: &mut Driver) -> Result<(), StartError> {
    loop {
        lead(handle).await;
        let error = match handle.publish(ETCD_VERSION).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let text = rpc::errors::call_failed(error.clone()).message().to_owned();
        match error {
            CallError::Stopped => {
                let reason = match driver.ended().await {
                    Ok(Ended::Removed) => return Err(StartError::Removed),
                    Ok(Ended::Lost) => return Err(StartError::Lost),
                    Ok(Ended::Stopped) => String::new(),
                    Err(reason) => reason,
                };
                return Err(StartError::Stopped(reason));
            }
            CallError::Timeout
            | CallError::NoLeader
            | CallError::NoLeaderInTime
            | CallError::Dropped
            | CallError::LeaderChanged => tracing::warn!(
                error = text,
                "publish-timeout" = took(handle.request_timeout()),
                "failed to publish local member to cluster through raft"
            ),
            _ => return Err(StartError::Publish(text)),
        }
    }
}

/// Waits until there is a leader, or as long as a call would wait.
async fn lead(handle: &Handle) {
    let elected = async {
        while handle.status().leader == 0 && handle.failure().is_none() {
            tokio::time::sleep(ELECTION_POLL).await;
        }
    };
    // Without one, the attempt that follows says so.
    let _ = tokio::time::timeout(handle.request_timeout(), elected).await;
}

fn serve_peers(listeners: Vec<TcpListener>, handle: &Handle, stopper: &Stopper) -> Vec<SocketAddr> {
    let limit = Arc::new(Semaphore::new(PEER_CONNECTIONS));
    let listener = handle.clone();
    let arrivals = Arrivals::new(
        Arc::new(move |event| listener.peer_event(event)),
        handle.presence().clone(),
        handle.reception().clone(),
        handle.peer_traffic().clone(),
    );
    spawn(listeners, |listener, address| {
        tracing::info!(address = %address, "serving peer traffic");
        let stopping = stopper.share();
        let (handle, arrivals, streams) = (handle.clone(), arrivals.clone(), stopping.clone());
        let answer = move |request: http::Request<hyper::body::Incoming>| {
            let (handle, arrivals, streams) = (handle.clone(), arrivals.clone(), streams.clone());
            async move {
                if request.uri().path() == crate::peer::PATH {
                    accept_stream(&handle, &arrivals, streams, request)
                } else if let Some(reply) = lease::answer(&handle, &request).await {
                    reply.map(Body::new)
                } else if let Some(reply) = hashes::answer(&handle, &request).await {
                    reply.map(Body::new)
                } else if change::is_meant(&request) {
                    change::answer(&handle, request).await.map(Body::new)
                } else {
                    peer::answer(&handle, &request).map(Body::new)
                }
            }
        };
        let limit = Arc::clone(&limit);
        serve(listener, Protocols::Http1, limit, stopping, Place::Here, answer)
    })
}

fn accept_stream(
    handle: &Handle,
    arrivals: &Arrivals,
    stopping: Stopping,
    request: http::Request<hyper::body::Incoming>,
) -> http::Response<Body> {
    let (status, members) = (handle.status(), handle.members());
    let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    let known = Acquaintance {
        cluster: status.cluster_id,
        member: status.member_id,
        members: &ids,
        generation: handle.generation(),
        removed: &handle.removed(),
    };
    crate::peer::accept(arrivals, known, stopping, request)
}

fn serve_clients(
    listeners: Vec<TcpListener>,
    handle: &Handle,
    stopper: &Stopper,
    limit: usize,
    workers: &Arc<Workers>,
) -> Vec<SocketAddr> {
    let limit = Arc::new(Semaphore::new(limit));
    let routes = rpc::routes(handle.clone());
    let (interval, timeout) =
        (handle.config().keepalive_interval, handle.config().keepalive_timeout);
    let is_kept = !interval.is_zero() && !timeout.is_zero();
    let protocols = Protocols::Both(is_kept.then_some(Keepalive { interval, timeout }));
    spawn(listeners, |listener, address| {
        tracing::info!(
            traffic = "grpc+http",
            address = %address,
            "serving client traffic insecurely; this is strongly discouraged!"
        );
        let stopping = stopper.share();
        let (routes, handle) = (routes.clone(), handle.clone());
        let calls = stopping.clone();
        let answer = move |request: http::Request<hyper::body::Incoming>| {
            let call = door::ends_by_itself(&request).then(|| calls.call());
            let (routes, handle) = (routes.clone(), handle.clone());
            async move {
                let response = door::answer(routes, handle, request).await;
                drop(call);
                response
            }
        };
        let place = Place::Workers(Arc::clone(workers));
        serve(listener, protocols, Arc::clone(&limit), stopping, place, answer)
    })
}

/// Serves those who only watch: on the runtime that accepts, so that they never wait for clients.
fn serve_metrics(listeners: Vec<TcpListener>, handle: &Handle, stopper: &Stopper) {
    let limit = Arc::new(Semaphore::new(METRICS_CONNECTIONS));
    spawn(listeners, |listener, address| {
        tracing::info!(address = %address, "serving metrics");
        let handle = handle.clone();
        let answer = move |request: http::Request<hyper::body::Incoming>| {
            let handle = handle.clone();
            async move {
                let uri = request.uri();
                endpoints::monitoring(&handle, request.method(), uri.path(), uri.query()).await
            }
        };
        let limit = Arc::clone(&limit);
        serve(listener, Protocols::Http1, limit, stopper.share(), Place::Here, answer)
    });
}

/// Runs a task for each listener and returns where they listen.
fn spawn<F>(
    listeners: Vec<TcpListener>,
    task: impl Fn(TcpListener, SocketAddr) -> F,
) -> Vec<SocketAddr>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut addresses = Vec::new();
    for listener in listeners {
        // A listening socket has an address; without one it still serves.
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = listener.local_addr().unwrap_or(unknown);
        addresses.push(address);
        tokio::spawn(task(listener, address));
    }
    addresses
}

fn log_directory(directory: &DataDir) {
    let path = directory.path().display();
    if directory.is_new() {
        tracing::info!(
            "data-dir" = %path,
            "dir-type" = "empty",
            "Initialize and start etcd server"
        );
    } else {
        tracing::info!(
            "data-dir" = %path,
            "dir-type" = "member",
            "server has already been initialized"
        );
    }
    for name in directory.strays() {
        tracing::warn!(
            filename = %name,
            "data-dir" = %path,
            "found invalid file under data directory"
        );
    }
}

/// The settings, as far as they exist, under etcd's names.
fn log_config(config: &Config, directory: &DataDir) {
    let milliseconds = |value: u32| took(Duration::from_millis(u64::from(value)));
    tracing::info!(
        "etcd-version" = ETCD_VERSION,
        "revd-version" = env!("CARGO_PKG_VERSION"),
        "max-cpu-available" = std::thread::available_parallelism().map_or(1, usize::from),
        "member-initialized" = !directory.is_new(),
        name = config.name,
        "data-dir" = %config.data_dir.display(),
        "heartbeat-interval" = milliseconds(config.heartbeat_interval),
        "election-timeout" = milliseconds(config.election_timeout),
        "initial-advertise-peer-urls" = list(&config.initial_advertise_peer_urls).as_slice(),
        "listen-peer-urls" = list(&config.listen_peer_urls).as_slice(),
        "advertise-client-urls" = list(&config.advertise_client_urls).as_slice(),
        "listen-client-urls" = list(&config.listen_client_urls).as_slice(),
        "listen-metrics-urls" = list(&config.listen_metrics_urls).as_slice(),
        "initial-cluster" = config.initial_cluster,
        "initial-cluster-state" = config.initial_cluster_state.as_str(),
        "initial-cluster-token" = config.initial_cluster_token,
        "quota-backend-bytes" = config.quota_backend_bytes,
        "auto-compaction-mode" = config.auto_compaction.mode.as_str(),
        "auto-compaction-retention" = config.auto_compaction.retention,
        "max-request-bytes" = config.max_request_bytes,
        "max-txn-ops" = config.max_txn_ops,
        "pre-vote" = true,
        "starting an etcd server"
    );
}

fn log_serving(config: &Config, handle: &Handle) {
    tracing::info!(
        "local-member-id" = %format_args!("{:x}", handle.status().member_id),
        "initial-advertise-peer-urls" = list(&config.initial_advertise_peer_urls).as_slice(),
        "listen-peer-urls" = list(&config.listen_peer_urls).as_slice(),
        "advertise-client-urls" = list(&config.advertise_client_urls).as_slice(),
        "listen-client-urls" = list(&config.listen_client_urls).as_slice(),
        "now serving peer/client/metrics"
    );
}

/// The first and the last line of a stop.
fn log_ends(config: &Config, message: &'static str) {
    tracing::info!(
        name = config.name,
        "data-dir" = %config.data_dir.display(),
        "advertise-peer-urls" = list(&config.initial_advertise_peer_urls).as_slice(),
        "advertise-client-urls" = list(&config.advertise_client_urls).as_slice(),
        "{message}"
    );
}
