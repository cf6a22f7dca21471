//! Mutations for tests: one of each kind, and any at all.

use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use sluice_engine::bound::MAX_COST;
use sluice_engine::{
    Adaptation, Attributes, BatchName, Besides, Breaker, BreakerPolicy, Capacity, Charge, Cost, Due,
    Enqueued, Feedback, FlowHintPolicy, FlowHintStep, JobError, JobId, JobSpec, Key, KeyPattern, KeyRule,
    LimitName, LimitRecord, LimitSettings, Meter, Mutation, Next, NodeSettings, NodeState, OverflowPolicy,
    Phase, Priority, QueueId, QueueName, QueueSettings, Quota, RequestKey, Reserve, RetryPatch, ReturnCause,
    Settlement, Span, Start, Timestamp, Trace, Unit, WallTime, Window, WindowKind,
};

use crate::idempotency;

/// One of each kind that was there first.
pub(crate) fn one_of_each() -> Vec<Mutation> {
    let plain = JobSpec { payload: Bytes::from_static(b"plain"), ..JobSpec::default() };
    let rich = JobSpec {
        payload: Bytes::from_static(b"rich"),
        attributes: Attributes {
            labels: vec![("tenant".into(), "acme".into())],
            content_type: "text/plain".into(),
            idempotency_key: "".into(),
        },
        key: Key::new("bot42/group".to_owned()).unwrap(),
        priority: Priority::new(9).unwrap(),
        start: Start::After(Span::from_secs(1)),
        retry: Some(Box::new(RetryPatch {
            max_attempts: Some(7),
            initial_backoff: Some(Span::from_millis(5)),
            multiplier: Some(1.5),
            max_backoff: Some(Span::from_secs(9)),
            jitter: Some(0.25),
        })),
        ..JobSpec::default()
    };
    let at = JobSpec { start: Start::At(WallTime(0x0102_0304_0506_0708)), ..JobSpec::default() };
    let request = RequestKey { id: 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100, content: 0xC0DE };
    vec![
        Mutation::QueuePut {
            queue: QueueId(3),
            name: QueueName::new("sms.out").unwrap(),
            settings: Box::new(QueueSettings::default()),
            version: 2,
        },
        Mutation::Enqueued { queue: QueueId(3), first: JobId(1_000), jobs: vec![plain, rich, at] },
        Mutation::Promoted { id: JobId(1_001), sequence: 1_003 },
        Mutation::Leased {
            jobs: vec![JobId(1_000), JobId(1_001)],
            expire: Timestamp(30_000_000_000),
            worker: "worker-7".into(),
        },
        Mutation::Extended { id: JobId(1_000), expire: Timestamp(60_000_000_000) },
        Mutation::Acked { id: JobId(1_000), result: Some(Bytes::from_static(b"done")) },
        Mutation::Returned {
            id: JobId(1_001),
            cause: ReturnCause::Failed,
            next: Next::Retry(Timestamp(31_000_000_000)),
            error: Some(Box::new(JobError { code: "E42".into(), message: "no route".into() })),
        },
        Mutation::Drained { queue: QueueId(3), request, jobs: vec![JobId(1_002), JobId(1_001)] },
        Mutation::Requeued { id: JobId(1_001), sequence: 1_004 },
        Mutation::Purged { jobs: vec![JobId(1_001)] },
        Mutation::Forgotten { jobs: vec![JobId(1_000)] },
        Mutation::DrainForgotten { set: request.id },
        Mutation::Requested { request, answer: Enqueued { first: JobId(1_000), count: 3, besides: None } },
        Mutation::Retired { segment: 17 },
    ]
}

