use super::*;

fn read_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Parsed, Stop> {
    let arguments = arguments.iter().map(OsString::from);
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::read(arguments, environment)
}

fn read(arguments: &[&str]) -> Config {
    read_with(arguments, &[]).unwrap().config
}

fn refused(arguments: &[&str]) -> String {
    refused_with(arguments, &[])
}

fn refused_with(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    match read_with(arguments, environment) {
        Err(Stop::Refused(error)) => error.to_string(),
        other => panic!("{arguments:?} should be refused with exit 1, not {other:?}"),
    }
}

fn misused(arguments: &[&str]) -> String {
    match read_with(arguments, &[]) {
        Err(Stop::Usage(message)) => message,
        other => panic!("{arguments:?} should be a usage error, not {other:?}"),
    }
}

#[test]
fn no_flag_gives_the_defaults() {
    assert_eq!(read(&[]), Config::default());
}

#[test]
fn every_flag_is_read() {
    let config = read(&[
        "--name=a",
        "--data-dir=/d",
        "--listen-client-urls=http://127.0.0.1:1",
        "--advertise-client-urls=http://example.com:1",
        "--listen-peer-urls=http://127.0.0.1:2",
        "--listen-metrics-urls=http://127.0.0.1:3",
        "--initial-advertise-peer-urls=http://example.com:2",
        "--initial-cluster=a=http://example.com:2",
        "--initial-cluster-state=existing",
        "--initial-cluster-token=t",
        "--force-new-cluster",
        "--strict-reconfig-check=false",
        "--max-learners=2",
        "--experimental-promote-learners",
        "--experimental-hand-over-if-slow=false",
        "--log-level=debug",
        "--logger=zap",
        "--log-format=console",
        "--metrics=extensive",
        "--max-request-bytes=10",
        "--max-txn-ops=11",
        "--heartbeat-interval=12",
        "--election-timeout=60",
        "--quota-backend-bytes=14",
        "--warning-apply-duration=16ms",
        "--warning-unary-request-duration=17ms",
        "--grpc-keepalive-interval=18s",
        "--grpc-keepalive-timeout=0",
        "--auto-compaction-mode=revision",
        "--auto-compaction-retention=15",
        "--snapshot-catchup-entries=16",
        "--experimental-enable-lease-checkpoint",
    ]);
    let urls = |text: &str| Urls::parse(text).unwrap();
    let expected = Config {
        extensive_metrics: true,
        name: "a".into(),
        data_dir: "/d".into(),
        listen_client_urls: urls("http://127.0.0.1:1"),
        advertise_client_urls: urls("http://example.com:1"),
        listen_peer_urls: urls("http://127.0.0.1:2"),
        listen_metrics_urls: urls("http://127.0.0.1:3"),
        initial_advertise_peer_urls: urls("http://example.com:2"),
        initial_cluster: "a=http://example.com:2".into(),
        discovery: None,
        initial_cluster_state: ClusterState::Existing,
        initial_cluster_token: "t".into(),
        force_new_cluster: true,
        strict_reconfig_check: false,
        max_learners: 2,
        promote_learners: true,
        hand_over_if_slow: false,
        log: log::Settings { level: log::Level::Debug, format: log::Format::Console },
        max_request_bytes: 10,
        max_txn_ops: 11,
        heartbeat_interval: 12,
        election_timeout: 60,
        quota_backend_bytes: 14,
        warning_apply: Duration::from_millis(16),
        warning_request: Duration::from_millis(17),
        keepalive_interval: Duration::from_secs(18),
        keepalive_timeout: Duration::ZERO,
        auto_compaction: AutoCompaction::new(CompactionMode::Revision, "15").unwrap(),
        catch_up_entries: 16,
        lease_checkpoint: true,
    };
    assert_eq!(config, expected);
}

