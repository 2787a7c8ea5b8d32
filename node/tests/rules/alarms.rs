//! Group 7: quota and alarms.

use revd::config::Config;
use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::auth_client::AuthClient;
use revd_api::etcdserverpb::cluster_client::ClusterClient;
use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::lease_client::LeaseClient;
use revd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use revd_api::etcdserverpb::request_op::Request;
use revd_api::etcdserverpb::watch_client::WatchClient;
use revd_api::etcdserverpb::watch_request::RequestUnion;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::ask::{
    NO_SPACE, all, compact, delete, op, put, put_op, range, range_op, refused, success,
};
use crate::member::Member;
use crate::support::{Server, scratch};

const CORRUPT: (Code, &str) = (Code::DataLoss, "etcdserver: corrupt cluster");

const GET: i32 = pb::alarm_request::AlarmAction::Get as i32;
const RAISE: i32 = pb::alarm_request::AlarmAction::Activate as i32;
const CLEAR: i32 = pb::alarm_request::AlarmAction::Deactivate as i32;

const ANY: i32 = pb::AlarmType::None as i32;
const SPACE: i32 = pb::AlarmType::Nospace as i32;
const DAMAGE: i32 = pb::AlarmType::Corrupt as i32;

/// An alarm: the member that it is about, and the type.
type Alarm = (u64, i32);

/// The clients of one server.
struct Clients {
    channel: Channel,
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
    /// The id of the server's member.
    own: u64,
}

impl Clients {
    async fn of(server: &mut Server) -> Self {
        let channel = server.connect().await;
        let mut clients = Self {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            lease: LeaseClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone()),
            channel,
            own: 0,
        };
        clients.own = clients.status().await.header.unwrap().member_id;
        clients
    }

    async fn status(&mut self) -> pb::StatusResponse {
        self.maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner()
    }

    /// The alarms in the answer.
    async fn alarm(&mut self, action: i32, (member_id, alarm): Alarm) -> Vec<Alarm> {
        let request = pb::AlarmRequest { action, member_id, alarm };
        let answer = self.maintenance.alarm(request).await.unwrap().into_inner();
        answer.alarms.iter().map(|standing| (standing.member_id, standing.alarm)).collect()
    }

    async fn put(&mut self, key: &str, value: &str) -> Result<(), Status> {
        self.kv.put(put(key, value)).await.map(drop)
    }

    async fn txn(&mut self, txn: pb::TxnRequest) -> Result<(), Status> {
        self.kv.txn(txn).await.map(drop)
    }

    async fn grant(&mut self, id: i64) -> Result<(), Status> {
        self.lease.lease_grant(pb::LeaseGrantRequest { id, ttl: 600 }).await.map(drop)
    }

    async fn revoke(&mut self, id: i64) -> Result<(), Status> {
        self.lease.lease_revoke(pb::LeaseRevokeRequest { id }).await.map(drop)
    }

    /// What goes on under every alarm.
    async fn reads_and_members(&mut self) {
        let serializable = pb::RangeRequest { serializable: true, ..all() };
        for range in [all(), serializable.clone()] {
            self.kv.range(range).await.unwrap();
        }
        self.txn(success(vec![range_op(all())])).await.unwrap();
        self.txn(success(vec![range_op(serializable)])).await.unwrap();
        self.maintenance.hash_kv(pb::HashKvRequest::default()).await.unwrap();
        self.maintenance.defragment(pb::DefragmentRequest {}).await.unwrap();
        let mut auth = AuthClient::new(self.channel.clone());
        auth.auth_disable(pb::AuthDisableRequest {}).await.unwrap();
        let mut cluster = ClusterClient::new(self.channel.clone());
        let list = pb::MemberListRequest { linearizable: true };
        let members = cluster.member_list(list).await.unwrap().into_inner().members;
        let pb::Member { id, peer_urls, .. } = members[0].clone();
        cluster.member_update(pb::MemberUpdateRequest { id, peer_urls }).await.unwrap();
    }

    /// What needs room.
    async fn growth_is_refused(&mut self, refusal: (Code, &str)) {
        refused(self.put("a", "").await, refusal);
        refused(self.txn(success(vec![put_op("a", "")])).await, refusal);
        let untaken = pb::TxnRequest { failure: vec![put_op("a", "")], ..Default::default() };
        refused(self.txn(untaken).await, refusal);
        refused(self.grant(77).await, refusal);
    }

    /// The changes that need none.
    async fn other_changes_are_refused(&mut self, refusal: (Code, &str)) {
        refused(self.kv.delete_range(delete("a")).await, refusal);
        refused(self.txn(success(vec![delete_op("a")])).await, refusal);
        refused(self.kv.compact(compact(2)).await, refusal);
        refused(self.revoke(5).await, refusal);
    }
}

