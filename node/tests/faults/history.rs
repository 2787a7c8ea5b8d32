//! What clients saw, and whether the one history of the key space explains it.
//!
//! Each write has a value of its own, and the store numbers its writes: so the order of all writes
//! is no riddle, and the check takes a sort and one pass. An operation is placed at the revision
//! that its answer named. Linearizable is what (1) says at its place what the history says there,
//! and (2) has its place behind everything that was answered before it began.

use std::collections::{BTreeMap, HashMap};

/// An operation that has ended. Times are nanoseconds since some moment of the run.
#[derive(Clone, Debug)]
pub struct Op {
    pub begun: u64,
    pub ended: u64,
    pub act: Act,
}

#[derive(Clone, Debug)]
pub enum Act {
    /// A write of a value that no other operation writes; `expected` is the revision of the key's
    /// last change, if that was a condition.
    Write { key: u64, value: u64, expected: Option<i64>, outcome: Outcome },
    /// A linearizable read that was answered at a revision: the value, and when it was written.
    Read { key: u64, revision: i64, found: Option<(u64, i64)> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, as this revision.
    At(i64),
    /// Its condition did not hold at this revision.
    Refused(i64),
    /// An error or no answer: it may have happened, now or later.
    Unknown,
}

/// A write as the store remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub revision: i64,
    pub key: u64,
    pub value: u64,
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub acknowledged: usize,
    pub refused: usize,
    pub reads: usize,
    /// Writes without an answer.
    pub unknown: usize,
    /// Of these, those that had happened.
    pub happened: usize,
}

/// Holds what clients saw against the history.
///
/// # Errors
/// The first contradiction, with the operation.
pub fn check(ops: &[Op], events: &[Event]) -> Result<Tally, String> {
    let history = History::new(ops, events)?;
    let mut tally = Tally::default();
    let mut places = Vec::new();
    for op in ops {
        if let Some(place) = history.place(op, &mut tally)? {
            places.push(place);
        }
    }
    in_real_time(places)?;
    Ok(tally)
}

/// Where an operation belongs among the revisions.
struct Place<'a> {
    op: &'a Op,
    /// Later than any time if it had no answer.
    ended: u64,
    revision: i64,
    is_write: bool,
}

struct History {
    by_value: HashMap<u64, Event>,
    /// Of each key: revision and value of each write.
    by_key: BTreeMap<u64, BTreeMap<i64, u64>>,
}

impl History {
    fn new(ops: &[Op], events: &[Event]) -> Result<Self, String> {
        let mut issued = HashMap::new();
        for op in ops {
            if let Act::Write { value, .. } = op.act {
                issued.insert(value, op);
            }
        }
        let mut history = Self { by_value: HashMap::new(), by_key: BTreeMap::new() };
        let mut last = 0;
        for event in events {
            if event.revision <= last {
                return Err(format!("revision {last} is followed by {event:?}"));
            }
            last = event.revision;
            if !issued.contains_key(&event.value) {
                return Err(format!("nobody has written {event:?}"));
            }
            if let Some(first) = history.by_value.insert(event.value, *event) {
                return Err(format!("a write has happened twice: {first:?}, {event:?}"));
            }
            history.by_key.entry(event.key).or_default().insert(event.revision, event.value);
        }
        Ok(history)
    }

    /// The last write of a key up to a revision.
    fn at(&self, key: u64, revision: i64) -> Option<(u64, i64)> {
        let (revision, value) = self.by_key.get(&key)?.range(..=revision).next_back()?;
        Some((*value, *revision))
    }

    /// Places an operation, after holding its answer against the history; a write that never
    /// happened and was never answered has no place.
    fn place<'a>(&self, op: &'a Op, tally: &mut Tally) -> Result<Option<Place<'a>>, String> {
        let (revision, is_write) = match &op.act {
            Act::Read { key, revision, found } => {
                let there = self.at(*key, *revision);
                if *found != there {
                    return Err(format!("{op:?}: the history has {there:?}"));
                }
                tally.reads += 1;
                (*revision, false)
            }
            Act::Write { key, value, expected, outcome } => {
                match self.written(*key, *value, *expected, *outcome, tally) {
                    Ok(Some(place)) => place,
                    Ok(None) => return Ok(None),
                    Err(why) => return Err(format!("{op:?}: {why}")),
                }
            }
        };
        let is_answered = !matches!(op.act, Act::Write { outcome: Outcome::Unknown, .. });
        let ended = if is_answered { op.ended } else { u64::MAX };
        Ok(Some(Place { op, ended, revision, is_write }))
    }

    fn written(
        &self,
        key: u64,
        value: u64,
        expected: Option<i64>,
        outcome: Outcome,
        tally: &mut Tally,
    ) -> Result<Option<(i64, bool)>, String> {
        let event = self.by_value.get(&value);
        let before = |revision| self.at(key, revision).map_or(0, |(_, written)| written);
        if let Some(event) = event
            && expected.is_some_and(|expected| before(event.revision - 1) != expected)
        {
            return Err(format!("it has happened against its condition, as {event:?}"));
        }
        match (outcome, event) {
            (Outcome::At(_), None) => Err("an acknowledged write is lost".to_owned()),
            (Outcome::At(revision), Some(event)) if event.revision != revision => {
                Err(format!("it is another revision in the history: {event:?}"))
            }
            (Outcome::At(revision), Some(event)) if event.key == key => {
                tally.acknowledged += 1;
                Ok(Some((revision, true)))
            }
            (Outcome::At(_), Some(event)) => Err(format!("it is another key: {event:?}")),
            (Outcome::Refused(_), Some(event)) => Err(format!("it has happened, as {event:?}")),
            (Outcome::Refused(revision), None) => {
                tally.refused += 1;
                if Some(before(revision)) == expected {
                    return Err("its condition did hold".to_owned());
                }
                Ok(Some((revision, false)))
            }
            (Outcome::Unknown, event) => {
                tally.unknown += 1;
                tally.happened += usize::from(event.is_some());
                Ok(event.map(|event| (event.revision, true)))
            }
        }
    }
}

