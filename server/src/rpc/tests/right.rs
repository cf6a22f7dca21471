//! Every rpc of both services, by those who may and those who may not. An rpc without a row fails here.

use http::{Request, Response};
use http_body_util::BodyExt;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::body::Body;
use tower::ServiceExt;

use super::*;
use crate::auth::{Auth, Identities, Right, TokenHash};

/// How an rpc is asked, and what becomes of who may not.
struct Row {
    rpc: &'static str,
    /// Any of these will do. None: whoever is known may.
    rights: &'static [Right],
    /// What it asks of the queue (or limit) and the job in it.
    request: fn(&str, &str) -> Vec<u8>,
    /// What it says to who may not.
    forbidden: &'static str,
}

const DENIED: &str = "PERMISSION_DENIED";
const NO_JOB: &str = "JOB_NOT_FOUND";
/// It is not in the list.
const HIDDEN: &str = "HIDDEN";
const OK: &str = "OK";

const ENQUEUE: &[Right] = &[Right::Enqueue];
const CONSUME: &[Right] = &[Right::Consume];
const READ: &[Right] = &[Right::Read, Right::Admin];
const ADMIN: &[Right] = &[Right::Admin];
const CHANGE: &[Right] = &[Right::Enqueue, Right::Admin];
const ACQUIRE: &[Right] = &[Right::Enqueue, Right::Consume];

fn row(
    rpc: &'static str,
    rights: &'static [Right],
    forbidden: &'static str,
    request: fn(&str, &str) -> Vec<u8>,
) -> Row {
    Row { rpc, rights, request, forbidden }
}

