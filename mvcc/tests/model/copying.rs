//! A snapshot of the store on its way into another one, on the same disk.

use std::path::Path;
use std::sync::Arc;

use revd_disk::{Disk, Sim};
use revd_mvcc::{Export, Import, Options, Store};

use crate::model::{Mark, Model};
use crate::verify;
use crate::world;

const COPY: &str = "copy";
const NOTE: &[u8] = b"of the model";

/// A snapshot that some chunks of have been taken.
pub(crate) struct Copying {
    disk: Arc<Sim>,
    export: Export,
    /// `None` only while it is begun again.
    import: Option<Import>,
    /// The state that is exported.
    mark: Mark,
}

fn options() -> Options {
    // Saved often, so that there is something to go on with.
    let mut options = world::options();
    options.import_bytes = 2_000;
    options
}

fn begin(disk: &Arc<Sim>) -> Option<Import> {
    Some(Import::begin(disk.clone(), Path::new(COPY), options()).unwrap())
}

impl Copying {
    /// Begins with the state that was published last, `mark`. What an import that a loss of power
    /// has ended left behind goes.
    pub(crate) fn begin(store: &mut Store, disk: Sim, mark: Mark) -> Self {
        let disk = Arc::new(disk);
        Import::clear(&*disk, Path::new(COPY)).unwrap();
        // Two states may differ in their rows alone: by the note they are told apart.
        let export = store.export(NOTE).unwrap();
        assert_eq!((export.revision().0, export.compacted()), (mark.revision, mark.floor));
        Self { import: begin(&disk), disk, export, mark }
    }

    /// The next chunk, of about so many bytes. False after the last.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let chunk = self.export.next_chunk(bytes).unwrap();
        let import = self.import.as_mut().unwrap();
        if let Some(chunk) = &chunk {
            import.push(chunk).unwrap();
        }
        chunk.is_some()
    }

    /// The import ends without having finished, and is begun again from what it has saved. `None`
    /// if that is nothing: then the stream would have to begin anew.
    pub(crate) fn break_off(mut self) -> Option<Self> {
        self.import = None;
        self.import = begin(&self.disk);
        let position = self.import.as_ref()?.position()?;
        self.export.resume(&position).unwrap();
        Some(self)
    }

    /// Installs the copy, which must show what was exported.
    pub(crate) fn compare(self, model: &Model, revisions: Vec<i64>) {
        let Self { disk, import, mark, .. } = self;
        import.unwrap().finish(NOTE).unwrap().install().unwrap();
        let (copy, _) = Store::open(disk.clone(), Path::new(COPY), options()).unwrap();
        assert_eq!(copy.note(), NOTE);
        verify::compare(&copy, model, &mark, revisions);
        drop(copy);
        disk.remove(Path::new(COPY)).unwrap();
    }
}
