//! Disks that forget: bits flip, writes lie where they do not belong. Within what a quorum can make
//! good again: one member at a time, and not the last batch of its log, of which nobody can tell
//! whether it was ever durable.

use std::path::{Path, PathBuf};

use revd_disk::{BLOCK, Disk, Open};
use revd_raft::{Body, Message};
use revd_replica::{Fatal, JobDone, Lost, Machine, refill};
use revd_sim::{Checked, ensure};
use revd_wal::Part;

use crate::member::{DIR, Member, id, place};
use crate::world::{World, note};

impl World {
    /// The files of a member that is killed are not what they were when it starts again.
    pub(crate) fn rot(&mut self, place: usize) {
        let lacks = |member: &Member| member.is_rotten || member.is_refilled;
        let is_spare = refill::is_spare(&self.oracle.model.configuration, id(place));
        let member = &self.members[place];
        let is_sound = member.is_up() && !member.is_faulty && !member.will_crash;
        if !is_sound || !is_spare || self.members.iter().any(lacks) {
            return;
        }
        note!(self, "{}: is killed, and its disk rots", place + 1);
        self.kill(place);
        let rots = match self.chance.below(3) {
            0 => self.rot_log(place),
            1 => self.flip_bits_of_tree(place),
            _ => self.swap_blocks_of_tree(place),
        };
        self.members[place].is_rotten = rots;
    }

    /// Flips a bit in any batch of the log but the last one.
    fn rot_log(&mut self, place: usize) -> bool {
        let disk = self.members[place].disk.clone();
        let (mut segment, mut batches) = (PathBuf::new(), Vec::new());
        let seen = revd_wal::inspect(&disk, &Path::new(DIR).join("wal"), &mut |part| match part {
            Part::Segment { path, .. } => segment = path,
            Part::Batch { offset, bytes, .. } => batches.push((segment.clone(), offset, bytes)),
            _ => {}
        });
        batches.pop();
        if seen.is_err() || batches.is_empty() {
            return false;
        }
        let (path, offset, bytes) = &batches[self.chance.place(batches.len())];
        let offset = offset + self.chance.below(*bytes);
        note!(self, "{}: {} rots at {offset}", place + 1, path.display());
        disk.damage(path, offset, 1 << self.chance.below(8)).is_ok()
    }

    fn flip_bits_of_tree(&mut self, place: usize) -> bool {
        let (disk, path, len) = self.tree_of(place);
        let flips = self.chance.pick(&[1, 5, 50, 200]);
        note!(self, "{}: {flips} bits of its tree flip", place + 1);
        let mut flip = || {
            let (offset, bit) = (self.chance.below(len), self.chance.below(8));
            disk.damage(&path, offset, 1 << bit).is_ok()
        };
        (0..flips).all(|_| flip())
    }

    /// Two writes went to each other's place.
    fn swap_blocks_of_tree(&mut self, place: usize) -> bool {
        let (disk, path, len) = self.tree_of(place);
        let blocks = len / BLOCK as u64;
        let pairs = self.chance.pick(&[1, 5, 20]);
        note!(self, "{}: {pairs} pairs of blocks of its tree are swapped", place + 1);
        let mut swap = || {
            let (one, other) = (self.chance.below(blocks), self.chance.below(blocks));
            disk.swap_blocks(&path, one, other).is_ok()
        };
        (0..pairs).all(|_| swap())
    }

    fn tree_of(&self, place: usize) -> (revd_disk::Sim, PathBuf, u64) {
        let disk = self.members[place].disk.clone();
        let path = Path::new(DIR).join("tree");
        let file = disk.open(&path, Open::read()).expect("a member that ran has a tree");
        let len = file.len().expect("its disk works");
        (disk, path, len)
    }

    /// A member that has just started reads everything again, if its disk has rotted. Whether it
    /// goes on.
    pub(crate) fn read_again(&mut self, place: usize) -> Checked<bool> {
        if !self.members[place].is_rotten {
            return Ok(true);
        }
        let driver = self.members[place].driver_mut();
        let log = driver.consensus.log().wal().verify().map(drop).map_err(Fatal::from);
        match log.and_then(|()| scrub(&mut driver.machine)) {
            Ok(()) => {
                self.members[place].is_rotten = false;
                self.totals.harmless_rot += 1;
                Ok(true)
            }
            Err(fatal) => {
                self.after(place, Err(fatal))?;
                Ok(false)
            }
        }
    }

    /// A member has found that it lost something: it begins anew without it.
    pub(crate) fn lost(&mut self, place: usize, lost: Lost) {
        note!(self, "{}: has lost its {lost:?}", place + 1);
        match lost {
            Lost::Log => self.totals.lost_logs += 1,
            Lost::Tree => self.totals.lost_trees += 1,
        }
        let member = &mut self.members[place];
        // Without power it finds the damage once more.
        if refill::begin(&member.disk, Path::new(DIR), lost).is_ok() {
            member.is_rotten = false;
            member.is_refilled = true;
            member.needs = Some(self.oracle.committed());
        }
    }

    /// A member says something: it neither votes nor acknowledges while it lacks what was committed
    /// when it lost something.
    pub(crate) fn check_word(&self, message: &Message) -> Checked {
        let member = &self.members[place(message.from)];
        let Some(needs) = member.needs else { return Ok(()) };
        let decides = match message.body {
            Body::VoteAnswer { granted, .. } => granted,
            Body::Appended { counts, .. } => counts,
            _ => false,
        };
        ensure!(
            !decides,
            "member {} decides, and lacks what was committed up to {needs}: {message:?}",
            message.from
        );
        Ok(())
    }

    /// Notes that a member is whole again.
    pub(crate) fn look_after_refill(&mut self, place: usize) {
        let member = &mut self.members[place];
        let Some(driver) = &member.driver else { return };
        let holds = driver.consensus.status().persisted.0;
        member.needs = member.needs.filter(|needs| holds < *needs);
        if member.is_refilled && !driver.consensus.status().recovering {
            member.is_refilled = false;
            self.totals.refilled += 1;
            note!(self, "{}: is refilled", place + 1);
        }
    }
}

/// Reads the whole tree, as it lies on the disk and as it is read.
fn scrub(machine: &mut Machine) -> Result<(), Fatal> {
    loop {
        let step = machine.scrub(u64::MAX).expect("none is under way");
        if let JobDone::Tree(done) = step.run()? {
            machine.done(done)?;
        }
        if machine.has_scrubbed_all() {
            return Ok(machine.store().verify()?);
        }
    }
}
