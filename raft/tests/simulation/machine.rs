//! The state machine that the cluster replicates: registers, the configuration, and a digest of all
//! that was applied.

use bytes::Bytes;
use revd_raft::*;

/// How many registers there are.
pub(crate) const KEYS: usize = 8;

/// The state after everything up to `position` was applied. A snapshot is a clone of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) position: Position,
    pub(crate) registers: [Register; KEYS],
    pub(crate) configuration: Configuration,
    /// A bit for each member that was removed: ids are not used again.
    removed: u32,
    /// Of every entry applied so far, in order.
    pub(crate) digest: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Register {
    /// The entry that wrote it.
    pub(crate) written: Index,
    /// The request that wrote it.
    pub(crate) value: u64,
}

/// What applying an entry came to.
#[derive(Debug)]
pub(crate) enum Effect {
    /// No state changed.
    Nothing,
    /// A register was written for this request.
    Written { key: usize, request: u64 },
    /// The configuration changed.
    Changed(Change),
    /// A change of configuration was refused, on every member alike.
    Rejected,
}

impl State {
    pub(crate) fn new(position: Position, configuration: Configuration) -> State {
        State {
            position,
            registers: [Register::default(); KEYS],
            configuration,
            removed: 0,
            digest: 0,
        }
    }

    /// Whether this member belonged to the cluster and was removed.
    pub(crate) fn was_removed(&self, node: NodeId) -> bool {
        self.removed & (1 << node.0) != 0
    }

    /// Applies the entry behind `position`.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Effect {
        self.position = entry.position();
        self.digest = mix(self.digest, content(entry));
        match entry.kind {
            EntryKind::Empty => Effect::Nothing,
            EntryKind::Normal => {
                let (key, request) = written(&entry.data);
                self.registers[key] = Register { written: entry.index, value: request };
                Effect::Written { key, request }
            }
            EntryKind::Configuration => {
                let Some(change) = change(&entry.data) else { return Effect::Rejected };
                match self.configuration.changed(&change) {
                    Ok(next) if next.members().iter().all(|&node| !self.was_removed(node)) => {
                        for node in self.configuration.members() {
                            self.removed |= u32::from(!next.contains(node)) << node.0;
                        }
                        self.configuration = next;
                        Effect::Changed(change)
                    }
                    _ => Effect::Rejected,
                }
            }
        }
    }
}

/// A number for everything that an entry is.
pub(crate) fn content(entry: &Entry) -> u64 {
    let mut digest = mix(entry.index.0, mix(entry.term.0, entry.kind as u64));
    let mut words = entry.data.chunks_exact(8);
    for word in &mut words {
        digest = mix(digest, u64::from_le_bytes(word.try_into().expect("chunks of eight")));
    }
    for &byte in words.remainder() {
        digest = mix(digest, u64::from(byte) + 1);
    }
    digest
}

pub(crate) fn mix(digest: u64, word: u64) -> u64 {
    let mixed = (digest.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// The payload of a write: request, key, padding.
pub(crate) fn write(request: u64, key: usize, padding: usize) -> Bytes {
    let mut data = Vec::with_capacity(9 + padding);
    data.extend_from_slice(&request.to_le_bytes());
    data.push(key as u8);
    data.resize(9 + padding, key as u8);
    data.into()
}

fn written(data: &[u8]) -> (usize, u64) {
    let request = u64::from_le_bytes(data[..8].try_into().expect("a request has eight bytes"));
    (usize::from(data[8]) % KEYS, request)
}

/// The payload of a change: request, whether the state machine rejects it, kind, steps.
pub(crate) fn change_data(change: &Change, request: u64, rejected: bool) -> Bytes {
    let mut data = request.to_le_bytes().to_vec();
    data.push(u8::from(rejected));
    let (kind, steps) = match change {
        Change::Keep => (0, &[][..]),
        Change::Simple(step) => (1, std::slice::from_ref(step)),
        Change::Joint { steps, leaves_by_itself: false } => (2, &steps[..]),
        Change::Joint { steps, leaves_by_itself: true } => (3, &steps[..]),
        Change::Leave => (4, &[][..]),
    };
    data.push(kind);
    for step in steps {
        data.push(match step {
            ChangeStep::AddVoter(_) => 0,
            ChangeStep::AddLearner(_) => 1,
            ChangeStep::Remove(_) => 2,
        });
        data.push(step.node().0 as u8);
    }
    data.into()
}

/// The change that an entry orders; none if the state machine is to reject it.
pub(crate) fn change(data: &[u8]) -> Option<Change> {
    if data.is_empty() {
        return Some(Change::Leave);
    }
    if data[8] != 0 {
        return None;
    }
    let steps = data[10..].chunks_exact(2).map(|step| {
        let node = NodeId(u64::from(step[1]));
        match step[0] {
            0 => ChangeStep::AddVoter(node),
            1 => ChangeStep::AddLearner(node),
            _ => ChangeStep::Remove(node),
        }
    });
    let mut steps: Vec<ChangeStep> = steps.collect();
    Some(match data[9] {
        0 => Change::Keep,
        1 => Change::Simple(steps.remove(0)),
        kind @ (2 | 3) => Change::Joint { steps, leaves_by_itself: kind == 3 },
        _ => Change::Leave,
    })
}
