//! The table: one row for each field of each request, with the values it refuses.

use prost::Message;
use prost_reflect::{DynamicMessage, MapKey, MethodDescriptor, Value};
use sluice_proto::v1::work_request::Message as Asked;
use sluice_proto::v1::{
    Ack, AckRequest, AcquireLimitRequest, BackupRequest, BatchGetJobsRequest, CancelJobRequest,
    CircuitBreaker, DeleteLimitRequest, DeleteQueueRequest, DrainRequest, EnqueueRequest,
    EnqueueStreamRequest, ExplainJobRequest, ExtendLeaseRequest, GetBatchRequest, GetJobRequest,
    GetLimitRequest, GetQueueRequest, GetQueueStatusRequest, GetServerInfoRequest, JobFilter, JobState,
    KeyRule, LeaseExtension, LeaseRequest, Limit, ListJobsRequest, ListKeysRequest, ListLimitsRequest,
    ListQueuesRequest, Nack, NackReason, NackRequest, NodeSettings, PauseQueueRequest, PurgeJobsRequest,
    PutLimitRequest, PutQueueRequest, Queue, RequeueJobsRequest, ResetNodeRequest, ResumeQueueRequest,
    RetryPolicy, UpdateJobRequest, WatchQueueRequest, WatchQueuesRequest, Window, WindowKind, WorkRequest,
    WorkStart,
};
use sluice_tests::{spec, wire};
use tonic::Code;

use super::{World, field};

/// A field of a request, and what it refuses.
pub(crate) struct Row {
    /// The rpc.
    pub(crate) rpc: &'static str,
    /// The field, as an error names it.
    pub(crate) field: String,
    /// What it refuses. Empty where every value is good.
    pub(crate) cases: Vec<Case>,
}

/// One bad value.
pub(crate) struct Case {
    /// What is bad about it.
    pub(crate) name: &'static str,
    /// How it is refused.
    pub(crate) expect: Expect,
    change: Change,
    also: Vec<(String, Value)>,
}

/// How a bad value is refused.
pub(crate) enum Expect {
    /// INVALID_ARGUMENT, naming the field.
    Named,
    /// With this code and reason.
    Refused(Code, &'static str),
}

enum Change {
    Clear,
    Set(Value),
    Repeat(usize),
}

impl Case {
    /// Makes the field `path` of a good request bad.
    pub(crate) fn apply(&self, request: &mut DynamicMessage, path: &str) {
        for (other, value) in &self.also {
            field::set(request, other, value.clone());
        }
        match &self.change {
            Change::Clear => request.clear_field_by_name(path),
            Change::Set(value) => field::set(request, path, value.clone()),
            Change::Repeat(times) => {
                let items = field::get(request, path);
                let first = items.as_list().and_then(|items| items.first()).expect("a good request has one");
                field::set(request, path, Value::List(vec![first.clone(); *times]));
            }
        }
    }

    /// Only bad together with another field.
    fn with(mut self, other: &str, value: Value) -> Case {
        self.also.push((other.to_owned(), value));
        self
    }

