//! Mutations for tests: one of each kind, and any at all.

use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use sluice_engine::{
    Attributes, Enqueued, JobError, JobId, JobSpec, Key, Mutation, Next, Priority, QueueId, QueueName,
    QueueSettings, RequestKey, RetryPatch, ReturnCause, Span, Start, Timestamp, WallTime,
};

/// One of each kind, with every field in use.
pub(crate) fn one_of_each() -> Vec<Mutation> {
    let plain = JobSpec { payload: Bytes::from_static(b"plain"), ..JobSpec::default() };
    let rich = JobSpec {
        payload: Bytes::from_static(b"rich"),
        attributes: Attributes {
            labels: vec![("tenant".into(), "acme".into())],
            content_type: "text/plain".into(),
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
        Mutation::Requested { request, answer: Enqueued { first: JobId(1_000), count: 3 } },
        Mutation::Retired { segment: 17 },
    ]
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
        (id(), option::of(bytes())).prop_map(|(id, result)| Mutation::Acked { id, result }),
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
        (request(), id(), any::<u32>()).prop_map(|(request, first, count)| Mutation::Requested {
            request,
            answer: Enqueued { first, count },
        }),
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
    (bytes(), labels, text(), "([a-zé]{1,9}(/[a-z0-9]{1,9}){0,2})?", 0..10u32, start, option::of(patch()))
        .prop_map(|(payload, labels, content_type, key, priority, start, retry)| JobSpec {
            payload,
            attributes: Attributes { labels, content_type: content_type.into() },
            key: Key::new(key).unwrap(),
            priority: Priority::new(priority).unwrap(),
            start,
            retry: retry.map(Box::new),
        })
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
    (patch(), any::<[u64; 5]>()).prop_map(|(patch, numbers)| QueueSettings {
        retry: patch.over(&QueueSettings::default().retry),
        lease_duration: Span(numbers[0]),
        retention: Span(numbers[1]),
        retention_bytes: numbers[2],
        dead_retention: Span(numbers[3]),
        priority_ageing: Span(numbers[4]),
    })
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![Just(Next::Ready), time().prop_map(Next::Retry), Just(Next::Dead)]
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
