//! What a test needs of the system beside the server: programs, and the right to use them.

use std::process::Command;

/// Why a step could not be taken.
#[derive(Debug)]
pub enum Lack {
    /// The program is not installed.
    Program(String),
    /// It is, and has failed: the system does not let it, by what it says.
    Right(String),
}

/// Runs a program with these words to its end.
pub fn run(program: &str, words: &[&str]) -> Result<(), Lack> {
    let output = Command::new(program).args(words).output();
    let output = output.map_err(|error| Lack::Program(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Lack::Right(format!("{program} {}: {}", words.join(" "), said.trim())))
}

/// Tells that a test is skipped. Under CI a program that is missing is a failure; a right that the
/// machine withholds is not, and whoever is not root has none here anyway.
pub fn skip(what: &str, lack: &Lack) {
    let must_run = std::env::var_os("CI").is_some() && rustix::process::geteuid().is_root();
    let is_missing = matches!(lack, Lack::Program(_));
    assert!(!(must_run && is_missing), "CI must be able to make {what}: {lack:?}");
    println!("SKIPPED: {what} cannot be made here: {lack:?}");
}
