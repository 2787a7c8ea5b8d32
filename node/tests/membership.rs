//! Members of real clusters come, go, are replaced and promoted, and nothing acknowledged is lost.

#![allow(unreachable_pub, reason = "the modules of a test are nobody else's")]

mod support;

use std::process::Command;
use std::time::Instant;

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::cluster_client::ClusterClient;
use support::Server;
use support::cluster::{Cluster, PATIENCE, get, put, put_at_last};
use support::load::Load;
use tokio::task::JoinSet;

/// Whatever is asked of a cluster that has just changed need not be healthy yet.
const UNCHECKED: &[&str] = &["--strict-reconfig-check=false"];

const TOLD: &str = "the member has been permanently removed from the cluster";

#[tokio::test]
async fn a_cluster_grows_from_one_to_five_under_load() {
    let mut cluster = Cluster::start(1);
    put_at_last(&mut cluster.kv(0).await, "before", "x").await;
    let load = Load::start(cluster.client_urls());
    for size in 2..=5 {
        // Through the member that came last: it hands the change on to the leader.
        let through = size - 2;
        let (n, id) = cluster.add_at_last(through).await;
        let listed = cluster.list_there(through).await;
        let added = listed.iter().find(|member| member.id == id).expect("it is listed at once");
        assert!(added.name.is_empty() && added.client_urls.is_empty(), "rule 9.3: {added:?}");
        cluster.bring_up(n);
        let mut kv = cluster.kv(n).await;
        assert_eq!(get(&mut kv, "before", false).await.as_deref(), Some("x"), "m{n}");
        assert_eq!(cluster.id(n).await, id);
        load.move_to(cluster.client_urls());
        load.more(10).await;
    }
    let listed = cluster.list(4).await;
    let mut names: Vec<_> = listed.into_iter().map(|member| member.name).collect();
    names.sort();
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4"]);
    // Five members stand the loss of any two.
    load.move_to(cluster.client_urls().split_off(2));
    cluster.kill(0);
    cluster.kill(1);
    load.more(10).await;
    load.finish(cluster.kv(3).await).await;
}

#[tokio::test]
async fn each_member_is_replaced_in_turn_under_load() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(cluster.client_urls());
    for old in 0..3 {
        let id = cluster.id(old).await;
        let left = cluster.remove_at_last(old + 1, id).await;
        assert_eq!(left.len(), 2);
        let (status, log) = cluster.server(old).ended().await;
        assert_eq!(status.code(), Some(0), "rule 9.17:\n{log}");
        assert!(log.contains("data-dir used by this member must be removed"), "{log}");
        cluster.members[old].server = None;
        load.move_to(cluster.client_urls());
        let (new, _) = cluster.add_at_last(old + 1).await;
        cluster.bring_up(new);
        assert_eq!(get(&mut cluster.kv(new).await, "none", false).await, None);
        load.move_to(cluster.client_urls());
        load.more(10).await;
    }
    assert_eq!(cluster.list(5).await.len(), 3);
    load.finish(cluster.kv(4).await).await;
}

#[tokio::test]
async fn rule_9_12_a_learner_is_promoted_once_it_has_caught_up() {
    let mut cluster = Cluster::start_with(3, UNCHECKED);
    put_at_last(&mut cluster.kv(0).await, "k", "v").await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let (n, id) = cluster.add(leader, true).await.expect("one learner is allowed");
    let refused = cluster.add(leader, true).await.expect_err("rule 9.11");
    assert_eq!(refused.message(), "etcdserver: too many learner members in cluster");
    let voter = cluster.id(follower).await;
    // Rule 9.13: a follower hands a promotion on.
    for through in [leader, follower] {
        for (id, text) in [
            (id, "can only promote a learner member which is in sync with leader"),
            (voter, "can only promote a learner member"),
            (7, "member not found"),
        ] {
            let status = cluster.promote(through, id).await.expect_err(text);
            assert_eq!(status.message(), format!("etcdserver: {text}"), "through m{through}");
        }
    }
    cluster.bring_up(n);
    let mut learner = cluster.kv(n).await;
    assert_eq!(get(&mut learner, "k", true).await.as_deref(), Some("v"));
    let refused = put(&mut learner, "k", "w").await.expect_err("rule 9.35");
    assert_eq!(refused.message(), "etcdserver: rpc not supported for learner");
    let start = Instant::now();
    let members = loop {
        match cluster.promote(follower, id).await {
            Ok(members) => break members,
            Err(status) => {
                assert!(status.message().contains("in sync"), "{status}");
                assert!(start.elapsed() < PATIENCE, "it never catches up");
            }
        }
    };
    assert!(members.iter().all(|member| !member.is_learner), "{members:?}");
    put_at_last(&mut learner, "k", "w").await;
    assert_eq!(get(&mut cluster.kv(leader).await, "k", false).await.as_deref(), Some("w"));
}

