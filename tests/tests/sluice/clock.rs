//! Time that goes wrong: a wall clock that jumps by a day, and processes that stand still. Leases, delays and limits go by a
//! clock that nobody sets; only a run time that was said as a date goes by the wall.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use sluice_proto::v1::{
    JobSpec, JobState, LeaseRequest, LeasedJob, NackReason, NodeSettings, Queue as Settings, Window,
    WindowKind, WindowUnit,
};
use sluice_tests::{Queue, Setup, Sluiced, binary, spec};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// What Debian calls it.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
const DAY: u64 = 86_400;
/// How much longer than it must something may take here.
const SLACK: Duration = Duration::from_secs(5);

/// A server whose wall clock is set by a file.
struct Jumpy {
    server: Sluiced,
    file: tempfile::NamedTempFile,
}

impl Jumpy {
    async fn start() -> Jumpy {
        assert!(Path::new(LIBRARY).exists(), "the package faketime is missing");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "+0").unwrap();
        let setup = Setup::default()
            .environment("LD_PRELOAD", LIBRARY)
            .environment("FAKETIME_TIMESTAMP_FILE", file.path().to_str().unwrap())
            .environment("FAKETIME_NO_CACHE", "1")
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Jumpy { server: setup.start().await, file }
    }

    /// The wall clock shows so many seconds more or less than it is.
    fn jump(&self, seconds: &str) {
        fs::write(self.file.path(), seconds).unwrap();
    }
}

fn rate(amount: u32, seconds: u64) -> NodeSettings {
    let window = Window {
        kind: WindowKind::Rate.into(),
        amount,
        period: Some(spec::millis(seconds * 1_000)),
        burst: Some(1),
        unit: WindowUnit::Jobs.into(),
    };
    NodeSettings { windows: vec![window], ..NodeSettings::default() }
}

#[tokio::test]
async fn wall_clock_that_jumps_by_a_day_neither_bursts_nor_stalls_through_kill_9_too() {
    let mut jumpy = Jumpy::start().await;
    let queue = jumpy.server.queue("limited");
    queue.put(Settings { settings: Some(rate(1, 3_600)), ..spec::retrying(5, Duration::ZERO) }).await;
    queue.enqueue(spec::jobs("x", 3)).await;
    let held = queue.lease(3).await;
    assert_eq!(held.len(), 1, "one an hour");
    for seconds in ["+86400", "-86400"] {
        jumpy.jump(seconds);
        assert_eq!(jumpy.server.queue("limited").lease(3).await.len(), 0, "{seconds}");
        jumpy.server.kill_and_start().await;
        let queue = jumpy.server.queue("limited");
        assert_eq!(queue.lease(3).await.len(), 0, "{seconds} and a start");
        let job = queue.job(&spec::id(&held[0])).await;
        assert_eq!(job.state(), JobState::Leased, "a lease of 30 s is still held");
        // What is to come in a moment comes in a moment.
        let begun = Instant::now();
        let soon = jumpy.server.queue(&format!("soon{seconds}").replace(['+', '-'], "_"));
        soon.put(Settings { settings: Some(rate(2, 1)), ..spec::retrying(5, Duration::from_millis(200)) })
            .await;
        soon.enqueue(vec![JobSpec { delay: Some(spec::millis(300)), ..spec::job("late") }]).await;
        let late = soon.lease_next().await;
        soon.nack(&late, NackReason::Failed).await;
        let again = soon.lease_next().await;
        soon.ack(&[again]).await;
        assert!(begun.elapsed() < SLACK, "{seconds}: {:?}", begun.elapsed());
    }
    let queue = jumpy.server.queue("limited");
    queue.ack(&held).await;
}

#[tokio::test]
async fn job_with_a_date_runs_when_the_wall_clock_says_so() {
    let jumpy = Jumpy::start().await;
    let queue = jumpy.server.queue("dated");
    let tomorrow = SystemTime::now() + Duration::from_secs(DAY / 2);
    queue.enqueue(vec![JobSpec { run_time: Some(tomorrow.into()), ..spec::job("dated") }]).await;
    assert_eq!(queue.lease(1).await.len(), 0);
    jumpy.jump("+86400");
    let begun = Instant::now();
    queue.lease_next().await;
    assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn server_that_stood_still_beyond_a_lease_gives_the_job_to_another_and_refuses_the_first() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("still");
    queue
        .put(Settings { lease_duration: Some(spec::millis(1_000)), ..spec::retrying(5, Duration::ZERO) })
        .await;
    queue.enqueue(spec::jobs("x", 1)).await;
    let first = queue.lease_next().await;
    kill_process(server.pid(), Signal::STOP).unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    kill_process(server.pid(), Signal::CONT).unwrap();
    let second = queue.lease_next().await;
    assert_eq!(spec::id(&first), spec::id(&second));
    assert!(second.lease_token > first.lease_token);
    let lost = queue.try_ack(vec![spec::ack(&first)]).await;
    assert_eq!(lost[0].error.as_ref().map(|error| &*error.reason), Some("LEASE_LOST"));
    queue.ack(&[second]).await;
}

