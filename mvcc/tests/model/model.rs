//! The plainest thing that could be right: a list of all versions ever written.

use std::collections::BTreeMap;

use bytes::Bytes;
use revd_mvcc::{
    Compare, Interval, KeyValue, Op, Operand, Put, Range, Rejected, SortOrder, SortTarget, Txn,
};

/// One record; `None` for a deletion.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) main: i64,
    pub(crate) key: Bytes,
    pub(crate) kv: Option<KeyValue>,
}

pub(crate) type State = BTreeMap<Bytes, KeyValue>;

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) written: Vec<Written>,
    /// The newest state, which is what the list comes to.
    pub(crate) now: State,
    pub(crate) revision: i64,
    pub(crate) floor: i64,
    pub(crate) leases: BTreeMap<i64, i64>,
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
        Self {
            written: Vec::new(),
            now: State::new(),
            revision: 1,
            floor: -1,
            leases: BTreeMap::new(),
        }
    }

    /// The state at a revision, from the list alone.
    pub(crate) fn at(&self, revision: i64) -> State {
        let mut state = State::new();
        for written in self.written.iter().take_while(|written| written.main <= revision) {
            match &written.kv {
                Some(kv) => state.insert(written.key.clone(), kv.clone()),
                None => state.remove(&written.key),
            };
        }
        state
    }

    pub(crate) fn range(&self, range: &Range) -> Result<Found, Rejected> {
        if range.revision > self.revision {
            return Err(Rejected::FutureRevision);
        }
        if range.revision > 0 && range.revision < self.floor {
            return Err(Rejected::Compacted);
        }
        Ok(self.range_unchecked(range, self.revision))
    }

    fn range_unchecked(&self, range: &Range, header: i64) -> Found {
        let old;
        let state = if range.revision > 0 {
            old = self.at(range.revision);
            &old
        } else {
            &self.now
        };
        find(state, range, header)
    }

    pub(crate) fn put(&mut self, put: &Put) -> Result<Did, Rejected> {
        self.check_put(put)?;
        let main = self.revision + 1;
        let did = self.do_put(main, put);
        self.revision = main;
        Ok(did)
    }

    fn check_put(&self, put: &Put) -> Result<(), Rejected> {
        if put.lease != 0 && !self.leases.contains_key(&put.lease) {
            return Err(Rejected::LeaseNotFound);
        }
        if (put.ignore_value || put.ignore_lease) && !self.now.contains_key(&put.key) {
            return Err(Rejected::KeyNotFound);
        }
        Ok(())
    }

    fn do_put(&mut self, main: i64, put: &Put) -> Did {
        let before = self.now.get(&put.key).cloned();
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
        self.now.insert(put.key.clone(), kv.clone());
        self.written.push(Written { main, key: put.key.clone(), kv: Some(kv) });
        Did::Put { revision: main, prev: before.filter(|_| put.prev_kv) }
    }

    /// Deletes; true if that changed anything.
    pub(crate) fn delete(&mut self, main: i64, interval: &Interval) -> Vec<KeyValue> {
        let inside = |key: &&Bytes| interval.contains(key);
        let keys: Vec<Bytes> = self.now.keys().filter(inside).cloned().collect();
        let mut prev = Vec::new();
        for key in keys {
            prev.extend(self.now.remove(&key));
            self.written.push(Written { main, key, kv: None });
        }
        prev
    }

    pub(crate) fn revoke(&mut self, id: i64) -> Result<i64, Rejected> {
        self.leases.remove(&id).ok_or(Rejected::LeaseNotFound)?;
        let keys: Vec<Bytes> =
            self.now.values().filter(|kv| kv.lease == id).map(|kv| kv.key.clone()).collect();
        let main = self.revision + 1;
        for key in keys {
            self.delete(main, &Interval::new(&key, &Bytes::new()));
            self.revision = main;
        }
        Ok(self.revision)
    }

    pub(crate) fn txn(&mut self, txn: &Txn) -> Result<(i64, bool, Vec<Did>), Rejected> {
        let before = self.now.clone();
        let path = decide(&before, txn);
        self.check_path(&path, true)?;
        self.check_path(&path, false)?;
        let (main, len) = (self.revision + 1, self.written.len());
        let did = self.run(main, len, &path);
        if self.written.len() > len {
            self.revision = main;
        }
        Ok((self.revision, path.succeeded, did))
    }

    fn check_path(&self, path: &Path<'_>, puts: bool) -> Result<(), Rejected> {
        for step in &path.steps {
            match step {
                Step::Nested(path) => self.check_path(path, puts)?,
                Step::Op(Op::Put(put)) if puts => self.check_put(put)?,
                Step::Op(Op::Range(range)) if !puts => {
                    if range.revision > self.revision {
                        return Err(Rejected::FutureRevision);
                    }
                    if range.revision != 0 && range.revision < self.floor {
                        return Err(Rejected::Compacted);
                    }
                }
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
                    let header = if self.written.len() > len { main } else { main - 1 };
                    Did::Range(self.range_unchecked(range, header))
                }
                Op::Put(put) => self.do_put(main, put),
                Op::DeleteRange(delete) => {
                    let mut prev = self.delete(main, &delete.interval());
                    if !delete.prev_kv {
                        prev.iter_mut().for_each(|kv| *kv = KeyValue::default());
                    }
                    let revision = if self.written.len() > len { main } else { main - 1 };
                    Did::Deleted { revision, prev }
                }
                Op::Txn(_) | Op::Empty => unreachable!("made into steps"),
            });
        }
        did
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

fn decide<'t>(before: &State, txn: &'t Txn) -> Path<'t> {
    let succeeded = txn.compare.iter().all(|compare| holds(before, compare));
    let ops = if succeeded { &txn.success } else { &txn.failure };
    let step = |op: &'t Op| match op {
        Op::Txn(inner) => Step::Nested(decide(before, inner)),
        op => Step::Op(op),
    };
    Path { succeeded, steps: ops.iter().map(step).collect() }
}

fn holds(state: &State, compare: &Compare) -> bool {
    let interval = compare.interval();
    let mut matching = state.values().filter(|kv| interval.contains(&kv.key)).peekable();
    if matching.peek().is_none() {
        return compare.target != 3 && holds_for(&KeyValue::default(), compare);
    }
    matching.all(|kv| holds_for(kv, compare))
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

fn find(state: &State, range: &Range, header: i64) -> Found {
    let interval = range.interval();
    let inside: Vec<_> = state.values().filter(|kv| interval.contains(&kv.key)).collect();
    let count = inside.len() as i64;
    let mut found = Found { kvs: Vec::new(), more: false, count, revision: header };
    if range.count_only {
        return found;
    }
    let within = |number: i64, min: i64, max: i64| {
        (min == 0 || number >= min) && (max == 0 || number <= max)
    };
    let mut kvs: Vec<KeyValue> = inside
        .into_iter()
        .filter(|kv| within(kv.mod_revision, range.min_mod_revision, range.max_mod_revision))
        .filter(|kv| {
            within(kv.create_revision, range.min_create_revision, range.max_create_revision)
        })
        .cloned()
        .collect();
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