/// Consensus takes one change at a time, and a leader says nothing to a proposal that was handed to
/// it and comes too early; so members that do not lead ask it instead.
#[tokio::test]
async fn changes_at_the_same_moment_through_any_member_are_made_one_by_one() {
    let mut cluster =
        Cluster::start_with(3, &["--strict-reconfig-check=false", "--max-learners=3"]);
    put_at_last(&mut cluster.kv(0).await, "k", "v").await;
    let mut adding = JoinSet::new();
    for n in 0..9 {
        let mut client = ClusterClient::new(cluster.connect(n % 3).await);
        let peer_urls = vec![format!("http://127.0.0.1:{}", support::free_port())];
        let add = pb::MemberAddRequest { peer_urls, is_learner: true };
        adding.spawn(async move { client.member_add(add).await });
    }
    let (mut added, mut unknown) = (Vec::new(), 0);
    while let Some(outcome) = adding.join_next().await {
        match outcome.expect("the task ends") {
            Ok(answer) => added.push(answer.into_inner().member.expect("a member").id),
            // A leader that is lost meanwhile.
            Err(status) if status.code() == tonic::Code::Unavailable => unknown += 1,
            Err(status) => {
                let text = "etcdserver: too many learner members in cluster";
                assert_eq!(status.message(), text, "after {}", added.len());
            }
        }
    }
    let listed = cluster.list(1).await;
    let learners: Vec<u64> = listed.iter().filter(|m| m.is_learner).map(|m| m.id).collect();
    assert!(learners.len() <= 3, "rule 9.11: {listed:?}");
    assert!(added.iter().all(|id| learners.contains(id)), "{added:?}, {listed:?}");
    assert!(unknown > 0 || added.len() == 3, "{added:?}");

    let mut removing = JoinSet::new();
    for (n, id) in learners.into_iter().enumerate() {
        let mut client = ClusterClient::new(cluster.connect(n).await);
        let remove = pb::MemberRemoveRequest { id };
        removing.spawn(async move { client.member_remove(remove).await });
    }
    while let Some(outcome) = removing.join_next().await {
        if let Err(status) = outcome.expect("the task ends") {
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
            unknown += 1;
        }
    }
    assert!(unknown > 0 || cluster.list(2).await.len() == 3);
}

#[tokio::test]
async fn a_learner_is_promoted_by_itself_if_that_is_wanted() {
    let more = ["--strict-reconfig-check=false", "--experimental-promote-learners"];
    let mut cluster = Cluster::start_with(1, &more);
    put_at_last(&mut cluster.kv(0).await, "k", "v").await;
    let (n, _) = cluster.add(0, true).await.expect("it is added");
    cluster.bring_up(n);
    let mut learner = cluster.kv(n).await;
    put_at_last(&mut learner, "k", "w").await;
    assert!(cluster.list(n).await.iter().all(|member| !member.is_learner));
}

#[tokio::test]
async fn rule_9_18_the_leader_is_removed_and_another_takes_over() {
    let mut cluster = Cluster::start_with(3, UNCHECKED);
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    put_at_last(&mut cluster.kv(other).await, "k", "v").await;
    let id = cluster.id(leader).await;
    let left = cluster.remove(leader, id).await.expect("it answers before it goes");
    assert!(left.iter().all(|member| member.id != id), "{left:?}");
    let (status, log) = cluster.server(leader).ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    put_at_last(&mut cluster.kv(other).await, "k", "w").await;
    assert_eq!(cluster.list(other).await.len(), 2);
}

#[tokio::test]
async fn rule_9_17_a_removed_member_that_comes_back_is_told_and_ends() {
    let mut cluster = Cluster::start_with(3, UNCHECKED);
    put_at_last(&mut cluster.kv(0).await, "k", "v").await;
    let leader = cluster.leader().await;
    let (gone, stays) = ((leader + 1) % 3, (leader + 2) % 3);
    let id = cluster.id(gone).await;
    // While it is down: only the others can tell it.
    cluster.kill(gone);
    cluster.remove(stays, id).await.expect("two of three are a quorum");
    for flags in [&[][..], &["--initial-cluster-state=existing"]] {
        cluster.bring_up_with(gone, flags);
        let (status, log) = cluster.server(gone).ended().await;
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains(TOLD), "{log}");
    }
    put_at_last(&mut cluster.kv(stays).await, "k", "w").await;
    let refused = cluster.remove(leader, id).await.expect_err("it is gone already");
    assert_eq!(refused.message(), "etcdserver: member not found");
}

