//! Random workloads against a model, on a simulated disk: whatever is done in whatever order, each
//! view has what it should.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::Path;
use std::sync::Arc;

use revd_btree::{Error, Key, OpenError, Table, Tree};
use revd_disk::{Disk, Sim};
use support::{PATH, Run, options};

fn disk(seed: u64) -> Arc<Sim> {
    let disk = Sim::new(seed);
    disk.create_dir(Path::new("/data")).unwrap();
    Arc::new(disk)
}

#[test]
fn random_workloads_agree_with_the_model() {
    for seed in 0..40 {
        println!("SEED={seed}");
        let disk = disk(seed);
        let tree = Tree::create(disk.clone(), Path::new(PATH), options()).unwrap();
        let mut run = Run::new(tree, seed);
        for step in 0..400 {
            run.step().unwrap();
            if step % 10 == 0 {
                run.check();
            }
            if run.rng.one_in(60) {
                run.tree.verify().unwrap();
            }
            if run.rng.one_in(80) {
                run = run.reopen(disk.clone());
                run.check();
            }
        }
        run.publish();
        run.check();
        run.tree.verify().unwrap();
    }
}

#[test]
fn a_pin_sees_the_same_whatever_happens_later() {
    let disk = disk(7);
    let tree = Tree::create(disk, Path::new(PATH), options()).unwrap();
    let mut run = Run::new(tree, 7);
    let reader = run.tree.reader();
    for _ in 0..20 {
        for _ in 0..20 {
            run.step().unwrap();
        }
        let pin = reader.pin();
        let published = run.published.clone();
        for _ in 0..60 {
            run.step().unwrap();
        }
        published.check(&pin, &mut run.rng);
    }
}

#[test]
fn refusals_change_nothing() {
    let disk = disk(1);
    let mut tree = Tree::create(disk.clone(), Path::new(PATH), options()).unwrap();
    tree.append(Key::new(5, 0, 0), b"", b"value").unwrap();
    for key in [Key::new(5, 0, 0), Key::new(4, 9, 9)] {
        assert!(matches!(tree.append(key, b"", b""), Err(Error::OutOfOrder { .. })));
    }
    let next = Key::new(6, 0, 0);
    assert!(matches!(tree.append(next, &[0; 65_537], b""), Err(Error::TooLarge { .. })));
    assert!(matches!(
        tree.append(next, b"", &vec![0; (64 << 20) + 1]),
        Err(Error::TooLarge { .. })
    ));
    let long = vec![0; (16 << 20) + 1];
    assert!(matches!(tree.put(Table(0), next, &long), Err(Error::TooLarge { .. })));
    assert!(matches!(tree.checkpoint(&[0; 65_537]), Err(Error::TooLarge { .. })));
    assert_eq!(tree.stats().records, 1);
    let path = Path::new(PATH);
    let exists = Tree::create(disk.clone(), path, options()).unwrap_err();
    assert!(matches!(exists, OpenError::Disk(_)), "{exists}");
    drop(tree);
    let mut other = options();
    other.owner = *b"somebody else's!";
    assert!(matches!(Tree::open(disk, path, other), Err(OpenError::Owner { .. })));
}

#[test]
fn the_largest_things_fit() {
    let disk = disk(2);
    let mut tree = Tree::create(disk.clone(), Path::new(PATH), options()).unwrap();
    let value: Vec<u8> = (0..64u32 << 20).map(|i| (i / 4096) as u8).collect();
    let (key, head) = (Key::new(u64::MAX, u64::MAX, 255), vec![7; 65_536]);
    tree.append(Key::MIN, b"", b"first").unwrap();
    tree.append(key, &head, &value).unwrap();
    tree.put(Table(3), Key::MAX, &value[..16 << 20]).unwrap();
    let note = vec![9; 65_536];
    let written = tree.checkpoint(&note).unwrap().unwrap().write().unwrap();
    tree.checkpointed(written);
    assert!(tree.checkpoint(&note).unwrap().is_none(), "nothing has changed");
    drop(tree);
    let (tree, _) = Tree::open(disk, Path::new(PATH), options()).unwrap();
    tree.verify().unwrap();
    assert_eq!(tree.note(), note);
    let reader = tree.reader();
    let pin = reader.pin();
    let record = pin.get(key).unwrap().unwrap();
    assert!(record.head == head && record.value().unwrap() == value);
    assert!(pin.row(Table(3), Key::MAX).unwrap().unwrap() == &value[..16 << 20]);
}

