//! What the operator asked for: etcd's flags and `ETCD_*` variables, read once at the start.
//!
//! The order of decisions is etcd's, because scripts rely on the exit codes: the syntax and the
//! value of every flag (exit 2), words that are no flags (1), `--version` (0), environment (1),
//! then the rules between options (1). A flag wins over nothing: a variable for the same option
//! is refused, so that nobody believes in a setting that has no effect. With `--config-file` the
//! file has all options, and neither flags nor variables count.

mod auto_compaction;
mod cluster;
mod discovery;
mod environment;
mod error;
mod file;
mod flags;
mod options;
mod urls;
mod validate;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use auto_compaction::{AutoCompaction, CompactionMode};
pub use cluster::{ClusterError, InitialCluster};
pub use discovery::{Discovery, Registry, Srv};
pub use error::{Error, Notice, Stop};
pub use flags::{help, usage, version};
pub use urls::{Scheme, Url, UrlError, Urls};

use crate::log;

/// Quota when none is set: etcd's default of 2 GiB.
pub const DEFAULT_QUOTA: u64 = 2 * 1024 * 1024 * 1024;

/// Above this the quota is warned about, as etcd does.
const LARGE_QUOTA: i64 = 8 * 1024 * 1024 * 1024;

/// Above this the request size is warned about, as etcd does.
const LARGE_REQUEST: u32 = 10 * 1024 * 1024;

/// What `--initial-cluster-state` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// Start a cluster.
    New,
    /// Join one.
    Existing,
}

impl ClusterState {
    /// As the flag has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ClusterState::New => "new",
            ClusterState::Existing => "existing",
        }
    }
}

/// The settings of a member. `Config::default()` is what a start without any flag means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Name of this member.
    pub name: String,
    /// Directory of all files of this member.
    pub data_dir: PathBuf,
    /// Where to listen for clients; plain TCP only.
    pub listen_client_urls: Urls,
    /// Where clients reach this member; may be empty.
    pub advertise_client_urls: Urls,
    /// Where to listen for other members; plain TCP only.
    pub listen_peer_urls: Urls,
    /// Where to listen for those who watch the member; plain TCP only, and none by default.
    pub listen_metrics_urls: Urls,
    /// Where other members reach this one.
    pub initial_advertise_peer_urls: Urls,
    /// `name=url,name=url`, as given: it is read only when the data directory is empty.
    pub initial_cluster: String,
    /// Where to look for the initial cluster instead; read only when the data directory is empty.
    pub discovery: Option<Discovery>,
    /// Whether an empty data directory starts a cluster or joins one.
    pub initial_cluster_state: ClusterState,
    /// Whether this member goes on alone with what is left of its cluster.
    pub force_new_cluster: bool,
    /// Whether changes of members that put the quorum at risk are refused.
    pub strict_reconfig_check: bool,
    /// Learners that a cluster may have at one time.
    pub max_learners: u32,
    /// Whether a leader promotes learners by itself once they have caught up.
    pub promote_learners: bool,
    /// Whether a leader hands over if its disk is slower than those of the others.
    pub hand_over_if_slow: bool,
    /// Goes into the ids of member and cluster.
    pub initial_cluster_token: String,
    /// Level and shape of the log.
    pub log: log::Settings,
    /// Largest encoded proposal, in bytes.
    pub max_request_bytes: u32,
    /// Largest number of operations in a branch of a transaction.
    pub max_txn_ops: u32,
    /// Time between two heartbeats of a leader, in milliseconds; above zero.
    pub heartbeat_interval: u32,
    /// Time without a leader until an election, in milliseconds; 5 heartbeats to 50 s.
    pub election_timeout: u32,
    /// As given: 0 means the default, a negative number no quota. See [`Config::quota`].
    pub quota_backend_bytes: i64,
    /// Applying entries, or answering a range, is warned about when it takes longer.
    pub warning_apply: Duration,
    /// A request of the key space is warned about when it takes longer.
    pub warning_request: Duration,
    /// A connection without traffic is asked for a sign of life after this long; never if zero.
    pub keepalive_interval: Duration,
    /// How long the sign of life may take; zero as above.
    pub keepalive_timeout: Duration,
    /// What the member compacts by itself.
    pub auto_compaction: AutoCompaction,
    /// Applied entries that stay in the log for members that are away.
    pub catch_up_entries: u32,
    /// Whether the leader replicates how long its leases have left.
    pub lease_checkpoint: bool,
    /// Whether `/metrics` shows how long calls take.
    pub extensive_metrics: bool,
}