/// Whether each operation has its place behind those that were answered before it began.
fn in_real_time(mut places: Vec<Place<'_>>) -> Result<(), String> {
    let mut by_end: Vec<(u64, i64)> =
        places.iter().map(|place| (place.ended, place.revision)).collect();
    by_end.sort_unstable();
    places.sort_unstable_by_key(|place| place.op.begun);
    let (mut ended, mut newest) = (by_end.into_iter().peekable(), 0);
    for place in places {
        while let Some((_, revision)) = ended.next_if(|(end, _)| *end < place.op.begun) {
            newest = newest.max(revision);
        }
        let is_behind =
            if place.is_write { place.revision > newest } else { place.revision >= newest };
        if !is_behind {
            let op = place.op;
            return Err(format!("{op:?}: revision {newest} was seen before it began"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(times: (u64, u64), act: Act) -> Op {
        Op { begun: times.0, ended: times.1, act }
    }

    fn put(times: (u64, u64), value: u64, outcome: Outcome) -> Op {
        op(times, Act::Write { key: 1, value, expected: None, outcome })
    }

    fn swap(times: (u64, u64), value: u64, expected: i64, outcome: Outcome) -> Op {
        op(times, Act::Write { key: 1, value, expected: Some(expected), outcome })
    }

    fn get(times: (u64, u64), revision: i64, found: Option<(u64, i64)>) -> Op {
        op(times, Act::Read { key: 1, revision, found })
    }

    fn events(values: &[u64]) -> Vec<Event> {
        let event =
            |(n, value): (usize, &u64)| Event { revision: 2 + n as i64, key: 1, value: *value };
        values.iter().enumerate().map(event).collect()
    }

    fn wrong(ops: &[Op], values: &[u64]) -> String {
        check(ops, &events(values)).expect_err("a contradiction")
    }

    #[test]
    fn a_history_that_explains_everything() {
        let ops = [
            put((0, 9), 10, Outcome::At(2)),
            get((1, 2), 1, None),
            get((1, 9), 2, Some((10, 2))),
            // Answered by nobody, and happened after others had been answered.
            put((1, 2), 11, Outcome::Unknown),
            put((1, 2), 12, Outcome::Unknown),
            swap((10, 12), 13, 2, Outcome::At(3)),
            swap((13, 14), 14, 2, Outcome::Refused(3)),
            get((20, 21), 4, Some((11, 4))),
        ];
        let tally = check(&ops, &events(&[10, 13, 11])).expect("no contradiction");
        let expected = Tally { acknowledged: 2, refused: 1, reads: 3, unknown: 2, happened: 1 };
        assert_eq!(tally, expected);
    }

    #[test]
    fn an_acknowledged_write_that_is_lost() {
        assert!(wrong(&[put((0, 1), 10, Outcome::At(2))], &[]).contains("lost"));
    }

    #[test]
    fn a_write_that_happened_twice_or_that_nobody_made() {
        let unknown = [put((0, 1), 10, Outcome::Unknown)];
        assert!(wrong(&unknown, &[10, 10]).contains("twice"));
        assert!(wrong(&unknown, &[11]).contains("nobody"));
    }

    #[test]
    fn a_stale_read() {
        let first = put((0, 1), 10, Outcome::At(2));
        let second = put((2, 3), 11, Outcome::At(3));
        let ops = [first.clone(), second.clone(), get((4, 5), 2, Some((10, 2)))];
        assert!(wrong(&ops, &[10, 11]).contains("revision 3 was seen before"));
        // Beside the second write it is none.
        let ops = [first, second, get((2, 5), 2, Some((10, 2)))];
        assert!(check(&ops, &events(&[10, 11])).is_ok());
    }

    #[test]
    fn a_read_of_what_was_not_there() {
        let write = put((0, 1), 10, Outcome::At(2));
        assert!(wrong(&[write.clone(), get((0, 1), 2, None)], &[10]).contains("history has"));
        assert!(wrong(&[write, get((0, 1), 1, Some((10, 2)))], &[10]).contains("history has"));
    }

    #[test]
    fn writes_against_real_time() {
        let ops = [put((0, 1), 10, Outcome::At(3)), put((2, 3), 11, Outcome::At(2))];
        assert!(wrong(&ops, &[11, 10]).contains("revision 3 was seen before"));
        // One without an answer must not come before what was answered when it began.
        let ops = [put((0, 1), 10, Outcome::At(3)), put((2, 3), 11, Outcome::Unknown)];
        assert!(wrong(&ops, &[11, 10]).contains("revision 3 was seen before"));
    }

    #[test]
    fn conditions_that_were_ignored() {
        let first = put((0, 1), 10, Outcome::At(2));
        let swapped = swap((2, 3), 11, 5, Outcome::At(3));
        assert!(wrong(&[first.clone(), swapped], &[10, 11]).contains("against its condition"));
        let refused = swap((2, 3), 11, 2, Outcome::Refused(2));
        assert!(wrong(&[first, refused], &[10]).contains("did hold"));
    }
}
