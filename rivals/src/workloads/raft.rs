//! Consensus among three replicas in one process: proposals, what they cost, and elections.

use std::time::{Duration, Instant};

use crate::Result;
use crate::allocations::counted;
use crate::engines::FLOOR;
use crate::raft::{CLUSTERS, ClusterEngine, OPENRAFT, Payloads, RAFT_RS};
use crate::session::Session;
use crate::statistics::{Better, median};
use crate::table::{BETTER_RIVAL, Row};
use crate::task::{Step, Task};

/// Proposals that wait for their answers.
const OUTSTANDING: &[usize] = &[1, 16, 256, 1024];
/// The cases in which the costs of a proposal are counted.
const COSTS: &[usize] = &[1, 256];
/// Proposals before anything is measured: until memory has reached its size.
const FIRST: usize = 100_000;
/// Proposals of which the costs are counted.
const COUNTED: usize = 100_000;
/// Proposals between two looks at the clock.
const STRETCH: usize = 4096;
/// Elections of one run.
const ELECTIONS: u64 = 200;

const WANTED: f64 = 2.0;
const WANTED_ALLOCATIONS: f64 = 0.0;

/// The rows.
pub(super) fn measure(session: &Session) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &outstanding in OUTSTANDING {
        let what = format!("raft, {outstanding} outstanding, proposals/s");
        if session.has(&what) {
            rows.push(measure_rate(session, what, outstanding));
        }
    }
    for &outstanding in COSTS {
        let names = [
            ("allocations", "allocations"),
            ("bytes", "bytes allocated"),
            ("copied", "bytes of payload copied"),
            ("messages", "messages"),
        ];
        let named = names.map(|(figure, cost)| {
            (figure, format!("raft, {outstanding} outstanding, {cost} a proposal"))
        });
        let mut task = Task::new(Step::RaftCosts, "", &session.dir("raft-costs"));
        task.batch = outstanding;
        rows.extend(measure_figures(session, &task, &named));
    }
    let named = [
        ("cold-millis", "raft, first election, ms"),
        ("cold-messages", "raft, first election, messages"),
        ("lost-millis", "raft, leader lost to a new one known, ms"),
        ("lost-messages", "raft, leader lost to a new one known, messages"),
    ];
    let named = named.map(|(figure, what)| (figure, what.to_owned()));
    let mut task = Task::new(Step::Elect, "", &session.dir("raft-elections"));
    task.count = ELECTIONS;
    rows.extend(measure_figures(session, &task, &named));
    Ok(rows)
}

fn engines(session: &Session) -> Vec<&'static ClusterEngine> {
    CLUSTERS.iter().filter(|engine| session.takes(engine.name)).collect()
}

fn measure_rate(session: &Session, what: String, outstanding: usize) -> Row {
    let mut row = Row::new(what, Better::Higher);
    (row.base, row.wanted) = (Some(BETTER_RIVAL), Some(WANTED));
    session.in_turns(&engines(session), |run, engine| {
        let mut task = Task::new(Step::Raft, engine.name, &session.dir("raft"));
        (task.batch, task.millis, task.run) = (outstanding, session.millis(), run as u64);
        let figures = session.run_apart(&task);
        row.add(engine.name, figures.and_then(|figures| figures.get("rate").copied()));
    });
    add_better_rival(&mut row);
    row
}

/// In each run the rival that is quicker is what the others are measured by.
fn add_better_rival(row: &mut Row) {
    let mut rivals = [RAFT_RS, OPENRAFT].iter().filter_map(|name| row.figures.get(*name));
    let Some(mut better) = rivals.next().cloned() else { return };
    for rival in rivals {
        for (better, other) in better.iter_mut().zip(rival) {
            *better = [*better, *other].into_iter().flatten().reduce(f64::max);
        }
    }
    row.figures.insert(BETTER_RIVAL.to_owned(), better);
}

/// Rows of plain figures that one task yields together.
fn measure_figures(session: &Session, task: &Task, named: &[(&str, String)]) -> Vec<Row> {
    if !named.iter().any(|(_, what)| session.has(what)) {
        return Vec::new();
    }
    let row = |(_, what): &(&str, String)| Row::new(what.clone(), Better::Lower);
    let mut rows: Vec<Row> = named.iter().map(row).collect();
    session.in_turns(&engines(session), |run, engine| {
        let takes_part = task.step == Step::RaftCosts && engine.name != FLOOR;
        if !takes_part && engine.elect.is_none() {
            return;
        }
        let mut task = Task { engine: engine.name.to_owned(), ..task.clone() };
        task.run = run as u64;
        let figures = session.run_apart(&task).unwrap_or_default();
        for (row, (figure, _)) in rows.iter_mut().zip(named) {
            row.wanted = (*figure == "allocations").then_some(WANTED_ALLOCATIONS);
            row.add(engine.name, figures.get(*figure).copied());
        }
    });
    rows
}

/// Proposals for as long as the task says, after a quarter of it that does not count.
pub(super) fn propose(task: &Task) -> Result<()> {
    let mut cluster = (task.cluster_engine()?.start)()?;
    let mut payloads = Payloads::new(task.bytes);
    let rounds = STRETCH.div_ceil(task.batch);
    let time = Duration::from_millis(task.millis);
    let warm_up = Instant::now();
    while warm_up.elapsed() < time / 4 {
        cluster.pump(&mut payloads, task.batch, rounds)?;
    }
    let before = cluster.settle()?.applied[0];
    let measured = Instant::now();
    while measured.elapsed() < time {
        cluster.pump(&mut payloads, task.batch, rounds)?;
    }
    let applied = cluster.settle()?.applied[0] - before;
    println!("rate {}", applied as f64 / measured.elapsed().as_secs_f64());
    Ok(())
}

/// What a proposal costs in the steady state.
pub(super) fn count_costs(task: &Task) -> Result<()> {
    let mut cluster = (task.cluster_engine()?.start)()?;
    let mut payloads = Payloads::new(task.bytes);
    let rounds = |proposals: usize| proposals.div_ceil(task.batch);
    cluster.pump(&mut payloads, task.batch, rounds(FIRST))?;
    let before = cluster.settle()?;
    let counts = rounds(COUNTED);
    let (done, allocated) = counted(|| cluster.pump(&mut payloads, task.batch, counts));
    done?;
    let after = cluster.settle()?;
    let each = |count: u64| count as f64 / (counts * task.batch) as f64;
    println!("allocations {}", each(allocated.number));
    println!("bytes {}", each(allocated.bytes));
    println!("copied {}", each(after.copied - before.copied));
    println!("messages {}", each(after.messages - before.messages));
    Ok(())
}

/// Elections, each among new replicas.
pub(super) fn elect(task: &Task) -> Result<()> {
    let elect = task.cluster_engine()?.elect.ok_or("it holds no elections")?;
    let first = task.run * task.count;
    let held = (first..first + task.count).map(elect).collect::<Result<Vec<_>>>()?;
    for (name, of) in [("cold", 0), ("lost", 1)] {
        let elections = held.iter().map(|held| [held.cold, held.lost][of]);
        let millis: Vec<f64> = elections.clone().map(|election| election.millis as f64).collect();
        let messages: Vec<f64> = elections.map(|election| election.messages as f64).collect();
        println!("{name}-millis {}", median(&millis).ok_or("no elections")?);
        println!("{name}-messages {}", median(&messages).ok_or("no elections")?);
    }
    Ok(())
}