    /// Refused in another way.
    fn refused(mut self, code: Code, reason: &'static str) -> Case {
        self.expect = Expect::Refused(code, reason);
        self
    }
}

/// A request of this rpc that is accepted.
pub(crate) fn good(method: &MethodDescriptor, world: &World) -> DynamicMessage {
    let queue = || world.queue.clone();
    let (job_id, lease_token) = world.leased.clone();
    let enqueue = || EnqueueRequest {
        queue: queue(),
        jobs: vec![sluice_proto::v1::JobSpec {
            retry_policy: Some(RetryPolicy::default()),
            ..spec::job("good")
        }],
        request_id: String::new(),
        ..Default::default()
    };
    let filter = |states: &[JobState]| {
        Some(JobFilter {
            queue: queue(),
            states: states.iter().map(|state| *state as i32).collect(),
            ..Default::default()
        })
    };
    let bytes = match method.name() {
        "Enqueue" => enqueue().encode_to_vec(),
        "EnqueueStream" => EnqueueStreamRequest { sequence: 1, request: Some(enqueue()) }.encode_to_vec(),
        "GetJob" => {
            GetJobRequest { job_id: world.ready.clone(), include_payload: true, ..Default::default() }
                .encode_to_vec()
        }
        "BatchGetJobs" => {
            BatchGetJobsRequest { job_ids: vec![world.ready.clone()], ..Default::default() }.encode_to_vec()
        }
        "ExplainJob" => ExplainJobRequest { job_id: world.ready.clone() }.encode_to_vec(),
        "CancelJob" => CancelJobRequest { job_id: world.ready.clone() }.encode_to_vec(),
        "UpdateJob" => {
            UpdateJobRequest { job_id: world.ready.clone(), priority: Some(4), ..Default::default() }
                .encode_to_vec()
        }
        "GetBatch" => GetBatchRequest { queue: queue(), batch_id: world.batch.clone(), wait_timeout: None }
            .encode_to_vec(),
        "Work" => work_start(world).encode_to_vec(),
        "Lease" => LeaseRequest { queue: queue(), ..LeaseRequest::default() }.encode_to_vec(),
        "Ack" => AckRequest { acks: vec![Ack { job_id, lease_token, ..Ack::default() }] }.encode_to_vec(),
        "Nack" => {
            let reason = NackReason::Failed.into();
            NackRequest { nacks: vec![Nack { job_id, lease_token, reason, ..Nack::default() }] }
                .encode_to_vec()
        }
        "ExtendLease" => {
            let leases = vec![LeaseExtension { job_id, lease_token, lease_duration: None }];
            ExtendLeaseRequest { leases }.encode_to_vec()
        }
        "GetQueueStatus" => GetQueueStatusRequest { queue: queue(), ..Default::default() }.encode_to_vec(),
        "WatchQueue" => WatchQueueRequest { queue: queue(), min_interval: None }.encode_to_vec(),
        "WatchQueues" => WatchQueuesRequest::default().encode_to_vec(),
        "Drain" => {
            let request_id = "good".to_owned();
            DrainRequest { queue: queue(), request_id, ..DrainRequest::default() }.encode_to_vec()
        }
        "PutQueue" => {
            let window = Window { amount: 1_000_000, period: Some(spec::millis(1)), ..Window::default() };
            let breaker =
                CircuitBreaker { consecutive_failures: 1_000, open_duration: Some(spec::millis(1_000)) };
            let settings = Some(NodeSettings {
                windows: vec![window],
                breaker: Some(breaker),
                ..NodeSettings::default()
            });
            let queue = Queue {
                name: queue(),
                retry_policy: Some(RetryPolicy::default()),
                settings: settings.clone(),
                key_rules: vec![KeyRule { key_pattern: "bot*".to_owned(), settings }],
                ..Queue::default()
            };
            PutQueueRequest { queue: Some(queue), update_mask: None }.encode_to_vec()
        }
        "GetQueue" => GetQueueRequest { name: queue() }.encode_to_vec(),
        "DeleteQueue" => DeleteQueueRequest { name: queue(), force: true }.encode_to_vec(),
        "ResetNode" => {
            ResetNodeRequest { queue: queue(), key: "a".to_owned(), ..Default::default() }.encode_to_vec()
        }
        "PutLimit" => {
            let window = Window { amount: 1_000_000, period: Some(spec::millis(1)), ..Window::default() };
            let settings = Some(NodeSettings { windows: vec![window], ..NodeSettings::default() });
            let limit = Limit { name: world.limit.clone(), settings, ..Limit::default() };
            PutLimitRequest { limit: Some(limit), update_mask: None }.encode_to_vec()
        }
        "GetLimit" => GetLimitRequest { name: world.limit.clone() }.encode_to_vec(),
        "ListLimits" => ListLimitsRequest::default().encode_to_vec(),
        "DeleteLimit" => DeleteLimitRequest { name: world.limit.clone() }.encode_to_vec(),
        "AcquireLimit" => AcquireLimitRequest { queue: queue(), ..Default::default() }.encode_to_vec(),
        "PauseQueue" => PauseQueueRequest { name: queue() }.encode_to_vec(),
        "ResumeQueue" => ResumeQueueRequest { name: queue() }.encode_to_vec(),
        "ListKeys" => ListKeysRequest { queue: queue(), ..Default::default() }.encode_to_vec(),
        "ListQueues" => ListQueuesRequest::default().encode_to_vec(),
        "ListJobs" => ListJobsRequest { filter: filter(&[JobState::Ready]), ..ListJobsRequest::default() }
            .encode_to_vec(),
        "RequeueJobs" => {
            RequeueJobsRequest { filter: filter(&[JobState::Dead]), max_jobs: None, ..Default::default() }
                .encode_to_vec()
        }
        "PurgeJobs" => {
            PurgeJobsRequest { filter: filter(&[JobState::Dead]), max_jobs: None, ..Default::default() }
                .encode_to_vec()
        }
        "Backup" => BackupRequest {}.encode_to_vec(),
        "GetServerInfo" => GetServerInfoRequest {}.encode_to_vec(),
        other => panic!("{other} has no good request yet: add one, and a row for each of its fields"),
    };
    DynamicMessage::decode(method.input(), &*bytes).expect("the generated code and the descriptor agree")
}

/// How a worker begins.
pub(crate) fn work_start(world: &World) -> WorkRequest {
    let start = WorkStart { queue: world.queue.clone(), ..WorkStart::default() };
    WorkRequest { message: Some(Asked::Start(start)) }
}

/// A later message of a worker, the one that `field` is in.
pub(crate) fn good_work(method: &MethodDescriptor, world: &World, field: &str) -> DynamicMessage {
    let (job_id, lease_token) = world.leased.clone();
    let asked = match field.split('.').next() {
        Some("acks") => Asked::Acks(AckRequest { acks: vec![Ack { job_id, lease_token, ..Ack::default() }] }),
        Some("nacks") => {
            let reason = NackReason::Failed.into();
            Asked::Nacks(NackRequest { nacks: vec![Nack { job_id, lease_token, reason, ..Nack::default() }] })
        }
        Some("extends") => {
            let leases = vec![LeaseExtension { job_id, lease_token, lease_duration: None }];
            Asked::Extends(ExtendLeaseRequest { leases })
        }
        _ => Asked::Credit(1),
    };
    let bytes = WorkRequest { message: Some(asked) }.encode_to_vec();
    DynamicMessage::decode(method.input(), bytes.as_slice()).expect("it was just encoded")
}

/// The table.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(enqueue("Enqueue", ""));
    rows.extend(enqueue("EnqueueStream", "request."));
    rows.push(free("EnqueueStream", "sequence", "any number is the client's own"));
    rows.push(row("EnqueueStream", "request", vec![missing()]));
    rows.extend(jobs());
    rows.extend(work());
    rows.extend(watch());
    rows.extend(settings());
    rows.extend(limits());
    rows.extend(sweeps());
    rows
}

