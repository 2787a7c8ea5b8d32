//! Power loss in the midst of every change of the disk: of generated workloads, of the recovery
//! from such a loss, and of the recovery from a loss in a recovery. Reopening finds, as a whole and
//! with its note, the last checkpoint that was acknowledged or the one that was being written.
//!
//! From some of these points the file is opened, and worked on, on a disk that fails by chance:
//! errors, torn and short writes, full disks, kills and further losses of power.
//!
//! A *point* is a distinct (workload, change, surviving subset). A run has a fixed set of seeds;
//! `REVD_CRASH_MINUTES=90` goes on with fresh ones for so long, and `SEED=7` repeats one.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use revd_btree::{Error, Key, OpenError, Opened, Tree};
use revd_disk::{Chances, Disk, Operation, Sim};
use support::layout::{BLOCK, newest, slots};
use support::watch::{Moment, Purpose, Watched};
use support::{Model, PATH, Rng, Run, options};

/// What was under way when the power failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Create,
    /// A checkpoint writes nodes, extents or map pages.
    Nodes,
    /// A checkpoint writes its commit record or a root slot.
    Root,
    Sync,
    /// Any change of a checkpoint that takes up what a sweep has made.
    Sweep,
    /// The file grows, or holes are filled, beside a checkpoint or without one.
    Growth,
    Punch,
    /// Opening what a loss of power, or a killed process, has left.
    Recovery,
    /// The same after a loss of power in a recovery.
    SecondRecovery,
}

const PHASES: [Phase; 9] = [
    Phase::Create,
    Phase::Nodes,
    Phase::Root,
    Phase::Sync,
    Phase::Sweep,
    Phase::Growth,
    Phase::Punch,
    Phase::Recovery,
    Phase::SecondRecovery,
];

impl Phase {
    fn of(moment: &Moment, creating: bool, sweeping: bool) -> Phase {
        match (moment.operation, moment.purpose) {
            _ if creating => Phase::Create,
            (Operation::Allocate, _) => Phase::Growth,
            (Operation::PunchHole, _) => Phase::Punch,
            _ if sweeping => Phase::Sweep,
            (Operation::Sync, _) => Phase::Sync,
            (_, Purpose::Root) => Phase::Root,
            _ => Phase::Nodes,
        }
    }

    /// How many subsets are tried for each change.
    fn subsets(self, kind: Kind) -> u64 {
        match (self, kind) {
            (Phase::Growth, _) => 40,
            (Phase::Create | Phase::Punch, _) => 20,
            (Phase::Recovery, _) => 3,
            (Phase::SecondRecovery, _) => 2,
            (_, Kind::Small) => 12,
            (_, Kind::Roomy) => 2,
        }
    }
}

/// What may be found after a loss of power.
#[derive(Clone, Copy)]
struct Expected<'a> {
    states: &'a [&'a Model],
    may_be_missing: bool,
}

/// The points that were tried.
#[derive(Default)]
struct Points {
    seen: HashSet<u64>,
    kind: Kind,
    /// Tells the workload, for what is drawn at random.
    salt: u64,
    phases: BTreeMap<Phase, u64>,
    fell_back: u64,
    among_faults: Faults,
}

