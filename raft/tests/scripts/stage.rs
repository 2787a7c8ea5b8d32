//! The cluster on the stage: after each input, everything that is due comes out, is told and done.

use std::collections::{BTreeMap, BTreeSet};

use revd_raft::*;

use crate::support::*;
use crate::tell;
use crate::wires::Which;

/// What a member does slowly: only when a command says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slow {
    Disk,
    Apply,
    Fetch,
    Install,
}

/// What has become of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    At(Index),
    Failed,
}

#[derive(Default)]
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    /// The transcript of the command that is being carried out.
    pub(crate) told: Vec<String>,
    pub(crate) depth: usize,
    /// Heartbeats and their answers are not told.
    pub(crate) quiet: bool,
    pub(crate) held: Vec<Which>,
    pub(crate) slow: BTreeSet<(NodeId, Slow)>,
    pub(crate) founders: Configuration,
    /// Settings of every member, by name.
    pub(crate) settings: Vec<(String, u64)>,
    /// What each member was last seen to know to be committed.
    commits: BTreeMap<NodeId, Index>,

    // For the claims.
    pub(crate) reigns: BTreeSet<(NodeId, Term)>,
    pub(crate) reads: BTreeMap<ReadId, Answer>,
    /// What was refused, by the name of the reason.
    pub(crate) refusals: Vec<String>,
    /// Every message that was ever sent, without its entries.
    pub(crate) sent: Vec<Message>,
    pub(crate) installed: BTreeMap<NodeId, Index>,
}

impl Stage {
    pub(crate) fn tell(&mut self, line: &str) {
        self.told.push(format!("{}{line}", "  ".repeat(self.depth)));
    }

    pub(crate) fn raft(&self, node: NodeId) -> Result<&Raft, String> {
        let member = self.cluster.members.get(&node).ok_or(format!("there is no member {node}"))?;
        member.raft.as_ref().ok_or(format!("{node} is down"))
    }

    pub(crate) fn member(&mut self, node: NodeId) -> Result<&mut Member, String> {
        self.cluster.members.get_mut(&node).ok_or(format!("there is no member {node}"))
    }

    fn is_fast(&self, node: NodeId, what: Slow) -> bool {
        !self.slow.contains(&(node, what))
    }

    /// An input, and what comes of it at this member.
    pub(crate) fn input(&mut self, node: NodeId, input: Input) {
        let taken = self.cluster.raft(node.0).step(input);
        self.judge(taken.map(drop));
        self.attend(node);
    }

    pub(crate) fn judge(&mut self, taken: Result<(), Refused>) {
        if let Err(refused) = taken {
            let name: String =
                format!("{refused:?}").chars().take_while(char::is_ascii_alphabetic).collect();
            let cause = std::error::Error::source(&refused);
            let cause = cause.map_or(String::new(), |cause| format!(": {cause}"));
            self.tell(&format!("refused ({name}): {refused}{cause}"));
            self.refusals.push(name);
        }
    }

    /// Everything that is due at a member comes out and is done, as far as it does that by itself.
    pub(crate) fn attend(&mut self, node: NodeId) {
        loop {
            self.notice_commit(node);
            let Some(output) = self.cluster.output(node) else { return };
            self.notice_commit(node);
            let mut busy = !output.is_empty();
            self.tell_output(node, &output);
            let snapshots = output.snapshots.len();
            self.cluster.carry_out(node, output);
            self.sent.extend(self.cluster.wires.iter().rev().take(snapshots).cloned());
            if self.is_fast(node, Slow::Disk) {
                busy |= self.finish_persist(node);
            }
            if self.is_fast(node, Slow::Fetch) {
                while self.finish_fetch(node) {
                    busy = true;
                }
            }
            if self.is_fast(node, Slow::Apply) {
                busy |= self.apply(node);
            }
            if self.is_fast(node, Slow::Install) {
                busy |= self.install(node, true);
            }
            if !busy {
                return;
            }
        }
    }

    fn notice_commit(&mut self, node: NodeId) {
        let Ok(commit) = self.raft(node).map(|raft| raft.status().commit) else { return };
        let known = self.commits.insert(node, commit);
        if known.is_some_and(|known| known < commit) {
            self.tell(&format!("{node} knows {commit} to be committed"));
        }
    }

