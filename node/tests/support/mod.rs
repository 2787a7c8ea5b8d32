//! A real server under test: on loopback, in a directory of its own on a real disk, ended by its
//! own process id.

#![allow(dead_code, reason = "each test uses its own part")]
#![allow(unreachable_pub, reason = "the modules of a test are nobody else's")]

pub mod cluster;
pub mod disk;
pub mod load;
pub mod system;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};

/// How long a server may take to answer its first call.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A directory for one test, on the disk of the build directory; removed when dropped.
pub fn scratch() -> tempfile::TempDir {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(base).expect("a scratch directory beside the build");
    assert!(
        !is_in_memory(dir.path()),
        "{} is in memory: a sync there shows nothing",
        base.display()
    );
    dir
}

/// Whether a path lies on a file system without a disk.
pub fn is_in_memory(path: &Path) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    const RAMFS_MAGIC: u64 = 0x8584_58f6;
    let kind = rustix::fs::statfs(path).expect("the path exists").f_type as u64;
    [TMPFS_MAGIC, RAMFS_MAGIC].contains(&(kind & 0xffff_ffff))
}

/// A port that nobody listens on. It lies below those that the system gives to outgoing
/// connections, and no other test of this process gets it: nobody takes it before the server does,
/// nor between a server's end and its return.
pub fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Processes that run side by side begin far apart.
    let start = std::process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let turn = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(turn) % COUNT;
        let port = u16::try_from(port).expect("the range ends below 65,536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("loopback has no free port from {FIRST} on");
}

/// A running server.
pub struct Server {
    child: Child,
    pub client_url: String,
    pub log: PathBuf,
}

impl Server {
    /// Starts the `revd` of this build on a data directory.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(Command::new(env!("CARGO_BIN_EXE_revd")), dir, &[])
    }

    /// Starts a server that takes etcd's flags, or a command that runs one.
    pub fn start_with(command: Command, dir: &Path, more: &[&str]) -> Self {
        Self::start_on((free_port(), free_port()), command, dir, more)
    }

    /// The same on given ports for clients and peers, for a server that comes back.
    pub fn start_on(ports: (u16, u16), mut command: Command, dir: &Path, more: &[&str]) -> Self {
        let client_url = format!("http://127.0.0.1:{}", ports.0);
        let peer_url = format!("http://127.0.0.1:{}", ports.1);
        let log = dir.join("server.log");
        let output = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let output = output.expect("a log file beside the data");
        let child = command
            .args(["--name", "m0", "--data-dir"])
            .arg(dir.join("data"))
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("m0={peer_url}")])
            .args(more)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle of the log"))
            .stderr(output)
            .spawn()
            .expect("the server binary runs");
        Self { child, client_url, log }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    /// A connection, once the server answers.
    pub async fn connect(&mut self) -> Channel {
        let endpoint = Endpoint::from_shared(self.client_url.clone()).expect("a valid URL");
        let start = Instant::now();
        loop {
            if let Ok(channel) = endpoint.connect().await {
                return channel;
            }
            let ended = self.child.try_wait().expect("the child can be asked");
            assert!(
                ended.is_none() && start.elapsed() < START_LIMIT,
                "the server does not listen ({ended:?}); its log:\n{}",
                std::fs::read_to_string(&self.log).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until the process has ended by itself, and returns how, with its log.
    pub async fn ended(&mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        loop {
            let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                return (status, log());
            }
            assert!(start.elapsed() < cluster::PATIENCE, "it goes on; its log:\n{}", log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the process at once, as a power failure would.
    pub fn kill(mut self) {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
    }

    /// Ends the process as an operator would, and waits for it.
    pub fn terminate(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        self.child.wait().expect("the child is ours")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone after `kill` and `terminate`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
