//! Imports that are broken off: by the network, a crash, a full disk.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use revd_disk::{Disk as _, Sim};
use revd_mvcc::{ExportError, Import, ImportError, Put, SnapshotPosition, Store};

use crate::world::{COPY, Frozen, Random, World, begin, install, open, options};
use crate::{chunks, seeds};

/// A store with so many records of 8 KiB at its end.
fn large(seed: u64, records: u64) -> (World, Frozen) {
    let mut world = World::new(seed);
    world.steps(100);
    for number in 0..records {
        let value = Bytes::from(vec![number as u8; 8 << 10]);
        let put = Put { key: format!("large{number}").into(), value, ..Put::default() };
        world.store.put(&put).unwrap().unwrap();
        world.note_put(&put);
        if number % 20 == 0 {
            world.checkpoint();
        }
    }
    let frozen = world.freeze();
    (world, frozen)
}

#[test]
fn an_import_goes_on_where_the_connection_broke() {
    let mut breaks = 0;
    for seed in seeds(10) {
        let mut world = World::new(seed);
        world.steps(400);
        let frozen = world.freeze();
        let mut random = Random::new(seed);
        let mut import = begin(&world.disk);
        let mut export = world.store.export(b"note").unwrap();
        while let Some(chunk) = export.next_chunk(random.below(3_000) as usize).unwrap() {
            import.push(&chunk).unwrap();
            if let Some(position) = import.position().filter(|_| random.below(3) == 0) {
                // What was on its way is lost; the exporter is told, over the wire, where to go on.
                (0..random.below(3)).for_each(|_| drop(export.next_chunk(100).unwrap()));
                let position = SnapshotPosition::decode(&position.encode()).unwrap();
                export.resume(&position).unwrap();
                breaks += 1;
            }
        }
        frozen.check(&install(import.finish(b"").unwrap(), &world.disk));
    }
    assert!(breaks > 0 || std::env::var_os("SEED").is_some(), "no connection broke");
}

#[test]
fn a_position_is_of_one_snapshot() {
    let mut world = World::new(1);
    world.steps(100);
    let mut import = begin(&world.disk);
    let mut export = world.store.export(b"one").unwrap();
    while import.position().is_none() {
        import.push(&export.next_chunk(500).unwrap().unwrap()).unwrap();
    }
    let position = import.position().unwrap();
    let mut other = world.store.export(b"other").unwrap();
    assert!(matches!(other.resume(&position), Err(ExportError::OtherSnapshot { .. })));
    let mut same = world.store.export(b"one").unwrap();
    same.resume(&position).unwrap();
    let mut bytes = position.encode();
    assert_eq!(SnapshotPosition::decode(&bytes[1..]), None);
    bytes[0] += 1;
    assert_eq!(SnapshotPosition::decode(&bytes), None);
}

/// The power fails at any operation of an import; what is found is gone on with, or begun anew.
#[test]
fn an_import_survives_crashes() {
    let (mut world, frozen) = large(5, 100);
    let mut export = world.store.export(b"note").unwrap();
    let target = Sim::new(5);
    let mut counting = begin(&target);
    chunks(&mut export, 32 << 10).iter().for_each(|chunk| counting.push(chunk).unwrap());
    let operations = target.operations();
    drop(counting);
    let mut resumed = 0;
    for seed in seeds(40) {
        let mut random = Random::new(seed);
        let target = Sim::new(seed);
        target.crash_at(random.below(operations));
        let mut export = world.store.export(b"note").unwrap();
        if let Ok(mut import) = Import::begin(Arc::new(target.clone()), Path::new(COPY), options())
        {
            while let Some(chunk) = export.next_chunk(32 << 10).unwrap() {
                if import.push(&chunk).is_err() {
                    break;
                }
            }
        }
        target.recover(seed);
        let mut import = begin(&target);
        let mut export = world.store.export(b"note").unwrap();
        if let Some(position) = import.position() {
            export.resume(&position).unwrap();
            resumed += 1;
        }
        chunks(&mut export, 20 << 10).iter().for_each(|chunk| import.push(chunk).unwrap());
        frozen.check(&install(import.finish(b"").unwrap(), &target));
        assert_eq!(target.list(Path::new("")).unwrap(), [COPY], "SEED={seed}: nothing is left");
    }
    assert!(resumed > 0 || std::env::var_os("SEED").is_some(), "none was gone on with");
}

/// The power fails at any operation of finishing and installing: there is the old store or the new.
#[test]
fn an_installation_is_atomic() {
    let (mut world, old, _) = crate::small(6, 500);
    let old_revision = old.revision;
    world.steps(100);
    let frozen = world.freeze();
    let mut export = world.store.export(b"note").unwrap();
    let stream = chunks(&mut export, 5_000);
    drop(export);
    let target = Sim::new(6);
    let mut first = begin(&target);
    crate::small(6, 500).2.iter().for_each(|chunk| first.push(chunk).unwrap());
    drop(install(first.finish(b"old").unwrap(), &target));
    let (mut olds, mut news) = (0, 0);
    for step in 0.. {
        let disk = target.fork();
        let mut import = begin(&disk);
        stream.iter().for_each(|chunk| import.push(chunk).unwrap());
        disk.crash_at(disk.operations() + step);
        let done = import.finish(b"new").and_then(revd_mvcc::Imported::install);
        disk.recover(step);
        let store = open(&disk);
        match store.note() {
            b"new" => frozen.check(&store),
            _ => assert_eq!((store.note(), store.revision().0), (&b"old"[..], old_revision)),
        }
        if store.note() == b"new" {
            news += 1
        } else {
            olds += 1
        };
        Import::clear(&disk, Path::new(COPY)).unwrap();
        assert_eq!(disk.list(Path::new("")).unwrap(), [COPY], "nothing is left");
        if done.is_ok() {
            assert_eq!(store.note(), b"new");
            break;
        }
    }
    assert!(olds > 0 && news > 0, "{olds} {news}");
}

#[test]
fn a_full_disk_ends_an_import_which_can_be_gone_on_with() {
    let (mut world, frozen) = large(7, 400);
    let target = Sim::new(7);
    target.set_capacity(2 << 20);
    let mut export = world.store.export(b"note").unwrap();
    let mut import = begin(&target);
    let error = loop {
        let chunk = export.next_chunk(64 << 10).unwrap().unwrap();
        if let Err(error) = import.push(&chunk) {
            break error;
        }
    };
    assert!(matches!(error, ImportError::Write(_)), "{error:?}");
    assert!(matches!(import.push(b""), Err(ImportError::Failed)));
    assert!(matches!(import.finish(b""), Err(ImportError::Failed)));
    target.heal();
    let mut import = begin(&target);
    export.resume(&import.position().expect("some of it was durable")).unwrap();
    chunks(&mut export, 64 << 10).iter().for_each(|chunk| import.push(chunk).unwrap());
    frozen.check(&install(import.finish(b"").unwrap(), &target));
}

/// Rubbish where an import's file would be is no obstacle.
#[test]
fn what_cannot_be_gone_on_with_is_begun_anew() {
    let (world, frozen, stream) = crate::small(9, 1_000);
    let disk = world.disk.clone();
    let partial = Path::new("copy.import");
    drop(Store::create(Arc::new(disk.clone()), partial, options(), b"a store").unwrap());
    assert_eq!(begin(&disk).position(), None);
    disk.overwrite(partial, 0, &[7; 40_000]).unwrap();
    let mut import = begin(&disk);
    stream.iter().for_each(|chunk| import.push(chunk).unwrap());
    frozen.check(&install(import.finish(b"").unwrap(), &disk));
}
