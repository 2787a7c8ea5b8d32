//! The real server on a small file system that fills up, and is emptied again.
//!
//! It makes a file system in a file and mounts it, for which it must be root; without that it is
//! skipped, with a message.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::{Duration, Instant};

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::kv_client::KvClient;
use revd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use support::disk::SmallDisk;
use support::{Server, scratch};
use tonic::Code;
use tonic::transport::Channel;

/// How long room may take to come back.
const LIMIT: Duration = Duration::from_secs(60);

async fn put(kv: &mut KvClient<Channel>, key: String, len: usize) -> Result<(), tonic::Status> {
    let value = vec![b'v'; len].into();
    let put = pb::PutRequest { key: key.into_bytes().into(), value, ..Default::default() };
    kv.put(put).await.map(drop)
}

async fn alarms(channel: &Channel) -> Vec<pb::AlarmMember> {
    let get = pb::AlarmRequest::default();
    MaintenanceClient::new(channel.clone()).alarm(get).await.unwrap().into_inner().alarms
}

fn everything() -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() }
}

#[tokio::test]
async fn a_full_disk_refuses_growth_and_nothing_else() {
    let dir = scratch();
    let Some(disk) = SmallDisk::new(dir.path(), 300) else { return };
    let mut server = Server::start(disk.path());
    let channel = server.connect().await;
    let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);

    // Full, and said so by the alarm.
    let mut written = 0;
    let refusal = loop {
        match put(&mut kv, format!("k{written:05}"), 300_000).await {
            Ok(()) => written += 1,
            Err(status) => break status,
        }
        assert!(written < 3_000, "300 MB are never full");
    };
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");
    assert_eq!(refusal.message(), "etcdserver: mvcc: database space exceeded");
    let standing = alarms(&channel).await;
    assert_eq!(standing.len(), 1, "{standing:?}");
    assert_eq!(standing[0].alarm, pb::AlarmType::Nospace as i32);
    assert!(server.is_alive());

    // Reads, a restart, deletions and compaction go on.
    let count = pb::RangeRequest {
        key: "k".into(),
        range_end: "l".into(),
        count_only: true,
        ..Default::default()
    };
    assert_eq!(kv.range(count.clone()).await.unwrap().into_inner().count, written);
    server.kill();
    let mut server = Server::start(disk.path());
    let channel = server.connect().await;
    let mut kv = KvClient::new(channel.clone());
    assert_eq!(kv.range(count.clone()).await.unwrap().into_inner().count, written);
    let still = put(&mut kv, "k".to_owned(), 10).await.unwrap_err();
    assert_eq!(still.code(), Code::ResourceExhausted, "the alarm stands after a restart");
    let deleted = kv.delete_range(everything()).await.unwrap().into_inner();
    assert_eq!(deleted.deleted, written);
    let revision = deleted.header.unwrap().revision;
    let compact = pb::CompactionRequest { revision, physical: true };
    kv.compact(compact).await.unwrap();

    // The alarm is the operator's to clear, if a minute is too long; then there is room.
    let disarm = pb::AlarmRequest {
        action: pb::alarm_request::AlarmAction::Deactivate as i32,
        member_id: standing[0].member_id,
        alarm: pb::AlarmType::Nospace as i32,
    };
    MaintenanceClient::new(channel.clone()).alarm(disarm).await.unwrap();
    let start = Instant::now();
    let mut again = 0;
    // Not all of it: the tree holds back room by its largest checkpoint, which was a large one.
    while again < written / 3 {
        match put(&mut kv, format!("k{again:05}"), 300_000).await {
            Ok(()) => again += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                assert!(start.elapsed() < LIMIT, "room does not come back: {again} of {written}");
                // Raised anew, if what was deleted was not free yet.
                MaintenanceClient::new(channel.clone()).alarm(disarm).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    assert_eq!(kv.range(count).await.unwrap().into_inner().count, again);
    server.terminate();
}
