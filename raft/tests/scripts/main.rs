//! Raft told in plain text: each script opens with the section it comes from and the outcome that
//! it must show, then gives commands with all that came of them below.
//!
//! - `cargo test -p revd-raft --test scripts` runs all, and fails where a transcript differs.
//! - `REVD_SCRIPTS=rewrite` before it writes the transcripts anew. The outcomes are still checked:
//!   they are no part of the transcript.
//!
//! `command` is the language, `claim` what can be demanded; `stage` plays, `tell` has the words.
//! How to write a script is in the README.md of this folder.

// The parts that tests share may unwrap like the tests themselves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod claim;
mod command;
mod disk;
mod script;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod tell;
mod wires;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use script::Script;

/// Fewer must never be left.
const SCENARIOS_MIN: usize = 80;

/// Where the scripts are.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// Every scenario by name, `chapter/name`, so that none gets lost.
fn scenarios() -> Vec<String> {
    let list = fs::read_to_string(folder().join("scenarios.txt")).unwrap();
    list.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_script_shows_its_outcome_and_repeats_its_transcript() {
    let rewrite = std::env::var("REVD_SCRIPTS").is_ok_and(|value| value == "rewrite");
    let mut failures = Vec::new();
    for scenario in scenarios() {
        let path = folder().join(format!("{scenario}.txt"));
        let text = fs::read_to_string(&path).unwrap_or_default();
        // A member that panics, or breaks what must never be broken, is named like all others.
        let play = || Script::parse(&text).and_then(|script| script.play());
        let played = std::panic::catch_unwind(play);
        let failure = match played.unwrap_or_else(|_| Err("panics, as told above".to_owned())) {
            Err(what) => Some(what),
            Ok(played) => {
                if rewrite && played.text != text {
                    fs::write(&path, &played.text).unwrap();
                }
                let same = rewrite || played.text == text;
                let differs = (!same).then(|| first_difference(&text, &played.text));
                played.broken.or(differs)
            }
        };
        failures.extend(failure.map(|what| format!("{scenario}: {what}")));
    }
    assert!(failures.is_empty(), "{}\n{} scripts fail", failures.join("\n"), failures.len());
}

/// Where a transcript parts from what was told.
fn first_difference(text: &str, told: &str) -> String {
    let mut lines = text.lines();
    for (number, told) in (1..).zip(told.lines()) {
        let line = lines.next().unwrap_or("the end of the file");
        if line != told {
            return format!("line {number}:\n  it says {line}\n  it went {told}");
        }
    }
    format!("{:?} at the end, or other blanks", lines.next().unwrap_or_default())
}

#[test]
fn every_scenario_is_there() {
    let listed = scenarios();
    assert!(listed.is_sorted(), "the list is in order");
    let count = listed.len();
    assert!(count >= SCENARIOS_MIN, "{count} scenarios, at least {SCENARIOS_MIN} are needed");
    let mut found = Vec::new();
    for chapter in fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()) {
        if chapter.is_dir() {
            let scripts = fs::read_dir(chapter).unwrap().map(|entry| entry.unwrap().path());
            let named = |path: PathBuf| path.strip_prefix(folder()).unwrap().with_extension("");
            found.extend(scripts.map(|path| named(path).to_str().unwrap().to_owned()));
        }
    }
    found.sort_unstable();
    assert_eq!(found, listed);
}
