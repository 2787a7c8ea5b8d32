//! Whatever happens to chunks on their way, an import refuses them, and then goes on with the
//! right ones.

use revd_mvcc::{ChunkError, Import, ImportError};

use crate::world::{Random, begin, install};
use crate::{seeds, small};

fn refused(import: &mut Import, bytes: &[u8]) -> ChunkError {
    match import.push(bytes) {
        Err(ImportError::Chunk(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Each bit of the short chunks, and each byte of the others, in its place in the stream.
#[test]
fn any_changed_bit_is_found() {
    let (world, frozen, chunks) = small(9, 300);
    let mut import = begin(&world.disk);
    let mut tried = 0;
    for chunk in &chunks {
        let mut damaged = chunk.clone();
        let all = chunk.len() < 200;
        for at in 0..chunk.len() {
            for bit in (0..8).filter(|bit| all || at % 8 == *bit) {
                damaged[at] ^= 1 << bit;
                refused(&mut import, &damaged);
                damaged[at] ^= 1 << bit;
                tried += 1;
            }
        }
        import.push(chunk).unwrap();
    }
    assert!(tried > 10_000, "{tried}");
    frozen.check(&install(import.finish(b"").unwrap(), &world.disk));
}

#[test]
fn any_cut_and_any_growth_is_found() {
    let (world, frozen, chunks) = small(9, 300);
    let mut import = begin(&world.disk);
    for chunk in &chunks {
        for len in 0..chunk.len() {
            let error = refused(&mut import, &chunk[..len]);
            assert!(matches!(error, ChunkError::Length { .. }), "{error}");
        }
        let error = refused(&mut import, &[&chunk[..], b"\0"].concat());
        assert!(matches!(error, ChunkError::Length { .. }), "{error}");
        import.push(chunk).unwrap();
    }
    frozen.check(&install(import.finish(b"").unwrap(), &world.disk));
}

/// At each step every other chunk of the stream, and those of another snapshot, are offered first.
#[test]
fn missing_repeated_reordered_and_foreign_chunks_are_refused() {
    for seed in seeds(6) {
        let (world, frozen, chunks) = small(seed, 400);
        let (_, _, others) = small(seed + 1_000, 400);
        let mut import = begin(&world.disk);
        for (at, chunk) in chunks.iter().enumerate() {
            for (other, wrong) in chunks.iter().enumerate().filter(|(other, _)| *other != at) {
                let error = refused(&mut import, wrong);
                let is_order = matches!(error, ChunkError::OutOfOrder { .. });
                assert!(is_order, "{other} in place of {at}: {error}");
            }
            for foreign in others.iter().skip(usize::from(at == 0)) {
                let error = refused(&mut import, foreign);
                let is_told = match error {
                    ChunkError::OtherSnapshot { .. } => at > 0,
                    ChunkError::OutOfOrder { expected: 0, .. } => at == 0,
                    _ => false,
                };
                assert!(is_told, "{error}");
            }
            import.push(chunk).unwrap();
        }
        for chunk in &chunks {
            assert_eq!(refused(&mut import, chunk), ChunkError::Ended);
        }
        frozen.check(&install(import.finish(b"").unwrap(), &world.disk));
    }
}

/// The same snapshot by name, cut elsewhere: only what joins is taken, and the end is the same.
#[test]
fn streams_that_are_cut_differently_mix_only_where_they_join() {
    for seed in seeds(10) {
        let (mut world, frozen, small) = small(seed, 200);
        let mut export = world.store.export(b"the note").unwrap();
        let large = crate::chunks(&mut export, 900);
        drop(export);
        let mut random = Random::new(seed);
        let mut import = begin(&world.disk);
        while !import.is_complete() {
            let from = if random.below(2) == 0 { &small } else { &large };
            let any = &from[random.below(from.len() as u64) as usize];
            // Most are refused; whatever is taken is right.
            match import.push(any) {
                Ok(()) | Err(ImportError::Chunk(ChunkError::OutOfOrder { .. })) => {}
                Err(error) => panic!("SEED={seed}: {error}"),
            }
        }
        frozen.check(&install(import.finish(b"").unwrap(), &world.disk));
    }
}

#[test]
fn an_incomplete_snapshot_cannot_be_finished() {
    let (world, _, chunks) = small(9, 300);
    for taken in 0..chunks.len() {
        let mut import = begin(&world.disk);
        // An earlier round's chunks are not durable: the import begins anew.
        assert_eq!(import.position(), None);
        chunks[..taken].iter().for_each(|chunk| import.push(chunk).unwrap());
        assert!(matches!(import.finish(b""), Err(ImportError::Unfinished { .. })));
    }
}
