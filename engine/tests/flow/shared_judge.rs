//! A shared limit as it is judged: what went through it, until when it is frozen, whether it learned.

use sluice_engine::*;

use crate::freeze::Freeze;
use crate::tally::Tally;
use crate::until::untils_are_true;

pub(crate) struct LimitJudge {
    id: QueueId,
    node: NodeSettings,
    tallies: Vec<Tally>,
    /// When a queue came under it last.
    changed: Timestamp,
    freeze: Option<Freeze>,
    /// Whether it was too much, as the engine said, and learns.
    is_adapted: bool,
}

impl LimitJudge {
    pub(crate) fn new(id: QueueId, node: NodeSettings, now: Timestamp) -> LimitJudge {
        let tallies = node.windows.iter().copied().map(Tally::new).collect();
        LimitJudge { id, node, tallies, changed: now, freeze: None, is_adapted: false }
    }

    fn is_adaptive(&self) -> bool {
        self.node.adaptive.unwrap_or(true)
    }

    /// A job goes through, or tokens do, and as many are in flight then.
    pub(crate) fn goes(&mut self, delivery: (JobId, LeaseToken), cost: u64, now: Timestamp) {
        assert_eq!(
            self.freeze.and_then(|freeze| freeze.holds(now)),
            None,
            "{delivery:?} goes though it is frozen"
        );
        for tally in &mut self.tallies {
            assert!(
                !tally.would_exceed(cost, now),
                "{delivery:?} for {cost} at {now:?} is too much: {tally:?}"
            );
            tally.add(delivery, cost, self.changed, now);
        }
    }

    /// Whether so many may be in flight after one more went.
    pub(crate) fn has_room_for(&self, in_flight: usize) -> bool {
        self.node.max_in_flight.is_none_or(|most| in_flight <= most as usize)
    }

    /// A queue comes under it: of what went up to now nobody knows any more whose it was.
    pub(crate) fn take_in(&mut self, now: Timestamp) {
        self.tallies.iter_mut().for_each(Tally::forget_deliveries);
        self.changed = now;
    }

    /// A delivery cost something else than was reserved for it.
    pub(crate) fn settle(
        &mut self,
        (id, token): (JobId, LeaseToken),
        reserved: u64,
        actual: u64,
        now: Timestamp,
    ) {
        for tally in self.tallies.iter_mut().filter(|tally| tally.window.unit == Unit::Cost) {
            match actual.checked_sub(reserved) {
                Some(0) => {}
                Some(more) => tally.add((id, LeaseToken(0)), more, self.changed, now),
                None => tally.refund((id, token), reserved - actual),
            }
        }
    }

    /// A worker says that it was too much for it.
    pub(crate) fn throttle(&mut self, retry_after: Option<Span>, now: Timestamp) {
        // Where it adapts the engine says for how long.
        if !self.is_adaptive() {
            self.freeze = Freeze::said(self.freeze, retry_after, now).or(self.freeze);
        }
    }

    /// What the engine says that an answer did to it.
    pub(crate) fn follow(&mut self, mutation: &Mutation, now: Timestamp) {
        if let Mutation::NodeState { queue, state, .. } = mutation
            && *queue == self.id
        {
            assert!(self.is_adaptive(), "it is not to learn");
            self.freeze = Some(Freeze::learned(self.freeze, state, now));
            self.is_adapted |= state.feedback.as_ref().is_some_and(|feedback| feedback.adaptation.is_some());
        }
    }

    /// Whether something that costs so much may have to wait for it.
    pub(crate) fn may_hold_back(&self, cost: u64, now: Timestamp) -> bool {
        self.is_adapted
            || self.freeze.is_some_and(|freeze| freeze.holds(now).is_some())
            || self.tallies.iter().any(|tally| tally.may_hold_back(cost, now))
    }

    /// The engine says where it stands in the way of a job for so much: all of it, and nothing else.
    pub(crate) fn blocks_are_true(&self, cost: u64, in_flight: usize, blocks: &[Block], now: Now) {
        let blocks: Vec<Block> = blocks.iter().filter(|block| block.limit.is_some()).cloned().collect();
        let of_kind = |kind| blocks.iter().filter(move |block| block.kind == kind);
        assert_eq!(of_kind(BlockKind::InFlight).count(), usize::from(!self.has_room_for(in_flight + 1)));
        let frozen: Vec<_> = of_kind(BlockKind::Frozen).map(|block| block.until).collect();
        let freeze =
            self.freeze.and_then(|freeze| freeze.holds(now.engine)).map(|until| Some(now.wall_at(until)));
        assert_eq!(frozen, freeze.into_iter().collect::<Vec<_>>());
        assert!(self.is_adapted || of_kind(BlockKind::Adapted).next().is_none(), "it learned nothing");
        for kind in [BlockKind::Rate, BlockKind::Quota] {
            let tallies = self.tallies.iter().filter(|tally| match tally.window.kind {
                WindowKind::Rate { .. } => kind == BlockKind::Rate,
                WindowKind::Quota => kind == BlockKind::Quota,
            });
            let must = tallies.clone().filter(|tally| tally.would_exceed(cost, now.engine)).count();
            let may = tallies.filter(|tally| tally.may_hold_back(cost, now.engine)).count();
            let said = of_kind(kind).count();
            assert!(
                (must..=may).contains(&said),
                "{said} of {kind:?} are closed for {cost}, not {must} to {may}: {:?}",
                self.tallies
            );
        }
        untils_are_true(&(self.id, Key::default()), cost, &self.tallies, &blocks, now);
    }
}