fn enqueue(rpc: &'static str, prefix: &str) -> Vec<Row> {
    let row = |field: &str, cases: Vec<Case>| row(rpc, &format!("{prefix}{field}"), cases);
    let mut run_times = times();
    let delay = format!("{prefix}jobs[0].delay");
    run_times.push(set("together with a delay", time(4_000_000_000, 0)).with(&delay, span(1, 0)));
    let over_the_wire =
        set("too large for a request", bytes(5 << 20)).refused(Code::InvalidArgument, "REQUEST_TOO_LARGE");
    let mut rows = vec![
        row("queue", queue_names()),
        row("jobs", vec![set("none", Value::List(vec![])), repeat("too many", 10_001)]),
        row("request_id", request_ids()),
        row("jobs[0].payload", vec![set("a byte too long", bytes((1 << 20) + 1)), over_the_wire]),
        row("jobs[0].key", keys()),
        row("jobs[0].priority", vec![set("too high", Value::U32(10)), set("huge", Value::U32(u32::MAX))]),
        row("jobs[0].cost", numbers(1_000_000_000)),
        row("jobs[0].delay", spans()),
        row("jobs[0].run_time", run_times),
        row("jobs[0].labels", labels()),
        row("jobs[0].content_type", vec![set("too long", text(129))]),
        row("jobs[0].ttl", {
            let mut cases = spans();
            cases.push(set("zero", span(0, 0)));
            cases
        }),
        row("jobs[0].idempotency_key", vec![set("too long", text(129))]),
        row("jobs[0].batch_id", batch_names()),
        free(rpc, &format!("{prefix}jobs[0].bypass_limits"), "yes and no are both good"),
        row("wait_timeout", waits()),
        row("batch_totals", batch_totals()),
        free(rpc, &format!("{prefix}jobs[0].retry_policy"), "not said is the queue's policy"),
    ];
    rows.extend(retry_policy(rpc, &format!("{prefix}jobs[0].retry_policy")));
    rows
}

fn jobs() -> Vec<Row> {
    vec![
        row("GetJob", "job_id", job_ids()),
        free("GetJob", "include_payload", "yes and no are both good"),
        row("GetJob", "wait_timeout", waits()),
        row(
            "BatchGetJobs",
            "job_ids",
            vec![
                set("none", Value::List(vec![])),
                repeat("too many", 1_001),
                set("an empty one", Value::List(vec![text(0)])),
                set("one too long", Value::List(vec![text(129)])),
            ],
        ),
        free("BatchGetJobs", "include_payload", "yes and no are both good"),
        row("BatchGetJobs", "wait_timeout", waits()),
        row("ExplainJob", "job_id", job_ids()),
        row("CancelJob", "job_id", job_ids()),
        row("UpdateJob", "job_id", job_ids()),
        row(
            "UpdateJob",
            "priority",
            vec![missing(), set("too high", Value::U32(10)), set("huge", Value::U32(u32::MAX))],
        ),
        row("UpdateJob", "delay", spans()),
        row("UpdateJob", "run_time", {
            let mut cases = times();
            cases.push(set("together with a delay", time(4_000_000_000, 0)).with("delay", span(1, 0)));
            cases
        }),
        row("GetBatch", "queue", queue_names()),
        row("GetBatch", "batch_id", {
            let mut cases = batch_names();
            cases.push(set("empty", text(0)));
            cases.push(set("unknown", string("nothing")).refused(Code::NotFound, "BATCH_NOT_FOUND"));
            cases
        }),
        row("GetBatch", "wait_timeout", waits()),
    ]
}

