//! The table of options: every flag of etcd by name, and for those that exist here the kind of
//! value, the default and the help text.
//!
//! Parser, environment and help read this one table, so that a flag cannot be known to one of
//! them only. A flag of etcd without a meaning here is listed too: it is refused by its name
//! instead of being mistaken for a typing error, or worse, being ignored.

/// What kind of value an option takes; decides the check at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// Comma-separated URLs.
    Urls,
    /// An unsigned number of 32 bits.
    Unsigned,
    /// A signed number of 64 bits.
    Signed,
    /// Several texts, separated by commas; a list in a file.
    List,
    /// A length of time as Go writes it; whole nanoseconds in a file.
    Duration,
    /// `new` or `existing`.
    ClusterState,
    /// One of the log levels.
    LogLevel,
    /// `true` or `false`; given without a value it means `true`.
    Switch,
}

/// One option that exists.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// As it is shown in the help; the values themselves are `Config::default()`.
    pub(crate) default: &'static str,
    pub(crate) group: &'static str,
    pub(crate) help: &'static str,
}

const fn known(
    group: &'static str,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Known {
    Known { name, kind, default, group, help }
}

const MEMBER: &str = "Member";
const CLUSTERING: &str = "Clustering";
const COMPACTION: &str = "Auto compaction";
const LOGGING: &str = "Logging";
const METRICS: &str = "Metrics";
const PROCESS: &str = "Process";

