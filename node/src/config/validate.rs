//! From checked texts to settings, and the rules between them.

use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use super::auto_compaction::duration;
use super::discovery;
use super::flags::{self, Given};
use super::{
    AutoCompaction, ClusterState, CompactionMode, Config, Error, LARGE_QUOTA, LARGE_REQUEST,
    Notice, Scheme, Stop, Url, Urls,
};
use crate::log;

/// Longest election timeout, as in etcd: a cluster must not stand still for longer.
const LONGEST_ELECTION: u32 = 50_000;

/// Builds the settings from what was given and the defaults.
pub(crate) fn assemble(given: &Given, notices: &mut Vec<Notice>) -> Result<Config, Stop> {
    let refused = |error| Stop::Refused(error);
    let mut config = Config::default();
    if let Some(name) = given.text("name") {
        config.name = name.to_owned();
    }
    config.data_dir = data_dir(given, &config.name, notices);
    for (name, urls) in [
        ("listen-client-urls", &mut config.listen_client_urls),
        ("advertise-client-urls", &mut config.advertise_client_urls),
        ("listen-peer-urls", &mut config.listen_peer_urls),
        ("listen-metrics-urls", &mut config.listen_metrics_urls),
        ("initial-advertise-peer-urls", &mut config.initial_advertise_peer_urls),
    ] {
        if let Some(text) = given.text(name) {
            *urls = Urls::parse(text).map_err(|error| refused(error.into()))?;
        }
    }
    if let Some(text) = given.text("initial-cluster") {
        config.initial_cluster = text.to_owned();
    }
    if given.text("initial-cluster-state") == Some("existing") {
        config.initial_cluster_state = ClusterState::Existing;
    }
    if let Some(text) = given.text("initial-cluster-token") {
        config.initial_cluster_token = text.to_owned();
    }
    config.discovery = discovery::assemble(given).map_err(refused)?;
    config.log = logging(given).map_err(refused)?;
    for (name, value) in [
        ("max-request-bytes", &mut config.max_request_bytes),
        ("max-txn-ops", &mut config.max_txn_ops),
        ("heartbeat-interval", &mut config.heartbeat_interval),
        ("election-timeout", &mut config.election_timeout),
        ("snapshot-catchup-entries", &mut config.catch_up_entries),
        ("max-learners", &mut config.max_learners),
    ] {
        *value = number(given, name, *value);
    }
    if let Some(bytes) = given.text("quota-backend-bytes").and_then(|text| text.parse().ok()) {
        config.quota_backend_bytes = bytes;
    }
    durations(&mut config, given);
    config.extensive_metrics = match given.text("metrics") {
        None | Some("basic") => false,
        Some("extensive") => true,
        Some(other) => return Err(refused(Error::Metrics(other.to_owned()))),
    };
    config.auto_compaction = auto_compaction(given).map_err(refused)?;
    for (name, value) in [
        ("experimental-enable-lease-checkpoint", &mut config.lease_checkpoint),
        ("force-new-cluster", &mut config.force_new_cluster),
        ("strict-reconfig-check", &mut config.strict_reconfig_check),
        ("experimental-promote-learners", &mut config.promote_learners),
        ("experimental-hand-over-if-slow", &mut config.hand_over_if_slow),
    ] {
        *value = given.text(name).and_then(flags::switch).unwrap_or(*value);
    }
    Ok(config)
}

fn durations(config: &mut Config, given: &Given) {
    let was_request = config.warning_request;
    for (name, value) in [
        ("warning-apply-duration", &mut config.warning_apply),
        ("warning-unary-request-duration", &mut config.warning_request),
        ("grpc-keepalive-interval", &mut config.keepalive_interval),
        ("grpc-keepalive-timeout", &mut config.keepalive_timeout),
    ] {
        *value = given.text(name).and_then(duration).map_or(*value, Duration::from_nanos);
    }
    // As in etcd, 0 is the default.
    if config.warning_request.is_zero() {
        config.warning_request = was_request;
    }
}

fn auto_compaction(given: &Given) -> Result<AutoCompaction, Error> {
    let default = AutoCompaction::default();
    let mode = given.text("auto-compaction-mode").unwrap_or(default.mode.as_str());
    // An empty one is as good as none.
    let retention = given.text("auto-compaction-retention").filter(|text| !text.is_empty());
    let retention = retention.unwrap_or(&default.retention);
    let mode = CompactionMode::parse(mode).ok_or_else(|| Error::CompactionMode(mode.to_owned()))?;
    AutoCompaction::new(mode, retention).ok_or_else(|| Error::Retention(retention.to_owned()))
}

fn data_dir(given: &Given, name: &str, notices: &mut Vec<Notice>) -> PathBuf {
    match given.text("data-dir").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => {
            let path = format!("{name}.revd");
            notices.push(Notice::DefaultDataDir(path.clone()));
            PathBuf::from(path)
        }
    }
}

fn logging(given: &Given) -> Result<log::Settings, Error> {
    if let Some(logger) = given.text("logger").filter(|logger| *logger != "zap") {
        return Err(Error::Logger(logger.to_owned()));
    }
    let mut settings = log::Settings::default();
    if let Some(level) = given.text("log-level").and_then(|text| text.parse().ok()) {
        settings.level = level;
    }
    if let Some(format) = given.text("log-format") {
        settings.format = match format {
            "json" => log::Format::Json,
            "console" => log::Format::Console,
            other => return Err(Error::LogFormat(other.to_owned())),
        };
    }
    Ok(settings)
}

