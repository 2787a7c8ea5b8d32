//! A cluster of one with everything that a driver has to do: elect, write, read, lose power between
//! a write and its sync, and start again from what the disk has kept.
//!
//! `cargo run -p revd-raft --example one_voter`

use revd_raft::*;

/// What a power cut leaves: term and vote, and the entries that were synced.
#[derive(Default)]
struct Disk {
    hard_state: HardState,
    log: Vec<Entry>,
}

/// A state machine that remembers nothing but how much it has applied.
#[derive(Default)]
struct Counter {
    entries: usize,
}

fn start(disk: &Disk, seed: u64) -> Result<Raft, StartError> {
    let config = Config::new(NodeId(1));
    let members = Configuration::lone(config.id);
    let mut restart = Restart::new(&config, disk.hard_state, Position::default(), members);
    for entry in &disk.log {
        restart.push(entry.clone())?;
    }
    Raft::new(config, restart, seed)
}

/// Carries out everything that is due, until nothing is.
fn drive(raft: &mut Raft, disk: &mut Disk, counter: &mut Counter) -> Result<(), Refused> {
    loop {
        let output = raft.take();
        if output.is_empty() {
            return Ok(());
        }
        if let Some(role) = output.role {
            println!("  {:?} in term {}, leader {:?}", role.role, role.term, role.leader);
        }
        for entry in output.committed {
            println!("  apply   {} {:?} {:?}", entry.position(), entry.kind, entry.data);
            counter.entries += 1;
            raft.step(Input::Applied(entry.index))?;
        }
        for read in output.reads {
            println!(
                "  read {} served at index {}: {} entries",
                read.id, read.index, counter.entries
            );
        }
        if let Some(persist) = output.persist {
            if let Some(hard_state) = persist.hard_state {
                println!("  persist term {}, vote {:?}", hard_state.term, hard_state.vote);
                disk.hard_state = hard_state;
            }
            for entry in persist.entries {
                println!("  persist {}", entry.position());
                disk.log.push(entry);
            }
            raft.step(Input::Persisted(persist.number))?;
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut disk, mut counter) = (Disk::default(), Counter::default());
    let mut raft = start(&disk, 1)?;

    println!("alone, so stand for election at once");
    raft.step(Input::Campaign)?;
    raft.step(Input::Tick)?;
    drive(&mut raft, &mut disk, &mut counter)?;

    println!("three writes in one sync, and a read");
    for word in ["one", "two", "three"] {
        raft.propose(word.into())?;
    }
    raft.step(Input::Read(ReadId(1)))?;
    drive(&mut raft, &mut disk, &mut counter)?;

    println!("power cut before the sync of a fourth: nobody was told that it was written");
    raft.propose("four".into())?;
    drop(raft.take().persist);

    println!("start again");
    let (mut raft, mut counter) = (start(&disk, 2)?, Counter::default());
    raft.step(Input::Campaign)?;
    drive(&mut raft, &mut disk, &mut counter)?;
    println!("log ends at {}, {} entries applied", raft.status().last, counter.entries);
    Ok(())
}