/// The options that exist, in the order of the help.
pub(crate) const KNOWN: &[Known] = &[
    known(
        MEMBER,
        "name",
        Kind::Text,
        "default",
        "Name of this member, and the key of its entry in --initial-cluster.",
    ),
    known(
        MEMBER,
        "data-dir",
        Kind::Text,
        "<name>.revd",
        "Directory of all that this member keeps on disk.",
    ),
    known(
        MEMBER,
        "listen-peer-urls",
        Kind::Urls,
        "http://localhost:2380",
        "URLs to listen on for other members; an IP address or localhost.",
    ),
    known(
        MEMBER,
        "listen-client-urls",
        Kind::Urls,
        "http://localhost:2379",
        "URLs to listen on for clients, gRPC and HTTP on one port; an IP address or localhost.",
    ),
    known(
        MEMBER,
        "listen-metrics-urls",
        Kind::Urls,
        "",
        "Further URLs to listen on, for /metrics and the paths of health alone.",
    ),
    known(
        MEMBER,
        "heartbeat-interval",
        Kind::Unsigned,
        "100",
        "Milliseconds between two heartbeats of a leader.",
    ),
    known(
        MEMBER,
        "election-timeout",
        Kind::Unsigned,
        "1000",
        "Milliseconds without a leader until an election; at least 5 heartbeats, at most 50000.",
    ),
    known(
        MEMBER,
        "quota-backend-bytes",
        Kind::Signed,
        "0",
        "Bytes of storage above which writes are refused; 0 means 2 GiB, a negative number none.",
    ),
    known(
        MEMBER,
        "max-txn-ops",
        Kind::Unsigned,
        "128",
        "Largest number of operations in one branch of a transaction.",
    ),
    known(
        MEMBER,
        "max-request-bytes",
        Kind::Unsigned,
        "1572864",
        "Largest size of a request that changes something.",
    ),
    known(
        MEMBER,
        "grpc-keepalive-interval",
        Kind::Duration,
        "2h0m0s",
        "A connection without traffic is asked for a sign of life after this long; 0 means never.",
    ),
    known(
        MEMBER,
        "grpc-keepalive-timeout",
        Kind::Duration,
        "20s",
        "It is closed if there is none within this time; 0 means that it is not asked.",
    ),
    known(
        MEMBER,
        "snapshot-catchup-entries",
        Kind::Unsigned,
        "5000",
        "Applied entries that stay in the log for members that are away.",
    ),
    known(
        MEMBER,
        "experimental-enable-lease-checkpoint",
        Kind::Switch,
        "false",
        "Replicate each 5 minutes how long leases have left; a restart then goes on from there.",
    ),
    known(
        CLUSTERING,
        "initial-advertise-peer-urls",
        Kind::Urls,
        "http://localhost:2380",
        "URLs under which other members reach this one.",
    ),
    known(
        CLUSTERING,
        "initial-cluster",
        Kind::Text,
        "<name>=<initial-advertise-peer-urls>",
        "Members at the first start, as name=url,name=url; read on an empty data directory only.",
    ),
    known(
        CLUSTERING,
        "initial-cluster-state",
        Kind::ClusterState,
        "new",
        "'new' starts a cluster, 'existing' joins one; read on an empty data directory only.",
    ),
    known(
        CLUSTERING,
        "force-new-cluster",
        Kind::Switch,
        "false",
        "Go on with this member alone after the others are lost for good; keeps all that it has.",
    ),
    known(
        CLUSTERING,
        "strict-reconfig-check",
        Kind::Switch,
        "true",
        "Refuse changes of members that would put the quorum at risk.",
    ),
    known(
        CLUSTERING,
        "max-learners",
        Kind::Unsigned,
        "1",
        "Members that do not vote, at one time.",
    ),
    known(
        CLUSTERING,
        "experimental-promote-learners",
        Kind::Switch,
        "false",
        "As the leader, promote learners as soon as they have caught up (not an option of etcd).",
    ),
    known(
        CLUSTERING,
        "experimental-hand-over-if-slow",
        Kind::Switch,
        "true",
        "As the leader, hand over if the disk is slower than the others' (not an option of etcd).",
    ),
    known(
        CLUSTERING,
        "initial-cluster-token",
        Kind::Text,
        "etcd-cluster",
        "Tells apart the ids of clusters whose members have the same URLs.",
    ),
    known(
        CLUSTERING,
        "discovery-endpoints",
        Kind::List,
        "",
        "Members of a running cluster in which those of a new one find each other.",
    ),
    known(
        CLUSTERING,
        "discovery-token",
        Kind::Text,
        "",
        "What the members of the new cluster share; its size is written there beforehand.",
    ),
    known(
        CLUSTERING,
        "discovery-dial-timeout",
        Kind::Duration,
        "2s",
        "Longest time to make a connection for discovery.",
    ),
    known(
        CLUSTERING,
        "discovery-request-timeout",
        Kind::Duration,
        "5s",
        "Longest time for a request of discovery.",
    ),
    known(
        CLUSTERING,
        "discovery-srv",
        Kind::Text,
        "",
        "Domain with SRV records of the members; REVD_NAME_SERVER=ip:port, if set, is asked.",
    ),
    known(
        CLUSTERING,
        "discovery-srv-name",
        Kind::Text,
        "",
        "Ending of the records' service: _etcd-server-<name>._tcp.<domain>.",
    ),
    known(
        CLUSTERING,
        "advertise-client-urls",
        Kind::Urls,
        "http://localhost:2379",
        "URLs under which clients reach this member; required with --listen-client-urls.",
    ),
    known(
        COMPACTION,
        "auto-compaction-mode",
        Kind::Text,
        "periodic",
        "'periodic' keeps the history of a stretch of time, 'revision' a number of revisions.",
    ),
    known(
        COMPACTION,
        "auto-compaction-retention",
        Kind::Text,
        "0",
        "How much history to keep: hours or a duration (periodic), revisions; 0 means all of it.",
    ),
    known(LOGGING, "logger", Kind::Text, "zap", "Shape of the log; 'zap' is the only one."),
    known(
        LOGGING,
        "log-level",
        Kind::LogLevel,
        "info",
        "Least level to log: debug, info, warn, error, panic or fatal.",
    ),
    known(
        LOGGING,
        "warning-apply-duration",
        Kind::Duration,
        "100ms",
        "Applying entries, or a range, that takes longer is warned about.",
    ),
    known(
        LOGGING,
        "warning-unary-request-duration",
        Kind::Duration,
        "300ms",
        "A request of the key space that takes longer is warned about; 0 means 300ms.",
    ),
    known(LOGGING, "log-format", Kind::Text, "json", "'json' or 'console'."),
    known(
        METRICS,
        "metrics",
        Kind::Text,
        "basic",
        "'basic', or 'extensive' to count how long calls take as well.",
    ),
    known(
        PROCESS,
        "config-file",
        Kind::Text,
        "",
        "File of YAML or JSON with all options; other flags and variables do not count then.",
    ),
    known(PROCESS, "version", Kind::Switch, "false", "Print the version and exit."),
];