/// A number that was checked when it was given.
fn number(given: &Given, name: &str, default: u32) -> u32 {
    given.text(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The rules of the start, in etcd's order.
pub(crate) fn check(config: &Config, given: &Given) -> Result<(), Stop> {
    check_urls(config)
        .and_then(|()| {
            let is_half = given.has("listen-client-urls") && !given.has("advertise-client-urls");
            // With a file the default stays, as in etcd.
            if is_half && !given.is_file {
                return Err(Error::NoAdvertisedClientUrls);
            }
            Ok(())
        })
        .and_then(|()| check_timing(config))
        .map_err(Stop::Refused)
}

fn check_urls(config: &Config) -> Result<(), Error> {
    for (name, urls) in [
        ("listen-peer-urls", &config.listen_peer_urls),
        ("listen-client-urls", &config.listen_client_urls),
        ("listen-metrics-urls", &config.listen_metrics_urls),
    ] {
        if urls.is_empty() && name != "listen-metrics-urls" {
            return Err(Error::Empty(name));
        }
        for url in urls {
            let scheme = url.scheme();
            if scheme != Scheme::Http {
                return Err(Error::ListenScheme { name, scheme, url: url.clone() });
            }
            if url.listen_address().is_none() {
                return Err(Error::ListenName(url.clone()));
            }
        }
    }
    if config.initial_advertise_peer_urls.is_empty() {
        return Err(Error::Empty("initial-advertise-peer-urls"));
    }
    let advertised = config
        .initial_advertise_peer_urls
        .iter()
        .map(|url| ("initial-advertise-peer-urls", url))
        .chain(config.advertise_client_urls.iter().map(|url| ("advertise-client-urls", url)));
    for (name, url) in advertised {
        let socket = matches!(url.scheme(), Scheme::Unix | Scheme::Unixs);
        let usable = if socket { name == "advertise-client-urls" } else { !url.host().is_empty() };
        if !usable {
            return Err(Error::AdvertisedHost { name, url: url.clone() });
        }
    }
    Ok(())
}

fn check_timing(config: &Config) -> Result<(), Error> {
    let (heartbeat, election) = (config.heartbeat_interval, config.election_timeout);
    for (name, value) in [("heartbeat-interval", heartbeat), ("election-timeout", election)] {
        if value == 0 {
            return Err(Error::NotPositive { name, value });
        }
    }
    if heartbeat.saturating_mul(5) > election {
        return Err(Error::ElectionTooShort { election, heartbeat });
    }
    if election > LONGEST_ELECTION {
        return Err(Error::ElectionTooLong(election));
    }
    Ok(())
}

/// Fills in what follows from other settings: the advertised address of a listener on all
/// addresses, and the initial cluster of a member that has only been named.
pub(crate) fn complete(config: &mut Config, given: &Given, notices: &mut Vec<Notice>) {
    let default = Config::default();
    let host = std::cell::OnceCell::new();
    let pairs = [
        (
            &config.listen_peer_urls,
            &mut config.initial_advertise_peer_urls,
            &default.initial_advertise_peer_urls,
        ),
        (
            &config.listen_client_urls,
            &mut config.advertise_client_urls,
            &default.advertise_client_urls,
        ),
    ];
    for (listen, advertise, default) in pairs {
        let Some(first) = listen.iter().next() else { continue };
        if *advertise != *default || first.host() != "0.0.0.0" {
            continue;
        }
        if let Some(host) = host.get_or_init(default_host) {
            *advertise = Urls::from(vec![Url::http(*host, first.port())]);
        }
    }
    let detected = host.into_inner().flatten();
    if let Some(host) = detected {
        notices.push(Notice::DefaultHost(host.to_string()));
    }
    if config.name == default.name {
        notices.push(Notice::DefaultName);
    }
    // A changed advertised URL alone does not change the default: the start is refused then, as
    // etcd does, because the operator may have meant a larger cluster.
    if !given.has("initial-cluster") && (config.name != default.name || detected.is_some()) {
        let entries = config.initial_advertise_peer_urls.iter();
        let entries: Vec<String> = entries.map(|url| format!("{}={url}", config.name)).collect();
        config.initial_cluster = entries.join(",");
    }
    if config.max_request_bytes > LARGE_REQUEST {
        notices.push(Notice::LargeRequests(config.max_request_bytes));
    }
    if config.quota_backend_bytes > LARGE_QUOTA {
        notices.push(Notice::LargeQuota(config.quota_backend_bytes));
    }
}

/// The address of the interface that the default route leaves by, IPv4 first.
///
/// Connecting a UDP socket sends nothing, but makes the kernel choose the address.
fn default_host() -> Option<IpAddr> {
    [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")].iter().find_map(
        |(local, remote)| {
            let socket = UdpSocket::bind(local).ok()?;
            socket.connect(remote).ok()?;
            let address = socket.local_addr().ok()?.ip();
            (!address.is_unspecified() && !address.is_loopback()).then_some(address)
        },
    )
}
