//! Group 6: what the core does about leases between two calls.

use std::time::Duration;

use revd::config::Config;
use revd_api::etcdserverpb as pb;

use crate::member::Member;

#[tokio::test]
async fn rule_6_13_a_renewal_after_a_silence_confirms_leadership_first() {
    let mut config = Config::default();
    config.heartbeat_interval = 1;
    config.election_timeout = 5;
    let member = Member::start_with(config).await;
    let grant = pb::LeaseGrantRequest { id: 5, ttl: 60 };
    member.lease().lease_grant(grant).await.unwrap();
    for _ in 0..3 {
        // Nothing wakes the core for longer than the three heartbeats after which it asks.
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(member.handle.keep_alive(5).await, Ok(Some(60)));
    }
    assert_eq!(member.handle.keep_alive(6).await, Ok(None));
}

#[tokio::test]
async fn a_lease_runs_out_although_nothing_wakes_the_core() {
    let member = Member::start().await;
    let grant = pb::LeaseGrantRequest { id: 5, ttl: 2 };
    member.lease().lease_grant(grant).await.unwrap();
    let put = pb::PutRequest { lease: 5, ..crate::ask::put("a", "1") };
    member.kv().put(put).await.unwrap();
    // Looked at from outside of the core.
    while member.handle.view().revision().0 < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(member.handle.lease_ids().await, Ok(Vec::new()));
}