fn work() -> Vec<Row> {
    let mut rows = vec![
        row("Lease", "queue", queue_names()),
        row("Lease", "max_jobs", numbers(1_000)),
        row("Lease", "lease_duration", lease_durations()),
        row("Lease", "wait_timeout", waits()),
        row("Lease", "worker_id", vec![set("too long", text(129))]),
        row("Work", "start", vec![missing()]),
        row("Work", "start.queue", queue_names()),
        row("Work", "start.worker_id", vec![set("too long", text(129))]),
        row("Work", "start.lease_duration", lease_durations()),
        row(
            "Work",
            "start.credit",
            vec![set("too much", Value::U32(1_001)), set("huge", Value::U32(u32::MAX))],
        ),
        row("Work", "credit", vec![set("too much", Value::U32(1_001)), set("huge", Value::U32(u32::MAX))]),
        free("Work", "acks", "one of the messages that a worker may send"),
        free("Work", "nacks", "one of the messages that a worker may send"),
        free("Work", "extends", "one of the messages that a worker may send"),
    ];
    rows.extend(settling("Ack", ""));
    rows.extend(settling("Nack", ""));
    rows.extend(settling("ExtendLease", ""));
    rows.extend(settling("Work", "acks."));
    rows.extend(settling("Work", "nacks."));
    rows.extend(settling("Work", "extends."));
    rows
}

/// What settles or extends leases: by an rpc of its own, or in a message of a worker's stream.
fn settling(rpc: &'static str, prefix: &str) -> Vec<Row> {
    let items = match (rpc, prefix) {
        ("Ack", _) | (_, "acks.") => "acks",
        ("Nack", _) | (_, "nacks.") => "nacks",
        _ => "leases",
    };
    let row = |field: &str, cases: Vec<Case>| row(rpc, &format!("{prefix}{items}{field}"), cases);
    let lost = |case: Case| case.refused(Code::FailedPrecondition, "LEASE_LOST");
    let mut rows = vec![
        row("", vec![set("none", Value::List(vec![])), repeat("too many", 10_001)]),
        row("[0].job_id", {
            let mut cases = job_ids();
            cases.push(set("a control character", string("\u{1}")).refused(Code::NotFound, "JOB_NOT_FOUND"));
            cases
        }),
        row(
            "[0].lease_token",
            vec![
                lost(set("zero", Value::U64(0))),
                lost(set("another's", Value::U64(u64::MAX / 2))),
                lost(set("huge", Value::U64(u64::MAX))),
            ],
        ),
    ];
    match items {
        "acks" => rows.extend([
            row("[0].result", vec![set("too long", bytes((64 << 10) + 1))]),
            row("[0].actual_cost", actual_costs()),
        ]),
        "leases" => rows.push(row("[0].lease_duration", lease_durations())),
        _ => rows.extend([
            row(
                "[0].reason",
                vec![
                    set("not said", Value::EnumNumber(0)),
                    set("unknown", Value::EnumNumber(99)),
                    set("negative", Value::EnumNumber(-1)),
                ],
            ),
            free(rpc, &format!("{prefix}{items}[0].error"), "what is too long is cut"),
            row("[0].error_code", vec![set("too long", text(129))]),
            row("[0].actual_cost", actual_costs()),
            row("[0].retry_after", {
                let mut cases = spans();
                for (name, reason) in [("REJECTED", NackReason::Rejected), ("RELEASED", NackReason::Released)]
                {
                    let reason = Value::EnumNumber(reason.into());
                    cases.push(set(name, span(1, 0)).with(&format!("{prefix}{items}[0].reason"), reason));
                }
                cases
            }),
            row("[0].throttle_scope", {
                let reason = format!("{prefix}{items}[0].reason");
                let throttled = |name, value| {
                    set(name, value).with(&reason, Value::EnumNumber(NackReason::Throttled.into()))
                };
                vec![
                    throttled("too deep", string("4")),
                    throttled("neither a number nor a name", string("no name")),
                    throttled("negative", string("-1")),
                    set("not throttled", string("0"))
                        .with(&reason, Value::EnumNumber(NackReason::Failed.into())),
                ]
            }),
        ]),
    }
    rows
}

/// More than a job may cost; nothing is good.
fn actual_costs() -> Vec<Case> {
    vec![set("too much", Value::U32(1_000_000_001)), set("huge", Value::U32(u32::MAX))]
}