#[test]
fn one_dash_or_two_with_a_space_or_an_equals_sign() {
    for arguments in [["-name", "x"], ["--name", "x"]] {
        assert_eq!(read(&arguments).name, "x");
    }
    for argument in ["-name=x", "--name=x"] {
        assert_eq!(read(&[argument]).name, "x");
    }
}

#[test]
fn values_may_look_like_flags() {
    assert_eq!(read(&["--name", "--data-dir"]).name, "--data-dir");
    assert_eq!(read(&["-quota-backend-bytes", "-1"]).quota_backend_bytes, -1);
    assert_eq!(read(&["--initial-cluster-token="]).initial_cluster_token, "");
}

#[test]
fn last_one_wins() {
    assert_eq!(read(&["--name=a", "-name", "b"]).name, "b");
}

#[test]
fn words_that_are_no_flags() {
    assert_eq!(refused(&["foo"]), "'foo' is not a valid flag; see 'revd --help'");
    assert_eq!(refused(&["--version=false", "false"]), refused(&["false"]));
    assert_eq!(refused(&["--", "--name"]), "'--name' is not a valid flag; see 'revd --help'");
    assert_eq!(refused(&["gateway", "start"]), "the command 'gateway' is not built yet");
    assert_eq!(read(&["--"]), Config::default());
}

#[test]
fn help_and_version() {
    for argument in ["-h", "-help", "--help"] {
        assert!(matches!(read_with(&[argument], &[]), Err(Stop::Help)), "{argument}");
    }
    for argument in ["-version", "--version", "--version=true"] {
        assert!(matches!(read_with(&[argument], &[]), Err(Stop::Version)), "{argument}");
    }
    assert_eq!(read(&["--version=false"]), Config::default());
    let text = version();
    assert!(text.starts_with("revd "), "{text}");
    assert_eq!(text.lines().nth(1), Some("etcd Version: 3.7.0"));
    assert_eq!(text.lines().count(), 5);
}

#[test]
fn help_names_every_flag_with_its_default() {
    let text = help();
    for option in options::KNOWN {
        assert!(text.contains(&format!("--{}", option.name)), "{}", option.name);
    }
    assert!(text.contains("[default: http://localhost:2379]"));
    assert!(!text.contains("cert-file"));
}

#[test]
fn unknown_flags_and_bad_values() {
    assert!(misused(&["--bogus"]).contains("'--bogus'"));
    assert!(misused(&["-bogus=1"]).contains("'--bogus'"));
    assert!(misused(&["--name"]).contains("'--name"));
    assert!(misused(&["---name=x"]).contains("bad flag syntax"));
    assert!(misused(&["--version=maybe"]).contains("true or false"));
    for argument in [
        "--heartbeat-interval=abc",
        "--max-txn-ops=-1",
        "--quota-backend-bytes=1.5",
        "--initial-cluster-state=old",
        "--log-level=loud",
        "--warning-apply-duration=soon",
        "--listen-client-urls=foo",
        "--advertise-client-urls=http://a:1/x",
    ] {
        let name = argument.split('=').next().unwrap();
        assert!(misused(&[argument]).contains(name), "{argument}");
    }
    // What comes first counts: a wrong flag before the call for help.
    assert!(misused(&["--bogus", "--help"]).contains("'--bogus'"));
}

#[test]
fn flags_that_are_not_built_are_refused_by_name() {
    let expected = "--cert-file is not built yet; start without --cert-file";
    assert_eq!(refused(&["--cert-file", "/x"]), expected);
    assert_eq!(refused(&["-pre-vote"]), "--pre-vote is not built yet; start without --pre-vote");
    assert!(refused(&["--enable-v2=true"]).contains("was removed from etcd"));
    for name in options::NOT_BUILT.iter().chain(options::REMOVED) {
        let flag = format!("--{name}");
        assert!(refused(&[&flag, "x"]).starts_with(&flag));
        assert!(refused_with(&[], &[(&options::variable(name), "x")]).starts_with(&flag));
    }
    for name in options::NOT_BUILT_SWITCHES.iter().chain(options::REMOVED_SWITCHES) {
        let flag = format!("--{name}");
        assert!(refused(&[&flag]).starts_with(&flag));
    }
}

