//! A store that is replaced as a whole: those who read and watch it go on with the other.

use std::task::{Poll, Waker};

use revd_mvcc::{ExportError, Store, Watch, WatchOptions, WatchResponse, WatchStream};

use crate::wire;
use crate::world::{Frozen, World, begin, install};
use crate::{chunks, seeds};

/// What the world's store holds now, in the place of the copy.
fn copy(world: &mut World) -> (Store, Frozen) {
    let frozen = world.freeze();
    let mut export = world.store.export(b"").unwrap();
    let mut import = begin(&world.disk);
    chunks(&mut export, 5_000).iter().for_each(|chunk| import.push(chunk).unwrap());
    (install(import.finish(b"").unwrap(), &world.disk), frozen)
}

fn watch(store: &Store, start_revision: i64) -> WatchStream {
    let stream = store.hub().stream(WatchOptions::default());
    let everything = ("\0".into(), "\0".into());
    let (key, range_end) = everything;
    stream.create(Watch { key, range_end, start_revision, ..Watch::default() });
    stream
}

fn drain(stream: &WatchStream) -> Vec<WatchResponse> {
    let mut responses = Vec::new();
    // A read of history may end before its first event; then the stream wakes itself.
    let mut idle = 0;
    while idle < 100 {
        match stream.poll_next(Waker::noop()) {
            Poll::Ready(response) => responses.push(response.unwrap()),
            Poll::Pending => idle += 1,
        }
    }
    responses
}

fn revisions(responses: &[WatchResponse]) -> Vec<i64> {
    let events = responses.iter().flat_map(|response| &response.events);
    events.map(|event| wire::event(event).1.mod_revision).collect()
}

/// The revisions of the changes behind `from`, each as often as it has changes.
fn history(store: &Store, from: i64) -> Vec<i64> {
    revisions(&drain(&watch(store, from)))
}

#[test]
fn readers_and_watchers_go_on_with_the_store_that_takes_the_place() {
    let mut ended = 0;
    for seed in seeds(40) {
        let mut world = World::new(seed);
        world.steps(80);
        let (mut store, _) = copy(&mut world);
        let (view, before) = (store.view(), store.revision().0);
        let live = watch(&store, 0);
        let later = watch(&store, before + 40);
        assert_eq!(drain(&live).len() + drain(&later).len(), 2);
        let mut export = store.export(b"").unwrap();
        export.next_chunk(100).unwrap().expect("an opening");

        world.steps(100);
        let (other, frozen) = copy(&mut world);
        drop(store.replace(other));
        frozen.check(&store);
        assert_eq!(view.revision(), store.revision());
        assert_eq!(view.hash_kv(0).unwrap(), store.view().hash_kv(0).unwrap());
        assert!(matches!(export.next_chunk(100), Err(ExportError::Released)), "another's history");

        for (stream, next) in [(&live, before + 1), (&later, before + 40)] {
            let responses = drain(stream);
            if next < store.compacted() {
                let last = responses.last().expect("it is told");
                assert!(last.canceled && last.compact_revision == store.compacted());
                assert_eq!(revisions(&responses), [0; 0]);
                ended += 1;
                continue;
            }
            assert_eq!(revisions(&responses), history(&store, next), "from {next}");
            if next <= store.revision().0 + 1 {
                let put = revd_mvcc::Put { key: "new".into(), ..Default::default() };
                store.put(&put).unwrap().unwrap();
                store.publish();
                assert_eq!(revisions(&drain(stream)), [store.revision().0]);
            }
        }
    }
    assert!(ended > 0 || std::env::var_os("SEED").is_some(), "no floor has passed a watcher");
}
