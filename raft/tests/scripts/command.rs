//! The commands of the language. README.md has them with a line each.

use bytes::Bytes;
use revd_raft::*;

use crate::stage::{Slow, Stage};
use crate::support::State;
use crate::tell;
use crate::wires::{Many, Which};
use crate::words::Words;

type Done = Result<(), String>;

/// Ticks after which a clock must have rung, whatever its setting here.
const TICKS_MAX: u32 = 100;

pub(crate) fn execute(stage: &mut Stage, line: &str) -> Done {
    stage.quiet = false;
    let mut words = Words::of(line);
    match words.next("command")? {
        "cluster" => cluster(stage, words),
        "join" => join(stage, words),
        "disk" => stage.set_disk(words),
        "campaign" => input(stage, words, |_| Ok(Input::Campaign)),
        "tick" => tick(stage, words),
        "timeout" => timeout(stage, words),
        "pass" => pass(stage, words),
        "propose" => propose(stage, words),
        "change" => propose_change(stage, words),
        "transfer" => input(stage, words, |words| Ok(Input::Transfer(words.node()?))),
        "read" => read(stage, words),
        "lost-leader" => input(stage, words, |words| Ok(Input::LeaderLost(words.node()?))),
        "unreachable" => input(stage, words, |words| Ok(Input::Unreachable(words.node()?))),
        "deliver" => messages(stage, words, Stage::deliver),
        "drop" => messages(stage, words, Stage::lose),
        "repeat" => messages(stage, words, Stage::repeat),
        "hold" => hold(stage, words),
        "release" => release(stage, words),
        "run" => words.end().and_then(|()| stage.run()),
        "part" => part(stage, words),
        "cut" => cut(stage, words),
        "heal" => words.end().map(|()| stage.cluster.heal()),
        "slow" => slow(stage, words, true),
        "fast" => slow(stage, words, false),
        "persist" => one(stage, words, Stage::finish_persist),
        "fetch" => one(stage, words, Stage::finish_fetch),
        "apply" => one(stage, words, Stage::apply),
        "install" => one(stage, words, |stage, node| stage.install(node, true)),
        "fail-install" => one(stage, words, |stage, node| stage.install(node, false)),
        "checkpoint" => checkpoint(stage, words),
        "crash" => crash(stage, words),
        "damage" => damage(stage, words),
        "restart" => restart(stage, words),
        "state" => state(stage, words),
        "peers" => peers(stage, words),
        "log" => log(stage, words),
        "wires" => words.end().map(|()| wires(stage)),
        command => Err(format!("{command} is no command")),
    }
}

/// `VOTERS… [learners …] [with NAME=VALUE…]`: members that are born with empty logs.
fn cluster(stage: &mut Stage, mut words: Words) -> Done {
    let voters = words.nodes()?;
    let learners = if words.comes("learners") { words.nodes()? } else { Vec::new() };
    if words.comes("with") {
        for setting in words.rest() {
            let (name, value) = setting.split_once('=').ok_or("a setting has no =")?;
            let value = value.parse().map_err(|_| format!("{value} is no number"))?;
            stage.settings.push((name.to_owned(), value));
        }
    } else {
        words.end()?;
    }
    let members: Vec<NodeId> = voters.iter().chain(&learners).copied().collect();
    let configuration = Configuration::new(voters, learners).map_err(|what| what.to_string())?;
    stage.founders = configuration.clone();
    let born = State { configuration, ..State::default() };
    members.into_iter().try_for_each(|node| add(stage, node, born.clone()))
}

/// `N [knowing nobody]`: a member that has yet to be added. As the log does not tell of the
/// founders, it is told who they are, or has to get a snapshot.
fn join(stage: &mut Stage, mut words: Words) -> Done {
    let node = words.node()?;
    let mut born = State { configuration: stage.founders.clone(), ..State::default() };
    if words.comes("knowing") {
        words.skip("nobody")?;
        born = State::default();
    }
    words.end()?;
    add(stage, node, born)?;
    stage.started(node)
}

