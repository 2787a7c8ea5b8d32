//! What must not be in a crate's dependency tree, however indirectly.

use std::error::Error;
use std::process::Command;

use super::Finding;
use super::workspace::{Crate, Workspace};

/// Rooms without runtime, sockets, metrics and chance of their own.
const BELOW_NODE: [&str; 8] = ["disk", "wal", "btree", "raft", "mvcc", "replica", "api", "bolt"];

const NOT_BELOW_NODE: [&str; 10] = [
    "tokio",
    "tonic",
    "hyper",
    "h2",
    "axum",
    "futures-executor",
    "mio",
    "prometheus",
    "tracing",
    "getrandom",
];

/// Rooms that know nothing of the client interface.
const BELOW_REPLICA: [&str; 5] = ["disk", "wal", "btree", "raft", "mvcc"];

const NOT_BELOW_REPLICA: [&str; 1] = ["prost"];

/// Asks cargo for the tree of each room on its own: in the tree of the whole workspace, features
/// that the server switches on would show in the crates below it.
pub(crate) fn inspect(workspace: &Workspace) -> Result<Vec<Finding>, Box<dyn Error>> {
    let mut findings = Vec::new();
    for member in &workspace.crates {
        let unwanted = unwanted_in(&member.room);
        if !unwanted.is_empty() {
            let tree = tree_of(workspace, member)?;
            findings.extend(inspect_tree(member, &unwanted, &tree));
        }
    }
    Ok(findings)
}

fn unwanted_in(room: &str) -> Vec<&'static str> {
    let mut unwanted = Vec::new();
    if BELOW_NODE.contains(&room) {
        unwanted.extend(NOT_BELOW_NODE);
    }
    if BELOW_REPLICA.contains(&room) {
        unwanted.extend(NOT_BELOW_REPLICA);
    }
    unwanted
}

fn tree_of(workspace: &Workspace, member: &Crate) -> Result<String, Box<dyn Error>> {
    let output = Command::new("cargo")
        .args(["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--package", &member.package])
        .current_dir(&workspace.root)
        .output()?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo tree --package {}: {reason}", member.package).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn inspect_tree(member: &Crate, unwanted: &[&str], tree: &str) -> Vec<Finding> {
    let present = |package: &str| {
        tree.lines().any(|line| line.split(' ').next().is_some_and(|name| name == package))
    };
    unwanted
        .iter()
        .filter(|package| present(package))
        .map(|package| {
            let advice = format!(
                "{} must do without {package}; `cargo tree -p {} -e normal -i {package}` shows \
                 where it comes from",
                member.room, member.package,
            );
            member.finding_in_manifest(package, advice)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwanted_package_is_found_anywhere_in_the_tree() {
        let member =
            Crate { room: "mvcc".to_owned(), package: "revd-mvcc".to_owned(), ..Crate::default() };
        let tree =
            "revd-mvcc v0.1.0 (/revd/mvcc)\nbytes v1.0.0\nprost v0.14.0\ntokio-like v1.0.0\n";
        let findings = inspect_tree(&member, &unwanted_in("mvcc"), tree);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].advice.starts_with("mvcc must do without prost"));
    }

    #[test]
    fn the_server_and_the_benches_may_have_everything() {
        assert!(unwanted_in("node").is_empty());
        assert!(unwanted_in("benches").is_empty());
        assert!(unwanted_in("replica").contains(&"tonic"));
        assert!(!unwanted_in("replica").contains(&"prost"));
    }
}
