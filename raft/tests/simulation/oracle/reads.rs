//! Reads against the writes that were done when they began.
//!
//! A read must see every write that finished before it was asked for. A write finishes no earlier
//! than some member knows it committed, so a read index of at least the highest commit index that
//! anybody knew is asked for: more than a client could tell, and true of every correct read.

use revd_raft::{Index, ReadId};
use revd_sim::{Checked, Life, ensure};

use crate::machine::{KEYS, Register, State};

#[derive(Default)]
pub(crate) struct Reads {
    /// By id.
    asked: Vec<Asked>,
    /// For each register every write, in order.
    writes: [Vec<Register>; KEYS],
}

struct Asked {
    by: Life,
    /// What was committed when it was asked.
    floor: Index,
    answered: bool,
    served: bool,
}

impl Reads {
    /// A new read of a member, asked for while so much is committed.
    pub(crate) fn ask(&mut self, by: Life, floor: Index) -> ReadId {
        self.asked.push(Asked { by, floor, answered: false, served: false });
        ReadId(self.asked.len() as u64 - 1)
    }

    /// A member has its read index, or is told that the read failed.
    pub(crate) fn answered(&mut self, by: Life, id: ReadId, index: Option<Index>) -> Checked {
        let asked = self.asked.get_mut(id.0 as usize);
        let Some(asked) = asked.filter(|asked| asked.by == by && !asked.answered) else {
            ensure!(false, "answers read {id}, which nobody waits for");
            return Ok(());
        };
        asked.answered = true;
        ensure!(
            index.is_none_or(|index| index >= asked.floor),
            "read {id} may be served at {index:?}, {} was committed when it was asked",
            asked.floor
        );
        Ok(())
    }

    /// A register was written by an entry, for the first time or again elsewhere.
    pub(crate) fn written(&mut self, key: usize, register: Register) {
        let writes = &mut self.writes[key];
        if writes.last().is_none_or(|last| last.written < register.written) {
            writes.push(register);
        }
    }

    /// A read is served from this state: it sees the last write up to there, none older than what
    /// was done when it began.
    pub(crate) fn served(&mut self, id: ReadId, key: usize, state: &State) -> Checked {
        let asked = &mut self.asked[id.0 as usize];
        asked.served = true;
        let floor = asked.floor;
        let applied = state.position.index;
        let register = state.registers[key];
        ensure!(applied >= floor, "read {id} sees the state at {applied}, older than {floor}");
        let writes = &self.writes[key];
        let behind = writes.partition_point(|write| write.written <= applied);
        let expected = behind.checked_sub(1).map(|place| writes[place]).unwrap_or_default();
        ensure!(
            register == expected,
            "read {id} of register {key} at {applied} sees {register:?}, written was {expected:?}"
        );
        Ok(())
    }

    /// Whether a read has been served.
    pub(crate) fn is_served(&self, id: ReadId) -> bool {
        self.asked[id.0 as usize].served
    }
}