impl Points {
    /// Tries subsets of what pends at a moment. `name` stands for the workload and all that was
    /// done since.
    fn explore(
        &mut self,
        moment: &Moment,
        phase: Phase,
        expected: Expected<'_>,
        name: u64,
        depth: u32,
    ) {
        for subset in 0..phase.subsets(self.kind) {
            let mut rng = Rng(mix(self.salt ^ name, moment.number << 8 | subset));
            let disk = moment.disk.fork();
            let survivors = disk.recover(rng.next());
            let point = mix(mix(name, moment.number), survivors.digest);
            // A recovery that has changed nothing yet is no new point.
            let is_nothing = survivors.pending == 0 && depth > 0;
            if is_nothing || !self.seen.insert(point) {
                continue;
            }
            let what = format!("change {} {phase:?} subset {subset}", moment.number);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                self.outcome(disk, expected, &mut rng, point, depth);
            }));
            assert!(outcome.is_ok(), "{what}: {survivors:?}");
            *self.phases.entry(phase).or_default() += 1;
            if survivors.pending == 0 {
                break;
            }
        }
        if depth == 0 && matches!(phase, Phase::Sync | Phase::Sweep | Phase::Root) {
            self.kill(moment, expected, mix(name, moment.number));
        }
    }

    /// The process is killed at a moment and the machine goes on, so that all is in its page cache;
    /// the power fails while the next process opens the file.
    fn kill(&mut self, moment: &Moment, expected: Expected<'_>, name: u64) {
        let mut rng = Rng(name);
        if !rng.one_in(4) {
            return;
        }
        let disk = moment.disk.fork();
        disk.kill();
        let watched = Watched::new(disk);
        let opened = open(&watched);
        if expected.may_be_missing && is_missing(&opened) {
            return;
        }
        drop(opened.unwrap());
        for moment in watched.take().into_iter().filter(|_| rng.one_in(3)) {
            self.explore(&moment, Phase::Recovery, expected, mix(name, u64::MAX), 1);
        }
    }

    /// Checks what one loss of power has left, and sometimes how it goes on from there.
    fn outcome(
        &mut self,
        disk: Sim,
        expected: Expected<'_>,
        rng: &mut Rng,
        point: u64,
        depth: u32,
    ) {
        let slots = RootSlots::read(&disk);
        let mut chance = Rng(!point);
        if chance.one_in(16) {
            self.among_faults.live(disk.fork(), expected, &mut chance);
        }
        let watched = Watched::new(disk);
        // Watching costs a copy of the disk for each change.
        let is_watched = depth < 2 && self.kind == Kind::Small && rng.one_in(20 >> depth);
        let opened = if is_watched { open(&watched) } else { open_unwatched(&watched.sim) };
        if expected.may_be_missing && is_missing(&opened) {
            let tree = Tree::create(Arc::new(watched.sim), Path::new(PATH), options()).unwrap();
            tree.verify().unwrap();
            return;
        }
        let (tree, opened) = opened.unwrap();
        slots.unwrap().check_fall_back(&opened);
        tree.verify().unwrap();
        let found = expected.states.iter().find(|state| state.note == tree.note());
        let found = *found.expect("the note of the last checkpoint or of the one in flight");
        found.read_all(&tree.reader()).unwrap();
        self.fell_back += u64::from(opened.fell_back);
        let phase = if depth == 0 { Phase::Recovery } else { Phase::SecondRecovery };
        // What was not found now must never come back.
        let again = Expected { states: &[found], may_be_missing: false };
        for moment in watched.take() {
            if opened.fell_back || rng.one_in(2) {
                self.explore(&moment, phase, again, point, depth + 1);
            }
        }
        if rng.one_in(10) {
            go_on(Run::resume(tree, found, rng.next()), &watched.sim, rng);
        }
    }
}

fn mix(a: u64, b: u64) -> u64 {
    Rng(a.rotate_left(17) ^ b).next()
}

fn open(disk: &Watched) -> Result<(Tree, Opened), OpenError> {
    Tree::open(Arc::new(disk.clone()), Path::new(PATH), options())
}

fn is_missing<T>(opened: &Result<T, OpenError>) -> bool {
    matches!(opened, Err(OpenError::Disk(error)) if error.is_not_found())
}

fn open_unwatched(disk: &Sim) -> Result<(Tree, Opened), OpenError> {
    Tree::open(Arc::new(disk.clone()), Path::new(PATH), options())
}

/// What the root slots of a file say before it is opened.
struct RootSlots {
    slots: [Option<(u64, bool)>; 2],
    newest: Option<u64>,
}

