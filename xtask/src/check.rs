use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::Outcome;

/// One step: what it is called, and the arguments for cargo.
const STEPS: [(&str, &[&str]); 10] = [
    ("format", &["fmt", "--all", "--check"]),
    // With all targets, and so with the tests, the examples and the benches.
    ("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    // The workspace as a whole switches the feature on; the crates below the server do without.
    ("interface without gRPC", &["check", "--package", "revd-api"]),
    ("documentation", &["doc", "--workspace", "--no-deps"]),
    ("house rules", &["run", "--quiet", "--package", "xtask", "--", "tidy"]),
    ("rules of behaviour", &["run", "--quiet", "--package", "xtask", "--", "rules"]),
    ("packages", &["run", "--quiet", "--package", "xtask", "--", "package"]),
    ("tests", &["test", "--workspace"]),
    // The simulator must find the bugs that are planted into the core; without the feature there
    // are none.
    (
        "planted bugs",
        &["test", "-p", "revd-raft", "--features", "planted-bugs", "--test", "simulation"],
    ),
    (
        "planted bugs of members",
        &[
            "test",
            "-p",
            "revd-replica",
            "--features",
            "planted-bugs",
            "--test",
            "simulation",
            "planted",
        ],
    ),
];

/// Under CI the log also has what passing tests print: seeds, tallies, what was compared.
const SHOWN: [&str; 2] = ["--", "--show-output"];

/// Runs all steps in order, the quick ones first, and ends with the first that fails.
pub(crate) fn run(root: &Path) -> Outcome {
    let in_ci = env::var("CI").is_ok_and(|value| value == "true");
    for (name, arguments) in STEPS {
        let shown: &[&str] = if in_ci && name == "tests" { &SHOWN } else { &[] };
        let arguments = [arguments, shown].concat();
        let command = format!("cargo {}", arguments.join(" "));
        eprintln!("check: {name}: {command}");
        let begun = Instant::now();
        let status = Command::new("cargo")
            .args(&arguments)
            .current_dir(root)
            .env("RUSTDOCFLAGS", "-D warnings")
            .status()
            .map_err(|error| format!("cannot run {command}: {error}"))?;
        if !status.success() {
            eprintln!("check: {name} failed: {command}");
            return Ok(false);
        }
        eprintln!("check: {name} passed in {:.0?}", begun.elapsed());
    }
    eprintln!("check: all passed");
    Ok(true)
}
