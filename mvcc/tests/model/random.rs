//! Random requests from one seed.

use bytes::Bytes;
use revd_mvcc::{Compare, DeleteRange, Key, Op, Operand, Put, Range, Table, Txn};

/// The ids of leases that are drawn; 0 is none.
pub(crate) const LEASES: std::ops::Range<i64> = -2..3;
/// The owner's tables that are written, and how many rows of each.
pub(crate) const TABLES: [Table; 2] = [Table(8), Table(15)];
pub(crate) const ROWS: u64 = 6;
/// Bytes of a key that is too long for the head of its record.
const LONG_KEY: usize = 9_000;

/// The key of a row of the owner's.
pub(crate) fn row(number: u64) -> Key {
    Key { main: number, sub: 1, kind: 2 }
}

/// A small generator: a failure is repeated by its seed alone.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        (self.0 >> 33) % bound
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn key(&mut self) -> Bytes {
        let number = if self.one_in(2) { self.below(12) } else { self.below(120) };
        let long = if self.one_in(150) { LONG_KEY } else { 0 };
        Bytes::from(format!("k{}{:l<long$}", number % if long > 0 { 3 } else { 120 }, ""))
    }

    fn end(&mut self) -> Bytes {
        match self.below(4) {
            0 => Bytes::from_static(b"\0"),
            1 => Bytes::from_static(b"l"),
            _ => self.key(),
        }
    }

    pub(crate) fn interval(&mut self) -> (Bytes, Bytes) {
        let end = if self.one_in(2) { Bytes::new() } else { self.end() };
        (self.key(), end)
    }

    pub(crate) fn lease(&mut self) -> i64 {
        LEASES.start + self.below(LEASES.count() as u64) as i64
    }

    fn value(&mut self) -> Bytes {
        let len = if self.one_in(100) { self.below(40_000) } else { self.below(60) };
        Bytes::from(vec![b'a' + self.below(26) as u8; len as usize])
    }

    pub(crate) fn put(&mut self) -> Put {
        let ignore_value = self.one_in(8);
        let ignore_lease = self.one_in(8);
        let lease = if ignore_lease || !self.one_in(3) { 0 } else { self.lease() };
        let value = if ignore_value { Bytes::new() } else { self.value() };
        Put { key: self.key(), value, lease, prev_kv: self.one_in(3), ignore_value, ignore_lease }
    }

    pub(crate) fn delete(&mut self) -> DeleteRange {
        let (key, mut range_end) = self.interval();
        if self.one_in(2) {
            range_end = Bytes::new();
        }
        DeleteRange { key, range_end, prev_kv: self.one_in(2) }
    }

    pub(crate) fn range(&mut self, newest: i64) -> Range {
        let (key, range_end) = self.interval();
        let mut about = |odds| if self.one_in(odds) { self.revision(newest) } else { 0 };
        let (revision, min_mod_revision, max_mod_revision) = (about(2), about(6), about(6));
        let (min_create_revision, max_create_revision) = (about(6), about(6));
        Range {
            key,
            range_end,
            limit: self.below(6) as i64 * self.below(2) as i64,
            revision,
            sort_order: (self.below(3) as i32).into(),
            sort_target: (self.below(5) as i32).into(),
            serializable: false,
            keys_only: self.one_in(3),
            count_only: self.one_in(6),
            min_mod_revision,
            max_mod_revision,
            min_create_revision,
            max_create_revision,
        }
    }

    pub(crate) fn revision(&mut self, newest: i64) -> i64 {
        let back = if self.one_in(2) { self.below(6) } else { self.below(newest as u64 + 2) };
        newest + 1 - back as i64
    }

    fn compare(&mut self, newest: i64) -> Compare {
        let target = self.below(5) as i32;
        let operand = match target {
            0 => Operand::Version(self.below(3) as i64),
            1 => Operand::Create(self.revision(newest)),
            2 => Operand::Mod(self.revision(newest)),
            3 => Operand::Value(self.value()),
            _ => Operand::Lease(self.lease()),
        };
        let (key, range_end) = self.interval();
        Compare { result: self.below(4) as i32, target, key, range_end, operand }
    }

    /// May break the rules of [`Txn::check`].
    pub(crate) fn txn(&mut self, newest: i64, depth: u64) -> Txn {
        let compares = self.below(3);
        Txn {
            compare: (0..compares).map(|_| self.compare(newest)).collect(),
            success: self.ops(newest, depth),
            failure: self.ops(newest, depth),
        }
    }

    fn ops(&mut self, newest: i64, depth: u64) -> Vec<Op> {
        let count = self.below(5);
        let mut ops = Vec::new();
        for _ in 0..count {
            ops.push(match self.below(8) {
                0 if depth > 0 => Op::Txn(self.txn(newest, depth - 1)),
                0 | 1 => Op::DeleteRange(self.delete()),
                2..=4 => Op::Range(self.range(newest)),
                _ => Op::Put(self.put()),
            });
        }
        ops
    }
}
