//! Automatic compaction: time and revision in, the revision to compact to out.
//!
//! Both ways are etcd's. *Periodic* keeps the history of a stretch of time: it notes the revision
//! ten times in each period (or hour, if that is shorter), and compacts to the oldest note once
//! these span the whole period. *By revision* keeps a number of revisions, and looks each five
//! minutes. Notes are taken by every member, so that a new leader need not begin anew; only the
//! leader compacts.

use std::collections::VecDeque;

use crate::lessor::Now;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;
/// How often compaction by revision looks.
const REVISION_PERIOD: u64 = 300 * SECOND;
/// Notes in a period or an hour.
const NOTES: u64 = 10;

/// What is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    /// The history of so many nanoseconds.
    Period(u64),
    /// So many revisions.
    Revisions(i64),
}

/// See the module's first lines.
#[derive(Clone, Debug)]
pub struct AutoCompaction {
    retain: Retain,
    /// When the next note is due.
    next: Now,
    /// Revisions, one for each interval, the oldest in front; at most those of a whole period.
    notes: VecDeque<i64>,
    /// Before this nothing is compacted.
    not_before: Now,
    /// The last revision that was compacted to.
    compacted: i64,
    /// The revision that was last handed out, until its outcome is known.
    proposed: Option<i64>,
}

impl AutoCompaction {
    /// Begins to count now. At least a nanosecond or a revision is kept.
    #[must_use]
    pub fn new(retain: Retain, now: Now) -> Self {
        let retain = match retain {
            Retain::Period(period) => Retain::Period(period.max(NOTES)),
            Retain::Revisions(revisions) => Retain::Revisions(revisions.max(1)),
        };
        let mut this = Self {
            retain,
            next: now,
            notes: VecDeque::new(),
            not_before: now,
            compacted: 0,
            proposed: None,
        };
        match retain {
            // The first note is taken at once.
            Retain::Period(period) => this.not_before = Now(now.0 + period),
            Retain::Revisions(_) => this.next = Now(now.0 + REVISION_PERIOD),
        }
        this
    }

    /// When it wants to be asked next.
    #[must_use]
    pub fn deadline(&self) -> Now {
        self.next
    }

    /// The revision to compact to now, if any; `revision` is the current one. What is handed out
    /// must be answered by [`AutoCompaction::done`] before the next call hands out anything.
    pub fn due(&mut self, now: Now, revision: i64, leads: bool) -> Option<i64> {
        if now < self.next {
            return None;
        }
        let target = match self.retain {
            Retain::Period(period) => self.note(now, revision, period)?,
            Retain::Revisions(kept) => {
                self.next = Now(now.0 + REVISION_PERIOD);
                revision.saturating_sub(kept)
            }
        };
        let is_wanted = target > 0 && target != self.compacted;
        if !leads || !is_wanted || self.proposed.is_some() {
            return None;
        }
        self.proposed = Some(target);
        Some(target)
    }

    /// What became of the revision that was handed out: compacted, by whomever, or not. After a
    /// failure the next interval tries again.
    pub fn done(&mut self, now: Now, is_compacted: bool) {
        let Some(target) = self.proposed.take() else { return };
        if !is_compacted {
            return;
        }
        self.compacted = target;
        if let Retain::Period(period) = self.retain {
            self.not_before = Now(now.0 + period.min(HOUR));
        }
    }

    /// Takes a note; the oldest one once a compaction is due.
    fn note(&mut self, now: Now, revision: i64, period: u64) -> Option<i64> {
        let interval = period.min(HOUR) / NOTES;
        // After a pause time has passed without notes: nothing is made up, as nobody knows them.
        self.next = Now((self.next.0 + interval).max(now.0 + interval / 2));
        self.notes.push_back(revision);
        let most = (period / interval) as usize + 1;
        while self.notes.len() > most {
            self.notes.pop_front();
        }
        (now >= self.not_before && self.notes.len() == most).then(|| self.notes[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60 * SECOND;

    fn at(minutes: u64) -> Now {
        Now(minutes * MINUTE)
    }

    /// Runs a leader from minute to minute, at a revision that is the minute and one more; returns
    /// when it compacted, and to what.
    fn run(retain: Retain, minutes: u64) -> Vec<(u64, i64)> {
        let mut auto = AutoCompaction::new(retain, at(0));
        let mut seen = Vec::new();
        for minute in 0..=minutes {
            if let Some(target) = auto.due(at(minute), minute as i64 + 1, true) {
                auto.done(at(minute), true);
                seen.push((minute, target));
            }
        }
        seen
    }

    #[test]
    fn rule_7_12_7_13_an_hour_is_kept_by_notes_of_six_minutes() {
        assert_eq!(run(Retain::Period(HOUR), 200), [(60, 1), (120, 61), (180, 121)]);
    }

    #[test]
    fn rule_7_13_ten_hours_are_kept_from_the_tenth_hour_on() {
        let seen = run(Retain::Period(10 * HOUR), 800);
        assert_eq!(seen, [(600, 1), (660, 61), (720, 121), (780, 181)]);
    }

    #[test]
    fn rule_7_13_five_seconds_are_noted_each_half_second() {
        let mut auto = AutoCompaction::new(Retain::Period(5 * SECOND), Now(0));
        let half = SECOND / 2;
        let mut seen = Vec::new();
        for n in 0..=20 {
            assert_eq!(auto.deadline(), Now(n * half));
            if n > 0 {
                assert_eq!(auto.due(Now(n * half - 1), 0, true), None);
            }
            if let Some(target) = auto.due(Now(n * half), 100 + n as i64, true) {
                auto.done(Now(n * half), true);
                seen.push((n, target));
            }
        }
        assert_eq!(seen, [(10, 100), (20, 110)]);
    }

    #[test]
    fn rule_7_12_an_unchanged_revision_is_skipped_and_a_failure_tried_again() {
        let mut auto = AutoCompaction::new(Retain::Period(HOUR), at(0));
        let mut due = |minute: u64, revision, outcome| {
            let target = auto.due(at(minute), revision, true);
            if target.is_some() {
                auto.done(at(minute), outcome);
            }
            target
        };
        for minute in (0..60).step_by(6) {
            assert_eq!(due(minute, 7, true), None);
        }
        assert_eq!(due(60, 8, false), Some(7));
        assert_eq!(due(66, 8, true), Some(7));
        for minute in (72..126).step_by(6) {
            assert_eq!(due(minute, 8, true), None, "{minute}");
        }
        assert_eq!(due(126, 9, true), Some(8), "an hour after the last success");
    }

    #[test]
    fn rule_7_14_revisions_are_kept_each_five_minutes() {
        assert_eq!(run(Retain::Revisions(3), 20), [(5, 3), (10, 8), (15, 13), (20, 18)]);
        // Nothing that is not above 0.
        assert_eq!(run(Retain::Revisions(10), 20), [(10, 1), (15, 6), (20, 11)]);
    }

    #[test]
    fn rule_7_10_a_follower_notes_and_does_not_compact() {
        let mut auto = AutoCompaction::new(Retain::Period(HOUR), at(0));
        for minute in (0..=120).step_by(6) {
            assert_eq!(auto.due(at(minute), minute as i64, false), None);
        }
        assert_eq!(auto.due(at(126), 126, true), Some(66));
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut auto = AutoCompaction::new(Retain::Period(HOUR), at(0));
        assert_eq!(auto.due(at(0), 5, true), None);
        // After a day there is one more note, and not the oldest one at once.
        assert_eq!(auto.due(at(1440), 6, true), None);
        assert!(auto.deadline() > at(1440));
    }
}
