//! Snapshots out of a store and into another.
//!
//! `SEED=n cargo test -p revd-mvcc --test snapshot` runs one seed, `SEEDS=n` the first n.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod damage;
mod interruption;
mod replace;
#[allow(dead_code, reason = "events are decoded by other tests")]
#[path = "../rules/wire.rs"]
mod wire;
mod world;

use std::path::Path;

use revd_disk::Disk as _;
use revd_mvcc::{Export, ExportError, SNAPSHOT_HEADER_BYTES, Store, snapshot_chunk_len};

use world::{Frozen, Random, World, begin, install};

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let range = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(count),
    };
    range.inspect(|seed| println!("SEED={seed}"))
}

/// All chunks of an export, from where it is.
fn chunks(export: &mut Export, budget: usize) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| export.next_chunk(budget).unwrap()).collect()
}

/// A small store with everything in it, and its snapshot.
fn small(seed: u64, budget: usize) -> (World, Frozen, Vec<Vec<u8>>) {
    let mut world = World::new(seed);
    world.steps(60);
    let frozen = world.freeze();
    let mut export = world.store.export(b"the note").unwrap();
    let chunks = chunks(&mut export, budget);
    drop(export);
    (world, frozen, chunks)
}

#[test]
fn a_copy_answers_like_the_store_at_the_export_whatever_happens_meanwhile() {
    for seed in seeds(60) {
        let mut world = World::new(seed);
        let size = world.random.below(600);
        world.steps(size);
        let frozen = world.freeze();
        let mut export = world.store.export(b"position 7").unwrap();
        assert_eq!(export.revision().0, frozen.revision);
        let mut import = begin(&world.disk);
        loop {
            let budget = world.random.below(20_000) as usize;
            let Some(chunk) = export.next_chunk(budget).unwrap() else { break };
            assert!(!import.is_complete());
            import.push(&chunk).unwrap();
            let between = world.random.below(30);
            world.steps(between);
        }
        assert_eq!(import.note(), Some(&b"position 7"[..]));
        assert!(import.is_complete());
        let imported = import.finish(b"installed").unwrap();
        assert_eq!((imported.revision().0, imported.compacted()), (frozen.revision, frozen.floor));
        let copy = install(imported, &world.disk);
        assert_eq!(copy.note(), b"installed");
        frozen.check(&copy);
        assert_eq!(world.disk.list(Path::new("")).unwrap(), ["copy", "tree"], "nothing is left");
    }
}

#[test]
fn an_empty_store_travels() {
    let mut world = World::new(1);
    let frozen = world.freeze();
    let mut export = world.store.export(b"").unwrap();
    let mut import = begin(&world.disk);
    let chunks = chunks(&mut export, 100);
    assert_eq!(chunks.len(), 2);
    chunks.iter().for_each(|chunk| import.push(chunk).unwrap());
    frozen.check(&install(import.finish(b"").unwrap(), &world.disk));
}

#[test]
fn a_copy_goes_on_as_a_store_does() {
    for seed in seeds(5) {
        let (mut world, _, chunks) = small(seed, 500);
        let mut import = begin(&world.disk);
        chunks.iter().for_each(|chunk| import.push(chunk).unwrap());
        world.store = install(import.finish(b"").unwrap(), &world.disk);
        world.steps(300);
        let frozen = world.freeze();
        while world.store.is_compacting() {
            world.sweep();
        }
        frozen.check(&world.store);
    }
}

/// Replicas have the same stream, wherever their sweeps and checkpoints stand.
#[test]
fn equal_states_have_equal_streams() {
    for seed in seeds(10) {
        let (mut world, _, before) = small(seed, 700);
        while world.store.is_compacting() {
            world.sweep();
        }
        world.checkpoint();
        let mut export = world.store.export(b"the note").unwrap();
        assert!(chunks(&mut export, 700) == before, "SEED={seed}");

        let mut import = begin(&world.disk);
        before.iter().for_each(|chunk| import.push(chunk).unwrap());
        let mut copy = install(import.finish(b"").unwrap(), &world.disk);
        let mut export = copy.export(b"the note").unwrap();
        assert!(chunks(&mut export, 700) == before, "SEED={seed}, from the copy");
    }
}