#[test]
fn flags_that_etcd_ignores_are_ignored_aloud() {
    let parsed = read_with(&["--force", "--vv"], &[]).unwrap();
    assert_eq!(parsed.config, Config::default());
    assert!(parsed.notices.contains(&Notice::IgnoredFlag("force".into())));
}

#[test]
fn variables_stand_for_flags() {
    let parsed = read_with(&[], &[("ETCD_NAME", "x"), ("ETCD_MAX_TXN_OPS", "7")]).unwrap();
    assert_eq!((parsed.config.name.as_str(), parsed.config.max_txn_ops), ("x", 7));
    let used = Notice::UsedVariable { name: "ETCD_NAME".into(), value: "x".into() };
    assert!(parsed.notices.contains(&used));
}

#[test]
fn empty_variable_counts_as_unset() {
    let parsed = read_with(&["--name=y"], &[("ETCD_NAME", ""), ("ETCD_CERT_FILE", "")]).unwrap();
    assert_eq!(parsed.config.name, "y");
}

#[test]
fn flag_and_variable_for_one_option_are_refused() {
    let message = refused_with(&["--name=y"], &[("ETCD_NAME", "y")]);
    assert!(message.contains("conflicting environment variable ETCD_NAME is shadowed"));
}

#[test]
fn bad_variable_is_named() {
    let message = refused_with(&[], &[("ETCD_HEARTBEAT_INTERVAL", "x")]);
    assert!(message.starts_with("invalid value \"x\" for ETCD_HEARTBEAT_INTERVAL"), "{message}");
}

#[test]
fn unknown_variables_are_warned_about() {
    let environment =
        [("ETCD_BOGUS", "1"), ("ETCD_VERSION", "3"), ("ETCDCTL_API", "3"), ("HOME", "/")];
    let parsed = read_with(&[], &environment).unwrap();
    assert_eq!(parsed.config, Config::default());
    assert!(parsed.notices.contains(&Notice::UnknownVariable("ETCD_BOGUS=1".into())));
    assert!(parsed.notices.contains(&Notice::VersionVariable));
    assert_eq!(parsed.notices.len(), 4, "{:?}", parsed.notices);
}

#[test]
fn listening_for_clients_needs_advertising() {
    let listen = "--listen-client-urls=http://127.0.0.1:1";
    assert!(refused(&[listen]).starts_with("--advertise-client-urls is required"));
    assert!(read(&[listen, "--advertise-client-urls="]).advertise_client_urls.is_empty());
    let environment = [("ETCD_ADVERTISE_CLIENT_URLS", "http://a:1")];
    assert!(read_with(&[listen], &environment).is_ok());
}

#[test]
fn listeners_need_addresses_and_plain_http() {
    let listen = |url: &str| refused(&[&format!("--listen-peer-urls={url}")]);
    assert_eq!(
        listen("http://example.com:1"),
        "expected IP in URL for binding (http://example.com:1)"
    );
    let tls = listen("https://127.0.0.1:1");
    assert_eq!(
        tls,
        "--listen-peer-urls https://127.0.0.1:1: listening on https URLs is not built yet, \
         only on http"
    );
    assert!(listen("unix://x").contains("listening on unix URLs"));
    assert_eq!(listen(""), "--listen-peer-urls must not be empty");
}

#[test]
fn advertised_urls_need_a_host() {
    let message = refused(&["--initial-advertise-peer-urls=http://:2380"]);
    assert_eq!(message, "--initial-advertise-peer-urls 'http://:2380' must be \"host:port\"");
    assert!(refused(&["--initial-advertise-peer-urls=unix://x"]).contains("must be"));
    assert!(refused(&["--advertise-client-urls=http://:2379"]).contains("must be"));
    assert_eq!(read(&["--advertise-client-urls=unix://x"]).advertise_client_urls.len(), 1);
}

