//! The content of one simulated file: what reads see, what is durable, and what lies between.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::survival::{Random, Survival};
use crate::mapping::Memory;
use crate::{BLOCK, Mapping, SECTOR};

type Page = Arc<[u8; BLOCK]>;

/// A set of the eight sectors of a page.
type Sectors = u8;

/// Each sector of each page has a durable content, the content that reads see, and between the two
/// the contents that it has had since the last sync, any of which a loss of power may leave.
#[derive(Debug, Default)]
pub(super) struct Inode {
    now: Content,
    durable: Content,
    pending: BTreeMap<u64, Vec<Version>>,
    /// Lengths since the last sync, with the moment of each.
    lengths: Vec<(u64, u64)>,
    /// What backs the mappings of this file.
    memories: Vec<Memory>,
    /// Open handles: the file outlives its last name as long as there is one.
    pub(super) handles: usize,
}

/// Pages that are absent read as zeros and take no room.
#[derive(Clone, Debug, Default)]
struct Content {
    pages: BTreeMap<u64, Page>,
    len: u64,
}

/// What a page looked like after a change, valid for the sectors that the change touched.
#[derive(Clone, Debug)]
struct Version {
    order: u64,
    sectors: Sectors,
    page: Option<Page>,
}

/// More changes of a page between two syncs are not told apart: the oldest is forgotten.
const VERSIONS_MAX: usize = 16;