/// A queue with one job, whose leases last for a second.
async fn still(server: &Sluiced) -> Queue {
    let queue = server.queue("still");
    queue
        .put(Settings { lease_duration: Some(spec::millis(1_000)), ..spec::retrying(5, Duration::ZERO) })
        .await;
    queue.enqueue(spec::jobs("x", 1)).await;
    queue
}

/// A shell that runs `command`, in which `sluice` reaches the server and `$DIR` is `directory`. It leads a group.
fn shell(server: &Sluiced, directory: &TempDir, command: &str) -> (Child, Pid) {
    let program = binary::sluice().parent().unwrap().to_str().unwrap();
    let child = Command::new("/bin/sh")
        .args(["-ec", command])
        .env("PATH", format!("{program}:/usr/bin:/bin"))
        .env("SLUICE_ADDR", server.url())
        .env("DIR", directory.path())
        .process_group(0)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    (child, pid)
}

/// Waits until a worker has made the file.
async fn until_made(directory: &TempDir, name: &str) {
    let made = tokio::time::timeout(Duration::from_secs(60), async {
        while !directory.path().join(name).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    made.await.unwrap_or_else(|_| panic!("{name} is not made"));
}

/// Leases the job as another worker, for as long as the test may take.
async fn by_another(queue: &Queue) -> LeasedJob {
    let request = LeaseRequest {
        wait_timeout: Some(spec::millis(30_000)),
        lease_duration: Some(spec::millis(600_000)),
        ..queue.lease_request(1)
    };
    queue.lease_by(request).await.pop().expect("the lease of who stands still ends")
}

/// The job is the other's, who acks it.
async fn settles(queue: &Queue, second: LeasedJob) {
    let job = queue.job(&spec::id(&second)).await;
    assert_eq!((job.state(), job.deliveries), (JobState::Leased, 2));
    queue.ack(&[second]).await;
}

#[tokio::test]
async fn worker_that_stood_still_beyond_its_lease_has_lost_the_job_and_its_late_ack_is_refused() {
    let server = Sluiced::fresh().await;
    let queue = still(&server).await;
    let directory = TempDir::new().unwrap();
    // It asks nobody whether the job is still its own.
    let command = "lease=$(sluice lease --queue still --wait 10s | awk 'END { print $1 }'); touch $DIR/leased; \
                   sleep 0.2; sluice ack $lease";
    let (worker, pid) = shell(&server, &directory, command);
    until_made(&directory, "leased").await;
    kill_process_group(pid, Signal::STOP).unwrap();
    let second = by_another(&queue).await;
    kill_process_group(pid, Signal::CONT).unwrap();
    let said = worker.wait_with_output().await.unwrap();
    let stderr = String::from_utf8(said.stderr).unwrap();
    assert!(!said.status.success() && stderr.contains("LEASE_LOST"), "{:?} {stderr}", said.status);
    settles(&queue, second).await;
}

#[tokio::test]
async fn command_line_worker_that_stood_still_beyond_its_lease_settles_nothing() {
    for way in ["", "--no-stream"] {
        let server = Sluiced::fresh().await;
        let queue = still(&server).await;
        let directory = TempDir::new().unwrap();
        let command = format!(
            "exec sluice work --queue still {way} --exec 'touch $DIR/begun; sleep 0.2; touch $DIR/ended'"
        );
        let (worker, pid) = shell(&server, &directory, &command);
        until_made(&directory, "begun").await;
        // The worker alone: what it runs goes on, and ends well.
        kill_process(pid, Signal::STOP).unwrap();
        until_made(&directory, "ended").await;
        let second = by_another(&queue).await;
        kill_process(pid, Signal::CONT).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let said = worker.wait_with_output().await.unwrap();
        let stdout = String::from_utf8(said.stdout).unwrap();
        assert!(stdout.contains("0 done,") && stdout.contains(" 1 lost"), "{stdout}");
        settles(&queue, second).await;
    }
}
