//! Jobs out and what becomes of them.

use http_body_util::BodyExt;
use prost::Message;
use sluice_engine::bound::MAX_RESPONSE_BYTES;
use tower::ServiceExt;

use super::*;

fn ids(jobs: &[v1::LeasedJob]) -> Vec<String> {
    jobs.iter().map(|leased| leased.job.as_ref().unwrap().job_id.clone()).collect()
}

fn ack(leased: &v1::LeasedJob) -> v1::Ack {
    v1::Ack {
        job_id: leased.job.as_ref().unwrap().job_id.clone(),
        lease_token: leased.lease_token,
        result: Some("done".into()),
        ..Default::default()
    }
}

#[tokio::test]
async fn leased_job_is_acknowledged_once_and_again() {
    let mut server = Server::start().await;
    let put = server.put_in(vec![spec("a"), spec("b")]).await;
    let jobs = server.take(10).await;
    assert_eq!(ids(&jobs), put);
    assert_eq!(jobs[0].job.as_ref().unwrap().payload.as_deref(), Some(&b"a"[..]));
    assert_eq!((jobs[0].lease_token, jobs[0].lease_duration.unwrap().seconds), (1, 30));
    let unknown = v1::Ack { job_id: "nobody".to_owned(), ..ack(&jobs[0]) };
    let stale = v1::Ack { lease_token: 9, ..ack(&jobs[1]) };
    for _ in 0..2 {
        let acks = vec![unknown.clone(), ack(&jobs[0]), stale.clone()];
        let results = server.queues.ack(v1::AckRequest { acks }).await.unwrap().into_inner().results;
        let named: Vec<&str> = results.iter().map(|r| &*r.job_id).collect();
        assert_eq!(named, ["nobody", &*put[0], &*put[1]]);
        let reasons: Vec<Option<&str>> =
            results.iter().map(|r| r.error.as_ref().map(|e| &*e.reason)).collect();
        assert_eq!(reasons, [Some("JOB_NOT_FOUND"), None, Some("LEASE_LOST")]);
    }
    let done = server.job(&put[0]).await;
    assert_eq!((state(&done), done.result.as_deref()), (v1::JobState::Completed, Some(&b"done"[..])));
}

#[tokio::test]
async fn job_that_fails_is_retried_and_job_that_is_rejected_is_dead() {
    let mut server = Server::start().await;
    server.put_in(vec![spec("a"), spec("b"), spec("c")]).await;
    let jobs = server.take(3).await;
    let failed = server.nack(&jobs[0], v1::NackReason::Failed).await;
    assert_eq!((failed.state(), failed.run_time.is_some()), (v1::JobState::Retrying, true));
    let rejected = server.nack(&jobs[1], v1::NackReason::Rejected).await;
    assert_eq!((rejected.state(), rejected.run_time), (v1::JobState::Dead, None));
    let dead = server.job(&rejected.job_id).await;
    let error = dead.last_error.unwrap();
    assert_eq!((&*error.code, &*error.message), ("http_500", "boom"));
    let released = server.nack(&jobs[2], v1::NackReason::Released).await;
    assert_eq!(released.state(), v1::JobState::Ready);
}

#[tokio::test]
async fn lease_can_be_extended() {
    let mut server = Server::start().await;
    server.put_in(vec![spec("a")]).await;
    let leased = server.take(1).await.remove(0);
    let lease = v1::LeaseExtension {
        job_id: leased.job.as_ref().unwrap().job_id.clone(),
        lease_token: leased.lease_token,
        lease_duration: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
    };
    let request = v1::ExtendLeaseRequest { leases: vec![lease] };
    let result = server.queues.extend_lease(request).await.unwrap().into_inner().results.remove(0);
    let later = result.lease_expire_time.unwrap().seconds - leased.lease_expire_time.unwrap().seconds;
    assert!((569..600).contains(&later), "{later}");
}

