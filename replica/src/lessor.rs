//! Which leases have run out: time and leadership in, expiries and checkpoints out.
//!
//! Only the leader counts time, on its own monotonic clock, and renewals change nothing but its
//! clock's deadlines: no entry is written for them. What a lease *is* (its id, its granted
//! seconds, its keys) is replicated and belongs to the key space; this keeps deadlines alone.
//! A new leader does not know how long its predecessor had been waiting, so every lease gets its
//! full time again, and one election timeout on top: a lease may live longer than granted, never
//! shorter. Where checkpoints are enabled, the leader replicates from time to time how many seconds
//! a long lease has left, and a new leader gives it those.
//!
//! A leader that has not been scheduled for a while may have been deposed meanwhile. After such a
//! gap nothing expires and nothing is renewed until it has confirmed its leadership.
//!
//! # What it costs
//!
//! Each lease has one timer, in an ordered set: the time at which it has to be looked at, which is
//! never after the time at which something is due. A renewal moves the deadline and leaves the
//! timer, so that it costs one look-up; a timer that fires too early is set again. Nothing happens
//! between two timers.

use std::collections::{BTreeMap, BTreeSet};

use revd_mvcc::Lease;

use crate::planted::{Bug, planted};

/// Nanoseconds on the monotonic clock of whoever drives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);

const SECOND: u64 = 1_000_000_000;

/// Expiries that may be on their way through the log at one time; bounds the burst that a
/// thousand leases of one moment would make.
const IN_FLIGHT: usize = 16;

/// Expiries that are handed out in each [`WINDOW`]; as etcd, whose clients know no faster.
const WINDOW_EXPIRIES: usize = 500;
const WINDOW: u64 = SECOND / 2;

/// Expiries that fall in one second after a change of leader, as etcd spreads them.
const SPREAD_EXPIRIES: usize = 750;

/// Leases from which on they are spread.
const SPREAD_FROM: usize = 1000;

/// Leases in one checkpoint.
const CHECKPOINT_LEASES: usize = 1000;

/// Timers looked at in one step; the rest is due at once.
const STEP_TIMERS: usize = 4096;

/// How the Lessor waits.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The election timeout, which a new leader adds to each lease.
    pub election_timeout: u64,
    /// A silence longer than this needs a confirmation of leadership (three heartbeats).
    pub longest_gap: u64,
    /// After this long, what was proposed and not applied is proposed again.
    pub retry: u64,
    /// Time between two checkpoints of a lease that has longer than this; `None` for no
    /// checkpoints.
    pub checkpoint_interval: Option<u64>,
}

/// etcd's interval between two checkpoints of a lease.
pub const CHECKPOINT_INTERVAL: u64 = 300 * SECOND;

#[derive(Clone, Copy, Debug)]
struct Countdown {
    lease: Lease,
    /// When it runs out; of no meaning while following.
    at: Now,
    /// Where its timer is in `timers`; `None` while it has none: following, or expiring.
    timer: Option<Now>,
}

impl Countdown {
    /// When it was started, as if it had begun with the granted time.
    fn start(&self) -> Now {
        Now(self.at.0.saturating_sub(nanoseconds(self.lease.ttl)))
    }

    /// When the next checkpoint after `now` is due, if that is before the end.
    fn next_checkpoint(&self, interval: Option<u64>, now: Now) -> Option<Now> {
        let interval = interval?;
        let start = self.start().0;
        let passed = now.0.saturating_sub(start) / interval;
        let next = Now(start.saturating_add((passed + 1).saturating_mul(interval)));
        (next < self.at).then_some(next)
    }
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The countdown starts again from this many seconds.
    Renewed(i64),
    /// There is no such lease.
    Unknown,
    /// It has run out, and its removal is on the way: ask again when that is applied.
    Expired,
    /// A checkpoint says how long it had left, which would outlive the renewal: propose, in this
    /// term, that it has all its time, and ask again when that is applied.
    Checkpointed {
        /// The term in which this member leads.
        term: u64,
    },
    /// This member leads, but must confirm that it still does: ask again after
    /// [`Lessor::confirm`].
    Unconfirmed,
    /// This member is not the leader.
    Following,
}

