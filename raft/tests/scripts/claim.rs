//! What a script can demand of its outcome. README.md has the claims with a line each.

use revd_raft::*;

use crate::stage::{Answer, Stage};
use crate::tell;
use crate::wires::Which;
use crate::words::Words;

type Holds = Result<(), String>;

/// Whether a claim holds now; what was found instead if it does not.
pub(crate) fn check(stage: &Stage, text: &str) -> Holds {
    let (left, right) = text.split_once(':').unwrap_or((text, ""));
    let (mut words, right) = (Words::of(left), right.trim());
    match words.next("claim")? {
        "leader" => leader(stage, words),
        "no" => no_leader(stage, words),
        "never" => never(stage, words),
        "follower" => follower(stage, words),
        "term" => of_each(stage, words, right, |raft| raft.status().term.to_string()),
        "role" => of_each(stage, words, right, |raft| role(raft.status().role).to_owned()),
        "log" => of_each(stage, words, right, tell::terms),
        "configuration" => {
            of_each(stage, words, right, |raft| tell::configuration(raft.configuration()))
        }
        "recovering" => of_each(stage, words, right, |raft| yes(raft.status().recovering)),
        "transferring" => of_each(stage, words, right, |raft| {
            raft.status().transferring.map_or("to nobody".to_owned(), |to| format!("to {to}"))
        }),
        "committed" => through(stage, words, |status| status.commit),
        "durable" => through(stage, words, |status| status.persisted),
        "applied" => applied(stage, words, right),
        "vote" => vote(stage, words, right),
        "read" => read(stage, words),
        "refused" => refused(stage, words),
        "sent" => count(&stage.sent, words, right),
        "waiting" => {
            let wires: Vec<Message> = stage.cluster.wires.iter().cloned().collect();
            count(&wires, words, right)
        }
        "uncommitted" => at_most(stage, words, |status| status.uncommitted_bytes),
        "memory" => at_most(stage, words, |status| status.memory_bytes),
        "feed" => feed(stage, words, right),
        "holds" => holds(stage, words),
        "installed" => installed(stage, words),
        claim => Err(format!("{claim} is no claim")),
    }
}

fn equal(found: &str, expected: &str) -> Holds {
    let found = if found.is_empty() { "nothing" } else { found };
    if found == expected { Ok(()) } else { Err(format!("it is {found}")) }
}

