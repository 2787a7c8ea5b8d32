//! Messages on their way: which of them a command means, and their arrival.

use std::collections::VecDeque;

use revd_raft::*;

use crate::stage::Stage;
use crate::support::Member;
use crate::tell;
use crate::words::Words;

/// More messages than any script needs: whoever sends on and on is stopped.
const DELIVERIES_MAX: usize = 5_000;

/// Messages by sender, receiver and kind; what is left open matches all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Which {
    from: Option<NodeId>,
    to: Option<NodeId>,
    kind: Option<String>,
}

/// How many of them, in the order of their sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Many {
    All,
    First,
    Newest,
}

impl Which {
    /// `[FROM TO [KIND]]`, `*` for any.
    pub(crate) fn parse(words: &mut Words) -> Result<Which, String> {
        let mut one = || match words.peek() {
            None | Some("first" | "newest" | "*") => {
                words.comes("*");
                Ok(None)
            }
            Some(_) => words.node().map(Some),
        };
        let (from, to) = (one()?, one()?);
        let named = words.peek().filter(|word| !["first", "newest"].contains(word));
        let kind = named.map(str::to_owned);
        if let Some(kind) = &kind {
            words.skip(kind)?;
            if !tell::KINDS.contains(&kind.as_str()) {
                return Err(format!("{kind} is no kind of message"));
            }
        }
        Ok(Which { from, to, kind })
    }

    pub(crate) fn fits(&self, message: &Message) -> bool {
        self.from.is_none_or(|from| from == message.from)
            && self.to.is_none_or(|to| to == message.to)
            && self.kind.as_deref().is_none_or(|kind| kind == tell::kind(&message.body))
    }

    fn is_all(&self) -> bool {
        *self == Which { from: None, to: None, kind: None }
    }
}

impl Many {
    pub(crate) fn parse(words: &mut Words) -> Many {
        if words.comes("first") {
            Many::First
        } else if words.comes("newest") {
            Many::Newest
        } else {
            Many::All
        }
    }
}

impl Stage {
    /// Takes the messages meant off the wires. What is held stays, unless it is meant by name.
    fn pick(&mut self, which: &Which, many: Many) -> Result<VecDeque<Message>, String> {
        let held = |message: &Message| self.held.iter().any(|held| held.fits(message));
        let meant = |message: &Message| which.fits(message) && !(which.is_all() && held(message));
        let (mut picked, left): (VecDeque<_>, VecDeque<_>) =
            self.cluster.wires.iter().cloned().partition(meant);
        if picked.is_empty() {
            return Err("no such message is on its way".to_owned());
        }
        let mut back = VecDeque::new();
        match many {
            Many::All => {}
            Many::First => back = picked.split_off(1),
            Many::Newest => {
                back = picked.split_off(picked.len() - 1);
                std::mem::swap(&mut back, &mut picked);
            }
        }
        // What was not meant keeps its place, but for those beside the one that was.
        self.cluster.wires = back.into_iter().chain(left).collect();
        Ok(picked)
    }

    pub(crate) fn deliver(&mut self, which: &Which, many: Many) -> Result<(), String> {
        for message in self.pick(which, many)? {
            self.arrive(message);
        }
        Ok(())
    }

    pub(crate) fn lose(&mut self, which: &Which, many: Many) -> Result<(), String> {
        for message in self.pick(which, many)? {
            self.is_lost(message);
        }
        Ok(())
    }

    /// The messages meant are on their way twice.
    pub(crate) fn repeat(&mut self, which: &Which, many: Many) -> Result<(), String> {
        let picked = self.pick(which, many)?;
        self.cluster.wires.extend(picked.iter().cloned());
        self.cluster.wires.extend(picked);
        Ok(())
    }

    /// Everything arrives that is not held, and what comes of it, until nothing is left.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for _ in 0..DELIVERIES_MAX {
            let held = |message: &Message| self.held.iter().any(|held| held.fits(message));
            let Some(place) = self.cluster.wires.iter().position(|message| !held(message)) else {
                return Ok(());
            };
            if let Some(message) = self.cluster.wires.remove(place) {
                self.arrive(message);
            }
        }
        Err(format!("no rest after {DELIVERIES_MAX} messages"))
    }

    fn arrive(&mut self, message: Message) {
        let (from, to) = (message.from, message.to);
        let up = self.cluster.members.get(&to).is_some_and(Member::is_up);
        if !up || self.cluster.cut.contains(&(from, to)) {
            return self.is_lost(message);
        }
        let kind = tell::kind(&message.body);
        let delivered = snapshot(&message);
        let begun = self.told.len();
        if !(self.quiet && kind.starts_with("heartbeat")) {
            self.tell(&format!("{to} gets {kind} from {from}"));
        }
        self.depth += 1;
        self.input(to, Input::Message(message));
        if self.quiet && self.told.len() > begun && kind.starts_with("heartbeat") {
            self.told.insert(begun, format!("{to} gets {kind} from {from}"));
        }
        if let Some(position) = delivered {
            self.report(from, to, SnapshotOutcome::Delivered(position));
        }
        self.depth -= 1;
    }

    fn is_lost(&mut self, message: Message) {
        if !(self.quiet && tell::kind(&message.body).starts_with("heartbeat")) {
            self.tell(&format!("lost: {}", tell::message(&self.cluster, &message)));
        }
        if snapshot(&message).is_some() {
            self.depth += 1;
            self.report(message.from, message.to, SnapshotOutcome::Failed);
            self.depth -= 1;
        }
    }

    /// The sender of a snapshot learns what has become of it.
    fn report(&mut self, from: NodeId, to: NodeId, outcome: SnapshotOutcome) {
        if self.cluster.members.get(&from).is_some_and(Member::is_up) {
            let what = if outcome == SnapshotOutcome::Failed { "failed" } else { "delivered" };
            self.tell(&format!("{from} is told that the snapshot for {to} is {what}"));
            self.input(from, Input::SnapshotReport { to, outcome });
        }
    }
}

fn snapshot(message: &Message) -> Option<Position> {
    match &message.body {
        Body::Snapshot { position, .. } => Some(*position),
        _ => None,
    }
}
