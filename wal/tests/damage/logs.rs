//! The logs that are damaged, with all that they were before.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_disk::{BLOCK, Disk, Open, Sim};
use revd_wal::{Options, Part, Wal, inspect};

use super::DIR;
use super::kinds::Bytes;
use super::random::Random;

/// What a log gives back.
pub(crate) type Content = Vec<(u64, Vec<u8>)>;

/// One call of a log.
type Call = Box<dyn Fn(&Wal)>;

/// One block of one file.
pub(crate) type Block = (PathBuf, u64);

/// A log, and what may be made of it.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) disk: Sim,
    options: Options,
    /// What it holds.
    pub(crate) whole: Content,
    /// What it held before its last batch.
    pub(crate) before_last: Content,
    /// The newest segment, and the blocks of it that the last batch takes.
    pub(crate) last: (PathBuf, Range<u64>),
    /// What it held before its newest segment was begun.
    pub(crate) before_newest: Content,
    /// The disk after each call, the oldest first.
    pub(crate) history: Vec<Sim>,
}

impl Log {
    /// Makes a log by these calls.
    fn of(options: Options, calls: &[&dyn Fn(&Wal)]) -> Log {
        let disk = Sim::new(1);
        let (wal, _) = open(&disk, &options);
        let mut history = vec![(disk.fork(), Content::new())];
        for call in calls {
            call(&wal);
            history.push((disk.fork(), content(&wal)));
        }
        drop(wal);
        let last = last_batch(&disk);
        let newest_is_absent = |disk: &Sim| !disk.exists(&last.0).unwrap();
        let written = |disk: &Sim| {
            let of = |disk: &Sim| read_block(disk, &(last.0.clone(), last.1.start));
            newest_is_absent(disk) || of(disk) != of(&history[history.len() - 1].0)
        };
        let find = |wanted: &dyn Fn(&Sim) -> bool| {
            let found = history.iter().rev().find(|(disk, _)| wanted(disk));
            found.map_or(Content::new(), |(_, content)| content.clone())
        };
        let (before_last, before_newest) = (find(&written), find(&newest_is_absent));
        let whole = history[history.len() - 1].1.clone();
        let history = history.into_iter().map(|(disk, _)| disk).collect();
        Log { disk, options, whole, before_last, last, before_newest, history }
    }

    /// Opens what became of it.
    pub(crate) fn open(
        &self,
        disk: &Sim,
    ) -> Result<(Wal, revd_wal::Recovery), revd_wal::OpenError> {
        Wal::open(Arc::new(disk.clone()), Path::new(DIR), self.options.clone())
    }

    /// The files, with their lengths.
    pub(crate) fn files(&self) -> Vec<(PathBuf, u64)> {
        let names = self.disk.list(Path::new(DIR)).unwrap();
        let paths = names.iter().map(|name| Path::new(DIR).join(name));
        paths.map(|path| (path.clone(), length(&self.disk, &path))).collect()
    }

    /// All blocks of all files.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let blocks = |(path, len): (PathBuf, u64)| {
            (0..len / BLOCK as u64).map(move |block| (path.clone(), block))
        };
        self.files().into_iter().flat_map(blocks).collect()
    }

    /// What a block held at earlier times under the same name, if it was something else.
    pub(crate) fn earlier(&self, block: &Block) -> BTreeSet<Bytes> {
        let holds_it = |disk: &&Sim| disk.exists(&block.0).unwrap();
        let now = read_block(&self.disk, block);
        let versions = self.history.iter().filter(holds_it).map(|disk| read_block(disk, block));
        versions.filter(|version| *version != now).map(Bytes).collect()
    }

    /// True if the last batch is as good as never written: each of its blocks is zero, or what it
    /// was before.
    pub(crate) fn last_is_gone(&self, disk: &Sim) -> bool {
        self.last.1.clone().all(|number| {
            let block = (self.last.0.clone(), number);
            let now = read_block(disk, &block);
            now.iter().all(|byte| *byte == 0) || self.earlier(&block).contains(&Bytes(now))
        })
    }
}

