//! Leases (group 6).

use std::time::Duration;

use revd_api::etcdserverpb as pb;

use crate::requests::{grant, put, put_leased, range, revoke, time_to_live, with};
use crate::trial::Trial;

const KEEP_ALIVE: &str = "etcdserverpb.Lease/LeaseKeepAlive";

/// All cases of this file.
pub async fn run(t: &mut Trial) {
    grants(t).await;
    revocations(t).await;
    renewals(t).await;
    lists(t).await;
    expiry(t).await;
}

async fn grants(t: &mut Trial) {
    let chosen = t.call("6.1 the server chooses", grant(0, 60)).await;
    assert!(chosen.etcd.number("ID") > 0, "{:?}", chosen.etcd);
    assert!(chosen.revd.number("ID") > 0, "{:?}", chosen.revd);
    t.revoke_chosen("6.6 revoke what the server chose", &chosen).await;
    t.call("6.1 the client chooses", grant(601, 60)).await;
    t.call("6.2 it exists", grant(601, 60)).await;
    t.call("6.1 a negative id", grant(-602, 60)).await;
    t.call("6.1 the largest id", grant(i64::MAX, 60)).await;
    t.call("6.1 the smallest id", grant(i64::MIN, 60)).await;
    for ttl in [1, 0, -5, i64::MIN, 2, 3] {
        let id = 610 + ttl.rem_euclid(10);
        t.call(&format!("6.4 at least the minimum: {ttl}"), grant(id, ttl)).await;
        t.call("6.6 away", revoke(id)).await;
    }
    t.call("6.3 the longest", grant(603, 9_000_000_000)).await;
    t.call("6.3 too long", grant(604, 9_000_000_001)).await;
    t.call("6.3 much too long", grant(604, i64::MAX)).await;
    t.call("6.2 too long before exists", grant(601, i64::MAX)).await;
    for id in [601, -602, i64::MAX, i64::MIN, 603] {
        t.call("6.15 granted", time_to_live(id)).await;
        t.call("6.6 revoke", revoke(id)).await;
        t.call("6.15 gone", time_to_live(id)).await;
    }
}

async fn revocations(t: &mut Trial) {
    t.call("6.6 unknown", revoke(699)).await;
    t.call("6.6 zero", revoke(0)).await;
    t.call("6.7 a lease", grant(620, 600)).await;
    t.call("6.7 another", grant(621, 600)).await;
    for key in ["l/c", "l/a", "l/b"] {
        t.call("6.7 its keys", put_leased(key, "v", 620)).await;
    }
    t.call("6.8 moves to the other", put_leased("l/b", "v", 621)).await;
    t.call("6.8 moves to none", put("l/c", "v")).await;
    t.call("6.8 one more", put_leased("l/d", "v", 620)).await;
    t.call("6.7 all keys go in one revision", revoke(620)).await;
    t.call("6.7 what is left", range("l/", "l0")).await;
    t.call("6.7 twice", revoke(620)).await;
    t.call("1.3 a lease without keys", grant(622, 600)).await;
    t.call("1.3 changes no revision", revoke(622)).await;
    t.call("6.7 the last", revoke(621)).await;
    t.call("6.7 nothing is left", range("l/", "l0")).await;
}

async fn renewals(t: &mut Trial) {
    let ask = |id| pb::LeaseKeepAliveRequest { id };
    t.call("6.10 a lease", grant(630, 100)).await;
    let mut stream = t.open(KEEP_ALIVE, &[]);
    stream.send(ask(630)).await;
    t.next("6.10 the full time", &mut stream).await;
    stream.send(ask(631)).await;
    t.next("6.9 unknown", &mut stream).await;
    stream.send(ask(0)).await;
    t.next("6.9 zero", &mut stream).await;
    for id in [630, 631, 630] {
        stream.send(ask(id)).await;
    }
    for _ in 0..3 {
        t.next("6.9 in order", &mut stream).await;
    }
    t.call("6.10 revoked", revoke(630)).await;
    stream.send(ask(630)).await;
    t.next("6.9 revoked", &mut stream).await;
    t.quiet("6.9 nothing unasked", &mut stream).await;
    stream.half_close();
    t.next("6.9 the client's end is the end", &mut stream).await;
}

async fn lists(t: &mut Trial) {
    t.call("6.18 none", pb::LeaseLeasesRequest {}).await;
    for (id, ttl) in [(641, 3000), (642, 1000), (643, 2000)] {
        t.call("6.18 leases of different lengths", grant(id, ttl)).await;
    }
    t.call("6.18 soonest first", pb::LeaseLeasesRequest {}).await;
    t.call("6.16 keys", put_leased("l/x", "", 642)).await;
    t.call("6.16 its keys", time_to_live(642)).await;
    t.call("6.16 unless unasked", with(time_to_live(642), |r| r.keys = false)).await;
    t.call("6.15 unknown", time_to_live(649)).await;
    t.call("6.15 zero", time_to_live(0)).await;
    for id in [641, 642, 643] {
        t.call("6.18 away", revoke(id)).await;
    }
}

async fn expiry(t: &mut Trial) {
    t.call("6.19 a short lease", grant(650, 2)).await;
    t.call("6.19 a key on it", put_leased("l/short", "v", 650)).await;
    t.call("6.19 and one it loses", put_leased("l/kept", "v", 650)).await;
    t.call("6.8 lost", put("l/kept", "v")).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    t.call("6.19 the key went with it", range("l/", "l0")).await;
    t.call("6.15 the lease is gone", time_to_live(650)).await;
    t.call("6.6 nothing to revoke", revoke(650)).await;
}
