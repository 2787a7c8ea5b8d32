//! Bytes that nobody wrote, with right checksums or wrong ones: no panic, nothing endless. The same
//! as the fuzz targets in `fuzz/`, from seeds; and their corpus.
//!
//! `REVD_HOSTILE_CASES=1000000` tries so many for each target, `SEED=7` one.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use support::Rng;
use support::forge::{Specimen, TARGETS, Target, exercise, forge, seed};

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name)
}

/// Whether the file could be opened; `None` if that or what followed has panicked.
fn try_one(target: Target, data: &[u8]) -> Option<bool> {
    catch_unwind(AssertUnwindSafe(|| exercise(&forge(target, data)))).ok()
}

#[test]
fn the_specimen_has_all_that_is_forged() {
    let specimen = Specimen::get();
    assert!(exercise(&specimen.bytes));
    for (target, name) in TARGETS {
        if !matches!(target, Target::File | Target::Mutated) {
            let places = specimen.places(target);
            assert!(!places.is_empty(), "no {name} in the specimen");
            for place in 0..places.len() {
                assert!(forge(target, &seed(target, place)) == specimen.bytes, "{name} {place}");
            }
        }
    }
    assert!(forge(Target::File, &seed(Target::File, 0)) == specimen.bytes);
    assert!(forge(Target::Mutated, &seed(Target::Mutated, 0)) == specimen.bytes);
}

/// With `UPDATE_CORPUS=1`, writes a few inputs for each target anew.
#[test]
fn the_corpus_panics_nowhere() {
    let mut files = 0;
    for (target, name) in TARGETS {
        let folder = corpus(name);
        if std::env::var_os("UPDATE_CORPUS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            let many = match target {
                Target::File | Target::Mutated => 1,
                _ => Specimen::get().places(target).len().min(3),
            };
            for place in 0..many {
                std::fs::write(folder.join(format!("intact-{place}")), seed(target, place))
                    .unwrap();
            }
        }
        for file in std::fs::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            let outcome = try_one(target, &std::fs::read(&path).unwrap());
            assert!(outcome.is_some(), "{}", path.display());
            files += 1;
        }
    }
    println!("{files} files");
    assert!(files >= TARGETS.len());
}

/// Changes a few bytes of what is intact, with numbers that are often at a limit.
fn mutate(target: Target, rng: &mut Rng) -> Vec<u8> {
    let places = match target {
        Target::File | Target::Mutated => 1,
        _ => Specimen::get().places(target).len() as u64,
    };
    let mut data = seed(target, rng.below(places) as usize);
    let edits = 1 + rng.below(4);
    for _ in 0..edits {
        let at = rng.below(data.len() as u64) as usize;
        let word = match rng.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => rng.below(40),
            3 => 1 << rng.below(64),
            _ => rng.next(),
        };
        let len = [1, 1, 2, 4, 8][rng.below(5) as usize].min(data.len() - at);
        data[at..at + len].copy_from_slice(&word.to_le_bytes()[..len]);
    }
    if target == Target::Mutated {
        // Offsets anywhere in the file, mostly where something is.
        let all = seed(Target::File, 0);
        let parts = all.len() as u64 / 36;
        for patch in data.chunks_mut(36) {
            let part = rng.below(parts) as usize * 36;
            patch[..3].copy_from_slice(&all[part..part + 3]);
        }
        data.truncate(36 * (1 + rng.below(3) as usize));
    }
    data
}

fn from_seeds(targets: &[Target]) {
    let cases = std::env::var("REVD_HOSTILE_CASES").map_or(2_500, |cases| cases.parse().unwrap());
    let only: Option<u64> = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
    for &target in targets {
        let mut opened = 0;
        let mut panicked = Vec::new();
        for seed in only.map_or(0..cases, |seed| seed..seed + 1) {
            match try_one(target, &mutate(target, &mut Rng(seed))) {
                Some(done) => opened += u64::from(done),
                None => panicked.push(seed),
            }
        }
        println!("{target:?}: {cases} cases, {opened} could be opened");
        assert!(panicked.is_empty(), "{target:?}: repeat with SEED= one of {panicked:?}");
    }
}

#[test]
fn forged_fixed_places_and_files_panic_nowhere() {
    from_seeds(&[Target::Header, Target::Slot, Target::Commit, Target::MapPage, Target::File]);
}

#[test]
fn forged_nodes_panic_nowhere() {
    from_seeds(&[Target::Leaf, Target::Rows, Target::Inner, Target::Cell, Target::Mutated]);
}
