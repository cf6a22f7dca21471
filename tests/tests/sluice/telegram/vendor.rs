//! The service that bots send through: it keeps what came, by its own clock, and answers as it does.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use sluice_proto::v1::JobSpec;
use tokio::sync::watch;

use super::{HIGH, QUEUES, bot};

/// How long a chat is told to wait.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(3);

/// A message that came.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) priority: u32,
    pub(super) is_emergency: bool,
    /// The job; of what a bot sent by itself none.
    pub(super) job: Option<String>,
    /// It left no sooner than this, and was here at that time.
    pub(super) left: SystemTime,
    pub(super) time: SystemTime,
}

/// What it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Taken,
    /// 429.
    Wait(Duration),
    /// 500.
    Broken,
    /// 403: the user blocked the bot.
    Forbidden,
}

/// A 429, as the worker that was told it passed it on.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) key: String,
    pub(super) job: String,
    /// When it was said, and when the server knew.
    pub(super) time: SystemTime,
    pub(super) told: SystemTime,
}

#[derive(Default)]
pub(super) struct Vendor {
    seen: watch::Sender<Vec<Arrival>>,
    is_armed: Mutex<bool>,
    refused: watch::Sender<Option<Refusal>>,
    closed: watch::Sender<bool>,
}

fn key() -> String {
    format!("{}/group/0", bot::name(QUEUES[0], 1))
}

/// A message that the vendor may answer 429, so that one comes in any case.
pub(super) fn unwelcome() -> JobSpec {
    bot::message("plain", &key(), HIGH, 0)
}

/// One that stands behind it.
pub(super) fn behind() -> JobSpec {
    bot::message("plain", &key(), HIGH, 1)
}

impl Vendor {
    /// Takes a message.
    pub(super) fn receive(&self, arrival: Arrival) -> Answer {
        let before = self.seen.borrow().iter().filter(|other| other.text == arrival.text).count();
        let is_unwelcome = arrival.key == key() && std::mem::take(&mut *self.is_armed.lock().unwrap());
        let answer = match arrival.text.split(' ').next().expect("a message has a first word") {
            _ if is_unwelcome => Answer::Wait(RETRY_AFTER),
            "cursed" => Answer::Broken,
            "flaky" if before == 0 => Answer::Broken,
            "forbidden" => Answer::Forbidden,
            _ => Answer::Taken,
        };
        self.seen.send_modify(|seen| seen.push(arrival));
        answer
    }

    /// Waits until so many messages of a key have come.
    pub(super) async fn until(&self, key: &str, count: usize) {
        let has_come =
            |seen: &Vec<Arrival>| seen.iter().filter(|arrival| arrival.key == key).count() >= count;
        self.seen.subscribe().wait_for(has_come).await.unwrap();
    }

    /// From now on the next message of one chat is told to wait.
    pub(super) fn arm(&self) {
        *self.is_armed.lock().unwrap() = true;
    }

    /// Waits until one was, and the server knows.
    pub(super) async fn refusal(&self) -> Refusal {
        let mut refused = self.refused.subscribe();
        let refusal = refused.wait_for(Option::is_some).await.unwrap();
        refusal.clone().expect("it is some")
    }

    /// The server was told.
    pub(super) fn passed_on(&self, refusal: Refusal) {
        self.refused.send_replace(Some(refusal));
    }

    /// Nothing more is to come.
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Everything that came, in that order.
    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        self.seen.borrow().clone()
    }
}
