//! `sluice work --http`: a real server, a real worker, and a service that answers as a service may.

use std::time::{Duration, SystemTime};

use sluice_proto::v1::{Job, JobSpec, JobState, Queue};
use sluice_tests::downstream::{Answer, Call, Downstream};
use sluice_tests::{Sluiced, cli, spec};
use tokio::process::Child;

/// A lease so long that nothing in these tests comes back because it ended.
const LONG: Duration = Duration::from_secs(3_600);

/// A server, and a queue of it that tries a job twice, at once.
async fn queue_of_two_attempts() -> (Sluiced, sluice_tests::Queue) {
    let server = Sluiced::fresh().await;
    let queue = server.queue("http");
    let settings = spec::retrying(2, Duration::ZERO);
    queue.put(Queue { lease_duration: Some(spec::span(LONG)), ..settings }).await;
    (server, queue)
}

fn arguments<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["work", "--queue", "http", "--http", url], more].concat()
}

/// Works until nothing is left; what the worker says it did.
async fn work(server: &Sluiced, downstream: &Downstream, more: &[&str]) -> String {
    let url = downstream.url();
    let more = [&["--until-empty"], more].concat();
    cli::run(server, &arguments(&url, &more)).await.ok()
}

/// Starts a worker that goes on.
fn start(server: &Sluiced, url: &str, more: &[&str]) -> Child {
    let log = server.data().parent().unwrap().join("worker");
    cli::start(server, &arguments(url, more), &log)
}

