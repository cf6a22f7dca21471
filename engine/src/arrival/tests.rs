//! By hand, at scale, and against a sorted set.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// What the tree consists of. Panics where it contradicts itself.
#[derive(Debug, Default)]
struct Shape {
    height: usize,
    blocks: usize,
    bytes: usize,
}

fn shape(arrivals: &Arrivals) -> Shape {
    let mut shape = Shape::default();
    if let Some(root) = &arrivals.root {
        shape.bytes = size_of::<Child>();
        shape.height = measure(root, &mut shape);
    }
    shape
}

fn measure(child: &Child, shape: &mut Shape) -> usize {
    match &child.body {
        Body::Block(block) => {
            assert_eq!(block.len() as u64, child.count);
            assert!(child.count > 0 && block.first().unwrap() >= child.least);
            shape.blocks += 1;
            shape.bytes += block.bytes();
            1
        }
        Body::Branch(children) => {
            assert!(!children.is_empty() && children.len() <= MAX_CHILDREN);
            assert_eq!(children.iter().map(|child| child.count).sum::<u64>(), child.count);
            assert!(children[0].least >= child.least);
            assert!(children.windows(2).all(|pair| pair[0].least < pair[1].least));
            shape.bytes += children.capacity() * size_of::<Child>();
            let heights: Vec<usize> = children.iter().map(|child| measure(child, shape)).collect();
            assert!(heights.iter().all(|height| *height == heights[0]), "{heights:?}");
            heights[0] + 1
        }
    }
}

/// The numbers below `count`, each once, in an order without a pattern.
fn scattered(count: u64) -> impl Iterator<Item = u64> {
    const PRIME: u64 = 2_654_435_761;
    (0..count).map(move |i| i * PRIME % count)
}

#[test]
fn rank_is_how_many_are_lower() {
    let mut arrivals = Arrivals::default();
    for sequence in [5, 9, 2, 700, 1 << 40] {
        assert!(arrivals.insert(sequence));
    }
    assert!(!arrivals.insert(9));
    assert_eq!((arrivals.len(), arrivals.first()), (5, Some(2)));
    for (sequence, rank) in [(0, 0), (2, 0), (3, 1), (9, 2), (701, 4), (1 << 40, 4), (u64::MAX, 5)] {
        assert_eq!(arrivals.rank(sequence), rank, "of {sequence}");
    }
    assert!(arrivals.remove(2) && !arrivals.remove(2));
    assert_eq!((arrivals.first(), arrivals.rank(700)), (Some(5), 2));
}

#[test]
fn empty_one_is_eight_bytes_and_all_zero() {
    let mut arrivals = Arrivals::default();
    assert_eq!(size_of::<Arrivals>(), 8);
    assert_eq!((arrivals.len(), arrivals.first(), arrivals.rank(7), arrivals.remove(7)), (0, None, 0, false));
    arrivals.insert(7);
    arrivals.remove(7);
    assert!(arrivals.root.is_none());
}

#[test]
fn million_in_order_costs_little_more_than_four_bytes_each() {
    let mut arrivals = Arrivals::default();
    for i in 0..1_000_000 {
        arrivals.insert(i * 1_000);
    }
    let shape = shape(&arrivals);
    assert!(shape.bytes <= 4_500_000 && shape.height <= 4, "{shape:?}");
    assert_eq!(arrivals.rank(500_000_001), 500_001);
}

#[test]
fn million_without_order_cost_at_most_eight_bytes_each() {
    let mut arrivals = Arrivals::default();
    for sequence in scattered(1_000_000) {
        assert!(arrivals.insert(sequence));
    }
    let shape = shape(&arrivals);
    assert!(shape.bytes <= 8_000_000 && shape.height <= 5, "{shape:?}");
    assert!((0..1_000_000).step_by(997).all(|sequence| arrivals.rank(sequence) == sequence));
}

#[test]
fn one_that_is_stuck_keeps_nothing_else() {
    let mut arrivals = Arrivals::default();
    arrivals.insert(0);
    for sequence in 1..1_000_000 {
        arrivals.insert(sequence);
        if sequence > 1_000 {
            arrivals.remove(sequence - 1_000);
        }
    }
    let shape = shape(&arrivals);
    assert!(shape.blocks <= 5 && shape.height <= 3 && shape.bytes <= 16 << 10, "{shape:?}");
    assert_eq!(arrivals.rank(999_999), 1_000);
}

