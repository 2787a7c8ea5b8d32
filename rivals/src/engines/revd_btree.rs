//! revd-btree: records are of its history.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel, sync_channel};
use std::thread;

use revd_btree::{Error, Key as TreeKey, Options, Sweep, Swept, Tree, Written};
use revd_disk::Real;

use super::{Purged, Reader, Snapshot, Store, is_kept, touch};
use crate::Result;
use crate::content::Key;

/// Bytes of leaves that one sweep takes: about as many records as the others delete at once.
const SWEEP_BYTES: usize = 300 << 10;

/// Work for the other thread.
type Job = Box<dyn FnOnce() + Send>;

struct RevdBtree {
    tree: Tree,
    /// A thread that does one job after the other, as that of the server.
    jobs: Sender<Job>,
    /// A checkpoint that it writes.
    writing: Option<Receiver<Result<Written, Error>>>,
    /// A sweep that it runs.
    sweeping: Option<Receiver<Result<Swept, Error>>>,
    /// Where the next sweep starts.
    sweep_from: TreeKey,
}

/// A tree with default options.
pub(super) fn open(dir: &Path) -> Result<Box<dyn Store>> {
    let (disk, path) = (Arc::new(Real::new()), dir.join("tree"));
    let options = Options::new(*b"rivals' own tree");
    let tree = if path.exists() {
        Tree::open(disk, &path, options)?.0
    } else {
        Tree::create(disk, &path, options)?
    };
    let (jobs, waiting) = channel::<Job>();
    // It ends with the store, which has the only sender.
    thread::spawn(move || waiting.into_iter().for_each(|job| job()));
    let (writing, sweeping) = (None, None);
    Ok(Box::new(RevdBtree { tree, jobs, writing, sweeping, sweep_from: TreeKey::MIN }))
}

impl Store for RevdBtree {
    fn put(&mut self, puts: &[(Key, &[u8])]) -> Result<()> {
        for (key, value) in puts {
            self.tree.append(TreeKey::new(key.0, 0, 0), b"", value)?;
        }
        self.tree.publish();
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            self.tree.checkpointed(writing.recv()??);
        }
        if let Some(checkpoint) = self.tree.checkpoint(b"")? {
            self.tree.checkpointed(checkpoint.write()?);
        }
        Ok(())
    }

    fn commit_aside(&mut self) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            match writing.try_recv() {
                Ok(written) => self.tree.checkpointed(written?),
                Err(TryRecvError::Empty) => {
                    self.writing = Some(writing);
                    return Ok(());
                }
                Err(gone) => return Err(gone.into()),
            }
        }
        if let Some(checkpoint) = self.tree.checkpoint(b"")? {
            self.writing = Some(aside(&self.jobs, move || checkpoint.write())?);
        }
        Ok(())
    }

    fn purge(&mut self, last: u64) -> Result<Purged> {
        let Some(sweeping) = self.sweeping.take() else {
            if self.sweep_from.main > last {
                return Ok(Purged::Done);
            }
            return Ok(match self.tree.plan_sweep(self.sweep_from, SWEEP_BYTES) {
                Some(sweep) => {
                    self.sweeping = Some(aside(&self.jobs, move || run(sweep, last))?);
                    Purged::Waiting
                }
                None => Purged::Done,
            });
        };
        match sweeping.try_recv() {
            Ok(swept) => {
                let swept = swept?;
                let removed = swept.removed();
                self.sweep_from = swept.next().unwrap_or(TreeKey::MAX);
                self.tree.adopt(swept)?;
                Ok(Purged::Some(removed))
            }
            Err(TryRecvError::Empty) => {
                self.sweeping = Some(sweeping);
                Ok(Purged::Waiting)
            }
            Err(gone) => Err(gone.into()),
        }
    }

    fn reader(&self) -> Box<dyn Reader + '_> {
        Box::new(RevdReader(self.tree.reader()))
    }

    fn last(&self) -> Result<Option<u64>> {
        Ok(self.tree.last_key().map(|key| key.main))
    }
}

fn run(sweep: Sweep, last: u64) -> Result<Swept, Error> {
    sweep.run(&mut |key, _| key.main > last || is_kept(key.main))
}

/// Does something on the other thread.
fn aside<T: Send + 'static>(
    jobs: &Sender<Job>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Receiver<T>> {
    let (sender, receiver) = sync_channel(1);
    // Whoever no longer waits does not need it.
    jobs.send(Box::new(move || drop(sender.send(work())))).map_err(|_| "no thread for jobs")?;
    Ok(receiver)
}

struct RevdReader(revd_btree::Reader);

impl Reader for RevdReader {
    fn gets(&self, mains: &[u64], snapshot: Snapshot) -> Result<u64> {
        let mut sum = 0;
        let mut pin = self.0.pin();
        for &main in mains {
            if snapshot == Snapshot::Fresh {
                pin = self.0.pin();
            }
            let record = pin.get(TreeKey::new(main, 0, 0))?.ok_or("a record is missing")?;
            sum += touch(record.value()?);
        }
        Ok(sum)
    }

    fn scans(&self, mains: &[u64], count: usize) -> Result<u64> {
        let (mut sum, mut items) = (0, 0);
        for &main in mains {
            let pin = self.0.pin();
            for record in pin.history(TreeKey::new(main, 0, 0)).take(count) {
                sum += touch(record?.value()?);
                items += 1;
            }
        }
        std::hint::black_box(sum);
        Ok(items)
    }
}
