//! A job as a run of a command. Knows nothing of leases but that one can be lost.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use bytes::Bytes;
use futures::future::join3;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    pin,
    process::{Child, ChildStdin, Command},
    time::{Instant, sleep_until, timeout},
};

use crate::{Delivery, Failure, Outcome, proto::Job, worker::MAX_RESULT_BYTES};

/// The command says: slow down. EX_TEMPFAIL of sysexits.h.
const THROTTLED: i32 = 75;
/// The command says: this will never succeed. EX_DATAERR of sysexits.h.
const REJECTED: i32 = 65;
/// Bytes of a line of stderr that are kept.
const MAX_ERROR_BYTES: usize = 4 << 10;
/// How long a child of the command that outlives it may hold on to its output.
const LINGER: Duration = Duration::from_secs(1);
/// How long a command has to end after it was asked to.
const END_GRACE: Duration = Duration::from_secs(5);

pub(super) struct Exec {
    command: String,
}

impl Exec {
    pub(super) fn new(command: String) -> Exec {
        Exec { command }
    }

    pub(super) async fn run(&self, delivery: Delivery) -> Outcome {
        match self.execute(&delivery).await {
            Ok(run) => run.into_outcome(),
            Err(error) => {
                let error = format!("cannot run the command: {error}");
                tracing::error!(job_id = delivery.job.job_id, error);
                Outcome::Failed(Failure::new(error).code("EXEC"))
            }
        }
    }

    async fn execute(&self, delivery: &Delivery) -> io::Result<Run> {
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(&self.command)
            .envs(environment(&delivery.job))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Of its own: an interrupt at the terminal is for us, and we end it with all its children.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = Group::of(&child);
        let (mut result, mut last_line) = (Vec::new(), Vec::new());
        let status = {
            let (Some(stdin), Some(stdout), Some(stderr)) =
                (child.stdin.take(), child.stdout.take(), child.stderr.take())
            else {
                return Err(io::Error::other("a pipe is missing"));
            };
            let payload = delivery.job.payload.clone().unwrap_or_default();
            let pipes =
                join3(feed(stdin, payload), collect(stdout, &mut result), echo(stderr, &mut last_line));
            pin!(pipes);
            let mut piping = true;
            // Asked to end when the job is cancelled or its lease lost, and made to when it does not.
            let mut patience: Option<Instant> = None;
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status?,
                    _ = &mut pipes, if piping => piping = false,
                    () = delivery.cancelled.cancelled(), if patience.is_none() => {
                        group.signal(Signal::TERM);
                        patience = Some(Instant::now() + END_GRACE);
                    }
                    () = sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {
                        group.signal(Signal::KILL);
                        patience = Some(Instant::now() + END_GRACE);
                    }
                }
            };
            if piping {
                // All of it is there, unless a child of the command still holds the other end.
                let _ = timeout(LINGER, &mut pipes).await;
            }
            status
        };
        Ok(Run { status, result, last_line })
    }
}

/// What a command left.
struct Run {
    status: ExitStatus,
    result: Vec<u8>,
    last_line: Vec<u8>,
}

impl Run {
    fn into_outcome(self) -> Outcome {
        let (code, what) = match (self.status.code(), self.status.signal()) {
            (Some(0), _) => {
                let result = (!self.result.is_empty()).then(|| Bytes::from(self.result));
                return Outcome::Done(result);
            }
            (Some(code), _) => (format!("exit_{code}"), format!("exit code {code}")),
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                (format!("signal_{signal}"), format!("ended by signal {signal}"))
            }
        };
        let said = String::from_utf8_lossy(&self.last_line);
        let failure = Failure::new(if said.is_empty() { what } else { said.into_owned() }).code(code);
        match self.status.code() {
            Some(THROTTLED) => Outcome::Throttled { retry_after: None, failure },
            Some(REJECTED) => Outcome::Rejected(failure),
            _ => Outcome::Failed(failure),
        }
    }
}

/// The command and all its children.
#[derive(Clone, Copy)]
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Group {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Group { leader: id.and_then(Pid::from_raw) }
    }

    fn signal(self, signal: Signal) {
        if let Some(leader) = self.leader {
            // It may have ended by itself.
            let _ = kill_process_group(leader, signal);
        }
    }
}

/// What the command is told besides the payload.
fn environment(job: &Job) -> BTreeMap<String, String> {
    let mut environment: BTreeMap<_, _> =
        job.labels.iter().map(|(name, value)| (label_variable(name), value.clone())).collect();
    environment.extend([
        ("SLUICE_JOB_ID".to_owned(), job.job_id.clone()),
        ("SLUICE_QUEUE".to_owned(), job.queue.clone()),
        ("SLUICE_KEY".to_owned(), job.key.clone()),
        ("SLUICE_ATTEMPT".to_owned(), job.attempts.saturating_add(1).to_string()),
    ]);
    // A variable cannot hold it, and the command would not start at all.
    environment.retain(|_, value| !value.contains('\0'));
    environment
}

