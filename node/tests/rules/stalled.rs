//! What a member answers while its core waits for the disk, or before its election.

use std::pin::Pin;

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::response_op::Response::ResponseRange;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};

use crate::ask::{
    EMPTY_KEY, FUTURE, NO_LEADER, SORT_OPTION, all, range, range_op, refused, success,
};
use crate::member::Member;

type Call<T> = Pin<Box<dyn Future<Output = Result<T, Status>>>>;

/// The call of a range.
fn read(member: &Member, request: pb::RangeRequest) -> Call<pb::RangeResponse> {
    let mut kv = member.kv();
    Box::pin(async move { Ok(kv.range(request).await?.into_inner()) })
}

fn serializable(request: pb::RangeRequest) -> pb::RangeRequest {
    pb::RangeRequest { serializable: true, ..request }
}

/// What `other` returns; until then `call` must have no answer.
async fn waits_for<T>(call: &mut Call<pb::RangeResponse>, other: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = call => panic!("the call did not wait: {done:?}"),
        done = other => done,
    }
}

/// Lets every task go as far as it can: there is one thread, and nothing comes from elsewhere.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn value(answer: &pb::RangeResponse) -> Vec<u8> {
    answer.kvs.iter().next().unwrap().unwrap().value.to_vec()
}

/// A call that asks for a leader.
fn with_leader<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    request
}

#[tokio::test]
async fn rule_2_20_reads_are_linearizable_unless_they_say_otherwise() {
    let member = Member::start().await;
    let revision = member.put("a", "old").await;
    let put = member.hold_up_put("a", "new").await;

    let at_revision = pb::RangeRequest { revision, ..range("a", "") };
    let mut now = read(&member, range("a", ""));
    let mut then = read(&member, at_revision.clone());
    for call in [&mut now, &mut then] {
        let local = waits_for(call, read(&member, serializable(range("a", "")))).await.unwrap();
        assert_eq!((value(&local), local.header.unwrap().revision), (b"old".to_vec(), revision));
    }
    let local = success(vec![range_op(serializable(at_revision))]);
    let local = member.kv().txn(local).await.unwrap().into_inner();
    let Some(ResponseRange(local)) = &local.responses[0].response else { panic!("{local:?}") };
    assert_eq!(value(local), b"old");

    member.gate.open();
    put.await.unwrap();
    let now = now.await.unwrap();
    assert_eq!((value(&now), now.header.unwrap().revision), (b"new".to_vec(), revision + 1));
    assert_eq!(value(&then.await.unwrap()), b"old");
}

#[tokio::test]
async fn rule_2_21_serializable_reads_need_no_leader() {
    let member = Member::start().await;
    let revision = member.put("a", "1").await;
    let member = member.restart_before_election().await;
    assert_eq!(member.handle.status().leader, 0);

    let mut linearizable = read(&member, range("a", ""));
    let local = read(&member, serializable(range("a", "")));
    let local = waits_for(&mut linearizable, local).await.unwrap();
    assert_eq!(value(&local), b"1");
    assert_eq!(local.header.unwrap().revision, member.handle.view().revision().0);
    assert_eq!(local.header.unwrap().revision, revision);

    member.gate.open();
    assert_eq!(value(&linearizable.await.unwrap()), b"1");
}

#[tokio::test]
async fn rule_1_16_headers_show_the_term_of_the_last_applied_entry() {
    let member = Member::start().await;
    member.put("a", "1").await;
    let before = member.kv().range(all()).await.unwrap().into_inner().header.unwrap().raft_term;

    // It stands for election in a new term, of which nothing is applied yet.
    let member = member.restart_before_election().await;
    let during = read(&member, serializable(all())).await.unwrap();
    assert_eq!(during.header.unwrap().raft_term, before);
    let status = member.maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.raft_term, status.header.unwrap().raft_term), (before, before));

    member.gate.open();
    let after = read(&member, all()).await.unwrap();
    assert_eq!(after.header.unwrap().raft_term, before + 1);
    let status = member.maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.raft_term, before + 1);
}

