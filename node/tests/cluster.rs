//! Three real processes: any of them serves, any of them may die, and nothing acknowledged is lost.

#![allow(unreachable_pub, reason = "the modules of a test are nobody else's")]

mod support;

use revd_api::etcdserverpb::cluster_client::ClusterClient;
use revd_api::etcdserverpb::lease_client::LeaseClient;
use revd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use revd_api::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseTimeToLiveRequest, MemberListRequest,
    MoveLeaderRequest, RangeRequest, StatusRequest,
};
use support::cluster::{Cluster, get, put, put_at_last};
use tonic::Code;

#[tokio::test]
async fn each_member_takes_writes_and_reads_all_of_them() {
    let mut cluster = Cluster::start(3);
    for n in 0..3 {
        let mut kv = cluster.kv(n).await;
        put(&mut kv, &format!("k{n}"), &format!("v{n}")).await.expect("any member takes a put");
    }
    for n in 0..3 {
        let mut kv = cluster.kv(n).await;
        for k in 0..3 {
            assert_eq!(get(&mut kv, &format!("k{k}"), false).await, Some(format!("v{k}")));
        }
        let mut members = ClusterClient::new(cluster.connect(n).await);
        let list = members.member_list(MemberListRequest::default()).await.expect("a list");
        let mut names: Vec<_> = list.into_inner().members.into_iter().map(|m| m.name).collect();
        names.sort();
        assert_eq!(names, ["m0", "m1", "m2"]);
    }
}

#[tokio::test]
async fn whoever_is_killed_the_others_go_on_and_it_comes_back() {
    let mut cluster = Cluster::start(3);
    let mut written = Vec::new();
    for turn in 0..6 {
        // The leader and one of the followers in turn.
        let leader = cluster.leader().await;
        let victim = if turn % 2 == 0 { leader } else { (leader + 1) % 3 };
        let before = format!("before/{turn}");
        put(&mut cluster.kv(leader).await, &before, "x").await.expect("the leader takes a put");
        cluster.kill(victim);
        let other = (victim + 1) % 3;
        let mut kv = cluster.kv(other).await;
        let during = format!("during/{turn}");
        put_at_last(&mut kv, &during, "x").await;
        written.extend([before, during]);
        cluster.bring_up(victim);
        let mut kv = cluster.kv(victim).await;
        for key in &written {
            assert_eq!(get(&mut kv, key, false).await.as_deref(), Some("x"), "{key}, turn {turn}");
        }
    }
}

#[tokio::test]
async fn without_a_quorum_only_serializable_reads_are_answered() {
    let mut cluster = Cluster::start(3);
    put(&mut cluster.kv(0).await, "k", "v").await.expect("a quorum is there");
    for n in 0..3 {
        assert_eq!(get(&mut cluster.kv(n).await, "k", false).await.as_deref(), Some("v"));
    }
    cluster.kill(1);
    cluster.kill(2);
    let mut kv = cluster.kv(0).await;
    let failed = put(&mut kv, "k", "lost").await.expect_err("one of three is no quorum");
    // Rule 9.26 while no leader is known, 9.27 as long as this member takes itself for one.
    assert!([Code::DeadlineExceeded, Code::Unavailable].contains(&failed.code()), "{failed}");
    let read = RangeRequest { key: "k".into(), ..RangeRequest::default() };
    let failed = kv.range(read).await.expect_err("a linearizable read needs a quorum");
    let expected = (Code::Unavailable, "etcdserver: request timed out");
    assert_eq!((failed.code(), failed.message()), expected);
    assert_eq!(get(&mut kv, "k", true).await.as_deref(), Some("v"));
    cluster.bring_up(1);
    put_at_last(&mut kv, "k", "again").await;
    assert_eq!(get(&mut cluster.kv(1).await, "k", false).await.as_deref(), Some("again"));
}

#[tokio::test]
async fn rule_9_21_leadership_moves_on_demand() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let mut client = MaintenanceClient::new(cluster.connect(n).await);
        let status = client.status(StatusRequest {}).await.expect("a status").into_inner();
        ids.push(status.header.expect("a header").member_id);
    }
    let next = (leader + 1) % 3;
    let to = |target_id| MoveLeaderRequest { target_id };
    let mut follower = MaintenanceClient::new(cluster.connect(next).await);
    let failed = follower.move_leader(to(ids[next])).await.expect_err("it does not lead");
    assert_eq!(failed.message(), "etcdserver: not leader");
    let mut client = MaintenanceClient::new(cluster.connect(leader).await);
    let failed = client.move_leader(to(7)).await.expect_err("nobody has this id");
    assert_eq!(failed.message(), "etcdserver: bad leader transferee");
    client.move_leader(to(ids[leader])).await.expect("it leads already");
    client.move_leader(to(ids[next])).await.expect("it moves");
    assert_eq!(cluster.leader().await, next);
}

#[tokio::test]
async fn leases_are_kept_alive_through_any_member() {
    let mut cluster = Cluster::start(3);
    let mut lease = LeaseClient::new(cluster.connect(0).await);
    let grant = LeaseGrantRequest { id: 7, ttl: 60 };
    lease.lease_grant(grant).await.expect("any member grants");
    for n in 0..3 {
        let mut lease = LeaseClient::new(cluster.connect(n).await);
        // The grant may still be on its way to this member's own data; the leader has it.
        let requests = tokio_stream::iter([LeaseKeepAliveRequest { id: 7 }]);
        let mut answers = lease.lease_keep_alive(requests).await.expect("a stream").into_inner();
        let answer = answers.message().await.expect("an answer").expect("one");
        assert_eq!((answer.id, answer.ttl), (7, 60), "through m{n}");
        let ask = |id| LeaseTimeToLiveRequest { id, keys: false };
        let left = lease.lease_time_to_live(ask(7)).await.expect("an answer").into_inner();
        assert_eq!(left.granted_ttl, 60);
        assert!((58..=60).contains(&left.ttl), "{} s left", left.ttl);
        let none = lease.lease_time_to_live(ask(8)).await.expect("an answer").into_inner();
        assert_eq!(none.ttl, -1, "no such lease, through m{n}");
    }
}
