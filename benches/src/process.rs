//! Servers to measure: started on loopback in a directory of their own, ended by their own id.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Where a member lives and is found.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Its name in the cluster.
    pub name: String,
    /// Its data directory.
    pub data: PathBuf,
    /// `host:port` of its client listener.
    pub address: String,
    /// `host:port` of its listener for other members.
    pub peer: String,
}

impl Seat {
    /// A seat below `dir`, on ports that are free at this moment.
    ///
    /// # Errors
    /// When loopback has no free port; as text.
    pub fn new(name: &str, dir: &Path) -> Result<Self, String> {
        Ok(Self {
            name: name.to_owned(),
            data: dir.join(name),
            address: format!("127.0.0.1:{}", free_port()?),
            peer: format!("127.0.0.1:{}", free_port()?),
        })
    }

    /// As it stands in `--initial-cluster`.
    pub fn founder(&self) -> String {
        format!("{}=http://{}", self.name, self.peer)
    }

    /// Starts a member of the cluster of these founders on it, without waiting for anything.
    ///
    /// # Errors
    /// When it cannot be started; as text.
    pub fn start(&self, binary: &Path, founders: &str, state: &str) -> Result<Server, String> {
        let (client, peer) = (format!("http://{}", self.address), format!("http://{}", self.peer));
        let mut command = Command::new(binary);
        command
            .args(["--name", &self.name, "--data-dir"])
            .arg(&self.data)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", founders, "--initial-cluster-state", state])
            .args(["--quota-backend-bytes", "8589934592"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = spawn(&mut command)?;
        Ok(Server { command, child, address: self.address.clone(), _dir: None })
    }
}

/// A running server that takes etcd's flags.
pub struct Server {
    /// As it is started, each time.
    command: Command,
    child: Child,
    /// `host:port` of its client listener.
    pub address: String,
    /// Removed when the server is dropped, if it is its own.
    _dir: Option<tempfile::TempDir>,
}

impl Server {
    /// Starts a server on an empty directory below `base`, and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be started, or does not listen in time; as text.
    pub fn start(binary: &Path, base: &Path) -> Result<Self, String> {
        let dir = tempfile::tempdir_in(base).map_err(|e| format!("no directory: {e}"))?;
        let seat = Seat::new("m0", dir.path())?;
        let mut server = seat.start(binary, &seat.founder(), "new")?;
        server._dir = Some(dir);
        server.wait_until_listening()?;
        Ok(server)
    }

    /// Kills the server.
    ///
    /// # Errors
    /// When that is not possible; as text.
    pub fn kill(&mut self) -> Result<(), String> {
        self.child.kill().and_then(|()| self.child.wait()).map_err(|e| e.to_string())?;
        Ok(())
    }

    /// Starts a server that was killed again, and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be started, or does not listen in time; as text.
    pub fn start_again(&mut self) -> Result<(), String> {
        self.child = spawn(&mut self.command)?;
        self.wait_until_listening()
    }

    /// Waits until it accepts connections.
    ///
    /// # Errors
    /// When it ends or takes too long; as text.
    pub fn wait_until_listening(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while TcpStream::connect(&self.address).is_err() {
            let ended = self.child.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() || start.elapsed() > START_LIMIT {
                return Err(format!("the server does not listen on {}: {ended:?}", self.address));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Processor time that the server has used so far.
    ///
    /// # Errors
    /// When the process is gone; as text.
    pub fn processor_time(&self) -> Result<Duration, String> {
        processor_time(self.child.id())
    }

    /// Its number among the processes.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When the process is gone; as text.
    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        let gone = || format!("process {} is gone", self.child.id());
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        rustix::process::kill_process(id, signal).map_err(|e| format!("{}: {e}", gone()))
    }

    /// Bytes of memory that the server has resident now, those of mapped files included.
    ///
    /// # Errors
    /// When the process is gone; as text.
    pub fn memory(&self) -> Result<u64, String> {
        memory(self.child.id(), "VmRSS:")
    }

    /// Most bytes of memory that the server has had resident so far.
    ///
    /// # Errors
    /// When the process is gone; as text.
    pub fn peak_memory(&self) -> Result<u64, String> {
        memory(self.child.id(), "VmHWM:")
    }

    /// Bytes of memory that the server has resident, pages of files included.
    ///
    /// # Errors
    /// When the process is gone; as text.
    pub fn resident_memory(&self) -> Result<u64, String> {
        memory(self.child.id(), "VmRSS:")
    }

    /// Bytes of memory that the server has resident and that belong to no file.
    ///
    /// # Errors
    /// When the process is gone; as text.
    pub fn own_memory(&self) -> Result<u64, String> {
        memory(self.child.id(), "RssAnon:")
    }
}

fn spawn(command: &mut Command) -> Result<Child, String> {
    command.spawn().map_err(|e| format!("cannot start {:?}: {e}", command.get_program()))
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time that a process has used so far.
///
/// # Errors
/// When the process is gone; as text.
pub fn processor_time(process: u32) -> Result<Duration, String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))
        .map_err(|e| format!("process {process} is gone: {e}"))?;
    // The name in parentheses may hold spaces; user and system ticks are 12th and 13th after.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let tick = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64((tick(11) + tick(12)) as f64 / per_second as f64))
}

/// One of the figures of memory in a process's `status`, in bytes.
fn memory(process: u32, field: &str) -> Result<u64, String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))
        .map_err(|e| format!("process {process} is gone: {e}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok());
    kib.map(|kib: u64| kib * 1024).ok_or_else(|| format!("process {process} shows no {field}"))
}

/// A port that nobody listens on at this moment.
///
/// # Errors
/// When loopback has none; as text.
pub fn free_port() -> Result<u16, String> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    port.map(|address| address.port()).map_err(|e| format!("no free port: {e}"))
}

/// Whether a path lies on a file system without a disk, where a sync shows nothing.
pub fn is_in_memory(path: &Path) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    const RAMFS_MAGIC: u64 = 0x8584_58f6;
    rustix::fs::statfs(path)
        .is_ok_and(|fs| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&(fs.f_type as u64 & 0xffff_ffff)))
}
