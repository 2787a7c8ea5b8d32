//! What a store can be told when it is opened.

/// Settings of a [`Store`](crate::Store).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Identity of the store; a tree of another store is refused at open.
    pub owner: [u8; 16],
    /// Address space to reserve for the tree, which bounds its file. Default 64 GiB: address space
    /// costs nothing until it is used.
    pub map_bytes: u64,
    /// Room held back for deletions, sweeps and checkpoints on a full disk, at least. Default 64
    /// MiB, as the tree's own.
    pub reserve_bytes: u64,
    /// Bytes that one sweep job reads at most, which bounds how long it takes. Default 1 MiB:
    /// a few milliseconds of a disk's time.
    pub sweep_bytes: usize,
    /// Index entries that the writer looks at for one sweep job, which bounds how long writes wait
    /// for it. Default 1000: well under a millisecond.
    pub sweep_keys: usize,
    /// Bytes of a snapshot after which what an import has taken is made durable; until then it is
    /// in memory. Default 16 MiB.
    pub import_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            owner: [0; 16],
            map_bytes: 64 << 30,
            reserve_bytes: 64 << 20,
            sweep_bytes: 1 << 20,
            sweep_keys: 1000,
            import_bytes: 16 << 20,
        }
    }
}

impl Options {
    /// The defaults, for the store of this identity.
    #[must_use]
    pub fn new(owner: [u8; 16]) -> Self {
        Self { owner, ..Self::default() }
    }

    pub(crate) fn tree(&self) -> revd_btree::Options {
        let mut options = revd_btree::Options::new(self.owner);
        options.map_bytes = self.map_bytes;
        options.reserve_bytes = self.reserve_bytes;
        options
    }
}