#[test]
fn timing_rules() {
    let timing = |heartbeat: &str, election: &str| {
        refused(&["--heartbeat-interval", heartbeat, "--election-timeout", election])
    };
    assert_eq!(timing("0", "1000"), "--heartbeat-interval must be >0 (set to 0ms)");
    assert_eq!(timing("100", "0"), "--election-timeout must be >0 (set to 0ms)");
    assert!(timing("100", "499").contains("at least as 5 times"));
    assert!(timing("100", "50001").contains("is too long"));
    let config = read(&["--heartbeat-interval=100", "--election-timeout=50000"]);
    assert_eq!(config.election_ticks(), 500);
    assert_eq!(config.request_timeout(), Duration::from_secs(105));
}

#[test]
fn loggers_and_formats() {
    assert!(refused(&["--logger=capnslog"]).starts_with("unknown logger option \"capnslog\""));
    assert!(refused(&["--metrics=all"]).starts_with("unknown detail of metrics"));
    assert!(refused(&["--log-format=xml"]).starts_with("unknown log format"));
}

#[test]
fn naming_a_member_names_its_directory_and_its_cluster() {
    let config = read(&["--name=x", "--initial-advertise-peer-urls=http://a:1,http://a:2"]);
    assert_eq!(config.data_dir, PathBuf::from("x.revd"));
    assert_eq!(config.initial_cluster, "x=http://a:1,x=http://a:2");
    let config = read(&["--initial-advertise-peer-urls=http://a:1"]);
    assert_eq!(config.initial_cluster, "default=http://localhost:2380");
}

#[test]
fn advertised_default_is_replaced_for_a_listener_on_all_addresses() {
    let config = read(&["--listen-peer-urls=http://0.0.0.0:7"]);
    let advertised = config.initial_advertise_peer_urls.to_string();
    // A machine without any route keeps the default.
    if advertised != "http://localhost:2380" {
        assert!(advertised.ends_with(":7"), "{advertised}");
        assert_eq!(config.initial_cluster, format!("default={advertised}"));
    }
}

#[test]
fn rule_7_10_7_11_what_is_compacted_by_itself_depends_on_the_mode() {
    use revd_replica::Retain;
    let retain = |arguments: &[&str]| read(arguments).auto_compaction.retain();
    assert_eq!(retain(&[]), None);
    assert_eq!(retain(&["--auto-compaction-retention="]), None);
    let hour = 3_600_000_000_000;
    assert_eq!(retain(&["--auto-compaction-retention=1"]), Some(Retain::Period(hour)));
    let revisions = ["--auto-compaction-mode=revision", "--auto-compaction-retention", "1000"];
    assert_eq!(retain(&revisions), Some(Retain::Revisions(1000)));
    assert!(refused(&["--auto-compaction-mode=never"]).contains("'periodic' or 'revision'"));
    assert!(refused(&["--auto-compaction-mode="]).contains("unknown auto-compaction mode"));
    assert!(refused(&["--auto-compaction-retention=soon"]).contains("\"soon\" is neither"));
}

#[test]
fn rule_7_27_quota_of_zero_is_the_default_and_a_negative_one_none() {
    assert_eq!(read(&[]).quota(), Some(2_147_483_648));
    for (bytes, quota) in [
        ("0", Some(DEFAULT_QUOTA)),
        ("5", Some(5)),
        ("-1", None),
        ("107374182400", Some(100 << 30)),
    ] {
        assert_eq!(read(&["--quota-backend-bytes", bytes]).quota(), quota, "{bytes}");
    }
}

#[test]
fn rule_7_27_a_quota_above_8_gib_is_only_warned_about() {
    for (bytes, is_large) in [(8_589_934_592, false), (8_589_934_593, true)] {
        let flag = format!("--quota-backend-bytes={bytes}");
        let parsed = read_with(&[&flag], &[]).unwrap();
        assert_eq!(parsed.config.quota_backend_bytes, bytes);
        assert_eq!(parsed.notices.contains(&Notice::LargeQuota(bytes)), is_large, "{bytes}");
    }
}

