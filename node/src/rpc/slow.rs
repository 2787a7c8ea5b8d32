//! Ranges that take too long, told in etcd's words.

use std::time::Instant;

use revd_mvcc::{Range, Ranged};

use crate::driver::Handle;
use crate::log::took;

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