impl RootSlots {
    /// `None` if there is no file.
    fn read(disk: &Sim) -> Option<RootSlots> {
        let path = Path::new(PATH);
        let exists = disk.exists(path).unwrap();
        exists.then(|| RootSlots { slots: slots(disk, path), newest: newest(disk, path) })
    }

    /// A fall-back is reported if and only if a root slot leads to a newer checkpoint than was
    /// found, or cannot be read.
    fn check_fall_back(&self, opened: &Opened) {
        let newest = self.newest.expect("a root slot");
        let is_broken = self.slots.contains(&None)
            || self.slots.iter().flatten().any(|(sequence, leads)| !leads && *sequence != newest);
        let expected = is_broken || newest != opened.sequence;
        assert_eq!(opened.fell_back, expected, "{opened:?} {:?}", self.slots);
        assert_eq!(opened.fell_back, opened.damage.is_some());
    }
}

/// Works on with a recovered tree, loses the power between two changes, and looks again.
fn go_on(mut run: Run, disk: &Sim, rng: &mut Rng) {
    for _ in 0..8 {
        run.step().unwrap();
    }
    let durable = run.durable.clone();
    drop(run);
    disk.crash(rng.next());
    let (tree, _) = Tree::open(Arc::new(disk.clone()), Path::new(PATH), options()).unwrap();
    tree.verify().unwrap();
    assert_eq!(tree.note(), durable.note);
    durable.read_all(&tree.reader()).unwrap();
}

/// How often each thing fails, in a million operations. Nothing that hides what it does: of that
/// the damage tests tell.
const CHANCES: Chances = Chances {
    read_error: 3_000,
    write_error: 5_000,
    sync_error: 20_000,
    torn_write: 10_000,
    short_write: 10_000,
    full: 10_000,
    lost_write: 0,
    misdirected_write: 0,
    swapped_write: 0,
    rot: 0,
    slow: 0,
};

/// What came of crash points on a disk that fails by chance.
#[derive(Debug, Default)]
struct Faults {
    lives: u64,
    not_opened: u64,
    refused: u64,
    poisoned: u64,
}

impl Faults {
    /// Opens what a loss of power has left on a disk that fails by chance, as often as it takes,
    /// works on until that fails, too, and looks what is there when the disk is well again.
    fn live(&mut self, disk: Sim, expected: Expected<'_>, rng: &mut Rng) {
        self.lives += 1;
        disk.fail_by_chance(rng.next(), CHANCES);
        for _ in 0..3 {
            match open_unwatched(&disk) {
                opened if expected.may_be_missing && is_missing(&opened) => return,
                Ok((tree, _)) => return self.work(tree, &disk, expected, rng),
                Err(OpenError::Disk(_)) => self.not_opened += 1,
                Err(error) => panic!("{error}"),
            }
            end_process(&disk, rng);
        }
        disk.heal();
        let (tree, _) = open_unwatched(&disk).unwrap();
        check_one_of(&tree, expected.states);
    }

    fn work(&mut self, tree: Tree, disk: &Sim, expected: Expected<'_>, rng: &mut Rng) {
        let found = expected.states.iter().find(|state| state.note == tree.note());
        let found = found.expect("the note of the last checkpoint or of the one in flight");
        let mut run = Run::resume(tree, found, rng.next());
        for _ in 0..40 {
            match run.step() {
                Ok(()) => {}
                Err(Error::Poisoned) => {
                    self.poisoned += 1;
                    break;
                }
                Err(Error::Disk(_) | Error::Full { .. }) => self.refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        let states = [Some(run.durable), run.in_flight];
        drop(run.tree);
        end_process(disk, rng);
        disk.heal();
        let (tree, _) = open_unwatched(disk).unwrap();
        check_one_of(&tree, &states.iter().flatten().collect::<Vec<_>>());
    }
}

/// The process is killed, or the power fails.
fn end_process(disk: &Sim, rng: &mut Rng) {
    if rng.one_in(2) {
        disk.kill();
    } else {
        disk.crash(rng.next());
    }
}

fn check_one_of(tree: &Tree, states: &[&Model]) {
    let found = states.iter().find(|state| state.note == tree.note());
    found.expect("a state that was durable or in flight").read_all(&tree.reader()).unwrap();
    tree.verify().unwrap();
}

/// What a workload is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// Small records and rows, many checkpoints.
    #[default]
    Small,
    /// Long values; almost everything is swept again and again: the file grows and shrinks.
    Roomy,
}

/// A workload on a watched disk. The writer goes on while its checkpoints are written.
struct Workload<'p> {
    seed: u64,
    kind: Kind,
    watched: Watched,
    rng: Rng,
    points: &'p mut Points,
}