#[test]
fn large_requests_are_warned_about() {
    let parsed = read_with(&["--max-request-bytes=10485761"], &[]).unwrap();
    assert!(parsed.notices.contains(&Notice::LargeRequests(10_485_761)));
}

/// Reads a file of the given text, beside flags and variables that must not count.
fn read_file(text: &str) -> Result<Parsed, Stop> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap();
    let flags = ["--name=flag", "--pre-vote", "--config-file", path];
    let environment = [("ETCD_NAME", "variable"), ("ETCD_CERT_FILE", "x")];
    let by_flag = read_with(&flags, &environment);
    let by_variable = read_with(&["--name=flag"], &[("ETCD_CONFIG_FILE", path)]);
    assert_eq!(by_flag.is_ok(), by_variable.is_ok());
    by_flag
}

fn refused_file(text: &str) -> String {
    match read_file(text) {
        Err(Stop::Refused(error)) => {
            let text = error.to_string();
            assert_eq!(text.lines().count(), 1, "{text}");
            text
        }
        other => panic!("{text:?} should be refused, not {other:?}"),
    }
}

#[test]
fn a_file_has_all_options_and_nothing_else_counts() {
    let text = "\
# the name alone, and a few more
name: a
data-dir: /d
listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:11
listen-peer-urls: http://127.0.0.1:2
listen-metrics-urls: http://127.0.0.1:3
initial-cluster: 'a=http://localhost:2380'
initial-cluster-state: existing
heartbeat-interval: 12
election-timeout: 60
quota-backend-bytes: -1
auto-compaction-retention: \"5m\"
log-level: debug
warning-apply-duration: 5000000
experimental-enable-lease-checkpoint: true
";
    let config = read_file(text).unwrap().config;
    let urls = |text: &str| Urls::parse(text).unwrap();
    let expected = Config {
        name: "a".into(),
        data_dir: "/d".into(),
        listen_client_urls: urls("http://127.0.0.1:1,http://127.0.0.1:11"),
        listen_peer_urls: urls("http://127.0.0.1:2"),
        listen_metrics_urls: urls("http://127.0.0.1:3"),
        initial_cluster: "a=http://localhost:2380".into(),
        initial_cluster_state: ClusterState::Existing,
        heartbeat_interval: 12,
        election_timeout: 60,
        quota_backend_bytes: -1,
        warning_apply: Duration::from_millis(5),
        auto_compaction: AutoCompaction::new(CompactionMode::Periodic, "5m").unwrap(),
        log: log::Settings { level: log::Level::Debug, ..log::Settings::default() },
        lease_checkpoint: true,
        ..Config::default()
    };
    assert_eq!(config, expected);
    let json = read_file("{\"name\": \"a\", \"max-txn-ops\": 7}").unwrap().config;
    assert_eq!((json.name.as_str(), json.max_txn_ops), ("a", 7));
    assert_eq!(read_file("").unwrap().config, Config::default());
}

#[test]
fn a_sample_file_with_empty_options_is_fine_and_unknown_keys_are_warned_about() {
    let text = "\
wal-dir:
snapshot-count: 0
listen-metrics-urls: ''
enable-pprof: false
log-outputs: []
client-transport-security:
  cert-file:
  client-cert-auth: false
discovery-config: {client: {secure: {}}}
proxy: 'off'
no-such-key: 1
socket-options:
";
    let parsed = read_file(text).unwrap();
    assert_eq!(parsed.config, Config::default());
    for key in ["proxy", "no-such-key"] {
        assert!(parsed.notices.contains(&Notice::UnknownKey(key.into())), "{key}");
    }
}

