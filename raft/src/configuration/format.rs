//! A configuration as bytes. All integers are little-endian.
//!
//! ```text
//! configuration = version:u8 (1)  flags:u8 (bit 0: leaves by itself)
//!                 voters  outgoing  learners  demoted
//! each list     = count:u32  id:u64 * count
//! ```
//!
//! A reader accepts version 1 alone, no unknown flag, and nothing behind the last list.

use super::Configuration;
use crate::error::DecodeError;
use crate::number::NodeId;

const VERSION: u8 = 1;
const LEAVES_BY_ITSELF: u8 = 1;

impl Configuration {
    /// The configuration as bytes, for [`Configuration::decode`]. The form is stable: it is kept
    /// on disk and travels in snapshots.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let lists = [&self.voters, &self.outgoing, &self.learners, &self.demoted];
        let ids: usize = lists.iter().map(|list| list.len()).sum();
        let mut bytes = Vec::with_capacity(2 + lists.len() * 4 + ids * 8);
        bytes.push(VERSION);
        bytes.push(if self.leaves_by_itself { LEAVES_BY_ITSELF } else { 0 });
        for list in lists {
            let count = u32::try_from(list.len()).expect("a cluster has less than 2^32 members");
            bytes.extend_from_slice(&count.to_le_bytes());
            for id in list {
                bytes.extend_from_slice(&id.0.to_le_bytes());
            }
        }
        bytes
    }

    /// The configuration that [`Configuration::encode`] made `bytes` of.
    ///
    /// # Errors
    /// When the bytes end early or late, are of another version, or break an invariant.
    pub fn decode(bytes: &[u8]) -> Result<Configuration, DecodeError> {
        let mut reader = Reader { bytes };
        let [version, flags] = reader.take()?;
        if version != VERSION {
            return Err(DecodeError::Version { expected: VERSION, found: version });
        }
        if flags & !LEAVES_BY_ITSELF != 0 {
            return Err(DecodeError::Flags { found: flags });
        }
        let configuration = Configuration {
            voters: reader.list()?,
            outgoing: reader.list()?,
            learners: reader.list()?,
            demoted: reader.list()?,
            leaves_by_itself: flags & LEAVES_BY_ITSELF != 0,
        };
        if !reader.bytes.is_empty() {
            return Err(DecodeError::Trailing { bytes: reader.bytes.len() });
        }
        configuration.check()?;
        Ok(configuration)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self
            .bytes
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Short { needed: N, left: self.bytes.len() })?;
        self.bytes = rest;
        Ok(*head)
    }

    fn list(&mut self) -> Result<Vec<NodeId>, DecodeError> {
        let count = u32::from_le_bytes(self.take()?) as usize;
        // Checked before anything is allocated for a count that nobody wrote.
        let needed = count.saturating_mul(8);
        if needed > self.bytes.len() {
            return Err(DecodeError::Short { needed, left: self.bytes.len() });
        }
        (0..count).map(|_| self.take().map(|id| NodeId(u64::from_le_bytes(id)))).collect()
    }
}