impl Workload<'_> {
    fn go(mut self, steps: u64) {
        self.watched.take();
        let tree = Tree::create(Arc::new(self.watched.clone()), Path::new(PATH), options());
        let mut run = Run::new(tree.unwrap(), self.seed);
        run.big = self.seed % 10 == 3;
        let empty = Model::default();
        for moment in self.watched.take() {
            let expected = Expected { states: &[&empty], may_be_missing: true };
            // It is the same for all workloads.
            self.points.explore(&moment, Phase::Create, expected, 0, 0);
        }
        for number in 0..steps {
            let before = run.durable.clone();
            run = self.step(run, number);
            self.explore(&before, &run);
        }
    }

    fn step(&mut self, mut run: Run, number: u64) -> Run {
        match (self.kind, self.rng.below(12), number % 12) {
            (Kind::Small, 0..3, _) => run.begin_checkpoint().unwrap(),
            (Kind::Small, 3..7, _) => return self.write_amid(run),
            (Kind::Small, 7, _) => {
                run.sweep();
                run.adopt().unwrap();
            }
            (Kind::Small, ..) => run.step().unwrap(),
            (Kind::Roomy, chance, phase) => {
                match phase {
                    0..8 => append_long(&mut run, 380_000).unwrap(),
                    8 => sweep_most(&mut run),
                    _ if chance < 3 => run.step().unwrap(),
                    _ => {}
                }
                run.begin_checkpoint().unwrap();
                return self.write_amid(run);
            }
        }
        run
    }

    /// Writes the outstanding checkpoint while the writer goes on: it appends, so that the file
    /// grows between any two writes of the checkpoint.
    fn write_amid(&mut self, mut run: Run) -> Run {
        let Some(frozen) = run.take_frozen() else { return run };
        let cell = Arc::new(Mutex::new(Some(run)));
        if self.kind == Kind::Roomy || self.rng.one_in(3) {
            let (shared, kind) = (cell.clone(), self.kind);
            self.watched.between(Some(Box::new(move || {
                let mut run = shared.lock().unwrap();
                let run = run.as_mut().unwrap();
                match kind {
                    Kind::Small => run.append().unwrap(),
                    Kind::Roomy if run.rng.one_in(2) => append_long(run, 80_000).unwrap(),
                    Kind::Roomy => run.put().unwrap(),
                }
            })));
        }
        let written = frozen.write().unwrap();
        self.watched.between(None);
        let mut run = cell.lock().unwrap().take().unwrap();
        run.written(written);
        run
    }

    /// Looks at all moments of a step, which began with `before` durable.
    fn explore(&mut self, before: &Model, run: &Run) {
        let (mut slot, mut synced) = (false, false);
        let is_new = run.durable.note != before.note;
        for moment in self.watched.take() {
            let is_root = moment.operation == Operation::Write && moment.purpose == Purpose::Root;
            slot |= is_root;
            let states: &[&Model] = match (synced, slot && is_new) {
                (true, _) => &[&run.durable],
                (false, true) => &[before, &run.durable],
                (false, false) => &[before],
            };
            let expected = Expected { states, may_be_missing: false };
            let phase = Phase::of(&moment, false, run.sweep_in_flight);
            self.points.explore(&moment, phase, expected, self.seed, 0);
            synced |= moment.operation == Operation::Sync;
        }
    }
}

