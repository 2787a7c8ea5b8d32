use std::path::Path;
use std::process::Command;

use crate::Outcome;

/// The crates that someone may want without the server.
const PACKAGES: [&str; 6] =
    ["revd-disk", "revd-wal", "revd-btree", "revd-raft", "revd-mvcc", "revd-api"];

/// Packs the reusable crates and builds each from what was packed.
///
/// All in one call: cargo then builds those that rest on a sibling against the package of that
/// sibling, which no registry has yet.
pub(crate) fn run(root: &Path) -> Outcome {
    let mut command = Command::new("cargo");
    // What is not committed yet is packed, too: this is a check and not a release.
    command.args(["package", "--allow-dirty"]).current_dir(root);
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    let status = command.status().map_err(|error| format!("cannot run cargo package: {error}"))?;
    Ok(status.success())
}
