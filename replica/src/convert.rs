//! Requests of the interface as requests of the key space, and back.
//!
//! The way back exists for the log, whose payloads are protobuf. What the key space does not know
//! (an enum number without meaning) is carried through unchanged, so that both ways together give
//! the same message.

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::compare::TargetUnion;
use revd_api::etcdserverpb::request_op::Request;
use revd_mvcc as mvcc;
use revd_mvcc::{Operand, SortOrder, SortTarget};

/// A range.
pub fn range(m: pb::RangeRequest) -> mvcc::Range {
    mvcc::Range {
        key: m.key,
        range_end: m.range_end,
        limit: m.limit,
        revision: m.revision,
        sort_order: m.sort_order.into(),
        sort_target: m.sort_target.into(),
        serializable: m.serializable,
        keys_only: m.keys_only,
        count_only: m.count_only,
        min_mod_revision: m.min_mod_revision,
        max_mod_revision: m.max_mod_revision,
        min_create_revision: m.min_create_revision,
        max_create_revision: m.max_create_revision,
    }
}

/// A put.
pub fn put(m: pb::PutRequest) -> mvcc::Put {
    mvcc::Put {
        key: m.key,
        value: m.value,
        lease: m.lease,
        prev_kv: m.prev_kv,
        ignore_value: m.ignore_value,
        ignore_lease: m.ignore_lease,
    }
}

/// A delete range.
pub fn delete_range(m: pb::DeleteRangeRequest) -> mvcc::DeleteRange {
    mvcc::DeleteRange { key: m.key, range_end: m.range_end, prev_kv: m.prev_kv }
}

/// A transaction, with those nested in it.
pub fn txn(m: pb::TxnRequest) -> mvcc::Txn {
    mvcc::Txn {
        compare: m.compare.into_iter().map(compare).collect(),
        success: m.success.into_iter().map(op).collect(),
        failure: m.failure.into_iter().map(op).collect(),
    }
}

fn op(m: pb::RequestOp) -> mvcc::Op {
    match m.request {
        Some(Request::RequestRange(m)) => mvcc::Op::Range(range(m)),
        Some(Request::RequestPut(m)) => mvcc::Op::Put(put(m)),
        Some(Request::RequestDeleteRange(m)) => mvcc::Op::DeleteRange(delete_range(m)),
        Some(Request::RequestTxn(m)) => mvcc::Op::Txn(txn(m)),
        None => mvcc::Op::Empty,
    }
}

fn compare(m: pb::Compare) -> mvcc::Compare {
    let operand = match m.target_union {
        None => Operand::Unset,
        Some(TargetUnion::Version(n)) => Operand::Version(n),
        Some(TargetUnion::CreateRevision(n)) => Operand::Create(n),
        Some(TargetUnion::ModRevision(n)) => Operand::Mod(n),
        Some(TargetUnion::Value(bytes)) => Operand::Value(bytes),
        Some(TargetUnion::Lease(n)) => Operand::Lease(n),
    };
    mvcc::Compare {
        result: m.result,
        target: m.target,
        key: m.key,
        range_end: m.range_end,
        operand,
    }
}

/// The message of a put.
pub fn put_to_api(put: &mvcc::Put) -> pb::PutRequest {
    pb::PutRequest {
        key: put.key.clone(),
        value: put.value.clone(),
        lease: put.lease,
        prev_kv: put.prev_kv,
        ignore_value: put.ignore_value,
        ignore_lease: put.ignore_lease,
    }
}

/// The message of a delete range.
pub fn delete_range_to_api(delete: &mvcc::DeleteRange) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: delete.key.clone(),
        range_end: delete.range_end.clone(),
        prev_kv: delete.prev_kv,
    }
}

/// The message of a transaction.
pub fn txn_to_api(txn: &mvcc::Txn) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: txn.compare.iter().map(compare_to_api).collect(),
        success: txn.success.iter().map(op_to_api).collect(),
        failure: txn.failure.iter().map(op_to_api).collect(),
    }
}

fn op_to_api(op: &mvcc::Op) -> pb::RequestOp {
    let request = match op {
        mvcc::Op::Range(range) => Some(Request::RequestRange(range_to_api(range))),
        mvcc::Op::Put(put) => Some(Request::RequestPut(put_to_api(put))),
        mvcc::Op::DeleteRange(delete) => {
            Some(Request::RequestDeleteRange(delete_range_to_api(delete)))
        }
        mvcc::Op::Txn(txn) => Some(Request::RequestTxn(txn_to_api(txn))),
        mvcc::Op::Empty => None,
    };
    pb::RequestOp { request }
}

fn range_to_api(range: &mvcc::Range) -> pb::RangeRequest {
    pb::RangeRequest {
        key: range.key.clone(),
        range_end: range.range_end.clone(),
        limit: range.limit,
        revision: range.revision,
        sort_order: match range.sort_order {
            SortOrder::None => 0,
            SortOrder::Ascend => 1,
            SortOrder::Descend => 2,
            SortOrder::Unknown(n) => n,
        },
        sort_target: match range.sort_target {
            SortTarget::Key => 0,
            SortTarget::Version => 1,
            SortTarget::Create => 2,
            SortTarget::Mod => 3,
            SortTarget::Value => 4,
            SortTarget::Unknown(n) => n,
        },
        serializable: range.serializable,
        keys_only: range.keys_only,
        count_only: range.count_only,
        min_mod_revision: range.min_mod_revision,
        max_mod_revision: range.max_mod_revision,
        min_create_revision: range.min_create_revision,
        max_create_revision: range.max_create_revision,
    }
}

fn compare_to_api(compare: &mvcc::Compare) -> pb::Compare {
    let target_union = match &compare.operand {
        Operand::Unset => None,
        Operand::Version(n) => Some(TargetUnion::Version(*n)),
        Operand::Create(n) => Some(TargetUnion::CreateRevision(*n)),
        Operand::Mod(n) => Some(TargetUnion::ModRevision(*n)),
        Operand::Value(bytes) => Some(TargetUnion::Value(bytes.clone())),
        Operand::Lease(n) => Some(TargetUnion::Lease(*n)),
    };
    pb::Compare {
        result: compare.result,
        target: compare.target,
        key: compare.key.clone(),
        range_end: compare.range_end.clone(),
        target_union,
    }
}
