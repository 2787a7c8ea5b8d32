//! Cluster, maintenance, compaction, alarms, and what is checked before any handler.

use revd_api::etcdserverpb as pb;
use tonic::Code;

use crate::ops;
use crate::requests::{
    Rpc, compact, delete, grant, put, put_leased, range, revoke, then, time_to_live, with,
};
use crate::trial::Trial;

/// All cases that leave the store as it is.
pub async fn run(t: &mut Trial) {
    members(t).await;
    status(t).await;
    hashes(t).await;
    leadership(t).await;
    downgrades(t).await;
    users(t).await;
    before_any_handler(t).await;
}

async fn members(t: &mut Trial) {
    let list = pb::MemberListRequest::default();
    let both = t.call("9.15 members", list).await;
    t.call("9.15 linearizable", pb::MemberListRequest { linearizable: true }).await;
    let fields = both.etcd.fields();
    let own: u64 = fields["members[0].ID"].parse().unwrap();
    let add = |urls: &[&str]| {
        with(pb::MemberAddRequest::default(), |r| {
            r.peer_urls = urls.iter().map(|&url| url.to_owned()).collect();
        })
    };
    for (case, urls) in [
        ("no URL", &[][..]),
        ("no scheme", &["127.0.0.1:9999"]),
        ("another scheme", &["ftp://127.0.0.1:9999"]),
        ("no port", &["http://127.0.0.1"]),
        ("a path", &["http://127.0.0.1:9999/x"]),
        ("no URL at all", &["%%%"]),
        ("one good, one bad", &["http://127.0.0.1:9999", "http://127.0.0.1"]),
    ] {
        t.call(&format!("9.1 {case}"), add(urls)).await;
    }
    t.call("9.2 a URL in use", add(&["http://127.0.0.1:2380"])).await;
    t.call("9.9 remove an unknown member", pb::MemberRemoveRequest { id: 99 }).await;
    t.call("9.7 remove the last member", pb::MemberRemoveRequest { id: own }).await;
    let update = |id| {
        with(pb::MemberUpdateRequest::default(), |r| {
            r.id = id;
            r.peer_urls = vec!["http://127.0.0.1:2380".to_owned()];
        })
    };
    t.call("9.9 update an unknown member", update(99)).await;
    t.call("9.10 update to the URLs it has", update(own)).await;
    t.call("9.9 promote an unknown member", pb::MemberPromoteRequest { id: 99 }).await;
    t.call("9.12 promote a voter", pb::MemberPromoteRequest { id: own }).await;
    t.call("9.15 nothing has changed", list).await;
}

async fn status(t: &mut Trial) {
    t.call("7.25 status", pb::StatusRequest {}).await;
    t.call("7.22 defragment", pb::DefragmentRequest {}).await;
    t.call("7.22 everything is still there", range("\0", "\0")).await;
}

async fn hashes(t: &mut Trial) {
    let present = t.call("7.17 the present", range("none", "")).await.revision();
    for revision in [0, present, present - 1, present - 10, 1, present + 1, -1] {
        let case = format!("7.17 hash at the present {:+}", revision - present);
        t.call(&case, pb::HashKvRequest { revision }).await;
    }
    t.call("7.21 hash of everything", pb::HashRequest {}).await;
}

async fn leadership(t: &mut Trial) {
    let both = t.call("12.19 who leads", pb::StatusRequest {}).await;
    let own: u64 = both.etcd.fields()["leader"].parse().unwrap();
    t.call("9.21 to itself", pb::MoveLeaderRequest { target_id: own }).await;
    t.call("9.21 to nobody", pb::MoveLeaderRequest { target_id: 0 }).await;
    t.call("9.21 to an unknown member", pb::MoveLeaderRequest { target_id: 99 }).await;
}

async fn downgrades(t: &mut Trial) {
    let ask = |action, version: &str| pb::DowngradeRequest { action, version: version.to_owned() };
    t.call("9.50 validate", ask(0, "3.6")).await;
    t.call("9.50 validate with a patch", ask(0, "3.6.0")).await;
    t.call("9.50 not one minor below", ask(0, "3.5")).await;
    t.call("9.50 bad text", ask(0, "three")).await;
    t.call("9.50 enable with bad text", ask(1, "")).await;
    t.call("9.50 enable a wrong target", ask(1, "3.7")).await;
    t.call("9.51 cancel nothing", ask(2, "")).await;
    t.call("9.51 unknown action", ask(9, "3.6")).await;
}

