//! The vote file: who this member is, and what it has promised in the newest term it knows.
//!
//! A vote must survive anything, so the file is tiny, mirrored and written in place:
//!
//! | block (4,096 bytes) | content |
//! |---|---|
//! | 0 | identity: written once, before the file gets its name |
//! | 1, 2 | two copies of the same record |
//!
//! All numbers are little-endian.
//!
//! | identity: offset | size | field |
//! |---|---|---|
//! | 0 | 8 | `revdvote` |
//! | 8 | 4 | format, 1 |
//! | 12 | 8 | cluster id |
//! | 20 | 8 | member id |
//! | 28 | 4 | CRC-32 of the bytes before |
//!
//! | record: offset | size | field |
//! |---|---|---|
//! | 0 | 8 | sequence, one more with each change |
//! | 8 | 8 | term |
//! | 16 | 8 | member voted for in that term, 0 for none |
//! | 24 | 8 | member id, so that a record of another file is recognised |
//! | 32 | 4 | CRC-32 of the bytes before |
//!
//! A change writes copy 1, syncs, writes copy 2, syncs, and only then counts as made. At open the
//! valid copy with the higher sequence holds. If just one is valid, the other was either being
//! written when the power went (then the change was never acknowledged, or the valid copy has it)
//! or has rotted since (then the valid copy is its twin): both are safe to go on from. With no
//! valid copy, nothing may be guessed: the member could vote twice in one term, so it must join
//! again under a new id.
//!
//! What is read at open need not be on the medium: where writes go through a page cache, it still
//! shows what an earlier process has written and could not sync. So open writes what it has read
//! once more, to the other copy first, before anything is built on it.
//!
//! A vote file is created under a temporary name and renamed. It is the last file that bootstrap
//! makes: a directory with a vote file is a complete store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_disk::{Access, BLOCK, Buffer, Disk, File, Open};
use revd_raft::{HardState, NodeId, Term};

use crate::error::OpenError;
use crate::planted::{Bug, planted};

/// Its name in the data directory.
pub const FILE_NAME: &str = "vote";

const MAGIC: &[u8; 8] = b"revdvote";
const FORMAT: u32 = 1;
const IDENTITY_BYTES: usize = 28;
const RECORD_BYTES: usize = 32;
/// The file is this long; anything else is damage.
const FILE_BYTES: usize = 3 * BLOCK;

/// Whose files these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster, fixed at its bootstrap.
    pub cluster: u64,
    /// The member, fixed when it was added.
    pub member: u64,
}

impl Identity {
    /// Sixteen bytes that the log and the tree carry, so that files are never mixed up.
    pub fn owner(self) -> [u8; 16] {
        let mut owner = [0; 16];
        owner[..8].copy_from_slice(&self.cluster.to_le_bytes());
        owner[8..].copy_from_slice(&self.member.to_le_bytes());
        owner
    }
}

/// The open vote file.
#[derive(Debug)]
pub struct VoteFile {
    file: Arc<dyn File>,
    identity: Identity,
    sequence: u64,
    state: HardState,
}