/// Appends long values of so many bytes together.
fn append_long(run: &mut Run, bytes: u64) -> Result<(), Error> {
    let mut left = bytes;
    while left > 0 {
        run.next += 1;
        let key = Key::new(run.next, 0, 0);
        let len = 5_000 + run.rng.below(100_000);
        // Blocks of zeros are cheap to simulate.
        let byte = |at: u64| if (at / BLOCK).is_multiple_of(8) { run.next as u8 | 1 } else { 0 };
        let value: Vec<u8> = (0..len).map(byte).collect();
        run.tree.append(key, b"long", &value)?;
        run.live.records.insert(key, (b"long"[..].into(), value.into()));
        left = left.saturating_sub(len);
    }
    Ok(())
}

/// Sweeps all closed leaves and keeps one record in ten.
fn sweep_most(run: &mut Run) {
    let Some(sweep) = run.tree.plan_sweep(Key::MIN, 1 << 30) else { return };
    let (start, end) = sweep.range();
    let swept = sweep.run(&mut |key, _| key.main % 10 == 0).unwrap();
    // What has been swept meanwhile by a step at random cannot be adopted twice.
    if run.tree.adopt(swept).is_ok() {
        run.live.records.retain(|key, _| !(start..end).contains(key) || key.main % 10 == 0);
        run.adopted = true;
    }
}

fn workload(seed: u64, points: &mut Points) {
    let kind = if seed.is_multiple_of(16) { Kind::Roomy } else { Kind::Small };
    (points.kind, points.salt) = (kind, seed);
    let sim = Sim::new(seed);
    sim.create_dir(Path::new("/data")).unwrap();
    let (watched, rng) = (Watched::new(sim), Rng(!seed));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        Workload { seed, kind, watched, rng, points }.go(if kind == Kind::Small { 60 } else { 26 });
    }));
    assert!(outcome.is_ok(), "repeat with SEED={seed} cargo test -p revd-btree --test crash");
}

fn report(points: &Points, seeds: u64, since: Instant) {
    let all: u64 = points.phases.values().sum();
    println!("{all} points of {seeds} workloads in {:.1} s", since.elapsed().as_secs_f64());
    println!("{} of them found a broken newer checkpoint and fell back", points.fell_back);
    println!("on disks that fail by chance: {:?}", points.among_faults);
    for phase in PHASES {
        println!("{:>8} {phase:?}", points.phases.get(&phase).copied().unwrap_or(0));
    }
}

#[test]
fn a_crash_at_any_moment_leaves_one_of_two_states() {
    let since = Instant::now();
    let mut points = Points::default();
    if let Ok(seed) = std::env::var("SEED") {
        workload(seed.parse().unwrap(), &mut points);
        return report(&points, 1, since);
    }
    let seeds = std::env::var("REVD_CRASH_SEEDS").map_or(80, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        workload(seed, &mut points);
    }
    report(&points, seeds, since);
    let minutes = std::env::var("REVD_CRASH_MINUTES").map_or(0, |m| m.parse().unwrap());
    let end = since + Duration::from_secs(60 * minutes);
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 >> 10;
    let mut more = Points::default();
    while Instant::now() < end {
        println!("SEED={seed}");
        workload(seed, &mut more);
        more.seen.clear();
        report(&more, 1, since);
        seed += 1;
    }
    let all: u64 = points.phases.values().sum();
    assert!(all >= 60_000, "only {all} points");
    let Faults { not_opened, refused, poisoned, .. } = points.among_faults;
    assert!(not_opened.min(refused).min(poisoned) >= 20, "{:?}", points.among_faults);
    for phase in PHASES {
        let points = points.phases.get(&phase).copied().unwrap_or(0);
        assert!(points >= 1_000, "only {points} points in {phase:?}");
    }
}
