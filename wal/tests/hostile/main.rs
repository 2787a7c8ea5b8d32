//! Whatever bytes a log is opened on: an error, or a log that works. The fuzzer's targets
//! (`fuzz/`), on its corpus and on bytes drawn from seeds; `REVD_HOSTILE=n` draws so many for each.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod forge;
#[path = "../model/random.rs"]
mod random;
mod targets;

use std::path::Path;

use random::Random;

/// Runs a target on its corpus, and on damaged pieces of it.
fn attack(name: &str, target: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut corpus = Vec::new();
    for file in std::fs::read_dir(&dir).unwrap() {
        corpus.push(std::fs::read(file.unwrap().path()).unwrap());
    }
    corpus.sort_unstable();
    assert!(!corpus.is_empty(), "{}", dir.display());
    corpus.iter().for_each(|data| target(data));
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let first = number("SEED", 0);
    for seed in first..first + number("REVD_HOSTILE", 3000) {
        let mut random = Random::new(seed);
        let mut data = corpus[random.below(corpus.len() as u64) as usize].clone();
        if random.below(4) == 0 {
            let len = random.below(200) as usize;
            data = random.bytes(len);
        }
        for _ in 0..random.below(8) {
            let at = random.below(data.len() as u64 + 1) as usize;
            match data.get_mut(at) {
                Some(byte) => *byte = random.one_of(&[0, 1, 2, 0x7f, 0x80, 0xff, *byte ^ 1]),
                None => data.push(random.next() as u8),
            }
        }
        let seen = std::panic::catch_unwind(|| target(&data));
        assert!(seen.is_ok(), "SEED={seed}: {name} on {data:?}");
    }
}

#[test]
fn the_forger_knows_the_format() {
    let mut chain = 0;
    for (name, bytes) in targets::valid_log().iter().filter(|(name, _)| name.ends_with(".wal")) {
        let mut forged = bytes.clone();
        assert!(name.ends_with("1.wal") || forged[72..76] == u32::to_le_bytes(chain), "{name}");
        chain = forge::seal_all(&mut forged);
        let differs = forged.iter().zip(bytes).position(|(forged, valid)| forged != valid);
        assert_eq!(differs, None, "{name}");
    }
    assert_ne!(chain, 0);
}

#[test]
fn any_segment_header_is_survived() {
    attack("segment_header", targets::segment_header);
}

#[test]
fn any_batch_is_survived() {
    attack("batch", targets::batch);
}

#[test]
fn any_frames_are_survived() {
    attack("frames", targets::frames);
}

#[test]
fn any_names_are_survived() {
    attack("names", targets::names);
}

#[test]
fn any_log_is_survived() {
    attack("raw_log", targets::raw_log);
}

#[test]
fn any_forged_log_is_survived() {
    attack("forged_log", targets::forged_log);
}
