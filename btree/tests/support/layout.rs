//! The little that tests know of the file's layout (see FORMAT.md): the fixed places, and how to
//! find checksums and what they cover by trying.

use std::collections::BTreeMap;
use std::path::Path;

use revd_disk::{Access, Disk, Open, Sim};

pub const BLOCK: u64 = 4096;
const SIZE: usize = BLOCK as usize;
/// Blocks of the root slots.
pub const SLOTS: [u64; 2] = [1, 2];

pub fn is_slot(block: u64) -> bool {
    SLOTS.contains(&block)
}

/// True for the first bytes of a commit record.
pub fn has_commit(start: Option<&[u8]>) -> bool {
    start == Some(b"revdcomm")
}

/// The bytes of a file.
pub fn content(disk: &Sim, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Open::read()).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Puts bytes in the place of a file's content, durably.
pub fn replace(disk: &Sim, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, Open::either(Access::Buffered)).unwrap();
    file.truncate(bytes.len() as u64).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    drop(file);
    disk.sync_dir(path.parent().unwrap()).unwrap();
}

/// What the root slots of a file say, as far as their own checksums are right: the number of the
/// checkpoint, and whether there is a commit record.
pub fn slots(disk: &Sim, path: &Path) -> [Option<(u64, bool)>; 2] {
    let file = disk.open(path, Open::read()).unwrap();
    SLOTS.map(|block| {
        let mut bytes = [0; 32];
        file.read_exact_at(&mut bytes, block * BLOCK).ok()?;
        let number = |at: usize, len: usize| {
            bytes[at..at + len].iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
        };
        let valid = bytes.starts_with(b"revdroot")
            && number(28, 4) == u64::from(crc32fast::hash(&bytes[..28]));
        valid.then(|| (number(8, 8), number(20, 4) > 0))
    })
}

/// The number of the newest checkpoint that a root slot leads to.
pub fn newest(disk: &Sim, path: &Path) -> Option<u64> {
    let slots = slots(disk, path).into_iter().flatten();
    slots.filter(|(_, leads)| *leads).map(|(sequence, _)| sequence).max()
}

/// Where a checksum is, and the bytes that it covers.
#[derive(Clone, Debug)]
pub struct Seal {
    pub at: usize,
    pub covers: std::ops::Range<usize>,
}

/// All checksums of a file, found by trying: of runs of up to 16 blocks anywhere, and of the first
/// bytes of a block just behind these. In an order in which they can be put right one by one.
pub fn seals(bytes: &[u8]) -> Vec<Seal> {
    let blocks = bytes.len() / SIZE;
    let mut runs = BTreeMap::new();
    for block in 0..blocks {
        for end in block + 1..=blocks.min(block + 16) {
            let covers = block * SIZE..end * SIZE;
            runs.entry(crc32fast::hash(&bytes[covers.clone()])).or_insert(covers);
        }
    }
    let mut found = Vec::new();
    for at in 0..bytes.len() - 3 {
        let word = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let start = at / SIZE * SIZE;
        if at - start < 64 && at > start && word == crc32fast::hash(&bytes[start..at]) {
            found.push(Seal { at, covers: start..at });
        } else if let Some(covers) = runs.get(&word).filter(|covers| !covers.contains(&at)) {
            found.push(Seal { at, covers: covers.clone() });
        }
    }
    in_order(found)
}

/// Sorts checksums so that each stands behind all those that it covers.
fn in_order(mut rest: Vec<Seal>) -> Vec<Seal> {
    let mut ordered = Vec::new();
    while !rest.is_empty() {
        let is_free = |seal: &Seal| !rest.iter().any(|other| seal.covers.contains(&other.at));
        let (free, bound): (Vec<_>, Vec<_>) = rest.iter().cloned().partition(is_free);
        // What covers each other is no checksum but chance.
        if free.is_empty() {
            break;
        }
        ordered.extend(free);
        rest = bound;
    }
    ordered
}

/// Puts all checksums right after a change.
pub fn reseal(bytes: &mut [u8], seals: &[Seal]) {
    for seal in seals {
        let crc = crc32fast::hash(&bytes[seal.covers.clone()]);
        bytes[seal.at..seal.at + 4].copy_from_slice(&crc.to_le_bytes());
    }
}