fn rows() -> Vec<Row> {
    vec![
        row("QueueService/Enqueue", ENQUEUE, DENIED, |q, _| put(q).encode_to_vec()),
        row("QueueService/EnqueueStream", ENQUEUE, DENIED, |q, _| {
            v1::EnqueueStreamRequest { sequence: 1, request: Some(put(q)) }.encode_to_vec()
        }),
        row("QueueService/GetJob", READ, NO_JOB, |_, job| {
            v1::GetJobRequest { job_id: job.into(), ..Default::default() }.encode_to_vec()
        }),
        row("QueueService/BatchGetJobs", READ, HIDDEN, |_, job| {
            v1::BatchGetJobsRequest { job_ids: vec![job.into()], ..Default::default() }.encode_to_vec()
        }),
        row("QueueService/Lease", CONSUME, DENIED, |q, _| {
            v1::LeaseRequest { queue: q.into(), max_jobs: Some(1), ..Default::default() }.encode_to_vec()
        }),
        row("QueueService/Ack", CONSUME, NO_JOB, |_, job| {
            let ack = v1::Ack { job_id: job.into(), lease_token: 77, ..Default::default() };
            v1::AckRequest { acks: vec![ack] }.encode_to_vec()
        }),
        row("QueueService/Nack", CONSUME, NO_JOB, |_, job| {
            let nack = v1::Nack {
                job_id: job.into(),
                lease_token: 77,
                reason: v1::NackReason::Failed as i32,
                ..Default::default()
            };
            v1::NackRequest { nacks: vec![nack] }.encode_to_vec()
        }),
        row("QueueService/ExtendLease", CONSUME, NO_JOB, |_, job| {
            let lease = v1::LeaseExtension { job_id: job.into(), lease_token: 77, ..Default::default() };
            v1::ExtendLeaseRequest { leases: vec![lease] }.encode_to_vec()
        }),
        row("QueueService/Work", CONSUME, DENIED, |q, _| {
            let start = v1::WorkStart { queue: q.into(), credit: 1, ..Default::default() };
            v1::WorkRequest { message: Some(v1::work_request::Message::Start(start)) }.encode_to_vec()
        }),
        row("QueueService/CancelJob", CHANGE, NO_JOB, |_, job| {
            v1::CancelJobRequest { job_id: job.into() }.encode_to_vec()
        }),
        row("QueueService/UpdateJob", CHANGE, NO_JOB, |_, job| {
            v1::UpdateJobRequest { job_id: job.into(), priority: Some(5), ..Default::default() }
                .encode_to_vec()
        }),
        row("QueueService/GetBatch", READ, DENIED, |q, _| {
            v1::GetBatchRequest { queue: q.into(), batch_id: "b".into(), ..Default::default() }
                .encode_to_vec()
        }),
        row("QueueService/GetQueueStatus", READ, DENIED, |q, _| {
            v1::GetQueueStatusRequest { queue: q.into(), ..Default::default() }.encode_to_vec()
        }),
        row("QueueService/WatchQueue", READ, DENIED, |q, _| {
            v1::WatchQueueRequest { queue: q.into(), ..Default::default() }.encode_to_vec()
        }),
        row("QueueService/WatchQueues", READ, HIDDEN, |q, _| {
            v1::WatchQueuesRequest { queue_pattern: q.into(), ..Default::default() }.encode_to_vec()
        }),
        row("QueueService/Drain", CONSUME, DENIED, |q, _| {
            v1::DrainRequest { queue: q.into(), request_id: "d".into(), ..Default::default() }.encode_to_vec()
        }),
        row("QueueService/AcquireLimit", ACQUIRE, DENIED, |q, _| {
            v1::AcquireLimitRequest { limit: q.into(), ..Default::default() }.encode_to_vec()
        }),
        row("AdminService/PutQueue", ADMIN, DENIED, |q, _| {
            let queue = v1::Queue { name: q.into(), ..Default::default() };
            v1::PutQueueRequest { queue: Some(queue), update_mask: None }.encode_to_vec()
        }),
        row("AdminService/GetQueue", READ, DENIED, |q, _| {
            v1::GetQueueRequest { name: q.into() }.encode_to_vec()
        }),
        row("AdminService/ListQueues", READ, HIDDEN, |_, _| v1::ListQueuesRequest::default().encode_to_vec()),
        row("AdminService/PutLimit", ADMIN, DENIED, |q, _| {
            let limit = v1::Limit { name: q.into(), ..Default::default() };
            v1::PutLimitRequest { limit: Some(limit), update_mask: None }.encode_to_vec()
        }),
        row("AdminService/GetLimit", READ, DENIED, |q, _| {
            v1::GetLimitRequest { name: q.into() }.encode_to_vec()
        }),
        row("AdminService/ListLimits", READ, HIDDEN, |_, _| v1::ListLimitsRequest::default().encode_to_vec()),
        row("AdminService/PauseQueue", ADMIN, DENIED, |q, _| {
            v1::PauseQueueRequest { name: q.into() }.encode_to_vec()
        }),
        row("AdminService/ResumeQueue", ADMIN, DENIED, |q, _| {
            v1::ResumeQueueRequest { name: q.into() }.encode_to_vec()
        }),
        row("AdminService/ResetNode", ADMIN, DENIED, |q, _| {
            v1::ResetNodeRequest { limit: q.into(), ..Default::default() }.encode_to_vec()
        }),
        row("AdminService/ListKeys", READ, DENIED, |q, _| {
            v1::ListKeysRequest { queue: q.into(), ..Default::default() }.encode_to_vec()
        }),
        row("AdminService/ListJobs", READ, HIDDEN, |_, _| v1::ListJobsRequest::default().encode_to_vec()),
        row("AdminService/ExplainJob", READ, NO_JOB, |_, job| {
            v1::ExplainJobRequest { job_id: job.into() }.encode_to_vec()
        }),
        row("AdminService/RequeueJobs", ADMIN, DENIED, |q, _| {
            v1::RequeueJobsRequest { filter: Some(filter(q)), dry_run: true, ..Default::default() }
                .encode_to_vec()
        }),
        row("AdminService/PurgeJobs", ADMIN, DENIED, |q, _| {
            let states = vec![v1::JobState::Dead as i32];
            let filter = v1::JobFilter { states, ..filter(q) };
            v1::PurgeJobsRequest { filter: Some(filter), dry_run: true, ..Default::default() }.encode_to_vec()
        }),
        row("AdminService/GetServerInfo", &[], OK, |_, _| v1::GetServerInfoRequest {}.encode_to_vec()),
        row("AdminService/DeleteLimit", ADMIN, DENIED, |q, _| {
            v1::DeleteLimitRequest { name: q.into() }.encode_to_vec()
        }),
        // The last two: what is asked above is gone or seen then.
        row("AdminService/DeleteQueue", ADMIN, DENIED, |q, _| {
            v1::DeleteQueueRequest { name: q.into(), force: true }.encode_to_vec()
        }),
        row("AdminService/Backup", ADMIN, DENIED, |_, _| v1::BackupRequest {}.encode_to_vec()),
    ]
}

fn put(queue: &str) -> v1::EnqueueRequest {
    v1::EnqueueRequest { queue: queue.to_owned(), ..enqueue(vec![spec("a")]) }
}

