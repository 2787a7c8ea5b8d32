//! The plainest thing that could be right: a list of all versions ever written.
//!
//! The list only grows at its end, and a loss of power cuts it there, so every state that the store
//! ever had is a [`Mark`]: how far the list had come, and the little that is not in it.

use std::collections::BTreeMap;

use bytes::Bytes;
use revd_mvcc::{
    Compare, Interval, KeyValue, Op, Operand, Put, Range, Rejected, SortOrder, SortTarget, Txn,
};

/// One version; `None` for a deletion.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) main: i64,
    pub(crate) key: Bytes,
    pub(crate) kv: Option<KeyValue>,
}

/// A lease: the seconds granted, and those that were left when last noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) ttl: i64,
    pub(crate) remaining: i64,
}

/// A state of the store.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// Versions in the list.
    len: usize,
    pub(crate) revision: i64,
    /// The compaction floor.
    pub(crate) floor: i64,
    pub(crate) leases: BTreeMap<i64, Granted>,
    /// Rows of the owner's tables.
    pub(crate) rows: BTreeMap<(u8, u64), Vec<u8>>,
}

/// The list, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) written: Vec<Written>,
    /// The places of each key's versions in the list.
    places: BTreeMap<Bytes, Vec<usize>>,
    pub(crate) now: Mark,
}

/// An answer to a range.
#[derive(Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) kvs: Vec<KeyValue>,
    pub(crate) more: bool,
    pub(crate) count: i64,
    pub(crate) revision: i64,
}

/// An answer to an operation of a transaction.
#[derive(Debug, PartialEq)]
pub(crate) enum Did {
    Range(Found),
    Put { revision: i64, prev: Option<KeyValue> },
    Deleted { revision: i64, prev: Vec<KeyValue> },
    Txn { succeeded: bool, did: Vec<Did> },
}

impl Model {
    pub(crate) fn new() -> Self {
        let (leases, rows) = (BTreeMap::new(), BTreeMap::new());
        let now = Mark { len: 0, revision: 1, floor: -1, leases, rows };
        Self { written: Vec::new(), places: BTreeMap::new(), now }
    }

    /// Forgets what was written after a mark.
    pub(crate) fn back_to(&mut self, mark: &Mark) {
        for written in self.written.drain(mark.len..) {
            let places = self.places.get_mut(&written.key).unwrap();
            places.pop();
            if places.is_empty() {
                self.places.remove(&written.key);
            }
        }
        self.now = mark.clone();
    }

    /// The newest version of a key up to a revision.
    pub(crate) fn newest(&self, key: &[u8], main: i64) -> Option<&Written> {
        self.last(self.places.get(key)?, main)
    }

    /// The record of a key at a revision.
    pub(crate) fn at(&self, key: &[u8], main: i64) -> Option<&KeyValue> {
        self.newest(key, main)?.kv.as_ref()
    }

    fn last(&self, places: &[usize], main: i64) -> Option<&Written> {
        let count = places.partition_point(|place| self.written[*place].main <= main);
        places[..count].last().map(|place| &self.written[*place])
    }

    /// The records of a range at a revision, ascending.
    pub(crate) fn state(&self, keys: &Interval, main: i64) -> Vec<&KeyValue> {
        let inside = self.places.iter().filter(|(key, _)| keys.contains(key));
        inside.filter_map(|(_, places)| self.last(places, main)?.kv.as_ref()).collect()
    }

    /// True if the version is not part of history any more although its revision is: at the
    /// compaction floor only the last version of a key that was written twice in one revision is.
    pub(crate) fn is_given_up(&self, place: usize, floor: i64) -> bool {
        let this = &self.written[place];
        let later = self.written[place + 1..].iter().take_while(|later| later.main == this.main);
        this.main <= floor && later.into_iter().any(|later| later.key == this.key)
    }

    pub(crate) fn range(&self, mark: &Mark, range: &Range) -> Result<Found, Rejected> {
        if range.revision > mark.revision {
            return Err(Rejected::FutureRevision);
        }
        if range.revision > 0 && range.revision < mark.floor {
            return Err(Rejected::Compacted);
        }
        let at = if range.revision > 0 { range.revision } else { mark.revision };
        Ok(self.find(range, at, mark.revision))
    }

    pub(crate) fn put(&mut self, put: &Put) -> Result<Did, Rejected> {
        self.check_put(put)?;
        let main = self.now.revision + 1;
        let did = self.do_put(main, put);
        self.now.revision = main;
        Ok(did)
    }