#[test]
fn swept_room_is_used_again_and_given_back() {
    let disk = disk(3);
    let mut tree = Tree::create(disk.clone(), Path::new(PATH), options()).unwrap();
    let checkpoint = |tree: &mut Tree| {
        while let Some(checkpoint) = tree.checkpoint(b"").unwrap() {
            let written = checkpoint.write().unwrap();
            tree.checkpointed(written);
        }
    };
    for main in 0..100_000 {
        tree.append(Key::new(main, 0, 0), b"key", &[main as u8; 256]).unwrap();
        if main % 1000 == 0 {
            checkpoint(&mut tree);
        }
    }
    checkpoint(&mut tree);
    let full = (disk.allocated(), tree.stats());
    let mut next = Some(Key::MIN);
    while let Some(from) = next {
        let Some(sweep) = tree.plan_sweep(from, 1 << 20) else { break };
        let swept = sweep.run(&mut |key, _| key.main % 10 == 0).unwrap();
        next = swept.next();
        tree.adopt(swept).unwrap();
        checkpoint(&mut tree);
    }
    checkpoint(&mut tree);
    let verified = tree.verify().unwrap();
    let survivors = verified.records * 270;
    println!("{full:?}\n-> {} {:?} {verified:?}", disk.allocated(), tree.stats());
    assert!((10_000..10_200).contains(&verified.records));
    assert!(disk.allocated() < survivors + survivors / 4 + (4 << 20), "{}", disk.allocated());
    // What follows takes the room that is free.
    let before = tree.stats().file_bytes;
    for main in 100_000..150_000 {
        tree.append(Key::new(main, 0, 0), b"key", &[main as u8; 256]).unwrap();
        if main % 1000 == 0 {
            checkpoint(&mut tree);
        }
    }
    assert_eq!(tree.stats().file_bytes, before);
    tree.verify().unwrap();
}

#[test]
fn a_full_disk_refuses_growth_and_recovers() {
    let disk = disk(4);
    let mut tree = Tree::create(disk.clone(), Path::new(PATH), options()).unwrap();
    disk.set_capacity(8 << 20);
    let mut main = 0;
    let refused = loop {
        main += 1;
        if let Err(error) = tree.append(Key::new(main, 0, 0), b"", &[1; 1000]) {
            break error;
        }
        if main % 100 == 0 {
            let written = tree.checkpoint(b"").unwrap().unwrap().write().unwrap();
            tree.checkpointed(written);
        }
    };
    assert!(matches!(refused, Error::Full { .. }), "{refused}");
    assert!(main > 5000, "{main}");
    assert!(matches!(tree.put(Table(0), Key::MIN, b"row"), Err(Error::Full { .. })));
    assert!(!tree.delete(Table(0), Key::MIN).unwrap());
    // What leads to room may use the reserve, until that is gone; its checkpoints too.
    let mut from_reserve = 0;
    while from_reserve < 100 {
        assert!(matches!(
            tree.append(Key::new(main, 0, 0), b"", &[1; 100]),
            Err(Error::Full { .. })
        ));
        match tree.append_from_reserve(Key::new(main, 0, 0), b"", b"tombstone") {
            Ok(()) => from_reserve += 1,
            Err(error) => panic!("{from_reserve}: {error}"),
        }
        main += 1;
    }
    // Sweeps and their checkpoints use the reserve, and growth goes on after them.
    let mut next = Some(Key::MIN);
    while let Some(from) = next {
        let Some(sweep) = tree.plan_sweep(from, 64 << 10) else { break };
        let swept = sweep.run(&mut |key, _| key.main % 100 == 0).unwrap();
        next = swept.next();
        tree.adopt(swept).unwrap();
        for _ in 0..2 {
            if let Some(checkpoint) = tree.checkpoint(b"swept").unwrap() {
                let written = checkpoint.write().unwrap();
                tree.checkpointed(written);
            }
        }
    }
    for main in main + 1..main + 2000 {
        tree.append(Key::new(main, 0, 0), b"", &[1; 1000]).unwrap();
    }
    let written = tree.checkpoint(b"").unwrap().unwrap().write().unwrap();
    tree.checkpointed(written);
    tree.verify().unwrap();
}

