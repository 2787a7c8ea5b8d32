//! Three members: an election, a replication, a crash, and a recovery in which an entry gives way.
//!
//! `cargo run -p revd-raft --example three_nodes`

use revd_raft::*;

type Disk = (HardState, Vec<Entry>);

/// A member, down if it has no raft, and what its disk keeps.
struct Node {
    id: NodeId,
    raft: Option<Raft>,
    disk: Disk,
}

impl Node {
    fn start(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let config = Config::new(self.id);
        let members = Configuration::new([1, 2, 3].map(NodeId), [])?;
        let mut restart = Restart::new(&config, self.disk.0, Position::default(), members);
        self.disk.1.iter().cloned().try_for_each(|entry| restart.push(entry))?;
        self.raft = Some(Raft::new(config, restart, self.id.0)?);
        Ok(())
    }

    /// Carries out what is due, and returns what is to be sent; whether there was anything.
    fn drive(&mut self, wires: &mut Vec<Message>) -> Result<bool, Refused> {
        let Some(raft) = &mut self.raft else { return Ok(false) };
        let output = raft.take();
        let busy = !output.is_empty();
        if let Some(RoleChange { term, role, leader }) = output.role {
            println!("  {}: {role:?} in term {term}, leader {leader:?}", self.id);
        }
        if let Some(persist) = output.persist {
            self.disk.0 = persist.hard_state.unwrap_or(self.disk.0);
            if let Some(from) = persist.truncate_from {
                println!("  {}: cut off the log from {from}", self.id);
                self.disk.1.retain(|entry| entry.index < from);
            }
            self.disk.1.extend(persist.entries);
            raft.step(Input::Persisted(persist.number))?;
        }
        for entry in output.committed {
            println!("  {}: apply {:?} at {}", self.id, entry.data, entry.position());
            raft.step(Input::Applied(entry.index))?;
        }
        wires.extend(output.messages);
        Ok(busy)
    }
}

/// Everything happens, until `ticks` have passed and nothing is left to do.
fn run(nodes: &mut [Node], ticks: u32) -> Result<(), Refused> {
    let mut wires = Vec::new();
    for _ in 0..=ticks {
        let mut busy = true;
        while std::mem::take(&mut busy) {
            for node in nodes.iter_mut() {
                busy |= node.drive(&mut wires)?;
            }
            for message in wires.drain(..) {
                let Some(to) = nodes.iter_mut().find(|node| node.id == message.to) else {
                    continue;
                };
                to.raft.as_mut().map_or(Ok(()), |raft| raft.step(Input::Message(message)))?;
            }
        }
        for raft in nodes.iter_mut().filter_map(|node| node.raft.as_mut()) {
            raft.step(Input::Tick)?;
        }
    }
    Ok(())
}

/// Proposes to the leader, and says which one that is.
fn propose(nodes: &mut [Node], word: &'static str) -> Result<usize, Refused> {
    let takes = |raft: &mut Raft| raft.propose(word.into()).is_ok();
    let leads = nodes.iter_mut().position(|node| node.raft.as_mut().is_some_and(takes));
    leads.ok_or(Refused::NoLeader)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut nodes = [1, 2, 3].map(|id| Node { id: NodeId(id), raft: None, disk: Disk::default() });
    nodes.iter_mut().try_for_each(Node::start)?;
    println!("an election");
    run(&mut nodes, 250)?;
    println!("a replication");
    let first = propose(&mut nodes, "one")?;
    run(&mut nodes, 0)?;
    println!("a crash: the leader has an entry on its disk that nobody else has");
    propose(&mut nodes, "lost")?;
    nodes[first].drive(&mut Vec::new())?;
    nodes[first].raft = None;
    run(&mut nodes, 450)?;
    propose(&mut nodes, "two")?;
    run(&mut nodes, 0)?;
    println!("a recovery");
    nodes[first].start()?;
    Ok(run(&mut nodes, 30)?)
}