fn terminate(worker: &Child) {
    let id = i32::try_from(worker.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

fn code(job: &Job) -> &str {
    &job.last_error.as_ref().expect("it failed at least once").code
}

fn message(job: &Job) -> &str {
    &job.last_error.as_ref().expect("it failed at least once").message
}

fn between(calls: &[Call]) -> Duration {
    calls[1].time.duration_since(calls[0].time).unwrap()
}

#[tokio::test]
async fn job_arrives_in_body_and_headers_and_the_answer_is_its_result() {
    let (server, queue) = queue_of_two_attempts().await;
    let downstream =
        Downstream::start(|call| Answer::new(201).body([b"got ", &call.body[..]].concat())).await;
    let labels = [("event", "push"), ("who", "Zoë"), ("no name", "x")];
    let job = JobSpec {
        content_type: "application/json".to_owned(),
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..spec::keyed("bot42/group/chat7", "{\"n\": 1}")
    };
    let id = queue.enqueue_one(job).await;
    let said = work(&server, &downstream, &["--header", "Authorization: Bearer s3cret"]).await;
    assert_eq!(said, "1 done, 0 failed, 0 throttled, 0 rejected, 0 released, 0 lost\n");

    let calls = downstream.calls();
    let [call] = &calls[..] else { panic!("one call: {calls:?}") };
    assert_eq!((call.line.as_str(), &call.body[..]), ("POST /hook?from=sluice HTTP/1.1", &b"{\"n\": 1}"[..]));
    let expected = [
        ("authorization", "Bearer s3cret"),
        ("content-type", "application/json"),
        ("idempotency-key", &id),
        ("x-sluice-attempt", "1"),
        ("x-sluice-key", "bot42/group/chat7"),
        ("x-sluice-label-event", "push"),
        ("x-sluice-label-who", "Zo%C3%AB"),
        ("x-sluice-queue", "http"),
    ];
    for (name, value) in expected {
        assert_eq!(call.headers.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(call.headers["user-agent"].starts_with("sluice/"), "{call:?}");
    assert!(!call.headers.keys().any(|name| name.contains("name")), "{call:?}");

    let job = queue.job(&id).await;
    assert_eq!((job.state(), job.attempts), (JobState::Completed, 0));
    assert_eq!(job.result.as_deref(), Some(&b"got {\"n\": 1}"[..]));
}

#[tokio::test]
async fn job_that_says_nothing_of_itself_is_posted_as_bytes_and_no_body_is_no_result() {
    let (server, queue) = queue_of_two_attempts().await;
    let downstream = Downstream::start(|_| Answer::new(204)).await;
    let id = queue.enqueue_one(spec::job("")).await;
    work(&server, &downstream, &["--no-stream"]).await;
    let calls = downstream.calls();
    assert_eq!(calls[0].headers["content-type"], "application/octet-stream");
    assert_eq!((calls.len(), calls[0].body.len()), (1, 0));
    assert!(!calls[0].headers.contains_key("x-sluice-key"));
    let job = queue.job(&id).await;
    assert_eq!((job.state(), job.result), (JobState::Completed, None));
}

#[tokio::test]
async fn long_answer_is_cut_to_the_bound_of_results() {
    const BOUND: usize = 64 << 10;
    let (server, queue) = queue_of_two_attempts().await;
    let downstream = Downstream::start(|call| {
        let more: usize = String::from_utf8_lossy(&call.body).parse().unwrap();
        Answer::new(200).body(vec![b'x'; BOUND + more])
    })
    .await;
    let ids = queue.enqueue(["0", "1", "1000000"].map(spec::job).into()).await;
    work(&server, &downstream, &[]).await;
    for id in &ids {
        let job = queue.job(id).await;
        assert_eq!((job.state(), job.result.unwrap().len()), (JobState::Completed, BOUND));
    }
}

#[tokio::test]
async fn retry_after_in_seconds_is_waited_out_and_spends_no_attempt() {
    let (server, queue) = queue_of_two_attempts().await;
    let downstream = Downstream::start(|call| match call.before {
        // More often than it may fail.
        0..=2 => Answer::new(429).header("Retry-After", "1").body("slow down\n"),
        _ => Answer::new(200),
    })
    .await;
    let id = queue.enqueue_one(spec::keyed("chat7", "x")).await;
    work(&server, &downstream, &[]).await;
    let calls = downstream.calls();
    assert_eq!(calls.len(), 4);
    for calls in calls.windows(2) {
        assert!(between(calls) >= Duration::from_secs(1), "{:?}", between(calls));
    }
    let job = queue.job(&id).await;
    assert_eq!((job.state(), job.attempts, job.deliveries), (JobState::Completed, 0, 4));
    assert_eq!((code(&job), message(&job)), ("HTTP_429", "slow down"));
    let totals = queue.status().await.totals.unwrap();
    assert_eq!((totals.failed_attempts, totals.completed), (0, 1));
    assert!(totals.throttled >= 1, "{totals:?}");
    assert!(calls.iter().all(|call| call.headers["x-sluice-attempt"] == "1"), "none was spent");
}

#[tokio::test]
async fn retry_after_as_a_date_is_waited_for() {
    let (server, queue) = queue_of_two_attempts().await;
    // To the second, as dates of HTTP are: later than a throttled job would come back without one.
    let until = SystemTime::now() + Duration::from_secs(4);
    let date = httpdate::fmt_http_date(until);
    let named = httpdate::parse_http_date(&date).unwrap();
    let downstream = Downstream::start(move |call| match call.before {
        0 => Answer::new(503).header("retry-after", &date),
        _ => Answer::new(200),
    })
    .await;
    let id = queue.enqueue_one(spec::job("x")).await;
    work(&server, &downstream, &[]).await;
    let calls = downstream.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls[1].time + spec::TICK >= named, "{:?} before {named:?}", calls[1].time);
    let job = queue.job(&id).await;
    assert_eq!((job.state(), job.attempts), (JobState::Completed, 0));
    assert!(queue.status().await.totals.unwrap().throttled >= 1);
}

#[tokio::test]
async fn s0_6_which_statuses_mean_slow_down_is_a_setting() {
    let (server, queue) = queue_of_two_attempts().await;
    let downstream = Downstream::start(|call| match (call.before, &call.body[..]) {
        (0..=2, b"413") => Answer::new(413).header("retry-after", "0"),
        (0..=2, b"420") => Answer::new(420).header("retry-after", "0"),
        (0..=2, b"503") => Answer::new(503).header("retry-after", "0"),
        _ => Answer::new(200),
    })
    .await;
    // Where nobody says otherwise it means that the job is too large, and will be.
    let large = queue.enqueue_one(spec::job("413")).await;
    work(&server, &downstream, &[]).await;
    let job = queue.job(&large).await;
    assert_eq!((job.state(), code(&job), downstream.calls().len()), (JobState::Dead, "HTTP_413", 1));
    queue.purge(&[JobState::Dead]).await;

    let ids = queue.enqueue(["413", "420", "503"].map(spec::job).into()).await;
    work(&server, &downstream, &["--throttled-status", "413,420"]).await;
    for id in &ids {
        let job = queue.job(id).await;
        assert_eq!((job.state(), job.attempts, job.deliveries), (JobState::Completed, 0, 4));
    }
    let totals = queue.status().await.totals.unwrap();
    assert_eq!((totals.failed_attempts, totals.completed), (1, 3), "of the large one alone: {totals:?}");
    assert!(totals.throttled >= 1);
}

#[tokio::test]
async fn header_names_the_level_that_it_was_too_much_for() {
    let wait = Duration::from_secs(3);
    // What the service says of the first job, and what waits for it.
    let cases: [(&str, &[&str]); 4] =
        [("0", &["bot1/b", "bot2/a"]), ("1", &["bot1/b"]), ("2", &[]), ("the bot", &[])];
    let cases = cases.map(|(scope, waits)| async move {
        let (server, queue) = queue_of_two_attempts().await;
        let downstream = Downstream::start(move |call| match (call.before, &call.body[..]) {
            (0, b"bot1/a") => Answer::new(429).header("retry-after", "3").header("x-scope", scope),
            _ => Answer::new(200),
        })
        .await;
        let keys = ["bot1/a", "bot1/b", "bot2/a"];
        let ids = queue.enqueue(keys.map(|key| spec::keyed(key, key)).into()).await;
        work(&server, &downstream, &["--throttle-scope-header", "X-Scope"]).await;
        let calls = downstream.calls();
        assert_eq!((calls.len(), &calls[0].body[..]), (4, &b"bot1/a"[..]), "{scope}");
        for call in &calls[1..] {
            let key = call.headers["x-sluice-key"].as_str();
            let is_late = call.time.duration_since(calls[0].time).unwrap() >= wait;
            assert_eq!(is_late, key == "bot1/a" || waits.contains(&key), "{key} after {scope}");
        }
        let job = queue.job(&ids[0]).await;
        assert_eq!((job.state(), job.attempts), (JobState::Completed, 0));
    });
    futures::future::join_all(cases).await;
}

#[tokio::test]
async fn refused_job_is_dead_at_once_with_its_status_and_first_line() {
    let (server, queue) = queue_of_two_attempts().await;
    let downstream = Downstream::start(|_| Answer::new(404).body("\nno such chat\nat all")).await;
    let id = queue.enqueue_one(spec::job("x")).await;
    let said = work(&server, &downstream, &[]).await;
    assert!(said.contains("1 rejected"), "{said}");
    let job = queue.job(&id).await;
    assert_eq!((job.state(), code(&job), message(&job)), (JobState::Dead, "HTTP_404", "no such chat"));
    assert_eq!(downstream.calls().len(), 1);
    assert_eq!(queue.status().await.totals.unwrap().failed_by_code["HTTP_404"], 1);
}

#[tokio::test]
async fn failing_service_is_asked_again_until_no_attempt_is_left() {
    let (server, queue) = queue_of_two_attempts().await;
    let downstream = Downstream::start(|call| match &call.body[..] {
        b"500" => Answer::new(500).body("boom"),
        // Where it leads to would be asked with a status of its own.
        b"302" => Answer::new(302).header("location", "/elsewhere"),
        b"409" => Answer::new(409),
        _ => Answer::new(404),
    })
    .await;
    let ids = queue.enqueue(["500", "302", "409", "404"].map(spec::job).into()).await;
    work(&server, &downstream, &["--failed-status", "404"]).await;
    let codes = ["HTTP_500", "HTTP_302", "HTTP_409", "HTTP_404"];
    for (id, expected) in ids.iter().zip(codes) {
        let job = queue.job(id).await;
        assert_eq!((job.state(), job.attempts, code(&job)), (JobState::Dead, 2, expected));
        let attempts: Vec<_> = downstream
            .calls()
            .into_iter()
            .filter(|call| call.headers["idempotency-key"] == *id)
            .map(|call| call.headers["x-sluice-attempt"].clone())
            .collect();
        assert_eq!(attempts, ["1", "2"], "{expected}");
    }
    assert_eq!(message(&queue.job(&ids[0]).await), "boom");
    assert!(downstream.calls().iter().all(|call| call.line.contains("/hook")), "redirects are not followed");
}

#[tokio::test]
async fn service_that_is_not_there_is_a_failure() {
    let (server, queue) = queue_of_two_attempts().await;
    let id = queue.enqueue_one(spec::job("x")).await;
    // A port that was free a moment ago.
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let url = format!("http://{address}/");
    let said = cli::run(&server, &arguments(&url, &["--until-empty"])).await;
    assert_eq!(said.stdout, "0 done, 2 failed, 0 throttled, 0 rejected, 0 released, 0 lost\n");
    assert!(said.stderr.contains("CONNECT"), "{}", said.stderr);
    let job = queue.job(&id).await;
    assert_eq!((job.state(), job.attempts, code(&job)), (JobState::Dead, 2, "CONNECT"));
    assert!(message(&job).contains("refused"), "{}", message(&job));
}

#[tokio::test]
async fn request_that_takes_too_long_is_given_up_with_its_connection() {
    let (server, queue) = queue_of_two_attempts().await;
    let downstream = Downstream::start(|call| match (call.before, &call.body[..]) {
        (0, b"head") => Answer::new(200).held(),
        (0, b"body") => Answer::new(200).body("never whole").endless(),
        // A status that is there counts, whatever becomes of the body.
        (0, _) => Answer::new(400).body("no whole word").endless(),
        _ => Answer::new(200),
    })
    .await;
    let ids = queue.enqueue(["head", "body", "bad"].map(spec::job).into()).await;
    work(&server, &downstream, &["--request-timeout", "300ms"]).await;
    downstream.until_given_up(3).await;
    for id in &ids[..2] {
        let job = queue.job(id).await;
        assert_eq!((job.state(), job.attempts), (JobState::Completed, 1));
        let error = job.attempt_history[0].error.as_ref().unwrap();
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("TIMEOUT", "no whole answer within 300ms")
        );
    }
    let job = queue.job(&ids[2]).await;
    assert_eq!((job.state(), code(&job)), (JobState::Dead, "HTTP_400"));
}

#[tokio::test]
async fn broken_connection_is_a_failure() {
    let (server, queue) = queue_of_two_attempts().await;
    let downstream = Downstream::start(|call| match (call.before, &call.body[..]) {
        (0, b"head") => Answer::wordless(),
        (0, _) => Answer::new(200).body("never whole").cut(),
        _ => Answer::new(200),
    })
    .await;
    let ids = queue.enqueue(["head", "body"].map(spec::job).into()).await;
    work(&server, &downstream, &[]).await;
    for id in &ids {
        let job = queue.job(id).await;
        assert_eq!((job.state(), job.attempts), (JobState::Completed, 1));
        assert_eq!(job.attempt_history[0].error.as_ref().unwrap().code, "NETWORK");
    }
}

#[tokio::test]
async fn many_jobs_share_few_connections_and_go_in_order() {
    const JOBS: usize = 300;
    let (server, queue) = queue_of_two_attempts().await;
    let downstream = Downstream::start(|_| Answer::new(200).body("fine")).await;
    queue.enqueue(spec::jobs("x", JOBS)).await;
    work(&server, &downstream, &[]).await;
    let bodies: Vec<_> = downstream.calls().into_iter().map(|call| call.body).collect();
    let expected: Vec<_> = (0..JOBS).map(|n| format!("x-{n}").into_bytes()).collect();
    assert_eq!(bodies, expected, "one at a time, in the order of the queue");
    // A request may begin before the connection of the last one is seen to be free.
    assert!(downstream.connections() <= 4, "{} connections", downstream.connections());

    queue.enqueue(spec::jobs("y", JOBS)).await;
    let before = downstream.connections();
    work(&server, &downstream, &["--concurrency", "8"]).await;
    assert_eq!(downstream.calls().len(), 2 * JOBS);
    let made = downstream.connections() - before;
    assert!((1..=32).contains(&made), "{made} connections for {JOBS} jobs");
}

#[tokio::test]
async fn no_more_is_leased_than_is_sent() {
    let (server, queue) = queue_of_two_attempts().await;
    let downstream = Downstream::start(|_| Answer::new(200).held()).await;
    queue.enqueue(spec::jobs("x", 10)).await;
    let mut worker = start(&server, &downstream.url(), &["--concurrency", "3"]);
    downstream.until_calls(3).await;
    let counts = queue.status().await.counts.unwrap();
    assert_eq!((counts.leased, counts.ready), (3, 7));
    downstream.release();
    queue.until(|status| status.counts.as_ref().unwrap().completed == 10).await;
    terminate(&worker);
    assert_eq!(worker.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn worker_that_is_told_to_stop_finishes_what_runs() {
    let (server, queue) = queue_of_two_attempts().await;
    let downstream = Downstream::start(|_| Answer::new(200).body("late").held()).await;
    let ids = queue.enqueue(spec::jobs("x", 5)).await;
    let mut worker = start(&server, &downstream.url(), &["--concurrency", "2"]);
    downstream.until_calls(2).await;
    terminate(&worker);
    // It is still there, and so are its requests.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(worker.try_wait().unwrap().is_none());
    downstream.release();
    assert_eq!(worker.wait().await.unwrap().code(), Some(0));
    assert_eq!(downstream.calls().len(), 2);
    for id in &ids[..2] {
        let job = queue.job(id).await;
        assert_eq!((job.state(), job.result.as_deref()), (JobState::Completed, Some(&b"late"[..])));
    }
    for id in &ids[2..] {
        let job = queue.job(id).await;
        assert_eq!((job.state(), job.attempts), (JobState::Ready, 0));
    }
}

#[tokio::test]
async fn cancelled_job_ends_its_request() {
    let (server, queue) = queue_of_two_attempts().await;
    let downstream = Downstream::start(|_| Answer::new(200).held()).await;
    let id = queue.enqueue_one(spec::job("x")).await;
    let _worker = start(&server, &downstream.url(), &[]);
    downstream.until_calls(1).await;
    queue.try_cancel(&id).await.unwrap();
    downstream.until_given_up(1).await;
    assert_eq!(queue.at_rest(&id).await.state(), JobState::Cancelled);
}

#[tokio::test]
async fn lease_lasts_as_long_as_the_request() {
    for more in [&[][..], &["--no-stream"]] {
        let (server, queue) = queue_of_two_attempts().await;
        let downstream = Downstream::start(|_| Answer::new(200).after(Duration::from_secs(3))).await;
        let id = queue.enqueue_one(spec::job("x")).await;
        work(&server, &downstream, &[more, &["--lease-duration", "1s"]].concat()).await;
        let job = queue.job(&id).await;
        assert_eq!((job.state(), job.attempts, job.deliveries), (JobState::Completed, 0, 1));
        assert_eq!(downstream.calls().len(), 1);
    }
}
