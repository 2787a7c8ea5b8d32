//! Files whose checksums are right and whose bytes are not: what no medium does, but a mistake or
//! an attacker may. Whatever the bytes, opening and using the file ends in answers or errors.
//!
//! The fuzz targets and the tests share this module. It knows the kinds of nodes by their first
//! bytes, and finds checksums by trying.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use revd_btree::{Error, Key, Options, Reader, Table, Tree};
use revd_disk::{Disk, Sim};

use super::layout::{BLOCK, Seal, content, replace, reseal, seals};

const SIZE: usize = BLOCK as usize;
const PATH: &str = "/data/tree";
/// Files that are made from bytes are no longer than this.
const FILE_BYTES_MAX: usize = 256 << 10;
/// A walk over a forged file may take very long without being endless: so many steps are tried.
const STEPS: usize = 3_000;

/// What is put in the place of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Header,
    Slot,
    Commit,
    MapPage,
    Leaf,
    Rows,
    Inner,
    /// Some bytes within a leaf of the history or of a table.
    Cell,
    /// Bytes anywhere in a file that was intact, all checksums put right.
    Mutated,
    /// Bytes anywhere in a file of zeros, checksums and all.
    File,
}

pub const TARGETS: [(Target, &str); 10] = [
    (Target::Header, "header"),
    (Target::Slot, "slot"),
    (Target::Commit, "commit"),
    (Target::MapPage, "map_page"),
    (Target::Leaf, "leaf"),
    (Target::Rows, "rows"),
    (Target::Inner, "inner"),
    (Target::Cell, "cell"),
    (Target::Mutated, "mutated"),
    (Target::File, "file"),
];

/// A small intact file with all kinds of nodes.
pub struct Specimen {
    pub bytes: Vec<u8>,
    pub seals: Vec<Seal>,
}

impl Specimen {
    pub fn get() -> &'static Specimen {
        static SPECIMEN: OnceLock<Specimen> = OnceLock::new();
        SPECIMEN.get_or_init(|| {
            let bytes = make();
            let seals = seals(&bytes);
            Specimen { bytes, seals }
        })
    }

    /// Where blocks of a kind begin that a checksum tells of.
    pub fn places(&self, target: Target) -> Vec<usize> {
        let starts = self.seals.iter().map(|seal| seal.covers.start);
        let mut places: Vec<usize> = starts.filter(|&at| self.is(target, at)).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    fn is(&self, target: Target, at: usize) -> bool {
        let start = &self.bytes[at..at + 8];
        let is_node = |kind: u8| start[0] == kind && (start[1] == 0 || kind == 3);
        match target {
            Target::Header => at == 0,
            Target::Slot => start == b"revdroot",
            Target::Commit => start == b"revdcomm",
            // The first blocks are always used, so the lowest bits are set.
            Target::MapPage => at > 0 && start[0] & 7 == 7,
            Target::Leaf => is_node(1),
            Target::Rows => is_node(2),
            Target::Inner => is_node(3),
            Target::Cell => is_node(1) || is_node(2),
            Target::Mutated | Target::File => false,
        }
    }
}

/// Three checkpoints: leaves below an inner node, recent and open; a table of two leaves; extents.
fn make() -> Vec<u8> {
    let disk = Sim::new(1);
    disk.create_dir(Path::new("/data")).unwrap();
    let tree = Tree::create(Arc::new(disk.clone()), Path::new(PATH), options());
    let mut tree = tree.unwrap();
    for round in 0..3u64 {
        for near in 0..4u64 {
            let key = Key::new(round << 33 | near, near, 1);
            let len = if near == 1 && round != 1 { 5_000 } else { 20 };
            tree.append(key, b"head", &bytes(near, len)).unwrap();
        }
        for row in 0..8 {
            let len = if row == 5 { 1_100 } else { 700 };
            tree.put(Table(1), Key::new(row, round, 0), &bytes(row, len)).unwrap();
        }
        if round == 1 {
            drop(tree.plan_sweep(Key::MIN, 1 << 30));
        }
        let written = tree.checkpoint(&[round as u8 + 1; 9]).unwrap().unwrap().write().unwrap();
        tree.checkpointed(written);
    }
    tree.verify().unwrap();
    let mut bytes = content(&disk, Path::new(PATH));
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    bytes.truncate(end.next_multiple_of(SIZE));
    bytes
}

/// Mostly zeros, which are not kept in a corpus.
fn bytes(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[0] = number as u8 + 1;
    bytes[len - 1] = 1;
    bytes
}

fn options() -> Options {
    let mut options = Options::new(*b"the store's name");
    options.map_bytes = 16 << 20;
    options.reserve_bytes = 0;
    options
}

