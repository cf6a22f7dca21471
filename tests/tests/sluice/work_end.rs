//! The end of a worker's stream: what it held goes back as the end says, is lost by nobody and done by nobody twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sluice_client::{Client, Outcome};
use sluice_proto::v1::work_request::Message as Asked;
use sluice_proto::v1::work_response::Message as Told;
use sluice_proto::v1::{
    Ack, AttemptOutcome, Job, JobState, LeaseExtension, LeasedJob, Nack, NackReason, Queue,
};
use sluice_tests::cable::Cable;
use sluice_tests::{Sluiced, Worker, cli, spec, status};
use tonic::Code;

/// A lease so long that nothing in these tests comes back because it ended.
const LONG: Duration = Duration::from_secs(3_600);
/// What is to happen within a second, on a machine that has other things to do.
const SOON: Duration = Duration::from_secs(10);

async fn held_long(server: &Sluiced, name: &str) -> sluice_tests::Queue {
    let queue = server.queue(name);
    let settings = Queue { lease_duration: Some(spec::span(LONG)), ..spec::retrying(5, Duration::ZERO) };
    queue.put(settings).await;
    queue
}

/// Waits until so many jobs are READY, soon after now.
async fn ready_soon(queue: &sluice_tests::Queue, ready: u64) {
    let began = Instant::now();
    let back = |status: &sluice_proto::v1::QueueStatus| {
        status.counts.as_ref().is_some_and(|counts| (counts.ready, counts.leased) == (ready, 0))
    };
    queue.until(back).await;
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
}

/// An attempt of a job was spent, because its worker's stream broke.
fn assert_broken(job: &Job) {
    assert_eq!((job.state(), job.attempts, job.deliveries), (JobState::Ready, 1, 1));
    assert_eq!(job.last_error.as_ref().unwrap().code, "STREAM_BROKEN");
    let attempt = &job.attempt_history[0];
    assert_eq!(attempt.outcome(), AttemptOutcome::Failed);
    assert_eq!(attempt.error.as_ref().unwrap().code, "STREAM_BROKEN");
}

#[tokio::test]
async fn closing_worker_gives_its_jobs_back_untouched_and_at_their_old_places() {
    let server = Sluiced::fresh().await;
    let queue = held_long(&server, "closed").await;
    let ids = queue.enqueue(spec::jobs("x", 4)).await;
    let mut worker = Worker::start(&queue, 3).await;
    let out = worker.jobs(3).await;
    assert_eq!(worker.try_ack(vec![spec::ack(&out[1])]).await[0].error, None);
    worker.jobs(1).await;
    worker.close().await;
    ready_soon(&queue, 3).await;
    for id in [&ids[0], &ids[2], &ids[3]] {
        let job = queue.job(id).await;
        assert_eq!((job.attempts, job.deliveries, &job.last_error), (0, 1, &None));
        assert_eq!(job.attempt_history[0].outcome(), AttemptOutcome::Released);
    }
    assert_eq!(queue.status().await.totals.unwrap().failed_attempts, 0);
    assert_eq!(spec::texts(&queue.lease(4).await), ["x-0", "x-2", "x-3"]);
}

#[tokio::test]
async fn what_is_asked_before_closing_is_answered_all_the_same() {
    let server = Sluiced::fresh().await;
    let queue = held_long(&server, "last-words").await;
    queue.enqueue(spec::jobs("x", 50)).await;
    let mut worker = Worker::start(&queue, 50).await;
    let out = worker.jobs(50).await;
    for job in &out[..49] {
        worker.ask_acks(vec![spec::ack(job)]);
    }
    let mut tells = worker.close_side();
    for job in &out[..49] {
        let told = tells.message().await.unwrap().unwrap().message;
        let Some(Told::Acks(acks)) = told else { panic!("not what came of an ack: {told:?}") };
        assert_eq!((&acks.results[0].job_id, &acks.results[0].error), (&spec::id(job), &None));
    }
    assert!(tells.message().await.unwrap().is_none());
    ready_soon(&queue, 1).await;
    assert_eq!(queue.status().await.totals.unwrap().completed, 49);
}

#[tokio::test]
async fn cut_connection_gives_jobs_back_soon_and_spends_an_attempt() {
    let server = Sluiced::fresh().await;
    let queue = held_long(&server, "cut").await;
    let ids = queue.enqueue(spec::jobs("x", 2)).await;
    let cable = Cable::to(&server).await;
    let mut worker = Worker::start(&sluice_tests::Queue::new("cut", cable.channel()), 2).await;
    worker.jobs(2).await;
    cable.cut();
    ready_soon(&queue, 2).await;
    for id in &ids {
        assert_broken(&queue.job(id).await);
    }
    let again = queue.lease(2).await;
    queue.ack(&again).await;
}