fn filter(queue: &str) -> v1::JobFilter {
    v1::JobFilter { queue: queue.to_owned(), ..Default::default() }
}

const ALL: [Right; 5] = [Right::Enqueue, Right::Consume, Right::Read, Right::Admin, Right::Bypass];
const TOKEN: &str = "secret";

/// One who has rights on queues that are like `pattern`.
fn identity(name: &str, token: &str, pattern: &str, rights: &[Right]) -> String {
    let hash = TokenHash::new(token.as_bytes());
    let rights: Vec<String> = rights.iter().map(|right| format!("\"{}\"", right.name())).collect();
    format!(
        "[[identity]]\nname = \"{name}\"\ntokens = [\"{hash}\"]\n\
         grants = [{{ queues = [\"{pattern}\"], rights = [{}] }}]\n",
        rights.join(",")
    )
}

/// A server with a queue and a limit `theirs`, and a job, who knows only a keeper of everything.
async fn serving() -> (Server, Auth, String) {
    let auth = Auth::of(Identities::parse(&identity("keeper", "keeper", "*", &ALL)).unwrap());
    let mut server = Server::start_for(RpcSettings::default(), auth.clone()).await;
    let first = v1::JobSpec { batch_id: "b".to_owned(), ..spec("a") };
    let put_in = keeper(v1::EnqueueRequest { jobs: vec![first], ..put("theirs") });
    let job = server.queues.enqueue(put_in).await.unwrap().into_inner().jobs.remove(0).job_id;
    let limit = v1::Limit { name: "theirs".to_owned(), ..Default::default() };
    let put_limit = keeper(v1::PutLimitRequest { limit: Some(limit), update_mask: None });
    server.admin.put_limit(put_limit).await.unwrap();
    (server, auth, job)
}

fn keeper<M>(message: M) -> tonic::Request<M> {
    with_token(message, "keeper")
}

fn with_token<M>(message: M, token: &str) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Makes a call with a request as it stands; gives how it was refused, or the first message of the answer.
async fn call(server: &Server, rpc: &str, message: &[u8], token: Option<&str>) -> Result<Vec<u8>, String> {
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let body = Body::new(http_body_util::Full::new(body.into()).map_err(|never| match never {}));
    let request = Request::post(format!("/sluice.v1.{rpc}")).header("content-type", "application/grpc");
    let request = match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    };
    let answer: Response<Body> = server.service.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let reason = |headers: &http::HeaderMap| match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Some(super::reason::<()>(Err(status)).1),
        _ => None,
    };
    if let Some(reason) = reason(answer.headers()) {
        return Err(reason);
    }
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.unwrap();
        if let Some(data) = frame.data_ref() {
            return Ok(data.slice(5..).to_vec());
        }
        if let Some(reason) = frame.trailers_ref().and_then(reason) {
            return Err(reason);
        }
    }
    Ok(Vec::new())
}

/// How the caller was answered: refusals may be within the answer.
async fn outcome(server: &Server, row: &Row, queue: &str, job: &str, token: Option<&str>) -> String {
    let request = (row.request)(queue, job);
    let calling = call(server, row.rpc, &request, token);
    // A worker that is let in hears nothing until there are jobs: only who is refused hears at once.
    let patience = std::time::Duration::from_secs(2);
    let answer = match tokio::time::timeout(patience, calling).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(reason)) => return reason,
        Err(_) => return OK.to_owned(),
    };
    let bytes = &*answer;
    let of_item = |error: Option<v1::ItemError>| error.map(|error| error.reason);
    let hidden = |is_there: bool| (!is_there).then(|| HIDDEN.to_owned());
    let refused = match row.rpc.split('/').nth(1).unwrap() {
        "EnqueueStream" => match v1::EnqueueStreamResponse::decode(bytes).unwrap().outcome.unwrap() {
            v1::enqueue_stream_response::Outcome::Error(error) => Some(error.reason),
            v1::enqueue_stream_response::Outcome::Response(_) => None,
        },
        "Ack" => of_item(v1::AckResponse::decode(bytes).unwrap().results.remove(0).error),
        "Nack" => of_item(v1::NackResponse::decode(bytes).unwrap().results.remove(0).error),
        "ExtendLease" => of_item(v1::ExtendLeaseResponse::decode(bytes).unwrap().results.remove(0).error),
        "BatchGetJobs" => hidden(!v1::BatchGetJobsResponse::decode(bytes).unwrap().jobs.is_empty()),
        "WatchQueues" => hidden(!v1::WatchQueuesResponse::decode(bytes).unwrap().statuses.is_empty()),
        "ListQueues" => hidden(!v1::ListQueuesResponse::decode(bytes).unwrap().queues.is_empty()),
        "ListLimits" => hidden(!v1::ListLimitsResponse::decode(bytes).unwrap().limits.is_empty()),
        "ListJobs" => hidden(!v1::ListJobsResponse::decode(bytes).unwrap().jobs.is_empty()),
        _ => None,
    };
    refused.unwrap_or_else(|| OK.to_owned())
}