fn add(stage: &mut Stage, node: NodeId, born: State) -> Done {
    stage.cluster.add(node.0, born);
    let settings = stage.settings.clone();
    let member = stage.member(node)?;
    for (name, value) in settings {
        set(&mut member.config, &name, value)?;
    }
    member.config.validate().map_err(|what| what.to_string())?;
    member.start();
    Ok(())
}

fn set(config: &mut Config, name: &str, value: u64) -> Done {
    let size = value as usize;
    match name {
        "election_ticks" => config.election_ticks = value as u32,
        "heartbeat_ticks" => config.heartbeat_ticks = value as u32,
        "pre_vote" => config.pre_vote = value != 0,
        "check_quorum" => config.check_quorum = value != 0,
        "max_append_bytes" => config.max_append_bytes = size,
        "max_inflight_appends" => config.max_inflight_appends = size,
        "max_inflight_bytes" => config.max_inflight_bytes = size,
        "max_uncommitted_bytes" => config.max_uncommitted_bytes = size,
        "max_committed_bytes" => config.max_committed_bytes = size,
        "tail_bytes" => config.tail_bytes = size,
        "max_reads" => config.max_reads = size,
        _ => return Err(format!("{name} is no setting")),
    }
    Ok(())
}

/// `N …`: an input for a member that is up.
fn input(
    stage: &mut Stage,
    mut words: Words,
    read: impl FnOnce(&mut Words) -> Result<Input, String>,
) -> Done {
    let node = words.node()?;
    let input = read(&mut words)?;
    words.end()?;
    stage.raft(node)?;
    stage.input(node, input);
    Ok(())
}

/// `N [TICKS]`: the clock of one member goes on.
fn tick(stage: &mut Stage, mut words: Words) -> Done {
    let node = words.node()?;
    let ticks = if words.peek().is_some() { words.number("count")? } else { 1 };
    words.end()?;
    stage.raft(node)?;
    for _ in 0..ticks {
        stage.input(node, Input::Tick);
    }
    Ok(())
}

/// `N`: its clock goes on until its election timeout is over: it stands, or gives up leading.
fn timeout(stage: &mut Stage, mut words: Words) -> Done {
    let node = words.node()?;
    words.end()?;
    let mark = |stage: &Stage| -> Result<_, String> {
        let status = stage.raft(node)?.status();
        let asks = |message: &&Message| {
            message.from == node && ["pre-vote", "vote"].contains(&tell::kind(&message.body))
        };
        Ok((status.role, status.term, stage.sent.iter().filter(asks).count()))
    };
    let before = mark(stage)?;
    for _ in 0..TICKS_MAX {
        stage.input(node, Input::Tick);
        if mark(stage)? != before {
            return Ok(());
        }
    }
    stage.tell("nothing happens");
    Ok(())
}

/// `TICKS`: time passes at all members alike, and everything arrives; heartbeats are not told.
fn pass(stage: &mut Stage, mut words: Words) -> Done {
    let ticks = words.number("count")?;
    words.end()?;
    stage.quiet = true;
    for _ in 0..ticks {
        for node in stage.cluster.ups() {
            stage.input(node, Input::Tick);
        }
        stage.run()?;
    }
    Ok(())
}

/// `N WORD…`: each becomes an entry, all at once. `WORD:BYTES` is padded to that length.
fn propose(stage: &mut Stage, mut words: Words) -> Done {
    let node = words.node()?;
    let leads = stage.raft(node)?.status().role == Role::Leader;
    for word in words.rest() {
        let (stem, bytes) = word.split_once(':').unwrap_or((word, "0"));
        let bytes: usize = bytes.parse().map_err(|_| format!("{bytes} is no length"))?;
        let data = Bytes::from(format!("{stem:.<bytes$}"));
        let raft = stage.cluster.raft(node.0);
        let taken =
            if leads { raft.propose(data).map(drop) } else { raft.step(Input::Propose(data)) };
        stage.judge(taken);
    }
    stage.attend(node);
    Ok(())
}