/// One of each kind that came later, and of those whose fields grew, with every field in use.
pub(crate) fn one_of_each_later() -> Vec<Mutation> {
    let attributes = Attributes { idempotency_key: "order-17".into(), ..Attributes::default() };
    let job = JobSpec {
        payload: Bytes::from_static(b"once"),
        idempotency: Some(idempotency::hash("order-17")),
        attributes,
        ttl: Some(Span::from_secs(60)),
        batch: Some(batch_name("import")),
        ..JobSpec::default()
    };
    let request = RequestKey { id: 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100, content: 0xC0DE };
    let besides = Besides { duplicates: vec![(1, JobId(900))], dropped: vec![JobId(800), JobId(801)] };
    vec![
        Mutation::QueuePut {
            queue: QueueId(3),
            name: QueueName::new("sms.out").unwrap(),
            settings: Box::new(full_settings()),
            version: 2,
        },
        Mutation::Enqueued { queue: QueueId(3), first: JobId(1_000), jobs: vec![job] },
        Mutation::Requested {
            request,
            answer: Enqueued { first: JobId(1_000), count: 3, besides: Some(Arc::new(besides)) },
        },
        Mutation::Updated {
            id: JobId(1_000),
            priority: Priority::new(9).unwrap(),
            due: Some(Due::Wall(WallTime(0x0102_0304_0506_0708))),
            sequence: 7,
        },
        Mutation::CancelRequested { id: JobId(1_000) },
        Mutation::Cancelled { id: JobId(1_000) },
        Mutation::Expired { jobs: vec![JobId(1_000)] },
        Mutation::Dropped { jobs: vec![JobId(1_000)] },
        Mutation::RequeuedLater { id: JobId(1_000), time: Timestamp(31_000_000_000) },
        Mutation::BatchAnnounced { queue: QueueId(3), batch: batch_name("import"), total: 500 },
        Mutation::BatchesForgotten {
            queue: QueueId(3),
            batches: vec![batch_name("import"), batch_name("b")],
        },
        Mutation::QueueDeleted { queue: QueueId(3) },
        Mutation::QueueForgotten { queue: QueueId(3) },
        Mutation::Returned {
            id: JobId(1_001),
            cause: ReturnCause::Released,
            next: Next::Cancelled,
            error: None,
        },
        Mutation::Returned {
            id: JobId(1_001),
            cause: ReturnCause::Expired,
            next: Next::Expired,
            error: None,
        },
        Mutation::QueuePut {
            queue: QueueId(3),
            name: QueueName::new("sms.out").unwrap(),
            settings: Box::new(limited_settings()),
            version: 3,
        },
        Mutation::Enqueued {
            queue: QueueId(3),
            first: JobId(1_001),
            jobs: vec![JobSpec { cost: Cost::new(25).unwrap(), ..JobSpec::default() }],
        },
        Mutation::Charged {
            queue: QueueId(3),
            charges: vec![Charge { key: key("bot42"), jobs: 2, cost: 26 }],
        },
        Mutation::Frozen { queue: QueueId(3), key: key(""), until: Timestamp(31_000_000_000), step: 4 },
        Mutation::NodeState { queue: QueueId(3), key: key("bot42"), state: Box::new(state()) },
        Mutation::NodeReset { queue: QueueId(3), key: key("bot42") },
        Mutation::QueuePut {
            queue: QueueId(3),
            name: QueueName::new("sms.out").unwrap(),
            settings: Box::new(QueueSettings {
                limit: Some(LimitName::new("vendor").unwrap()),
                ..QueueSettings::default()
            }),
            version: 4,
        },
        Mutation::LimitPut(Box::new(limit_record())),
        Mutation::LimitDeleted { limit: QueueId(4) },
        Mutation::Settled {
            queue: QueueId(3),
            settlement: Settlement {
                key: key("bot42"),
                charged: Timestamp(31_000_000_000),
                reserved: 25,
                actual: 7,
            },
        },
        Mutation::NodeState { queue: QueueId(3), key: key(""), state: Box::new(traced_state()) },
        Mutation::Enqueued {
            queue: QueueId(3),
            first: JobId(1_002),
            jobs: vec![JobSpec { bypass_limits: true, ..JobSpec::default() }],
        },
        Mutation::QueuePut {
            queue: QueueId(3),
            name: QueueName::new("sms.out").unwrap(),
            settings: Box::new(answering_settings()),
            version: 4,
        },
        answered(Phase::Closed { failures: 4 }),
        answered(Phase::Open { until: Timestamp(60_000_000_000) }),
        answered(Phase::Probing),
    ]
}

