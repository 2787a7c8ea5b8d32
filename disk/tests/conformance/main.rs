//! What every disk promises, asked of the real one and of the simulated one, with direct writes and
//! without.

#![cfg_attr(not(miri), expect(unsafe_code, reason = "looks at slices of mappings"))]
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use revd_disk::{Access, BLOCK, Buffer, Disk, Error, File, Kind, Open, Real, Sim};

/// Runs each claim on each disk.
macro_rules! conformance {
    ($($claim:ident),* $(,)?) => {
        #[cfg(not(miri))]
        mod of_real {
            $(#[test] fn $claim() { super::$claim(&crate::real()); })*
        }
        #[cfg(not(miri))]
        mod of_real_without_direct {
            $(#[test] fn $claim() { super::$claim(&crate::real_without_direct()); })*
        }
        mod of_sim {
            $(#[test] fn $claim() { super::$claim(&crate::simulated()); })*
        }
        mod of_sim_without_direct {
            $(#[test] fn $claim() { super::$claim(&crate::simulated_without_direct()); })*
        }
    };
}

// Miri knows no memory files, and millions of bytes take it minutes.
#[cfg(not(miri))]
mod content;
mod errors;
mod held;
#[cfg(not(miri))]
mod mapped;
mod names;
#[cfg(not(miri))]
mod random;

/// A disk, and a directory on it that goes when the test ends.
struct Place {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    knows_direct: bool,
    _dir_guard: Option<tempfile::TempDir>,
}

/// The target directory lies on a real disk, which /tmp often does not.
fn real_place(disk: Real, knows_direct: bool) -> Place {
    let guard = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = guard.path().join("store");
    Place { disk: Arc::new(disk), dir, knows_direct, _dir_guard: Some(guard) }
}

fn real() -> Place {
    real_place(Real::new(), true)
}

fn real_without_direct() -> Place {
    real_place(Real::without_direct(), false)
}

fn simulated() -> Place {
    let disk = Arc::new(Sim::new(7));
    Place { disk, dir: PathBuf::from("/data/store"), knows_direct: true, _dir_guard: None }
}

fn simulated_without_direct() -> Place {
    let disk = Sim::new(7);
    disk.refuse_direct();
    let dir = PathBuf::from("/data/store");
    Place { disk: Arc::new(disk), dir, knows_direct: false, _dir_guard: None }
}

impl Place {
    fn with_dir(&self) -> &Path {
        self.disk.create_dir(&self.dir).unwrap();
        &self.dir
    }

    fn file(&self, name: &str, access: Access) -> Arc<dyn File> {
        self.disk.open(&self.with_dir().join(name), Open::either(access)).unwrap()
    }
}

fn content(file: &Arc<dyn File>) -> Vec<u8> {
    let mut content = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut content, 0).unwrap();
    content
}

fn aligned(byte: u8, blocks: usize) -> Buffer {
    let mut buffer = Buffer::zeroed(blocks * BLOCK);
    buffer.fill(byte);
    buffer
}

fn kind<T: Debug>(result: Result<T, Error>) -> Kind {
    result.unwrap_err().kind()
}