impl VoteFile {
    /// Makes the file, durable under its name when this returns.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn create(
        disk: &dyn Disk,
        dir: &Path,
        identity: Identity,
        state: HardState,
    ) -> Result<Self, OpenError> {
        let temporary = dir.join("vote.new");
        if disk.exists(&temporary)? {
            disk.remove(&temporary)?;
        }
        let file = disk.open(&temporary, Open::new_file(Access::Direct))?;
        let mut vote = Self { file, identity, sequence: 0, state };
        let mut block = Buffer::with_capacity(BLOCK);
        block.extend_from_slice(&identity_block(identity));
        vote.file.write_at(&block, 0)?;
        vote.store(state)?;
        vote.file.sync_data()?;
        disk.rename(&temporary, &dir.join(FILE_NAME))?;
        disk.sync_dir(dir)?;
        Ok(vote)
    }

    /// Opens the file, reads what it promises, and makes that durable.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`] when the identity or both copies are damaged; those of the disk.
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(FILE_NAME);
        let file = disk.open(&path, Open::existing(Access::Direct))?;
        let mut bytes = Buffer::zeroed(FILE_BYTES);
        if file.len()? != FILE_BYTES as u64 {
            return Err(damaged(&path, "the file has the wrong length"));
        }
        file.read_exact_at(&mut bytes, 0)?;
        let identity = read_identity(&path, &bytes[..BLOCK])?;
        let newest = [1, 2]
            .into_iter()
            .filter_map(|n| Some((read_record(&bytes[n * BLOCK..], identity.member)?, n)))
            .max_by_key(|((sequence, _), _)| *sequence);
        let Some(((sequence, state), newest)) = newest else {
            return Err(damaged(
                &path,
                "neither copy of the vote is valid; this member must join again under a new id",
            ));
        };
        let mut vote = Self { file, identity, sequence, state };
        vote.write(state, [3 - newest, newest])?;
        Ok(vote)
    }

    /// Whose vote this is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// What was last stored.
    pub fn state(&self) -> HardState {
        self.state
    }

    /// Makes a new term or vote durable.
    ///
    /// # Errors
    /// Those of the disk; the change then counts as not made, and the member must stop.
    pub fn store(&mut self, state: HardState) -> Result<(), revd_disk::Error> {
        assert!(
            state.term >= self.state.term,
            "a term never goes back: {} after {}",
            state.term.0,
            self.state.term.0
        );
        if state.vote.is_none() || !planted(Bug::ForgetVote) {
            self.write(state, [1, 2])?;
        }
        self.state = state;
        Ok(())
    }

    /// Writes both copies, in this order.
    fn write(&mut self, state: HardState, order: [usize; 2]) -> Result<(), revd_disk::Error> {
        self.sequence += 1;
        let mut block = Buffer::with_capacity(BLOCK);
        block.extend_from_slice(&record_block(self.sequence, state, self.identity.member));
        for copy in order {
            self.file.write_at(&block, (copy * BLOCK) as u64)?;
            if !self.file.is_direct() {
                self.file.sync_data()?;
            }
        }
        Ok(())
    }
}

fn identity_block(identity: Identity) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..8].copy_from_slice(MAGIC);
    block[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    block[12..20].copy_from_slice(&identity.cluster.to_le_bytes());
    block[20..28].copy_from_slice(&identity.member.to_le_bytes());
    seal(&mut block, IDENTITY_BYTES);
    block
}

fn record_block(sequence: u64, state: HardState, member: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..8].copy_from_slice(&sequence.to_le_bytes());
    block[8..16].copy_from_slice(&state.term.0.to_le_bytes());
    block[16..24].copy_from_slice(&state.vote.map_or(0, |id| id.0).to_le_bytes());
    block[24..32].copy_from_slice(&member.to_le_bytes());
    seal(&mut block, RECORD_BYTES);
    block
}

fn seal(block: &mut [u8], length: usize) {
    let sum = crc32fast::hash(&block[..length]);
    block[length..length + 4].copy_from_slice(&sum.to_le_bytes());
}

fn is_sealed(block: &[u8], length: usize) -> bool {
    block[length..length + 4] == crc32fast::hash(&block[..length]).to_le_bytes()
}

fn read_identity(path: &Path, block: &[u8]) -> Result<Identity, OpenError> {
    if &block[..8] != MAGIC {
        return Err(damaged(path, "it is not a vote file"));
    }
    if !is_sealed(block, IDENTITY_BYTES) {
        return Err(damaged(path, "the checksum of the identity does not match"));
    }
    let format = u32::from_le_bytes(block[8..12].try_into().expect("four bytes"));
    if format != FORMAT {
        return Err(OpenError::Format { path: path.to_owned(), found: format, known: FORMAT });
    }
    Ok(Identity { cluster: number(block, 12), member: number(block, 20) })
}

/// The record in this copy, if it is whole and of this member.
fn read_record(block: &[u8], member: u64) -> Option<(u64, HardState)> {
    if !is_sealed(block, RECORD_BYTES) || number(block, 24) != member {
        return None;
    }
    let vote = Some(number(block, 16)).filter(|&id| id != 0).map(NodeId);
    Some((number(block, 0), HardState { term: Term(number(block, 8)), vote }))
}

fn number(block: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes"))
}