/// What is set on a node; at the queue itself its capacity is not.
fn node(rpc: &'static str, prefix: &str) -> Vec<Row> {
    let (is_queue, is_limit) = (prefix == "queue.settings", prefix == "limit.settings");
    let elsewhere = |value, cases| if is_queue || is_limit { vec![set("said", value)] } else { cases };
    let of_siblings = |value, cases: Vec<Case>| if is_limit { vec![set("said", value)] } else { cases };
    let row = |field: &str, cases| row(rpc, &format!("{prefix}{field}"), cases);
    let kind = format!("{prefix}.windows[0].kind");
    vec![
        row("", Vec::new()),
        row(".windows", vec![repeat("too many", 5)]),
        row(".windows[0].kind", policies()),
        row(".windows[0].amount", numbers(1_000_000_000)),
        row(".windows[0].period", {
            let mut cases = spans();
            cases.push(set("zero", span(0, 0)));
            cases.push(set("too short", span(0, 999_999)));
            cases.push(set("too long", span(366 * 86_400, 1)));
            cases
        }),
        row(".windows[0].burst", {
            let mut cases = numbers(1_000_000_000);
            let quota = Value::EnumNumber(WindowKind::Quota.into());
            cases.push(set("of a quota", Value::U32(5)).with(&kind, quota));
            cases
        }),
        row(".windows[0].unit", policies()),
        row(".max_in_flight", numbers(1_000_000)),
        row(".weight", of_siblings(Value::U32(2), numbers(1_000))),
        row(".ordered", of_siblings(Value::Bool(true), Vec::new())),
        row(".adaptive", Vec::new()),
        row(".breaker", Vec::new()),
        row(".breaker.consecutive_failures", numbers(1_000)),
        row(".breaker.open_duration", {
            let mut cases = spans();
            cases.push(set("zero", span(0, 0)));
            cases.push(set("too short", span(0, 999_999_999)));
            cases.push(set("too long", span(86_400, 1)));
            cases
        }),
        row(".max_jobs", elsewhere(Value::U64(1), capacities(1 << 40))),
        row(".max_bytes", elsewhere(Value::U64(1), capacities(1 << 50))),
        row(".overflow_policy", elsewhere(Value::EnumNumber(1), policies())),
    ]
}

fn watch() -> Vec<Row> {
    vec![
        row("GetQueueStatus", "queue", queue_names()),
        row("GetQueueStatus", "key", keys()),
        row("WatchQueue", "queue", queue_names()),
        row("WatchQueue", "min_interval", intervals()),
        // An empty pattern means every queue.
        row(
            "WatchQueues",
            "queue_pattern",
            queue_names().into_iter().filter(|case| case.name != "empty").collect(),
        ),
        row("WatchQueues", "min_interval", intervals()),
        row("Drain", "queue", queue_names()),
        row("Drain", "request_id", {
            let mut cases = request_ids();
            cases.push(set("empty", text(0)));
            cases
        }),
        row("Drain", "max_jobs", numbers(1_000_000)),
        row("Drain", "page_token", page_tokens()),
    ]
}

fn settings() -> Vec<Row> {
    let mut rows = vec![
        row("PutQueue", "queue", vec![missing()]),
        row("PutQueue", "queue.name", queue_names()),
        free("PutQueue", "queue.retry_policy", "not said is the default"),
        row("PutQueue", "queue.lease_duration", lease_durations()),
        row("PutQueue", "queue.retention", spans()),
        row(
            "PutQueue",
            "queue.retention_bytes",
            vec![set("too much", Value::U64((1 << 40) + 1)), set("huge", Value::U64(u64::MAX))],
        ),
        row("PutQueue", "queue.dead_retention", spans()),
        row("PutQueue", "queue.priority_ageing", spans()),
        row("PutQueue", "queue.max_jobs", capacities(1 << 40)),
        row("PutQueue", "queue.max_bytes", capacities(1 << 50)),
        row("PutQueue", "queue.overflow_policy", policies()),
        row("PutQueue", "queue.limit", {
            // An empty one is none.
            let mut cases: Vec<_> = queue_names().into_iter().filter(|case| case.name != "empty").collect();
            cases.push(set("unknown", string("nobody")).refused(Code::NotFound, "LIMIT_NOT_FOUND"));
            cases
        }),
        row("PutQueue", "queue.key_rules", vec![repeat("too many", 101)]),
        row("PutQueue", "queue.key_rules[0].key_pattern", {
            let mut cases = keys();
            cases.push(set("empty", text(0)));
            cases
        }),
        free("PutQueue", "queue.paused", "yes and no are both good"),
        row("PutQueue", "queue.idempotency_window", spans()),
        free("PutQueue", "queue.reserve", "not said is none"),
        row("PutQueue", "queue.reserve.min_priority", vec![set("too high", Value::U32(10))]),
        row("PutQueue", "queue.reserve.percent", numbers(100)),
        free("PutQueue", "queue.flow_hint", "not said is none"),
        row("PutQueue", "queue.flow_hint.medium_load", loads()),
        row("PutQueue", "queue.flow_hint.high_load", {
            let mut cases = loads();
            cases.push(set("below the medium", Value::F64(0.4)));
            cases
        }),
        row(
            "PutQueue",
            "queue.etag",
            vec![
                set("stale", string("1000000")).refused(Code::Aborted, "ETAG_MISMATCH"),
                set("no etag at all", string("é")).refused(Code::Aborted, "ETAG_MISMATCH"),
            ],
        ),
        free("PutQueue", "queue.create_time", "output only: what is read may be sent back"),
        row(
            "PutQueue",
            "update_mask",
            vec![
                set("an unknown field", mask("nope")),
                set("an unknown field of a field", mask("retry_policy.nope")),
                set("a field of a span", mask("lease_duration.seconds")),
                set("an empty path", mask("")),
            ],
        ),
        row("GetQueue", "name", {
            let mut cases = queue_names();
            cases.push(set("unknown", string("nobody")).refused(Code::NotFound, "QUEUE_NOT_FOUND"));
            cases
        }),
        row("ListQueues", "page_size", page_sizes()),
        // A token is where to go on: in a list of names, after any name.
        row("ListQueues", "page_token", vec![set("no token at all", string("!")), set("huge", text(10_000))]),
    ];
    rows.extend(node("PutQueue", "queue.settings"));
    rows.extend(node("PutQueue", "queue.key_rules[0].settings"));
    rows.extend(retry_policy("PutQueue", "queue.retry_policy"));
    for level in ["low", "medium", "high"] {
        let field = format!("queue.flow_hint.{level}");
        rows.push(free("PutQueue", &field, "not said is the default"));
        rows.push(row("PutQueue", &format!("{field}.batch_size"), numbers(1_000)));
        rows.push(row("PutQueue", &format!("{field}.wait"), waits()));
    }
    let known = || {
        let mut cases = queue_names();
        cases.push(set("unknown", string("nobody")).refused(Code::NotFound, "QUEUE_NOT_FOUND"));
        cases
    };
    rows.extend([
        row("DeleteQueue", "name", known()),
        row(
            "DeleteQueue",
            "force",
            vec![set("no", Value::Bool(false)).refused(Code::FailedPrecondition, "QUEUE_NOT_EMPTY")],
        ),
        row("ResetNode", "queue", known()),
        row("ResetNode", "key", keys()),
        row("ResetNode", "limit", vec![set("beside a queue", string("vendor"))]),
        row("PauseQueue", "name", known()),
        row("ResumeQueue", "name", known()),
        row("ListKeys", "queue", known()),
        row("ListKeys", "key_prefix", keys()),
        row("ListKeys", "page_size", page_sizes()),
        row("ListKeys", "page_token", page_tokens()),
    ]);
    rows
}

