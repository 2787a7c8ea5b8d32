//! What a client is told of a command, in a form that the model can foretell.

use revd_api::etcdserverpb::RangeResponse;
use revd_mvcc::{Deleted, KeyValue, OpDone, PutDone, Ranged, TxnDone};
use revd_replica::{Alarm, Answer};

use prost::Message;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// The record before, if it was asked for.
    Put(Option<KeyValue>),
    /// How many, and which if they were asked for.
    Deleted(i64, Vec<KeyValue>),
    /// Whether the compares held, and what came of the operations.
    Txn(bool, Vec<Done>),
    /// The keys found.
    Range(Vec<KeyValue>),
    /// A lease with its seconds.
    Granted(i64, i64),
    /// The alarms found, raised or cleared.
    Alarms(Vec<Alarm>),
    /// Nothing but that it is done.
    Nothing,
}

impl Done {
    /// What a member answers.
    pub(crate) fn of(answer: &Answer) -> Done {
        match answer {
            Answer::Put(done) => put(done),
            Answer::Deleted(done) => deleted(done),
            Answer::Txn(done) => txn(done),
            Answer::Granted { id, ttl } => Done::Granted(*id, *ttl),
            Answer::Alarms(alarms) => Done::Alarms(alarms.clone()),
            Answer::Compacted | Answer::Revoked | Answer::Done => Done::Nothing,
        }
    }
}

fn put(done: &PutDone) -> Done {
    Done::Put(done.prev_kv.clone())
}

fn deleted(done: &Deleted) -> Done {
    Done::Deleted(done.deleted, done.prev_kvs.clone())
}

fn txn(done: &TxnDone) -> Done {
    let responses = done.responses.iter().map(|response| match response {
        OpDone::Put(done) => put(done),
        OpDone::Deleted(done) => deleted(done),
        OpDone::Txn(done) => txn(done),
        OpDone::Range(ranged) => Done::Range(records(ranged)),
    });
    Done::Txn(done.succeeded, responses.collect())
}

/// The records of an answer, which are a part of a response's encoding.
pub(crate) fn records(ranged: &Ranged) -> Vec<KeyValue> {
    let response = RangeResponse::decode(ranged.kvs.clone()).expect("records decode");
    let kvs = response.kvs.decode().expect("records decode");
    kvs.into_iter().map(record).collect()
}

/// A record as the interface knows it.
pub(crate) fn record(kv: revd_api::mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}
