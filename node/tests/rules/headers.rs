//! Group 1: the header of every call that a member without users answers.

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::auth_client::AuthClient;
use revd_api::etcdserverpb::cluster_client::ClusterClient;
use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::lease_client::LeaseClient;
use revd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use revd_api::etcdserverpb::watch_client::WatchClient;
use revd_api::etcdserverpb::watch_request::RequestUnion;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::ask::{all, compact, delete, put, put_op, success};
use crate::support::{Server, scratch};

/// What all headers of the server must say, the revision apart.
struct Expected {
    channel: Channel,
    identity: pb::ResponseHeader,
}

impl Expected {
    /// Checks a header with the revision at that time.
    #[track_caller]
    fn at(&self, revision: i64, header: Option<pb::ResponseHeader>) {
        assert_eq!(header, Some(pb::ResponseHeader { revision, ..self.identity }));
    }
}

/// The header of an answer.
macro_rules! header {
    ($call:expr) => {
        $call.await.unwrap().into_inner().header
    };
}

#[tokio::test]
async fn rule_1_15_1_19_1_20_the_header_of_every_call() {
    let dir = scratch();
    let mut server = Server::start(dir.path());
    let channel = server.connect().await;
    let mut cluster = ClusterClient::new(channel.clone());
    let members = cluster.member_list(pb::MemberListRequest::default()).await.unwrap().into_inner();
    let status = MaintenanceClient::new(channel.clone()).status(pb::StatusRequest {}).await;
    let status = status.unwrap().into_inner();
    let identity = pb::ResponseHeader {
        cluster_id: revd::bootstrap::cluster_id(&[members.members[0].id]),
        member_id: members.members[0].id,
        revision: 0,
        raft_term: status.raft_term,
    };
    assert!(identity.member_id != 0 && identity.raft_term > 0);
    let expected = Expected { channel, identity };
    // No revision is left at zero although nothing was ever written.
    expected.at(1, status.header);
    unchanging(&expected, 1).await;
    keys(&expected).await;
    leases(&expected).await;
    watches(&expected).await;
    unchanging(&expected, 9).await;
}

/// Calls that leave the revision as it is.
async fn unchanging(expected: &Expected, revision: i64) {
    let mut maintenance = MaintenanceClient::new(expected.channel.clone());
    let at = |header| expected.at(revision, header);
    at(header!(maintenance.status(pb::StatusRequest {})));
    at(header!(maintenance.alarm(pb::AlarmRequest::default())));
    at(header!(maintenance.hash(pb::HashRequest {})));
    at(header!(maintenance.hash_kv(pb::HashKvRequest::default())));
    let version = "3.6.0".to_owned();
    at(header!(maintenance.downgrade(pb::DowngradeRequest { action: 0, version })));
    // These have none (rule 1.20).
    assert_eq!(header!(maintenance.defragment(pb::DefragmentRequest {})), None);
    let target_id = expected.identity.member_id;
    assert_eq!(header!(maintenance.move_leader(pb::MoveLeaderRequest { target_id })), None);

    let mut auth = AuthClient::new(expected.channel.clone());
    at(header!(auth.auth_status(pb::AuthStatusRequest {})));
    at(header!(auth.auth_disable(pb::AuthDisableRequest {})));
    at(header!(auth.user_list(pb::AuthUserListRequest {})));
    at(header!(auth.role_list(pb::AuthRoleListRequest {})));

    // And these a revision of zero.
    let mut cluster = ClusterClient::new(expected.channel.clone());
    for linearizable in [false, true] {
        expected.at(0, header!(cluster.member_list(pb::MemberListRequest { linearizable })));
    }
    let members = cluster.member_list(pb::MemberListRequest::default()).await.unwrap();
    let pb::Member { id, peer_urls, .. } = members.into_inner().members[0].clone();
    expected.at(0, header!(cluster.member_update(pb::MemberUpdateRequest { id, peer_urls })));
}

/// From revision 1 to 4.
async fn keys(expected: &Expected) {
    let mut kv = KvClient::new(expected.channel.clone());
    expected.at(1, header!(kv.range(all())));
    expected.at(1, header!(kv.delete_range(delete("a"))));
    expected.at(1, header!(kv.txn(pb::TxnRequest::default())));
    expected.at(2, header!(kv.put(put("a", ""))));
    expected.at(3, header!(kv.txn(success(vec![put_op("a", "1"), put_op("b", "")]))));
    expected.at(4, header!(kv.delete_range(delete("b"))));
    expected.at(4, header!(kv.range(all())));
    expected.at(4, header!(kv.range(pb::RangeRequest { revision: 2, ..all() })));
    expected.at(4, header!(kv.compact(compact(3))));
    let mut stream = kv.range_stream(all()).await.unwrap().into_inner();
    let last = stream.message().await.unwrap().unwrap();
    expected.at(4, last.range_response.unwrap().header);
    assert_eq!(stream.message().await.unwrap(), None);
}

/// From revision 4 to 6.
async fn leases(expected: &Expected) {
    let mut lease = LeaseClient::new(expected.channel.clone());
    expected.at(4, header!(lease.lease_grant(pb::LeaseGrantRequest { id: 7, ttl: 1000 })));
    let attached = pb::PutRequest { lease: 7, ..put("c", "") };
    let mut kv = KvClient::new(expected.channel.clone());
    expected.at(5, header!(kv.put(attached)));
    for id in [7, 8] {
        let request = pb::LeaseTimeToLiveRequest { id, keys: true };
        expected.at(5, header!(lease.lease_time_to_live(request)));
        let request = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
        let mut renewals = lease.lease_keep_alive(request).await.unwrap().into_inner();
        expected.at(5, renewals.message().await.unwrap().unwrap().header);
    }
    expected.at(5, header!(lease.lease_leases(pb::LeaseLeasesRequest {})));
    expected.at(6, header!(lease.lease_revoke(pb::LeaseRevokeRequest { id: 7 })));
}

/// From revision 6 to 9.
async fn watches(expected: &Expected) {
    let mut kv = KvClient::new(expected.channel.clone());
    let (requests, stream) = tokio::sync::mpsc::channel(4);
    let mut watch = WatchClient::new(expected.channel.clone());
    let answers = watch.watch(ReceiverStream::new(stream));
    let send = |union| requests.send(pb::WatchRequest { request_union: Some(union) });
    let create = |key: &str, start_revision| {
        let key = key.to_owned().into();
        RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key,
            start_revision,
            ..Default::default()
        })
    };
    send(create("w", 0)).await.unwrap();
    let mut answers = answers.await.unwrap().into_inner();
    let mut next = async || answers.message().await.unwrap().unwrap();
    expected.at(6, next().await.header);
    expected.at(7, header!(kv.put(put("w", "1"))));
    // An event comes with the revision of its own.
    expected.at(7, next().await.header);
    expected.at(8, header!(kv.put(put("x", ""))));
    send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await.unwrap();
    expected.at(8, next().await.header);
    send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 0 })).await.unwrap();
    expected.at(8, next().await.header);

    // What compaction cancels has the revision zero (rule 1.20).
    expected.at(9, header!(kv.put(put("w", "2"))));
    expected.at(9, header!(kv.compact(compact(9))));
    send(create("w", 2)).await.unwrap();
    expected.at(9, next().await.header);
    let canceled = next().await;
    assert_eq!((canceled.canceled, canceled.compact_revision), (true, 9));
    expected.at(0, canceled.header);
}