#[test]
fn every_rpc_has_a_row() {
    let all = FileDescriptorSet::decode(sluice_proto::FILE_DESCRIPTOR_SET).unwrap();
    let ours = all.file.iter().filter(|file| file.package() == "sluice.v1");
    let mut rpcs: Vec<String> = ours
        .flat_map(|file| &file.service)
        .flat_map(|service| service.method.iter().map(|rpc| format!("{}/{}", service.name(), rpc.name())))
        .collect();
    let mut rows: Vec<String> = rows().iter().map(|row| row.rpc.to_owned()).collect();
    rpcs.sort();
    rows.sort();
    assert_eq!(rpcs, rows);
    for rpc in rpcs {
        assert!(crate::rpc::right::need(&format!("/sluice.v1.{rpc}")).is_some(), "{rpc} needs no right");
    }
}

#[tokio::test]
async fn nobody_makes_a_call_without_a_token_that_is_known() {
    let (server, _auth, job) = serving().await;
    for row in rows() {
        for token in [None, Some("wrong"), Some("")] {
            assert_eq!(outcome(&server, &row, "theirs", &job, token).await, "UNAUTHENTICATED", "{}", row.rpc);
        }
    }
}

#[tokio::test]
async fn who_has_every_right_elsewhere_cannot_tell_what_exists_from_what_does_not() {
    let (server, auth, job) = serving().await;
    auth.replace(Identities::parse(&identity("me", TOKEN, "mine.*", &ALL)).unwrap());
    for row in rows() {
        for (queue, job) in [("theirs", &*job), ("nowhere", "999999999")] {
            let outcome = outcome(&server, &row, queue, job, Some(TOKEN)).await;
            assert_eq!(outcome, row.forbidden, "{} on {queue}", row.rpc);
        }
    }
}

#[tokio::test]
async fn who_has_every_right_but_the_one_is_refused() {
    let (server, auth, job) = serving().await;
    for row in rows().iter().filter(|row| !row.rights.is_empty()) {
        // Who may administer may read.
        let is_other = |right: &&Right| !row.rights.contains(right);
        let others: Vec<Right> = ALL.iter().filter(is_other).copied().collect();
        auth.replace(Identities::parse(&identity("me", TOKEN, "*", &others)).unwrap());
        let outcome = outcome(&server, row, "theirs", &job, Some(TOKEN)).await;
        assert_eq!(outcome, DENIED, "{}", row.rpc);
    }
}

#[tokio::test]
async fn any_one_of_the_rights_is_enough() {
    for right in ALL {
        let (server, auth, job) = serving().await;
        for row in rows().iter().filter(|row| row.rights.contains(&right)) {
            let pattern = if row.rpc.ends_with("Backup") { "*" } else { "th*" };
            auth.replace(Identities::parse(&identity("me", TOKEN, pattern, &[right])).unwrap());
            let outcome = outcome(&server, row, "theirs", &job, Some(TOKEN)).await;
            // The job is not leased, so that nobody can settle it: which is told only to who may know of it.
            let is_fine = !["UNAUTHENTICATED", DENIED, NO_JOB, HIDDEN].contains(&&*outcome);
            assert!(is_fine, "{} with {}: {outcome}", row.rpc, right.name());
        }
    }
}

#[tokio::test]
async fn jobs_that_pass_limits_need_a_right_of_their_own() {
    let (mut server, auth, _) = serving().await;
    let urgent = || v1::JobSpec { bypass_limits: true, ..spec("a") };
    let request =
        || with_token(v1::EnqueueRequest { jobs: vec![spec("a"), urgent()], ..put("theirs") }, TOKEN);
    auth.replace(Identities::parse(&identity("me", TOKEN, "theirs", &[Right::Enqueue])).unwrap());
    let refused = server.queues.enqueue(request()).await;
    assert_eq!(reason(refused), (Code::PermissionDenied, DENIED.to_owned()));
    let both = [Right::Enqueue, Right::Bypass];
    auth.replace(Identities::parse(&identity("me", TOKEN, "theirs", &both)).unwrap());
    server.queues.enqueue(request()).await.unwrap();
}