#[tokio::test]
async fn stream_that_was_ended_for_a_bad_message_gives_jobs_back_soon() {
    let server = Sluiced::fresh().await;
    let queue = held_long(&server, "bad").await;
    let id = queue.enqueue_one(spec::job("x")).await;
    let mut worker = Worker::start(&queue, 1).await;
    worker.jobs(1).await;
    worker.ask(Asked::Credit(1_000));
    status::refused(worker.try_told().await, Code::InvalidArgument, "INVALID_FIELDS");
    ready_soon(&queue, 1).await;
    assert_broken(&queue.job(&id).await);
}

/// What a worker says wrongly about a job that it holds; each is refused.
async fn say_wrongly(worker: &mut Worker, job: &LeasedJob) {
    for wrong in [job.lease_token + 1, job.lease_token + 1_000_000, 0] {
        let job_id = spec::id(job);
        let ack = Ack { lease_token: wrong, ..spec::ack(job) };
        assert_eq!(worker.try_ack(vec![ack]).await[0].error.as_ref().unwrap().reason, "LEASE_LOST");
        for reason in [NackReason::Failed, NackReason::Rejected, NackReason::Released] {
            let nack = Nack { lease_token: wrong, ..spec::nack(job, reason) };
            assert_eq!(worker.try_nack(nack).await.error.unwrap().reason, "LEASE_LOST");
        }
        let lease = LeaseExtension { job_id, lease_token: wrong, lease_duration: None };
        assert_eq!(worker.extend(lease).await.error.unwrap().reason, "LEASE_LOST");
    }
}

#[tokio::test]
async fn worker_that_said_a_wrong_token_still_holds_the_job_and_gives_it_back_by_closing() {
    let server = Sluiced::fresh().await;
    let queue = held_long(&server, "wrong").await;
    let ids = queue.enqueue(spec::jobs("x", 2)).await;
    let mut worker = Worker::start(&queue, 1).await;
    let out = worker.jobs(1).await;
    say_wrongly(&mut worker, &out[0]).await;
    // It has no credit for another.
    worker.nothing_more_comes().await;
    let counts = queue.status().await.counts.unwrap();
    assert_eq!((counts.leased, counts.ready), (1, 1));
    worker.close().await;
    ready_soon(&queue, 2).await;
    let job = queue.job(&ids[0]).await;
    assert_eq!((job.state(), job.attempts, job.deliveries), (JobState::Ready, 0, 1));
}

#[tokio::test]
async fn worker_that_said_a_wrong_token_gives_the_job_back_when_its_stream_breaks() {
    let server = Sluiced::fresh().await;
    let queue = held_long(&server, "wrong").await;
    let id = queue.enqueue_one(spec::job("x")).await;
    let cable = Cable::to(&server).await;
    let mut worker = Worker::start(&sluice_tests::Queue::new("wrong", cable.channel()), 1).await;
    let out = worker.jobs(1).await;
    say_wrongly(&mut worker, &out[0]).await;
    cable.cut();
    ready_soon(&queue, 1).await;
    assert_broken(&queue.job(&id).await);
}

#[tokio::test]
async fn stopping_server_says_so_lets_its_worker_settle_and_ends_the_stream() {
    let mut server = Sluiced::fresh().await;
    let queue = held_long(&server, "stopping").await;
    let ids = queue.enqueue(spec::jobs("x", 3)).await;
    let mut worker = Worker::start(&queue, 2).await;
    let out = worker.jobs(2).await;
    server.terminate();
    let notice = worker.notice().await;
    assert!(notice.going_away && notice.lost.is_empty() && notice.cancelled.is_empty(), "{notice:?}");
    // What it settles now counts; its credit brings nothing more.
    assert_eq!(worker.try_ack(vec![spec::ack(&out[0])]).await[0].error, None);
    assert_eq!(worker.try_nack(spec::nack(&out[1], NackReason::Released)).await.state(), JobState::Ready);
    status::refused(worker.try_told().await, Code::Unavailable, "STOPPING");
    assert_eq!(server.stopped().await.code(), Some(0));
    server.start().await;
    let queue = server.queue("stopping");
    assert_eq!(queue.state(&ids[0]).await, JobState::Completed);
    assert_eq!(spec::texts(&queue.lease(3).await), ["x-1", "x-2"]);
}

#[tokio::test]
async fn worker_of_a_server_that_stopped_holds_on_and_acks_when_it_is_back() {
    let mut server = Sluiced::fresh().await;
    let queue = held_long(&server, "back").await;
    let id = queue.enqueue_one(spec::job("x")).await;
    let mut worker = Worker::start(&queue, 1).await;
    let out = worker.jobs(1).await;
    server.terminate();
    assert!(worker.notice().await.going_away);
    // It goes on working, and is not waited for much longer.
    status::refused(worker.try_told().await, Code::Unavailable, "STOPPING");
    assert_eq!(server.stopped().await.code(), Some(0));
    server.start().await;
    let queue = server.queue("back");
    let job = queue.job(&id).await;
    assert_eq!((job.state(), job.attempts, job.deliveries), (JobState::Leased, 0, 1));
    assert!(queue.lease(1).await.is_empty(), "it is nobody else's");
    queue.ack(&out).await;
    assert_eq!(queue.state(&id).await, JobState::Completed);
}