fn answered(phase: Phase) -> Mutation {
    Mutation::NodeState { queue: QueueId(3), key: key("bot42"), state: Box::new(answered_state(phase)) }
}

fn limit_record() -> LimitRecord {
    let node =
        NodeSettings { windows: windows().to_vec(), max_in_flight: Some(9), ..NodeSettings::default() };
    let settings = LimitSettings { node, priority_ageing: Span::from_secs(30) };
    LimitRecord { id: QueueId(4), name: LimitName::new("vendor").unwrap(), settings, version: 2 }
}

/// Settings with every field said.
pub(crate) fn full_settings() -> QueueSettings {
    let capacity = |jobs, bytes| Capacity { jobs: Some(jobs), bytes: Some(bytes) };
    QueueSettings {
        capacity: capacity(1_000, 1 << 30),
        overflow: OverflowPolicy::DropOldest,
        reserve: Some(Reserve { min_priority: Priority::new(8).unwrap(), percent: 20 }),
        key_rules: vec![KeyRule {
            pattern: KeyPattern::new("bot*/group").unwrap(),
            capacity: capacity(10, 1 << 20),
            overflow: Some(OverflowPolicy::Wait),
            node: NodeSettings::default(),
        }],
        paused: true,
        flow_hint: Some(FlowHintPolicy::default()),
        idempotency_window: Span::from_secs(60),
        ..QueueSettings::default()
    }
}

/// Settings with limits.
fn limited_settings() -> QueueSettings {
    let [rate, quota] = windows();
    QueueSettings {
        node: NodeSettings { windows: vec![rate], ..NodeSettings::default() },
        key_rules: vec![KeyRule {
            pattern: KeyPattern::new("bot*").unwrap(),
            capacity: Capacity::default(),
            overflow: None,
            node: NodeSettings {
                windows: vec![rate, quota],
                max_in_flight: Some(9),
                weight: 3,
                ordered: true,
                ..NodeSettings::default()
            },
        }],
        ..QueueSettings::default()
    }
}

fn windows() -> [Window; 2] {
    let period = Span::from_secs(60);
    let rate = Window { kind: WindowKind::Rate { burst: 5 }, amount: 30, period, unit: Unit::Jobs };
    [rate, Window { kind: WindowKind::Quota, amount: 1_000, period, unit: Unit::Cost }]
}

fn state() -> NodeState {
    let [rate, quota] = windows();
    let mut counts = [0; 16];
    counts[7] = 3;
    let part = Quota { part: 7, counts };
    NodeState {
        meters: vec![(rate, Meter::Rate(Timestamp(99))), (quota, Meter::Quota(Box::new(part)))],
        frozen_until: Timestamp(32_000_000_000),
        throttled: Some((Timestamp(31_000_000_000), 2)),
        traces: Vec::new(),
        feedback: None,
    }
}

fn traced_state() -> NodeState {
    let trace = |lows| Trace { since: Timestamp(3), changed: Timestamp(4), cheapest: 2_000_000_000, lows };
    let lows = vec![(Timestamp(7), 0), (Timestamp(9), 500)];
    NodeState { traces: vec![trace(lows), trace(Vec::new())], throttled: None, ..state() }
}

/// Settings of what answers do.
fn answering_settings() -> QueueSettings {
    let breaker = BreakerPolicy { consecutive_failures: 5, open_duration: Span::from_secs(30) };
    let rule = |pattern: &str, adaptive| KeyRule {
        pattern: KeyPattern::new(pattern).unwrap(),
        capacity: Capacity::default(),
        overflow: None,
        node: NodeSettings { adaptive: Some(adaptive), breaker: Some(breaker), ..NodeSettings::default() },
    };
    QueueSettings { key_rules: vec![rule("bot*", true), rule("*", false)], ..QueueSettings::default() }
}

