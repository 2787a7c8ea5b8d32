//! The house rules as a test, and every longer command of a contributor: `cargo xtask <command>`.

mod check;
mod cluster;
mod package;
mod rules;
mod tidy;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

const USAGE: &str = "\
usage: cargo xtask <command>

  cluster           three members on loopback, until Ctrl-C
  check             everything that must pass before a change is merged
  tidy              the house rules that no other tool knows
  package           packs the crates that are useful alone, and builds them from their packages
  rules             which test holds which rule of etcd's behaviour, and the gaps
  descriptor <out>  writes the descriptor set of the client interface to the file <out>";

/// `Ok(false)`: the command did its work and found something.
type Outcome = Result<bool, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["cluster"] => cluster::run(root()),
        ["check"] => check::run(root()),
        ["tidy"] => tidy::run(root()),
        ["package"] => package::run(root()),
        ["rules"] => rules::run(root()),
        ["descriptor", out] => write_descriptor(out),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies within the workspace")
}

fn write_descriptor(out: &str) -> Outcome {
    fs::write(out, revd_api::FILE_DESCRIPTOR_SET).map_err(|error| format!("{out}: {error}"))?;
    Ok(true)
}