fn damaged(path: &Path, what: &str) -> OpenError {
    OpenError::Corrupt { path: PathBuf::from(path), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use revd_disk::{Effect, Fault, Operation, Sim};

    const IDENTITY: Identity = Identity { cluster: 7, member: 9 };

    fn state(term: u64, vote: u64) -> HardState {
        HardState { term: Term(term), vote: Some(vote).filter(|&v| v != 0).map(NodeId) }
    }

    fn fresh() -> Sim {
        let disk = Sim::new(1);
        disk.create_dir(Path::new("d")).unwrap();
        VoteFile::create(&disk, Path::new("d"), IDENTITY, state(1, 0)).unwrap();
        disk
    }

    #[test]
    fn what_was_stored_is_read_again() {
        let disk = fresh();
        let mut vote = VoteFile::open(&disk, Path::new("d")).unwrap();
        assert_eq!((vote.identity(), vote.state()), (IDENTITY, state(1, 0)));
        vote.store(state(2, 9)).unwrap();
        vote.store(state(5, 0)).unwrap();
        drop(vote);
        assert_eq!(VoteFile::open(&disk, Path::new("d")).unwrap().state(), state(5, 0));
    }

    #[test]
    fn any_flipped_bit_is_harmless_or_named() {
        let disk = fresh();
        VoteFile::open(&disk, Path::new("d")).unwrap().store(state(2, 9)).unwrap();
        let path = Path::new("d/vote");
        let raw = disk.open(path, Open::existing(Access::Buffered));
        let raw = raw.unwrap();
        let mut named = 0;
        for offset in (0..64).chain(4096..4160).chain(8192..8256) {
            for bit in 0..8 {
                // Each open writes the copies again.
                let mut byte = [0];
                raw.read_exact_at(&mut byte, offset).unwrap();
                raw.write_at(&[byte[0] ^ (1 << bit)], offset).unwrap();
                match VoteFile::open(&disk, Path::new("d")) {
                    Ok(vote) => assert_eq!(vote.state(), state(2, 9), "bit {bit} of {offset}"),
                    Err(_) => named += 1,
                }
                raw.write_at(&byte, offset).unwrap();
            }
        }
        assert_eq!(named, (IDENTITY_BYTES + 4) * 8, "each bit of the identity is named");
    }

    #[test]
    fn two_damaged_copies_are_refused() {
        let disk = fresh();
        let open = Open::existing(Access::Buffered);
        let raw = disk.open(Path::new("d/vote"), open).unwrap();
        raw.write_at(&[0xff], 4096).unwrap();
        assert!(VoteFile::open(&disk, Path::new("d")).is_ok(), "and the copy is repaired");
        raw.write_at(&[0xff], 8192).unwrap();
        assert!(VoteFile::open(&disk, Path::new("d")).is_ok());
        raw.write_at(&[0xff], 4096).unwrap();
        raw.write_at(&[0xff], 8192).unwrap();
        let error = VoteFile::open(&disk, Path::new("d")).unwrap_err();
        assert!(error.to_string().contains("join again"), "{error}");
    }

    #[test]
    fn a_crash_leaves_the_old_vote_or_the_new() {
        for point in 0..40 {
            for subset in 0..8 {
                let disk = fresh();
                let mut vote = VoteFile::open(&disk, Path::new("d")).unwrap();
                vote.store(state(2, 9)).unwrap();
                disk.crash_at(disk.operations() + point);
                let acknowledged = vote.store(state(3, 4)).is_ok();
                drop(vote);
                disk.recover(subset);
                let found = VoteFile::open(&disk, Path::new("d")).unwrap().state();
                let allowed = found == state(3, 4) || (!acknowledged && found == state(2, 9));
                assert!(allowed, "point {point}, subset {subset}: {found:?}");
            }
        }
    }
    #[test]
    fn what_was_read_at_open_survives_a_power_cut() {
        for subset in 0..16 {
            let disk = fresh();
            disk.refuse_direct();
            let mut vote = VoteFile::open(&disk, Path::new("d")).unwrap();
            disk.inject(Fault::new(Operation::Sync, Effect::Io));
            assert!(vote.store(state(2, 9)).is_err());
            // The process ends; the page cache shows the next one what no sync has written.
            drop(vote);
            disk.kill();
            let read = VoteFile::open(&disk, Path::new("d")).unwrap().state();
            disk.crash(subset);
            let found = VoteFile::open(&disk, Path::new("d")).unwrap().state();
            assert_eq!(found, read, "subset {subset}");
        }
    }
}