/// What answers did.
fn answered_state(phase: Phase) -> NodeState {
    let adaptation = Adaptation {
        cut_at: Timestamp(31_000_000_000),
        base: 30.0,
        kept: 0.85,
        is_searching: false,
        grown: 0.25,
        used_at: Timestamp(33_000_000_000),
        answers: 3,
        step: 1,
        halved: 1,
        full: Timestamp(33_000_000_007),
    };
    let breaker =
        Breaker { phase, opened_at: Timestamp(30_000_000_000), changed_at: Timestamp(30_500_000_000) };
    let feedback = Feedback { adaptation: Some(adaptation), breaker: Some(breaker) };
    NodeState { feedback: Some(Box::new(feedback)), ..NodeState::default() }
}

fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

fn batch_name(name: &str) -> BatchName {
    BatchName::new(name).unwrap()
}

/// Any mutation.
pub(crate) fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<u32>(), "[A-Za-z0-9._-]{1,128}", settings(), any::<u64>()).prop_map(
            |(queue, name, settings, version)| Mutation::QueuePut {
                queue: QueueId(queue),
                name: QueueName::new(&name).unwrap(),
                settings: Box::new(settings),
                version,
            }
        ),
        (any::<u32>(), 0..u64::MAX / 2, vec(job(), 0..8)).prop_map(|(queue, first, jobs)| {
            Mutation::Enqueued { queue: QueueId(queue), first: JobId(first), jobs }
        }),
        (id(), any::<u64>()).prop_map(|(id, sequence)| Mutation::Promoted { id, sequence }),
        (ids(), time(), text()).prop_map(|(jobs, expire, worker)| Mutation::Leased {
            jobs,
            expire,
            worker: Arc::from(worker),
        }),
        (id(), time()).prop_map(|(id, expire)| Mutation::Extended { id, expire }),
        limit().prop_map(|record| Mutation::LimitPut(Box::new(record))),
        any::<u32>().prop_map(|limit| Mutation::LimitDeleted { limit: QueueId(limit) }),
        (id(), option::of(bytes())).prop_map(|(id, result)| Mutation::Acked { id, result }),
        (id(), 0..10u32, due(), any::<u64>()).prop_map(|(id, priority, due, sequence)| {
            Mutation::Updated { id, priority: Priority::new(priority).unwrap(), due, sequence }
        }),
        id().prop_map(|id| Mutation::CancelRequested { id }),
        id().prop_map(|id| Mutation::Cancelled { id }),
        ids().prop_map(|jobs| Mutation::Expired { jobs }),
        ids().prop_map(|jobs| Mutation::Dropped { jobs }),
        (id(), time()).prop_map(|(id, time)| Mutation::RequeuedLater { id, time }),
        (any::<u32>(), batch(), any::<u64>()).prop_map(|(queue, batch, total)| Mutation::BatchAnnounced {
            queue: QueueId(queue),
            batch,
            total,
        }),
        (any::<u32>(), vec(batch(), 0..4))
            .prop_map(|(queue, batches)| Mutation::BatchesForgotten { queue: QueueId(queue), batches }),
        any::<u32>().prop_map(|queue| Mutation::QueueDeleted { queue: QueueId(queue) }),
        any::<u32>().prop_map(|queue| Mutation::QueueForgotten { queue: QueueId(queue) }),
        (any::<u32>(), vec((any_key(), any::<u64>(), any::<u64>()), 0..4)).prop_map(|(queue, charges)| {
            let charges = charges.into_iter().map(|(key, jobs, cost)| Charge { key, jobs, cost }).collect();
            Mutation::Charged { queue: QueueId(queue), charges }
        }),
        (any::<u32>(), any_key(), time(), any::<u8>()).prop_map(|(queue, key, until, step)| {
            Mutation::Frozen { queue: QueueId(queue), key, until, step }
        }),
        (any::<u32>(), any_key(), node_state()).prop_map(|(queue, key, state)| Mutation::NodeState {
            queue: QueueId(queue),
            key,
            state: Box::new(state),
        }),
        (any::<u32>(), any_key()).prop_map(|(queue, key)| Mutation::NodeReset { queue: QueueId(queue), key }),
        (any::<u32>(), any_key(), time(), any::<[u32; 2]>()).prop_map(
            |(queue, key, charged, [reserved, actual])| Mutation::Settled {
                queue: QueueId(queue),
                settlement: Settlement { key, charged, reserved, actual },
            }
        ),
        (id(), 1..=5u8, next(), option::of((text(), text()))).prop_map(|(id, cause, next, error)| {
            let cause = ReturnCause::from_number(cause).unwrap();
            let error = error
                .map(|(code, message)| Box::new(JobError { code: code.into(), message: message.into() }));
            Mutation::Returned { id, cause, next, error }
        }),
        (any::<u32>(), request(), ids()).prop_map(|(queue, request, jobs)| Mutation::Drained {
            queue: QueueId(queue),
            request,
            jobs,
        }),
        (id(), any::<u64>()).prop_map(|(id, sequence)| Mutation::Requeued { id, sequence }),
        ids().prop_map(|jobs| Mutation::Purged { jobs }),
        ids().prop_map(|jobs| Mutation::Forgotten { jobs }),
        any::<u128>().prop_map(|set| Mutation::DrainForgotten { set }),
        (request(), id(), any::<u32>(), option::of(besides())).prop_map(
            |(request, first, count, besides)| {
                Mutation::Requested { request, answer: Enqueued { first, count, besides } }
            }
        ),
        any::<u64>().prop_map(|segment| Mutation::Retired { segment }),
    ]
}

