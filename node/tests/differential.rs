//! Debian's etcd and revd, asked the same, must answer the same.
//!
//! Both servers run for real on loopback. Every case sends one request to both and compares the
//! answers field by field, through the descriptors of our own API, so that a field that one of them
//! does not know shows too. Left out are only raft index and term, sizes, remaining lease times and
//! lease ids that a server chooses. Debian's etcd is a 3.4, and the specification follows a newer
//! one: where they part, `expected.rs` has a row with the rule that says so, and a row that does
//! not show is a failure as well.
//!
//! Without an `etcd` in the path the test is skipped; with `CI=true` in the environment it fails.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test program of several files")]

#[path = "differential/expected.rs"]
mod expected;
#[path = "differential/leases.rs"]
mod leases;
#[path = "differential/operations.rs"]
mod operations;
#[path = "differential/ranges.rs"]
mod ranges;
#[path = "differential/requests.rs"]
mod requests;
#[path = "differential/servers.rs"]
mod servers;
mod support;
#[path = "differential/trial.rs"]
mod trial;
#[path = "differential/txns.rs"]
mod txns;
#[path = "differential/watches.rs"]
mod watches;
#[path = "differential/wire.rs"]
mod wire;
#[path = "differential/writes.rs"]
mod writes;

use servers::Server;
use trial::Trial;

/// Methods that must have been called, beside those that the specification's groups 1 to 7 need.
const METHODS: &[&str] = &[
    "etcdserverpb.KV/Range",
    "etcdserverpb.KV/RangeStream",
    "etcdserverpb.KV/Put",
    "etcdserverpb.KV/DeleteRange",
    "etcdserverpb.KV/Txn",
    "etcdserverpb.KV/Compact",
    "etcdserverpb.Watch/Watch",
    "etcdserverpb.Lease/LeaseGrant",
    "etcdserverpb.Lease/LeaseRevoke",
    "etcdserverpb.Lease/LeaseKeepAlive",
    "etcdserverpb.Lease/LeaseTimeToLive",
    "etcdserverpb.Lease/LeaseLeases",
    "etcdserverpb.Cluster/MemberList",
    "etcdserverpb.Maintenance/Alarm",
    "etcdserverpb.Maintenance/Status",
    "etcdserverpb.Maintenance/Defragment",
    "etcdserverpb.Maintenance/Hash",
    "etcdserverpb.Maintenance/HashKV",
    "etcdserverpb.Maintenance/MoveLeader",
    "grpc.health.v1.Health/Check",
];

/// Error texts that one member can be brought to: each must have come from revd.
const TEXTS: &[&str] = &[
    "etcdserver: key is not provided",
    "etcdserver: key not found",
    "etcdserver: value is provided",
    "etcdserver: lease is provided",
    "etcdserver: too many operations in txn request",
    "etcdserver: duplicate key given in txn request",
    "etcdserver: invalid client api version",
    "etcdserver: invalid sort option",
    "etcdserver: mvcc: required revision has been compacted",
    "etcdserver: mvcc: required revision is a future revision",
    "etcdserver: mvcc: database space exceeded",
    "etcdserver: requested lease not found",
    "etcdserver: lease already exists",
    "etcdserver: too large lease TTL",
    "etcdserver: Peer URLs already exists",
    "etcdserver: re-configuration failed due to not enough started members",
    "etcdserver: given member URLs are invalid",
    "etcdserver: member not found",
    "etcdserver: can only promote a learner member",
    "etcdserver: request is too large",
    "etcdserver: root user does not exist",
    "etcdserver: user name is empty",
    "etcdserver: user name not found",
    "etcdserver: role name not found",
    "etcdserver: role name is empty",
    "etcdserver: permission not given",
    "etcdserver: authentication is not enabled",
    "etcdserver: invalid auth management",
    "etcdserver: corrupt cluster",
    "etcdserver: bad leader transferee",
    "etcdserver: wrong downgrade target version format",
    "etcdserver: invalid downgrade target version",
    "RangeStream does not support custom sort orders",
    "RangeStream does not support revision filters",
    "bcrypt: password length exceeds 72 bytes",
    "etcdserver: unknown method",
    "\"leader\" field must be provided",
    "mvcc: watcher range is empty",
    "mvcc: duplicate watch ID provided on the WatchStream",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revd_answers_as_etcd_does() {
    if !etcd_is_there() {
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!in_ci, "there is no `etcd` in the path; in CI that is a failure");
        println!("SKIPPED: there is no `etcd` in the path (Debian: apt-get install etcd-server)");
        return;
    }
    let etcd = Server::start("etcd", "etcd").await;
    let revd = Server::start("revd", env!("CARGO_BIN_EXE_revd")).await;
    let mut trial = Trial::new(etcd, revd);
    let t = &mut trial;
    ranges::run(t).await;
    writes::run(t).await;
    txns::run(t).await;
    leases::run(t).await;
    watches::run(t).await;
    operations::run(t).await;
    operations::broken_streams(t).await;
    operations::compactions(t).await;
    ranges::after_compaction(t).await;
    txns::after_compaction(t).await;
    watches::around_compaction(t).await;
    operations::alarms(t).await;
    trial.report.finish(METHODS, TEXTS);
}

fn etcd_is_there() -> bool {
    let mut command = std::process::Command::new("etcd");
    command.arg("--version").stdout(std::process::Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
