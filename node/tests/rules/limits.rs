//! Sizes of requests and answers, and the quota.

use std::process::Command;

use prost::Message;
use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::lease_client::LeaseClient;
use revd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::Code;

use crate::ask::{
    EMPTY_KEY, NO_SPACE, all, delete, op, put, put_op, range, range_op, refused, success,
};
use crate::support::{Server, scratch};

/// The default of `--max-request-bytes`, and what a message may have beyond it.
const MAX_REQUEST_BYTES: usize = 1_572_864;
const OVERHEAD_BYTES: usize = 524_288;

/// A put whose value is so many bytes below the largest request.
fn put_below_max(bytes: usize) -> pb::PutRequest {
    put("k", &"v".repeat(MAX_REQUEST_BYTES - bytes))
}

#[tokio::test]
async fn rule_3_16_3_17_2_25_sizes_of_messages() {
    let dir = scratch();
    let mut server = Server::start(dir.path());
    let channel = server.connect().await;
    let mut kv = KvClient::new(channel).max_decoding_message_size(usize::MAX);

    // Key, value and what the log adds must fit.
    kv.put(put_below_max(30)).await.unwrap();
    kv.txn(success(vec![put_op("t", &"v".repeat(MAX_REQUEST_BYTES - 60))])).await.unwrap();
    let too_large = (Code::InvalidArgument, "etcdserver: request is too large");
    refused(kv.put(put_below_max(20)).await, too_large);
    refused(kv.put(put_below_max(0)).await, too_large);
    refused(kv.txn(success(vec![op_of(put_below_max(20))])).await, too_large);

    // The largest message that is received, and one byte more.
    let max = MAX_REQUEST_BYTES + OVERHEAD_BYTES;
    let [largest, longer] = ["k", "kk"].map(|key| put(key, &"v".repeat(max - 7)));
    assert_eq!((largest.encoded_len(), longer.encoded_len()), (max, max + 1));
    refused(kv.put(largest).await, too_large);
    let text = "grpc: received message larger than max (2097153 vs. 2097152)";
    refused(kv.put(longer).await, (Code::ResourceExhausted, text));

    // An answer has no such limit.
    for n in 0..3 {
        kv.put(put(&format!("k{n}"), &"v".repeat(1 << 20))).await.unwrap();
    }
    let answer = kv.range(all()).await.unwrap().into_inner();
    assert!(answer.encoded_len() > 6 << 20, "{}", answer.encoded_len());
    assert_eq!((answer.kvs.iter().count(), answer.count, answer.more), (5, 5, false));
}

fn op_of(put: pb::PutRequest) -> pb::RequestOp {
    op(pb::request_op::Request::RequestPut(put))
}

#[tokio::test]
async fn rule_3_18_room_is_checked_before_the_fields() {
    let dir = scratch();
    let binary = Command::new(env!("CARGO_BIN_EXE_revd"));
    let mut server = Server::start_with(binary, dir.path(), &["--quota-backend-bytes=1"]);
    let channel = server.connect().await;
    let mut kv = KvClient::new(channel.clone());

    refused(kv.put(put("", "")).await, NO_SPACE);
    refused(kv.put(pb::PutRequest { ignore_value: true, ..put("", "v") }).await, NO_SPACE);
    refused(kv.put(put_below_max(0)).await, NO_SPACE);
    refused(kv.txn(success(vec![put_op("", "")])).await, NO_SPACE);
    refused(kv.txn(success(vec![put_op("a", ""); 129])).await, NO_SPACE);
    let grant = pb::LeaseGrantRequest { id: 0, ttl: i64::MAX };
    refused(LeaseClient::new(channel.clone()).lease_grant(grant).await, NO_SPACE);

    // What needs no room is checked as ever.
    refused(kv.delete_range(delete("")).await, EMPTY_KEY);
    refused(kv.txn(success(vec![range_op(range("", ""))])).await, EMPTY_KEY);
    kv.delete_range(delete("a")).await.unwrap();
    kv.range(all()).await.unwrap();

    let get = pb::AlarmRequest::default();
    let alarms = MaintenanceClient::new(channel).alarm(get).await.unwrap().into_inner();
    let kinds: Vec<i32> = alarms.alarms.iter().map(|standing| standing.alarm).collect();
    assert_eq!(kinds, [pb::AlarmType::Nospace as i32]);
}
