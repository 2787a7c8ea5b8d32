//! A small file system that can be filled by somebody else.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in a file; gone when it is dropped.
pub struct SmallDisk {
    mount: PathBuf,
}

impl SmallDisk {
    /// Where it cannot be made that is told, and is a failure under CI.
    pub fn new(dir: &Path, megabytes: u64) -> Option<Self> {
        let (image, mount) = (dir.join("image"), dir.join("mount"));
        std::fs::create_dir(&mount).expect("a folder to mount on");
        let file = std::fs::File::create(&image).expect("an image");
        file.set_len(megabytes << 20).expect("an image of that size");
        let run = |command: &mut Command| command.output().is_ok_and(|done| done.status.success());
        let is_mounted = run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))
            && run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount));
        if !is_mounted {
            assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a file system");
            println!("SKIPPED: a small file system cannot be made and mounted here (not root?)");
            return None;
        }
        Some(Self { mount })
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