fn job() -> impl Strategy<Value = JobSpec> {
    let start = prop_oneof![
        Just(Start::Now),
        any::<u64>().prop_map(|nanos| Start::After(Span(nanos))),
        any::<u64>().prop_map(|nanos| Start::At(WallTime(nanos))),
    ];
    let labels = vec((text(), text()), 0..4).prop_map(|labels| {
        labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect::<Vec<_>>()
    });
    let attributes = (labels, text(), text()).prop_map(|(labels, content_type, idempotency_key)| {
        Attributes { labels, content_type: content_type.into(), idempotency_key: idempotency_key.into() }
    });
    let later = (option::of(any::<u64>().prop_map(Span)), option::of(batch()));
    let cost = (prop_oneof![Just(1), 1..=MAX_COST], any::<bool>());
    (bytes(), attributes, any_key(), (0..10u32, cost), start, option::of(patch()), later).prop_map(
        |(payload, attributes, key, (priority, (cost, bypass_limits)), start, retry, (ttl, batch))| {
            let idempotency_key = &attributes.idempotency_key;
            JobSpec {
                payload,
                idempotency: (!idempotency_key.is_empty()).then(|| idempotency::hash(idempotency_key)),
                attributes,
                key,
                priority: Priority::new(priority).unwrap(),
                cost: Cost::new(cost).unwrap(),
                start,
                retry: retry.map(Box::new),
                ttl,
                batch,
                bypass_limits,
            }
        },
    )
}

fn any_key() -> impl Strategy<Value = Key> {
    "([a-zé]{1,9}(/[a-z0-9]{1,9}){0,2})?".prop_map(|text| key(&text))
}

fn batch() -> impl Strategy<Value = BatchName> {
    "[a-zé ]{1,60}".prop_map(|name| batch_name(&name))
}

fn due() -> impl Strategy<Value = Option<Due>> {
    prop_oneof![
        Just(None),
        time().prop_map(|time| Some(Due::Engine(time))),
        any::<u64>().prop_map(|nanos| Some(Due::Wall(WallTime(nanos)))),
    ]
}

