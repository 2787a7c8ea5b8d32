//! What the system tells about this process and the disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// Processor time of all threads so far, user and system.
#[must_use]
pub(crate) fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A processor of those that this process was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processor {
    /// That of the thread that is measured.
    First,
    /// That of whatever goes on beside it: the same if there is one alone.
    Last,
}

/// Lets this thread, and those that it starts from now on, run on one processor.
///
/// # Errors
///
/// When the system refuses.
pub(crate) fn run_on(processor: Processor) -> Result<()> {
    static ALLOWED: OnceLock<CpuSet> = OnceLock::new();
    let now = sched_getaffinity(None)?;
    let allowed = ALLOWED.get_or_init(|| now);
    let mut numbers = (0..CpuSet::MAX_CPU).filter(|number| allowed.is_set(*number));
    let number = match processor {
        Processor::First => numbers.next(),
        Processor::Last => numbers.last(),
    };
    let mut chosen = CpuSet::new();
    chosen.set(number.ok_or("a process has a processor")?);
    Ok(sched_setaffinity(None, &chosen)?)
}

/// Bytes of memory in use that are not a file's; 0 if unknown.
#[must_use]
pub(crate) fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "RssAnon:") * 1024
}

/// Bytes that this process has caused to be written to disks so far.
///
/// # Errors
///
/// When the kernel does not count them.
pub(crate) fn written_bytes() -> Result<u64> {
    Ok(field(&fs::read_to_string("/proc/self/io")?, "write_bytes:"))
}

/// Bytes of the blocks that files in and below a directory take on the disk.
///
/// # Errors
///
/// When one cannot be listed.
pub(crate) fn allocated_bytes(dir: &Path) -> Result<u64> {
    const UNIT: u64 = 512;
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += metadata.blocks() * UNIT;
        if metadata.is_dir() {
            bytes += allocated_bytes(&entry.path())?;
        }
    }
    Ok(bytes)
}

/// The number behind a name, in one of the kernel's listings; 0 if there is none.
fn field(listing: &str, name: &str) -> u64 {
    let line = listing.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Whether a path lies on a file system without a disk, where a sync shows nothing.
#[must_use]
pub(crate) fn is_in_memory(path: &Path) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    const RAMFS_MAGIC: u64 = 0x8584_58f6;
    rustix::fs::statfs(path)
        .is_ok_and(|fs| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&(fs.f_type as u64 & 0xffff_ffff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let listing = "rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 7\nRssAnon:\t  12 kB\n";
        assert_eq!(field(listing, "write_bytes:"), 4096);
        assert_eq!(field(listing, "RssAnon:"), 12);
        assert_eq!(field(listing, "absent:"), 0);
    }
}