/// The small logs, each file of 16 KiB: what is exhaustive is done to each.
pub(crate) fn small_logs() -> Vec<(&'static str, Log)> {
    let fresh = |calls: &[&dyn Fn(&Wal)]| Log::of(small(0), calls);
    let several = |wal: &Wal| wal.append(1, &[&b"one"[..], b"", b"three"]).unwrap();
    let long = |wal: &Wal| append(wal, 1, 5000);
    let short = |wal: &Wal| append(wal, 1, 5);
    let pair = |wal: &Wal| append(wal, 2, 200);
    let truncate = |wal: &Wal| wal.truncate_suffix(wal.bounds().1).unwrap();
    let release = |wal: &Wal| wal.release_prefix(wal.bounds().1).unwrap();
    let reset = |wal: &Wal| wal.reset(40).unwrap();
    let upkeep = |wal: &Wal| while wal.upkeep().unwrap() {};
    let recycling: &[&dyn Fn(&Wal)] = &[
        &several, &long, &short, &pair, &long, &release, &short, &pair, &short, &long, &release,
        &upkeep, &long, &short, &pair,
    ];
    vec![
        ("short end", fresh(&[&several, &long, &short, &truncate, &pair])),
        ("long end", fresh(&[&several, &short, &pair, &upkeep, &short, &long])),
        ("truncated end", fresh(&[&several, &long, &reset, &upkeep, &pair, &truncate])),
        ("recycled", Log::of(small(1), recycling)),
    ]
}

/// A log of many segments, for damage by chance.
pub(crate) fn large_log() -> Log {
    let mut options = small(2);
    options.segment_bytes = 64 << 10;
    let mut random = Random::new(7);
    let work: Vec<(u64, u64)> =
        (0..220).map(|_| (random.below(12), 1 + random.below(3000))).collect();
    let calls: Vec<Call> = work
        .into_iter()
        .map(|(kind, size)| -> Call {
            match kind {
                0 => Box::new(|wal| wal.truncate_suffix(wal.bounds().1).unwrap()),
                1 => Box::new(|wal| wal.release_prefix(wal.bounds().1.saturating_sub(90)).unwrap()),
                2 => Box::new(|wal| while wal.upkeep().unwrap() {}),
                3 => Box::new(move |wal| append(wal, 1, size as usize * 8)),
                _ => Box::new(move |wal| append(wal, 1 + size % 4, size as usize)),
            }
        })
        .collect();
    let calls: Vec<&dyn Fn(&Wal)> = calls.iter().map(|call| call.as_ref()).collect();
    Log::of(options, &calls)
}

fn small(spares_max: usize) -> Options {
    let mut options = Options::default();
    options.segment_bytes = 16 << 10;
    options.fill_ahead_bytes = 8 << 10;
    options.spares_max = spares_max;
    options
}

/// Appends so many entries of so many bytes, which tell their index.
fn append(wal: &Wal, count: u64, len: usize) {
    let first = wal.bounds().1 + 1;
    let entries: Vec<Vec<u8>> =
        (first..first + count).map(|index| Random::new(index).bytes(len)).collect();
    wal.append(first, &entries).unwrap();
}

/// All that a log gives back.
pub(crate) fn content(wal: &Wal) -> Content {
    wal.replay(wal.bounds().0).unwrap().map(Result::unwrap).collect()
}

/// The newest segment, and where its last batch lies in it; an empty range if it has none.
fn last_batch(disk: &Sim) -> (PathBuf, Range<u64>) {
    let (mut segment, mut range) = (PathBuf::new(), 0..0);
    let block = BLOCK as u64;
    inspect(disk, Path::new(DIR), &mut |part| match part {
        Part::Segment { path, .. } => (segment, range) = (path, 1..1),
        Part::Batch { offset, bytes, .. } => {
            range = offset / block..(offset + bytes).div_ceil(block);
        }
        _ => {}
    })
    .unwrap();
    (segment, range)
}

/// The bytes of a block.
pub(crate) fn read_block(disk: &Sim, (path, number): &Block) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    let file = disk.open(path, Open::read()).unwrap();
    file.read_at(&mut bytes, number * BLOCK as u64).unwrap();
    bytes
}

/// The length of a file.
pub(crate) fn length(disk: &Sim, path: &Path) -> u64 {
    disk.open(path, Open::read()).unwrap().len().unwrap()
}

fn open(disk: &Sim, options: &Options) -> (Wal, revd_wal::Recovery) {
    Wal::open(Arc::new(disk.clone()), Path::new(DIR), options.clone()).unwrap()
}
