//! Which crate may be built from which.

use super::Finding;
use super::workspace::{Crate, Workspace};

/// Each room and those that it may use. Its tests and examples may use any.
const ARROWS: [(&str, &[&str]); 12] = [
    ("disk", &[]),
    ("raft", &[]),
    ("api", &[]),
    ("wal", &["disk"]),
    ("btree", &["disk"]),
    ("bolt", &["disk"]),
    ("mvcc", &["btree", "disk"]),
    ("replica", &["mvcc", "raft", "wal", "btree", "disk", "api", "bolt"]),
    // The rooms below replica for the types that its interface shows.
    ("node", &["replica", "api", "mvcc", "raft", "wal", "btree", "disk"]),
    ("ctl", &["api", "replica", "bolt"]),
    // For the simulations of others, which are tests.
    ("sim", &[]),
    // For the descriptor set.
    ("xtask", &["api"]),
];

/// Nothing is built from it, so it may use everything.
const UNBOUND: &str = "benches";

pub(crate) fn inspect(workspace: &Workspace) -> Vec<Finding> {
    let bound = workspace.crates.iter().filter(|member| member.room != UNBOUND);
    bound.flat_map(|member| inspect_crate(workspace, member)).collect()
}

fn inspect_crate(workspace: &Workspace, member: &Crate) -> Vec<Finding> {
    let Some((room, allowed)) = ARROWS.iter().find(|(room, _)| *room == member.room) else {
        let advice = "a new crate: write what it may use into the table in xtask's tidy/arrows.rs";
        return vec![member.finding_in_manifest("[package]", advice.to_owned())];
    };
    let refused = member
        .uses
        .iter()
        .filter(|package| workspace.room_of(package).is_none_or(|used| !allowed.contains(&used)));
    refused
        .map(|package| {
            let advice = format!(
                "{room} must not use {package}: it may use {}; let the caller pass a value \
                 instead, or own a small trait",
                if allowed.is_empty() { "none of ours".to_owned() } else { allowed.join(", ") },
            );
            member.finding_in_manifest(package, advice)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(room: &str, uses: &str) -> Workspace {
        let member = |room: &str, uses: &[&str]| Crate {
            room: room.to_owned(),
            package: format!("revd-{room}"),
            manifest: format!(
                "[package]\n\n[dependencies]\nrevd-{}.workspace = true\n",
                uses.join("")
            ),
            uses: uses.iter().map(|used| format!("revd-{used}")).collect(),
            ..Crate::default()
        };
        Workspace { crates: vec![member(room, &[uses]), member(uses, &[])], ..Workspace::default() }
    }

    #[test]
    fn an_arrow_upward_is_refused_where_it_is_written() {
        let findings = inspect(&workspace("mvcc", "raft"));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].line, 4);
        assert!(findings[0].advice.starts_with("mvcc must not use revd-raft"));
    }

    #[test]
    fn an_arrow_of_the_table_and_any_arrow_of_the_benches_are_fine() {
        assert_eq!(inspect(&workspace("wal", "disk")), []);
        assert_eq!(inspect(&workspace("benches", "raft")), []);
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_is_refused() {
        let findings = inspect(&workspace("disk", "utensils"));
        assert!(findings.iter().any(|finding| finding.advice.starts_with("a new crate")));
    }
}
