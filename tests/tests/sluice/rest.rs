//! Waiting for what comes of jobs: GetJob, BatchGetJobs and `sluice enqueue --wait` answer when they are at rest,
//! or when the time is over.

use std::time::{Duration, Instant};

use sluice_proto::v1::{
    Ack, BatchGetJobsRequest, BatchGetJobsResponse, GetJobRequest, Job, JobSpec, JobState, NackReason,
    OverflowPolicy,
};
use sluice_tests::{Queue, Sluiced, cli, spec, status};
use tokio::task::JoinHandle;
use tonic::{Code, Request, Status};

fn request(job_id: &str, wait: Duration) -> GetJobRequest {
    GetJobRequest { job_id: job_id.to_owned(), include_payload: false, wait_timeout: Some(spec::span(wait)) }
}

/// Waits for a job in a task of its own.
fn wait_for(queue: &Queue, job_id: &str) -> JoinHandle<Result<Job, Status>> {
    let (mut rpc, request) = (queue.rpc.clone(), request(job_id, Duration::from_secs(30)));
    tokio::spawn(async move { Ok(rpc.get_job(request).await?.into_inner().job.unwrap()) })
}

/// That nobody is answered for a while.
async fn assert_waiting<T>(calls: &mut [JoinHandle<T>]) {
    tokio::time::sleep(Duration::from_millis(300)).await;
    for (n, call) in calls.iter().enumerate() {
        assert!(!call.is_finished(), "call {n} is answered before its job is at rest");
    }
}

fn batch(ids: &[String]) -> BatchGetJobsRequest {
    BatchGetJobsRequest { job_ids: ids.to_vec(), ..BatchGetJobsRequest::default() }
}

async fn read(queue: &Queue, request: BatchGetJobsRequest) -> BatchGetJobsResponse {
    queue.rpc.clone().batch_get_jobs(request).await.unwrap().into_inner()
}

fn names(jobs: &[Job]) -> Vec<String> {
    jobs.iter().map(|job| job.job_id.clone()).collect()
}

#[tokio::test]
async fn get_job_waits_for_each_state_in_which_a_job_is_at_rest() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("rest");
    let settings = sluice_proto::v1::Queue {
        max_jobs: Some(6),
        overflow_policy: OverflowPolicy::DropOldest.into(),
        ..spec::retrying(2, Duration::ZERO)
    };
    queue.put(settings).await;
    let ids = queue.enqueue((0..5).map(|n| spec::urgent(9 - n, "x")).collect()).await;
    let ttl = Some(spec::millis(2_000));
    let mortal = queue.enqueue_one(JobSpec { ttl, ..spec::urgent(9, "x") }).await;
    let out = queue.lease(3).await;
    let held: Vec<String> = out.iter().map(spec::id).collect();
    assert_eq!(held, [&ids[0], &mortal, &ids[1]].map(String::clone));
    let all = [&ids[0], &ids[1], &ids[2], &ids[3], &ids[4]];
    let mut calls: Vec<_> = all.iter().map(|id| wait_for(&queue, id)).collect();
    assert_waiting(&mut calls).await;
    // An attempt that failed and one that is given back are no rest.
    queue.nack(&out[2], NackReason::Failed).await;
    let out_again = queue.lease(1).await;
    assert_eq!(spec::id(&out_again[0]), ids[1]);
    assert_waiting(&mut calls).await;
    let expiring = wait_for(&queue, &mortal);

    let ack = Ack { result: Some("done".into()), ..spec::ack(&out[0]) };
    assert_eq!(queue.try_ack(vec![ack]).await[0].error, None);
    assert_eq!(queue.nack(&out_again[0], NackReason::Failed).await.state(), JobState::Dead);
    queue.try_cancel(&ids[2]).await.unwrap();
    // Two are left of five, and the one that is held: four more, and the last one makes room.
    queue.enqueue((0..4).map(|_| spec::urgent(9, "fills")).collect()).await;
    queue.drain_all("drain-1").await;
    let expected =
        [JobState::Completed, JobState::Dead, JobState::Cancelled, JobState::Drained, JobState::Dropped];
    for (call, (id, state)) in calls.into_iter().zip(all.iter().zip(expected)) {
        let job = call.await.unwrap().unwrap();
        assert_eq!((&job.job_id, job.state(), job.payload), (*id, state, None));
        assert!(job.end_time.is_some());
        assert_eq!(job.result.is_some(), state == JobState::Completed);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    queue.nack(&out[1], NackReason::Released).await;
    assert_eq!(expiring.await.unwrap().unwrap().state(), JobState::Expired);
}

