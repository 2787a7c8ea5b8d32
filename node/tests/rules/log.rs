//! What goes through the log, seen by the index of its last entry.

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use revd_api::etcdserverpb::request_op::Request;
use tonic::transport::Channel;

use crate::ask::{
    COMPACTED, FUTURE, all, compact, delete, if_exists, op, put, put_op, range, range_op, refused,
    success,
};
use crate::support::{Server, scratch};

/// A server with key `a`, whose history is compacted up to revision 3.
struct Log {
    server: Server,
    kv: KvClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
    _dir: tempfile::TempDir,
}

impl Log {
    async fn start() -> Self {
        let dir = scratch();
        let mut server = Server::start(dir.path());
        let channel = server.connect().await;
        let mut kv = KvClient::new(channel.clone());
        for value in ["1", "2"] {
            kv.put(put("a", value)).await.unwrap();
        }
        kv.compact(compact(3)).await.unwrap();
        Self { server, kv, maintenance: MaintenanceClient::new(channel), _dir: dir }
    }

    async fn last(&mut self) -> u64 {
        let status = self.maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
        assert_eq!(status.raft_index, status.raft_applied_index);
        status.raft_index
    }
}

#[tokio::test]
async fn rule_2_22_reads_are_never_written_to_the_log() {
    let mut log = Log::start().await;
    let before = log.last().await;
    let serializable = || pb::RangeRequest { serializable: true, ..all() };
    for request in [
        all(),
        serializable(),
        pb::RangeRequest { revision: 3, ..all() },
        pb::RangeRequest { count_only: true, ..all() },
        range("missing", ""),
    ] {
        log.kv.range(request.clone()).await.unwrap();
        let mut stream = log.kv.range_stream(request).await.unwrap().into_inner();
        while stream.message().await.unwrap().is_some() {}
    }
    refused(log.kv.range(pb::RangeRequest { revision: 9, ..all() }).await, FUTURE);
    refused(log.kv.range(pb::RangeRequest { revision: 2, ..all() }).await, COMPACTED);
    for txn in [
        success(vec![range_op(all())]),
        success(vec![range_op(serializable())]),
        if_exists("a", vec![range_op(all())]),
        if_exists("missing", Vec::new()),
        pb::TxnRequest::default(),
    ] {
        log.kv.txn(txn).await.unwrap();
    }
    assert_eq!(log.last().await, before);
    assert!(log.server.is_alive());
}

#[tokio::test]
async fn rule_3_15_writes_go_through_the_log_even_if_they_change_nothing() {
    let mut log = Log::start().await;
    let mut last = log.last().await;
    let nested = op(Request::RequestTxn(pb::TxnRequest::default()));
    for txn in [
        if_exists("missing", vec![put_op("b", "")]),
        success(vec![op(Request::RequestDeleteRange(delete("missing")))]),
        success(vec![range_op(all()), nested]),
        pb::TxnRequest { failure: vec![put_op("b", "")], ..Default::default() },
    ] {
        let answer = log.kv.txn(txn.clone()).await.unwrap().into_inner();
        assert_eq!(answer.header.unwrap().revision, 3, "{txn:?}");
        assert_eq!(log.last().await, last + 1, "{txn:?}");
        last += 1;
    }
    let answer = log.kv.delete_range(delete("missing")).await.unwrap().into_inner();
    assert_eq!((answer.deleted, answer.header.unwrap().revision), (0, 3));
    assert_eq!(log.last().await, last + 1);
    // Refused when it is applied.
    let unleased = pb::PutRequest { lease: 9, ..put("a", "") };
    log.kv.put(unleased).await.unwrap_err();
    let absent = pb::PutRequest { ignore_value: true, ..put("missing", "") };
    log.kv.put(absent).await.unwrap_err();
    assert_eq!(log.last().await, last + 3);
    let answer = log.kv.range(all()).await.unwrap().into_inner();
    assert_eq!(answer.header.unwrap().revision, 3);
}