fn besides() -> impl Strategy<Value = Arc<Besides>> {
    (vec((any::<u32>(), id()), 0..40), ids())
        .prop_map(|(duplicates, dropped)| Arc::new(Besides { duplicates, dropped }))
}

fn patch() -> impl Strategy<Value = RetryPatch> {
    let real = || option::of(0.0..1e9f64);
    let span = || option::of(any::<u64>().prop_map(Span));
    (option::of(any::<u32>()), span(), real(), span(), real()).prop_map(
        |(max_attempts, initial_backoff, multiplier, max_backoff, jitter)| RetryPatch {
            max_attempts,
            initial_backoff,
            multiplier,
            max_backoff,
            jitter,
        },
    )
}

fn settings() -> impl Strategy<Value = QueueSettings> {
    let spans = (patch(), any::<[u64; 6]>(), any::<bool>());
    let nodes = (vec(rule(), 0..4), node(), option::of(limit_name()));
    let room = (capacity(), overflow(), option::of(reserve()), nodes, option::of(flow_hint()));
    (spans, room).prop_map(
        |((patch, numbers, paused), (capacity, overflow, reserve, (key_rules, node, limit), flow_hint))| {
            QueueSettings {
                node,
                retry: patch.over(&QueueSettings::default().retry),
                lease_duration: Span(numbers[0]),
                retention: Span(numbers[1]),
                retention_bytes: numbers[2],
                dead_retention: Span(numbers[3]),
                priority_ageing: Span(numbers[4]),
                capacity,
                overflow,
                reserve,
                key_rules,
                paused,
                flow_hint,
                idempotency_window: Span(numbers[5]),
                limit,
            }
        },
    )
}

fn limit_name() -> impl Strategy<Value = LimitName> {
    "[A-Za-z0-9._-]{1,128}".prop_map(|name| LimitName::new(&name).unwrap())
}

fn limit() -> impl Strategy<Value = LimitRecord> {
    (any::<u32>(), limit_name(), node(), any::<u64>(), any::<u64>()).prop_map(
        |(id, name, node, ageing, version)| LimitRecord {
            id: QueueId(id),
            name,
            settings: LimitSettings { node, priority_ageing: Span(ageing) },
            version,
        },
    )
}

fn capacity() -> impl Strategy<Value = Capacity> {
    (option::of(any::<u64>()), option::of(any::<u64>())).prop_map(|(jobs, bytes)| Capacity { jobs, bytes })
}

fn overflow() -> impl Strategy<Value = OverflowPolicy> {
    proptest::sample::select(&OverflowPolicy::ALL[..])
}

fn reserve() -> impl Strategy<Value = Reserve> {
    (0..10u32, any::<u8>())
        .prop_map(|(priority, percent)| Reserve { min_priority: Priority::new(priority).unwrap(), percent })
}

fn rule() -> impl Strategy<Value = KeyRule> {
    ("[a-z*]{1,9}(/[a-z*]{1,9}){0,2}", capacity(), option::of(overflow()), node()).prop_map(
        |(pattern, capacity, overflow, node)| KeyRule {
            pattern: KeyPattern::new(&pattern).unwrap(),
            capacity,
            overflow,
            node,
        },
    )
}

fn node() -> impl Strategy<Value = NodeSettings> {
    let breaker = (any::<u32>(), any::<u64>()).prop_map(|(consecutive_failures, nanos)| BreakerPolicy {
        consecutive_failures,
        open_duration: Span(nanos),
    });
    let feedback = (option::of(any::<bool>()), option::of(breaker));
    (vec(window(), 0..3), option::of(any::<u32>()), any::<u32>(), any::<bool>(), feedback).prop_map(
        |(windows, max_in_flight, weight, ordered, (adaptive, breaker))| NodeSettings {
            windows,
            max_in_flight,
            weight,
            ordered,
            adaptive,
            breaker,
        },
    )
}