fn delete_op(key: &str) -> pb::RequestOp {
    op(Request::RequestDeleteRange(delete(key)))
}

fn large_value() -> String {
    "v".repeat(1 << 20)
}

const QUOTA: i64 = 12 << 20;

/// A server with a quota of its own.
fn start_with_quota(dir: &std::path::Path) -> Server {
    let revd = std::process::Command::new(env!("CARGO_BIN_EXE_revd"));
    Server::start_with(revd, dir, &[&format!("--quota-backend-bytes={QUOTA}")])
}

/// Puts until that is refused; returns how many puts were not. Each has its own key.
async fn fill(clients: &mut Clients) -> i64 {
    for n in 0..QUOTA >> 20 {
        let last = clients.status().await.raft_index;
        let Err(refusal) = clients.put(&format!("k{n:02}"), &large_value()).await else { continue };
        refused(Err::<(), _>(refusal), NO_SPACE);
        // In the log there are the alarm and this very question, and no put.
        assert_eq!(clients.alarm(GET, (0, ANY)).await, [(clients.own, SPACE)]);
        assert_eq!(clients.status().await.raft_index, last + 2);
        return n;
    }
    panic!("{QUOTA} bytes take as many in values");
}

#[tokio::test]
async fn rule_7_29_7_31_7_32_a_full_store_until_its_alarm_is_cleared() {
    let dir = scratch();
    let mut server = start_with_quota(dir.path());
    let mut clients = Clients::of(&mut server).await;
    assert_eq!(clients.status().await.db_size_quota, QUOTA);
    clients.grant(5).await.unwrap();
    let written = fill(&mut clients).await;
    assert!(written > 2, "{written}");
    let keys = range("k", "l");
    let found = clients.kv.range(pb::RangeRequest { count_only: true, ..keys.clone() }).await;
    assert_eq!(found.unwrap().into_inner().count, written, "what was refused is not there");

    clients.growth_is_refused(NO_SPACE).await;
    clients.reads_and_members().await;
    clients.txn(success(vec![delete_op("k00")])).await.unwrap();
    let rest = pb::DeleteRangeRequest {
        key: keys.key.clone(),
        range_end: keys.range_end.clone(),
        prev_kv: false,
    };
    let deleted = clients.kv.delete_range(rest).await.unwrap().into_inner();
    assert_eq!(deleted.deleted, written - 1);
    clients.revoke(5).await.unwrap();
    clients.kv.compact(compact(deleted.header.unwrap().revision)).await.unwrap();
    clients.maintenance.defragment(pb::DefragmentRequest {}).await.unwrap();
    // A freed page is free only when no root on disk needs it.
    while clients.status().await.db_size_in_use > QUOTA / 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    clients.growth_is_refused(NO_SPACE).await;

    let own = (clients.own, SPACE);
    assert_eq!(clients.alarm(CLEAR, own).await, [own]);
    clients.put("k", &large_value()).await.unwrap();
    clients.grant(5).await.unwrap();
    assert_eq!(clients.alarm(GET, (0, ANY)).await, []);
}

/// Puts that fit one by one and not together, all under way at once.
#[tokio::test]
async fn what_is_answered_with_a_space_error_is_never_written() {
    let mut config = Config::default();
    config.quota_backend_bytes = QUOTA;
    let member = Member::start_with(config).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..30 {
        let (mut kv, put) = (member.kv(), put(&format!("k{n:02}"), &large_value()));
        calls.spawn(async move { (format!("k{n:02}"), kv.put(put).await.map(drop)) });
    }
    let mut written = Vec::new();
    for (key, done) in calls.join_all().await {
        match done {
            Ok(()) => written.push(key),
            Err(status) => refused(Err::<(), _>(status), NO_SPACE),
        }
    }
    written.sort();
    assert!((3..12).contains(&written.len()), "{written:?}");
    let keys = pb::RangeRequest { keys_only: true, ..all() };
    let found = member.kv().range(keys).await.unwrap().into_inner();
    assert_eq!(found.count, written.len() as i64, "{written:?}");
}

