//! What examples are shown with: jobs, limits, and a driver that knows no rule.

use std::ops::{Deref, DerefMut};

use sluice_engine::*;

use crate::driver::Driver;
pub(crate) use crate::driver::queue;
use crate::node::key;

pub(crate) const SECOND: Span = Span::from_secs(1);

/// A driver of one queue, with what examples ask of it.
pub(crate) struct Stage(Driver);

/// A job in hand.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) id: JobId,
    pub(crate) token: LeaseToken,
    pub(crate) key: String,
}

pub(crate) fn job(text: &str) -> JobSpec {
    JobSpec { key: key(text), ..JobSpec::default() }
}

/// A job that costs so much.
pub(crate) fn dear(text: &str, cost: u32) -> JobSpec {
    JobSpec { cost: Cost::new(cost).unwrap(), ..job(text) }
}

/// A job that passes windows.
pub(crate) fn bypass(text: &str) -> JobSpec {
    JobSpec { bypass_limits: true, ..job(text) }
}

/// So many a second.
pub(crate) fn rate(amount: u32, burst: u32) -> NodeSettings {
    windowed(WindowKind::Rate { burst }, amount, SECOND, Unit::Jobs)
}

/// So much cost a second.
pub(crate) fn cost_rate(amount: u32, burst: u32) -> NodeSettings {
    windowed(WindowKind::Rate { burst }, amount, SECOND, Unit::Cost)
}

/// So much cost in a period.
pub(crate) fn cost_quota(amount: u32, period: Span) -> NodeSettings {
    windowed(WindowKind::Quota, amount, period, Unit::Cost)
}

pub(crate) fn quota(amount: u32, period: Span) -> NodeSettings {
    windowed(WindowKind::Quota, amount, period, Unit::Jobs)
}

pub(crate) fn slots(max_in_flight: u32) -> NodeSettings {
    NodeSettings { max_in_flight: Some(max_in_flight), ..NodeSettings::default() }
}

/// One after another.
pub(crate) fn ordered() -> NodeSettings {
    NodeSettings { ordered: true, ..NodeSettings::default() }
}

fn windowed(kind: WindowKind, amount: u32, period: Span, unit: Unit) -> NodeSettings {
    NodeSettings { windows: vec![Window { kind, amount, period, unit }], ..NodeSettings::default() }
}

/// A breaker that opens after so many failures, for so long.
pub(crate) fn breaker(consecutive_failures: u32, open_duration: Span) -> NodeSettings {
    let breaker = Some(BreakerPolicy { consecutive_failures, open_duration });
    NodeSettings { breaker, ..NodeSettings::default() }
}

/// Settings of the queue itself.
pub(crate) fn of_queue(node: NodeSettings) -> QueuePatch {
    QueuePatch { node: Some(node), ..QueuePatch::default() }
}

/// Settings of the keys that match patterns.
pub(crate) fn of_keys<const N: usize>(rules: [(&str, NodeSettings); N]) -> QueuePatch {
    let rule = |(pattern, node): (&str, _)| KeyRule {
        pattern: KeyPattern::new(pattern).unwrap(),
        capacity: Capacity::default(),
        overflow: None,
        node,
    };
    QueuePatch { key_rules: Some(rules.map(rule).into()), ..QueuePatch::default() }
}

impl Stage {
    pub(crate) fn with(patch: QueuePatch) -> Stage {
        let mut stage = Stage(Driver::at(500));
        stage.put(QueuePatch { priority_ageing: Some(Span::ZERO), ..patch });
        stage
    }

    /// With limits of the queue and of keys, as properties choose them; leases do not end meanwhile.
    pub(crate) fn limited(of_queue: Option<NodeSettings>, rules: Vec<(&str, NodeSettings)>) -> Stage {
        let key_rules = rules.into_iter().flat_map(|rule| of_keys([rule]).key_rules.unwrap()).collect();
        Stage::with(QueuePatch {
            lease_duration: Some(bound::MAX_LEASE),
            node: of_queue,
            key_rules: Some(key_rules),
            ..QueuePatch::default()
        })
    }

    /// Time passes until the engine asks for it. How much.
    pub(crate) fn pass_to_next(&mut self) -> Span {
        let span = self.engine.next_wake(self.now).unwrap().since(self.now.engine);
        self.pass(span);
        span
    }

    /// Puts jobs in. The id of the first.
    pub(crate) fn enqueue(&mut self, jobs: Vec<JobSpec>) -> JobId {
        self.enqueue_to(queue(), jobs)
    }

    pub(crate) fn enqueue_to(&mut self, queue: QueueName, jobs: Vec<JobSpec>) -> JobId {
        let enqueue = Enqueue { queue, jobs, request: None, batch_totals: Vec::new(), wait: Span::ZERO };
        let Outcome::Enqueued(enqueued) = self.done(Command::Enqueue(enqueue)) else { unreachable!() };
        enqueued.first
    }