/// What is due now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Propose these, in this term.
    Propose {
        /// The leases that have run out, oldest deadline first.
        expired: Vec<i64>,
        /// Leases with the seconds that they have left, for one checkpoint.
        checkpoints: Vec<(i64, i64)>,
        /// The term in which this member leads.
        term: u64,
    },
    /// Confirm leadership by a read index, then call [`Lessor::confirm`].
    Confirm,
    /// Nothing.
    Nothing,
}

/// The deadlines of all leases on the leader.
#[derive(Debug)]
pub struct Lessor {
    options: Options,
    /// The term in which this member leads.
    leading: Option<u64>,
    confirmed: bool,
    last_seen: Now,
    leases: BTreeMap<i64, Countdown>,
    /// The timers of the leases; empty while following.
    timers: BTreeSet<(Now, i64)>,
    /// Expiries proposed and not applied yet, with the time to propose them again.
    expiring: BTreeMap<i64, Now>,
    /// The leases of a checkpoint that was proposed and is not applied yet; one at a time. Until it
    /// is, it could undo a renewal for the next leader.
    checkpointing: BTreeSet<i64>,
    /// When that checkpoint is given up.
    checkpoint_retry: Now,
    /// When the present window began, and the expiries handed out in it.
    window: (Now, usize),
}

impl Lessor {
    /// A follower's Lessor that knows these leases.
    pub fn new(options: Options, leases: impl IntoIterator<Item = (i64, Lease)>) -> Self {
        let countdown = |lease| Countdown { lease, at: Now(0), timer: None };
        Self {
            options,
            leading: None,
            confirmed: false,
            last_seen: Now(0),
            leases: leases.into_iter().map(|(id, lease)| (id, countdown(lease))).collect(),
            timers: BTreeSet::new(),
            expiring: BTreeMap::new(),
            checkpointing: BTreeSet::new(),
            checkpoint_retry: Now(0),
            window: (Now(0), 0),
        }
    }

    /// This member leads, and has applied the first entry of its term: all countdowns start anew,
    /// from what was checkpointed where something was. Many of them are spread over time.
    pub fn lead(&mut self, term: u64, now: Now) {
        self.follow();
        self.leading = Some(term);
        self.confirmed = true;
        self.last_seen = now;
        self.window = (now, 0);
        let start = Now(now.0.saturating_add(self.options.election_timeout));
        let mut order: Vec<(Now, i64)> = self
            .leases
            .iter()
            .map(|(&id, countdown)| (after(start, left_to(countdown.lease)), id))
            .collect();
        order.sort_unstable();
        if order.len() >= SPREAD_FROM {
            spread(&mut order);
        }
        let mut timers = Vec::with_capacity(order.len());
        for (at, id) in order {
            let countdown = self.leases.get_mut(&id).expect("it was listed from there");
            if countdown.at == Now(0) || !planted(Bug::CountFromGrant) {
                countdown.at = at;
            }
            let at = countdown.at;
            let checkpoint = countdown.next_checkpoint(self.options.checkpoint_interval, now);
            let timer = checkpoint.unwrap_or(at);
            countdown.timer = Some(timer);
            timers.push((timer, id));
        }
        self.timers = timers.into_iter().collect();
    }

    /// This member does not lead any more: no clock runs.
    pub fn follow(&mut self) {
        if planted(Bug::ExpireDeposed) || planted(Bug::RenewDeposed) {
            return;
        }
        self.leading = None;
        self.timers = BTreeSet::new();
        self.expiring.clear();
        self.checkpointing.clear();
    }

    /// All leases are others now: this member follows, and has installed a snapshot.
    pub fn replace(&mut self, leases: impl IntoIterator<Item = (i64, Lease)>) {
        *self = Self::new(self.options, leases);
    }

