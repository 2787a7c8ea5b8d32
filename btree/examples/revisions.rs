//! A store that remembers every version of its values, in the smallest form: each change gets the
//! next revision, a table tells the newest revision of each name, and old revisions are swept away
//! while the store goes on.
//!
//! `cargo run -p revd-btree --example revisions`

use std::collections::BTreeMap;
use std::sync::Arc;

use revd_btree::{Checkpoint, Error, Key, Options, Tree};

/// A record's key: its revision. The head has the name, so that the index can be built without
/// reading values.
fn key(revision: u64) -> Key {
    Key::new(revision, 0, 0)
}

struct Store {
    tree: Tree,
    /// The newest revision of each name; built from the heads when the store is opened.
    index: BTreeMap<Vec<u8>, u64>,
}

impl Store {
    fn new(tree: Tree) -> Result<Store, Error> {
        let mut index = BTreeMap::new();
        for record in tree.reader().pin().history(Key::MIN) {
            let record = record?;
            index.insert(record.head.to_vec(), record.key.main);
        }
        Ok(Store { tree, index })
    }

    fn put(&mut self, name: &str, value: &str) -> Result<u64, Error> {
        let revision = self.tree.last_key().map_or(1, |last| last.main + 1);
        self.tree.append(key(revision), name.as_bytes(), value.as_bytes())?;
        self.index.insert(name.into(), revision);
        Ok(revision)
    }

    /// Removes all versions but the newest of each name, a few leaves at a time.
    fn compact(&mut self) -> Result<u64, Error> {
        let (mut removed, mut next) = (0, Some(Key::MIN));
        while let Some(from) = next {
            let Some(sweep) = self.tree.plan_sweep(from, 1 << 20) else { break };
            // This could run on another thread, while the tree takes more changes.
            let swept = sweep.run(&mut |key, name| self.index.get(name) == Some(&key.main))?;
            (removed, next) = (removed + swept.removed(), swept.next());
            self.tree.adopt(swept)?;
        }
        Ok(removed)
    }

    fn checkpoint(&mut self, note: &str) -> Result<(), Error> {
        // `write` is the only part that waits for the disk; it could run on another thread, too.
        let written = self.tree.checkpoint(note.as_bytes())?.map(Checkpoint::write).transpose()?;
        written.into_iter().for_each(|written| self.tree.checkpointed(written));
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("revisions-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (disk, path) = (Arc::new(revd_disk::Real::new()), folder.join("store"));
    let options = Options::new(*b"revisions sample");

    let mut store = Store::new(Tree::create(disk.clone(), &path, options.clone())?)?;
    for round in 0..10_000 {
        for name in ["apple", "pear", "plum"] {
            store.put(name, &format!("{name} of round {round}"))?;
        }
    }
    store.tree.publish();
    let reader = store.tree.reader();
    let old = reader.pin();
    let fifth = old.get(key(5))?.ok_or("revision 5 was put")?;
    println!("revision 5 was {}: {}", fifth.head.escape_ascii(), fifth.value()?.escape_ascii());

    println!("{} old versions removed", store.compact()?);
    store.checkpoint("compacted")?;
    // A view does not change, whatever happens to the tree.
    assert!(old.get(key(5))?.is_some());
    assert!(reader.pin().get(key(5))?.is_none());

    drop(old);
    drop(store);
    let (tree, opened) = Tree::open(disk, &path, options)?;
    println!("checkpoint {} {:?}", opened.sequence, tree.note().escape_ascii().to_string());
    let store = Store::new(tree)?;
    let pin_of = store.tree.reader();
    let pin = pin_of.pin();
    for (name, revision) in &store.index {
        let record = pin.get(key(*revision))?.ok_or("the index is of this history")?;
        println!("{}: {}", name.escape_ascii(), record.value()?.escape_ascii());
    }
    Ok(std::fs::remove_dir_all(folder)?)
}
