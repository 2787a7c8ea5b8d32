//! What can happen to the bytes of a file at rest.

use std::fmt;
use std::path::{Path, PathBuf};

use revd_disk::{Access, BLOCK, Disk, Open, Sim};

use super::DIR;
use super::logs::{Block, Log, read_block};
use super::random::Random;

/// The content of a block.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nonzero = self.0.iter().filter(|byte| **byte != 0).count();
        write!(f, "{:02x?}.. ({nonzero} not zero)", &self.0[..self.0.len().min(8)])
    }
}

/// One damage.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    /// A bit flips.
    Flip(PathBuf, u64, u8),
    /// A block is all zeros.
    Zero(Block),
    /// Two blocks are in each other's place.
    Swap(Block, Block),
    /// A block is what it was at some time before: a later write to it was lost.
    Stale(Block, Bytes),
    /// A block was written to another one's place as well.
    Copied(Block, Block),
    /// A block was written to another one's place instead of its own, which is as before.
    Misdirected(Block, Block, Bytes),
    /// A file is cut.
    Cut(PathBuf, u64),
    /// A file is missing.
    Missing(PathBuf),
    /// A file has another name.
    Renamed(PathBuf, PathBuf),
    /// Two files have each other's name.
    Exchanged(PathBuf, PathBuf),
}

impl Damage {
    /// Does it.
    pub(crate) fn strike(&self, disk: &Sim) {
        match self {
            Damage::Flip(path, offset, bit) => disk.damage(path, *offset, 1 << bit).unwrap(),
            Damage::Zero(block) => write_block(disk, block, &[0; BLOCK]),
            Damage::Swap(one, other) => {
                let (first, second) = (read_block(disk, one), read_block(disk, other));
                write_block(disk, one, &second);
                write_block(disk, other, &first);
            }
            Damage::Stale(block, version) => write_block(disk, block, &version.0),
            Damage::Copied(from, to) => write_block(disk, to, &read_block(disk, from)),
            Damage::Misdirected(from, to, before) => {
                write_block(disk, to, &read_block(disk, from));
                write_block(disk, from, &before.0);
            }
            Damage::Cut(path, len) => {
                let file = disk.open(path, Open::existing(Access::Buffered)).unwrap();
                file.truncate(*len).unwrap();
            }
            Damage::Missing(path) => disk.remove(path).unwrap(),
            Damage::Renamed(from, to) => disk.rename(from, to).unwrap(),
            Damage::Exchanged(one, other) => {
                let aside = Path::new(DIR).join("aside");
                disk.rename(one, &aside).unwrap();
                disk.rename(other, one).unwrap();
                disk.rename(&aside, other).unwrap();
            }
        }
    }

    /// The files whose content it changes.
    pub(crate) fn files(&self) -> Vec<&Path> {
        match self {
            Damage::Flip(path, ..) | Damage::Cut(path, _) | Damage::Missing(path) => vec![path],
            Damage::Zero((path, _)) | Damage::Stale((path, _), _) => vec![path],
            Damage::Copied(_, (path, _)) => vec![path],
            Damage::Swap((one, _), (other, _)) | Damage::Misdirected((one, _), (other, _), _) => {
                vec![one, other]
            }
            Damage::Renamed(one, other) | Damage::Exchanged(one, other) => vec![one, other],
        }
    }

    /// True if it takes a whole file away, or gives it to another.
    pub(crate) fn is_of_names(&self) -> bool {
        matches!(self, Damage::Missing(_) | Damage::Renamed(..) | Damage::Exchanged(..))
    }
}

fn write_block(disk: &Sim, (path, number): &Block, bytes: &[u8]) {
    let file = disk.open(path, Open::existing(Access::Buffered)).unwrap();
    file.write_at(bytes, number * BLOCK as u64).unwrap();
}

/// Every flipped bit of every file.
pub(crate) fn flips(log: &Log) -> impl Iterator<Item = Damage> + use<> {
    let offsets = |(path, len): (PathBuf, u64)| (0..len * 8).map(move |bit| (path.clone(), bit));
    let bits = log.files().into_iter().flat_map(offsets);
    bits.map(|(path, bit)| Damage::Flip(path, bit / 8, (bit % 8) as u8))
}

/// Every block zeroed, stale, copied and misdirected, and every pair swapped.
pub(crate) fn blocks(log: &Log) -> Vec<Damage> {
    let blocks = log.blocks();
    let mut damages = Vec::new();
    for one in &blocks {
        damages.push(Damage::Zero(one.clone()));
        let earlier = log.earlier(one);
        for other in blocks.iter().filter(|other| *other != one) {
            damages.push(Damage::Copied(one.clone(), other.clone()));
            if one < other {
                damages.push(Damage::Swap(one.clone(), other.clone()));
            }
            let misdirected =
                |before: &Bytes| Damage::Misdirected(one.clone(), other.clone(), before.clone());
            damages.extend(earlier.iter().map(misdirected));
        }
        damages.extend(earlier.into_iter().map(|before| Damage::Stale(one.clone(), before)));
    }
    damages
}

/// Every length of every file, but for its own.
pub(crate) fn cuts(log: &Log) -> impl Iterator<Item = Damage> + use<> {
    let lengths = |(path, len): (PathBuf, u64)| (0..len).map(move |cut| (path.clone(), cut));
    log.files().into_iter().flat_map(lengths).map(|(path, cut)| Damage::Cut(path, cut))
}

/// Every file missing, or under another name.
pub(crate) fn names(log: &Log) -> Vec<Damage> {
    let files = log.files();
    let others =
        ["0000000000000009.wal", "000000000000000a.spare", "notes", "000000000000000b.WAL"];
    let mut damages = Vec::new();
    for (path, _) in &files {
        damages.push(Damage::Missing(path.clone()));
        let others = others.iter().map(|other| Path::new(DIR).join(other));
        damages.extend(others.map(|other| Damage::Renamed(path.clone(), other)));
        for number in 0..8 {
            let other = Path::new(DIR).join(format!("{number:016x}.wal"));
            if files.iter().all(|(path, _)| *path != other) {
                damages.push(Damage::Renamed(path.clone(), other));
            }
        }
        let others = files.iter().filter(|(other, _)| path < other);
        damages.extend(others.map(|(other, _)| Damage::Exchanged(path.clone(), other.clone())));
    }
    damages
}

/// Any damage but for those of names.
pub(crate) fn any(log: &Log, blocks: &[Block], random: &mut Random) -> Damage {
    let block = |random: &mut Random| blocks[random.below(blocks.len() as u64) as usize].clone();
    let one = block(random);
    let (_, len) = log.files().into_iter().find(|(path, _)| *path == one.0).unwrap();
    let earlier: Vec<Bytes> = log.earlier(&one).into_iter().collect();
    let before = if earlier.is_empty() {
        Bytes(vec![0; BLOCK])
    } else {
        earlier[random.below(earlier.len() as u64) as usize].clone()
    };
    match random.below(10) {
        0 => Damage::Zero(one),
        1 => Damage::Swap(one, block(random)),
        2 | 3 => Damage::Stale(one, before),
        4 => Damage::Copied(one, block(random)),
        5 => Damage::Misdirected(one, block(random), before),
        6 => Damage::Cut(one.0, random.below(len / 512) * 512),
        _ => {
            // Where it may matter: in a header, or anywhere.
            let within = random.one_of(&[80, 200, BLOCK as u64]);
            let offset = one.1 * BLOCK as u64 + random.below(within);
            Damage::Flip(one.0, offset, random.below(8) as u8)
        }
    }
}