    /// Leases up to so many now.
    pub(crate) fn lease(&mut self, max_jobs: u32) -> Vec<Held> {
        self.lease_from(queue(), max_jobs)
    }

    pub(crate) fn lease_from(&mut self, queue: QueueName, max_jobs: u32) -> Vec<Held> {
        let ticket = self.wait_for(queue, max_jobs, Span::ZERO);
        self.leased(ticket).unwrap()
    }

    /// Leases up to so many when there are any.
    pub(crate) fn wait(&mut self, max_jobs: u32) -> Ticket {
        self.wait_from(queue(), max_jobs)
    }

    pub(crate) fn wait_from(&mut self, queue: QueueName, max_jobs: u32) -> Ticket {
        self.wait_for(queue, max_jobs, bound::MAX_SPAN)
    }

    /// As [`Stage::lease_from`]; what it got is asked for later.
    pub(crate) fn try_from(&mut self, queue: QueueName, max_jobs: u32) -> Ticket {
        self.wait_for(queue, max_jobs, Span::ZERO)
    }

    fn wait_for(&mut self, queue: QueueName, max_jobs: u32, wait: Span) -> Ticket {
        self.ask(Command::Lease(Lease {
            queue,
            max_jobs,
            max_bytes: usize::MAX,
            lease_duration: None,
            wait,
            worker: "w".into(),
        }))
    }

    /// What a lease got, if it is known by now.
    pub(crate) fn leased(&mut self, ticket: Ticket) -> Option<Vec<Held>> {
        let Ok(Outcome::Leased(leased)) = self.answer(ticket)? else { panic!("no lease") };
        let held = |leased: LeasedJob| Held {
            id: leased.job.id,
            token: leased.token,
            key: leased.job.key.to_string(),
        };
        Some(leased.jobs.into_iter().map(held).collect())
    }

    pub(crate) fn ack(&mut self, held: &Held) {
        self.ack_for(held, None);
    }

    /// Done, and it cost so much.
    pub(crate) fn ack_for(&mut self, held: &Held, actual_cost: Option<u32>) {
        let Held { id, token, .. } = *held;
        self.ask(Command::Ack(vec![Ack { id, token, result: None, actual_cost }]));
    }

    pub(crate) fn nack(&mut self, held: &Held, reason: NackReason) {
        self.nack_with(held, reason, None, None);
    }

    pub(crate) fn throttle(&mut self, held: &Held, scope: Option<u8>, retry_after: Option<Span>) {
        self.nack_with(held, NackReason::Throttled, scope.map(ThrottleScope::Segments), retry_after);
    }

    fn nack_with(
        &mut self,
        held: &Held,
        reason: NackReason,
        scope: Option<ThrottleScope>,
        retry_after: Option<Span>,
    ) {
        let Held { id, token, .. } = *held;
        let nack = Nack { id, token, reason, error: None, retry_after, scope, actual_cost: None };
        self.ask(Command::Nack(vec![nack]));
    }

    /// Units that may go now through the windows of a key's nodes, the deepest first.
    pub(crate) fn tokens(&self, text: &str) -> Vec<Vec<u64>> {
        let nodes = self.engine.nodes(&queue(), &key(text), self.now);
        let tokens = |node: NodeStatus| node.windows.iter().map(|window| window.tokens).collect();
        nodes.into_iter().map(tokens).collect()
    }

    /// What stands in the way of a job: what, and where.
    pub(crate) fn blocks(&self, id: JobId) -> Vec<(BlockKind, String)> {
        let blocks = self.engine.job(id, self.now).unwrap().blocks;
        blocks.into_iter().map(|block| (block.kind, block.key.to_string())).collect()
    }

    /// What is known of the node of a key; of the empty one, of the queue.
    pub(crate) fn state(&self, text: &str) -> NodeState {
        let (states, _) = self.engine.ledger().node_states(0, usize::MAX, self.now.engine);
        let states = states.into_iter().map(|mutation| match mutation {
            Mutation::NodeState { key, state, .. } => (key.to_string(), *state),
            other => panic!("{other:?} is no state"),
        });
        states.into_iter().find(|(key, _)| key == text).map(|(_, state)| state).unwrap_or_default()
    }

    /// The engine goes on from what a store would hold of it.
    pub(crate) fn restart(&mut self) {
        let mut loader = Loader::new(EngineConfig::default());
        for (number, (now, mutations)) in (1..).zip(&self.groups) {
            loader.group(number, *now, mutations.clone()).unwrap();
        }
        self.engine = loader.finish(self.now).unwrap();
    }
}

impl Deref for Stage {
    type Target = Driver;
    fn deref(&self) -> &Driver {
        &self.0
    }
}

impl DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut Driver {
        &mut self.0
    }
}