#[tokio::test]
async fn get_job_answers_as_it_stands_when_the_time_is_over() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("over");
    let id = queue.enqueue_one(spec::job("x")).await;
    let wait = Duration::from_millis(500);
    let began = Instant::now();
    let answer = queue.rpc.clone().get_job(request(&id, wait)).await.unwrap().into_inner();
    assert_eq!(answer.job.unwrap().state(), JobState::Ready);
    assert!(began.elapsed() >= wait);

    // No longer than the caller's deadline, and in time for it.
    let mut call = Request::new(request(&id, Duration::from_secs(60)));
    call.set_timeout(Duration::from_secs(2));
    let began = Instant::now();
    let answer = queue.rpc.clone().get_job(call).await.unwrap().into_inner();
    assert_eq!(answer.job.unwrap().state(), JobState::Ready);
    assert!(began.elapsed() >= Duration::from_secs(1), "it has waited");
}

#[tokio::test]
async fn get_job_does_not_wait_for_what_rests_or_is_not_there() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("at-once");
    let ids = queue.enqueue(spec::jobs("x", 2)).await;
    let out = queue.lease(1).await;
    queue.ack(&out).await;
    let began = Instant::now();
    assert_eq!(wait_for(&queue, &ids[0]).await.unwrap().unwrap().state(), JobState::Completed);
    let unknown = wait_for(&queue, "no-such-job").await.unwrap();
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    // Nor for what is purged meanwhile.
    let mut call = [wait_for(&queue, &ids[1])];
    assert_waiting(&mut call).await;
    assert_eq!(queue.purge(&[JobState::Ready]).await, 1);
    let [call] = call;
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::NotFound);
    assert!(began.elapsed() < Duration::from_secs(20), "none of them has waited its 30 s");
}

#[tokio::test]
async fn who_waits_for_a_job_is_told_when_the_server_stops() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("stop");
    let id = queue.enqueue_one(spec::job("x")).await;
    let mut call = [wait_for(&queue, &id)];
    assert_waiting(&mut call).await;
    server.terminate();
    let [call] = call;
    status::refused(call.await.unwrap(), Code::Unavailable, "STOPPING");
    assert_eq!(server.stopped().await.code(), Some(0));
}

#[tokio::test]
async fn batch_get_jobs_keeps_the_order_and_names_what_is_missing() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("order");
    let mut ids = queue.enqueue(spec::jobs("x", 20)).await;
    ids.extend(server.queue("other").enqueue(spec::jobs("y", 5)).await);
    ids.reverse();
    let gone = ids.pop().unwrap();
    let out = queue.lease(1).await;
    queue.ack(&out).await;
    assert_eq!(queue.purge(&[JobState::Completed]).await, 1);
    let mut asked = ids.clone();
    asked.insert(3, "never-was".to_owned());
    asked.insert(9, gone.clone());
    let answer = read(&queue, batch(&asked)).await;
    assert_eq!(names(&answer.jobs), ids);
    assert_eq!(answer.missing_job_ids, ["never-was".to_owned(), gone]);
    assert!(answer.unread_job_ids.is_empty());
    assert!(answer.jobs.iter().all(|job| job.payload.is_none()), "nobody asked for payloads");
    let answer = read(&queue, BatchGetJobsRequest { include_payload: true, ..batch(&ids) }).await;
    for job in &answer.jobs {
        // Each reading reckons anew when it will run.
        let alone = Job { eta: job.eta, ..queue.job(&job.job_id).await };
        assert_eq!(*job, alone, "the same as one by one");
    }
}

#[tokio::test]
async fn batch_get_jobs_takes_1_to_1000_names() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("bounds");
    let ids = queue.enqueue(spec::jobs("x", 1_001)).await;
    assert_eq!(names(&read(&queue, batch(&ids[..1_000])).await.jobs), ids[..1_000]);
    for wrong in [&ids[..], &[]] {
        let refused = queue.rpc.clone().batch_get_jobs(batch(wrong)).await.unwrap_err();
        assert_eq!(
            (refused.code(), status::fields(&refused)),
            (Code::InvalidArgument, vec!["job_ids".to_owned()])
        );
    }
}