    fn check_put(&self, put: &Put) -> Result<(), Rejected> {
        if put.lease != 0 && !self.now.leases.contains_key(&put.lease) {
            return Err(Rejected::LeaseNotFound);
        }
        let needs_key = put.ignore_value || put.ignore_lease;
        if needs_key && self.at(&put.key, self.now.revision).is_none() {
            return Err(Rejected::KeyNotFound);
        }
        Ok(())
    }

    fn do_put(&mut self, main: i64, put: &Put) -> Did {
        let before = self.at(&put.key, main).cloned();
        let mut kv = KeyValue {
            key: put.key.clone(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            value: put.value.clone(),
            lease: put.lease,
        };
        if let Some(before) = &before {
            kv.create_revision = before.create_revision;
            kv.version = before.version + 1;
            if put.ignore_value {
                kv.value = before.value.clone();
            }
            if put.ignore_lease {
                kv.lease = before.lease;
            }
        }
        self.write(main, put.key.clone(), Some(kv));
        Did::Put { revision: main, prev: before.filter(|_| put.prev_kv) }
    }

    /// Deletes in a request of its own; what was deleted.
    pub(crate) fn delete_range(&mut self, keys: &Interval) -> Vec<KeyValue> {
        let main = self.now.revision + 1;
        let prev = self.delete(main, keys);
        if !prev.is_empty() {
            self.now.revision = main;
        }
        prev
    }

    fn delete(&mut self, main: i64, keys: &Interval) -> Vec<KeyValue> {
        let prev: Vec<KeyValue> = self.state(keys, main).into_iter().cloned().collect();
        prev.iter().for_each(|kv| self.write(main, kv.key.clone(), None));
        prev
    }

    fn write(&mut self, main: i64, key: Bytes, kv: Option<KeyValue>) {
        self.places.entry(key.clone()).or_default().push(self.written.len());
        self.written.push(Written { main, key, kv });
        self.now.len = self.written.len();
    }

    /// The keys of a lease, ascending.
    pub(crate) fn lease_keys(&self, mark: &Mark, id: i64) -> Vec<Bytes> {
        let newest = self.places.values().filter_map(|places| self.last(places, mark.revision));
        let attached = newest.filter_map(|written| written.kv.as_ref()).filter(|kv| kv.lease == id);
        attached.map(|kv| kv.key.clone()).collect()
    }

    pub(crate) fn revoke(&mut self, id: i64) -> Result<i64, Rejected> {
        self.now.leases.remove(&id).ok_or(Rejected::LeaseNotFound)?;
        let main = self.now.revision + 1;
        for key in self.lease_keys(&self.now, id) {
            self.write(main, key, None);
            self.now.revision = main;
        }
        Ok(self.now.revision)
    }

    /// A transaction that only reads, in an earlier state.
    pub(crate) fn read_txn(&self, mark: &Mark, txn: &Txn) -> Result<(bool, Vec<Did>), Rejected> {
        let path = self.decide(mark.revision, txn);
        let mut did = Vec::new();
        for step in &path.steps {
            let Step::Op(Op::Range(range)) = step else { unreachable!("only ranges read") };
            check_range(mark, range)?;
            let at = if range.revision > 0 { range.revision } else { mark.revision };
            did.push(Did::Range(self.find(range, at, mark.revision)));
        }
        Ok((path.succeeded, did))
    }

    pub(crate) fn txn(&mut self, txn: &Txn) -> Result<(i64, bool, Vec<Did>), Rejected> {
        let path = self.decide(self.now.revision, txn);
        self.check_path(&path, true)?;
        self.check_path(&path, false)?;
        let (main, len) = (self.now.revision + 1, self.written.len());
        let did = self.run(main, len, &path);
        if self.written.len() > len {
            self.now.revision = main;
        }
        Ok((self.now.revision, path.succeeded, did))
    }

    fn check_path(&self, path: &Path<'_>, puts: bool) -> Result<(), Rejected> {
        for step in &path.steps {
            match step {
                Step::Nested(path) => self.check_path(path, puts)?,
                Step::Op(Op::Put(put)) if puts => self.check_put(put)?,
                Step::Op(Op::Range(range)) if !puts => check_range(&self.now, range)?,
                Step::Op(_) => {}
            }
        }
        Ok(())
    }

    fn run(&mut self, main: i64, len: usize, path: &Path<'_>) -> Vec<Did> {
        let mut did = Vec::new();
        for step in &path.steps {
            let op = match step {
                Step::Nested(path) => {
                    let inner = self.run(main, len, path);
                    did.push(Did::Txn { succeeded: path.succeeded, did: inner });
                    continue;
                }
                Step::Op(op) => op,
            };
            did.push(match op {
                Op::Range(range) => {
                    let header = self.header(main, len);
                    let at = if range.revision > 0 { range.revision } else { header };
                    Did::Range(self.find(range, at, header))
                }
                Op::Put(put) => self.do_put(main, put),
                Op::DeleteRange(delete) => {
                    let mut prev = self.delete(main, &delete.interval());
                    if !delete.prev_kv {
                        prev.iter_mut().for_each(|kv| *kv = KeyValue::default());
                    }
                    Did::Deleted { revision: self.header(main, len), prev }
                }
                Op::Txn(_) | Op::Empty => unreachable!("made into steps"),
            });
        }
        did
    }

    /// The revision in an inner answer's header: the new one once anything is written.
    fn header(&self, main: i64, len: usize) -> i64 {
        if self.written.len() > len { main } else { main - 1 }
    }

    fn decide<'t>(&self, main: i64, txn: &'t Txn) -> Path<'t> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(main, compare));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let step = |op: &'t Op| match op {
            Op::Txn(inner) => Step::Nested(self.decide(main, inner)),
            op => Step::Op(op),
        };
        Path { succeeded, steps: ops.iter().map(step).collect() }
    }

    fn holds(&self, main: i64, compare: &Compare) -> bool {
        let matching = self.state(&compare.interval(), main);
        if matching.is_empty() {
            return compare.target != 3 && holds_for(&KeyValue::default(), compare);
        }
        matching.into_iter().all(|kv| holds_for(kv, compare))
    }

    fn find(&self, range: &Range, at: i64, header: i64) -> Found {
        let inside = self.state(&range.interval(), at);
        let count = inside.len() as i64;
        let mut found = Found { kvs: Vec::new(), more: false, count, revision: header };
        if range.count_only {
            return found;
        }
        let mut kvs: Vec<KeyValue> =
            inside.into_iter().filter(|kv| is_within(kv, range)).cloned().collect();
        let limit = if range.limit > 0 { range.limit as usize } else { usize::MAX };
        found.more = kvs.len() > limit;
        if range.sort_order == SortOrder::None && !range.has_filters() {
            kvs.truncate(limit.saturating_add(1));
        }
        let by = |kv: &KeyValue| match range.sort_target {
            SortTarget::Key => (0, kv.key.clone()),
            SortTarget::Version => (kv.version, Bytes::new()),
            SortTarget::Create => (kv.create_revision, Bytes::new()),
            SortTarget::Mod => (kv.mod_revision, Bytes::new()),
            _ => (0, kv.value.clone()),
        };
        if range.sort_order == SortOrder::Descend {
            kvs.sort_by_key(|kv| std::cmp::Reverse(by(kv)));
        } else {
            kvs.sort_by_key(by);
        }
        kvs.truncate(limit);
        for kv in &mut kvs {
            if range.keys_only {
                kv.value = Bytes::new();
                if range.sort_target != SortTarget::Value {
                    kv.lease = 0;
                }
            }
        }
        found.kvs = kvs;
        found
    }
}

