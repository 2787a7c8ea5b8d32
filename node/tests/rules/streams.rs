//! Group 2: ranges that are answered piece by piece.

use prost::Message;
use revd::config::Config;
use revd_api::etcdserverpb as pb;
use tonic::{Code, Status};

use crate::ask::{COMPACTED, EMPTY_KEY, FUTURE, SORT_OPTION, all, compact, delete, range, refused};
use crate::member::Member;

/// A request limit at which pieces of a few keys count as large.
const MAX_REQUEST_BYTES: u32 = 4096;

const NO_SORT: (Code, &str) =
    (Code::Unimplemented, "RangeStream does not support custom sort orders");
const NO_FILTER: (Code, &str) =
    (Code::Unimplemented, "RangeStream does not support revision filters");

/// A member with keys `k000`, `k001` … from revision 2 on, whose values have one length.
async fn member_with(keys: usize, value_bytes: usize) -> Member {
    let mut config = Config::default();
    config.max_request_bytes = MAX_REQUEST_BYTES;
    let member = Member::start_with(config).await;
    for n in 0..keys {
        member.put(&key(n), &"v".repeat(value_bytes)).await;
    }
    member
}

fn key(n: usize) -> String {
    format!("k{n:03}")
}

/// All messages of a stream, each as its part of the answer.
async fn pieces(
    member: &Member,
    request: pb::RangeRequest,
) -> Result<Vec<pb::RangeResponse>, Status> {
    let mut stream = member.kv().range_stream(request).await?.into_inner();
    let mut pieces = Vec::new();
    while let Some(piece) = stream.message().await? {
        pieces.push(piece.range_response.unwrap());
    }
    Ok(pieces)
}

fn counts(pieces: &[pb::RangeResponse]) -> Vec<usize> {
    pieces.iter().map(|piece| piece.kvs.iter().count()).collect()
}

/// The pieces as one answer, by the means that the encoding has for that.
fn merged(pieces: &[pb::RangeResponse]) -> pb::RangeResponse {
    let mut merged = pb::RangeResponse::default();
    for piece in pieces {
        merged.merge(&piece.encode_to_vec()[..]).unwrap();
    }
    merged
}

#[tokio::test]
async fn rule_2_27_orders_filters_and_errors_of_streams() {
    let member = member_with(3, 1).await;
    for (sort_order, sort_target) in [(1, 1), (1, 4), (2, 0), (2, 2)] {
        let sorted = pb::RangeRequest { sort_order, sort_target, ..all() };
        refused(pieces(&member, sorted).await, NO_SORT);
    }
    for filtered in [
        pb::RangeRequest { min_mod_revision: 1, ..all() },
        pb::RangeRequest { max_mod_revision: 1, ..all() },
        pb::RangeRequest { min_create_revision: 1, ..all() },
        pb::RangeRequest { max_create_revision: -1, ..all() },
    ] {
        refused(pieces(&member, filtered).await, NO_FILTER);
    }
    refused(pieces(&member, range("", "")).await, EMPTY_KEY);
    refused(pieces(&member, pb::RangeRequest { sort_target: 5, ..all() }).await, SORT_OPTION);
    refused(pieces(&member, pb::RangeRequest { revision: 100, ..all() }).await, FUTURE);
    member.kv().compact(compact(3)).await.unwrap();
    refused(pieces(&member, pb::RangeRequest { revision: 2, ..all() }).await, COMPACTED);
}

#[tokio::test]
async fn rule_2_28_without_an_order_any_target_is_accepted() {
    let member = member_with(25, 1).await;
    let expected = merged(&pieces(&member, all()).await.unwrap());
    for sort_target in 0..5 {
        let unordered = pb::RangeRequest { sort_target, ..all() };
        let answer = merged(&pieces(&member, unordered).await.unwrap());
        assert_eq!(answer, expected, "target {sort_target}");
    }
    let ascending = pb::RangeRequest { sort_order: 1, ..all() };
    assert_eq!(merged(&pieces(&member, ascending).await.unwrap()), expected);
}

