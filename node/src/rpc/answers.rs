//! Answers of the key space as messages of the interface.

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::response_op::Response;
use revd_api::mvccpb;
use revd_mvcc::{Deleted, KeyValue, OpDone, PutDone, Ranged, TxnDone};

type Header = Option<pb::ResponseHeader>;

/// The answer to a range.
pub(super) fn ranged(header: Header, done: Ranged) -> pb::RangeResponse {
    pb::RangeResponse {
        header,
        kvs: pb::Kvs::from_encoded(done.kvs),
        more: done.more,
        count: done.count,
    }
}

/// The answer to a put.
pub(super) fn put(header: Header, done: PutDone) -> pb::PutResponse {
    pb::PutResponse { header, prev_kv: done.prev_kv.map(key_value) }
}

/// The answer to a deletion.
pub(super) fn deleted(header: Header, done: Deleted) -> pb::DeleteRangeResponse {
    let prev_kvs = done.prev_kvs.into_iter().map(key_value).collect();
    pb::DeleteRangeResponse { header, deleted: done.deleted, prev_kvs }
}

/// The answer to a transaction.
pub(super) fn txn(header: Header, done: TxnDone) -> pb::TxnResponse {
    let responses = done.responses.into_iter().map(operation).collect();
    pb::TxnResponse { header, succeeded: done.succeeded, responses }
}

fn operation(done: OpDone) -> pb::ResponseOp {
    let response = match done {
        OpDone::Range(done) => Response::ResponseRange(ranged(inner(done.revision.0), done)),
        OpDone::Put(done) => Response::ResponsePut(put(inner(done.revision.0), done)),
        OpDone::Deleted(done) => {
            Response::ResponseDeleteRange(deleted(inner(done.revision.0), done))
        }
        // A nested answer has a header, and nothing in it (rule 4.14).
        OpDone::Txn(done) => Response::ResponseTxn(txn(inner(0), done)),
    };
    pb::ResponseOp { response: Some(response) }
}

/// The header of an answer inside a transaction: its revision only (rule 1.20).
fn inner(revision: i64) -> Header {
    Some(pb::ResponseHeader { revision, ..pb::ResponseHeader::default() })
}

fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}
