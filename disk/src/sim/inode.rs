//! The content of one simulated file: what reads see, what is durable, and what lies between.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::content::{Content, Page, Sectors, beyond, pages_of, parts, sectors_of};
use super::survival::{Random, Survival, Survivors};
use crate::mapping::Memory;
use crate::{BLOCK, Mapping, SECTOR};

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
    /// The marks, by the number of the handle that holds each.
    marks: BTreeMap<u64, u64>,
}

/// What a page looked like after a change, valid for the sectors that the change touched.
#[derive(Clone, Debug)]
struct Version {
    order: u64,
    sectors: Sectors,
    page: Option<Page>,
}

/// More changes of a page between two syncs are not told apart: the two oldest survive together.
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
            marks: BTreeMap::new(),
        }
    }

    /// A handle comes to stand on this byte number.
    pub(super) fn mark(&mut self, handle: u64, at: u64) {
        self.marks.insert(handle, at);
    }

    pub(super) fn is_marked(&self, range: &Range<u64>, except: u64) -> bool {
        self.marks.iter().any(|(handle, at)| *handle != except && range.contains(at))
    }

    /// A handle is closed.
    pub(super) fn close(&mut self, handle: u64) {
        self.handles -= 1;
        self.marks.remove(&handle);
    }

    /// The process that had handles of this file has ended.
    pub(super) fn let_go(&mut self) {
        self.handles = 0;
        self.marks.clear();
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
        if buf.is_empty() {
            return;
        }
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
        } else if durable && self.may_end_before(end) {
            // The write cannot be found again without the length that it lies within.
            self.durable.cut(self.now.len);
            self.lengths.clear();
        } else if end > self.durable.len && self.lengths.is_empty() {
            // A failed sync has lost the length. The next one is to keep what is written now.
            self.lengths.push((order, self.now.len));
        }
    }

    /// True if a loss of power may leave a file that ends before `end`.
    fn may_end_before(&self, end: u64) -> bool {
        self.durable.len < end || self.lengths.iter().any(|(_, len)| *len < end)
    }

    /// Writes only an arbitrary subset of the sectors, as a write that failed midway.
    pub(super) fn write_torn(&mut self, buf: &[u8], offset: u64, order: u64, random: &mut Random) {
        let mut start = 0;
        while start < buf.len() {
            let left_of_sector = SECTOR - ((offset as usize + start) % SECTOR);
            let end = buf.len().min(start + left_of_sector);
            if random.below(2) == 0 {
                self.write(&buf[start..end], offset + start as u64, order, false);
            }
            start = end;
        }
    }

    /// Reserves room. Content does not change, so there is nothing to lose but the length.
    pub(super) fn allocate(&mut self, offset: u64, len: u64, order: u64) {
        if len == 0 {
            return;
        }
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

    /// Makes everything durable that is pending; what a failed sync has lost is not.
    pub(super) fn sync(&mut self) {
        for (number, versions) in std::mem::take(&mut self.pending) {
            let sectors = versions.iter().fold(0, |sectors, version| sectors | version.sectors);
            self.durable.merge(number, self.now.pages.get(&number), sectors);
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
    pub(super) fn crash(&mut self, survival: &Survival, random: &mut Random) -> Survivors {
        let survivors = self.settle(survival, random);
        self.now = self.durable.clone();
        self.memories.clear();
        survivors
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
            content.page_mut(number)[within] ^= mask;
        }
        let byte = self.now.page_mut(number)[within];
        self.mirror(&[byte], offset);
    }

    /// Replaces bytes at rest.
    pub(super) fn overwrite(&mut self, offset: u64, bytes: &[u8]) {
        for (number, within, part) in parts(offset, bytes.len()) {
            for content in [&mut self.now, &mut self.durable] {
                content.page_mut(number)[within.clone()].copy_from_slice(&bytes[part.clone()]);
            }
        }
        self.mirror(bytes, offset);
    }

    /// Flips one bit at rest, anywhere.
    pub(super) fn rot(&mut self, random: &mut Random) {
        let len = self.now.len.min(self.durable.len);
        let pages = self.durable.pages.keys().filter(|number| self.now.pages.contains_key(number));
        let pages: Vec<u64> = pages.copied().collect();
        if pages.is_empty() {
            return;
        }
        let start = pages[random.below(pages.len() as u64) as usize] * BLOCK as u64;
        let within = len.saturating_sub(start).min(BLOCK as u64);
        if within > 0 {
            let offset = start + random.below(within);
            self.damage(offset, 1 << random.below(8));
        }
    }

    pub(super) fn map(&mut self, len: u64) -> io::Result<Mapping> {
        self.memories.retain(Memory::is_mapped);
        if let Some(memory) = self.memories.iter().find(|memory| memory.mapping().len() == len) {
            return Ok(memory.mapping());
        }
        let memory = Memory::reserve(len)?;
        // Fresh memory is zero, and so is room that was only allocated.
        for (number, page) in self.now.pages.iter().filter(|(_, page)| page[..] != [0; BLOCK]) {
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
                // The next one shows what the oldest has written wherever it did not write itself.
                let oldest = versions.remove(0);
                versions[0].sectors |= oldest.sectors;
            }
            versions.push(version);
            return;
        }
        self.durable.merge(number, version.page.as_ref(), version.sectors);
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
    fn settle(&mut self, survival: &Survival, random: &mut Random) -> Survivors {
        let mut survivors = Survivors::default();
        let mut len = self.durable.len;
        let mut decisive = 0;
        for (order, length) in std::mem::take(&mut self.lengths) {
            let spared = survival.spares(order, random);
            survivors.count(1, u64::from(spared));
            if spared {
                (decisive, len) = (order, length);
            }
        }
        survivors.digest([0, 0, 0, decisive]);
        for (number, versions) in std::mem::take(&mut self.pending) {
            let mut hidden = beyond(number, len);
            // From the newest on, so that each sector is decided by the first that is spared.
            for version in versions.iter().rev() {
                let spared = spare(version, survival, random);
                survivors.count(version.sectors.count_ones().into(), spared.count_ones().into());
                let seen = spared & !hidden;
                hidden |= spared;
                self.durable.merge(number, version.page.as_ref(), seen);
                if seen != 0 {
                    survivors.digest([1, number, u64::from(seen), version.order]);
                }
            }
        }
        self.durable.cut(len);
        survivors
    }
}

/// The sectors of a version that survive.
fn spare(version: &Version, survival: &Survival, random: &mut Random) -> Sectors {
    let touched = (0..8).filter(|bit| version.sectors & (1 << bit) != 0);
    touched
        .filter(|_| survival.spares(version.order, random))
        .fold(0, |sectors, bit| sectors | 1 << bit)
}