#[tokio::test]
async fn kill_9_under_a_stream_loses_no_job_and_does_none_twice() {
    const JOBS: usize = 400;
    let mut server = Sluiced::fresh().await;
    let queue = held_long(&server, "killed").await;
    let ids: BTreeSet<String> = queue.enqueue(spec::jobs("x", JOBS)).await.into_iter().collect();
    let mut acked = BTreeSet::new();
    let mut hands: Vec<LeasedJob> = Vec::new();
    for round in 1..=3 {
        let mut worker = Worker::start(&server.queue("killed"), 20).await;
        while acked.len() < round * 100 {
            match worker.told().await {
                Told::Jobs(jobs) => {
                    for job in jobs.jobs {
                        assert!(!acked.contains(&spec::id(&job)), "done before, and came again");
                        worker.ask_acks(vec![spec::ack(&job)]);
                        hands.push(job);
                    }
                    assert!(hands.len() <= 20 * round, "no more than its credit");
                }
                Told::Acks(acks) => {
                    for result in acks.results {
                        assert_eq!(result.error, None);
                        hands.retain(|job| spec::id(job) != result.job_id);
                        acked.insert(result.job_id);
                    }
                }
                other => panic!("neither jobs nor acks: {other:?}"),
            }
        }
        server.kill_and_start().await;
        // What was not answered is done or still held: the ack that settles it is repeated.
        let queue = server.queue("killed");
        if !hands.is_empty() {
            queue.ack(&hands).await;
        }
        acked.extend(hands.drain(..).map(|job| spec::id(&job)));
    }
    // Handed out by a server that could not say so: theirs are leases that nobody knows of.
    let queue = server.queue("killed");
    let status = queue.status().await;
    let counts = status.counts.unwrap();
    assert_eq!(counts.completed, acked.len() as u64);
    assert!(counts.leased <= 60, "{} are held", counts.leased);
    let unknown = queue.list(&[JobState::Leased], 100).await;
    let mut worker = Worker::start(&queue, 20).await;
    while acked.len() + unknown.len() < JOBS {
        if let Told::Jobs(jobs) = worker.told().await {
            for job in jobs.jobs {
                assert!(acked.insert(spec::id(&job)), "done before, and came again");
                worker.ask_acks(vec![spec::ack(&job)]);
            }
        }
    }
    acked.extend(unknown.iter().map(|job| job.job_id.clone()));
    assert_eq!(acked, ids);
    let completed = (JOBS - unknown.len()) as u64;
    let done = queue.until(|status| status.counts.as_ref().unwrap().completed == completed).await;
    assert_eq!(done.totals.unwrap().failed_attempts, 0);
}

#[tokio::test]
async fn killed_command_line_worker_gives_its_job_back_soon() {
    let server = Sluiced::fresh().await;
    let queue = held_long(&server, "work").await;
    let id = queue.enqueue_one(spec::job("x")).await;
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["work", "--queue", "work", "--exec", "sleep 3"];
    let mut child = cli::start(&server, &arguments, &directory.path().join("log"));
    queue.until(|status| status.counts.as_ref().unwrap().leased == 1).await;
    child.kill().await.unwrap();
    ready_soon(&queue, 1).await;
    assert_broken(&queue.job(&id).await);
}

#[tokio::test]
async fn librarys_worker_works_over_the_stream_and_with_leases_when_told_to() {
    let server = Sluiced::fresh().await;
    let queue = held_long(&server, "library").await;
    let id = queue.enqueue_one(spec::job("x")).await;
    for streams in [true, false] {
        let client = Client::builder(server.url()).build().unwrap();
        let worker = sluice_client::Worker::new(client, "library").streaming(streams);
        // Leased is not enough: a lease that breaks off on its way to the worker is given back.
        let (begins, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let handler = move |_| {
            begins.send(()).unwrap();
            std::future::pending::<Outcome>()
        };
        let run = tokio::spawn(worker.run(handler, Default::default()));
        begun.recv().await.unwrap();
        run.abort();
        assert!(run.await.is_err_and(|error| error.is_cancelled()));
        if streams {
            // Only a stream can break: a lease would last an hour.
            ready_soon(&queue, 1).await;
        } else {
            let job = queue.job(&id).await;
            assert_eq!((job.state(), job.deliveries), (JobState::Leased, 2));
        }
    }
}
