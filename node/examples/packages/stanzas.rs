//! The packages that apt knows.

use std::collections::BTreeMap;
use std::process::Command;

use bytes::Bytes;

use crate::Failure;

/// Names, and what apt says of each.
pub(crate) type Packages = BTreeMap<String, Bytes>;

/// One stanza of each package, from a dump in a file or from apt itself. Of a package that is
/// there in several versions, the last one counts.
pub(crate) fn read(file: Option<&str>) -> Result<Packages, Failure> {
    let dump = match file {
        Some(file) => std::fs::read(file).map_err(|e| format!("cannot read {file}: {e}"))?,
        None => ask_apt()?,
    };
    let text = String::from_utf8_lossy(&dump);
    let stanza = |stanza: &str| {
        let name = stanza.lines().find_map(|line| line.strip_prefix("Package: "))?;
        Some((name.to_owned(), Bytes::copy_from_slice(stanza.as_bytes())))
    };
    let packages: Packages = text.split("\n\n").filter_map(stanza).collect();
    if packages.is_empty() {
        return Err("there are no packages; run `apt-get update` first, or name a file".into());
    }
    Ok(packages)
}

/// Adds a line to each tenth package; returns those.
pub(crate) fn change_each_tenth(packages: &mut Packages) -> Packages {
    let changed = packages.iter_mut().step_by(10).map(|(name, stanza)| {
        *stanza = [stanza, &b"\nChanged: yes"[..]].concat().into();
        (name.clone(), stanza.clone())
    });
    changed.collect()
}

fn ask_apt() -> Result<Vec<u8>, Failure> {
    let output = Command::new("apt-cache").arg("dumpavail").output();
    let output = output.map_err(|e| format!("cannot run apt-cache: {e}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!("apt-cache dumpavail: {}: {reason}", output.status).into());
    }
    Ok(output.stdout)
}
