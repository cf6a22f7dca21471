//! What a script's calls ask of the writer, given what clients know.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use sluice_engine::{
    Ack, Acquire, Attributes, BatchName, Capacity, Command, Cost, DeleteQueue, Drain, Enqueue, Extension,
    JobId, JobSpec, JobState, Key, KeyPattern, KeyRule, Lease, LeaseToken, LimitName, LimitPatch, Nack,
    NackReason, NodeName, NodeSettings, OverflowPolicy, Priority, PutLimit, PutQueue, QueueName, QueuePatch,
    RequestKey, Requeue, RetryPatch, Span, Start, Sweep, Unit, Update, Window, WindowKind,
};

use super::judge::Judge;
use super::script::{Call, DOOMED, Job, LIMITED, PLAIN, QUEUES, SHARED};
use super::window::{AMOUNT, BURST, IN_FLIGHT, PERIOD, SPACING};
use crate::idempotency;

/// What was asked, for who judges the answer.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Setup,
    Enqueue { queue: usize, jobs: Vec<Job>, request: Option<u8> },
    Lease { queue: usize, seconds: u64 },
    Ack { id: JobId, token: LeaseToken },
    Nack { id: JobId, token: LeaseToken, reason: NackReason, retry_after: Option<u64> },
    Extend { id: JobId, token: LeaseToken, seconds: u64 },
    Cancel { id: JobId },
    Update { id: JobId, after: Option<u64> },
    Drain { set: u128 },
    Requeue { jobs: Vec<JobId> },
    Purge { jobs: Vec<JobId> },
    Delete,
    Pause { queue: usize, paused: bool },
    Acquire { cost: u64 },
    Reset,
}

/// Requests that were sent, to be sent again.
pub(super) type Requests = HashMap<(usize, u8), Vec<Job>>;

/// How long calls wait.
const WAIT: Span = Span::from_secs(20);

pub(super) fn queue(index: usize) -> QueueName {
    QueueName::new(QUEUES[index]).unwrap()
}

fn limit() -> LimitName {
    LimitName::new("vendor").unwrap()
}

/// The settings that everything begins with, and every start.
pub(super) fn setup() -> Vec<Command> {
    let window = |kind, amount, period, unit| Window { kind, amount, period, unit };
    let node = |window: Window| NodeSettings { windows: vec![window], ..NodeSettings::default() };
    let rate = window(WindowKind::Rate { burst: BURST }, 1, SPACING, Unit::Jobs);
    let quota = window(WindowKind::Quota, AMOUNT, PERIOD, Unit::Jobs);
    let cost = window(WindowKind::Rate { burst: 9 }, 3, Span::from_secs(1), Unit::Cost);
    let rule = |pattern: &str, node| KeyRule {
        pattern: KeyPattern::new(pattern).unwrap(),
        capacity: Capacity::default(),
        overflow: None,
        node,
    };
    let dear = NodeSettings { adaptive: Some(true), ..node(cost) };
    let ordered = NodeSettings { ordered: true, ..NodeSettings::default() };
    let patches = [
        (
            PLAIN,
            QueuePatch {
                key_rules: Some(vec![rule("k1", dear), rule("k2", ordered)]),
                max_jobs: Some(Some(14)),
                overflow: Some(OverflowPolicy::DropOldest),
                ..QueuePatch::default()
            },
        ),
        (LIMITED, QueuePatch { node: Some(node(rate)), ..QueuePatch::default() }),
        (
            SHARED,
            QueuePatch {
                limit: Some(Some(limit())),
                node: Some(NodeSettings { max_in_flight: Some(IN_FLIGHT), ..NodeSettings::default() }),
                ..QueuePatch::default()
            },
        ),
        (
            DOOMED,
            QueuePatch {
                max_jobs: Some(Some(8)),
                overflow: Some(OverflowPolicy::Wait),
                ..QueuePatch::default()
            },
        ),
    ];
    let patch = LimitPatch { node: Some(node(quota)), ..LimitPatch::default() };
    let limit = Command::PutLimit(PutLimit { name: limit(), patch, version: None });
    let puts = patches.into_iter().map(|(index, patch)| put(index, patch));
    [limit].into_iter().chain(puts).collect()
}

fn put(index: usize, mut patch: QueuePatch) -> Command {
    patch.retention = Some(Span::from_secs(30 * 86_400));
    Command::PutQueue(PutQueue { name: queue(index), patch, version: None })
}

/// What a job carries: no two kinds of job carry the same.
pub(super) fn payload(job: &Job) -> Vec<u8> {
    let mut hasher = DefaultHasher::new();
    format!("{job:?}").hash(&mut hasher);
    let pattern = hasher.finish().to_le_bytes();
    pattern.iter().copied().cycle().take(job.bytes).collect()
}

/// An idempotency key.
fn once(number: u8) -> String {
    format!("once{number}")
}

fn spec(job: &Job) -> JobSpec {
    JobSpec {
        payload: Bytes::from(payload(job)),
        attributes: Attributes {
            idempotency_key: job.idempotency.map(once).unwrap_or_default().into(),
            ..Attributes::default()
        },
        key: Key::new(["", "k1", "k2"][job.key].to_owned()).unwrap(),
        priority: Priority::new(job.priority).unwrap(),
        cost: Cost::new(job.cost).unwrap(),
        start: job.after.map_or(Start::Now, |after| Start::After(Span::from_secs(after))),
        ttl: job.ttl.map(Span::from_secs),
        idempotency: job.idempotency.map(|number| idempotency::hash(&once(number))),
        batch: job.batch.map(|batch| BatchName::new(&format!("batch{batch}")).unwrap()),
        retry: job
            .max_attempts
            .map(|most| Box::new(RetryPatch { max_attempts: Some(most), ..RetryPatch::default() })),
        bypass_limits: false,
    }
}