#[tokio::test]
async fn queue_hangs_only_under_limits_that_its_operator_may_use() {
    let (mut server, auth, _) = serving().await;
    auth.replace(Identities::parse(&identity("me", TOKEN, "mine.*", &[Right::Admin])).unwrap());
    for limit in ["theirs", "nowhere"] {
        let queue = v1::Queue { name: "mine.a".into(), limit: limit.into(), ..Default::default() };
        let put = with_token(v1::PutQueueRequest { queue: Some(queue), update_mask: None }, TOKEN);
        assert_eq!(reason(server.admin.put_queue(put).await), (Code::PermissionDenied, DENIED.to_owned()));
    }
}

#[tokio::test]
async fn lists_show_what_the_caller_may_read_and_page_over_the_rest() {
    let (mut server, auth, _) = serving().await;
    for number in 0..7 {
        for owner in ["a", "b", "c"] {
            server.queues.enqueue(keeper(put(&format!("q{number}.{owner}")))).await.unwrap();
        }
    }
    auth.replace(Identities::parse(&identity("me", TOKEN, "*.b", &[Right::Read])).unwrap());
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = with_token(v1::ListQueuesRequest { page_size: 2, page_token }, TOKEN);
        let page = server.admin.list_queues(request).await.unwrap().into_inner();
        assert!(page.queues.len() <= 2);
        names.extend(page.queues.into_iter().map(|queue| queue.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let expected: Vec<String> = (0..7).map(|number| format!("q{number}.b")).collect();
    assert_eq!(names, expected);
    let request = with_token(v1::ListJobsRequest::default(), TOKEN);
    let jobs = server.admin.list_jobs(request).await.unwrap().into_inner().jobs;
    assert_eq!(jobs.iter().map(|job| &*job.queue).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn stream_and_long_poll_end_when_the_token_is_taken_back() {
    let (mut server, auth, _) = serving().await;
    auth.replace(Identities::parse(&identity("me", TOKEN, "*", &ALL)).unwrap());
    let request = with_token(v1::WatchQueueRequest { queue: "theirs".into(), ..Default::default() }, TOKEN);
    let mut watch = server.queues.watch_queue(request).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    let wait_timeout = Some(prost_types::Duration { seconds: 50, nanos: 0 });
    let lease = v1::LeaseRequest { queue: "empty".into(), wait_timeout, ..Default::default() };
    let mut worker = server.queues.clone();
    let waiting = tokio::spawn(async move { worker.lease(with_token(lease, TOKEN)).await });
    auth.replace(Identities::parse(&identity("other", "other", "*", &ALL)).unwrap());
    let ended = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason::<()>(Err(ended)), (Code::Unauthenticated, "UNAUTHENTICATED".to_owned()));
    let lease = waiting.await.unwrap();
    assert_eq!(reason(lease), (Code::Unauthenticated, "UNAUTHENTICATED".to_owned()));
}

#[tokio::test]
async fn callers_do_not_share_request_ids() {
    let (mut server, auth, _) = serving().await;
    let both = identity("a", "a", "*", &ALL) + &identity("b", "b", "*", &ALL);
    auth.replace(Identities::parse(&both).unwrap());
    let request = || v1::EnqueueRequest { request_id: "r".into(), ..put("shared") };
    let mut ids = Vec::new();
    for token in ["a", "b", "a"] {
        let answer = server.queues.enqueue(with_token(request(), token)).await.unwrap().into_inner();
        ids.push(answer.jobs[0].job_id.clone());
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0], ids[2]);
}

#[tokio::test]
async fn health_is_open_and_reflection_wants_to_know_who_asks() {
    let (server, _auth, _) = serving().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.service.clone());
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
    let path = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    for (token, code) in [(None, Some("UNAUTHENTICATED")), (Some("keeper"), None)] {
        let request = Request::post(format!("/{path}")).header("content-type", "application/grpc");
        let request = match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let answer = server.service.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = Status::from_header_map(answer.headers()).filter(|status| status.code() != Code::Ok);
        assert_eq!(status.map(|status| reason::<()>(Err(status)).1).as_deref(), code);
    }
}
