//! The links between members: which are cut, and what becomes of a message.

use crate::chance::Chance;
use crate::plan::{MEMBERS_MAX, Plan};
use crate::queue::{MS, Time};

/// How members are cut off from each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// Two groups that hear nothing of each other.
    Full,
    /// One group is heard by the other, and hears nothing.
    OneWay,
    /// Some links, each in both directions.
    Partial,
    /// One member hears and is heard by nobody.
    Alone(usize),
    /// One member is heard and hears nothing, or the reverse.
    Deaf(usize),
    Mute(usize),
}

pub(crate) struct Network {
    /// For each sender, a bit for each receiver that it does not reach.
    cut: [u32; MEMBERS_MAX],
    /// When the last message of each link arrives, for networks that keep the order.
    arrival: [[Time; MEMBERS_MAX]; MEMBERS_MAX],
    /// Nothing goes wrong any more.
    healed: bool,
}

impl Network {
    pub(crate) fn new() -> Network {
        Network { cut: [0; MEMBERS_MAX], arrival: [[0; MEMBERS_MAX]; MEMBERS_MAX], healed: false }
    }

    pub(crate) fn reaches(&self, from: usize, to: usize) -> bool {
        self.cut[from] & (1 << to) == 0
    }

    /// How often a message sent now arrives, up to twice, and when.
    pub(crate) fn arrivals(
        &mut self,
        plan: &Plan,
        chance: &mut Chance,
        now: Time,
        (from, to): (usize, usize),
    ) -> [Option<Time>; 2] {
        if self.healed {
            return [Some(now + 1 + chance.below(MS)), None];
        }
        if !self.reaches(from, to) || chance.permille(plan.loss) {
            return [None, None];
        }
        let first = self.arrival(plan, chance, now, (from, to));
        let repeated = chance.permille(plan.repeats);
        [Some(first), repeated.then(|| now + delay(plan, chance) * 4)]
    }

    fn arrival(
        &mut self,
        plan: &Plan,
        chance: &mut Chance,
        now: Time,
        (from, to): (usize, usize),
    ) -> Time {
        let time = now + delay(plan, chance);
        if !plan.in_order {
            return time;
        }
        let last = &mut self.arrival[from][to];
        *last = time.max(*last);
        *last
    }

    /// Cuts links among the first `count` members.
    pub(crate) fn cut(&mut self, cut: Cut, count: usize, chance: &mut Chance) {
        let all = (1_u32 << count) - 1;
        let group = (chance.next() as u32) & all;
        for from in 0..count {
            let inside = group & (1 << from) != 0;
            self.cut[from] |= match cut {
                Cut::Full if inside => all & !group,
                Cut::Full => group,
                Cut::OneWay if inside => 0,
                Cut::OneWay => group,
                Cut::Partial => 0,
                Cut::Alone(member) | Cut::Mute(member) if from == member => all,
                Cut::Alone(member) | Cut::Deaf(member) if from != member => 1 << member,
                Cut::Alone(_) | Cut::Mute(_) | Cut::Deaf(_) => 0,
            };
        }
        if let Cut::Partial = cut {
            for _ in 0..=count {
                let (one, other) = (chance.place(count), chance.place(count));
                self.cut[one] |= 1 << other;
                self.cut[other] |= 1 << one;
            }
        }
    }

    /// Whether any link is cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.iter().any(|&cut| cut != 0)
    }

    /// Every link works again.
    pub(crate) fn reconnect(&mut self) {
        self.cut = [0; MEMBERS_MAX];
    }

    /// From now on every message arrives soon.
    pub(crate) fn heal(&mut self) {
        self.reconnect();
        self.healed = true;
    }
}

fn delay(plan: &Plan, chance: &mut Chance) -> Time {
    let delay = chance.between(plan.delay.0, plan.delay.1);
    if chance.permille(plan.stragglers) {
        return delay + chance.below(plan.outage);
    }
    delay
}
