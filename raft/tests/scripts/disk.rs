//! What a member is found with, for stories that begin in the middle.

use revd_raft::*;

use crate::command;
use crate::stage::Stage;
use crate::support::change_of;
use crate::words::Words;

impl Stage {
    /// `N term T [vote V] [applied I] [log TERM[:CHANGE]…]`: the member starts from a disk with
    /// this hard state and this log. A change has `-` for its blanks, and `empty` is the first
    /// entry of a leader; every other payload is an `x`.
    pub(crate) fn set_disk(&mut self, mut words: Words) -> Result<(), String> {
        let node = words.node()?;
        words.skip("term")?;
        let term = words.term()?;
        let vote = if words.comes("vote") { Some(words.node()?) } else { None };
        let applied = if words.comes("applied") { words.number("index")? } else { 0 };
        let tokens =
            if words.comes("log") { words.rest() } else { words.end().map(|()| vec![])? };
        let mut entries = Vec::new();
        for (index, token) in (1..).zip(tokens) {
            entries.push(self.entry(Index(index), token)?);
        }
        let changes = self.cluster.changes.clone();
        let member = self.member(node)?;
        member.raft = None;
        member.hard_state = HardState { term, vote };
        member.log = entries.into();
        let state = &mut member.checkpoint;
        for entry in member.log.iter().take(applied as usize) {
            state.applied = entry.position();
            match entry.kind {
                EntryKind::Normal => state.words.push(entry.data.clone()),
                EntryKind::Empty => {}
                EntryKind::Configuration => {
                    let changed = state.configuration.changed(&change_of(&changes, entry));
                    state.configuration = changed.unwrap_or(state.configuration.clone());
                }
            }
        }
        member.start();
        self.started(node)
    }

    fn entry(&mut self, index: Index, token: &str) -> Result<Entry, String> {
        let (term, what) = token.split_once(':').unwrap_or((token, ""));
        let term = Words::of(term).term()?;
        let (kind, data) = match what {
            "" => (EntryKind::Normal, "x".into()),
            "empty" => (EntryKind::Empty, bytes::Bytes::new()),
            "leave" => (EntryKind::Configuration, bytes::Bytes::new()),
            change => {
                let change = command::change(Words::of(&change.replace('-', " ")))?;
                (EntryKind::Configuration, self.cluster.change_data(&change))
            }
        };
        Ok(Entry { term, index, kind, data })
    }
}