#[tokio::test]
async fn rule_2_29_all_pieces_show_the_revision_of_the_first() {
    let member = member_with(100, 1).await;
    let expected = member.kv().range(all()).await.unwrap().into_inner();
    let mut stream = member.kv().range_stream(all()).await.unwrap().into_inner();
    let mut seen = vec![stream.message().await.unwrap().unwrap().range_response.unwrap()];
    // What happens behind the place of the stream is not for it.
    member.put(&key(98), "changed").await;
    member.put("l", "added").await;
    member.kv().delete_range(delete(&key(99))).await.unwrap();
    while let Some(piece) = stream.message().await.unwrap() {
        seen.push(piece.range_response.unwrap());
    }
    assert_eq!(merged(&seen), expected, "header and count as well");

    // A revision that is asked for is kept just so, and the header has the present one.
    let past = pb::RangeRequest { revision: 51, ..all() };
    let answer = merged(&pieces(&member, past).await.unwrap());
    assert_eq!((answer.count, answer.header.unwrap().revision), (50, 104));
}

#[tokio::test]
async fn rule_2_29_a_compaction_that_passes_the_revision_ends_the_stream() {
    let member = member_with(100, 1000).await;
    let mut stream = member.kv().range_stream(all()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let revision = member.put("l", "").await;
    member.kv().compact(compact(revision)).await.unwrap();
    // Pieces that were read before may still come; the stream reads no more than two ahead.
    let mut more = 0;
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => more += 1,
            Ok(None) => panic!("the stream came to its end behind {more} more pieces"),
            Err(status) => break status,
        }
    };
    refused::<()>(Err(end), COMPACTED);
    assert!(more <= 3, "{more} pieces were read ahead");
}

#[tokio::test]
async fn rule_2_30_pieces_follow_their_encoded_size() {
    // Small ones double up to the end.
    let member = member_with(100, 1).await;
    assert_eq!(counts(&pieces(&member, all()).await.unwrap()), [10, 20, 40, 30]);
    // Twenty of these are more than half of the limit.
    let member = member_with(60, 130).await;
    assert_eq!(counts(&pieces(&member, all()).await.unwrap()), [10, 20, 20, 10]);
    // Ten of these are more than twice the limit, five are not.
    let member = member_with(20, 1000).await;
    assert_eq!(counts(&pieces(&member, all()).await.unwrap()), [10, 5, 5]);
}

#[tokio::test]
async fn rule_2_31_merged_pieces_are_the_answer_of_a_range() {
    let member = member_with(100, 20).await;
    let requests = [
        all(),
        range("k", "l"),
        range("k050", "\0"),
        range("k050", ""),
        range("x", "y"),
        range("l", "k"),
        pb::RangeRequest { limit: 5, ..all() },
        pb::RangeRequest { limit: 10, ..all() },
        pb::RangeRequest { limit: 30, ..all() },
        pb::RangeRequest { limit: 31, ..all() },
        pb::RangeRequest { limit: 100, ..all() },
        pb::RangeRequest { limit: 1000, ..all() },
        pb::RangeRequest { limit: -1, ..all() },
        pb::RangeRequest { keys_only: true, ..all() },
        pb::RangeRequest { keys_only: true, limit: 35, revision: 60, ..all() },
        pb::RangeRequest { serializable: true, ..all() },
        pb::RangeRequest { revision: 42, ..all() },
        pb::RangeRequest { revision: 42, limit: 12, ..range("k010", "k050") },
        pb::RangeRequest { revision: 1, ..all() },
        pb::RangeRequest { count_only: true, ..all() },
        pb::RangeRequest { count_only: true, limit: 3, revision: 42, ..all() },
    ];
    for request in requests {
        let expected = member.kv().range(request.clone()).await.unwrap().into_inner();
        let pieces = pieces(&member, request.clone()).await.unwrap();
        assert_eq!(merged(&pieces), expected, "{request:?}");
        let (_, before) = pieces.split_last().unwrap();
        for piece in before {
            assert_eq!((piece.header, piece.more, piece.count), (None, false, 0), "{request:?}");
        }
        if request.count_only {
            assert!(before.is_empty(), "{request:?}");
        }
    }
}