    /// A lease was granted.
    pub fn granted(&mut self, id: i64, ttl: i64, now: Now) {
        let lease = Lease::new(ttl);
        let countdown = Countdown { lease, at: after(now, ttl), timer: None };
        let old = self.leases.insert(id, countdown);
        assert!(old.is_none(), "lease {id} was granted twice");
        if self.leading.is_some() {
            self.set_timer(id, now);
        }
    }

    /// A lease is gone.
    pub fn revoked(&mut self, id: i64) {
        if let Some(Countdown { timer: Some(timer), .. }) = self.leases.remove(&id) {
            self.timers.remove(&(timer, id));
        }
        self.expiring.remove(&id);
        self.checkpointing.remove(&id);
    }

    /// A checkpoint of a lease was applied: the seconds that it had left, or 0 for all.
    pub fn checkpointed(&mut self, id: i64, remaining: i64) {
        if remaining > 0 {
            self.checkpointing.remove(&id);
        }
        if let Some(countdown) = self.leases.get_mut(&id) {
            countdown.lease.remaining = remaining;
        }
    }

    /// Starts the countdown of a lease again.
    pub fn renew(&mut self, id: i64, now: Now) -> Renewal {
        let Some(term) = self.leading else { return Renewal::Following };
        if !self.is_confirmed(now) {
            return Renewal::Unconfirmed;
        }
        let Some(countdown) = self.leases.get_mut(&id) else {
            return Renewal::Unknown;
        };
        if countdown.at <= now {
            return Renewal::Expired;
        }
        let is_checkpointed = countdown.lease.remaining > 0 || self.checkpointing.contains(&id);
        if is_checkpointed && !planted(Bug::RenewBehindCheckpoint) {
            return Renewal::Checkpointed { term };
        }
        let ttl = countdown.lease.ttl;
        countdown.at = after(now, ttl);
        // Earlier than before is possible only where a change of leader had put it off.
        if countdown.timer.is_none_or(|timer| timer > countdown.at) {
            self.set_timer(id, now);
        }
        Renewal::Renewed(ttl)
    }

    /// Whole seconds that a lease has left, and the seconds granted; `None` if there is no such
    /// lease.
    pub fn remaining(&self, id: i64, now: Now) -> Option<(i64, i64)> {
        let countdown = self.leases.get(&id)?;
        let left = countdown.at.0.saturating_sub(now.0) / SECOND;
        Some((i64::try_from(left).unwrap_or(i64::MAX), countdown.lease.ttl))
    }

    /// The leases, soonest to run out first while leading, else by id.
    pub fn ids(&self) -> Vec<i64> {
        let mut order: Vec<(Now, i64)> =
            self.leases.iter().map(|(&id, countdown)| (countdown.at, id)).collect();
        if self.leading.is_some() {
            order.sort_unstable();
        }
        order.into_iter().map(|(_, id)| id).collect()
    }

    /// What has to be done at this moment. Call it at [`Self::next_deadline`], and whenever else
    /// the driver has run, so that a gap means what it says.
    pub fn due(&mut self, now: Now) -> Due {
        let Some(term) = self.leading else { return Due::Nothing };
        let is_confirmed = self.is_confirmed(now);
        if is_confirmed {
            self.last_seen = now;
        }
        if self.next_deadline().is_none_or(|next| next > now) {
            return Due::Nothing;
        }
        if !is_confirmed {
            return Due::Confirm;
        }
        self.take_back(now);
        let (expired, checkpoints) = self.fire(now);
        if expired.is_empty() && checkpoints.is_empty() {
            return Due::Nothing;
        }
        Due::Propose { expired, checkpoints, term }
    }

    /// Leadership was confirmed by a read index that was asked for after the gap.
    pub fn confirm(&mut self, now: Now) {
        self.confirmed = true;
        self.last_seen = now;
    }

