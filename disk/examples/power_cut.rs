//! Cuts the power at every step of a small program and shows what is left on the disk.
//!
//! `cargo run -p revd-disk --example power_cut`

use std::path::Path;

use revd_disk::{Access, Disk, Error, Open, Sim};

/// Writes a file in two halves and forgets a sync. Which one?
fn program(disk: &Sim) -> Result<(), Error> {
    let dir = Path::new("/data");
    disk.create_dir(dir)?;
    let file = disk.open(&dir.join("greeting"), Open::new_file(Access::Buffered))?;
    file.write_at(b"hello, ", 0)?;
    file.sync_data()?;
    file.write_at(b"world", 7)?;
    disk.sync_dir(dir)
}

fn look(disk: &Sim) -> Result<String, Error> {
    let path = Path::new("/data/greeting");
    if !disk.exists(path)? {
        return Ok("no file".to_owned());
    }
    let file = disk.open(path, Open::read())?;
    let mut content = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
    file.read_exact_at(&mut content, 0)?;
    Ok(format!("{:?}", String::from_utf8_lossy(&content)))
}

fn main() -> Result<(), Error> {
    let whole = Sim::new(0);
    program(&whole)?;
    for step in 0..=whole.operations() {
        let disk = Sim::new(0);
        disk.crash_at(step);
        let outcome = program(&disk);
        disk.cut_power();
        let mut left = Vec::new();
        for seed in 0..20 {
            let fork = disk.fork();
            fork.recover(seed);
            left.push(look(&fork)?);
        }
        left.sort();
        left.dedup();
        let end = outcome.err().map_or("returned".to_owned(), |error| error.to_string());
        println!("step {step}: the program {end}\n  left: {}", left.join(" or "));
    }
    Ok(())
}