#[test]
fn few_that_stay_give_back_the_room_of_those_that_went() {
    let mut arrivals = Arrivals::default();
    for sequence in 0..512_000 {
        arrivals.insert(sequence);
    }
    for sequence in scattered(512_000).filter(|sequence| sequence % 100 != 0) {
        assert!(arrivals.remove(sequence));
    }
    let shape = shape(&arrivals);
    assert!(shape.bytes as u64 <= 64 * arrivals.len(), "{shape:?}");
    for sequence in (0..512_000).step_by(100) {
        assert_eq!(arrivals.first(), Some(sequence));
        arrivals.remove(sequence);
    }
    assert!(arrivals.root.is_none());
}

#[derive(Clone, Debug)]
enum Step {
    /// So many, from the highest on, so far apart.
    Arrive(u16, u32),
    /// One that left comes back.
    Return(Index),
    Insert(u64),
    /// So many from the front on.
    Leave(u16),
    Remove(Index),
    Rank(u64),
}

/// Near zero, around the places where the upper half changes, and anywhere.
fn sequence() -> impl Strategy<Value = u64> {
    let edge = (0..4_u64, -600..600_i64).prop_map(|(upper, off)| (upper << 32).saturating_add_signed(off));
    prop_oneof![0..3_000_u64, edge, any::<u64>()]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..700_u16, 1..5_u32).prop_map(|(count, gap)| Step::Arrive(count, gap)),
        1 => (1..50_u16, any::<u32>()).prop_map(|(count, gap)| Step::Arrive(count, gap)),
        4 => any::<Index>().prop_map(Step::Return),
        2 => sequence().prop_map(Step::Insert),
        3 => (1..700_u16).prop_map(Step::Leave),
        4 => any::<Index>().prop_map(Step::Remove),
        4 => sequence().prop_map(Step::Rank),
    ]
}

proptest! {
    #[test]
    fn arrivals_do_what_a_sorted_set_does(steps in vec(step(), 1..200)) {
        let mut arrivals = Arrivals::default();
        let mut model: BTreeSet<u64> = BTreeSet::new();
        let mut gone: Vec<u64> = Vec::new();
        for step in steps {
            match step {
                Step::Arrive(count, gap) => {
                    for _ in 0..count {
                        let next = model.last().map_or(0, |last| last.saturating_add(gap.into()));
                        prop_assert_eq!(arrivals.insert(next), model.insert(next));
                    }
                }
                Step::Return(index) if !gone.is_empty() => {
                    let sequence = gone.swap_remove(index.index(gone.len()));
                    prop_assert_eq!(arrivals.insert(sequence), model.insert(sequence));
                }
                Step::Insert(sequence) => prop_assert_eq!(arrivals.insert(sequence), model.insert(sequence)),
                Step::Leave(count) => {
                    for _ in 0..count {
                        let Some(first) = model.pop_first() else { break };
                        prop_assert!(arrivals.remove(first));
                        gone.push(first);
                    }
                }
                Step::Remove(index) if !model.is_empty() => {
                    let sequence = *model.iter().nth(index.index(model.len())).unwrap();
                    model.remove(&sequence);
                    prop_assert!(arrivals.remove(sequence));
                    prop_assert!(!arrivals.remove(sequence));
                    gone.push(sequence);
                }
                Step::Rank(sequence) => {
                    prop_assert_eq!(arrivals.rank(sequence), model.range(..sequence).count() as u64);
                }
                Step::Return(_) | Step::Remove(_) => {}
            }
            prop_assert_eq!(arrivals.len(), model.len() as u64);
            prop_assert_eq!(arrivals.first(), model.first().copied());
            shape(&arrivals);
        }
        for (rank, sequence) in model.iter().enumerate() {
            prop_assert_eq!(arrivals.rank(*sequence), rank as u64);
        }
    }

    #[test]
    fn all_may_return_in_any_order(count in 1..20_000_u64) {
        let mut arrivals = Arrivals::default();
        let sequences: BTreeSet<u64> = scattered(count).collect();
        for sequence in scattered(count) {
            arrivals.insert(sequence);
        }
        shape(&arrivals);
        prop_assert_eq!(arrivals.len(), sequences.len() as u64);
        for (rank, sequence) in sequences.into_iter().enumerate() {
            prop_assert_eq!(arrivals.rank(sequence), rank as u64);
        }
    }
}
