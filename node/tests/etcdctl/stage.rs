//! Both sides, and a script that is played to them.

use crate::process::{Outcome, Process};
use crate::report::{Place, Report};
use crate::script::{Action, Call, Expect, Script, Step};
use crate::side::{Side, chosen_lease};

/// The two sides.
pub struct Stage {
    etcd: Side,
    revd: Side,
}

impl Stage {
    /// Starts a server of each, on empty directories, and waits until they answer.
    pub fn start() -> Self {
        let (etcd, revd) = both(|| Side::start("etcd"), || Side::start(env!("CARGO_BIN_EXE_revd")));
        Self { etcd, revd }
    }

    /// Starts a cluster of three of each, and waits until all of them answer.
    pub fn start_clusters() -> Self {
        let (etcd, revd) = both(
            || Side::start_cluster("etcd"),
            || Side::start_cluster(env!("CARGO_BIN_EXE_revd")),
        );
        Self { etcd, revd }
    }

    /// Plays a script to both.
    pub fn play(&mut self, script: &Script, report: &mut Report) {
        let mut heading = String::new();
        for step in &script.steps {
            let place = Place { script: script.name.clone(), line: step.line, heading };
            self.act(step, &place, report);
            heading = match &step.action {
                Action::Heading(text) => text.clone(),
                _ => place.heading,
            };
        }
        for side in [&self.etcd, &self.revd] {
            let left: Vec<&String> = side.background.keys().collect();
            assert!(left.is_empty(), "{}: still running: {left:?}", script.name);
        }
    }

    fn act(&mut self, step: &Step, place: &Place, report: &mut Report) {
        match &step.action {
            Action::Heading(_) => {}
            Action::Run(call) if step.expect.is_for_revd_only => {
                let revd = self.revd.run(call);
                report.check(place, call, "revd", &revd, &step.expect, "0");
                report.count_alone();
            }
            Action::Run(call) => {
                let is_patient = step.expect.is_at_last;
                let (etcd, revd) = self.on_both(|side| match is_patient {
                    true => side.run_at_last(call),
                    false => side.run(call),
                });
                self.compare(place, call, (etcd, revd), &step.expect, "0", report);
            }
            Action::Start(name, call) => {
                self.on_both(|side| side.begin(name, call));
            }
            Action::Await { name, etcd, revd } => {
                for (server, lines, came) in self.wait(name, *etcd, *revd) {
                    if !came {
                        report.fail(place, format!("{name}: {server} did not print {lines} lines"));
                    }
                }
            }
            Action::Tell(name, text) => {
                self.on_both(|side| {
                    let line = side.fill_in(format!("{text}\n").as_bytes());
                    side.background(name).1.tell(&line);
                });
            }
            Action::Stop(name) => self.finish(name, Process::end, step, "signal 15", place, report),
            Action::Join(name) => self.finish(name, Process::join, step, "0", place, report),
            Action::Revision(name, plus) => {
                let (etcd, revd) = self.on_both(|side| side.note_revision(name, *plus));
                if etcd != revd {
                    report.fail(place, format!("etcd is at revision {etcd}, revd at {revd}"));
                }
            }
            Action::Alarm => drop(self.on_both(Side::raise_alarm)),
            Action::Kill => drop(self.on_both(Side::restart)),
            Action::Lead(member) => drop(self.on_both(|side| side.lead(*member))),
            Action::Enter(member) => drop(self.on_both(|side| side.enter(*member))),
        }
    }

    fn wait(&mut self, name: &str, etcd: usize, revd: usize) -> [(&'static str, usize, bool); 2] {
        let wait = |side: &mut Side, lines| side.background(name).1.wait_lines(lines);
        let came = both(|| wait(&mut self.etcd, etcd), || wait(&mut self.revd, revd));
        [("etcd", etcd, came.0), ("revd", revd, came.1)]
    }

    fn finish(
        &mut self,
        name: &str,
        end: fn(Process) -> Outcome,
        step: &Step,
        exit: &str,
        place: &Place,
        report: &mut Report,
    ) {
        let (etcd, revd) = self.on_both(|side| {
            let (call, process) = side.background.remove(name).expect("the script started it");
            (call, end(process))
        });
        self.compare(place, &etcd.0, (etcd.1, revd.1), &step.expect, exit, report);
    }

    fn compare(
        &mut self,
        place: &Place,
        call: &Call,
        (etcd, revd): (Outcome, Outcome),
        expect: &Expect,
        exit: &str,
        report: &mut Report,
    ) {
        for (name, side, outcome) in
            [("etcd", &mut self.etcd, &etcd), ("revd", &mut self.revd, &revd)]
        {
            report.check(place, call, name, outcome, expect, exit);
            if let Some(lease) = &expect.lease {
                match chosen_lease(&outcome.output) {
                    Some(id) => drop(side.leases.insert(lease.clone(), id)),
                    None => report.fail(place, format!("{name} names no lease: {outcome:?}")),
                }
            }
        }
        self.on_both(Side::learn_names);
        let command = call.shown();
        let facts = (self.etcd.facts(&command), self.revd.facts(&command));
        report.compare(place, (&facts.0, &etcd), (&facts.1, &revd), expect.is_untimed);
    }

    /// Does the same on both sides at the same time.
    fn on_both<T: Send>(&mut self, act: impl Fn(&mut Side) -> T + Sync) -> (T, T) {
        let (etcd, revd) = (&mut self.etcd, &mut self.revd);
        both(|| act(etcd), || act(revd))
    }
}

/// Two things at the same time.
fn both<T: Send>(one: impl FnOnce() -> T + Send, other: impl FnOnce() -> T) -> (T, T) {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().expect("it does not panic"), other)
    })
}