fn window() -> impl Strategy<Value = Window> {
    let kind =
        prop_oneof![any::<u32>().prop_map(|burst| WindowKind::Rate { burst }), Just(WindowKind::Quota),];
    (kind, 1..u32::MAX, 1..u64::MAX, any::<bool>()).prop_map(|(kind, amount, period, is_cost)| {
        let unit = if is_cost { Unit::Cost } else { Unit::Jobs };
        Window { kind, amount, period: Span(period), unit }
    })
}

fn node_state() -> impl Strategy<Value = NodeState> {
    let meter = |window: Window, time: u64, counts: [u64; 16]| match window.kind {
        WindowKind::Rate { .. } => (window, Meter::Rate(Timestamp(time))),
        WindowKind::Quota => (window, Meter::Quota(Box::new(Quota { part: time, counts }))),
    };
    let meters =
        vec((window(), any::<u64>(), any::<[u64; 16]>()).prop_map(move |(w, t, c)| meter(w, t, c)), 0..3);
    let learned = (option::of(adaptation()), option::of(breaker()));
    (meters, time(), option::of((time(), any::<u8>())), vec(trace(), 0..3), learned).prop_map(
        |(meters, frozen_until, throttled, traces, (adaptation, breaker))| {
            let feedback = Feedback { adaptation, breaker };
            let feedback = (feedback != Feedback::default()).then(|| Box::new(feedback));
            NodeState { meters, frozen_until, throttled, traces, feedback }
        },
    )
}

fn trace() -> impl Strategy<Value = Trace> {
    (any::<[u64; 3]>(), vec((time(), any::<u64>()), 0..4)).prop_map(|([since, changed, cheapest], lows)| {
        Trace { since: Timestamp(since), changed: Timestamp(changed), cheapest, lows }
    })
}

fn adaptation() -> impl Strategy<Value = Adaptation> {
    (any::<[u64; 3]>(), any::<[u8; 3]>(), any::<bool>(), (1e-9..1e9f64, 1e-9..1.0f64, 0.0..1e9f64)).prop_map(
        |([cut_at, used_at, full], [answers, step, halved], is_searching, (base, kept, grown))| Adaptation {
            cut_at: Timestamp(cut_at),
            base,
            kept,
            is_searching,
            grown,
            used_at: Timestamp(used_at),
            answers,
            step,
            halved,
            full: Timestamp(full),
        },
    )
}

fn breaker() -> impl Strategy<Value = Breaker> {
    let phase = prop_oneof![
        any::<u32>().prop_map(|failures| Phase::Closed { failures }),
        time().prop_map(|until| Phase::Open { until }),
        Just(Phase::Probing),
    ];
    (phase, time(), time()).prop_map(|(phase, opened_at, changed_at)| Breaker {
        phase,
        opened_at,
        changed_at,
    })
}

fn flow_hint() -> impl Strategy<Value = FlowHintPolicy> {
    let step = || {
        (any::<u32>(), any::<u64>())
            .prop_map(|(batch_size, nanos)| FlowHintStep { batch_size, wait: Span(nanos) })
    };
    (0.0..1.0f64, 0.0..1.0f64, step(), step(), step()).prop_map(
        |(medium_load, high_load, low, medium, high)| FlowHintPolicy {
            medium_load,
            high_load,
            low,
            medium,
            high,
        },
    )
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        Just(Next::Ready),
        time().prop_map(Next::Retry),
        Just(Next::Dead),
        Just(Next::Cancelled),
        Just(Next::Expired),
    ]
}

fn request() -> impl Strategy<Value = RequestKey> {
    (any::<u128>(), any::<u64>()).prop_map(|(id, content)| RequestKey { id, content })
}

fn id() -> impl Strategy<Value = JobId> {
    any::<u64>().prop_map(JobId)
}

fn ids() -> impl Strategy<Value = Vec<JobId>> {
    vec(id(), 0..40)
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

fn text() -> impl Strategy<Value = String> {
    // Long enough for lengths of two bytes.
    prop_oneof!["\\PC{0,12}", "[a-z]{120,140}"]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}
