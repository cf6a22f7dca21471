//! The workload: one client, one step after the other, always the same. Jobs wait, run, fail, die, come back; the log
//! rotates; what lives long moves home; segments retire. It ends with its last step or with the first call that was
//! not answered well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sluice_proto::v1::{
    Ack, AckRequest, EnqueueRequest, JobFilter, JobSpec, JobState, LeaseRequest, Nack, NackReason,
    NackRequest, Queue as Settings, RequeueJobsRequest,
};
use tonic::{Code, Request, Status};

use super::told::{Shown, Told, payload_of};
use crate::{Queue, Setup, Sluiced, spec, status};

/// The queue of the script.
pub const QUEUE: &str = "script";
/// Jobs of a round.
const JOBS: usize = 40;
/// Of those, so many are leased.
const LEASES: usize = 24;
/// A call that takes longer is lost.
const DEADLINE: Duration = Duration::from_secs(20);
/// Nothing that was begun ends by itself while a script runs.
const LONG: Duration = Duration::from_secs(7_200);
/// How long the first segment may take to retire when all is enqueued: it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// The script.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// How often the round is gone through: about 100 KB each.
    pub rounds: usize,
    /// Whether it waits then until segments have retired.
    pub retire: bool,
    /// Goes into the names of jobs: those of another life are others.
    pub life: u32,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// What its client was told.
    pub told: Told,
    /// The call that was not answered well, and why; none: it went to its end.
    pub failed: Option<(&'static str, Status)>,
    /// Calls that were refused because the disk was full: for sure nothing came of them.
    pub refused: usize,
}

/// Its client.
pub struct Client {
    queue: Queue,
    life: u32,
    /// What it was told.
    pub told: Told,
    /// Ids and tokens by the job's name.
    ids: BTreeMap<String, String>,
    tokens: BTreeMap<String, u64>,
    /// Calls that were refused because the disk was full.
    pub refused: usize,
}

