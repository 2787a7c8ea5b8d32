//! What takes too long, told in etcd's words: ranges, and requests of the key space.

use std::fmt;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use revd_api::etcdserverpb as pb;
use revd_mvcc::{Range, Ranged};

use crate::driver::Handle;
use crate::log::{timestamp, took};

/// A range under way.
pub(super) struct Watch<'a> {
    handle: &'a Handle,
    begun: Instant,
    range: Range,
}

impl<'a> Watch<'a> {
    /// Begins to count, before anything is waited for.
    pub(super) fn start(handle: &'a Handle, range: &Range) -> Self {
        Self { handle, begun: Instant::now(), range: range.clone() }
    }

    /// Warns if it has taken longer than `--warning-apply-duration`.
    pub(super) fn ended(self, done: &Ranged) {
        let (elapsed, limit) = (self.begun.elapsed(), self.handle.config().warning_apply);
        if elapsed <= limit {
            return;
        }
        self.handle.meters().slow_applies.add(1);
        let Range { key, range_end, limit: most, serializable, .. } = &self.range;
        tracing::warn!(
            took = took(elapsed),
            "expected-duration" = took(limit),
            prefix = "read-only range ",
            request = %format_args!(
                "key:{:?} range_end:{:?} limit:{most} serializable:{serializable}",
                String::from_utf8_lossy(key),
                String::from_utf8_lossy(range_end),
            ),
            response = %format_args!(
                "range_response_count:{} size:{}",
                done.returned,
                done.kvs.len()
            ),
            "apply request took too long"
        );
    }
}

/// What a request asks for, without the values.
#[derive(Debug)]
pub(super) enum Asked {
    /// What is done to the keys from one to another.
    Keys { key: Bytes, range_end: Bytes },
    /// A key gets a value of so many bytes.
    Value { key: Bytes, bytes: usize },
    /// So many compares, and operations if they hold or do not.
    Txn { compares: usize, success: usize, failure: usize },
}

impl Asked {
    pub(super) fn range(request: &pb::RangeRequest) -> Self {
        Self::Keys { key: request.key.clone(), range_end: request.range_end.clone() }
    }

    pub(super) fn put(request: &pb::PutRequest) -> Self {
        Self::Value { key: request.key.clone(), bytes: request.value.len() }
    }

    pub(super) fn delete(request: &pb::DeleteRangeRequest) -> Self {
        Self::Keys { key: request.key.clone(), range_end: request.range_end.clone() }
    }

    pub(super) fn txn(request: &pb::TxnRequest) -> Self {
        let pb::TxnRequest { compare, success, failure } = request;
        Self::Txn { compares: compare.len(), success: success.len(), failure: failure.len() }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy;
        match self {
            Self::Keys { key, range_end } => {
                write!(f, "key:{:?} range_end:{:?}", text(key), text(range_end))
            }
            Self::Value { key, bytes } => write!(f, "key:{:?} value_size:{bytes}", text(key)),
            Self::Txn { compares, success, failure } => {
                write!(
                    f,
                    "compare_count:{compares} success_count:{success} failure_count:{failure}"
                )
            }
        }
    }
}

/// A request from its admission to its end, which may be a failure, or that its client has gone.
pub(super) struct Request<'a> {
    handle: &'a Handle,
    begun: Instant,
    method: &'static str,
    asked: Asked,
    /// Records in the answer; unknown if there is none.
    records: Option<i64>,
}

impl<'a> Request<'a> {
    /// Begins to count.
    pub(super) fn start(handle: &'a Handle, method: &'static str, asked: Asked) -> Self {
        Self { handle, begun: Instant::now(), method, asked, records: None }
    }

    /// It is answered, with so many records.
    pub(super) fn answered(mut self, records: i64) {
        self.records = Some(records);
    }
}

impl Drop for Request<'_> {
    /// Warns if it has taken longer than `--warning-unary-request-duration`.
    fn drop(&mut self) {
        let elapsed = self.begun.elapsed();
        if elapsed <= self.handle.config().warning_request {
            return;
        }
        let begun = SystemTime::now().checked_sub(elapsed).unwrap_or(SystemTime::UNIX_EPOCH);
        tracing::warn!(
            "start time" = timestamp(begun),
            "time spent" = took(elapsed),
            "response type" = self.method,
            "response count" = self.records.unwrap_or(-1),
            "request content" = %self.asked,
            "request stats"
        );
    }
}