impl Default for Config {
    fn default() -> Config {
        let local = |port| {
            let text = format!("http://localhost:{port}");
            Urls::parse(&text).expect("the default URLs are well-formed")
        };
        Config {
            name: "default".to_owned(),
            data_dir: PathBuf::from("default.revd"),
            listen_client_urls: local(2379),
            advertise_client_urls: local(2379),
            listen_peer_urls: local(2380),
            listen_metrics_urls: Urls::default(),
            initial_advertise_peer_urls: local(2380),
            initial_cluster: "default=http://localhost:2380".to_owned(),
            discovery: None,
            initial_cluster_state: ClusterState::New,
            force_new_cluster: false,
            strict_reconfig_check: true,
            max_learners: 1,
            promote_learners: false,
            hand_over_if_slow: true,
            initial_cluster_token: "etcd-cluster".to_owned(),
            log: log::Settings::default(),
            max_request_bytes: 1_572_864,
            max_txn_ops: 128,
            heartbeat_interval: 100,
            election_timeout: 1000,
            quota_backend_bytes: 0,
            warning_apply: Duration::from_millis(100),
            warning_request: Duration::from_millis(300),
            keepalive_interval: Duration::from_secs(2 * 60 * 60),
            keepalive_timeout: Duration::from_secs(20),
            auto_compaction: AutoCompaction::default(),
            catch_up_entries: 5000,
            lease_checkpoint: false,
            extensive_metrics: false,
        }
    }
}

/// Settings that passed every check, and what is to be logged about them.
#[derive(Debug)]
pub struct Parsed {
    /// The settings.
    pub config: Config,
    /// In the order in which they came up; logging is not set up while flags are read.
    pub notices: Vec<Notice>,
}

impl Config {
    /// Reads arguments (the program's name apart) and environment.
    ///
    /// # Errors
    /// Every [`Stop`]: help and version, which end the process well, wrong syntax, refused
    /// settings.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Parsed, Stop> {
        let mut given = flags::parse(arguments)?;
        let environment: Vec<(String, String)> = environment.into_iter().collect();
        if let Some(path) = config_file(&given, &environment) {
            given = file::read(&path)?;
        } else {
            flags::admit(&mut given)?;
            environment::add(&mut given, environment)?;
        }
        let mut notices = std::mem::take(&mut given.notices);
        let mut config = validate::assemble(&given, &mut notices)?;
        validate::check(&config, &given)?;
        validate::complete(&mut config, &given, &mut notices);
        Ok(Parsed { config, notices })
    }

    /// Bytes of storage at which growth is refused; `None` if there is no quota.
    #[must_use]
    pub fn quota(&self) -> Option<u64> {
        match self.quota_backend_bytes {
            0 => Some(DEFAULT_QUOTA),
            bytes => u64::try_from(bytes).ok(),
        }
    }

    /// How long a write, a linearizable read or the drain at the stop may take: 5 s and two
    /// election timeouts.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(5_000 + 2 * u64::from(self.election_timeout))
    }

    /// The advertised client URLs as text, in order.
    #[must_use]
    pub fn advertised_client_urls(&self) -> Vec<String> {
        self.advertise_client_urls.to_strings()
    }

    /// Heartbeats in an election timeout.
    #[must_use]
    pub fn election_ticks(&self) -> u32 {
        self.election_timeout / self.heartbeat_interval.max(1)
    }
}

/// The file that the flag names, or the variable.
fn config_file(given: &flags::Given, environment: &[(String, String)]) -> Option<PathBuf> {
    let variable = options::variable("config-file");
    let named = environment.iter().find(|(name, _)| *name == variable);
    let path = given.text("config-file").filter(|path| !path.is_empty());
    let path = path.or(named.map(|(_, path)| path.as_str()))?;
    (!path.is_empty()).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests;
