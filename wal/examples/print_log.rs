//! Prints a log: its segments, its batches, and how each entry begins.
//!
//! `cargo run -p revd-wal --example print_log -- DIRECTORY`; without a directory it makes a small
//! log of its own and prints that.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use revd_disk::{Disk, Real, Sim};
use revd_wal::{BatchKind, End, Options, Part, Wal, inspect};

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        Some(dir) => print(&Real::new(), Path::new(&dir)),
        None => {
            let disk = Sim::new(1);
            let dir = Path::new("/example");
            fill(&disk, dir)?;
            print(&disk, dir)?;
            print_entries(&disk, dir)
        }
    }
}

/// Some appends, a truncation, and more than one segment.
fn fill(disk: &Sim, dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut options = Options::default();
    options.segment_bytes = 16 << 10;
    let (wal, _) = Wal::open(Arc::new(disk.clone()), dir, options)?;
    wal.append(1, &["first", "second", "third"])?;
    wal.append(4, &["fourth, which will be replaced"])?;
    wal.truncate_suffix(4)?;
    wal.append(4, &["fourth"])?;
    wal.append(5, &["a longer entry ".repeat(400)])?;
    Ok(())
}

fn print(disk: &dyn Disk, dir: &Path) -> Result<(), Box<dyn Error>> {
    let end = inspect(disk, dir, &mut |part| match part {
        Part::Segment { path, capacity, next, origin, .. } => {
            let origin = if origin { ", origin" } else { "" };
            println!("{}: {capacity} bytes, from entry {next}{origin}", path.display());
        }
        Part::Batch { offset, number, kind: BatchKind::Entries, first, count, bytes } => {
            let last = first + u64::from(count) - 1;
            println!("  {offset:>8}  batch {number}: entries {first} to {last}, {bytes} bytes");
        }
        Part::Batch { offset, number, first, .. } => {
            println!("  {offset:>8}  batch {number}: removes entry {first} and all that follow");
        }
        _ => {}
    })?;
    match end {
        End::Torn { offset, bytes, .. } => println!("  {offset:>8}  a torn batch, {bytes} bytes"),
        _ => println!("  clean end"),
    }
    Ok(())
}

fn print_entries(disk: &Sim, dir: &Path) -> Result<(), Box<dyn Error>> {
    let (wal, _) = Wal::open(Arc::new(disk.clone()), dir, Options::default())?;
    for entry in wal.replay(wal.bounds().0)? {
        let (index, entry) = entry?;
        let head = String::from_utf8_lossy(&entry[..entry.len().min(40)]);
        println!("entry {index}, {} bytes: {head}", entry.len());
    }
    Ok(())
}
