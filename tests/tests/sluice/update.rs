//! UpdateJob: another priority or run time for a job that waits, and for no other.

use std::time::{Duration, SystemTime};

use sluice_proto::v1::{Job, JobSpec, JobState, NackReason, UpdateJobRequest};
use sluice_tests::{Queue, Setup, Sluiced, cli, spec, status};
use tonic::Code;

const HOUR: Duration = Duration::from_secs(3_600);

fn later(text: &str) -> JobSpec {
    JobSpec { delay: Some(spec::span(HOUR)), ..spec::job(text) }
}

fn to_priority(job_id: &str, priority: u32) -> UpdateJobRequest {
    UpdateJobRequest { job_id: job_id.to_owned(), priority: Some(priority), ..UpdateJobRequest::default() }
}

fn to_delay(job_id: &str, delay: Duration) -> UpdateJobRequest {
    let delay = Some(spec::span(delay));
    UpdateJobRequest { job_id: job_id.to_owned(), delay, ..UpdateJobRequest::default() }
}

fn to_time(job_id: &str, time: SystemTime) -> UpdateJobRequest {
    let run_time = Some(spec::time(time));
    UpdateJobRequest { job_id: job_id.to_owned(), run_time, ..UpdateJobRequest::default() }
}

async fn update(queue: &Queue, request: UpdateJobRequest) -> Job {
    queue.try_update(request).await.unwrap()
}

#[tokio::test]
async fn leases_follow_the_new_priority_and_places_are_kept_across_kill_9() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("priority");
    let ids = queue.enqueue(spec::jobs("x", 5)).await;
    // The later one first: within a priority the order is still that of arrival.
    for n in [3, 1] {
        let job = update(&queue, to_priority(&ids[n], 9)).await;
        assert_eq!((job.priority, job.state(), job.payload), (9, JobState::Ready, None));
    }
    update(&queue, to_priority(&ids[0], 0)).await;
    let order = [1, 3, 2, 4, 0];
    for (position, n) in (1..).zip(order) {
        assert_eq!(queue.job(&ids[n]).await.queue_position, Some(position), "x-{n}");
    }
    let by_priority = queue.status().await.ready_by_priority;
    assert_eq!(by_priority, [1, 0, 0, 0, 2, 0, 0, 0, 0, 2]);
    server.kill_and_start().await;
    let queue = server.queue("priority");
    assert_eq!(queue.status().await.ready_by_priority, by_priority);
    assert_eq!(spec::texts(&queue.lease(10).await), order.map(|n| format!("x-{n}")));
}

#[tokio::test]
async fn scheduled_job_that_is_wanted_now_goes_to_who_waits_for_it() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("sooner");
    let id = queue.enqueue_one(later("sooner")).await;
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.lease_next().await }
    });
    queue.until(|status| status.waiting_leases == 1).await;
    update(&queue, to_delay(&id, Duration::ZERO)).await;
    let leased = waiting.await.unwrap();
    assert_eq!(spec::text(&leased), "sooner");
    assert_eq!(leased.job.unwrap().run_time, None);
}

#[tokio::test]
async fn run_time_in_the_past_means_now_and_the_place_is_a_new_one() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("past");
    let id = queue.enqueue_one(later("was scheduled")).await;
    queue.enqueue_one(spec::job("was ready before")).await;
    let job = update(&queue, to_time(&id, SystemTime::now() - HOUR)).await;
    assert_eq!((job.state(), job.run_time, job.queue_position), (JobState::Ready, None, Some(2)));
    assert_eq!(spec::texts(&queue.lease(2).await), ["was ready before", "was scheduled"]);
}

#[tokio::test]
async fn ready_job_is_put_off_and_comes_back_in_its_time_to_its_old_place() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("later");
    let ids = queue.enqueue(spec::jobs("x", 2)).await;
    let wait = Duration::from_millis(1_500);
    let before = spec::moment(queue.status().await.status_time);
    let job = update(&queue, to_delay(&ids[0], wait)).await;
    let after = spec::moment(queue.status().await.status_time);
    assert_eq!((job.state(), job.queue_position), (JobState::Scheduled, None));
    let run_time = spec::moment(job.run_time);
    assert!(run_time + spec::TICK >= before + wait && run_time <= after + wait + spec::TICK);
    assert_eq!(queue.status().await.counts.unwrap().scheduled, 1);
    let status = queue.until(|status| status.counts.as_ref().unwrap().ready == 2).await;
    assert!(spec::moment(status.status_time) + spec::TICK >= run_time, "not before its time");
    assert_eq!(spec::texts(&queue.lease(2).await), ["x-0", "x-1"]);
}