fn yes(condition: bool) -> String {
    if condition { "yes" } else { "no" }.to_owned()
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

/// `N…: EXPECTED`, of each member.
fn of_each(
    stage: &Stage,
    mut words: Words,
    expected: &str,
    found: impl Fn(&Raft) -> String,
) -> Holds {
    let nodes = words.nodes()?;
    words.end()?;
    nodes.into_iter().try_for_each(|node| {
        equal(&found(stage.raft(node)?), expected).map_err(|what| format!("at {node} {what}"))
    })
}

/// `N… through INDEX`, of each member.
fn through(stage: &Stage, mut words: Words, of: impl Fn(Status) -> Index) -> Holds {
    let nodes = words.nodes()?;
    words.skip("through")?;
    let expected = words.next("index")?;
    words.end()?;
    nodes.into_iter().try_for_each(|node| {
        let found = of(stage.raft(node)?.status()).to_string();
        equal(&found, expected).map_err(|what| format!("at {node} {what}"))
    })
}

/// `N at most BYTES`.
fn at_most(stage: &Stage, mut words: Words, of: impl Fn(Status) -> usize) -> Holds {
    let node = words.node()?;
    words.skip("at")?;
    words.skip("most")?;
    let most = words.number("bytes")?;
    words.end()?;
    let found = of(stage.raft(node)?.status()) as u64;
    if found <= most { Ok(()) } else { Err(format!("it is {found}")) }
}

/// `N [in term T]`.
fn leader(stage: &Stage, mut words: Words) -> Holds {
    let node = words.node()?;
    let term = in_term(&mut words)?;
    words.end()?;
    let status = stage.raft(node)?.status();
    let leads = status.role == Role::Leader && term.is_none_or(|term| term == status.term);
    if leads { Ok(()) } else { Err(tell::status(stage.raft(node)?)) }
}

fn in_term(words: &mut Words) -> Result<Option<Term>, String> {
    if !words.comes("in") {
        return Ok(None);
    }
    words.skip("term")?;
    words.term().map(Some)
}

/// `no leader`: among those that are up.
fn no_leader(stage: &Stage, mut words: Words) -> Holds {
    words.skip("leader")?;
    words.end()?;
    stage.cluster.leader().map_or(Ok(()), |leader| Err(format!("{leader} leads")))
}

/// `leader N [in term T]`, `refused` or `sent …`: not at any time so far.
fn never(stage: &Stage, mut words: Words) -> Holds {
    match words.next("claim")? {
        "leader" => {
            let node = words.node()?;
            let term = in_term(&mut words)?;
            words.end()?;
            let reigned = |&&(leader, reign): &&(NodeId, Term)| {
                leader == node && term.is_none_or(|term| term == reign)
            };
            let found = stage.reigns.iter().find(reigned);
            found.map_or(Ok(()), |(_, term)| Err(format!("{node} led term {term}")))
        }
        "refused" => {
            words.end()?;
            if stage.refusals.is_empty() { Ok(()) } else { Err(stage.refusals.join(" ")) }
        }
        "sent" => count(&stage.sent, words, "0"),
        claim => Err(format!("never {claim} is no claim")),
    }
}

/// `N of LEADER in term T`.
fn follower(stage: &Stage, mut words: Words) -> Holds {
    let node = words.node()?;
    words.skip("of")?;
    let leader = words.node()?;
    let term = in_term(&mut words)?;
    words.end()?;
    let status = stage.raft(node)?.status();
    let holds = status.role == Role::Follower
        && status.leader == Some(leader)
        && term.is_none_or(|term| term == status.term);
    if holds { Ok(()) } else { Err(tell::status(stage.raft(node)?)) }
}

/// `N…: WORDS`: the payloads that the state machine has applied.
fn applied(stage: &Stage, mut words: Words, expected: &str) -> Holds {
    let nodes = words.nodes()?;
    words.end()?;
    nodes.into_iter().try_for_each(|node| {
        let member = stage.cluster.members.get(&node).ok_or(format!("there is no {node}"))?;
        let found = tell::listed(member.state.words.iter().map(|word| tell::word(word)));
        equal(&found, expected).map_err(|what| format!("at {node} {what}"))
    })
}

/// `N in term T: FOR`: what its disk says of its vote; `nobody` for none.
fn vote(stage: &Stage, mut words: Words, expected: &str) -> Holds {
    let node = words.node()?;
    let term = in_term(&mut words)?.ok_or("the term is missing")?;
    words.end()?;
    let member = stage.cluster.members.get(&node).ok_or(format!("there is no {node}"))?;
    let HardState { term: durable, vote } = member.hard_state;
    equal(&durable.to_string(), &term.to_string()).map_err(|what| format!("the term {what}"))?;
    equal(&vote.map_or("nobody".to_owned(), |vote| vote.to_string()), expected)
}

/// `ID answered at INDEX`, `ID failed` or `ID open`.
fn read(stage: &Stage, mut words: Words) -> Holds {
    let id = ReadId(words.number("read")?);
    let found = match stage.reads.get(&id) {
        None => "open".to_owned(),
        Some(Answer::Failed) => "failed".to_owned(),
        Some(Answer::At(index)) => format!("answered at {index}"),
    };
    equal(&found, &words.rest().join(" "))
}

/// `NAME [COUNT times]`: an input was refused for this reason.
fn refused(stage: &Stage, mut words: Words) -> Holds {
    let name = words.next("reason")?;
    let found = stage.refusals.iter().filter(|refusal| *refusal == name).count() as u64;
    let holds = if words.peek().is_some() {
        let expected = words.number("count")?;
        words.skip("times")?;
        found == expected
    } else {
        found > 0
    };
    words.end()?;
    if holds { Ok(()) } else { Err(format!("refused was {:?}", stage.refusals)) }
}

/// `[FROM TO [KIND]]: COUNT`; an append counts only if it carries entries.
fn count(messages: &[Message], mut words: Words, expected: &str) -> Holds {
    let which = Which::parse(&mut words)?;
    words.end()?;
    let carries = |message: &&Message| {
        which.fits(message)
            && !matches!(&message.body, Body::Append { entries, .. } if entries.is_empty())
    };
    equal(&messages.iter().filter(carries).count().to_string(), expected)
}

/// `LEADER N: probe|replicate|snapshot`.
fn feed(stage: &Stage, mut words: Words, expected: &str) -> Holds {
    let (leader, node) = (words.node()?, words.node()?);
    words.end()?;
    equal(tell::feed(peer(stage, leader, node)?.feed), expected)
}

/// `LEADER N through INDEX`: what a leader knows of a member.
fn holds(stage: &Stage, mut words: Words) -> Holds {
    let (leader, node) = (words.node()?, words.node()?);
    words.skip("through")?;
    let expected = words.next("index")?;
    words.end()?;
    equal(&peer(stage, leader, node)?.matched.to_string(), expected)
}

fn peer(stage: &Stage, leader: NodeId, node: NodeId) -> Result<PeerStatus, String> {
    let found = stage.raft(leader)?.peers().find(|peer| peer.id == node);
    found.ok_or(format!("{leader} feeds no {node}"))
}

/// `N through INDEX`: the last snapshot that it has put in place.
fn installed(stage: &Stage, mut words: Words) -> Holds {
    let node = words.node()?;
    words.skip("through")?;
    let expected = words.next("index")?;
    words.end()?;
    equal(&stage.installed.get(&node).copied().unwrap_or_default().to_string(), expected)
}
