//! One workload, and all that a loss of power can make of it.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use revd_disk::Sim;
use revd_wal::{End, Options, Wal};

use super::model::{Model, Step, apply, open, options, workload};
use super::phase::{Histogram, Phase, Phases};
use super::trace::{Moment, Traced};

/// What is run, and how closely it is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Decides the workload, the options and the survivors.
    pub(crate) seed: u64,
    /// How many steps the workload has.
    pub(crate) steps: usize,
    /// Each batch needs a sync, as on a file system without direct writes.
    pub(crate) refuse_direct: bool,
    /// Some batches are longer than one write.
    pub(crate) long: bool,
    /// How many survivors are drawn for each moment. Those that were seen are not counted again.
    pub(crate) outcomes: u64,
}

/// Of so many points, one has its opening cut short as well; and of so many of those, one again.
const RECOVERY_CUT: [u64; 2] = [16, 8];

/// Of so many points, one goes on with the log afterwards.
const GOES_ON: u64 = 4;

/// Runs one plan.
#[derive(Debug)]
pub(crate) struct Explorer<'a> {
    plan: Plan,
    options: Options,
    /// The points: workload, operation and survivors, of each crash in a row.
    seen: HashSet<u64>,
    histogram: &'a mut Histogram,
}

/// Keeps the moments of the call that is under way.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Vec<Moment>>>);

impl Recorder {
    fn trace(&self, disk: Sim) -> Traced {
        let kept = Arc::clone(&self.0);
        Traced::new(disk, move |moment| kept.lock().unwrap().push(moment))
    }

    fn take(&self) -> Vec<Moment> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Explorer<'_> {
    /// Runs the plan and counts its points.
    ///
    /// # Panics
    ///
    /// If a log is not what it must be; the message has the seed.
    pub(crate) fn run(plan: Plan, histogram: &mut Histogram) {
        let options = options(plan.seed);
        Explorer { plan, options, seen: HashSet::new(), histogram }.work();
    }

    fn work(&mut self) {
        let Plan { seed, steps, refuse_direct, long, .. } = self.plan;
        let disk = Sim::new(seed);
        if refuse_direct {
            disk.refuse_direct();
        }
        let (recorder, mut phases) = (Recorder::default(), Phases::default());
        let traced = recorder.trace(disk);
        let mut model = Model::new();
        let (mut wal, _) = open(traced.clone(), &self.options).unwrap();
        for moment in recorder.take() {
            self.crash(&moment, Phase::Creation, std::slice::from_ref(&model), 0, seed, "creation");
        }
        for (number, step) in workload(seed, steps, long).iter().enumerate() {
            let context = format!("step {number} {}", name(step));
            let after = model.after(step, wal.bounds());
            if matches!(step, Step::Reopen) {
                drop(wal);
                wal = open(traced.clone(), &self.options).unwrap().0;
            } else {
                apply(&wal, step)
                    .unwrap_or_else(|error| panic!("SEED={seed} {context}: {error:?}"));
            }
            let states = [model, after];
            for moment in recorder.take() {
                let phase = phases.of(&moment, step);
                self.crash(&moment, phase, &states, 0, seed, &context);
            }
            [_, model] = states;
        }
        wal.verify().unwrap();
        Model::find(&[model], &wal, &format!("SEED={seed} at the end"));
    }

    /// Looks at what may survive of one moment. `depth` counts the crashes before it, and `past`
    /// stands for them.
    fn crash(
        &mut self,
        moment: &Moment,
        phase: Phase,
        states: &[Model],
        depth: usize,
        past: u64,
        context: &str,
    ) {
        let outcomes = if depth == 0 { self.plan.outcomes } else { 3 };
        for outcome in 0..outcomes {
            let disk = moment.disk.fork();
            let survivors = disk.recover(hash(&(past, moment.number, outcome)));
            let point = hash(&(past, depth, moment.number, survivors.digest));
            if self.seen.insert(point) {
                self.histogram.count(phase);
                let Moment { number, operation, path, .. } = moment;
                let (path, Plan { seed, refuse_direct, .. }) = (path.display(), self.plan);
                let direct = if refuse_direct { "syncs" } else { "direct" };
                let context = || {
                    format!(
                        "SEED={seed} {direct}: {context}, power cut {depth} at {number}, \
                         {operation:?} {path}, outcome {outcome}"
                    )
                };
                self.check(&disk, states, depth, point, &context);
            }
        }
    }

    /// Opens the log and compares it with the states that it may be in.
    fn check(
        &mut self,
        disk: &Sim,
        states: &[Model],
        depth: usize,
        point: u64,
        context: &dyn Fn() -> String,
    ) {
        let fail = |error: &dyn std::fmt::Debug| -> ! { panic!("{}: {error:?}", context()) };
        let recorder = Recorder::default();
        let cut = RECOVERY_CUT.get(depth).is_some_and(|one_in| point.is_multiple_of(*one_in));
        let opened = match cut {
            true => open(recorder.trace(disk.clone()), &self.options),
            false => open(disk.clone(), &self.options),
        };
        let (wal, recovery) = opened.unwrap_or_else(|error| fail(&error));
        assert_eq!((recovery.first, recovery.last), wal.bounds(), "{}", context());
        wal.verify().unwrap_or_else(|error| fail(&error));
        let Some(model) = states.iter().find(|state| state.compare(&wal).is_ok()) else {
            unreachable!("{:?}", Model::find(states, &wal, &context()));
        };
        let phase = if depth == 0 { Phase::Recovery } else { Phase::RecoveryAgain };
        for moment in recorder.take() {
            self.crash(&moment, phase, states, depth + 1, point, &context());
        }
        if point % GOES_ON == 1 {
            self.go_on(disk, wal, model, point, context);
        }
    }

    /// What is acknowledged after a recovery survives the next loss of power.
    fn go_on(&self, disk: &Sim, wal: Wal, model: &Model, point: u64, context: &dyn Fn() -> String) {
        let mut model = model.clone();
        let words = |text: &str, count| Step::Append(vec![text.as_bytes().into(); count]);
        for step in [words("after", 3), Step::Upkeep, words("", 1)] {
            let after = model.after(&step, wal.bounds());
            apply(&wal, &step).unwrap_or_else(|error| panic!("{}, on: {error:?}", context()));
            model = after;
        }
        drop(wal);
        disk.crash(point);
        let opened = open(disk.clone(), &self.options);
        let (wal, recovery) = opened.unwrap_or_else(|error| panic!("{}: {error:?}", context()));
        assert_eq!(recovery.end, End::Clean, "{}, and on", context());
        Model::find(&[model], &wal, &format!("{}, and on", context()));
    }
}

fn name(step: &Step) -> String {
    match step {
        Step::Append(entries) => format!("append {}", entries.len()),
        Step::Push(entries) => format!("push {}", entries.len()),
        other => format!("{other:?}"),
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