#[test]
fn sweeps_wait_for_an_export_and_go_on_when_it_is_over() {
    let mut world = World::new(3);
    (0..200).for_each(|_| world.put());
    world.checkpoint();
    let frozen = world.freeze();
    let mut export = world.store.export(b"").unwrap();
    assert_eq!(world.store.exports(), 1);
    world.store.compact(frozen.revision - 5).unwrap().unwrap();
    world.store.publish();
    assert!(world.store.sweep().is_none(), "the export has not sent what would be removed");
    // An export of the new floor holds up nothing.
    let other = world.store.export(b"").unwrap();
    let mut import = begin(&world.disk);
    chunks(&mut export, 1_000).iter().for_each(|chunk| import.push(chunk).unwrap());
    frozen.check(&install(import.finish(b"").unwrap(), &world.disk));
    drop(export);
    assert!(world.store.sweep().is_some());
    drop(other);
    assert_eq!(world.store.exports(), 0);
}

#[test]
fn an_export_that_was_given_up_says_so() {
    for rows_sent in [false, true] {
        let (mut world, _, _) = small(4, 100);
        let mut export = world.store.export(b"").unwrap();
        export.next_chunk(100).unwrap().unwrap();
        if rows_sent {
            (0..60).for_each(|_| drop(export.next_chunk(1_000).unwrap()));
        }
        let mut again = world.store.export(b"").unwrap();
        world.store.release_exports();
        assert_eq!(world.store.exports(), 0);
        let ended = again.next_chunk(100).unwrap().is_some_and(|chunk| chunk[9] == 0);
        assert!(ended, "the opening needs nothing from the store");
        for export in [&mut again, &mut export] {
            match export.next_chunk(100) {
                Err(ExportError::Released) => {}
                Ok(None) => assert!(rows_sent),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn exports_and_notes_are_bounded() {
    let mut world = World::new(1);
    let exports: Vec<_> = (0..16).map(|_| world.store.export(b"").unwrap()).collect();
    assert!(matches!(world.store.export(b""), Err(ExportError::TooMany(16))));
    drop(exports);
    let longest = vec![1; 60 << 10];
    let mut export = world.store.export(&longest).unwrap();
    let mut import = begin(&world.disk);
    import.push(&export.next_chunk(0).unwrap().unwrap()).unwrap();
    assert_eq!(import.note(), Some(&longest[..]));
    let too_long = world.store.export(&[longest, vec![1]].concat());
    assert!(matches!(too_long, Err(ExportError::NoteTooLong { bytes: 61_441, .. })));
}

#[test]
fn chunks_keep_to_the_budget_but_for_one_long_record() {
    let (mut world, _, _) = small(2, 100);
    for budget in [0, 1, 300, 5_000, usize::MAX] {
        let mut export = world.store.export(b"").unwrap();
        for chunk in chunks(&mut export, budget) {
            assert_eq!(snapshot_chunk_len(&chunk[..SNAPSHOT_HEADER_BYTES]), Ok(chunk.len()));
            let payload = chunk.len() - SNAPSHOT_HEADER_BYTES - 4;
            assert!(payload <= budget.max(16_000), "{payload} bytes in a chunk of {budget}");
        }
    }
}

/// A stream made by an earlier build: it must be read as it was meant, and be made again byte by
/// byte. A difference is a change of the format, which needs a new version (see FORMAT.md). Then
/// `UPDATE_GOLDEN=1 cargo test -p revd-mvcc --test snapshot` writes the file anew.
#[test]
fn the_format_has_not_changed() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1.snapshot");
    let (world, frozen, chunks) = small(9, 2_000);
    let made = chunks.concat();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
        std::fs::write(&golden, &made).unwrap();
    }
    let kept = std::fs::read(&golden).unwrap();
    let different = made.iter().zip(&kept).position(|(a, b)| a != b);
    assert_eq!((made.len(), different), (kept.len(), None), "the format has changed");
    let mut import = begin(&world.disk);
    let mut rest = &kept[..];
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at(snapshot_chunk_len(rest).unwrap());
        import.push(chunk).unwrap();
        rest = tail;
    }
    let imported = import.finish(b"").unwrap();
    let (cells, hash) = (imported.cells(), imported.hash());
    frozen.check(&install(imported, &world.disk));
    assert_eq!((cells, hash), (31, 1_051_787_376_943_795_302), "the format has changed");
}

/// The tables as they were at the export travel, though they change before they are sent.
#[test]
fn rows_that_change_during_the_export_travel_as_they_were() {
    let mut world = World::new(8);
    world.steps(200);
    let frozen = world.freeze();
    let mut export = world.store.export(b"").unwrap();
    let mut import = begin(&world.disk);
    let mut random = Random::new(8);
    while let Some(chunk) = export.next_chunk(random.below(90) as usize).unwrap() {
        import.push(&chunk).unwrap();
        world.steps(4);
        world.checkpoint();
    }
    let copy: Store = install(import.finish(b"").unwrap(), &world.disk);
    frozen.check(&copy);
}
