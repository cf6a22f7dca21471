//! The main job on real input: GitHub's webhook deliveries go in before any worker starts, two
//! `sluice work --exec` processes deliver them with curl, and `sluiced` is killed three times meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluice_proto::v1::{Job, JobState, Queue};
use sluice_tests::sink::{Received, Sink};
use sluice_tests::{Setup, cli, spec, webhook};
use tokio::process::Child;

/// The event whose every delivery fails.
const CURSED: &str = "fork";
/// One trip, and for each kill a lease whose answer never reached its worker, leave one to spare.
const ATTEMPTS: u32 = 5;
/// So long such a job waits for its next worker.
const LEASE: Duration = Duration::from_secs(5);
/// Jobs that one worker has in its hands.
const CONCURRENCY: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_are_delivered_though_the_server_is_killed_three_times() {
    deliver_webhooks(Setup::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_are_delivered_with_small_segments_too() {
    deliver_webhooks(Setup::small_segments()).await;
}

async fn deliver_webhooks(setup: Setup) {
    let webhooks = webhook::all();
    let mut server = setup.start().await;
    let queue = server.queue("webhooks");
    let settings = spec::retrying(ATTEMPTS, Duration::from_millis(200));
    queue.put(Queue { lease_duration: Some(spec::span(LEASE)), ..settings }).await;
    let lines = webhook::job_specs(&webhooks);
    let said = cli::run_with(&server, &["enqueue", "--queue", "webhooks", "-f", "-"], lines.as_bytes()).await;
    let _ = said.ok();

    let jobs = queue.list(&[JobState::Ready], 100).await;
    assert_eq!(jobs.len(), webhooks.len());
    for (job, webhook) in jobs.iter().zip(&webhooks) {
        assert_eq!(
            job.payload.as_ref().unwrap(),
            webhook.payload.get().as_bytes(),
            "raw bytes, as they stand"
        );
        assert_eq!(job.key, webhook.key);
        assert_eq!(job.labels["event"], webhook.event);
    }

    let sink = Sink::start(CURSED).await;
    let directory = tempfile::tempdir().unwrap();
    let mut workers: Vec<Child> = (0..2)
        .map(|n| {
            let log = directory.path().join(format!("worker-{n}"));
            cli::start(&server, &work(&sink).each_ref().map(String::as_str), &log)
        })
        .collect();
    let good = webhooks.iter().filter(|webhook| webhook.event != CURSED).count();
    for quarter in 1..=3 {
        sink.until_delivered(good * quarter / 4).await;
        server.kill_and_start().await;
    }
    let done = server.queue("webhooks").until(|status| status.jobs == 0).await;
    for worker in &mut workers {
        assert!(worker.try_wait().unwrap().is_none(), "workers outlive the server");
        terminate(worker).await;
    }
    let after: BTreeMap<String, Job> = server
        .queue("webhooks")
        .list(&[], 100)
        .await
        .into_iter()
        .map(|job| (job.job_id.clone(), job))
        .collect();
    assert_eq!(after.len(), webhooks.len());
    let counts = done.counts.unwrap();
    assert_eq!(counts.completed + counts.dead, webhooks.len() as u64);

    let received = sink.received();
    judge_jobs(&jobs, &after, &received);
    judge_bodies(&jobs, &received);
    judge_order(&jobs, &after, &received);
    assert!(received.tripped.len() >= webhooks.len() / 7 - 2, "every seventh job was failed once");
}

/// curl's exit code is the worker's verdict, its complaint the job's error.
fn work(sink: &Sink) -> [String; 7] {
    let deliver = format!(
        "exec curl --silent --show-error --fail --max-time 20 --data-binary @- \
         -H \"x-job-id: $SLUICE_JOB_ID\" -H \"x-event: $SLUICE_LABEL_EVENT\" {}",
        sink.url()
    );
    ["work", "--queue", "webhooks", "--concurrency", &CONCURRENCY.to_string(), "--exec", &deliver]
        .map(str::to_owned)
}

async fn terminate(worker: &mut Child) {
    let id = i32::try_from(worker.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(worker.wait().await.unwrap().code(), Some(0), "a worker that is told to stop stops well");
}

/// Every job is COMPLETED, but those of the cursed event, which are DEAD with their attempts and error.
fn judge_jobs(before: &[Job], after: &BTreeMap<String, Job>, received: &Received) {
    for job in before {
        let is = &after[&job.job_id];
        if job.labels["event"] == CURSED {
            assert_eq!((is.state(), is.attempts), (JobState::Dead, ATTEMPTS), "{is:?}");
            let error = is.last_error.as_ref().unwrap();
            // A kill may have kept the last lease from its worker: then nothing was sent under it.
            let never_sent = error.code == "LEASE_EXPIRED" && received.arrivals[&job.job_id] < ATTEMPTS;
            assert!(error.message.contains("500") || never_sent, "{error:?}");
        } else {
            assert_eq!(is.state(), JobState::Completed, "{is:?}");
        }
    }
}

/// The sink has seen each payload, by job id, at least once and byte for byte.
fn judge_bodies(before: &[Job], received: &Received) {
    let expected: BTreeMap<String, BTreeSet<Vec<u8>>> = before
        .iter()
        .map(|job| (job.job_id.clone(), BTreeSet::from([job.payload.as_ref().unwrap().to_vec()])))
        .collect();
    assert_eq!(received.bodies, expected);
}

/// Jobs of priority 9 were leased first.
fn judge_order(before: &[Job], after: &BTreeMap<String, Job>, received: &Received) {
    let urgent: BTreeSet<&String> =
        before.iter().filter(|job| job.priority == 9).map(|job| &job.job_id).collect();
    assert_eq!(urgent.len(), 7);
    // By the server's clock, for those that were leased only once.
    let once = |job: &&Job| job.deliveries == 1;
    let started = |job: &Job| spec::moment(job.start_time);
    let (first, rest): (Vec<_>, Vec<_>) =
        after.values().filter(once).partition(|job| urgent.contains(&job.job_id));
    let last_urgent = first.into_iter().map(started).max().expect("some went well at once");
    let first_other = rest.into_iter().map(started).min().expect("some went well at once");
    assert!(last_urgent <= first_other, "{last_urgent:?} {first_other:?}");
    // By arrival, for all: only what was in other hands at the same time may have overtaken them.
    let hands = 2 * CONCURRENCY;
    let head: BTreeSet<&String> = received.order.iter().take(urgent.len() + hands).collect();
    assert!(head.is_superset(&urgent));
}
