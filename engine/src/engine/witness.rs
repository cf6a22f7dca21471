//! Whose fault it is when the downstream says "too much": the key's, or that of a node above it. When children of a node that
//! went well are told off at the same moment, it was too much for the node.

use std::collections::{BTreeSet, VecDeque};

use crate::bound::{
    MAX_WITNESSES, MIN_PROVEN_WITNESSES, MIN_WITNESSES, MIN_WITNESSES_AGAINST_A_RATE, WITNESS_SHARE,
    WITNESS_WINDOW,
};
use crate::ledger::flow::{Last, Spot};
use crate::time::Timestamp;

/// Children that were told off within the last moment. No fact: a restart forgets them.
#[derive(Default)]
pub(crate) struct Witnesses {
    all: VecDeque<Witness>,
}

/// A child that was told off.
struct Witness {
    time: Timestamp,
    parent: Spot,
    child: Spot,
    /// Whether its last answer before was a good one.
    is_proven: bool,
}

/// A node that they may speak against.
#[derive(Clone, Copy)]
pub(crate) struct Accused {
    pub(crate) spot: Spot,
    /// Whether somebody set its rate.
    pub(crate) has_rate: bool,
    /// Answers of late from below it.
    pub(crate) answers: u32,
}

impl Witnesses {
    /// A child of a node is told off, whose last answer before was this. One that was told off before and has had no good
    /// answer since says nothing: it may be closed for reasons of its own.
    pub(crate) fn hear(&mut self, parent: Spot, child: Spot, last: Last, now: Timestamp) {
        while self.all.front().is_some_and(|first| now.since(first.time) > WITNESS_WINDOW) {
            self.all.pop_front();
        }
        if last != Last::Throttled {
            if self.all.len() >= MAX_WITNESSES {
                self.all.pop_front();
            }
            self.all.push_back(Witness { time: now, parent, child, is_proven: last == Last::Good });
        }
    }

    /// Whether it was too much for this node. Then they are heard no more.
    pub(crate) fn convict(&mut self, accused: Accused) -> bool {
        let against = |witness: &&Witness| witness.parent == accused.spot;
        let children = |is_wanted: fn(&&Witness) -> bool| -> usize {
            let wanted = self.all.iter().filter(against).filter(is_wanted);
            wanted.map(|witness| witness.child).collect::<BTreeSet<_>>().len()
        };
        let (proven, all) = (children(|witness| witness.is_proven), children(|_| true));
        let enough = if accused.has_rate { MIN_WITNESSES_AGAINST_A_RATE } else { MIN_WITNESSES };
        let is_share = |witnesses: usize| witnesses * WITNESS_SHARE >= accused.answers as usize;
        let is_guilty =
            (proven >= MIN_PROVEN_WITNESSES && is_share(proven)) || (all >= enough && is_share(all));
        if is_guilty {
            self.all.retain(|witness| witness.parent != accused.spot);
        }
        is_guilty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::QueueId;
    use crate::ledger::keys::KeyId;

    const QUEUE: Spot = Spot { queue: QueueId(1), key: KeyId::NONE };

    /// Whether so many children, told off at these times, are enough.
    fn is_guilty(has_rate: bool, answers: u32, heard: &[(usize, Last, u64)]) -> bool {
        let mut witnesses = Witnesses::default();
        let mut convicted = false;
        for (child, last, millis) in heard {
            let now = Timestamp(millis * 1_000_000);
            witnesses.hear(QUEUE, Spot { key: KeyId::at(*child), ..QUEUE }, *last, now);
            convicted |= witnesses.convict(Accused { spot: QUEUE, has_rate, answers });
        }
        convicted
    }

    #[test]
    fn two_that_went_well_and_are_told_off_at_once_are_enough() {
        let at = |millis| [(1, Last::Good, 0), (2, Last::Good, millis)];
        assert!(is_guilty(true, 100, &at(1_000)));
        assert!(!is_guilty(true, 100, &at(1_001)), "not at once");
        assert!(!is_guilty(true, 101, &at(0)), "too few of many answers");
        assert!(!is_guilty(true, 9, &[(1, Last::Good, 0), (1, Last::Good, 1)]), "one child");
        assert!(!is_guilty(true, 9, &[(1, Last::Good, 0), (2, Last::Throttled, 1)]), "closed by itself");
    }

    #[test]
    fn those_of_which_nothing_is_known_must_be_more() {
        let unknown = |count| (0..count).map(|child| (child, Last::Unknown, 0)).collect::<Vec<_>>();
        assert!(is_guilty(false, 9, &unknown(3)) && !is_guilty(false, 9, &unknown(2)));
        assert!(is_guilty(true, 30, &unknown(16)) && !is_guilty(true, 30, &unknown(15)));
    }
}
