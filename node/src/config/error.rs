//! Why the settings end the process, and what is said about those that do not.

use super::{Scheme, Url, UrlError};

/// Why there are no settings to start with. The exit code follows from the variant.
#[derive(Debug)]
pub enum Stop {
    /// The help was asked for: exit 0.
    Help,
    /// The version was asked for: exit 0.
    Version,
    /// A flag that does not exist or a value that is none: this message and the usage, exit 2.
    Usage(String),
    /// A setting that is refused: exit 1.
    Refused(Error),
}

/// A refused setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A word that is no flag.
    #[error("'{0}' is not a valid flag; see 'revd --help'")]
    Positional(String),
    /// One of the commands of etcd's server binary.
    #[error("the command '{0}' is not built yet")]
    Command(String),
    /// A flag of etcd that this version does not have.
    #[error("--{name} is not built yet; start without {origin}")]
    NotBuilt {
        /// Name of the flag.
        name: &'static str,
        /// What was set: the flag or its variable.
        origin: String,
    },
    /// A flag that etcd dropped before the version that this is compatible with.
    #[error("--{name} was removed from etcd; start without {origin}")]
    Removed {
        /// Name of the flag.
        name: &'static str,
        /// What was set: the flag or its variable.
        origin: String,
    },
    /// A variable next to the flag for the same option.
    #[error(
        "conflicting environment variable {0} is shadowed by corresponding command-line flag \
         (either unset environment variable or disable flag)"
    )]
    Shadowed(String),
    /// A variable whose value is none.
    #[error("invalid value {value:?} for {variable}: {reason}")]
    Variable {
        /// Name of the variable.
        variable: String,
        /// What it holds.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A configuration file that cannot be read.
    #[error("cannot read configuration file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key of a configuration file whose value is none.
    #[error("configuration file {path}: {key}: {reason}")]
    Key {
        /// The file.
        path: String,
        /// The key, with those of its sections.
        key: String,
        /// What is wrong with its value.
        reason: String,
    },
    /// The members can be found in one way only.
    #[error(
        "multiple discovery or bootstrap flags are set; choose one of --initial-cluster, \
         --discovery-endpoints and --discovery-srv"
    )]
    ManyBootstraps,
    /// One of the two settings that discovery needs.
    #[error("--discovery-endpoints and --discovery-token must both be set; {0} is missing")]
    HalfDiscovery(&'static str),
    /// An address of discovery that is none.
    #[error("--discovery-endpoints has an empty item")]
    EmptyEndpoint,
    /// An address of discovery that cannot be reached without what is not built.
    #[error("--discovery-endpoints {0}: only http is built yet")]
    DiscoveryScheme(String),
    /// Listening was set, advertising was not.
    #[error("--advertise-client-urls is required when --listen-client-urls is set explicitly")]
    NoAdvertisedClientUrls,
    /// A list that needs an item has none.
    #[error("--{0} must not be empty")]
    Empty(&'static str),
    /// An interval of nothing.
    #[error("--{name} must be >0 (set to {value}ms)")]
    NotPositive {
        /// Name of the flag.
        name: &'static str,
        /// What it was set to.
        value: u32,
    },
    /// Elections would start between two heartbeats.
    #[error(
        "--election-timeout[{election}ms] should be at least as 5 times as \
         --heartbeat-interval[{heartbeat}ms]"
    )]
    ElectionTooShort {
        /// The election timeout in milliseconds.
        election: u32,
        /// The heartbeat interval in milliseconds.
        heartbeat: u32,
    },
    /// A cluster that would stand still for too long.
    #[error("--election-timeout[{0}ms] is too long, and should be set less than 50000ms")]
    ElectionTooLong(u32),
    /// A name where an address must stand.
    #[error("expected IP in URL for binding ({0})")]
    ListenName(Url),
    /// A URL of a listener that needs what is not built.
    #[error("--{name} {url}: listening on {scheme} URLs is not built yet, only on http")]
    ListenScheme {
        /// Name of the flag.
        name: &'static str,
        /// How the URL is carried.
        scheme: Scheme,
        /// The URL.
        url: Url,
    },
    /// A URL that others cannot use.
    #[error("--{name} '{url}' must be \"host:port\"")]
    AdvertisedHost {
        /// Name of the flag.
        name: &'static str,
        /// The URL.
        url: Url,
    },
    /// A logger that does not exist.
    #[error("unknown logger option {0:?}; 'zap' is the only one")]
    Logger(String),
    /// A log format that does not exist.
    #[error("unknown log format {0:?}; it must be 'json' or 'console'")]
    LogFormat(String),
    /// Metrics of another detail.
    #[error("unknown detail of metrics {0:?}; 'basic' and 'extensive' are the only ones")]
    Metrics(String),
    /// A mode of automatic compaction that does not exist.
    #[error("unknown auto-compaction mode {0:?}; it must be 'periodic' or 'revision'")]
    CompactionMode(String),
    /// A retention that is neither a number nor a duration.
    #[error("--auto-compaction-retention {0:?} is neither a number nor a duration")]
    Retention(String),
    /// A URL in a place where it was read late.
    #[error(transparent)]
    Url(#[from] UrlError),
}