async fn users(t: &mut Trial) {
    let name = || "nobody".to_owned();
    t.call("8.6 status", pb::AuthStatusRequest {}).await;
    t.call("8.5 disable when disabled", pb::AuthDisableRequest {}).await;
    t.call("8.2 enable without root", pb::AuthEnableRequest {}).await;
    let login = pb::AuthenticateRequest { name: name(), password: String::new() };
    t.call("8.19 log in with auth off", login).await;
    t.call("8.8 a user without name", pb::AuthUserAddRequest::default()).await;
    let long = with(pb::AuthUserAddRequest::default(), |r| r.password = "x".repeat(73));
    t.call("8.8 a long password before the name", long).await;
    t.call("8.8 unknown user", pb::AuthUserGetRequest { name: name() }).await;
    t.call("8.8 delete an unknown user", pb::AuthUserDeleteRequest { name: name() }).await;
    let change = with(pb::AuthUserChangePasswordRequest::default(), |r| {
        r.name = name();
        r.password = "p".to_owned();
    });
    t.call("8.8 another password for an unknown user", change).await;
    let grant = pb::AuthUserGrantRoleRequest { user: name(), role: name() };
    t.call("8.8 a role for an unknown user", grant).await;
    let revoke = pb::AuthUserRevokeRoleRequest { name: name(), role: name() };
    t.call("8.9 a role from an unknown user", revoke).await;
    t.call("8.18 no users", pb::AuthUserListRequest {}).await;
    t.call("8.18 no roles", pb::AuthRoleListRequest {}).await;
    t.call("8.8 a role without name", pb::AuthRoleAddRequest::default()).await;
    t.call("8.8 unknown role", pb::AuthRoleGetRequest { role: name() }).await;
    t.call("8.15 root is no role yet", pb::AuthRoleGetRequest { role: "root".to_owned() }).await;
    t.call("8.8 delete an unknown role", pb::AuthRoleDeleteRequest { role: name() }).await;
    let permission = |key: &'static str, end: &'static str| revd_api::authpb::Permission {
        perm_type: 2,
        key: key.into(),
        range_end: end.into(),
    };
    let permit = |perm| pb::AuthRoleGrantPermissionRequest { name: name(), perm };
    t.call("8.8 permit an unknown role", permit(Some(permission("a", "b")))).await;
    t.call("8.11 permit without a key", permit(Some(permission("", "b")))).await;
    t.call("8.11 permit an empty range", permit(Some(permission("b", "a")))).await;
    let refusal = (Code::InvalidArgument, "etcdserver: permission not given");
    t.alone("8.11 permit nothing", permit(None), &[], refusal).await;
    let forbid = pb::AuthRoleRevokePermissionRequest { role: name(), ..<_>::default() };
    t.call("8.10 forbid an unknown role", forbid).await;
}

async fn before_any_handler(t: &mut Trial) {
    for (case, method) in [
        ("an unknown method", "etcdserverpb.KV/Nothing"),
        ("an unknown service", "etcdserverpb.Nothing/Range"),
        ("an unknown package", "nothing.KV/Range"),
    ] {
        t.raw(case, method, Vec::new(), &[]).await;
    }
    let range_method = pb::RangeRequest::METHOD;
    t.raw("bytes that are no message", range_method, vec![0xff; 9], &[]).await;
    t.raw("a field that is cut off", range_method, vec![0x0a, 9, b'a'], &[]).await;
    t.raw("a key of the wrong type", range_method, vec![0x08, 1], &[]).await;
    t.raw("an unknown field is passed over", range_method, vec![0x0a, 1, b'a', 0x98, 6, 1], &[])
        .await;
    let key = || range("a", "");
    t.call_with("9.32 there is a leader", key(), &[("hasleader", b"true")]).await;
    t.call_with("9.34 a version", key(), &[("client-api-version", b"3.7")]).await;
    let no_text: &[(&str, &[u8])] = &[("client-api-version", b"3.\xff")];
    let refusal = (Code::InvalidArgument, "etcdserver: invalid client api version");
    t.alone("9.34 no text", key(), no_text, refusal).await;
    t.alone("9.34 no text for status", pb::StatusRequest {}, no_text, refusal).await;
    t.call_with("8.5 a token while auth is off", key(), &[("token", b"nonsense")]).await;
    let leader = "\"leader\" field must be provided";
    for method in ["v3electionpb.Election/Proclaim", "v3electionpb.Election/Resign"] {
        t.raw(&format!("11.14 {leader}"), method, Vec::new(), &[]).await;
    }
    let health = "grpc.health.v1.Health/Check";
    t.raw("the server's health", health, Vec::new(), &[]).await;
    t.raw("an unknown service's health", health, b"\x0a\x01x".to_vec(), &[]).await;
}

/// Messages that end a stream.
pub async fn broken_streams(t: &mut Trial) {
    let too_large = crate::requests::watch(vec![b'k'; (1_572_864 + 524_288) as usize], "");
    let too_large = prost::Message::encode_to_vec(&crate::requests::create(too_large, |_| {}));
    for method in ["etcdserverpb.Watch/Watch", "etcdserverpb.Lease/LeaseKeepAlive"] {
        for (case, message) in [
            ("bytes that are no message", vec![0xff; 9]),
            ("a message that is too large", too_large.clone()),
        ] {
            let mut stream = t.open(method, &[("hasleader", b"true")]);
            stream.send_raw(message).await;
            t.next(case, &mut stream).await;
        }
    }
}

