//! Each engine applies what it is given, everywhere, and finds a new leader.

use super::{CLUSTERS, KEPT, Payloads};

const BYTES: usize = 256;

#[test]
fn every_replica_applies_every_proposal() {
    for engine in CLUSTERS {
        let mut cluster = (engine.start)().unwrap();
        let mut payloads = Payloads::new(BYTES);
        for (outstanding, rounds) in [(1, 100), (16, 20), (1024, 3)] {
            cluster.pump(&mut payloads, outstanding, rounds).unwrap();
        }
        // Beyond what is kept in memory.
        cluster.pump(&mut payloads, 100, KEPT / 10).unwrap();
        let proposed = (100 + 320 + 3 * 1024 + 100 * (KEPT / 10)) as u64;
        let tally = cluster.settle().unwrap();
        assert_eq!(tally.applied, [proposed; 3], "{}", engine.name);
        assert_eq!(tally.copied, 0, "{}", engine.name);
    }
}

#[test]
fn a_leader_is_found_and_found_again() {
    for engine in CLUSTERS {
        let Some(elect) = engine.elect else { continue };
        for number in 0..10 {
            let elections = elect(number).unwrap();
            assert!(elections.cold.messages > 0, "{}", engine.name);
            assert!(elections.lost.millis > 0, "{}", engine.name);
        }
    }
}

#[test]
fn payloads_lie_in_their_buffer() {
    let mut payloads = Payloads::new(BYTES);
    let origin = payloads.origin();
    assert!((0..5000).all(|_| origin.holds(&payloads.take())));
    assert!(!origin.holds(&bytes::Bytes::copy_from_slice(&payloads.take())));
}