#[tokio::test]
async fn rule_7_33_7_34_7_35_7_36_7_40_alarms_of_any_member_stand_until_cleared() {
    let dir = scratch();
    let mut server = Server::start(dir.path());
    let mut clients = Clients::of(&mut server).await;
    let own = (clients.own, SPACE);
    // Nobody knows which member holds the wrong data.
    let (nobody, stranger) = ((0, DAMAGE), (99, SPACE));
    for alarm in [own, own, nobody, stranger, nobody] {
        assert_eq!(clients.alarm(RAISE, alarm).await, [alarm]);
    }
    assert_eq!(clients.alarm(RAISE, (own.0, ANY)).await, []);

    server.kill();
    let mut server = Server::start(dir.path());
    let mut clients = Clients::of(&mut server).await;
    clients.growth_is_refused(CORRUPT).await;
    for member in [0, 99, 1234] {
        assert_eq!(clients.alarm(GET, (member, ANY)).await, [nobody, stranger, own]);
        assert_eq!(clients.alarm(GET, (member, SPACE)).await, [stranger, own]);
        assert_eq!(clients.alarm(GET, (member, DAMAGE)).await, [nobody]);
    }
    let texts = |alarms: &[(u64, &str)]| -> Vec<String> {
        alarms.iter().map(|(id, name)| format!("memberID:{id} alarm:{name} ")).collect()
    };
    let standing = [(0, "CORRUPT"), (99, "NOSPACE"), (own.0, "NOSPACE")];
    assert_eq!(clients.status().await.errors, texts(&standing));

    for alarm in [(0, SPACE), (own.0, DAMAGE), (99, DAMAGE), (0, ANY), (own.0, ANY)] {
        assert_eq!(clients.alarm(CLEAR, alarm).await, [], "{alarm:?}");
    }
    assert_eq!(clients.alarm(CLEAR, nobody).await, [nobody]);
    assert_eq!(clients.alarm(CLEAR, own).await, [own]);
    // Another member's is enough.
    clients.growth_is_refused(NO_SPACE).await;
    assert_eq!(clients.alarm(CLEAR, stranger).await, [stranger]);
    assert_eq!(clients.alarm(CLEAR, stranger).await, []);
    clients.put("a", "").await.unwrap();
    assert_eq!(clients.status().await.errors, texts(&[]));
}

#[tokio::test]
async fn rule_7_37_7_38_7_41_corruption_stops_changes_until_an_operator_clears_it() {
    let dir = scratch();
    let mut server = Server::start(dir.path());
    let mut clients = Clients::of(&mut server).await;
    clients.put("a", "1").await.unwrap();
    clients.grant(5).await.unwrap();
    let alarm = (clients.own, DAMAGE);
    assert_eq!(clients.alarm(RAISE, alarm).await, [alarm]);
    check_corrupt(&mut clients).await;

    server.kill();
    let mut server = Server::start(dir.path());
    let mut clients = Clients::of(&mut server).await;
    check_corrupt(&mut clients).await;
    assert_eq!(clients.alarm(CLEAR, alarm).await, [alarm]);
    clients.put("a", "2").await.unwrap();
    clients.kv.compact(compact(2)).await.unwrap();
    clients.revoke(5).await.unwrap();
}

/// Key `a` is at revision 2, and lease 5 is granted.
async fn check_corrupt(clients: &mut Clients) {
    clients.growth_is_refused(CORRUPT).await;
    clients.other_changes_are_refused(CORRUPT).await;
    clients.reads_and_members().await;
    let found = clients.kv.range(range("a", "")).await.unwrap().into_inner();
    assert_eq!((found.header.unwrap().revision, found.count), (2, 1));
    assert_eq!(clients.alarm(GET, (0, ANY)).await, [(clients.own, DAMAGE)]);

    let create =
        pb::WatchCreateRequest { key: "a".into(), start_revision: 1, ..Default::default() };
    let union = RequestUnion::CreateRequest(create);
    // A stream whose requests do not end: their end would end the answers.
    let (requests, stream) = tokio::sync::mpsc::channel(1);
    requests.send(pb::WatchRequest { request_union: Some(union) }).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let answers = WatchClient::new(clients.channel.clone()).watch(stream).await;
    let mut answers = answers.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().created);
    assert_eq!(answers.message().await.unwrap().unwrap().events.len(), 1);

    // Renewals are no changes.
    let request = tokio_stream::once(pb::LeaseKeepAliveRequest { id: 5 });
    let mut renewals = clients.lease.lease_keep_alive(request).await.unwrap().into_inner();
    assert_eq!(renewals.message().await.unwrap().unwrap().ttl, 600);
}

#[tokio::test]
async fn rule_7_39_corruption_is_told_first_but_for_the_quota_at_the_door() {
    for (quota, growth) in [(0, CORRUPT), (1, NO_SPACE)] {
        let mut config = Config::default();
        config.quota_backend_bytes = quota;
        let member = Member::start_with(config).await;
        for alarm in [SPACE, DAMAGE] {
            let request = pb::AlarmRequest { action: RAISE, member_id: 3, alarm };
            member.maintenance().alarm(request).await.unwrap();
        }
        refused(member.kv().put(put("a", "")).await, growth);
        refused(member.kv().txn(success(vec![put_op("a", "")])).await, growth);
        let grant = pb::LeaseGrantRequest { id: 5, ttl: 60 };
        refused(member.lease().lease_grant(grant).await, growth);
        refused(member.kv().delete_range(delete("a")).await, CORRUPT);
    }
}