fn limits() -> Vec<Row> {
    let known = || {
        let mut cases = queue_names();
        cases.push(set("unknown", string("nobody")).refused(Code::NotFound, "LIMIT_NOT_FOUND"));
        cases
    };
    let mut rows = vec![
        row("PutLimit", "limit", vec![missing()]),
        row("PutLimit", "limit.name", queue_names()),
        row("PutLimit", "limit.priority_ageing", spans()),
        row(
            "PutLimit",
            "limit.etag",
            vec![set("stale", string("1000000")).refused(Code::Aborted, "ETAG_MISMATCH")],
        ),
        row("PutLimit", "update_mask", vec![set("an unknown field", mask("nope"))]),
        row("GetLimit", "name", known()),
        row("DeleteLimit", "name", known()),
        row("ListLimits", "page_size", page_sizes()),
        row("ListLimits", "page_token", vec![set("no token at all", string("!"))]),
        row("AcquireLimit", "limit", vec![set("beside a queue", string("vendor"))]),
        row("AcquireLimit", "queue", queue_names()),
        row("AcquireLimit", "key", keys()),
        row("AcquireLimit", "cost", numbers(1_000_000_000)),
        row("AcquireLimit", "wait_timeout", waits()),
    ];
    for output in ["queues", "in_flight", "tokens", "frozen_until_time", "rate_in_force", "breaker"] {
        rows.push(free("PutLimit", &format!("limit.{output}"), "output only: what is read may be sent back"));
    }
    rows.extend(node("PutLimit", "limit.settings"));
    rows
}

