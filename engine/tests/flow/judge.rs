//! What must hold after every step.

use std::collections::{BTreeMap, BTreeSet};

use sluice_engine::*;

use crate::node::{Spot, way};
use crate::until::untils_are_true;
use crate::world::{Known, World};

/// READY jobs that nothing tells apart: their key, cost and priority, and whether they bypass limits.
type Kind = (Key, u64, u8, bool);

/// READY jobs of a queue by kind, and what the engine says stands in their way.
pub(crate) struct Outlook<'a> {
    world: &'a World,
    queue: QueueId,
    now: Now,
    kinds: BTreeSet<Kind>,
    /// Those of which one is the first of its key and priority.
    firsts: BTreeSet<Kind>,
    blocks: BTreeMap<(Key, u64, bool), Vec<Block>>,
}

impl<'a> Outlook<'a> {
    pub(crate) fn new(world: &'a World, engine: &Engine, queue: QueueId, now: Now) -> Outlook<'a> {
        let (mut kinds, mut blocks) = (BTreeSet::new(), BTreeMap::new());
        let mut lanes = BTreeMap::<(Key, u8), (u64, Kind)>::new();
        for (id, job) in world.ready(queue) {
            let ask = || engine.job(id, now).unwrap().blocks;
            blocks.entry((job.key.clone(), job.cost, job.bypass_limits)).or_insert_with(ask);
            let kind = (job.key.clone(), job.cost, job.priority, job.bypass_limits);
            let lane = lanes.entry((job.key.clone(), job.priority)).or_insert((job.sequence, kind.clone()));
            if job.sequence < lane.0 {
                *lane = (job.sequence, kind.clone());
            }
            kinds.insert(kind);
        }
        let firsts = lanes.into_values().map(|(_, kind)| kind).collect();
        Outlook { world, queue, now, kinds, firsts, blocks }
    }

    /// The engine says what stands in the way: all of it, and nothing else.
    pub(crate) fn blocks_are_true(&self) {
        for ((key, cost, bypasses), blocks) in &self.blocks {
            let mut known: Vec<(BlockKind, Key, Option<WallTime>)> = Vec::new();
            for spot in way(self.queue, key) {
                if self.world.is_taken(&spot) {
                    let is_ordered = self.world.node(&spot).is_some_and(|node| node.ordered);
                    let kind = if is_ordered { BlockKind::Ordered } else { BlockKind::InFlight };
                    known.push((kind, spot.1.clone(), None));
                }
                if let Some(until) = self.world.frozen_until(&spot, self.now.engine) {
                    known.push((BlockKind::Frozen, spot.1.clone(), Some(self.now.wall_at(until))));
                }
                known.extend(self.world.breaker_block(&spot, self.now));
                self.windows_are_true(&spot, *cost, self.passes(key, *bypasses), blocks);
                let is_adapted = |block: &Block| block.kind == BlockKind::Adapted && block.key == spot.1;
                assert!(
                    self.world.may_be_adapted(&spot) || !blocks.iter().any(is_adapted),
                    "{spot:?} learned a rate though nobody said THROTTLED there, or it is not to learn"
                );
            }
            if self.world.settings[&self.queue].paused {
                known.push((BlockKind::Paused, Key::default(), None));
            }
            let said = blocks.iter().filter(|block| !is_window(block));
            let said: Vec<_> = said.map(|block| (block.kind, block.key.clone(), block.until)).collect();
            assert_eq!(said, known, "blocks of a job of {key:?} for {cost}");
        }
    }

    /// Windows are closed where one more were too much, and where they may hold it back, and nowhere else.
    fn windows_are_true(&self, spot: &Spot, cost: u64, passes: Option<bool>, blocks: &[Block]) {
        let tallies = self.world.tallies(spot);
        for kind in [BlockKind::Rate, BlockKind::Quota] {
            let said = blocks.iter().filter(|block| block.kind == kind && block.key == spot.1).count();
            let of_kind = tallies.iter().filter(|tally| match tally.window.kind {
                WindowKind::Rate { .. } => kind == BlockKind::Rate,
                WindowKind::Quota => kind == BlockKind::Quota,
            });
            let now = self.now.engine;
            let must = of_kind.clone().filter(|tally| tally.would_exceed(cost, now)).count();
            let may = of_kind.filter(|tally| tally.may_hold_back(cost, now)).count();
            let must = if passes == Some(false) { must } else { 0 };
            let may = if passes == Some(true) { 0 } else { may };
            assert!(
                (must..=may).contains(&said),
                "{said} of {kind:?} close {spot:?} for {cost} at {now:?}, not {must} to {may}: {tallies:?}"
            );
        }
        untils_are_true(spot, cost, &tallies, blocks, self.now);
    }

    /// Whether windows let jobs of a key through whatever went before; none: nobody can know.
    fn passes(&self, key: &Key, bypasses: bool) -> Option<bool> {
        if bypasses { self.world.lets_bypass(self.queue, key, self.now.engine) } else { Some(false) }
    }

    /// Nothing is left that may go.
    pub(crate) fn is_exhausted(&self) {
        if let Some(kind) = self.free().next() {
            panic!("a job of {kind:?} may go, and does not");
        }
    }

    /// Nothing is left that may go and is more urgent than what went.
    pub(crate) fn has_nothing_above(&self, went: u8) {
        let mut passed = self.free().filter(|(_, _, priority, _)| *priority > went);
        assert_eq!(passed.next(), None, "a job of priority {went} passed it");
    }

    /// The engine is to be woken when the next job may go, if its time is known.
    pub(crate) fn is_awaited(&self, next_wake: Option<Timestamp>) {
        for kind in self.kinds.iter().filter(|kind| !self.is_behind(kind)) {
            let untils = self.blocks_of(kind).iter().map(|block| block.until);
            let Some(opens) = untils.collect::<Option<Vec<_>>>().and_then(|untils| untils.into_iter().max())
            else {
                continue;
            };
            let opens = self.now.engine + opens.since(self.now.wall);
            assert!(
                next_wake.is_some_and(|time| time <= opens),
                "a job of {kind:?} may go at {opens:?}, and the engine sleeps until {next_wake:?}"
            );
        }
    }

    /// Kinds that may go.
    fn free(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.iter().filter(|kind| self.blocks_of(kind).is_empty() && !self.is_behind(kind))
    }

    fn blocks_of(&self, (key, cost, _, bypasses): &Kind) -> &[Block] {
        &self.blocks[&(key.clone(), *cost, *bypasses)]
    }

    /// Whether a node on its way may be kept for a dearer job: the first of its key and priority, one that is no less
    /// urgent, and for which this is the deepest closed one.
    fn is_behind(&self, kind: &Kind) -> bool {
        let (key, cost, priority, bypasses) = kind;
        if *bypasses && !self.blocks_of(kind).iter().any(is_window) {
            // It stands in a line of its own.
            return false;
        }
        let ages = self.world.settings[&self.queue].priority_ageing != Span::ZERO;
        let is_kept_for = |dear: &Kind| {
            let first = self.blocks_of(dear).first();
            let is_on_its_way = first.is_some_and(|block| is_window(block) && key.is_under(&block.key));
            dear.1 > *cost && (dear.2 >= *priority || ages) && is_on_its_way
        };
        self.firsts.iter().any(is_kept_for)
    }
}

/// The engine knows of every job what is known here.
pub(crate) fn jobs_are_known(world: &World, engine: &Engine) {
    let ids = engine.ledger().ids(0..=u64::MAX, usize::MAX);
    assert!(ids.iter().eq(world.jobs.keys()), "jobs that exist");
    for (id, job) in world.jobs.iter().filter(|(_, job)| !job.state.is_at_rest()) {
        let record = engine.ledger().record(*id).unwrap();
        let seen = Known {
            queue: record.queue,
            key: record.key,
            priority: record.priority.get(),
            cost: job.cost,
            bypass_limits: job.bypass_limits,
            state: record.state,
            sequence: record.sequence,
            attempts: record.attempts,
            deliveries: record.deliveries,
            leased_at: match record.state {
                JobState::Leased => record.detail.and_then(|detail| detail.charged).unwrap_or_default(),
                _ => Timestamp(0),
            },
        };
        assert_eq!(&seen, job, "job {id}");
    }
}

fn is_window(block: &Block) -> bool {
    matches!(block.kind, BlockKind::Rate | BlockKind::Quota | BlockKind::Adapted)
}