impl Inode {
    /// A copy that shares no mapping and no handle.
    pub(super) fn fork(&self) -> Inode {
        Inode {
            now: self.now.clone(),
            durable: self.durable.clone(),
            pending: self.pending.clone(),
            lengths: self.lengths.clone(),
            memories: Vec::new(),
            handles: 0,
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.now.len
    }

    /// Bytes of the disk that it takes.
    pub(super) fn allocated(&self) -> u64 {
        (self.now.pages.len() * BLOCK) as u64
    }

    /// Bytes of the disk that a write or allocation of this range would take in addition.
    pub(super) fn missing(&self, offset: u64, len: u64) -> u64 {
        let present = self.now.pages.range(pages_of(offset, len)).count();
        (pages_of(offset, len).count() - present) as u64 * BLOCK as u64
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let room = usize::try_from(self.now.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = room.min(buf.len());
        for (number, within, part) in parts(offset, len) {
            match self.now.pages.get(&number) {
                Some(page) => buf[part].copy_from_slice(&page[within]),
                None => buf[part].fill(0),
            }
        }
        len
    }

    /// Writes; with `durable` set, what was written is durable at once, with the length if it grew.
    pub(super) fn write(&mut self, buf: &[u8], offset: u64, order: u64, durable: bool) {
        for (number, within, part) in parts(offset, buf.len()) {
            let mut page = match self.now.pages.get(&number) {
                Some(page) if within.len() < BLOCK => **page,
                _ => [0; BLOCK],
            };
            page[within.clone()].copy_from_slice(&buf[part]);
            let sectors = sectors_of(within);
            self.set(number, Some(Arc::new(page)), Version { order, sectors, page: None }, durable);
        }
        self.mirror(buf, offset);
        let end = offset + buf.len() as u64;
        if end > self.now.len {
            self.set_len(end, order, durable);
        } else if durable && end > self.durable.len {
            // The write cannot be found again without the length that it lies within.
            self.durable.len = self.now.len;
            self.lengths.clear();
        }
    }

    /// Writes only an arbitrary subset of the sectors, as a write that failed midway.
    pub(super) fn write_torn(&mut self, buf: &[u8], offset: u64, order: u64, random: &mut Random) {
        for (index, sector) in buf.chunks(SECTOR).enumerate() {
            if random.below(2) == 0 {
                self.write(sector, offset + (index * SECTOR) as u64, order, true);
            }
        }
    }

    /// Reserves room. Content does not change, so there is nothing to lose but the length.
    pub(super) fn allocate(&mut self, offset: u64, len: u64, order: u64) {
        let zeros: Page = Arc::new([0; BLOCK]);
        for number in pages_of(offset, len) {
            self.now.pages.entry(number).or_insert_with(|| Arc::clone(&zeros));
            self.durable.pages.entry(number).or_insert_with(|| Arc::clone(&zeros));
        }
        if offset + len > self.now.len {
            self.set_len(offset + len, order, false);
        }
    }

    pub(super) fn punch_hole(&mut self, offset: u64, len: u64, order: u64) {
        let end = offset.saturating_add(len).min(self.now.len);
        self.erase(offset, end, order);
    }

    pub(super) fn truncate(&mut self, len: u64, order: u64) {
        if len < self.now.len {
            self.erase(len, self.now.len.next_multiple_of(BLOCK as u64), order);
        }
        self.set_len(len, order, false);
    }

    /// Zeroes `[from, to)`, and gives whole pages back.
    fn erase(&mut self, from: u64, to: u64, order: u64) {
        let numbers: Vec<u64> = self
            .now
            .pages
            .range(pages_of(from, to.saturating_sub(from)))
            .map(|(n, _)| *n)
            .collect();
        for number in numbers {
            let start = number * BLOCK as u64;
            let within = from.saturating_sub(start) as usize..BLOCK.min((to - start) as usize);
            let mut page = *self.now.pages[&number];
            page[within.clone()].fill(0);
            let page = if within.len() == BLOCK { None } else { Some(Arc::new(page)) };
            self.mirror(&[0; BLOCK][within.clone()], start + within.start as u64);
            let sectors = sectors_of(within);
            self.set(number, page, Version { order, sectors, page: None }, false);
        }
    }

    /// Makes everything durable.
    pub(super) fn sync(&mut self) {
        for number in std::mem::take(&mut self.pending).into_keys() {
            match self.now.pages.get(&number) {
                Some(page) => drop(self.durable.pages.insert(number, Arc::clone(page))),
                None => drop(self.durable.pages.remove(&number)),
            }
        }
        if !self.lengths.is_empty() {
            self.lengths.clear();
            self.durable.cut(self.now.len);
        }
    }

    /// A failed sync: some pending sectors are durable now, the others never will be.
    pub(super) fn sync_failed(&mut self, survival: &Survival, random: &mut Random) {
        self.settle(survival, random);
    }

    /// A loss of power: what survives becomes the content.
    pub(super) fn crash(&mut self, survival: &Survival, random: &mut Random) {
        self.settle(survival, random);
        self.now = self.durable.clone();
        self.memories.clear();
    }

    /// The moment of the oldest change that is still pending.
    pub(super) fn oldest_pending(&self) -> Option<u64> {
        let versions = self.pending.values().flatten().map(|version| version.order);
        versions.chain(self.lengths.iter().map(|(order, _)| *order)).min()
    }

    /// Flips bits at rest: in what reads see and in what is durable.
    pub(super) fn damage(&mut self, offset: u64, mask: u8) {
        let (number, within) = (offset / BLOCK as u64, (offset % BLOCK as u64) as usize);
        for content in [&mut self.now, &mut self.durable] {
            let page = content.pages.entry(number).or_insert_with(|| Arc::new([0; BLOCK]));
            Arc::make_mut(page)[within] ^= mask;
        }
        let byte = self.now.pages[&number][within];
        self.mirror(&[byte], offset);
    }

    pub(super) fn map(&mut self, len: u64) -> io::Result<Mapping> {
        self.memories.retain(Memory::is_mapped);
        if let Some(memory) = self.memories.iter().find(|memory| memory.mapping().len() == len) {
            return Ok(memory.mapping());
        }
        let memory = Memory::reserve(len)?;
        for (number, page) in &self.now.pages {
            memory.write(number * BLOCK as u64, &page[..])?;
        }
        let mapping = memory.mapping();
        self.memories.push(memory);
        Ok(mapping)
    }

    /// Shows a change in the mappings.
    fn mirror(&mut self, bytes: &[u8], offset: u64) {
        self.memories.retain(Memory::is_mapped);
        for memory in &self.memories {
            memory.write(offset, bytes).expect("the memory behind a simulated file can be written");
        }
    }

    /// Replaces a page in what reads see, and records `version` of it as durable or pending.
    fn set(&mut self, number: u64, page: Option<Page>, mut version: Version, durable: bool) {
        match &page {
            Some(page) => drop(self.now.pages.insert(number, Arc::clone(page))),
            None => drop(self.now.pages.remove(&number)),
        }
        version.page = page;
        if !durable {
            let versions = self.pending.entry(number).or_default();
            if versions.len() == VERSIONS_MAX {
                versions.remove(0);
            }
            versions.push(version);
            return;
        }
        self.durable.merge(number, &version, version.sectors);
        if let Some(versions) = self.pending.get_mut(&number) {
            versions.iter_mut().for_each(|older| older.sectors &= !version.sectors);
            versions.retain(|older| older.sectors != 0);
            if versions.is_empty() {
                self.pending.remove(&number);
            }
        }
    }

    fn set_len(&mut self, len: u64, order: u64, durable: bool) {
        self.now.len = len;
        if durable {
            self.durable.len = len;
            self.lengths.clear();
        } else {
            self.lengths.push((order, len));
        }
    }

    /// Decides about everything that is pending.
    fn settle(&mut self, survival: &Survival, random: &mut Random) {
        for (number, versions) in std::mem::take(&mut self.pending) {
            for version in versions {
                let mut spared = 0;
                for bit in 0..8 {
                    if version.sectors & (1 << bit) != 0 && survival.spares(version.order, random) {
                        spared |= 1 << bit;
                    }
                }
                self.durable.merge(number, &version, spared);
            }
        }
        let mut len = self.durable.len;
        for (order, length) in std::mem::take(&mut self.lengths) {
            if survival.spares(order, random) {
                len = length;
            }
        }
        self.durable.cut(len);
    }
}

impl Content {
    /// Takes over `sectors` of a version of a page.
    fn merge(&mut self, number: u64, version: &Version, sectors: Sectors) {
        match (sectors, &version.page) {
            (0, _) => {}
            (0xff, Some(page)) => drop(self.pages.insert(number, Arc::clone(page))),
            (0xff, None) => drop(self.pages.remove(&number)),
            (_, source) => {
                let target = self.pages.entry(number).or_insert_with(|| Arc::new([0; BLOCK]));
                let target = Arc::make_mut(target);
                for bit in (0..8).filter(|bit| sectors & (1 << bit) != 0) {
                    let range = bit * SECTOR..(bit + 1) * SECTOR;
                    match source {
                        Some(page) => target[range.clone()].copy_from_slice(&page[range]),
                        None => target[range].fill(0),
                    }
                }
            }
        }
    }

    /// Sets the length, and forgets what lies beyond.
    fn cut(&mut self, len: u64) {
        self.len = len;
        drop(self.pages.split_off(&len.div_ceil(BLOCK as u64)));
        let within = (len % BLOCK as u64) as usize;
        if within > 0
            && let Some(page) = self.pages.get_mut(&(len / BLOCK as u64))
            && page[within..].iter().any(|&byte| byte != 0)
        {
            Arc::make_mut(page)[within..].fill(0);
        }
    }
}

/// The numbers of the pages that a range touches.
fn pages_of(offset: u64, len: u64) -> std::ops::Range<u64> {
    let start = offset / BLOCK as u64;
    let end = if len == 0 { start } else { (offset + len).div_ceil(BLOCK as u64) };
    start..end
}

/// Cuts a range of bytes at the pages: number of the page, range within it, range within the bytes.
fn parts(
    offset: u64,
    len: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let start = (at % BLOCK as u64) as usize;
        let count = (BLOCK - start).min(len - done);
        done += count;
        Some((at / BLOCK as u64, start..start + count, done - count..done))
    })
}

/// The sectors that a range within a page touches.
fn sectors_of(within: std::ops::Range<usize>) -> Sectors {
    let mut sectors = 0;
    for sector in within.start / SECTOR..within.end.div_ceil(SECTOR) {
        sectors |= 1 << sector;
    }
    sectors
}