#[tokio::test]
async fn answer_stays_within_its_bound_and_leaves_the_rest() {
    let mut server = Server::start().await;
    for _ in 0..3 {
        server.put_in(vec![spec(vec![7; 1 << 20]); 3]).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 9 {
        let answer = server.queues.lease(lease(1_000)).await.unwrap().into_inner();
        assert!(answer.encoded_len() <= MAX_RESPONSE_BYTES);
        assert_eq!(answer.jobs.len(), 3);
        assert!(answer.jobs.iter().all(|leased| leased.lease_token == 1), "nothing was leased in vain");
        seen.extend(ids(&answer.jobs));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 9);
}

#[tokio::test]
async fn lease_of_an_empty_queue_is_ok_and_empty() {
    let mut server = Server::start().await;
    assert!(server.take(1).await.is_empty());
}

/// A call as the network would make it.
fn call(request: &v1::LeaseRequest) -> http::Request<tonic::body::Body> {
    let mut framed = vec![0];
    framed.extend((request.encoded_len() as u32).to_be_bytes());
    request.encode(&mut framed).unwrap();
    http::Request::post("/sluice.v1.QueueService/Lease")
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::new(http_body_util::Full::new(framed.into())))
        .unwrap()
}

#[tokio::test]
async fn jobs_of_an_answer_that_nobody_takes_go_back_untouched() {
    let mut server = Server::start().await;
    let put = server.put_in(vec![spec("a")]).await;
    let mut answer = server.service.clone().oneshot(call(&lease(1))).await.unwrap().into_body();
    assert_eq!(server.status().await.counts.unwrap().leased, 1);
    // The jobs were sent, but not the end of the answer: no client takes such a call for done.
    assert!(answer.frame().await.unwrap().unwrap().is_data());
    drop(answer);
    let again = server.take(1).await;
    assert_eq!((ids(&again), again[0].lease_token), (put, 2));
    assert_eq!(again[0].job.as_ref().unwrap().attempts, 0);
}

#[tokio::test]
async fn jobs_of_an_answer_that_was_taken_stay() {
    let mut server = Server::start().await;
    server.put_in(vec![spec("a")]).await;
    let answer = server.service.clone().oneshot(call(&lease(1))).await.unwrap().into_body();
    answer.collect().await.unwrap();
    assert!(server.take(1).await.is_empty());
    assert_eq!(server.status().await.counts.unwrap().leased, 1);
}

/// A call that waits for a job.
async fn waiting(
    server: &mut Server,
) -> tokio::task::JoinHandle<Result<tonic::Response<v1::LeaseResponse>, Status>> {
    let wait_timeout = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request = v1::LeaseRequest { wait_timeout, ..lease(1) };
    let mut queues = server.queues.clone();
    let waiting = tokio::spawn(async move { queues.lease(request).await });
    // Without a network in between, it comes as far as the writer's mailbox in one go.
    tokio::task::yield_now().await;
    assert_eq!(server.status().await.waiting_leases, 1);
    waiting
}

#[tokio::test]
async fn lease_that_waits_holds_no_place_and_gets_the_first_job() {
    let settings = RpcSettings { max_in_flight: 1, ..RpcSettings::default() };
    let mut server = Server::start_with(settings).await;
    server.put_in(vec![spec("so that the queue is there")]).await;
    server.take(1).await;
    let waiting = waiting(&mut server).await;
    let put = server.put_in(vec![spec("a")]).await;
    let answer = waiting.await.unwrap().unwrap().into_inner();
    assert_eq!(ids(&answer.jobs), put);
}

#[tokio::test]
async fn lease_that_waits_ends_when_the_server_stops() {
    let mut server = Server::start().await;
    server.put_in(vec![spec("so that the queue is there")]).await;
    server.take(1).await;
    let waiting = waiting(&mut server).await;
    server.shutdown.cancel();
    assert_eq!(reason(waiting.await.unwrap()), (Code::Unavailable, "STOPPING".to_owned()));
}
