//! Three members on loopback, for people: a table of where they are, and words to kill and to start
//! them with.

use std::error::Error;
use std::fs::{self, File};
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Outcome;

/// Name, port for clients, port for members: those of the Procfile.
const MEMBERS: [(&str, u16, u16); 3] =
    [("a", 2379, 2380), ("b", 22379, 22380), ("c", 32379, 32380)];

/// How often it is looked whether a member has ended by itself, or a signal has come.
const LOOK: Duration = Duration::from_millis(100);

const WORDS: &str = "kill <name>, start <name>, list, or Ctrl-C to end all of them";

struct Member {
    name: &'static str,
    client: String,
    peer: String,
    folder: PathBuf,
    /// None while it is down.
    process: Option<Child>,
}

/// Builds the server, runs three of them until a signal comes, and ends them.
pub(crate) fn run(root: &Path) -> Outcome {
    let program = build(root)?;
    let folder = program.parent().ok_or("the server lies in no folder")?.join("cluster");
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&is_over))?;
    }
    let mut members: Vec<Member> = MEMBERS.iter().map(|member| at(&folder, *member)).collect();
    for n in 0..members.len() {
        start(&mut members, n, &program)?;
    }
    list(&members);
    let words = words();
    while !is_over.load(Relaxed) {
        match words.recv_timeout(LOOK) {
            Ok(line) => obey(&mut members, &line, &program)?,
            Err(RecvTimeoutError::Timeout) => {}
            // Nobody types: the signal alone counts.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
        }
        for member in &mut members {
            report_end(member)?;
        }
    }
    members.iter_mut().try_for_each(end)?;
    println!("all have ended; their data stays in {}", folder.display());
    Ok(true)
}

/// Builds the server as it is meant to be run; where it then is.
fn build(root: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--package", "revd"]).current_dir(root);
    if !cargo.status()?.success() {
        return Err("the server cannot be built".into());
    }
    let metadata = cargo_metadata::MetadataCommand::new().current_dir(root).no_deps().exec()?;
    Ok(metadata.target_directory.join("release").join("revd").into_std_path_buf())
}

fn at(folder: &Path, (name, client, peer): (&'static str, u16, u16)) -> Member {
    let url = |port| format!("http://127.0.0.1:{port}");
    Member { name, client: url(client), peer: url(peer), folder: folder.join(name), process: None }
}

/// Starts a member that is down. Its log goes beside its data.
fn start(members: &mut [Member], n: usize, program: &Path) -> Result<(), Box<dyn Error>> {
    let all: Vec<String> = members.iter().map(|m| format!("{}={}", m.name, m.peer)).collect();
    let member = &mut members[n];
    fs::create_dir_all(&member.folder)?;
    let log = File::options().create(true).append(true).open(member.folder.join("log"))?;
    let process = Command::new(program)
        .args(["--name", member.name, "--initial-cluster", &all.join(",")])
        .arg("--data-dir")
        .arg(member.folder.join("data"))
        .args(["--listen-client-urls", &member.client, "--advertise-client-urls", &member.client])
        .args(["--listen-peer-urls", &member.peer])
        .args(["--initial-advertise-peer-urls", &member.peer])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    member.process = Some(process);
    Ok(())
}

fn list(members: &[Member]) {
    println!("member  process  clients                  members                  log");
    for Member { name, client, peer, folder, process } in members {
        let id = process.as_ref().map_or("down".to_owned(), |process| process.id().to_string());
        let log = folder.join("log");
        println!("{name:6}  {id:7}  {client:23}  {peer:23}  {}", log.display());
    }
    let endpoints: Vec<&str> = members.iter().map(|member| member.client.as_str()).collect();
    println!("\nexport ETCDCTL_API=3 ETCDCTL_ENDPOINTS={}\n{WORDS}", endpoints.join(","));
}

/// The lines that are typed.
fn words() -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn obey(members: &mut [Member], line: &str, program: &Path) -> Result<(), Box<dyn Error>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let find = |name: &str| members.iter().position(|member| member.name == name);
    match words[..] {
        [] => {}
        ["list"] => list(members),
        ["kill", name] => match find(name).map(|n| &mut members[n]) {
            Some(Member { process: Some(process), .. }) => process.kill()?,
            _ => println!("no member {name} is up"),
        },
        ["start", name] => match find(name).filter(|n| members[*n].process.is_none()) {
            Some(n) => {
                start(members, n, program)?;
                println!("{name} is up again");
            }
            None => println!("no member {name} is down"),
        },
        _ => println!("{WORDS}"),
    }
    Ok(())
}

/// Says that a member has ended, if it has.
fn report_end(member: &mut Member) -> Result<(), Box<dyn Error>> {
    let Some(process) = &mut member.process else { return Ok(()) };
    if let Some(status) = process.try_wait()? {
        member.process = None;
        println!("{} is down: {status}", member.name);
    }
    Ok(())
}

/// Stops a member as an operator would, and waits for it.
fn end(member: &mut Member) -> Result<(), Box<dyn Error>> {
    if let Some(mut process) = member.process.take() {
        // A terminal has sent it the signal already, and it may be gone.
        let _ = kill_process(Pid::from_child(&process), Signal::TERM);
        process.wait()?;
    }
    Ok(())
}
