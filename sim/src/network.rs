//! The links between members: which are cut, and what becomes of a message.

use crate::chance::Chance;
use crate::queue::Time;

/// No simulation has more members than this, all that ever lived counted.
const MEMBERS_MAX: usize = 32;

/// What messages meet while things go wrong, and afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// Messages in a thousand that get lost.
    pub loss: u64,
    /// Messages in a thousand that arrive twice.
    pub repeats: u64,
    /// The shortest and the longest way of a message.
    pub delay: (Time, Time),
    /// Messages in a thousand that take longer, and by how much at most.
    pub stragglers: (u64, Time),
    /// Links keep the order of messages.
    pub in_order: bool,
    /// The longest way of a message once the network is healed.
    pub healed: Time,
}

/// How members are cut off from each other.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Two groups that hear nothing of each other.
    Full,
    /// One group is heard by the other, and hears nothing.
    OneWay,
    /// Some links, each in both directions.
    Partial,
    /// One member hears and is heard by nobody.
    Alone(usize),
    /// One member is heard, and hears nothing.
    Deaf(usize),
    /// One member hears, and is heard by nobody.
    Mute(usize),
}

/// Links from each member to each.
#[derive(Debug)]
pub struct Network {
    conditions: Conditions,
    /// For each sender, a bit for each receiver that it does not reach.
    cut: [u32; MEMBERS_MAX],
    /// When the last message of each link arrives, for networks that keep the order.
    arrival: [[Time; MEMBERS_MAX]; MEMBERS_MAX],
    /// Nothing goes wrong any more.
    healed: bool,
}

impl Network {
    /// A network whose links all work, under these conditions.
    pub fn new(conditions: Conditions) -> Network {
        Network {
            conditions,
            cut: [0; MEMBERS_MAX],
            arrival: [[0; MEMBERS_MAX]; MEMBERS_MAX],
            healed: false,
        }
    }

    /// Whether that link works.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        self.cut[from] & (1 << to) == 0
    }

    /// How often a message sent now arrives, up to twice, and when.
    pub fn arrivals(
        &mut self,
        chance: &mut Chance,
        now: Time,
        (from, to): (usize, usize),
    ) -> [Option<Time>; 2] {
        if self.healed {
            return [Some(now + 1 + chance.below(self.conditions.healed)), None];
        }
        if !self.reaches(from, to) || chance.permille(self.conditions.loss) {
            return [None, None];
        }
        let first = self.arrival(chance, now, (from, to));
        let repeated = chance.permille(self.conditions.repeats);
        [Some(first), repeated.then(|| now + self.delay(chance) * 4)]
    }

    fn arrival(&mut self, chance: &mut Chance, now: Time, (from, to): (usize, usize)) -> Time {
        let time = now + self.delay(chance);
        if !self.conditions.in_order {
            return time;
        }
        let last = &mut self.arrival[from][to];
        *last = time.max(*last);
        *last
    }

    fn delay(&self, chance: &mut Chance) -> Time {
        let Conditions { delay: (least, most), stragglers: (share, longer), .. } = self.conditions;
        let delay = chance.between(least, most);
        if chance.permille(share) {
            return delay + chance.below(longer);
        }
        delay
    }

    /// Cuts links among the first `count` members.
    pub fn cut(&mut self, cut: Cut, count: usize, chance: &mut Chance) {
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
    pub fn is_cut(&self) -> bool {
        self.cut.iter().any(|&cut| cut != 0)
    }

    /// Every link works again.
    pub fn reconnect(&mut self) {
        self.cut = [0; MEMBERS_MAX];
    }

    /// From now on every message arrives, and soon.
    pub fn heal(&mut self) {
        self.reconnect();
        self.healed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONDITIONS: Conditions = Conditions {
        loss: 0,
        repeats: 0,
        delay: (10, 20),
        stragglers: (500, 1_000),
        in_order: true,
        healed: 5,
    };

    #[test]
    fn a_link_in_order_lets_nothing_overtake() {
        let (mut network, mut chance) = (Network::new(CONDITIONS), Chance::new(1));
        let mut last = 0;
        for now in 0..200 {
            let [Some(first), None] = network.arrivals(&mut chance, now, (0, 1)) else {
                panic!("a message is lost or repeated");
            };
            assert!(first >= last && first >= now + 10);
            last = first;
        }
    }

    #[test]
    fn a_cut_stops_messages_until_it_is_over() {
        let (mut network, mut chance) = (Network::new(CONDITIONS), Chance::new(1));
        network.cut(Cut::Deaf(2), 3, &mut chance);
        assert!(!network.reaches(0, 2) && network.reaches(2, 0) && network.is_cut());
        assert_eq!(network.arrivals(&mut chance, 7, (1, 2)), [None, None]);
        network.reconnect();
        network.cut(Cut::Mute(2), 3, &mut chance);
        assert!(network.reaches(0, 2) && !network.reaches(2, 0));
        network.reconnect();
        network.cut(Cut::Alone(0), 3, &mut chance);
        assert!(!network.reaches(0, 1) && !network.reaches(1, 0) && network.reaches(1, 2));
        network.heal();
        let [Some(arrival), None] = network.arrivals(&mut chance, 7, (1, 0)) else {
            panic!("a healed network loses a message");
        };
        assert!((8..=12).contains(&arrival));
    }
}