#[tokio::test]
async fn batch_get_jobs_names_those_that_found_no_room() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("room");
    let mut ids = Vec::new();
    for n in 0..5_u8 {
        let payload = vec![n; 1 << 20].into();
        ids.push(queue.enqueue_one(JobSpec { payload, ..JobSpec::default() }).await);
    }
    let (mut wanted, mut jobs, mut calls) = (ids.clone(), Vec::new(), 0);
    while !wanted.is_empty() {
        let answer = read(&queue, BatchGetJobsRequest { include_payload: true, ..batch(&wanted) }).await;
        assert!(prost::Message::encoded_len(&answer) <= 3_500 << 10);
        assert_eq!([names(&answer.jobs), answer.unread_job_ids.clone()].concat(), wanted, "each once");
        assert!(!answer.jobs.is_empty(), "there is room for one at least");
        jobs.extend(answer.jobs);
        wanted = answer.unread_job_ids;
        calls += 1;
    }
    assert_eq!((names(&jobs), calls), (ids, 2));
    for (n, job) in (0..).zip(&jobs) {
        assert!(job.payload.as_ref().unwrap().iter().all(|byte| *byte == n));
    }
}

#[tokio::test]
async fn batch_get_jobs_waits_until_all_are_at_rest() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("all");
    let ids = queue.enqueue(spec::jobs("x", 3)).await;
    let out = queue.lease(2).await;
    let wait = |millis| BatchGetJobsRequest { wait_timeout: Some(spec::millis(millis)), ..batch(&ids) };
    let mut call = [tokio::spawn({
        let (queue, request) = (queue.clone(), wait(30_000));
        async move { read(&queue, request).await }
    })];
    queue.ack(&out[..1]).await;
    queue.try_cancel(&ids[2]).await.unwrap();
    assert_waiting(&mut call).await;
    let states = |jobs: &[Job]| jobs.iter().map(Job::state).collect::<Vec<_>>();
    let early = read(&queue, wait(1)).await;
    assert_eq!(states(&early.jobs), [JobState::Completed, JobState::Leased, JobState::Cancelled]);
    queue.nack(&out[1], NackReason::Rejected).await;
    let [call] = call;
    let states = states(&call.await.unwrap().jobs);
    assert_eq!(states, [JobState::Completed, JobState::Dead, JobState::Cancelled]);
}

#[tokio::test]
async fn command_line_waits_for_results_and_its_exit_code_says_what_came() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("cli");
    let worker = tokio::spawn({
        let queue = queue.clone();
        async move {
            loop {
                let leased = queue.lease_next().await;
                match &*spec::text(&leased) {
                    "good" => {
                        let ack = Ack { result: Some("42".into()), ..spec::ack(&leased) };
                        queue.try_ack(vec![ack]).await;
                    }
                    "bad" => drop(queue.nack(&leased, NackReason::Rejected).await),
                    _ => {}
                }
            }
        }
    });
    let enqueue = async |payload: &str, wait: &str| {
        cli::run(&server, &["enqueue", "--queue", "cli", "--payload", payload, "--wait", wait]).await
    };
    let said = enqueue("good", "30s").await;
    assert_eq!((said.code, said.stdout.as_str()), (0, "42\n"), "{said:?}");
    let said = enqueue("bad", "30s").await;
    assert_eq!((said.code, said.stdout.as_str()), (5, ""), "{said:?}");
    assert!(said.stderr.contains("DEAD"), "{}", said.stderr);
    let said = enqueue("held", "300ms").await;
    assert_eq!((said.code, said.stdout.as_str()), (4, ""), "{said:?}");

    // Many: the results in order, and the first that is not COMPLETED decides.
    let arguments = ["-o", "jsonl", "enqueue", "--queue", "cli", "-f", "-", "--wait", "30s"];
    let said = cli::run_with(&server, &arguments, b"{\"payload\":\"good\"}\n{\"payload\":\"bad\"}\n").await;
    assert_eq!(said.code, 5, "{said:?}");
    let jobs: Vec<serde_json::Value> =
        said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&jobs[0]["state"], &jobs[0]["result"]), (&"COMPLETED".into(), &"42".into()));
    assert_eq!((jobs.len(), &jobs[1]["state"]), (2, &"DEAD".into()));

    // `get` waits too.
    let id = queue.enqueue_one(JobSpec { delay: Some(spec::millis(500)), ..spec::job("good") }).await;
    let said = cli::run(&server, &["-o", "jsonl", "get", &id, "--wait", "30s"]).await.lines();
    assert_eq!((&said[0]["state"], &said[0]["result"]), (&"COMPLETED".into(), &"42".into()));
    worker.abort();
}
