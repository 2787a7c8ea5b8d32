//! The house rules that neither the compiler nor clippy knows.
//!
//! Each rule is one file and one function that returns what it found; all read the same
//! [`Workspace`], loaded once. A finding says where, what, and what to do about it.

mod absences;
mod arrows;
mod documents;
mod lengths;
mod names;
mod seams;
mod source;
mod text;
mod unsafety;
mod unwraps;
pub(crate) mod workspace;

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::Outcome;
use workspace::Workspace;

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Relative to the workspace.
    pub(crate) path: PathBuf,
    /// From 1.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.advice)
    }
}

/// Prints what breaks a rule; `true` if nothing does.
pub(crate) fn run(root: &Path) -> Outcome {
    let findings = inspect(root)?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: nothing found"),
        count => println!("tidy: {count} found; CONTRIBUTING.md has the rules"),
    }
    Ok(findings.is_empty())
}

/// Everything in the workspace that breaks a rule, in order of place.
fn inspect(root: &Path) -> Result<Vec<Finding>, Box<dyn Error>> {
    let workspace = Workspace::load(root)?;
    let mut findings = workspace.unreadable.clone();
    findings.extend(arrows::inspect(&workspace));
    findings.extend(absences::inspect(&workspace)?);
    findings.extend(documents::inspect(&workspace));
    for source in workspace.sources() {
        findings.extend(lengths::inspect(source));
        findings.extend(names::inspect(source));
        findings.extend(seams::inspect(source));
        findings.extend(text::inspect(&source.path, &source.text));
        findings.extend(unsafety::inspect(source));
        findings.extend(unwraps::inspect(source));
    }
    for (path, contents) in &workspace.protos {
        findings.extend(text::inspect(path, contents));
    }
    findings.sort();
    findings.dedup();
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_keeps_the_house_rules() {
        let findings = inspect(crate::root()).expect("the workspace can be read");
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(
            findings.is_empty(),
            "{} places break a house rule (CONTRIBUTING.md says which rules there are; \
             `cargo xtask tidy` runs this check alone):\n\n{}\n",
            findings.len(),
            lines.join("\n"),
        );
    }

    #[test]
    fn a_finding_is_printed_so_that_editors_can_follow_it() {
        let finding = Finding { path: "wal/src/lib.rs".into(), line: 7, advice: "shorten".into() };
        assert_eq!(finding.to_string(), "wal/src/lib.rs:7: shorten");
    }
}