fn sweeps() -> Vec<Row> {
    let states = |states: &[i32]| Value::List(states.iter().map(|state| Value::EnumNumber(*state)).collect());
    let unknown_states = || {
        vec![
            set("not said", states(&[0])),
            set("unknown", states(&[99])),
            set("negative", states(&[-1])),
            set("too many", states(&[6; 17])),
        ]
    };
    let state = |state: JobState| states(&[state.into()]);
    let mut requeue = unknown_states();
    requeue.push(set("READY", state(JobState::Ready)));
    requeue.push(set("LEASED", state(JobState::Leased)));
    requeue.push(set("COMPLETED", state(JobState::Completed)));
    let mut purge = unknown_states();
    purge.push(set("LEASED", state(JobState::Leased)));
    purge.push(set("none", states(&[])));
    // An empty name means every queue, where that is allowed.
    let listed = queue_names().into_iter().filter(|case| case.name != "empty").collect();
    let mut rows = Vec::new();
    for rpc in ["ListJobs", "RequeueJobs", "PurgeJobs"] {
        rows.push(row(rpc, "filter.key_prefix", keys()));
        rows.push(row(rpc, "filter.labels", labels()));
        rows.push(row(rpc, "filter.error_code", vec![set("too long", text(129))]));
        for time in ["create_time_from", "create_time_until", "end_time_from", "end_time_until"] {
            rows.push(row(rpc, &format!("filter.{time}"), times()));
        }
    }
    let pace = |name, pace| set(name, Value::F64(pace));
    rows.push(row(
        "RequeueJobs",
        "pace",
        vec![
            pace("zero", 0.0),
            pace("negative", -1.0),
            pace("not a number", f64::NAN),
            pace("infinite", f64::INFINITY),
            pace("too fast", 1_000_001.0),
            pace("so slow that it takes decades", 0.000_1),
        ],
    ));
    rows.extend([
        free("RequeueJobs", "dry_run", "yes and no are both good"),
        free("PurgeJobs", "dry_run", "yes and no are both good"),
        free("ListJobs", "filter", "none is every job"),
        row("ListJobs", "filter.queue", listed),
        row("ListJobs", "filter.states", unknown_states()),
        row("ListJobs", "page_size", page_sizes()),
        row("ListJobs", "page_token", page_tokens()),
        free("ListJobs", "include_payload", "yes and no are both good"),
        row("RequeueJobs", "filter", vec![missing()]),
        row("RequeueJobs", "filter.queue", queue_names()),
        row("RequeueJobs", "filter.states", requeue),
        row("RequeueJobs", "max_jobs", numbers(1_000_000)),
        row("PurgeJobs", "filter", vec![missing()]),
        row("PurgeJobs", "filter.queue", queue_names()),
        row("PurgeJobs", "filter.states", purge),
        row("PurgeJobs", "max_jobs", numbers(1_000_000)),
    ]);
    rows
}

fn retry_policy(rpc: &'static str, field: &str) -> Vec<Row> {
    let row = |name: &str, cases: Vec<Case>| row(rpc, &format!("{field}.{name}"), cases);
    let double = |name, number| set(name, Value::F64(number));
    let odd = || vec![double("not a number", f64::NAN), double("infinite", f64::INFINITY)];
    let mut multipliers = odd();
    multipliers.extend([double("too small", 0.99), double("too large", 100.1), double("negative", -2.0)]);
    let mut jitters = odd();
    jitters.extend([double("negative", -0.1), double("too large", 1.1)]);
    vec![
        row("max_attempts", numbers(1_000)),
        row("initial_backoff", spans()),
        row("multiplier", multipliers),
        row("max_backoff", spans()),
        row("jitter", jitters),
    ]
}

fn queue_names() -> Vec<Case> {
    vec![
        set("empty", text(0)),
        set("too long", text(129)),
        set("with a space", string("a b")),
        set("with a slash", string("a/b")),
        set("with a letter of another alphabet", string("é")),
        set("with a zero byte", string("a\0")),
    ]
}

fn job_ids() -> Vec<Case> {
    vec![
        set("empty", text(0)),
        set("too long", text(129)),
        set("unknown", string("18446744073709551615")).refused(Code::NotFound, "JOB_NOT_FOUND"),
        set("no id at all", string("../../etc")).refused(Code::NotFound, "JOB_NOT_FOUND"),
    ]
}

fn batch_names() -> Vec<Case> {
    vec![set("too long", text(129)), set("with a control character", string("a\nb"))]
}

fn batch_totals() -> Vec<Case> {
    let map = |names: Vec<String>| {
        Value::Map(names.into_iter().map(|name| (MapKey::String(name), Value::U64(1))).collect())
    };
    vec![
        set("too many", map((0..1_001).map(|n| n.to_string()).collect())),
        set("a name too long", map(vec!["n".repeat(129)])),
        set("an empty name", map(vec![String::new()])),
        set("a name with a control character", map(vec!["a\nb".to_owned()])),
    ]
}

/// For what is 1 to `most`.
fn capacities(most: u64) -> Vec<Case> {
    vec![set("zero", Value::U64(0)), set("too much", Value::U64(most + 1)), set("huge", Value::U64(u64::MAX))]
}

fn policies() -> Vec<Case> {
    vec![set("unknown", Value::EnumNumber(99)), set("negative", Value::EnumNumber(-1))]
}

fn loads() -> Vec<Case> {
    let load = |name, load| set(name, Value::F64(load));
    vec![load("negative", -0.1), load("too high", 1.1), load("not a number", f64::NAN)]
}

/// For what is 0 to a minute.
fn waits() -> Vec<Case> {
    let mut cases = spans();
    cases.push(set("too long", span(60, 1_000_000)));
    cases
}

