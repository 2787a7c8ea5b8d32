//! The words for what comes out.

use revd_raft::*;

use crate::support::{Cluster, change_of};

/// What a message is called in commands, claims and transcripts.
pub(crate) fn kind(body: &Body) -> &'static str {
    match body {
        Body::PreVote { .. } => "pre-vote",
        Body::PreVoteAnswer { .. } => "pre-vote-answer",
        Body::Vote { .. } => "vote",
        Body::VoteAnswer { .. } => "vote-answer",
        Body::Append { .. } => "append",
        Body::Appended { .. } => "appended",
        Body::AppendRefused { .. } => "append-refused",
        Body::Heartbeat { .. } => "heartbeat",
        Body::HeartbeatAnswer { .. } => "heartbeat-answer",
        Body::Read { .. } => "read",
        Body::ReadAnswer { .. } => "read-answer",
        Body::Propose { .. } => "propose",
        Body::TimeoutNow => "timeout-now",
        Body::Snapshot { .. } => "snapshot",
    }
}

pub(crate) const KINDS: [&str; 14] = [
    "pre-vote",
    "pre-vote-answer",
    "vote",
    "vote-answer",
    "append",
    "appended",
    "append-refused",
    "heartbeat",
    "heartbeat-answer",
    "read",
    "read-answer",
    "propose",
    "timeout-now",
    "snapshot",
];

pub(crate) fn message(cluster: &Cluster, message: &Message) -> String {
    let Message { from, to, term, body } = message;
    format!("{from} → {to}, term {term}: {} {}", kind(body), said(cluster, body)).trim().to_owned()
}

fn said(cluster: &Cluster, body: &Body) -> String {
    let yes = |granted: &bool| if *granted { "yes" } else { "no" };
    match body {
        Body::PreVote { campaign, last, committed } => {
            format!("for term {campaign}? log to {last}, committed {committed}")
        }
        Body::PreVoteAnswer { campaign, granted, committed } => {
            format!("{} for term {campaign}, committed {committed}", yes(granted))
        }
        Body::Vote { last, committed, transfer } => {
            let wanted = if *transfer { ", wanted by the leader" } else { "" };
            format!("for me? log to {last}, committed {committed}{wanted}")
        }
        Body::VoteAnswer { granted, committed } => {
            format!("{}, committed {committed}", yes(granted))
        }
        Body::Append { previous, entries: list, commit } => {
            format!("{} behind {previous}, commit {commit}", entries(cluster, list))
        }
        Body::Appended { matched, counts: true } => format!("up to {matched}"),
        Body::Appended { matched, counts: false } => format!("up to {matched}, do not count it"),
        Body::AppendRefused { previous, hint } => {
            format!("behind {previous}, may agree at {hint}")
        }
        Body::Heartbeat { commit, round } => format!("round {round}, commit {commit}"),
        Body::HeartbeatAnswer { round } => format!("round {round}"),
        Body::Read { ids } => listed(ids.iter().map(read)),
        Body::ReadAnswer { reads } => {
            listed(reads.iter().map(|ready| format!("{} at {}", read(&ready.id), ready.index)))
        }
        Body::Propose { proposals } => listed(proposals.iter().map(|proposal| match proposal {
            Proposal::Normal(data) => word(data),
            Proposal::Configuration { change, .. } => self::change(change),
        })),
        Body::TimeoutNow => String::new(),
        Body::Snapshot { position, configuration } => {
            format!("of {position}, {}", self::configuration(configuration))
        }
    }
}

fn read(id: &ReadId) -> String {
    if *id == ReadId(u64::MAX) { "for recovery".to_owned() } else { id.to_string() }
}

pub(crate) fn listed(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" ")
}

/// Entries by position and payload.
pub(crate) fn entries(cluster: &Cluster, list: &[Entry]) -> String {
    let parts: Vec<String> = list.iter().map(|one| entry(cluster, one)).collect();
    format!("[{}]", parts.join(", "))
}

pub(crate) fn entry(cluster: &Cluster, entry: &Entry) -> String {
    let position = entry.position();
    match entry.kind {
        EntryKind::Empty => format!("{position} empty"),
        EntryKind::Normal => format!("{position} {}", word(&entry.data)),
        EntryKind::Configuration if entry.is_leave() => format!("{position} leave or seal"),
        EntryKind::Configuration => {
            format!("{position} {}", change(&change_of(&cluster.changes, entry)))
        }
    }
}