struct Path<'t> {
    succeeded: bool,
    steps: Vec<Step<'t>>,
}

enum Step<'t> {
    Op(&'t Op),
    Nested(Path<'t>),
}

fn check_range(mark: &Mark, range: &Range) -> Result<(), Rejected> {
    if range.revision > mark.revision {
        return Err(Rejected::FutureRevision);
    }
    if range.revision != 0 && range.revision < mark.floor {
        return Err(Rejected::Compacted);
    }
    Ok(())
}

fn is_within(kv: &KeyValue, range: &Range) -> bool {
    let within = |number: i64, min: i64, max: i64| {
        (min == 0 || number >= min) && (max == 0 || number <= max)
    };
    within(kv.mod_revision, range.min_mod_revision, range.max_mod_revision)
        && within(kv.create_revision, range.min_create_revision, range.max_create_revision)
}

fn holds_for(kv: &KeyValue, compare: &Compare) -> bool {
    let ordering = match &compare.operand {
        Operand::Version(operand) => kv.version.cmp(operand),
        Operand::Create(operand) => kv.create_revision.cmp(operand),
        Operand::Mod(operand) => kv.mod_revision.cmp(operand),
        Operand::Lease(operand) => kv.lease.cmp(operand),
        Operand::Value(operand) => kv.value.cmp(operand),
        Operand::Unset => unreachable!("not made by this test"),
    };
    match compare.result {
        0 => ordering.is_eq(),
        1 => ordering.is_gt(),
        2 => ordering.is_lt(),
        _ => ordering.is_ne(),
    }
}