#[tokio::test]
async fn rule_2_23_fields_then_leader_then_revision() {
    let member = Member::start().await;
    let member = member.restart_before_election().await;

    // Fields first: no linearizable read could be answered now.
    let future = || pb::RangeRequest { revision: 100, ..all() };
    refused(read(&member, pb::RangeRequest { revision: 100, ..range("", "") }).await, EMPTY_KEY);
    for (sort_order, sort_target) in [(3, 0), (0, 5), (-1, 0), (0, -1)] {
        let request = pb::RangeRequest { sort_order, sort_target, ..future() };
        refused(read(&member, request).await, SORT_OPTION);
    }
    // The leader second, the revision third.
    let mut linearizable = read(&member, future());
    let local = waits_for(&mut linearizable, read(&member, serializable(future()))).await;
    refused(local, FUTURE);

    // Without a leader the read times out, whoever asks.
    let mut with_token = Request::new(future());
    with_token.metadata_mut().insert("token", "bad".parse().unwrap());
    tokio::time::pause();
    let timed_out = member.kv().range(with_token).await;
    tokio::time::resume();
    refused(timed_out, (Code::Unavailable, "etcdserver: request timed out"));

    member.gate.open();
    refused(read(&member, future()).await, FUTURE);
}

/// That learners refuse it takes several members.
#[tokio::test]
async fn rule_2_32_a_stream_that_needs_a_leader_is_refused_without() {
    let member = Member::start().await;
    let member = member.restart_before_election().await;
    let mut kv = member.kv();
    refused(kv.range(with_leader(serializable(all()))).await, NO_LEADER);
    let refusal = kv.range_stream(with_leader(serializable(all()))).await;
    refused(refusal.map(drop), NO_LEADER);
    let mut stream = kv.range_stream(serializable(all())).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();

    member.gate.open();
    let mut stream = kv.range_stream(all()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let mut stream = kv.range_stream(with_leader(all())).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
}

#[tokio::test]
async fn rule_3_20_a_put_whose_client_has_gone_is_still_applied() {
    let member = Member::start().await;
    let revision = member.put("a", "1").await;
    let put = member.hold_up_put("a", "2").await;
    // The client's deadline has passed: its call ends while the entry is on its way to the log.
    drop(put);
    member.gate.open();
    let answer = read(&member, range("a", "")).await.unwrap();
    assert_eq!((value(&answer), answer.header.unwrap().revision), (b"2".to_vec(), revision + 1));
}

#[tokio::test]
async fn rule_1_21_renewals_say_the_revision_from_before() {
    let member = Member::start().await;
    let grant = pb::LeaseGrantRequest { id: 7, ttl: 1000 };
    member.lease().lease_grant(grant).await.unwrap();
    let (requests, stream) = tokio::sync::mpsc::channel(1);
    let answers = member.lease().lease_keep_alive(ReceiverStream::new(stream)).await;
    let mut answers = answers.unwrap().into_inner();
    let revision = member.put("a", "1").await;

    // The renewal comes to the core behind a put that it does not know of.
    let put = member.hold_up_put("a", "2").await;
    requests.send(pb::LeaseKeepAliveRequest { id: 7 }).await.unwrap();
    settle().await;
    member.gate.open();
    put.await.unwrap();
    let renewal = answers.message().await.unwrap().unwrap();
    assert_eq!((renewal.id, renewal.ttl), (7, 1000));
    assert_eq!(renewal.header.unwrap().revision, revision);
    assert_eq!(member.handle.view().revision().0, revision + 1);

    // The next one may be as new as that, but no newer.
    requests.send(pb::LeaseKeepAliveRequest { id: 7 }).await.unwrap();
    let renewal = answers.message().await.unwrap().unwrap();
    assert_eq!(renewal.header.unwrap().revision, revision + 1);
}