/// Compactions of a store that has never been compacted, and after.
pub async fn compactions(t: &mut Trial) {
    let present = t.call("7.1 the present", range("none", "")).await.revision();
    t.call("7.1 in the future", compact(present + 1)).await;
    t.call("7.2 a negative revision", compact(-1)).await;
    let logical = |revision| pb::CompactionRequest { revision, physical: false };
    t.call("7.2 zero succeeds once", logical(0)).await;
    t.call("7.2 and not again", logical(0)).await;
    t.call("7.1 some way up", compact(5)).await;
    t.call("7.1 the same again", compact(5)).await;
    t.call("7.1 below", compact(4)).await;
    t.call("7.1 physical is waited for also then", compact(3)).await;
    t.call("7.17 hash with a floor", pb::HashKvRequest { revision: 0 }).await;
    for revision in [4, 5, 6, present] {
        t.call(&format!("7.18 hash at {revision}"), pb::HashKvRequest { revision }).await;
    }
    t.call("7.9 to the present", compact(present)).await;
    t.call("7.15 hash of what is left", pb::HashKvRequest { revision: 0 }).await;
    t.call("7.1 changes go on", put("z", "1")).await;
    t.call("7.15 hash above the floor", pb::HashKvRequest { revision: 0 }).await;
}

/// Alarms, raised and cleared by a client.
pub async fn alarms(t: &mut Trial) {
    let both = t.call("12.19 who leads", pb::StatusRequest {}).await;
    let own: u64 = both.etcd.fields()["leader"].parse().unwrap();
    let ask = |action, member_id, alarm| pb::AlarmRequest { action, member_id, alarm };
    t.call("7.34 none", ask(0, 0, 0)).await;
    t.call("7.35 clear what does not stand", ask(2, own, 1)).await;
    t.call("6.28 a lease for later", grant(901, 600)).await;
    t.call("6.28 a key for later", put_leased("al/a", "1", 901)).await;

    t.call("7.36 raise NOSPACE", ask(1, own, 1)).await;
    t.call("7.36 raise it again", ask(1, own, 1)).await;
    t.call("7.34 it stands", ask(0, 0, 0)).await;
    t.call("7.34 the member is ignored", ask(0, 99, 1)).await;
    t.call("7.34 of another type", ask(0, 0, 2)).await;
    t.call("7.25 status tells", pb::StatusRequest {}).await;
    changes(t, "7.31 NOSPACE").await;
    t.call("7.35 another member's", ask(2, 99, 1)).await;
    t.call("7.35 cleared", ask(2, own, 1)).await;
    t.call("7.32 puts go on", put("al/a", "2")).await;

    t.call("7.37 raise CORRUPT", ask(1, 7, 2)).await;
    t.call("7.34 it stands", ask(0, 0, 0)).await;
    t.call("7.25 status tells", pb::StatusRequest {}).await;
    changes(t, "7.37 CORRUPT").await;
    t.call("7.35 cleared", ask(2, 7, 2)).await;

    // etcd 3.4 obeys only the last one raised, and none after the first is cleared.
    t.call("7.39 NOSPACE", ask(1, own, 1)).await;
    t.call("7.39 and CORRUPT", ask(1, 7, 2)).await;
    changes(t, "7.39 CORRUPT wins").await;
    t.call("7.34 one of both", ask(0, 0, 1)).await;
    t.call("7.34 the other", ask(0, 0, 2)).await;
    t.call("7.35 clear one", ask(2, own, 1)).await;
    t.call("7.35 clear the other", ask(2, 7, 2)).await;
    t.call("7.34 none again", ask(0, 0, 0)).await;
    t.call("7.32 all goes on", delete("al/", "al0")).await;
    t.call("6.28 away", revoke(901)).await;
    let refusal = (Code::Unknown, "etcdserver: unknown method");
    t.alone("7.36 an action without meaning", ask(9, own, 1), &[], refusal).await;
    t.call("7.36 raise nothing", ask(1, own, 0)).await;
    t.call("7.36 nothing stands", ask(0, 0, 0)).await;
}

/// What an alarm refuses and what it lets through.
async fn changes(t: &mut Trial, alarm: &str) {
    let delete_only = || then(ops![delete("al/none", "")]);
    t.call(&format!("{alarm}: put"), put("al/b", "1")).await;
    t.call(&format!("{alarm}: txn"), then(ops![put("al/b", "1")])).await;
    let untaken = with(then(ops![]), |r| r.failure = ops![put("al/b", "1")]);
    t.call(&format!("{alarm}: txn, branch not taken"), untaken).await;
    t.call(&format!("{alarm}: txn that deletes"), delete_only()).await;
    t.call(&format!("{alarm}: txn that reads"), then(ops![range("al/a", "")])).await;
    t.call(&format!("{alarm}: delete"), delete("al/none", "")).await;
    t.call(&format!("{alarm}: range"), range("al/", "al0")).await;
    t.call(&format!("{alarm}: grant"), grant(902, 600)).await;
    t.call(&format!("{alarm}: grant an id in use"), grant(901, 600)).await;
    t.call(&format!("{alarm}: revoke"), revoke(903)).await;
    t.call(&format!("{alarm}: time to live"), time_to_live(901)).await;
    t.call(&format!("{alarm}: compact"), compact(i64::MAX)).await;
    t.call(&format!("{alarm}: a put without key"), put("", "")).await;
}
