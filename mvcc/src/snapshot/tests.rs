//! Streams whose checksums are right and whose content is not: somebody forged them.

use std::path::Path;
use std::sync::Arc;

use revd_btree::Key;
use revd_disk::Sim;

use super::cell::{Cell, HISTORY};
use super::chunk::{Chunk, Kind, Opening, Stand, blank, seal};
use super::error::{ChunkError, ImportError};
use super::import::Import;
use super::{SNAPSHOT_HEADER_BYTES, fold};
use crate::{LeaseId, Options, Put, Store};

fn options() -> Options {
    let mut options = Options::new([1; 16]);
    options.map_bytes = 1 << 30;
    options
}

fn begin(disk: &Sim) -> Import {
    Import::begin(Arc::new(disk.clone()), Path::new("copy"), options()).unwrap()
}

fn framed(payload: &[u8], kind: Kind, before: Stand) -> Vec<u8> {
    let mut buffer = blank(payload.len());
    buffer.extend_from_slice(payload);
    seal(buffer, kind, before)
}

fn opening(revision: i64, compacted: i64) -> (Vec<u8>, Stand) {
    let opening = Opening { revision, compacted, note: Vec::new() };
    let id = opening.id();
    let stand = Stand { id, cells: 0, hash: id };
    (framed(&opening.encode(), Kind::Opening, stand), stand)
}

