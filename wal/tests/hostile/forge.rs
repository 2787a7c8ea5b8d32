//! `FORMAT.md` once more, as a forger needs it: it makes checksums right, whatever they protect.

use crc32fast::Hasher;

/// The length of a block.
pub(crate) const BLOCK: usize = 4096;

const SEGMENT_HEADER: usize = 88;
const BATCH_HEADER: usize = 40;
const FRAME_HEADER: usize = 16;
const FOOTER: usize = 16;

/// Makes the checksum of a segment's header right.
pub(crate) fn seal_segment(file: &mut [u8]) {
    if file.len() < SEGMENT_HEADER {
        return;
    }
    let checksum = sum(&[&file[..12], &file[16..SEGMENT_HEADER]]);
    file[12..16].copy_from_slice(&checksum.to_le_bytes());
}

/// Makes all checksums of the batch at `at` right, as far as its lengths lead; those of its frames
/// go on from its header's. Returns the last one, and where the next batch begins.
pub(crate) fn seal_batch(file: &mut [u8], at: usize, salt: [u8; 8]) -> Option<(u32, usize)> {
    let header = file.get(at..at + BATCH_HEADER)?;
    let mut chain = sum(&[&salt, &header[4..]]);
    let (number, count) = (word(file, at + 8), half(file, at + 32));
    let bytes = usize::try_from(word(file, at + 24)).ok()?;
    file[at..at + 4].copy_from_slice(&chain.to_le_bytes());
    let mut frame = at + BATCH_HEADER;
    for _ in 0..count {
        let len = half(file.get(frame..frame + FRAME_HEADER)?, 4) as usize;
        let entry = file.get(frame + FRAME_HEADER..frame + FRAME_HEADER + len)?;
        chain = sum(&[entry]) ^ chain.wrapping_mul(0x9e37_79b1);
        file[frame..frame + 4].copy_from_slice(&chain.to_le_bytes());
        frame += FRAME_HEADER + len;
    }
    let end = at.checked_add(bytes)?.checked_add(FOOTER)?.checked_next_multiple_of(BLOCK)?;
    let footer = file.get_mut(end - FOOTER..end)?;
    footer[4..8].copy_from_slice(&(((end - at) / BLOCK) as u32).to_le_bytes());
    footer[8..].copy_from_slice(&number.to_le_bytes());
    let checksum = sum(&[&salt, &footer[4..]]);
    footer[..4].copy_from_slice(&checksum.to_le_bytes());
    Some((chain, end))
}

/// Makes every checksum and every chain of a segment right. Returns the last checksum.
pub(crate) fn seal_all(file: &mut [u8]) -> u32 {
    seal_segment(file);
    let Some(salt) = salt(file) else {
        return 0;
    };
    let (mut chain, mut at) = (half(file, 72), BLOCK);
    while file.get(at..at + BATCH_HEADER).is_some_and(|header| half(header, 4) != 0) {
        file[at + 36..at + 40].copy_from_slice(&chain.to_le_bytes());
        match seal_batch(file, at, salt) {
            Some(sealed) => (chain, at) = sealed,
            None => break,
        }
    }
    chain
}

/// The salt of a segment.
pub(crate) fn salt(file: &[u8]) -> Option<[u8; 8]> {
    file.get(40..SEGMENT_HEADER)?.first_chunk().copied()
}

/// The number of 8 bytes at `at`.
pub(crate) fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn half(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |half, byte| half << 8 | u32::from(*byte))
}

fn sum(parts: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}
