//! Group 7: a server that compacts by itself.

use std::process::Command;
use std::time::Duration;

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::kv_client::KvClient;
use tonic::transport::Channel;

use crate::ask::{COMPACTED, compact, put, range, refused};
use crate::support::{Server, scratch};

/// A server that keeps the history of a second.
async fn start(dir: &std::path::Path) -> (Server, KvClient<Channel>) {
    let revd = Command::new(env!("CARGO_BIN_EXE_revd"));
    let mut server = Server::start_with(revd, dir, &["--auto-compaction-retention=1s"]);
    let kv = KvClient::new(server.connect().await);
    (server, kv)
}

async fn write(kv: &mut KvClient<Channel>) -> i64 {
    let done = kv.put(put("a", "")).await.unwrap().into_inner();
    done.header.unwrap().revision
}

#[tokio::test]
async fn rule_7_12_a_server_compacts_to_what_it_had_a_period_ago() {
    let dir = scratch();
    let (_server, mut kv) = start(dir.path()).await;
    let old = write(&mut kv).await;
    // It keeps on following the newest revision.
    for _ in 0..2 {
        let newest = write(&mut kv).await;
        let at = |revision| pb::RangeRequest { revision, ..range("a", "") };
        while kv.range(at(newest - 1)).await.is_ok() {
            // Without changes the current revision is the oldest note in the end.
            write(&mut kv).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        refused(kv.range(at(old)).await, COMPACTED);
    }
}

#[tokio::test]
async fn rule_7_14_what_was_compacted_already_counts_as_done() {
    let dir = scratch();
    let (server, mut kv) = start(dir.path()).await;
    let log = || std::fs::read_to_string(&server.log).unwrap();
    // Every note that falls due later has been compacted to meanwhile.
    while log().matches("completed auto periodic compaction").count() < 2 {
        let newest = write(&mut kv).await;
        kv.compact(compact(newest)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!log().contains("failed auto"), "{}", log());
}