/// Options of etcd that take a value and are not built.
pub(crate) const NOT_BUILT: &[&str] = &[
    "wal-dir",
    "snapshot-count",
    "max-wals",
    "max-snapshots",
    "listen-client-http-urls",
    "backend-bbolt-freelist-type",
    "backend-batch-interval",
    "backend-batch-limit",
    "max-concurrent-streams",
    "grpc-keepalive-min-time",
    "raft-read-timeout",
    "raft-write-timeout",
    "feature-gates",
    "discovery-keepalive-time",
    "discovery-keepalive-timeout",
    "discovery-cert",
    "discovery-key",
    "discovery-cacert",
    "discovery-user",
    "discovery-password",
    "discovery-fallback",
    "cert-file",
    "key-file",
    "client-cert-file",
    "client-key-file",
    "trusted-ca-file",
    "client-crl-file",
    "client-cert-allowed-hostname",
    "peer-cert-file",
    "peer-key-file",
    "peer-client-cert-file",
    "peer-client-key-file",
    "peer-trusted-ca-file",
    "peer-crl-file",
    "peer-cert-allowed-cn",
    "peer-cert-allowed-hostname",
    "self-signed-cert-validity",
    "cipher-suites",
    "tls-min-version",
    "tls-max-version",
    "cors",
    "host-whitelist",
    "auth-token",
    "bcrypt-cost",
    "auth-token-ttl",
    "log-outputs",
    "log-rotation-config-json",
    "distributed-tracing-address",
    "distributed-tracing-service-name",
    "distributed-tracing-instance-id",
    "distributed-tracing-sampling-rate",
    "corrupt-check-time",
    "compact-hash-check-time",
    "compaction-batch-limit",
    "compaction-sleep-interval",
    "watch-progress-notify-interval",
    "bootstrap-defrag-threshold-megabytes",
    "downgrade-check-time",
];

/// Options of etcd that are switches and are not built.
pub(crate) const NOT_BUILT_SWITCHES: &[&str] = &[
    "initial-election-tick-advance",
    "socket-reuse-port",
    "socket-reuse-address",
    "enable-grpc-gateway",
    "memory-mlock",
    "discovery-insecure-transport",
    "discovery-insecure-skip-tls-verify",
    "pre-vote",
    "client-cert-auth",
    "auto-tls",
    "peer-client-cert-auth",
    "peer-auto-tls",
    "peer-skip-client-san-verification",
    "enable-pprof",
    "enable-log-rotation",
    "enable-distributed-tracing",
    "unsafe-no-fsync",
];

