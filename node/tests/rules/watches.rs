//! Group 5: what a watch's stream does beside its watchers.

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use crate::ask::{NO_LEADER, refused};
use crate::member::Member;

type Requests = Sender<pb::WatchRequest>;

/// Opens a stream whose first request is sent already.
async fn open(
    member: &Member,
    first: Option<RequestUnion>,
    needs_leader: bool,
) -> Result<(Requests, Streaming<pb::WatchResponse>), Status> {
    let (requests, stream) = channel(8);
    requests.send(pb::WatchRequest { request_union: first }).await.unwrap();
    let mut request = Request::new(ReceiverStream::new(stream));
    if needs_leader {
        request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    }
    Ok((requests, member.watch().watch(request).await?.into_inner()))
}

fn create(key: &str, start_revision: i64) -> RequestUnion {
    let key = key.to_owned().into();
    RequestUnion::CreateRequest(pb::WatchCreateRequest {
        key,
        start_revision,
        ..Default::default()
    })
}

#[tokio::test]
async fn rule_5_16_a_request_without_content_is_passed_over() {
    let member = Member::start().await;
    let (requests, mut answers) = open(&member, None, false).await.unwrap();
    for union in [None, Some(create("a", 0)), None] {
        requests.send(pb::WatchRequest { request_union: union }).await.unwrap();
    }
    let created = answers.message().await.unwrap().unwrap();
    assert!(created.created && !created.canceled);
    assert_eq!(created.watch_id, 0, "what said nothing took no id");
    let revision = member.put("a", "1").await;
    let event = answers.message().await.unwrap().unwrap();
    assert_eq!((event.header.unwrap().revision, event.events.len()), (revision, 1));
}

#[tokio::test]
async fn rule_5_42_6_26_a_stream_that_needs_a_leader_is_refused_without() {
    let member = Member::start().await;
    open(&member, Some(create("a", 0)), true).await.unwrap();
    let member = member.restart_before_election().await;
    refused(open(&member, Some(create("a", 0)), true).await.map(drop), NO_LEADER);
    let (_renewals, stream) = channel(1);
    let mut request = Request::new(ReceiverStream::new(stream));
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    refused(member.lease().lease_keep_alive(request).await.map(drop), NO_LEADER);
}

#[tokio::test]
async fn rule_5_44_5_49_watches_are_served_locally_without_a_leader() {
    let member = Member::start().await;
    let revision = member.put("a", "1").await;
    member.maintenance().status(pb::StatusRequest {}).await.unwrap();
    let member = member.restart_before_election().await;
    // From the tree alone: what the log holds beyond it is not committed yet.
    let (_requests, mut answers) = open(&member, Some(create("a", revision)), false).await.unwrap();
    let created = answers.message().await.unwrap().unwrap();
    assert!(created.created && !created.canceled);
    assert!(created.header.unwrap().revision <= revision);
    member.gate.open();
    let event = answers.message().await.unwrap().unwrap();
    assert_eq!((event.header.unwrap().revision, event.events.len()), (revision, 1));
}