/// `N CHANGE`: a change of configuration is proposed, or handed on.
fn propose_change(stage: &mut Stage, mut words: Words) -> Done {
    let node = words.node()?;
    stage.raft(node)?;
    let change = change(words)?;
    let data = stage.cluster.change_data(&change);
    stage.input(node, Input::ProposeConfiguration { change, data });
    Ok(())
}

/// `add N`, `learn N`, `remove N`, `joint STEP… [stay]`, `leave` or `keep`.
pub(crate) fn change(mut words: Words) -> Result<Change, String> {
    let change = match words.peek().unwrap_or_default() {
        "leave" if words.comes("leave") => Change::Leave,
        "keep" if words.comes("keep") => Change::Keep,
        "joint" if words.comes("joint") => {
            let mut steps = Vec::new();
            while words.peek().is_some_and(|word| word != "stay") {
                steps.push(step(&mut words)?);
            }
            Change::Joint { steps, leaves_by_itself: !words.comes("stay") }
        }
        _ => Change::Simple(step(&mut words)?),
    };
    words.end()?;
    Ok(change)
}

fn step(words: &mut Words) -> Result<ChangeStep, String> {
    match words.next("step")? {
        "add" => words.node().map(ChangeStep::AddVoter),
        "learn" => words.node().map(ChangeStep::AddLearner),
        "remove" => words.node().map(ChangeStep::Remove),
        step => Err(format!("{step} is no step of a change")),
    }
}

/// `N ID…`: reads that arrive together.
fn read(stage: &mut Stage, mut words: Words) -> Done {
    let node = words.node()?;
    stage.raft(node)?;
    while words.peek().is_some() {
        let read = ReadId(words.number("read")?);
        let taken = stage.cluster.raft(node.0).step(Input::Read(read));
        stage.judge(taken);
    }
    stage.attend(node);
    Ok(())
}

fn messages(
    stage: &mut Stage,
    mut words: Words,
    act: impl FnOnce(&mut Stage, &Which, Many) -> Done,
) -> Done {
    let which = Which::parse(&mut words)?;
    let many = Many::parse(&mut words);
    words.end()?;
    act(stage, &which, many)
}

/// `FROM TO [KIND]`: such messages wait on their way until they are delivered by name.
fn hold(stage: &mut Stage, mut words: Words) -> Done {
    stage.held.push(Which::parse(&mut words)?);
    words.end()
}

/// `[FROM TO [KIND]]`: such messages are held no more; all, if none are named.
fn release(stage: &mut Stage, mut words: Words) -> Done {
    if words.peek().is_none() {
        stage.held.clear();
        return Ok(());
    }
    let which = Which::parse(&mut words)?;
    words.end()?;
    stage.held.retain(|held| *held != which);
    Ok(())
}

/// `N… | N…`: nothing gets from one side to the other.
fn part(stage: &mut Stage, mut words: Words) -> Done {
    let one = words.nodes()?;
    words.skip("|")?;
    let other = words.nodes()?;
    words.end()?;
    let numbers = |nodes: Vec<NodeId>| nodes.into_iter().map(|node| node.0).collect::<Vec<_>>();
    stage.cluster.part(&numbers(one), &numbers(other));
    Ok(())
}

/// `FROM TO`: nothing gets there that way.
fn cut(stage: &mut Stage, mut words: Words) -> Done {
    let way = (words.node()?, words.node()?);
    words.end()?;
    stage.cluster.cut.insert(way);
    Ok(())
}