    /// When [`Self::due`] has something to say next; `None` while no lease is counted down.
    pub fn next_deadline(&self) -> Option<Now> {
        let retry = self.expiring.values().min().copied();
        let full = self.expiring.len() >= IN_FLIGHT;
        let timer = self.timers.first().filter(|_| !full).map(|&(at, id)| {
            let (start, handed) = self.window;
            let next_window = Now(start.0.saturating_add(WINDOW));
            if !self.checkpointing.is_empty() && self.leases[&id].at > at {
                at.max(self.checkpoint_retry)
            } else if handed >= WINDOW_EXPIRIES {
                at.max(next_window)
            } else {
                at
            }
        });
        timer.into_iter().chain(retry).min()
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether it counts: this member leads.
    pub fn is_leading(&self) -> bool {
        self.leading.is_some()
    }

    /// Whether there is no lease.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    fn is_confirmed(&mut self, now: Now) -> bool {
        if planted(Bug::RenewDeposed) {
            return true;
        }
        if now.0.saturating_sub(self.last_seen.0) > self.options.longest_gap {
            self.confirmed = false;
        }
        self.confirmed
    }

    /// Sets the timer of a lease to what is due first after `now`.
    fn set_timer(&mut self, id: i64, now: Now) {
        let Some(countdown) = self.leases.get_mut(&id) else { return };
        let checkpoint = countdown.next_checkpoint(self.options.checkpoint_interval, now);
        let timer = checkpoint.unwrap_or(countdown.at);
        if let Some(old) = countdown.timer.replace(timer) {
            self.timers.remove(&(old, id));
        }
        self.timers.insert((timer, id));
    }

    /// Gives the leases a timer again whose expiry was proposed and got lost, and forgets a
    /// checkpoint that was.
    fn take_back(&mut self, now: Now) {
        for (id, _) in self.expiring.extract_if(.., |_, retry| *retry <= now) {
            if let Some(countdown) = self.leases.get_mut(&id) {
                countdown.timer = Some(countdown.at);
                self.timers.insert((countdown.at, id));
            }
        }
        if self.checkpoint_retry <= now {
            self.checkpointing.clear();
        }
    }

    /// Takes timers that have come, as far as the bounds allow: expiries and checkpoints.
    fn fire(&mut self, now: Now) -> (Vec<i64>, Vec<(i64, i64)>) {
        if now.0.saturating_sub(self.window.0.0) >= WINDOW {
            self.window = (now, 0);
        }
        let (mut expired, mut checkpoints) = (Vec::new(), Vec::new());
        for _ in 0..STEP_TIMERS {
            let Some(&(timer, id)) = self.timers.first().filter(|(at, _)| *at <= now) else {
                break;
            };
            let countdown = self.leases.get_mut(&id).expect("a timer belongs to a lease");
            if countdown.at <= now {
                if self.expiring.len() >= IN_FLIGHT || self.window.1 >= WINDOW_EXPIRIES {
                    break;
                }
                self.timers.remove(&(timer, id));
                countdown.timer = None;
                self.expiring.insert(id, Now(now.0.saturating_add(self.options.retry)));
                self.window.1 += 1;
                expired.push(id);
                continue;
            }
            let interval = self.options.checkpoint_interval;
            // A timer from before a renewal comes too early.
            if interval.is_some_and(|interval| timer.0 >= countdown.start().0 + interval) {
                if checkpoints.len() == CHECKPOINT_LEASES || !self.checkpointing.is_empty() {
                    break;
                }
                let left = (countdown.at.0 - now.0).div_ceil(SECOND);
                checkpoints.push((id, i64::try_from(left).unwrap_or(i64::MAX)));
            }
            self.set_timer(id, now);
        }
        if !checkpoints.is_empty() {
            self.checkpointing = checkpoints.iter().map(|&(id, _)| id).collect();
            self.checkpoint_retry = Now(now.0.saturating_add(self.options.retry));
        }
        (expired, checkpoints)
    }
}

/// Seconds that a new leader gives a lease.
fn left_to(lease: Lease) -> i64 {
    if lease.remaining > 0 { lease.remaining } else { lease.ttl }
}

/// Puts off deadlines, given in order, so that no second has too many of them.
fn spread(deadlines: &mut [(Now, i64)]) {
    for n in SPREAD_EXPIRIES..deadlines.len() {
        let earliest = deadlines[n - SPREAD_EXPIRIES].0.0.saturating_add(SECOND);
        deadlines[n].0 = deadlines[n].0.max(Now(earliest));
    }
}

