//! A network of its own for each member: a namespace with one interface, all of them on a bridge
//! that the test itself is on. Whom a member can reach is a matter of its routes.

use std::process::Command;

use crate::support::system::{Lack, run, skip};

/// Namespaces, bridge and links; gone when it is dropped.
pub struct Network {
    /// Goes into every name, so that tests beside each other do not meet.
    tag: String,
    /// The first three numbers of all addresses.
    subnet: String,
    size: usize,
}

impl Network {
    /// A network for so many members; `None`, with a message, where it cannot be made.
    pub fn new(size: usize) -> Option<Self> {
        let id = std::process::id();
        let subnet = format!("10.{}.{}", 64 + (id >> 8) % 128, id & 0xff);
        let network = Self { tag: format!("rv{}", id % 1_000_000), subnet, size };
        // What a test of the same number has left.
        network.take_down();
        match network.set_up() {
            Ok(()) => Some(network),
            Err(lack) => {
                skip("a network of namespaces", &lack);
                None
            }
        }
    }

    fn set_up(&self) -> Result<(), Lack> {
        let (bridge, subnet) = (self.bridge(), &self.subnet);
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("address add {subnet}.254/24 dev {bridge}"))?;
        ip(&format!("link set {bridge} up"))?;
        for n in 0..self.size {
            let (space, link, address) = (self.space(n), self.link(n), self.address(n));
            ip(&format!("netns add {space}"))?;
            ip(&format!("link add {link} type veth peer name eth0 netns {space}"))?;
            ip(&format!("link set {link} master {bridge} up"))?;
            ip(&format!("-n {space} address add {address}/24 dev eth0"))?;
            ip(&format!("-n {space} link set eth0 up"))?;
            ip(&format!("-n {space} link set lo up"))?;
        }
        Ok(())
    }

    fn take_down(&self) {
        // Whatever is not there need not go.
        for n in 0..self.size {
            let _ = ip(&format!("netns delete {}", self.space(n)));
            let _ = ip(&format!("link delete {}", self.link(n)));
        }
        let _ = ip(&format!("link delete {}", self.bridge()));
    }

    fn bridge(&self) -> String {
        format!("{}b", self.tag)
    }

    fn link(&self, n: usize) -> String {
        format!("{}l{n}", self.tag)
    }

    fn space(&self, n: usize) -> String {
        format!("{}n{n}", self.tag)
    }

    /// The address of a member.
    pub fn address(&self, n: usize) -> String {
        format!("{}.{}", self.subnet, n + 1)
    }

    /// Runs a program where a member lives.
    pub fn command(&self, n: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(n), program]);
        command
    }

    /// From now on, nothing that the first sends reaches the second. It is lost without a word, on
    /// old connections too.
    pub fn cut(&self, from: usize, to: usize) {
        let (space, address) = (self.space(from), self.address(to));
        ip(&format!("-n {space} route replace blackhole {address}"))
            .expect("a route that leads nowhere");
    }

    /// Cuts the members of one side off from all others, in both directions.
    pub fn split(&self, side: &[usize]) {
        let others: Vec<usize> = (0..self.size).filter(|n| !side.contains(n)).collect();
        for (here, there) in side.iter().flat_map(|here| others.iter().map(move |n| (*here, *n))) {
            self.cut(here, there);
            self.cut(there, here);
        }
    }

    /// Everybody reaches everybody again.
    pub fn heal(&self) {
        for n in 0..self.size {
            ip(&format!("-n {} route flush type blackhole", self.space(n))).expect("routes");
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.take_down();
    }
}

/// Runs `ip` with these words.
fn ip(words: &str) -> Result<(), Lack> {
    run("ip", &words.split(' ').collect::<Vec<_>>())
}