/// The call as a lease, if it is one.
pub(super) fn lease(call: &Call) -> Option<(Asked, Lease)> {
    let Call::Lease { queue: index, max_jobs, waits, seconds, .. } = call else { return None };
    let lease = Lease {
        queue: queue(*index),
        max_jobs: *max_jobs,
        max_bytes: 1 << 20,
        lease_duration: Some(Span::from_secs(*seconds)),
        wait: if *waits { WAIT } else { Span::ZERO },
        worker: "w".into(),
    };
    Some((Asked::Lease { queue: *index, seconds: *seconds }, lease))
}

/// Any other call; none when there is nothing that it could be about.
pub(super) fn command(call: &Call, judge: &Judge, requests: &mut Requests) -> Option<(Asked, Command)> {
    let pick = |pick: usize, among: Vec<JobId>| among.get(pick % among.len().max(1)).copied();
    let token = |pick: usize, stale: bool| {
        let among = judge.tokens(stale);
        among.get(pick % among.len().max(1)).copied()
    };
    Some(match call {
        Call::Enqueue { queue: index, jobs, request, waits } => {
            let mut jobs = jobs.clone();
            if let Some(request) = request {
                // Every other time what was asked before is asked again.
                let before = requests.entry((*index, *request)).or_insert_with(|| jobs.clone());
                if jobs.len() % 2 == 0 {
                    jobs.clone_from(before);
                }
            }
            let key = request.map(|request| {
                let mut hasher = DefaultHasher::new();
                format!("{jobs:?}").hash(&mut hasher);
                RequestKey { id: *index as u128 * 100 + u128::from(request) + 1, content: hasher.finish() }
            });
            let enqueue = Enqueue {
                queue: queue(*index),
                jobs: jobs.iter().map(spec).collect(),
                request: key,
                batch_totals: Vec::new(),
                wait: if *waits { WAIT } else { Span::ZERO },
            };
            (Asked::Enqueue { queue: *index, jobs, request: *request }, Command::Enqueue(enqueue))
        }
        Call::Ack { pick, stale, actual_cost } => {
            let (id, token) = token(*pick, *stale)?;
            let ack = Ack { id, token, result: None, actual_cost: *actual_cost };
            (Asked::Ack { id, token }, Command::Ack(vec![ack]))
        }
        Call::Nack { pick, stale, reason, retry_after } => {
            let (id, token) = token(*pick, *stale)?;
            let nack = Nack {
                id,
                token,
                reason: *reason,
                error: None,
                retry_after: retry_after.map(Span::from_secs),
                scope: None,
                actual_cost: None,
            };
            let asked = Asked::Nack { id, token, reason: *reason, retry_after: *retry_after };
            (asked, Command::Nack(vec![nack]))
        }
        Call::Extend { pick, seconds } => {
            let (id, token) = token(*pick, false)?;
            let extension = Extension { id, token, lease_duration: Some(Span::from_secs(*seconds)) };
            (Asked::Extend { id, token, seconds: *seconds }, Command::Extend(vec![extension]))
        }
        Call::Cancel { pick: number } => {
            let id = pick(*number, judge.known())?;
            (Asked::Cancel { id }, Command::Cancel(id))
        }
        Call::Update { pick: number, priority, after } => {
            let id = pick(*number, judge.known())?;
            let update = Update {
                id,
                priority: priority.and_then(Priority::new),
                start: after.map(|after| Start::After(Span::from_secs(after))),
            };
            (Asked::Update { id, after: *after }, Command::Update(update))
        }
        Call::Drain { queue: index, max_jobs, request } => {
            let id = 1_000 + *index as u128 * 10 + u128::from(*request);
            let request = RequestKey { id, content: u64::from(*max_jobs) };
            let drain = Drain { queue: queue(*index), request, max_jobs: *max_jobs };
            (Asked::Drain { set: id }, Command::Drain(drain))
        }
        Call::Requeue { queue: index, seconds } => {
            let jobs = judge.at_rest(*index);
            let sweep = sweep(*index, jobs.clone())?;
            let requeue = Requeue { sweep, interval: Span::from_secs(*seconds) };
            (Asked::Requeue { jobs }, Command::Requeue(requeue))
        }
        Call::Purge { queue: index } => {
            let jobs = judge.at_rest(*index);
            (Asked::Purge { jobs: jobs.clone() }, Command::Purge(sweep(*index, jobs)?))
        }
        Call::Delete { force } => {
            let delete = DeleteQueue { name: queue(DOOMED), force: *force };
            (Asked::Delete, Command::DeleteQueue(delete))
        }
        Call::Pause { queue: index, paused } => {
            let patch = QueuePatch { paused: Some(*paused), ..QueuePatch::default() };
            (Asked::Pause { queue: *index, paused: *paused }, put(*index, patch))
        }
        Call::Acquire { waits } => {
            let wait = if *waits { WAIT } else { Span::ZERO };
            let acquire = Acquire { node: NodeName::Limit(limit()), cost: 1, wait };
            (Asked::Acquire { cost: 1 }, Command::Acquire(acquire))
        }
        Call::Reset => (Asked::Reset, Command::ResetNode(NodeName::Key(queue(PLAIN), Key::default()))),
        Call::Lease { .. } | Call::Vanish => return None,
    })
}

fn sweep(index: usize, jobs: Vec<JobId>) -> Option<Sweep> {
    let states = [JobState::Dead, JobState::Drained, JobState::Dropped];
    let sweep = Sweep { queue: queue(index), states: states.into_iter().collect(), jobs };
    (!sweep.jobs.is_empty()).then_some(sweep)
}