/// For what is 50 ms to a minute.
fn intervals() -> Vec<Case> {
    let mut cases = spans();
    cases.push(set("zero", span(0, 0)));
    cases.push(set("too short", span(0, 49_000_000)));
    cases.push(set("too long", span(60, 1_000_000)));
    cases
}

fn keys() -> Vec<Case> {
    vec![
        set("too long", text(257)),
        set("with an empty segment", string("a//b")),
        set("with an empty first segment", string("/a")),
        set("with an empty last segment", string("a/")),
        set("with too many segments", string("a/b/c/d")),
        set("with a control character", string("a\nb")),
    ]
}

fn labels() -> Vec<Case> {
    let map = |labels: Vec<(String, String)>| {
        let entries = labels.into_iter().map(|(name, value)| (MapKey::String(name), Value::String(value)));
        Value::Map(entries.collect())
    };
    let one = |name: usize, value: usize| map(vec![("n".repeat(name), "v".repeat(value))]);
    vec![
        set("too many", map((0..17).map(|n| (n.to_string(), String::new())).collect())),
        set("a name too long", one(129, 1)),
        set("a value too long", one(1, 129)),
        set("an empty name", one(0, 1)),
    ]
}

fn request_ids() -> Vec<Case> {
    vec![
        set("too long", text(37)),
        set("with a letter of another alphabet", string("é")),
        set("with a control character", string("a\tb")),
    ]
}

fn page_tokens() -> Vec<Case> {
    vec![set("no token at all", string("!")), set("another's", string("AAAA")), set("huge", text(10_000))]
}

fn page_sizes() -> Vec<Case> {
    vec![
        set("negative", Value::I32(-1)),
        set("too large", Value::I32(1_001)),
        set("huge", Value::I32(i32::MAX)),
    ]
}

/// For what is 1 to `most`.
fn numbers(most: u32) -> Vec<Case> {
    vec![set("zero", Value::U32(0)), set("too many", Value::U32(most + 1)), set("huge", Value::U32(u32::MAX))]
}

/// For what is 0 to ten years.
fn spans() -> Vec<Case> {
    vec![
        set("negative", span(-1, 0)),
        set("negative by its nanoseconds", span(0, -1)),
        set("over ten years", span(3_700 * 86_400, 0)),
        set("huge", span(i64::MAX, 999_999_999)),
        set("as negative as can be", span(i64::MIN, i32::MIN)),
        set("with too many nanoseconds", span(1, 1_000_000_000)),
        set("of two signs", span(1, -1)),
    ]
}

/// For what is 1 s to 12 h.
fn lease_durations() -> Vec<Case> {
    let mut cases = spans();
    cases.push(set("zero", span(0, 0)));
    cases.push(set("too short", span(0, 999_999_999)));
    cases.push(set("too long", span(12 * 3_600, 1_000_000)));
    cases
}

fn times() -> Vec<Case> {
    vec![
        set("over ten years ahead", time(250_000_000_000, 0)),
        set("huge", time(i64::MAX, 999_999_999)),
        set("as negative as can be", time(i64::MIN, i32::MIN)),
        set("with too many nanoseconds", time(1, 1_000_000_000)),
        set("with negative nanoseconds", time(1, -1)),
    ]
}

fn row(rpc: &'static str, field: &str, cases: Vec<Case>) -> Row {
    Row { rpc, field: field.to_owned(), cases }
}

/// A field that refuses nothing, and why.
fn free(rpc: &'static str, field: &str, _reason: &str) -> Row {
    row(rpc, field, Vec::new())
}

fn set(name: &'static str, value: Value) -> Case {
    Case { name, expect: Expect::Named, change: Change::Set(value), also: Vec::new() }
}

fn missing() -> Case {
    Case { name: "missing", expect: Expect::Named, change: Change::Clear, also: Vec::new() }
}

fn repeat(name: &'static str, times: usize) -> Case {
    Case { name, expect: Expect::Named, change: Change::Repeat(times), also: Vec::new() }
}

fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn text(bytes: usize) -> Value {
    Value::String("a".repeat(bytes))
}

fn bytes(count: usize) -> Value {
    Value::Bytes(vec![7; count].into())
}

fn span(seconds: i64, nanos: i32) -> Value {
    imported("Duration", &[("seconds", Value::I64(seconds)), ("nanos", Value::I32(nanos))])
}

fn time(seconds: i64, nanos: i32) -> Value {
    imported("Timestamp", &[("seconds", Value::I64(seconds)), ("nanos", Value::I32(nanos))])
}

fn mask(path: &str) -> Value {
    imported("FieldMask", &[("paths", Value::List(vec![string(path)]))])
}

fn imported(name: &str, fields: &[(&str, Value)]) -> Value {
    let descriptor = wire::contract().get_message_by_name(&format!("google.protobuf.{name}"));
    let mut message = DynamicMessage::new(descriptor.expect("the contract imports it"));
    for (field, value) in fields {
        message.set_field_by_name(field, value.clone());
    }
    Value::Message(message)
}
