//! The bytes of a simulated file in pages, and which sectors of a page a range touches.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::{BLOCK, SECTOR};

pub(super) type Page = Arc<[u8; BLOCK]>;

/// A set of the eight sectors of a page.
pub(super) type Sectors = u8;

/// Pages that are absent read as zeros and take no room.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) pages: BTreeMap<u64, Page>,
    pub(super) len: u64,
}

impl Content {
    /// Takes over these sectors of a page.
    pub(super) fn merge(&mut self, number: u64, page: Option<&Page>, sectors: Sectors) {
        match (sectors, page) {
            (0, _) => {}
            (0xff, Some(page)) => drop(self.pages.insert(number, Arc::clone(page))),
            (0xff, None) => drop(self.pages.remove(&number)),
            (_, source) => {
                let target = self.page_mut(number);
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

    /// A page, to be changed.
    pub(super) fn page_mut(&mut self, number: u64) -> &mut [u8; BLOCK] {
        Arc::make_mut(self.pages.entry(number).or_insert_with(|| Arc::new([0; BLOCK])))
    }

    /// Sets the length, and forgets what lies beyond.
    pub(super) fn cut(&mut self, len: u64) {
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
pub(super) fn pages_of(offset: u64, len: u64) -> Range<u64> {
    let start = offset / BLOCK as u64;
    let end = if len == 0 { start } else { (offset + len).div_ceil(BLOCK as u64) };
    start..end
}

/// Cuts a range of bytes at the pages: number of the page, range within it, range within the bytes.
pub(super) fn parts(
    offset: u64,
    len: usize,
) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
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
pub(super) fn sectors_of(within: Range<usize>) -> Sectors {
    let mut sectors = 0;
    for sector in within.start / SECTOR..within.end.div_ceil(SECTOR) {
        sectors |= 1 << sector;
    }
    sectors
}

/// The sectors of a page that lie behind the end of a file of `len` bytes.
pub(super) fn beyond(number: u64, len: u64) -> Sectors {
    let within = len.saturating_sub(number * BLOCK as u64).min(BLOCK as u64) as usize;
    match within.div_ceil(SECTOR) {
        0 => 0xff,
        sectors => !(0xff >> (8 - sectors)),
    }
}