#[tokio::test]
async fn retrying_job_is_put_off_or_hastened_and_its_attempts_stay_spent() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("retrying");
    queue.put(spec::retrying(5, HOUR)).await;
    let id = queue.enqueue_one(spec::job("x")).await;
    let out = queue.lease(1).await;
    assert_eq!(queue.nack(&out[0], NackReason::Failed).await.state(), JobState::Retrying);
    let first = spec::moment(queue.job(&id).await.run_time);
    let job = update(&queue, to_delay(&id, 3 * HOUR)).await;
    assert_eq!((job.state(), job.attempts), (JobState::Retrying, 1));
    assert!(spec::moment(job.run_time) >= first + HOUR);
    let job = update(&queue, to_delay(&id, Duration::ZERO)).await;
    assert_eq!((job.state(), job.attempts, job.run_time), (JobState::Ready, 1, None));
    let again = queue.lease(1).await.remove(0);
    assert_eq!((spec::id(&again), again.job.unwrap().attempts), (id, 1));
}

#[tokio::test]
async fn new_run_time_survives_kill_9_and_a_repeat_changes_nothing() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("killed");
    let ids = queue.enqueue(vec![spec::job("x"), later("y")]).await;
    let time = SystemTime::now() + 2 * HOUR;
    let request = UpdateJobRequest { priority: Some(7), ..to_time(&ids[0], time) };
    for _ in 0..2 {
        let job = update(&queue, request.clone()).await;
        assert_eq!((job.state(), job.priority), (JobState::Scheduled, 7));
        assert_eq!(spec::moment(job.run_time), spec::moment(request.run_time), "as it was given");
    }
    let hastened = update(&queue, to_delay(&ids[1], Duration::ZERO)).await;
    assert_eq!(hastened.state(), JobState::Ready);
    server.kill_and_start().await;
    let queue = server.queue("killed");
    let job = queue.job(&ids[0]).await;
    assert_eq!((job.state(), job.priority), (JobState::Scheduled, 7));
    assert_eq!(spec::moment(job.run_time), spec::moment(request.run_time));
    assert_eq!(spec::texts(&queue.lease(10).await), ["y"]);
}

#[tokio::test]
async fn job_that_does_not_wait_is_left_as_it_is() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("wrong");
    let ids = queue.enqueue(spec::jobs("x", 5)).await;
    let out = queue.lease(3).await;
    queue.ack(&out[1..2]).await;
    queue.nack(&out[2], NackReason::Rejected).await;
    queue.try_cancel(&ids[3]).await.unwrap();
    queue.drain_all("drain-1").await;
    let states =
        [JobState::Leased, JobState::Completed, JobState::Dead, JobState::Cancelled, JobState::Drained];
    for (id, state) in ids.iter().zip(states) {
        for request in [to_priority(id, 9), to_delay(id, Duration::ZERO), to_delay(id, HOUR)] {
            let result = queue.try_update(request).await;
            status::refused(result, Code::FailedPrecondition, "WRONG_STATE");
        }
        let job = queue.job(id).await;
        assert_eq!((job.state(), job.priority, job.run_time), (state, 4, None));
    }
    queue.ack(&out[..1]).await;
    let result = queue.try_update(to_priority("no-such-job", 9)).await;
    assert_eq!(result.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn update_of_nothing_or_of_two_times_is_refused() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("nothing");
    let id = queue.enqueue_one(spec::job("x")).await;
    let nothing = UpdateJobRequest { job_id: id.clone(), ..UpdateJobRequest::default() };
    let both = UpdateJobRequest {
        priority: Some(9),
        delay: Some(spec::span(HOUR)),
        ..to_time(&id, SystemTime::now())
    };
    for request in [nothing, both, to_priority(&id, 10)] {
        let refused = queue.try_update(request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{request:?}: {refused:?}");
        let job = queue.job(&id).await;
        assert_eq!((job.state(), job.priority), (JobState::Ready, 4), "nothing has changed");
    }
}

#[tokio::test]
async fn command_line_updates_a_job_and_says_why_not() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("cli");
    let ids = queue.enqueue(vec![spec::job("x"), spec::job("y"), later("z")]).await;
    let run =
        async |arguments: &[&str]| cli::run(&server, &[&["-o", "json", "update"], arguments].concat()).await;
    let said = run(&[&ids[1], "--priority", "9"]).await.ok();
    let job: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&job["job_id"], &job["priority"]), (&ids[1].as_str().into(), &9.into()));
    assert!(run(&[&ids[2], "--delay", "0"]).await.ok().contains("READY"));
    assert!(run(&[&ids[0], "--run-time", "2035-01-31T12:00:00Z"]).await.ok().contains("SCHEDULED"));
    assert_eq!(spec::texts(&queue.lease(10).await), ["y", "z"]);

    assert_eq!(run(&[&ids[1], "--priority", "1"]).await.code, 73, "a worker holds it");
    assert_eq!(run(&["nowhere", "--priority", "1"]).await.code, 3);
    assert_eq!(run(&[&ids[0]]).await.code, 2, "nothing to change");
    assert_eq!(run(&[&ids[0], "--priority", "10"]).await.code, 67, "beyond the bounds");
}