fn after(now: Now, ttl: i64) -> Now {
    Now(now.0.saturating_add(nanoseconds(ttl)))
}

fn nanoseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options {
        election_timeout: SECOND,
        longest_gap: SECOND,
        retry: 7 * SECOND,
        checkpoint_interval: None,
    };

    fn at(tenths: u64) -> Now {
        Now(tenths * SECOND / 10)
    }

    fn leader() -> Lessor {
        let mut lessor = Lessor::new(OPTIONS, []);
        lessor.lead(2, at(0));
        lessor
    }

    /// Moves in steps shorter than the gap, and gathers what expires.
    fn run(lessor: &mut Lessor, from: u64, to: u64) -> Vec<(u64, i64)> {
        let mut expired = Vec::new();
        for tenths in from..=to {
            if let Due::Propose { expired: ids, checkpoints, term } = lessor.due(at(tenths)) {
                assert_eq!((term, checkpoints), (2, Vec::new()));
                expired.extend(ids.into_iter().map(|id| (tenths, id)));
            }
        }
        expired
    }

    #[test]
    fn a_lease_expires_at_its_deadline_and_not_before() {
        let mut lessor = leader();
        lessor.granted(5, 2, at(0));
        assert_eq!(lessor.next_deadline(), Some(at(20)));
        assert_eq!(run(&mut lessor, 0, 30), [(20, 5)]);
        lessor.revoked(5);
        assert_eq!(lessor.next_deadline(), None);
    }

    #[test]
    fn rule_6_10_renewal_restarts_the_countdown() {
        let mut lessor = leader();
        lessor.granted(5, 2, at(0));
        run(&mut lessor, 0, 15);
        assert_eq!(lessor.renew(5, at(15)), Renewal::Renewed(2));
        assert_eq!(lessor.remaining(5, at(20)), Some((1, 2)));
        assert_eq!(run(&mut lessor, 15, 40), [(35, 5)]);
    }

    #[test]
    fn rule_6_11_renewal_of_an_expired_lease_waits() {
        let mut lessor = leader();
        lessor.granted(5, 1, at(0));
        run(&mut lessor, 0, 10);
        assert_eq!(lessor.renew(5, at(11)), Renewal::Expired);
        lessor.revoked(5);
        assert_eq!(lessor.renew(5, at(11)), Renewal::Unknown);
    }

    #[test]
    fn rule_6_20_an_expiry_that_does_not_complete_is_tried_again() {
        let mut lessor = leader();
        lessor.granted(5, 1, at(0));
        assert_eq!(run(&mut lessor, 0, 100), [(10, 5), (80, 5)]);
    }

    #[test]
    fn rule_6_22_a_new_leader_gives_full_time_and_an_election_timeout() {
        let mut lessor = Lessor::new(OPTIONS, [(5, Lease::new(2))]);
        assert_eq!(lessor.due(at(500)), Due::Nothing);
        lessor.lead(2, at(1000));
        assert_eq!(run(&mut lessor, 1000, 1040), [(1030, 5)]);
    }

    #[test]
    fn rule_6_25_a_follower_expires_nothing() {
        let mut lessor = leader();
        lessor.granted(5, 1, at(0));
        lessor.follow();
        assert_eq!(run(&mut lessor, 0, 50), []);
        assert_eq!(lessor.renew(5, at(1)), Renewal::Following);
    }

    #[test]
    fn rule_6_13_after_a_gap_leadership_is_confirmed_first() {
        let mut lessor = leader();
        lessor.granted(5, 1, at(0));
        assert_eq!(lessor.due(at(60)), Due::Confirm);
        assert_eq!(lessor.renew(5, at(60)), Renewal::Unconfirmed);
        lessor.confirm(at(60));
        assert_eq!(run(&mut lessor, 60, 61), [(60, 5)]);
    }

    #[test]
    fn rule_6_19_a_burst_is_bounded_in_flight() {
        let mut lessor = leader();
        (1..=40).for_each(|id| lessor.granted(id, 1, at(0)));
        let first = run(&mut lessor, 0, 20);
        assert_eq!(first.len(), IN_FLIGHT);
        first.iter().for_each(|&(_, id)| lessor.revoked(id));
        assert_eq!(run(&mut lessor, 21, 22).len(), IN_FLIGHT);
    }

    /// Leaves that many leases of one moment to a new leader, and returns when each expires.
    fn expiries(count: i64) -> Vec<(u64, i64)> {
        let mut lessor = Lessor::new(OPTIONS, (1..=count).map(|id| (id, Lease::new(5))));
        lessor.lead(2, at(0));
        let mut expired = Vec::new();
        for tenths in 0..200 {
            loop {
                let ids = run(&mut lessor, tenths, tenths);
                ids.iter().for_each(|&(_, id)| lessor.revoked(id));
                if ids.is_empty() {
                    break;
                }
                expired.extend(ids);
            }
        }
        assert!(lessor.is_empty() && lessor.timers.is_empty());
        expired
    }

    #[test]
    fn rule_6_19_at_most_500_expire_in_half_a_second() {
        let mut lessor = leader();
        (1..=1200).for_each(|id| lessor.granted(id, 1, at(0)));
        let mut counts = Vec::new();
        for tenths in (10..30).step_by(5) {
            let mut count = 0;
            loop {
                let expired = run(&mut lessor, tenths, tenths);
                expired.iter().for_each(|&(_, id)| lessor.revoked(id));
                count += expired.len();
                if expired.is_empty() {
                    break;
                }
            }
            counts.push(count);
        }
        assert_eq!(counts, [500, 500, 200, 0]);
        assert_eq!(lessor.next_deadline(), None);
    }

    #[test]
    fn rule_6_23_a_new_leader_spreads_many_expiries() {
        let expired = expiries(3000);
        assert_eq!(expired.len(), 3000);
        for tenths in 0..200 {
            let second = tenths..tenths + 10;
            let count = expired.iter().filter(|(at, _)| second.contains(at)).count();
            assert!(count <= SPREAD_EXPIRIES, "{count} expire in the second from {tenths} on");
        }
        assert_eq!(expired.last().map(|last| last.0), Some(90 + 5));
        let together = expiries(999);
        assert_eq!(together.last().map(|last| last.0), Some(60 + 5), "few are not spread");
    }

    const CHECKPOINTS: Options =
        Options { checkpoint_interval: Some(CHECKPOINT_INTERVAL), ..OPTIONS };

    /// What a Lessor checkpoints at each second, applied at once.
    fn checkpoints(lessor: &mut Lessor, seconds: std::ops::Range<u64>) -> Vec<(u64, i64, i64)> {
        let mut made = Vec::new();
        for second in seconds {
            if let Due::Propose { checkpoints, .. } = lessor.due(at(second * 10)) {
                for (id, remaining) in checkpoints {
                    lessor.checkpointed(id, remaining);
                    made.push((second, id, remaining));
                }
            }
        }
        made
    }

    #[test]
    fn rule_6_24_long_leases_are_checkpointed_each_five_minutes() {
        let mut lessor = Lessor::new(CHECKPOINTS, []);
        lessor.lead(2, at(0));
        lessor.granted(5, 1000, at(0));
        lessor.granted(6, 300, at(0));
        lessor.granted(7, 301, at(0));
        let made = checkpoints(&mut lessor, 0..1000);
        assert_eq!(made, [(300, 5, 700), (300, 7, 1), (600, 5, 400), (900, 5, 100)]);
    }

    #[test]
    fn rule_6_24_a_renewal_waits_until_the_checkpoint_is_unset() {
        let mut lessor = Lessor::new(CHECKPOINTS, []);
        lessor.lead(2, at(0));
        lessor.granted(5, 1000, at(0));
        assert_eq!(checkpoints(&mut lessor, 0..400), [(300, 5, 700)]);
        assert_eq!(lessor.renew(5, at(4000)), Renewal::Checkpointed { term: 2 });
        lessor.checkpointed(5, 0);
        assert_eq!(lessor.renew(5, at(4000)), Renewal::Renewed(1000));
        // Its timer of before comes too early, and is set anew.
        assert_eq!(checkpoints(&mut lessor, 400..1000), [(700, 5, 700)]);
    }

    #[test]
    fn rule_6_22_a_new_leader_starts_from_the_checkpoint() {
        let mut lease = Lease::new(1000);
        lease.remaining = 7;
        let mut lessor = Lessor::new(OPTIONS, [(5, lease)]);
        lessor.lead(2, at(0));
        assert_eq!(lessor.remaining(5, at(0)), Some((8, 1000)));
        assert_eq!(run(&mut lessor, 0, 100), [(80, 5)]);
    }

    #[test]
    fn rule_6_24_a_checkpoint_has_at_most_a_thousand_leases() {
        let mut lessor = Lessor::new(CHECKPOINTS, []);
        lessor.lead(2, at(0));
        (1..=2500).for_each(|id| lessor.granted(id, 5000, at(0)));
        checkpoints(&mut lessor, 0..300);
        let mut sizes = Vec::new();
        while let Due::Propose { expired, checkpoints, .. } = lessor.due(at(3000)) {
            assert!(expired.is_empty());
            sizes.push(checkpoints.len());
            assert_eq!(lessor.due(at(3000)), Due::Nothing, "one at a time");
            checkpoints.into_iter().for_each(|(id, left)| lessor.checkpointed(id, left));
        }
        assert_eq!(sizes, [1000, 1000, 500]);
    }

    #[test]
    fn a_checkpoint_under_way_does_not_undo_a_renewal() {
        let mut lessor = Lessor::new(CHECKPOINTS, []);
        lessor.lead(2, at(0));
        lessor.granted(5, 1000, at(0));
        checkpoints(&mut lessor, 0..300);
        assert!(matches!(lessor.due(at(3000)), Due::Propose { .. }));
        // The log has it before whatever is proposed from now on.
        assert_eq!(lessor.renew(5, at(3000)), Renewal::Checkpointed { term: 2 });
        lessor.checkpointed(5, 0);
        assert_eq!(lessor.renew(5, at(3000)), Renewal::Checkpointed { term: 2 }, "still to come");
        lessor.checkpointed(5, 700);
        lessor.checkpointed(5, 0);
        assert_eq!(lessor.renew(5, at(3000)), Renewal::Renewed(1000));
    }

    #[test]
    fn a_checkpoint_that_gets_lost_is_given_up() {
        let mut lessor = Lessor::new(CHECKPOINTS, []);
        lessor.lead(2, at(0));
        (5..=6).for_each(|id| lessor.granted(id, 1000 * (id - 4), at(10 * (id as u64 - 5))));
        checkpoints(&mut lessor, 0..300);
        assert!(matches!(lessor.due(at(3000)), Due::Propose { .. }));
        assert_eq!(lessor.due(at(3010)), Due::Nothing, "the next waits for it");
        assert_eq!(lessor.next_deadline(), Some(at(3070)));
        (3011..3070).for_each(|tenths| assert_eq!(lessor.due(at(tenths)), Due::Nothing));
        let Due::Propose { checkpoints, .. } = lessor.due(at(3070)) else { panic!("nothing due") };
        assert_eq!(checkpoints, [(6, 1694)]);
    }

    #[test]
    fn renewals_leave_no_timers_behind() {
        let mut lessor = leader();
        (1..=10).for_each(|id| lessor.granted(id, 20, at(0)));
        for tenths in 0..1000 {
            assert_eq!(lessor.due(at(tenths)), Due::Nothing);
            assert_eq!(lessor.renew(1 + tenths as i64 % 10, at(tenths)), Renewal::Renewed(20));
            assert_eq!(lessor.timers.len(), 10);
        }
        assert_eq!(lessor.ids()[..2], [1, 2], "by what they have left");
        (1..=10).for_each(|id| lessor.revoked(id));
        assert!(lessor.timers.is_empty());
    }
}