/// Something worth a line in the log, found while the settings were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A variable named like ours that stands for nothing.
    UnknownVariable(String),
    /// A variable that was used.
    UsedVariable {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A variable that is not read because its name collides with a flag.
    VersionVariable,
    /// The settings come from this file.
    ConfigFile(String),
    /// A key of the file that stands for nothing.
    UnknownKey(String),
    /// A flag that etcd itself ignores.
    IgnoredFlag(String),
    /// No data directory was named.
    DefaultDataDir(String),
    /// The address to advertise was found out.
    DefaultHost(String),
    /// The member has no name of its own.
    DefaultName,
    /// Requests of a size that harms the cluster are let in.
    LargeRequests(u32),
    /// The quota is larger than etcd recommends.
    LargeQuota(i64),
}

impl Notice {
    /// Writes it into the log.
    pub fn log(&self) {
        match self {
            Notice::UnknownVariable(name) => tracing::warn!(
                "environment-variable" = %name,
                "unrecognized environment variable"
            ),
            Notice::UsedVariable { name, value } => tracing::info!(
                "variable-name" = %name,
                "variable-value" = %value,
                "recognized and used environment variable"
            ),
            Notice::VersionVariable => tracing::warn!(
                "environment-variable" = "ETCD_VERSION",
                "cannot set special environment variable"
            ),
            Notice::ConfigFile(path) => tracing::info!(
                path = %path,
                "loaded server configuration, other configuration command line flags and \
                 environment variables will be ignored if provided"
            ),
            Notice::UnknownKey(key) => {
                tracing::warn!(key = %key, "unrecognized key in the configuration file");
            }
            Notice::IgnoredFlag(name) => {
                tracing::warn!(flag = %name, "flag is no longer supported, and ignored");
            }
            Notice::DefaultDataDir(path) => {
                tracing::warn!("data-dir" = %path, "'data-dir' was empty; using default");
            }
            Notice::DefaultHost(host) => {
                tracing::info!(host = %host, "detected default host for advertise");
            }
            Notice::DefaultName => {
                tracing::warn!(name = "default", "it isn't recommended to use default name");
            }
            Notice::LargeRequests(bytes) => tracing::warn!(
                "max-request-bytes" = *bytes,
                "recommended-request-bytes" = 10 * 1024 * 1024,
                "exceeded recommended request limit"
            ),
            Notice::LargeQuota(bytes) => tracing::warn!(
                "quota-name" = "v3-applier",
                "quota-size-bytes" = *bytes,
                "quota-maximum-size-bytes" = 8_i64 << 30,
                "quota exceeds the maximum value"
            ),
        }
    }
}