/// Starts a server that must refuse, and returns the line with which it does.
async fn refusal(dir: &std::path::Path, ports: (u16, u16), flags: &[&str]) -> String {
    let command = Command::new(env!("CARGO_BIN_EXE_revd"));
    let mut server = Server::start_on(ports, command, dir, flags);
    let (status, log) = server.ended().await;
    assert_eq!(status.code(), Some(1), "{log}");
    log.lines().last().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_classic_mistakes_of_a_joining_member_have_a_line_each() {
    let mut cluster = Cluster::start_with(1, UNCHECKED);
    put_at_last(&mut cluster.kv(0).await, "k", "v").await;
    let founder = cluster.members[0].peer_url();
    let (dir, ports) = (support::scratch(), (support::free_port(), support::free_port()));
    let own = format!("http://127.0.0.1:{}", ports.1);
    let nobody = support::free_port();
    let (n, id) = cluster.add(0, true).await.expect("a learner");
    let added = cluster.members[n].peer_url();
    for (initial, text) in [
        (format!("m0={founder},m1={added},m2={own}"), "member count is unequal"),
        (format!("m0={founder},m2={own}"), "unmatched member"),
        (format!("m0={founder},m1={added}"), "couldn't find local name"),
        (format!("m0=http://127.0.0.1:{nobody},m2={own}"), "cannot fetch cluster info"),
    ] {
        let flags =
            ["--name=m2", "--initial-cluster-state=existing", "--initial-cluster", &initial];
        let line = refusal(dir.path(), ports, &flags).await;
        assert!(line.contains(text), "{initial}: {line}");
    }
    // Whoever has lost its data directory has lost its promises, too.
    cluster.bring_up(n);
    let start = Instant::now();
    while cluster.list(0).await.iter().any(|member| member.id == id && member.name.is_empty()) {
        assert!(start.elapsed() < PATIENCE, "it never starts");
    }
    cluster.kill(n);
    let (ports, flags) = (cluster.members[n].ports, cluster.members[n].flags.clone());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let line = refusal(dir.path(), ports, &flags).await;
    assert!(line.contains("has already been started once"), "{line}");
    let mut founders = Cluster::start(2);
    put_at_last(&mut founders.kv(1).await, "k", "v").await;
    founders.kill(1);
    let lost = &founders.members[1];
    let flags: Vec<&str> = lost.flags.iter().map(String::as_str).collect();
    let dir = support::scratch();
    let line = refusal(dir.path(), lost.ports, &flags).await;
    assert!(line.contains("has already been bootstrapped"), "{line}");
}

#[tokio::test]
async fn rule_10_26_a_survivor_goes_on_alone_and_the_others_are_told() {
    let mut cluster = Cluster::start_with(3, UNCHECKED);
    for n in 0..3 {
        put_at_last(&mut cluster.kv(n).await, &format!("k{n}"), "v").await;
    }
    let survivor = cluster.leader().await;
    let lost = [(survivor + 1) % 3, (survivor + 2) % 3];
    let id = cluster.id(survivor).await;
    for n in lost {
        cluster.kill(n);
    }
    cluster.kill(survivor);
    cluster.bring_up_with(survivor, &["--force-new-cluster"]);
    let mut kv = cluster.kv(survivor).await;
    put_at_last(&mut kv, "k3", "v").await;
    for n in 0..4 {
        assert_eq!(get(&mut kv, &format!("k{n}"), false).await.as_deref(), Some("v"), "k{n}");
    }
    assert_eq!(cluster.id(survivor).await, id);
    assert_eq!(cluster.list(survivor).await.len(), 1);
    // Two of three would be a quorum of the old cluster.
    for n in lost {
        cluster.bring_up(n);
    }
    for n in lost {
        let (status, log) = cluster.server(n).ended().await;
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains(TOLD), "{log}");
    }
    let (new, _) = cluster.add_at_last(survivor).await;
    cluster.bring_up(new);
    put_at_last(&mut cluster.kv(new).await, "k4", "v").await;
    assert_eq!(cluster.list(new).await.len(), 2);
}
