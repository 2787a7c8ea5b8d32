//! A small file system that can be filled by somebody else.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::system::{run, skip};

/// A file system in a file; gone when it is dropped.
pub struct SmallDisk {
    mount: PathBuf,
}

impl SmallDisk {
    /// `None`, with a message, where it cannot be made.
    pub fn new(dir: &Path, megabytes: u64) -> Option<Self> {
        let (image, mount) = (dir.join("image"), dir.join("mount"));
        std::fs::create_dir(&mount).expect("a folder to mount on");
        let file = std::fs::File::create(&image).expect("an image");
        file.set_len(megabytes << 20).expect("an image of that size");
        let paths = [&image, &mount].map(|path| path.to_str().expect("a path of text"));
        let made = run("mkfs.ext4", &["-q", "-F", "-m", "0", paths[0]])
            .and_then(|()| run("mount", &["-o", "loop", paths[0], paths[1]]));
        match made {
            Ok(()) => Some(Self { mount }),
            Err(lack) => {
                skip("a small file system", &lack);
                None
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Where the member's data goes.
    pub fn data(&self) -> PathBuf {
        self.mount.join("data")
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).expect("a file to fill with");
        let mut size = 1 << 20;
        while size >= 512 {
            if file.write_all(&vec![b'x'; size]).and_then(|()| file.sync_data()).is_err() {
                size /= 2;
            }
        }
    }

    /// Gives it back.
    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).expect("the filler is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mount).status();
    }
}