    fn tell_output(&mut self, node: NodeId, output: &Output) {
        if let Some(role) = output.role {
            self.tell(&tell::role(node, role));
            if role.role == Role::Leader {
                self.reigns.insert((node, role.term));
            }
        }
        if let Some(persist) = &output.persist {
            let verb = if self.is_fast(node, Slow::Disk) { "writes" } else { "begins to write" };
            self.tell(&format!("{node} {verb} {}", tell::persist(&self.cluster, persist)));
        }
        for message in &output.messages {
            self.sent.push(message.clone());
            if !(self.quiet && tell::kind(&message.body).starts_with("heartbeat")) {
                self.tell(&tell::message(&self.cluster, message));
            }
        }
        for request in &output.snapshots {
            let SnapshotRequest { to, term, after } = request;
            self.tell(&format!("{node} → {to}, term {term}: a snapshot, of {after} or later"));
        }
        for ready in &output.reads {
            self.tell(&format!("{node} may serve read {} at {}", ready.id, ready.index));
            self.reads.insert(ready.id, Answer::At(ready.index));
        }
        for read in &output.reads_failed {
            self.tell(&format!("{node} gives up read {read}"));
            self.reads.insert(*read, Answer::Failed);
        }
        for fetch in &output.fetches {
            self.tell(&format!("{node} fetches {} to {}", fetch.first, fetch.last));
        }
        if let Some(install) = &output.install {
            self.tell(&format!("{node} is to install the snapshot of {}", install.position));
        }
    }

    pub(crate) fn finish_persist(&mut self, node: NodeId) -> bool {
        let Some(persist) = self.cluster.member(node.0).persist.clone() else { return false };
        if !self.is_fast(node, Slow::Disk) {
            let what = tell::persist(&self.cluster, &persist);
            self.tell(&format!("{node} has written {what}"));
        }
        self.cluster.member(node.0).finish_persist()
    }

    pub(crate) fn finish_fetch(&mut self, node: NodeId) -> bool {
        let member = self.cluster.member(node.0);
        if !member.is_up() || !member.finish_fetch() {
            return false;
        }
        self.tell(&format!("{node} has fetched"));
        true
    }

    /// Applies what is handed out, up to and including a change of configuration.
    pub(crate) fn apply(&mut self, node: NodeId) -> bool {
        let mut applied = Vec::new();
        let mut now = String::new();
        while let Some(entry) = self.cluster.member(node.0).committed.front().cloned() {
            applied.push(entry.clone());
            let before = self.cluster.member(node.0).state.configuration.clone();
            self.cluster.apply(node);
            if entry.kind == EntryKind::Configuration {
                let after = &self.cluster.member(node.0).state.configuration;
                now = match *after == before {
                    true => ", which changes nothing".to_owned(),
                    false => format!(": {}", tell::configuration(after)),
                };
                break;
            }
        }
        if !applied.is_empty() {
            let entries = tell::entries(&self.cluster, &applied);
            self.tell(&format!("{node} applies {entries}{now}"));
        }
        !applied.is_empty()
    }

    /// Puts the snapshot in place that a member was told to install, or fails to.
    pub(crate) fn install(&mut self, node: NodeId, works: bool) -> bool {
        let member = self.cluster.member(node.0);
        let Some(position) = member.install.as_ref().map(|install| install.position) else {
            return false;
        };
        if works {
            self.cluster.finish_install(node);
            self.installed.insert(node, position.index);
            let members = tell::configuration(&self.cluster.member(node.0).state.configuration);
            self.tell(&format!("{node} has installed the snapshot of {position}: {members}"));
        } else {
            member.install = None;
            self.tell(&format!("{node} cannot use the snapshot of {position}"));
            let taken = self.cluster.raft(node.0).step(Input::InstallFailed(position));
            self.judge(taken);
        }
        true
    }

    /// A member has started: it is told from where.
    pub(crate) fn started(&mut self, node: NodeId) -> Result<(), String> {
        let raft = self.raft(node)?;
        let Status { term, commit, recovering, .. } = raft.status();
        let line = format!(
            "{node} starts in term {term}, log [{}], committed {commit}; {}{}",
            tell::terms(raft),
            tell::configuration(raft.configuration()),
            if recovering { "; recovering" } else { "" }
        );
        self.commits.insert(node, commit);
        self.tell(&line);
        self.attend(node);
        Ok(())
    }
}