/// The file that some bytes stand for.
pub fn forge(target: Target, data: &[u8]) -> Vec<u8> {
    let specimen = Specimen::get();
    let mut input = Input(data);
    if target == Target::File {
        let mut bytes = Vec::new();
        while let Some((at, patch)) = input.patch() {
            let end = (at + patch.len()).next_multiple_of(SIZE);
            bytes.resize(end.max(bytes.len()), 0);
            bytes[at..at + patch.len()].copy_from_slice(patch);
        }
        return bytes;
    }
    let mut bytes = specimen.bytes.clone();
    if target == Target::Mutated {
        while let Some((at, patch)) = input.patch() {
            let at = at % bytes.len();
            let len = patch.len().min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&patch[..len]);
        }
    } else {
        let places = specimen.places(target);
        let place = places[usize::from(input.byte()) % places.len()];
        let within = if target == Target::Cell { input.number(2) % SIZE } else { 0 };
        let len = input.0.len().min(SIZE - within);
        // The rest of the block stays, unless all of it is meant.
        let keep = matches!(target, Target::Cell | Target::Header | Target::Slot);
        if !keep {
            bytes[place..place + SIZE].fill(0);
        }
        bytes[place + within..place + within + len].copy_from_slice(&input.0[..len]);
    }
    reseal(&mut bytes, &specimen.seals);
    bytes
}

/// The bytes that make [`forge`] put part of the specimen where it is.
pub fn seed(target: Target, place: usize) -> Vec<u8> {
    let specimen = Specimen::get();
    let mut data = Vec::new();
    if matches!(target, Target::File | Target::Mutated) {
        let parts = specimen.bytes.chunks(32).enumerate();
        for (number, part) in parts.filter(|(_, part)| part.iter().any(|&byte| byte != 0)) {
            data.extend_from_slice(&(number as u32 * 32).to_le_bytes()[..3]);
            data.push(32);
            data.extend_from_slice(part);
        }
        data.truncate(if target == Target::Mutated { 36 * 4 } else { usize::MAX });
        return data;
    }
    let at = specimen.places(target)[place];
    let block = &specimen.bytes[at..at + SIZE];
    data.push(place as u8);
    if target == Target::Cell {
        data.extend_from_slice(&[30, 0]);
        data.extend_from_slice(&block[30..60]);
    } else {
        let end = block.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        data.extend_from_slice(&block[..end]);
    }
    data
}

/// Bytes that decide about a file.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self, bytes: u32) -> usize {
        (0..bytes).fold(0, |number, at| number | usize::from(self.byte()) << (8 * at))
    }

    /// Offset, length and bytes.
    fn patch(&mut self) -> Option<(usize, &'a [u8])> {
        if self.0.len() < 5 {
            return None;
        }
        let (at, len) = (self.number(3) % (FILE_BYTES_MAX - 256), usize::from(self.byte()));
        let (patch, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        Some((at, patch))
    }
}

/// Opens a file of these bytes and does with it all that can be done. True if it could be opened.
/// Panics where the crate does.
pub fn exercise(bytes: &[u8]) -> bool {
    let disk = Sim::new(1);
    disk.create_dir(Path::new("/data")).unwrap();
    replace(&disk, Path::new(PATH), bytes);
    let disk = Arc::new(disk);
    let Ok((mut tree, _)) = Tree::open(disk.clone(), Path::new(PATH), options()) else {
        return false;
    };
    read(&tree.reader());
    let _ = tree.verify();
    let _ = tree.stats();
    for round in 0..3 {
        if change(&mut tree, round).is_err() {
            break;
        }
    }
    read(&tree.reader());
    let _ = tree.verify();
    drop(tree);
    if let Ok((tree, _)) = Tree::open(disk, Path::new(PATH), options()) {
        read(&tree.reader());
        let _ = tree.verify();
    }
    true
}

/// Reads in all ways; errors are as good as answers.
fn read(reader: &Reader) {
    let pin = reader.pin();
    let mut keys = vec![Key::MIN, Key::new(3, 0, 0), Key::new(1 << 33, 2, 1), Key::MAX];
    for from in keys.clone() {
        let mut cursor = pin.history(from);
        for record in cursor.by_ref().take(STEPS) {
            let Ok(record) = record else { break };
            let _ = record.value();
            if keys.len() < 20 {
                keys.push(record.key);
            }
        }
        for _ in 0..STEPS {
            if !matches!(cursor.prev(), Some(Ok(_))) {
                break;
            }
        }
    }
    for key in keys {
        let _ = pin.get(key).map(|record| record.map(|record| record.value().map(<[u8]>::len)));
        let _ = pin.row(Table(1), key);
    }
    for table in (0..Table::COUNT).map(Table) {
        let _ = pin.table(table, Key::MIN).take(STEPS).all(|row| row.is_ok());
    }
}

fn change(tree: &mut Tree, round: u64) -> Result<(), Error> {
    let last = tree.last_key().unwrap_or_default();
    for more in 1..4u64 {
        let len = if more == 2 { 5_000 } else { 30 };
        let key = Key::new(last.main.saturating_add(more), 0, 0);
        if let Err(Error::Poisoned) = tree.append(key, b"head", &vec![7; len]) {
            return Err(Error::Poisoned);
        }
    }
    for row in 0..8 {
        let key = Key::new(row, round, 0);
        let _ = tree.get(Table(1), key);
        let _ = tree.put(Table(1), key, &[9; 300]);
        let _ = tree.delete(Table(1), Key::new(row + 1, 2, 0));
    }
    if let Some(sweep) = tree.plan_sweep(Key::MIN, 1 << 20) {
        let swept = sweep.run(&mut |key, _| key.sub % 2 == round % 2)?;
        tree.adopt(swept)?;
    }
    if let Some(checkpoint) = tree.checkpoint(&[round as u8; 5])? {
        let written = checkpoint.write()?;
        tree.checkpointed(written);
    }
    Ok(())
}
