//! A place in the stream of a snapshot.

use revd_btree::Key;

const FORMAT: u8 = 1;

/// How far an import has come: what the exporter must know to go on.
///
/// Only the history is resumed. What is before it, the rows of the tables, is small and is the only
/// part whose content the snapshot's name and the history do not determine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPosition {
    /// The name of the snapshot.
    pub(super) id: u64,
    /// The last record of the history that was imported.
    pub(super) after: Key,
    /// The cells up to there.
    pub(super) cells: u64,
    /// The hash of the stream up to there.
    pub(super) hash: u64,
}

impl SnapshotPosition {
    /// Length of the encoded form.
    pub const BYTES: usize = 42;

    /// The position as bytes, to be sent to the exporter: format 1, then name, main, sub (u64
    /// each), kind (u8), cells, hash (u64 each), little-endian.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = FORMAT;
        let numbers = [
            (1, self.id),
            (9, self.after.main),
            (17, self.after.sub),
            (26, self.cells),
            (34, self.hash),
        ];
        for (at, number) in numbers {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes[25] = self.after.kind;
        bytes
    }

    /// Reads a position; `None` for bytes that are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let number =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let after = Key { main: number(9), sub: number(17), kind: bytes[25] };
        let position = Self { id: number(1), after, cells: number(26), hash: number(34) };
        (bytes[0] == FORMAT).then_some(position)
    }
}