/// `N disk|apply|fetch|install`: done only by command from now on, or by itself again.
fn slow(stage: &mut Stage, mut words: Words, slow: bool) -> Done {
    let node = words.node()?;
    let what = match words.next("part")? {
        "disk" => Slow::Disk,
        "apply" => Slow::Apply,
        "fetch" => Slow::Fetch,
        "install" => Slow::Install,
        part => return Err(format!("{part} is never slow")),
    };
    words.end()?;
    if slow {
        stage.slow.insert((node, what));
    } else {
        stage.slow.remove(&(node, what));
        stage.attend(node);
    }
    Ok(())
}

/// `N`: one thing that is slow there gets done.
fn one(stage: &mut Stage, mut words: Words, act: impl FnOnce(&mut Stage, NodeId) -> bool) -> Done {
    let node = words.node()?;
    words.end()?;
    stage.raft(node)?;
    if !act(stage, node) {
        return Err("nothing of that kind is under way".to_owned());
    }
    stage.attend(node);
    Ok(())
}

/// `N [keep COUNT]`: the applied state becomes durable, and the log behind it is given up.
fn checkpoint(stage: &mut Stage, mut words: Words) -> Done {
    let node = words.node()?;
    let keep = if words.comes("keep") { words.number("count")? } else { 0 };
    words.end()?;
    stage.raft(node)?;
    let member = stage.member(node)?;
    member.checkpoint(keep);
    let (applied, first) = (member.checkpoint.applied, member.log_first);
    stage.tell(&format!("{node} has a checkpoint at {applied}; its log begins at {first}"));
    stage.attend(node);
    Ok(())
}

/// `N [keep STEPS]`: what is not on its disk is lost; of what is being written, so many steps
/// survive: the hard state first, then entries.
fn crash(stage: &mut Stage, mut words: Words) -> Done {
    let node = words.node()?;
    let keep = if words.comes("keep") { words.number("count")? } else { 0 };
    words.end()?;
    stage.raft(node)?;
    stage.member(node)?.crash(keep as usize);
    stage.slow.retain(|(slow, _)| *slow != node);
    Ok(())
}

/// `N after INDEX`: while it is down, its log loses what is behind.
fn damage(stage: &mut Stage, mut words: Words) -> Done {
    let node = words.node()?;
    words.skip("after")?;
    let last = Index(words.number("index")?);
    words.end()?;
    if stage.raft(node).is_ok() {
        return Err(format!("{node} is up"));
    }
    stage.member(node)?.damage(last);
    Ok(())
}

fn restart(stage: &mut Stage, mut words: Words) -> Done {
    let node = words.node()?;
    words.end()?;
    if stage.raft(node).is_ok() {
        return Err(format!("{node} is up"));
    }
    stage.member(node)?.start();
    stage.started(node)
}

/// `[N…]`: where members stand.
fn state(stage: &mut Stage, words: Words) -> Done {
    of_each(stage, words, |raft| vec![tell::status(raft)])
}

/// `N…`: what leaders know of the others.
fn peers(stage: &mut Stage, words: Words) -> Done {
    of_each(stage, words, |raft| raft.peers().map(|peer| tell::peer(&peer)).collect())
}

/// `[N…]`: the terms along logs.
fn log(stage: &mut Stage, words: Words) -> Done {
    of_each(stage, words, |raft| {
        let Status { id, first, .. } = raft.status();
        vec![format!("{id} from {first}: {}", tell::terms(raft))]
    })
}

fn of_each(stage: &mut Stage, mut words: Words, line: impl Fn(&Raft) -> Vec<String>) -> Done {
    let nodes = if words.peek().is_some() { words.nodes()? } else { stage.cluster.ups() };
    words.end()?;
    for node in nodes {
        for line in line(stage.raft(node)?) {
            stage.tell(&line);
        }
    }
    Ok(())
}

/// What is on its way.
fn wires(stage: &mut Stage) {
    let lines: Vec<String> =
        stage.cluster.wires.iter().map(|message| tell::message(&stage.cluster, message)).collect();
    for line in lines {
        stage.tell(&line);
    }
}
