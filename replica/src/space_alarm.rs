//! When a member raises its NOSPACE alarm, and when it clears it: time and room in, verdicts out.
//!
//! The alarm is replicated, and by it alone entries are refused. Raising and clearing it are
//! proposals of the member whose room it is about. etcd never clears one by itself, and an
//! operator who has made room must know that; here the member clears its own when there has been
//! ample room for a minute.

use crate::lessor::Now;

const SECOND: u64 = 1_000_000_000;
/// There must be ample room for this long.
const CALM: u64 = 60 * SECOND;
/// A proposal that has had no effect after this long is made again.
const RETRY: u64 = 5 * SECOND;
/// While the alarm stands, room is looked at this often.
const PERIOD: u64 = SECOND;

/// What the member should propose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Nothing,
    /// Its NOSPACE alarm.
    Raise,
    /// That its NOSPACE alarm is cleared.
    Clear,
}

/// See the module's first lines.
#[derive(Clone, Debug, Default)]
pub struct SpaceAlarm {
    /// Something was refused for want of room, and the alarm did not stand.
    is_wanted: bool,
    /// Since when there has been ample room.
    calm_since: Option<Now>,
    /// When the last proposal was made.
    proposed: Option<Now>,
    next_look: Now,
}

impl SpaceAlarm {
    /// A request was refused, or an entry must wait, because there is no room.
    pub fn refused(&mut self) {
        self.is_wanted = true;
        self.next_look = Now(0);
    }

    /// Whether it is time to call [`SpaceAlarm::look`], `stands` telling whether the alarm of this
    /// member stands.
    #[must_use]
    pub fn is_due(&self, now: Now, stands: bool) -> bool {
        self.deadline(stands).is_some_and(|at| at <= now)
    }

    /// When it will be; `None` while there is nothing to look after.
    #[must_use]
    pub fn deadline(&self, stands: bool) -> Option<Now> {
        (stands || self.is_wanted).then_some(self.next_look)
    }

    /// Decides. `is_ample` tells whether there is so much room that the alarm may go.
    pub fn look(&mut self, now: Now, stands: bool, is_ample: bool) -> Verdict {
        self.next_look = Now(now.0 + PERIOD);
        if !stands {
            self.calm_since = None;
            return self.propose(now, self.is_wanted, Verdict::Raise);
        }
        if self.is_wanted {
            // It stands: the wish is fulfilled, and a clearing that was proposed is a thing of the
            // past.
            self.is_wanted = false;
            self.proposed = None;
            self.calm_since = None;
        }
        if !is_ample {
            self.calm_since = None;
            return Verdict::Nothing;
        }
        let since = *self.calm_since.get_or_insert(now);
        self.propose(now, now.0 - since.0 >= CALM, Verdict::Clear)
    }

    fn propose(&mut self, now: Now, is_due: bool, verdict: Verdict) -> Verdict {
        let waits = self.proposed.is_some_and(|at| now.0 < at.0 + RETRY);
        if !is_due || waits {
            return Verdict::Nothing;
        }
        self.proposed = Some(now);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now(seconds * SECOND)
    }

    #[test]
    fn it_is_raised_once_and_again_if_that_was_lost() {
        let mut alarm = SpaceAlarm::default();
        assert_eq!(alarm.deadline(false), None);
        assert_eq!(alarm.look(at(0), false, false), Verdict::Nothing);
        alarm.refused();
        assert!(alarm.is_due(at(1), false));
        assert_eq!(alarm.look(at(1), false, false), Verdict::Raise);
        alarm.refused();
        assert_eq!(alarm.look(at(2), false, false), Verdict::Nothing);
        assert_eq!(alarm.look(at(6), false, false), Verdict::Raise);
        assert_eq!(alarm.look(at(7), true, false), Verdict::Nothing);
    }

    #[test]
    fn it_is_cleared_after_a_minute_of_ample_room_without_break() {
        let mut alarm = SpaceAlarm::default();
        for second in 0..30 {
            assert_eq!(alarm.look(at(second), true, true), Verdict::Nothing);
        }
        assert_eq!(alarm.look(at(30), true, false), Verdict::Nothing);
        for second in 31..91 {
            assert_eq!(alarm.look(at(second), true, true), Verdict::Nothing, "{second}");
        }
        assert_eq!(alarm.look(at(91), true, true), Verdict::Clear);
        assert_eq!(alarm.look(at(92), true, true), Verdict::Nothing);
        assert_eq!(alarm.look(at(96), true, true), Verdict::Clear);
        assert_eq!(alarm.look(at(97), false, true), Verdict::Nothing);
        assert_eq!(alarm.deadline(false), None);
    }

    #[test]
    fn a_new_want_of_room_begins_the_minute_anew() {
        let mut alarm = SpaceAlarm::default();
        alarm.look(at(0), true, true);
        alarm.refused();
        for second in 1..61 {
            assert_eq!(alarm.look(at(second), true, true), Verdict::Nothing);
        }
        assert_eq!(alarm.look(at(61), true, true), Verdict::Clear);
    }
}