#[test]
fn a_failed_checkpoint_poisons_the_tree_and_loses_nothing_durable() {
    use revd_disk::{Effect, Fault, Operation};
    let disk = disk(5);
    let tree = Tree::create(disk.clone(), Path::new(PATH), options()).unwrap();
    let mut run = Run::new(tree, 5);
    run.append().unwrap();
    run.begin_checkpoint().unwrap();
    run.end_checkpoint().unwrap();
    run.append().unwrap();
    run.begin_checkpoint().unwrap();
    disk.inject(Fault::new(Operation::Sync, Effect::Io));
    assert!(matches!(run.end_checkpoint(), Err(Error::Disk(_))));
    assert!(matches!(run.append(), Err(Error::Poisoned)));
    assert!(matches!(run.tree.checkpoint(b"x"), Err(Error::Poisoned)));
    run.check();
    disk.heal();
    disk.crash(9);
    let (durable, in_flight) = (run.durable.clone(), run.in_flight.clone().unwrap());
    drop(run);
    let (tree, _) = Tree::open(disk, Path::new(PATH), options()).unwrap();
    let wanted = if tree.note() == durable.note { durable } else { in_flight };
    wanted.check(&tree.reader().pin(), &mut support::Rng(1));
}

#[test]
fn small_checkpoints_leave_no_gaps() {
    let disk = disk(6);
    let mut tree = Tree::create(disk, Path::new(PATH), options()).unwrap();
    for main in 0..30_000 {
        tree.append(Key::new(main, 0, 0), b"a key of 16 byte", &[main as u8; 300]).unwrap();
        if main % 5 == 0 {
            let written = tree.checkpoint(b"note").unwrap().unwrap().write().unwrap();
            tree.checkpointed(written);
        }
    }
    let verified = tree.verify().unwrap();
    let stats = tree.stats();
    println!("{verified:?} {stats:?}");
    // Everything but the margin by which the file grows.
    assert!(stats.file_bytes < verified.bytes * 102 / 100 + (3 << 20), "{stats:?}");
    assert!(verified.filled_bytes > verified.leaf_bytes * 98 / 100, "{verified:?}");
}

#[test]
fn a_table_of_many_levels_agrees_with_the_model() {
    let disk = disk(8);
    let mut tree = Tree::create(disk.clone(), Path::new(PATH), options()).unwrap();
    let mut model = std::collections::BTreeMap::new();
    let mut rng = support::Rng(8);
    for round in 0..120_000 {
        // Grows at first, then shrinks to nothing.
        let key = Key::new(rng.below(40_000), 0, 0);
        if round < 60_000 {
            let limit = if rng.one_in(20) { 1_000 } else { 60 };
            let len = rng.below(limit) as usize;
            let value = rng.bytes(len);
            tree.put(Table(2), key, &value).unwrap();
            model.insert(key, value);
        } else {
            let near = model.range(key..).next().or(model.iter().next()).map(|(key, _)| *key);
            let removed = tree.delete(Table(2), near.unwrap_or(key)).unwrap();
            assert_eq!(removed, near.is_some_and(|near| model.remove(&near).is_some()));
        }
        if round % 4_000 == 0
            && let Some(checkpoint) = tree.checkpoint(b"").unwrap()
        {
            let written = checkpoint.write().unwrap();
            tree.checkpointed(written);
        }
        if round % 15_000 == 0 {
            tree.publish();
            tree.verify().unwrap();
            let (reader, mut wanted) = (tree.reader(), model.iter());
            for row in reader.pin().table(Table(2), Key::MIN) {
                let (key, value) = row.unwrap();
                assert_eq!(wanted.next(), Some((&key, &value.into())));
            }
            assert_eq!(wanted.next(), None);
        }
    }
    assert_eq!((model.len(), tree.stats().rows), (0, 0));
    tree.verify().unwrap();
}