#[test]
fn mistakes_in_a_file_are_one_line_with_file_and_key() {
    for (text, expected) in [
        ("name: 1", ": name: expected text in quotes, found 1"),
        ("auto-compaction-retention: 1", ": auto-compaction-retention: expected text in quotes"),
        ("heartbeat-interval: abc", "heartbeat-interval: expected a whole number, found \"abc\""),
        ("heartbeat-interval: 1.5", "heartbeat-interval: expected a whole number, found 1.5"),
        ("heartbeat-interval: -1", "heartbeat-interval: -1: invalid digit"),
        ("experimental-enable-lease-checkpoint: maybe", "expected true or false, found \"maybe\""),
        ("warning-apply-duration: 10ms", "expected a whole number of nanoseconds, found \"10ms\""),
        ("listen-peer-urls: [http://a:1]", "listen-peer-urls: expected text in quotes"),
        ("listen-peer-urls: foo", "listen-peer-urls: \"foo\": URL scheme must be"),
        ("initial-cluster-state: old", "initial-cluster-state: \"old\": it must be 'new'"),
        ("discovery-config: 1", "discovery-config: it is a section with keys of its own, not 1"),
        ("election-timeout: 499", "at least as 5 times"),
        ("wal-dir: /w", "--wal-dir is not built yet; start without wal-dir in /"),
        (
            "peer-transport-security: {cert-file: x}",
            "--peer-cert-file is not built yet; start without peer-transport-security.cert-file in",
        ),
        ("- name", "it holds no keys with values"),
        ("name: [", "cannot read configuration file /"),
        ("name: a\nname: b", "cannot read configuration file /"),
    ] {
        let found = refused_file(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
    let missing = refused(&["--config-file=/no/such/file"]);
    assert!(missing.starts_with("cannot read configuration file /no/such/file: No such"));
}

#[test]
fn discovery_needs_endpoints_and_a_token_and_nothing_else() {
    let endpoints = "--discovery-endpoints=127.0.0.1:1, http://127.0.0.1:2";
    let (token, time) = ("--discovery-token=t", "--discovery-dial-timeout=7s");
    let found = read(&[endpoints, token, time]).discovery.unwrap();
    let expected = Discovery::Registry(Registry {
        endpoints: vec!["127.0.0.1:1".into(), "http://127.0.0.1:2".into()],
        token: "t".into(),
        dial_timeout: Duration::from_secs(7),
        request_timeout: Duration::from_secs(5),
    });
    assert_eq!(found, expected);
    let file = "\
discovery-config:
  token: t
  client:
    endpoints: ['127.0.0.1:1', 'http://127.0.0.1:2']
    dial-timeout: 7000000000
";
    assert_eq!(read_file(file).unwrap().config.discovery, Some(expected));
    assert!(refused_file("discovery-config: {client: {endpoints: x}}").contains("a list of texts"));
    assert!(refused(&[endpoints]).contains("--discovery-token is missing"));
    assert!(refused(&[token]).contains("--discovery-endpoints is missing"));
    let both = [endpoints, token, "--initial-cluster=default=http://localhost:2380"];
    let by_dns = read(&["--discovery-srv=example.com", "--discovery-srv-name=green"]).discovery;
    let Some(Discovery::Srv(srv)) = by_dns else { panic!("{by_dns:?}") };
    assert_eq!(srv.record("etcd-server"), "_etcd-server-green._tcp.example.com.");
    for more in [endpoints, "--initial-cluster=default=http://localhost:2380"] {
        let message = refused(&["--discovery-srv=example.com", more]);
        assert!(message.starts_with("multiple discovery or bootstrap flags"), "{message}");
    }
    assert!(refused(&both).starts_with("multiple discovery or bootstrap flags are set"));
    assert!(refused(&["--discovery-endpoints=a:1,", token]).contains("empty item"));
    let tls = refused(&["--discovery-endpoints=https://a:1", token]);
    assert_eq!(tls, "--discovery-endpoints https://a:1: only http is built yet");
}