/// A payload: what repeats only to be long is left out.
pub(crate) fn word(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    let stem = text.trim_end_matches('.');
    if stem == text { text.into_owned() } else { format!("{stem}:{}", data.len()) }
}

pub(crate) fn change(change: &Change) -> String {
    let step = |step: &ChangeStep| match step {
        ChangeStep::AddVoter(node) => format!("add {node}"),
        ChangeStep::AddLearner(node) => format!("learn {node}"),
        ChangeStep::Remove(node) => format!("remove {node}"),
    };
    match change {
        Change::Keep => "keep".to_owned(),
        Change::Leave => "leave".to_owned(),
        Change::Simple(one) => step(one),
        Change::Joint { steps, leaves_by_itself } => {
            let stay = if *leaves_by_itself { "" } else { " stay" };
            format!("joint {}{stay}", listed(steps.iter().map(step)))
        }
    }
}

/// `voters 1 2, outgoing 2 3, learners 4, demoted 3`, as far as there are any.
pub(crate) fn configuration(configuration: &Configuration) -> String {
    let lists = [
        ("voters", configuration.voters()),
        ("outgoing", configuration.outgoing()),
        ("learners", configuration.learners()),
        ("demoted", configuration.demoted()),
    ];
    let parts: Vec<String> = lists
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| format!("{name} {}", listed(list.iter().map(NodeId::to_string))))
        .collect();
    if parts.is_empty() { "nobody".to_owned() } else { parts.join(", ") }
}

pub(crate) fn role(node: NodeId, change: RoleChange) -> String {
    let RoleChange { term, role, leader } = change;
    match (role, leader) {
        (Role::Leader, _) => format!("{node} LEADS term {term}"),
        (Role::Candidate, _) => format!("{node} is a candidate in term {term}"),
        (Role::PreCandidate, _) => {
            format!("{node} asks whether it could win term {}", term.0 + 1)
        }
        (Role::Follower, Some(leader)) => format!("{node} follows {leader} in term {term}"),
        (Role::Follower, None) => format!("{node} is in term {term} and knows no leader"),
    }
}

pub(crate) fn persist(cluster: &Cluster, persist: &Persist) -> String {
    let mut parts = Vec::new();
    if let Some(HardState { term, vote }) = persist.hard_state {
        let vote = vote.map_or("no vote".to_owned(), |vote| format!("vote for {vote}"));
        parts.push(format!("term {term}, {vote}"));
    }
    let written = entries(cluster, &persist.entries);
    match persist.truncate_from {
        Some(from) => parts.push(format!("{written} in place of {from} and all behind it")),
        None if persist.entries.is_empty() => {}
        None => parts.push(written),
    }
    parts.join("; ")
}

/// The terms of a log from its first entry on, with a bar behind what is durable.
pub(crate) fn terms(raft: &Raft) -> String {
    let Status { first, last, persisted, .. } = raft.status();
    let mut parts = Vec::new();
    for index in first.0..=last.index.0 {
        let term = raft.term_at(Index(index));
        parts.push(term.map_or("?".to_owned(), |term| term.to_string()));
        if index == persisted.0 && index != last.index.0 {
            parts.push("|".to_owned());
        }
    }
    parts.join(" ")
}

pub(crate) fn status(raft: &Raft) -> String {
    let status = raft.status();
    let Status { id, term, role, leader, .. } = status;
    let mut text = self::role(id, RoleChange { term, role, leader });
    text += &format!(
        ": log {} to {}, durable {}, committed {}, applied {}; {}",
        status.first,
        status.last,
        status.persisted,
        status.commit,
        status.applied,
        configuration(raft.configuration())
    );
    if status.recovering {
        text += "; recovering";
    }
    text
}

pub(crate) fn peer(peer: &PeerStatus) -> String {
    let PeerStatus { id, matched, next, feed, active, .. } = *peer;
    let silent = if active { "" } else { ", silent" };
    format!("{id}: holds {matched}, next {next}, {}{silent}", self::feed(feed))
}

pub(crate) fn feed(feed: Feed) -> &'static str {
    match feed {
        Feed::Probe => "probe",
        Feed::Replicate => "replicate",
        Feed::Snapshot => "snapshot",
    }
}