/// What a stream of these cells is refused for.
fn refused(cells: &[Cell<'_>]) -> Option<&'static str> {
    let mut import = begin(&Sim::new(1));
    let (first, mut stand) = opening(9, 3);
    import.push(&first).unwrap();
    for cell in cells {
        let mut bytes = Vec::new();
        cell.encode(&mut bytes);
        assert_eq!(bytes.len(), Cell::len(cell.key, cell.head.len(), cell.value.len()));
        match import.push(&framed(&bytes, Kind::Cells, stand)) {
            Ok(()) => {}
            Err(ImportError::Chunk(ChunkError::Malformed { what, .. })) => return Some(what),
            Err(other) => panic!("{other}"),
        }
        stand.hash = fold(stand.hash, &bytes);
        stand.cells += 1;
    }
    match import.push(&framed(&[], Kind::Closing, stand)) {
        Ok(()) => None,
        Err(ImportError::Chunk(ChunkError::Malformed { what, .. })) => Some(what),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn cells_that_no_store_has_are_refused() {
    let put = b"\0\0\x01\0key";
    let record = |main, sub, kind, head| Cell {
        table: HISTORY,
        key: Key { main, sub, kind },
        head,
        value: &b"value"[..],
    };
    let good = record(9, 0, 0, put);
    assert_eq!(refused(&[good]), None);
    let lease = Key { main: 7, sub: 0, kind: 0 };
    let row = |table, key, value| Cell { table, key, head: b"", value };
    assert_eq!(refused(&[row(1, lease, &[0; 16]), row(8, Key::MIN, b""), good]), None);
    let cases = [
        (good, record(9, 0, 0, put), "its key does not rise"),
        (good, record(8, 0, 0, put), "its key does not rise"),
        (good, row(1, lease, &[0; 16]), "its key does not rise"),
        (good, record(10, 0, 0, put), "its revision is not within the snapshot's"),
        (good, record(u64::MAX, 0, 0, put), "its revision is not within the snapshot's"),
        (good, record(9, 1 << 31, 0, put), "sub-revision out of bounds"),
        (good, record(9, 1, 2, put), "unknown kind"),
        (good, record(9, 1, 0, b"\0"), "its head does not decode"),
        (good, record(9, 1, 0, b"\0\0\x01\0"), "its key is empty"),
        (good, record(9, 1, 1, b"\x01\x06"), "its key is longer than what is stored"),
        (good, row(17, Key::MAX, b""), "there is no such table"),
    ];
    for (first, second, reason) in cases {
        assert_eq!(refused(&[first, second]), Some(reason), "{second:?}");
    }
    for table in [0, 2, 7] {
        assert_eq!(refused(&[row(table, Key::MAX, b"")]), Some("there is no such table"));
    }
    let other = Key { kind: 1, ..lease };
    for (key, len) in [(lease, 15), (lease, 17), (other, 16), (Key::MIN, 16)] {
        assert_eq!(refused(&[row(1, key, &[0; 17][..len])]), Some("it is no lease"));
    }
    let headed = Cell { head: b"head", ..row(8, lease, b"") };
    assert_eq!(refused(&[headed]), Some("a row has no head"));
    assert_eq!(refused(&[record(8, 0, 0, put)]), Some("the newest revision is missing"));
    assert_eq!(refused(&[]), Some("the newest revision is missing"));
}

#[test]
fn openings_that_no_store_has_are_refused() {
    for (revision, compacted) in [(0, -1), (-1, -1), (5, 6), (5, -2), (i64::MIN, i64::MAX)] {
        let (first, _) = opening(revision, compacted);
        let error = begin(&Sim::new(1)).push(&first).unwrap_err();
        assert!(error.to_string().contains("contradict"), "{error}");
    }
    let (first, stand) = opening(5, -1);
    let payload = &first[SNAPSHOT_HEADER_BYTES..first.len() - 4];
    let named = Stand { id: stand.id + 1, ..stand };
    for (payload, stand) in [(&payload[..15], stand), (payload, named)] {
        assert!(begin(&Sim::new(1)).push(&framed(payload, Kind::Opening, stand)).is_err());
    }
    let mut import = begin(&Sim::new(1));
    import.push(&first).unwrap();
    for (payload, kind) in [(&b""[..], Kind::Cells), (b"x", Kind::Closing)] {
        let error = import.push(&framed(payload, kind, stand)).unwrap_err();
        assert!(matches!(error, ImportError::Chunk(ChunkError::Malformed { .. })), "{error}");
    }
    let wrong = Stand { hash: stand.hash + 1, ..stand };
    let error = import.push(&framed(b"", Kind::Cells, wrong)).unwrap_err();
    assert!(matches!(error, ImportError::Chunk(ChunkError::Hash { cells: 0, .. })), "{error}");
}

/// Any byte of a real stream, changed by somebody who makes all checksums right again: it is
/// refused, or it is a snapshot of another store, which opens.
#[test]
fn forged_streams_are_refused_or_open() {
    let disk = Sim::new(2);
    let path = Path::new("tree");
    let mut store = Store::create(Arc::new(disk), path, options(), b"").unwrap();
    store.grant(LeaseId(7), 60).unwrap().unwrap();
    for round in 0..3 {
        for key in ["a", "bb", "ccc"] {
            let lease = if round == 1 { 7 } else { 0 };
            let put = Put { key: key.into(), value: "value".into(), lease, ..Put::default() };
            store.put(&put).unwrap().unwrap();
        }
    }
    store.compact(4).unwrap().unwrap();
    let mut export = store.export(b"").unwrap();
    let first = export.next_chunk(1 << 20).unwrap().unwrap();
    let cells = export.next_chunk(1 << 20).unwrap().unwrap();
    let chunk = Chunk::open(&cells).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for at in 0..chunk.payload.len() {
        for change in [1, 0x40, 0x80, 0xff] {
            let mut payload = chunk.payload.to_vec();
            payload[at] ^= change;
            let disk = Sim::new(3);
            let mut import = begin(&disk);
            import.push(&first).unwrap();
            let taken = import.push(&framed(&payload, Kind::Cells, chunk.before));
            let stand = import.position().map(|position| Stand {
                id: position.id,
                cells: position.cells,
                hash: position.hash,
            });
            let ended = taken.is_ok()
                && stand
                    .is_some_and(|stand| import.push(&framed(b"", Kind::Closing, stand)).is_ok());
            if !ended {
                refused += 1;
                continue;
            }
            import.finish(b"").unwrap().install().unwrap();
            let copy = Store::open(Arc::new(disk), Path::new("copy"), options());
            copy.unwrap().0.view().hash_kv(0).unwrap();
            opened += 1;
        }
    }
    assert!(opened > 50 && refused > 50, "{opened} opened, {refused} refused");
}