/// What came of a call: that it was not answered well, and why.
pub type Step = Result<(), (&'static str, Status)>;

impl Default for Script {
    fn default() -> Script {
        Script { rounds: 64, retire: true, life: 0 }
    }
}

impl Script {
    /// A server for it: segments of the smallest size, few of them.
    #[must_use]
    pub fn setup() -> Setup {
        Setup::small_segments().environment("SLUICED_LOG_LEVEL", "warn")
    }

    /// Runs it against `server`, whose queue it makes.
    pub async fn run(self, server: &Sluiced) -> Ended {
        self.run_on(server, Told::default()).await
    }

    /// Runs it against a server of which this was told before.
    pub async fn run_on(self, server: &Sluiced, told: Told) -> Ended {
        let mut client = Client { told, ..Client::new(server.queue(QUEUE), self.life) };
        let failed = client.play(self, &server.data()).await.err();
        Ended { told: client.told, failed, refused: client.refused }
    }
}

impl Client {
    /// One that was told nothing yet.
    #[must_use]
    pub fn new(queue: Queue, life: u32) -> Client {
        Client {
            queue,
            life,
            told: Told::default(),
            ids: BTreeMap::new(),
            tokens: BTreeMap::new(),
            refused: 0,
        }
    }

    async fn play(&mut self, script: Script, data: &Path) -> Step {
        self.put().await?;
        for round in 0..script.rounds {
            self.enqueue(round).await?;
            let names = self.lease(LEASES).await?;
            let (acked, rest) = names.split_at(names.len().min(14));
            let (dead, rest) = rest.split_at(rest.len().min(4));
            let (failed, _held) = rest.split_at(rest.len().min(4));
            self.ack(acked).await?;
            self.nack(dead, NackReason::Rejected, JobState::Dead).await?;
            self.nack(failed, NackReason::Failed, JobState::Retrying).await?;
            if round % 16 == 15 {
                self.requeue_dead().await?;
            }
        }
        if script.retire {
            self.until_retired(data).await?;
        }
        // What was held, or came back from the dead, lies at home by now.
        let mut held = self.told.standing(JobState::Leased);
        held.retain(|name| self.tokens.contains_key(name));
        self.ack(&held).await?;
        let names = self.lease(LEASES).await?;
        self.ack(&names).await
    }

    /// Makes the queue.
    ///
    /// # Errors
    /// When it is not answered well.
    pub async fn put(&mut self) -> Step {
        let settings = Settings {
            name: QUEUE.to_owned(),
            retry_policy: Some(spec::retry(5, LONG)),
            lease_duration: Some(spec::span(LONG)),
            retention_bytes: Some(1 << 40),
            ..Settings::default()
        };
        let request = sluice_proto::v1::PutQueueRequest { queue: Some(settings), update_mask: None };
        let answer = self.queue.admin.clone().put_queue(timed(request)).await;
        answer.map(drop).map_err(|status| ("put", status))
    }

    /// Enqueues a round's jobs. A few wait for hours, some have little priority and wait until the end.
    ///
    /// # Errors
    /// When it is not answered well.
    pub async fn enqueue(&mut self, round: usize) -> Step {
        let job = |n: usize| {
            let name = format!("l{}r{round}j{n}", self.life);
            JobSpec {
                payload: payload_of(&name).into(),
                key: name,
                priority: Some(if n % 5 == 1 { 0 } else { 5 }),
                delay: (n % 10 == 3).then(|| spec::span(LONG)),
                ..JobSpec::default()
            }
        };
        let jobs: Vec<JobSpec> = (0..JOBS).map(job).collect();
        let names: Vec<(String, JobState)> = jobs
            .iter()
            .map(|job| {
                let state = if job.delay.is_some() { JobState::Scheduled } else { JobState::Ready };
                (job.key.clone(), state)
            })
            .collect();
        let request = EnqueueRequest { queue: QUEUE.to_owned(), jobs, ..EnqueueRequest::default() };
        let asked = Told::ask();
        let answer = self.queue.rpc.clone().enqueue(timed(request)).await;
        if is_refused(&answer) {
            self.refused += 1;
            return Ok(());
        }
        for (name, state) in &names {
            self.told.note(&asked, [name.as_str()], *state, answer.is_ok());
        }
        let answer = answer.map_err(|status| ("enqueue", status))?.into_inner();
        let ids = answer.jobs.into_iter().map(|job| job.job_id);
        self.ids.extend(names.into_iter().map(|(name, _)| name).zip(ids));
        Ok(())
    }

    /// Leases; their names.
    ///
    /// # Errors
    /// When it is not answered well.
    pub async fn lease(&mut self, count: usize) -> Result<Vec<String>, (&'static str, Status)> {
        let request = LeaseRequest {
            queue: QUEUE.to_owned(),
            max_jobs: Some(u32::try_from(count).unwrap()),
            worker_id: "script".to_owned(),
            ..LeaseRequest::default()
        };
        let asked = Told::ask();
        let answer = self.queue.rpc.clone().lease(timed(request)).await;
        if is_refused(&answer) {
            self.refused += 1;
            return Ok(Vec::new());
        }
        self.told.note_lease(&asked, count, answer.is_ok());
        let jobs = answer.map_err(|status| ("lease", status))?.into_inner().jobs;
        let named = jobs.into_iter().map(|leased| {
            let job = leased.job.expect("a lease has its job");
            self.ids.insert(job.key.clone(), job.job_id);
            (job.key, leased.lease_token)
        });
        let named: Vec<(String, u64)> = named.collect();
        let names: Vec<String> = named.iter().map(|(name, _)| name.clone()).collect();
        self.told.note(&asked, names.iter().map(String::as_str), JobState::Leased, true);
        self.tokens.extend(named);
        Ok(names)
    }

    /// Acks jobs that it leased.
    ///
    /// # Errors
    /// When it is not answered well.
    pub async fn ack(&mut self, names: &[String]) -> Step {
        if names.is_empty() {
            return Ok(());
        }
        let acks = names
            .iter()
            .map(|name| Ack {
                job_id: self.ids[name].clone(),
                lease_token: self.tokens[name],
                ..Ack::default()
            })
            .collect();
        let asked = Told::ask();
        let answer = self.queue.rpc.clone().ack(timed(AckRequest { acks })).await;
        self.told.note(&asked, names.iter().map(String::as_str), JobState::Completed, answer.is_ok());
        let answer = answer.map_err(|status| ("ack", status))?.into_inner();
        assert!(answer.results.iter().all(|result| result.error.is_none()), "{answer:?}");
        Ok(())
    }

    /// Nacks jobs that it leased, for a reason that brings them to `state`.
    ///
    /// # Errors
    /// When it is not answered well.
    pub async fn nack(&mut self, names: &[String], reason: NackReason, state: JobState) -> Step {
        if names.is_empty() {
            return Ok(());
        }
        let nacks = names
            .iter()
            .map(|name| Nack {
                job_id: self.ids[name].clone(),
                lease_token: self.tokens[name],
                reason: reason.into(),
                ..Nack::default()
            })
            .collect();
        let asked = Told::ask();
        let answer = self.queue.rpc.clone().nack(timed(NackRequest { nacks })).await;
        self.told.note(&asked, names.iter().map(String::as_str), state, answer.is_ok());
        let answer = answer.map_err(|status| ("nack", status))?.into_inner();
        assert!(answer.results.iter().all(|result| result.error.is_none()), "{answer:?}");
        Ok(())
    }

    async fn requeue_dead(&mut self) -> Step {
        let dead = self.told.standing(JobState::Dead);
        let filter = JobFilter {
            queue: QUEUE.to_owned(),
            states: vec![JobState::Dead as i32],
            ..JobFilter::default()
        };
        let request = RequeueJobsRequest { filter: Some(filter), ..RequeueJobsRequest::default() };
        let asked = Told::ask();
        let answer = self.queue.admin.clone().requeue_jobs(timed(request)).await;
        self.told.note(&asked, dead.iter().map(String::as_str), JobState::Ready, answer.is_ok());
        answer.map(drop).map_err(|status| ("requeue", status))
    }

    /// Waits until the first segment is gone: the process looks after that by itself. A name that could not be changed may
    /// stay until the next start.
    async fn until_retired(&self, data: &Path) -> Step {
        let first: PathBuf = data.join("log/00000001.log");
        let gone = tokio::time::timeout(PATIENCE, async {
            while first.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                self.queue.rpc.clone().get_queue_status(timed(status_request())).await?;
            }
            Ok(())
        });
        gone.await.unwrap_or(Ok(())).map_err(|status| ("wait", status))
    }
}

/// What the server shows of the script's jobs.
pub async fn shown(server: &Sluiced) -> Vec<Shown> {
    try_shown(server).await.unwrap()
}

/// The same of a server that may not be able to.
///
/// # Errors
/// What it answered.
pub async fn try_shown(server: &Sluiced) -> Result<Vec<Shown>, Status> {
    let jobs = server.queue(QUEUE).try_list(&[], 1_000).await?;
    let show = |job: sluice_proto::v1::Job| Shown {
        state: job.state(),
        name: job.key,
        payload: job.payload.map(|payload| payload.to_vec()),
    };
    Ok(jobs.into_iter().map(show).collect())
}

fn status_request() -> sluice_proto::v1::GetQueueStatusRequest {
    sluice_proto::v1::GetQueueStatusRequest { queue: QUEUE.to_owned(), key: String::new() }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

fn is_refused<T>(answer: &Result<T, Status>) -> bool {
    matches!(answer, Err(error) if error.code() == Code::ResourceExhausted && status::reason(error) == "STORAGE_FULL")
}
