use std::collections::BTreeMap;

use super::super::column::{LEAF_MAX, Plain};
use super::*;

#[derive(Clone, Debug, PartialEq)]
struct Number(u64);

impl Plain for Number {
    fn weight(&self) -> Weight {
        Weight { live: self.0 % 2, spare: self.0 / 2 % 3 }
    }
}

/// A small generator, so that a failure is repeated by its seed alone.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % below
    }
}

fn compare(map: &Map<Vec<Number>>, model: &BTreeMap<Vec<u8>, u64>) {
    map.assert_sound();
    let found: Vec<_> = map.range(b"", None).map(|(key, e)| (key.to_vec(), e.0)).collect();
    let expected: Vec<_> = model.iter().map(|(key, number)| (key.clone(), *number)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_map_behaves_like_a_sorted_list_and_clones_never_change() {
    for seed in 0..20 {
        let mut random = Seeded(seed);
        let mut map = Map::<Vec<Number>>::default();
        let mut model = BTreeMap::new();
        let mut clones = Vec::new();
        let width = [50, 3_000][seed as usize % 2];
        for step in 0..3_000u64 {
            let key = random.next(width).to_string().into_bytes();
            if random.next(3) == 0 {
                let expected = model.remove(&key).is_some();
                assert_eq!(map.remove(&key), expected, "seed {seed} step {step}");
            } else {
                let is_new = map.insert(&key, Number(step));
                assert_eq!(is_new, model.insert(key.clone(), step).is_none());
            }
            let probe = random.next(width).to_string().into_bytes();
            assert_eq!(map.get(&probe).map(|n| n.0), model.get(&probe).copied());
            let end = random.next(width).to_string().into_bytes();
            let live = |n: &u64| n % 2;
            let expected: u64 = if probe < end {
                model.range(probe.clone()..end.clone()).map(|(_, n)| live(n)).sum()
            } else {
                0
            };
            assert_eq!(map.count(&probe, Some(&end)), expected, "seed {seed} step {step}");
            if random.next(500) == 0 {
                clones.push((map.clone(), model.clone()));
            }
        }
        for (map, model) in &clones {
            compare(map, model);
        }
        compare(&map, &model);
        for key in model.keys() {
            map.remove(key);
        }
        compare(&map, &BTreeMap::new());
    }
}

#[test]
fn keys_in_order_fill_their_leaves() {
    let mut map = Map::<Vec<Number>>::default();
    for number in 0..10_000u64 {
        map.insert(&number.to_be_bytes(), Number(1));
    }
    map.assert_sound();
    let mut leaves = 0;
    let mut cursor = map.range(b"", None);
    while cursor.next_leaf().is_some() {
        leaves += 1;
    }
    assert!(leaves < 10_000 / LEAF_MAX + 2, "{leaves} leaves");
}

#[test]
fn long_keys_do_not_share_a_leaf() {
    let mut map = Map::<Vec<Number>>::default();
    for number in 0..50u64 {
        let mut key = vec![b'x'; 6_000];
        key.extend(number.to_be_bytes());
        map.insert(&key, Number(number));
    }
    map.assert_sound();
    assert_eq!(map.range(b"", None).count(), 50);
    let Node::Inner(root) = &*map.root else { panic!("one leaf holds everything") };
    assert!(root.children.len() > 1);
}

#[test]
fn a_walk_for_what_is_spare_skips_the_rest() {
    let mut map = Map::<Vec<Number>>::default();
    for number in 0..5_000u64 {
        map.insert(&number.to_be_bytes(), Number(if number == 4_000 { 3 } else { 1 }));
    }
    let (mut visited, mut found) = (0, Vec::new());
    map.visit_spare(b"", &mut |key, entry| {
        visited += 1;
        if entry.weight().spare > 0 {
            found.push(key.to_vec());
        }
        true
    });
    assert_eq!(found, [4_000u64.to_be_bytes().to_vec()]);
    assert!(visited <= LEAF_MAX, "{visited} entries visited");
    let mut visited = 0;
    map.visit_spare(&4_500u64.to_be_bytes(), &mut |_, _| {
        visited += 1;
        true
    });
    assert_eq!(visited, 0);
}

#[test]
fn a_walk_for_what_is_live_passes_over_the_rest() {
    let mut map = Map::<Vec<Number>>::default();
    for number in 0..5_000u64 {
        map.insert(&number.to_be_bytes(), Number(if number == 4_000 { 1 } else { 2 }));
    }
    let key = 4_000u64.to_be_bytes();
    let seen: Vec<_> = map.range_live(b"", None).map(|(key, _)| key.to_vec()).collect();
    assert!(seen.contains(&key.to_vec()) && seen.len() <= 2 * LEAF_MAX, "{} seen", seen.len());
    let end = 3_000u64.to_be_bytes();
    assert!(map.range_live(b"", Some(&end)).count() <= LEAF_MAX);
    assert_eq!(map.range(b"", Some(&end)).count(), 3_000);
}