fn label_variable(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("SLUICE_LABEL_{}", name.chars().map(plain).collect::<String>())
}

/// A command need not read its payload: that it closed its end is no failure.
async fn feed(mut stdin: ChildStdin, payload: Bytes) {
    let _ = stdin.write_all(&payload).await;
}

/// Keeps the beginning and reads on, so that the command never waits for a reader.
async fn collect(mut output: impl AsyncRead + Unpin, result: &mut Vec<u8>) {
    let mut buffer = [0; 8 << 10];
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        let room = MAX_RESULT_BYTES - result.len();
        if count > room {
            tracing::warn!("the command's output is longer than {MAX_RESULT_BYTES} bytes: the result is cut");
        }
        result.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// Passes lines on to our own stderr and keeps the last one that says something.
async fn echo(output: impl AsyncRead + Unpin, last_line: &mut Vec<u8>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line without end comes in parts.
        let mut part = (&mut output).take(MAX_ERROR_BYTES as u64);
        match part.read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        // With our stderr gone the command goes on all the same.
        let _ = io::stderr().write_all(&line);
        let text = line.trim_ascii();
        if !text.is_empty() {
            last_line.clear();
            last_line.extend_from_slice(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tokio_util::sync::CancellationToken;

    use super::*;

    async fn run_with(command: &str, job: Job, lost: CancellationToken) -> Outcome {
        Exec::new(command.to_owned())
            .run(Delivery { job, lease_token: 1, cancelled: lost.child_token(), lost })
            .await
    }

    async fn run(command: &str) -> Outcome {
        let job = Job { payload: Some("hello".into()), ..Job::default() };
        run_with(command, job, CancellationToken::new()).await
    }

    #[tokio::test]
    async fn payload_goes_in_and_stdout_is_the_result() {
        assert_eq!(run("cat; echo !").await, Outcome::Done(Some("hello!\n".into())));
        assert_eq!(run("true").await, Outcome::Done(None));
    }

    #[tokio::test]
    async fn exit_code_decides_and_the_last_line_of_stderr_is_the_error() {
        let failure = |code: &str| Failure::new("at last").code(code);
        let command = |code: u8| format!("echo first >&2; echo at last >&2; echo >&2; exit {code}");
        assert_eq!(run(&command(1)).await, Outcome::Failed(failure("exit_1")));
        assert_eq!(run(&command(65)).await, Outcome::Rejected(failure("exit_65")));
        let throttled = Outcome::Throttled { retry_after: None, failure: failure("exit_75") };
        assert_eq!(run(&command(75)).await, throttled);
        assert_eq!(run("exit 7").await, Outcome::Failed(Failure::new("exit code 7").code("exit_7")));
        let killed = Failure::new("ended by signal 9").code("signal_9");
        assert_eq!(run("kill -9 $$").await, Outcome::Failed(killed));
    }

    #[tokio::test]
    async fn job_is_told_in_the_environment() {
        let job = Job {
            job_id: "42".to_owned(),
            queue: "mail".to_owned(),
            key: "a/b".to_owned(),
            attempts: 1,
            labels: HashMap::from([("git-hub event".to_owned(), "push".to_owned())]),
            ..Job::default()
        };
        let command = "printf '%s ' $SLUICE_JOB_ID $SLUICE_QUEUE $SLUICE_KEY $SLUICE_ATTEMPT $SLUICE_LABEL_GIT_HUB_EVENT";
        let outcome = run_with(command, job, CancellationToken::new()).await;
        assert_eq!(outcome, Outcome::Done(Some("42 mail a/b 2 push ".into())));
    }

    #[tokio::test]
    async fn value_that_no_variable_can_hold_does_not_stop_the_job() {
        let labels = HashMap::from([("bad".to_owned(), "a\0b".to_owned())]);
        let job = Job { labels, ..Job::default() };
        assert_eq!(run_with("true", job, CancellationToken::new()).await, Outcome::Done(None));
    }

    #[tokio::test]
    async fn long_output_is_cut_and_large_unread_payload_does_not_hang() {
        let Outcome::Done(Some(result)) = run("head -c 200000 /dev/zero").await else { panic!() };
        assert_eq!(result.len(), MAX_RESULT_BYTES);
        let job = Job { payload: Some(vec![b'x'; 1 << 20].into()), ..Job::default() };
        assert_eq!(run_with("exit 0", job, CancellationToken::new()).await, Outcome::Done(None));
    }

    #[tokio::test]
    async fn lost_lease_ends_the_command_and_its_children() {
        let lost = CancellationToken::new();
        lost.cancel();
        let outcome = run_with("sleep 600; sleep 600", Job::default(), lost).await;
        assert!(matches!(outcome, Outcome::Failed(failure) if failure.code == "signal_15"));
    }
}
