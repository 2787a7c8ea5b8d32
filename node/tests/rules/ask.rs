//! Short ways to write requests and to look at refusals.

use bytes::Bytes;
use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::request_op::Request;
use tonic::{Code, Status};

/// A range; an empty end names the one key.
pub fn range(key: &str, end: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() }
}

/// All keys.
pub fn all() -> pb::RangeRequest {
    range("\0", "\0")
}

/// A put.
pub fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }
}

/// A deletion of one key.
pub fn delete(key: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(key), ..Default::default() }
}

/// An operation of a transaction.
pub fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// A put as an operation.
pub fn put_op(key: &str, value: &str) -> pb::RequestOp {
    op(Request::RequestPut(put(key, value)))
}

/// A range as an operation.
pub fn range_op(range: pb::RangeRequest) -> pb::RequestOp {
    op(Request::RequestRange(range))
}

/// A transaction without condition.
pub fn success(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success, ..Default::default() }
}

/// A compaction.
pub fn compact(revision: i64) -> pb::CompactionRequest {
    pb::CompactionRequest { revision, physical: true }
}

/// A transaction that fails its condition while `key` does not exist.
pub fn if_exists(key: &str, success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let compare = pb::Compare {
        result: CompareResult::Greater as i32,
        target: CompareTarget::Version as i32,
        key: bytes(key),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::Version(0)),
    };
    pb::TxnRequest { compare: vec![compare], success, failure: Vec::new() }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Checks a refusal by code and text.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>, (code, text): (Code, &str)) {
    let status = result.expect_err("the call is refused");
    assert_eq!((status.code(), status.message()), (code, text));
}

/// Refusals that several rules name.
pub const EMPTY_KEY: (Code, &str) = (Code::InvalidArgument, "etcdserver: key is not provided");
pub const SORT_OPTION: (Code, &str) = (Code::InvalidArgument, "etcdserver: invalid sort option");
pub const FUTURE: (Code, &str) =
    (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
pub const COMPACTED: (Code, &str) =
    (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
pub const NO_SPACE: (Code, &str) =
    (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
pub const NO_LEADER: (Code, &str) = (Code::Unavailable, "etcdserver: no leader");
