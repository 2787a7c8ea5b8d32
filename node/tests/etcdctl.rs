//! Debian's `etcdctl`, unchanged, must see in revd what it sees in Debian's etcd.
//!
//! The scripts in `etcdctl/scripts` are lists of `etcdctl` commands. Each command runs against both
//! servers at the same time, and what it prints on either stream and its exit code are compared
//! line by line. What differs from run to run is put aside by the named rules of `rules.rs`; where
//! the specification follows a newer etcd than Debian's, `expected.rs` has a row with the rule that
//! says so. A rule or a row that nothing needed is a failure as well.
//!
//! Without `etcd` and `etcdctl` in the path the test is skipped; with `CI=true` it fails.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test program of several files")]

#[path = "etcdctl/expected.rs"]
mod expected;
#[path = "etcdctl/process.rs"]
mod process;
#[path = "etcdctl/report.rs"]
mod report;
#[path = "etcdctl/rules.rs"]
mod rules;
#[path = "etcdctl/script.rs"]
mod script;
#[path = "etcdctl/side.rs"]
mod side;
#[path = "etcdctl/stage.rs"]
mod stage;
mod support;

use std::process::{Command, Stdio};

use report::Report;
use revd_api::v3electionpb::election_client::ElectionClient;
use revd_api::v3electionpb::{CampaignRequest, LeaderRequest};
use revd_api::v3lockpb::lock_client::LockClient;
use revd_api::v3lockpb::{LockRequest, UnlockRequest};
use script::Script;
use stage::Stage;

/// The scripts, in the order in which they run: later ones build on the revisions of earlier ones.
const SCRIPTS: &[(&str, &str)] = &[
    ("put.txt", include_str!("etcdctl/scripts/put.txt")),
    ("ranges.txt", include_str!("etcdctl/scripts/ranges.txt")),
    ("txn.txt", include_str!("etcdctl/scripts/txn.txt")),
    ("watch.txt", include_str!("etcdctl/scripts/watch.txt")),
    ("cluster.txt", include_str!("etcdctl/scripts/cluster.txt")),
    ("compaction.txt", include_str!("etcdctl/scripts/compaction.txt")),
    ("lease.txt", include_str!("etcdctl/scripts/lease.txt")),
    ("restart.txt", include_str!("etcdctl/scripts/restart.txt")),
    ("session.txt", include_str!("etcdctl/scripts/session.txt")),
];

/// The scripts for clusters of three, in the order in which they run.
const CLUSTER_SCRIPTS: &[(&str, &str)] =
    &[("members.txt", include_str!("etcdctl/scripts/members.txt"))];

/// Forms of the command line that the scripts must have used.
const COMMANDS: &[&str] = &[
    "put",
    "put --ignore-lease",
    "put --ignore-value",
    "put --lease",
    "put --prev-kv",
    "get",
    "get --consistency",
    "get --from-key",
    "get --keys-only",
    "get --limit",
    "get --order",
    "get --prefix",
    "get --print-value-only",
    "get --rev",
    "get --sort-by",
    "get -w fields",
    "get -w json",
    "get -w protobuf",
    "get -w simple",
    "del",
    "del --from-key",
    "del --prefix",
    "del --prev-kv",
    "txn",
    "txn -i",
    "txn -w fields",
    "txn -w json",
    "watch",
    "watch --",
    "watch --prefix",
    "watch --prev-kv",
    "watch --rev",
    "watch -i",
    "watch -w fields",
    "watch -w json",
    "compaction",
    "compaction --physical",
    "lease grant",
    "lease keep-alive",
    "lease keep-alive --once",
    "lease list",
    "lease revoke",
    "lease timetolive",
    "lease timetolive --keys",
    "member list",
    "member list -w json",
    "member list -w table",
    "member add",
    "member add --learner",
    "member promote",
    "member remove",
    "member update",
    "move-leader",
    "endpoint hashkv",
    "endpoint health",
    "endpoint health --cluster",
    "endpoint status",
    "endpoint status --cluster",
    "endpoint status -w json",
    "endpoint status -w table",
    "alarm disarm",
    "alarm list",
    "defrag",
    "lock",
    "elect",
    "elect -l",
];

#[test]
fn etcdctl_sees_in_revd_what_it_sees_in_etcd() {
    for (tool, argument) in [("etcd", "--version"), ("etcdctl", "version")] {
        if !is_there(tool, argument) {
            let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!in_ci, "there is no `{tool}` in the path; in CI that is a failure");
            println!(
                "SKIPPED: there is no `{tool}` in the path (Debian: etcd-server, etcd-client)"
            );
            return;
        }
    }
    let mut report = Report::new();
    play(Stage::start(), SCRIPTS, &mut report);
    play(Stage::start_clusters(), CLUSTER_SCRIPTS, &mut report);
    report.finish(COMMANDS);
}

fn play(mut stage: Stage, scripts: &[(&str, &str)], report: &mut Report) {
    for (name, text) in scripts {
        stage.play(&Script::parse(name, text), report);
    }
}

/// `etcdctl lock` and `elect` make do with keys, leases and watchers; these services are for other
/// clients.
#[tokio::test]
async fn the_services_of_locks_and_elections_say_that_they_are_not_built() {
    let dir = support::scratch();
    let mut server = support::Server::start(dir.path());
    let channel = server.connect().await;
    let mut locks = LockClient::new(channel.clone());
    let mut elections = ElectionClient::new(channel);
    let lock = locks.lock(LockRequest::default()).await.unwrap_err();
    let unlock = locks.unlock(UnlockRequest::default()).await.unwrap_err();
    let campaign = elections.campaign(CampaignRequest::default()).await.unwrap_err();
    let leader = elections.leader(LeaderRequest::default()).await.unwrap_err();
    let observe = elections.observe(LeaderRequest::default()).await.unwrap_err();
    let named = [("Lock", lock), ("Unlock", unlock), ("Campaign", campaign), ("Leader", leader)];
    for (name, status) in named.into_iter().chain([("Observe", observe)]) {
        assert_eq!(status.code(), tonic::Code::Unimplemented, "{name}: {status:?}");
        assert_eq!(status.message(), format!("{name} is not part of this version of revd"));
    }
}

fn is_there(tool: &str, argument: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