/// Options that etcd had once, with a value, and had removed by the version whose interface this
/// is.
pub(crate) const REMOVED: &[&str] = &[
    "log-output",
    "log-package-levels",
    "experimental-enable-v2v3",
    "proxy",
    "proxy-failure-wait",
    "proxy-refresh-interval",
    "proxy-dial-timeout",
    "proxy-write-timeout",
    "proxy-read-timeout",
    "v2-deprecation",
    "discovery",
    "discovery-proxy",
    "experimental-backend-bbolt-freelist-type",
    "experimental-snapshot-catchup-entries",
    "experimental-warning-apply-duration",
    "experimental-warning-unary-request-duration",
    "experimental-distributed-tracing-address",
    "experimental-distributed-tracing-service-name",
    "experimental-distributed-tracing-instance-id",
    "experimental-distributed-tracing-sampling-rate",
    "experimental-corrupt-check-time",
    "experimental-compact-hash-check-time",
    "experimental-compaction-batch-limit",
    "experimental-compaction-sleep-interval",
    "experimental-watch-progress-notify-interval",
    "experimental-bootstrap-defrag-threshold-megabytes",
    "experimental-downgrade-check-time",
    "experimental-max-learners",
];

/// Switches that etcd had once.
pub(crate) const REMOVED_SWITCHES: &[&str] = &[
    "debug",
    "enable-v2",
    "experimental-memory-mlock",
    "experimental-peer-skip-client-san-verification",
    "experimental-enable-distributed-tracing",
    "experimental-stop-grpc-service-on-defrag",
    "experimental-initial-corrupt-check",
    "experimental-compact-hash-check-enabled",
    "experimental-txn-mode-write-with-shared-buffer",
    "experimental-enable-lease-checkpoint-persist",
];

/// Flags that etcd itself accepts and ignores, all of them switches.
pub(crate) const IGNORED: &[&str] = &[
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-heartbeat-interval",
    "peer-election-timeout",
    "retry-interval",
    "snapshot",
    "v",
    "vv",
];

/// What is known about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// An option that exists.
    Known(Kind),
    /// An option of etcd that is not built.
    NotBuilt,
    /// An option that etcd itself no longer has.
    Removed,
    /// An option that etcd accepts without effect.
    Ignored,
}

/// Looks a name up; the second value says whether the option is a switch.
pub(crate) fn look_up(name: &str) -> Option<(Standing, bool)> {
    if let Some(option) = KNOWN.iter().find(|option| option.name == name) {
        return Some((Standing::Known(option.kind), option.kind == Kind::Switch));
    }
    let lists: [(&[&str], Standing, bool); 5] = [
        (NOT_BUILT, Standing::NotBuilt, false),
        (NOT_BUILT_SWITCHES, Standing::NotBuilt, true),
        (REMOVED, Standing::Removed, false),
        (REMOVED_SWITCHES, Standing::Removed, true),
        (IGNORED, Standing::Ignored, true),
    ];
    lists
        .iter()
        .find(|(names, _, _)| names.contains(&name))
        .map(|(_, standing, switch)| (*standing, *switch))
}

/// The environment variable of an option.
pub(crate) fn variable(name: &str) -> String {
    format!("ETCD_{}", name.to_uppercase().replace('-', "_"))
}

/// All names of the table.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    KNOWN
        .iter()
        .map(|option| option.name)
        .chain([NOT_BUILT, NOT_BUILT_SWITCHES, REMOVED, REMOVED_SWITCHES, IGNORED].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_listed_once() {
        let mut seen = BTreeSet::new();
        for name in names() {
            assert!(seen.insert(name), "{name} is listed twice");
        }
    }

    #[test]
    fn variables_follow_the_names() {
        assert_eq!(variable("listen-client-urls"), "ETCD_LISTEN_CLIENT_URLS");
    }

    #[test]
    fn standing_of_each_list() {
        assert_eq!(look_up("name"), Some((Standing::Known(Kind::Text), false)));
        assert_eq!(look_up("version"), Some((Standing::Known(Kind::Switch), true)));
        assert_eq!(look_up("cert-file"), Some((Standing::NotBuilt, false)));
        assert_eq!(look_up("pre-vote"), Some((Standing::NotBuilt, true)));
        assert_eq!(look_up("enable-v2"), Some((Standing::Removed, true)));
        assert_eq!(look_up("vv"), Some((Standing::Ignored, true)));
        assert_eq!(look_up("bogus"), None);
    }
}
