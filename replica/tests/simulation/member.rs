//! One member: its disk, its clock, and its driver while it runs.

use std::path::Path;
use std::sync::Arc;

use revd_disk::{Disk, Sim};
use revd_raft::NodeId;
use revd_replica::{Identity, Now, OpenError, Opened, Settings, recover};
use revd_sim::{Chance, Life, Time};

use crate::driver::Driver;
use crate::event::MS;
use crate::plan::{Plan, TICK};

/// Where a member keeps its files.
pub(crate) const DIR: &str = "data";

pub(crate) struct Member {
    pub(crate) life: Life,
    pub(crate) disk: Sim,
    /// The members that it was founded with; none if it has joined.
    pub(crate) founders: Vec<revd_replica::Member>,
    /// None while it is down.
    pub(crate) driver: Option<Driver>,
    /// It will carry out what is due.
    pub(crate) turn_due: bool,
    /// The disk is at work on the log's job, and on another one.
    pub(crate) writing: bool,
    pub(crate) working: bool,
    /// The process stands still until then.
    pub(crate) paused_until: Time,
    /// The disk is slow until then.
    pub(crate) slow_until: Time,
    /// Its disk fails writes, or is full: it may stop, or refuse to start.
    pub(crate) is_faulty: bool,
    /// Its power fails at some operation to come.
    pub(crate) will_crash: bool,
    /// Its disk is not what it was, and it has not read all of it again.
    pub(crate) is_rotten: bool,
    /// It has lost some of what it had, and is not whole yet.
    pub(crate) is_refilled: bool,
    /// What was committed when it lost something: until it holds that, it decides nothing.
    pub(crate) needs: Option<u64>,
    /// Removed and shut down for good.
    pub(crate) retired: bool,
    clock: Clock,
}

/// A monotonic clock: when it was 0, and how many thousandths of the world's time it counts.
#[derive(Clone, Copy, Debug)]
struct Clock {
    zero: Time,
    rate: u64,
}

impl Member {
    /// A member that has yet to be started, `place` counted from 0.
    pub(crate) fn new(
        place: usize,
        founders: Vec<revd_replica::Member>,
        plan: &Plan,
        chance: &mut Chance,
    ) -> Member {
        let disk = Sim::new(chance.next());
        if plan.refuses_direct {
            disk.refuse_direct();
        }
        Member {
            life: Life { member: place, incarnation: 0 },
            disk,
            founders,
            driver: None,
            turn_due: false,
            writing: false,
            working: false,
            paused_until: 0,
            slow_until: 0,
            is_faulty: false,
            will_crash: false,
            is_rotten: false,
            is_refilled: false,
            needs: None,
            retired: false,
            clock: Clock { zero: 0, rate: 1_000 },
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        id(self.life.member)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.driver.is_some()
    }

    /// The driver of a member that is up.
    pub(crate) fn driver(&self) -> &Driver {
        self.driver.as_ref().expect("asked of members that are up")
    }

    pub(crate) fn driver_mut(&mut self) -> &mut Driver {
        self.driver.as_mut().expect("asked of members that are up")
    }

    pub(crate) fn leads(&self) -> bool {
        self.driver.as_ref().is_some_and(Driver::leads)
    }

    /// What its own clock says.
    pub(crate) fn clock(&self, time: Time) -> Now {
        Now((time - self.clock.zero) / 1_000 * self.clock.rate)
    }

    /// The world's time of one tick.
    pub(crate) fn tick(&self) -> Time {
        TICK * 1_000 / self.clock.rate
    }

    /// Begins a new life: its clock starts at 0, at a speed of its own.
    pub(crate) fn begin(&mut self, time: Time, skew: u64, chance: &mut Chance) {
        self.life.incarnation += 1;
        // The clock of a process that has just started is not 0.
        let zero = time.saturating_sub(chance.below(50 * MS));
        self.clock = Clock { zero, rate: chance.between(1_000 - skew, 1_000 + skew) };
    }

    /// Opens its files, or makes them.
    ///
    /// # Errors
    /// As [`recover::open`].
    pub(crate) fn open(&self, plan: &Plan, chance: &mut Chance) -> Result<Opened, OpenError> {
        let identity = Identity { cluster: 0xc1, member: self.id().0 };
        let mut log = revd_wal::Options::default();
        log.segment_bytes = plan.segment_bytes;
        log.fill_ahead_bytes = plan.segment_bytes;
        log.salt_seed = chance.next();
        let mut store = revd_mvcc::Options::new(identity.owner());
        store.map_bytes = 1 << 30;
        store.reserve_bytes = 256 << 10;
        store.sweep_bytes = 16 << 10;
        store.sweep_keys = 40;
        let settings = Settings {
            identity,
            founders: self.founders.clone(),
            raft: plan.raft.clone(),
            log,
            store,
            retention: plan.retention,
            seed: chance.next(),
        };
        recover::open(Arc::new(self.disk.clone()), Path::new(DIR), settings)
    }

    /// Whether the power of its disk has failed.
    pub(crate) fn has_no_power(&self) -> bool {
        self.disk.exists(Path::new(DIR)).is_err_and(|error| error.is_crashed())
    }

    /// Everything that is not on the disk is gone.
    pub(crate) fn forget(&mut self) {
        self.driver = None;
        self.turn_due = false;
        self.writing = false;
        self.working = false;
        self.paused_until = 0;
    }
}

/// The id of the member in a place.
pub(crate) fn id(place: usize) -> NodeId {
    NodeId(place as u64 + 1)
}

/// The place of a member.
pub(crate) fn place(id: NodeId) -> usize {
    id.0 as usize - 1
}
