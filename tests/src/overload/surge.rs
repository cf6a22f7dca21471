//! Calls at many times the rate that a server takes from one caller: what is over it must be refused soon, what is not must
//! be served as ever, and afterwards all of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_proto::v1::Queue as Settings;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::Latency;
use crate::{Queue, Setup, Sluiced, spec};

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Surge {
    /// Calls a second that the server takes.
    pub rate: u32,
    /// How many times that is asked.
    pub factor: u32,
    /// For how long.
    pub span: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Figures {
    /// Calls that were asked a second.
    pub asked: f64,
    /// Calls that were admitted a second.
    pub admitted_rate: f64,
    /// How long the admitted took.
    pub admitted: Latency,
    /// How long it took to refuse.
    pub refused: Latency,
    /// What else was answered.
    pub others: Vec<Status>,
    /// How long after it the server first served half its rate for a second, refusing nothing.
    pub recovered_after: Duration,
}

/// Connections of the caller.
const CONNECTIONS: usize = 8;
/// Between two bursts of calls.
const TICK: Duration = Duration::from_millis(2);
/// How long the server may take to serve all again, before that counts as never.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Answers {
    admitted: Vec<Duration>,
    refused: Vec<Duration>,
    others: Vec<Status>,
}

impl Surge {
    /// Measures it.
    pub async fn run(self) -> Figures {
        let setup = Setup::default().environment("SLUICED_REQUEST_RATE", &self.rate.to_string());
        let server = setup.start().await;
        let settings = Settings { lease_duration: Some(spec::millis(60_000)), ..Settings::default() };
        server.queue("surge").put(settings).await;
        let (answers, took) = ask(&server, self.rate * self.factor, self.span).await;
        let recovered_after = self.recovery(&server).await;
        let seconds = took.as_secs_f64();
        Figures {
            asked: (answers.admitted.len() + answers.refused.len()) as f64 / seconds,
            admitted_rate: answers.admitted.len() as f64 / seconds,
            admitted: Latency::from(answers.admitted),
            refused: Latency::from(answers.refused),
            others: answers.others,
            recovered_after,
        }
    }

    async fn recovery(self, server: &Sluiced) -> Duration {
        let over = Instant::now();
        while over.elapsed() < PATIENCE {
            let after = over.elapsed();
            let (answers, _) = ask(server, self.rate / 2, Duration::from_secs(1)).await;
            if answers.refused.is_empty() && answers.others.is_empty() {
                return after;
            }
        }
        PATIENCE
    }
}

/// Asks so many times a second, whatever is answered; how long that took.
async fn ask(server: &Sluiced, rate: u32, span: Duration) -> (Answers, Duration) {
    let queues: Vec<Queue> = (0..CONNECTIONS).map(|_| server.queue("surge")).collect();
    let answers = Arc::new(Mutex::new(Answers::default()));
    let mut calls = JoinSet::new();
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    let mut asked = 0;
    while begun.elapsed() < span {
        ticks.tick().await;
        // What a late tick left out comes with the next.
        let due = (begun.elapsed().min(span).as_secs_f64() * f64::from(rate)) as usize;
        for number in asked..due {
            calls.spawn(call(queues[number % CONNECTIONS].clone(), answers.clone()));
        }
        asked = due;
        while calls.try_join_next().is_some() {}
    }
    let took = begun.elapsed();
    while let Some(ended) = calls.join_next().await {
        ended.unwrap();
    }
    let answers = std::mem::take(&mut *answers.lock().await);
    (answers, took)
}

async fn call(queue: Queue, answers: Arc<Mutex<Answers>>) {
    let begun = Instant::now();
    let answer = queue.try_enqueue(vec![spec::job("surge")], "").await;
    let took = begun.elapsed();
    let mut answers = answers.lock().await;
    match answer {
        Ok(_) => answers.admitted.push(took),
        Err(error) if is_refused(&error) => answers.refused.push(took),
        Err(error) => answers.others.push(error),
    }
}

/// Whatever else comes, with or without a reason, is not what was to be answered.
fn is_refused(error: &Status) -> bool {
    let info = error.get_details_error_info();
    error.code() == Code::ResourceExhausted
        && info.is_some_and(|info| info.domain == "sluice.v1" && info.reason == "REQUEST_RATE")
}
