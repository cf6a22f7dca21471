//! nginx as an independent referee of limits: what it answered, held against what it would have admitted.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_proto::v1::{KeyRule, NodeSettings, Queue as Settings, Window};
use tempfile::TempDir;

use crate::nginx::{Nginx, Seen};
use crate::{Queue, Sluiced, cli, spec};

/// Chats that messages go to.
pub const CHATS: usize = 100;
/// What nginx admits a second, in all and for each chat.
const ALL: f64 = 30.0;
const CHAT: f64 = 20.0 / 60.0;
/// Messages of each chat that is told 429 whatever it does.
const BANNED_MESSAGES: usize = 50;
/// Seconds after which limits that were not known have been learned.
const LEARNED: f64 = 60.0;

/// What Sluice is told of the vendor's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The same, with smaller bursts.
    Same,
    /// Twice as much.
    Twice,
    /// Nothing.
    Nothing,
}

/// What the referee saw.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Calls of chats that may be served, in order.
    pub seen: Vec<Seen>,
    /// Of those: answered 429.
    pub refused: usize,
    /// Served ÷ what would have been admitted.
    pub used: f64,
    /// The same, after the first minute.
    pub used_later: f64,
    /// From the first call to the last, in seconds.
    pub took: f64,
    /// Attempts that jobs spent.
    pub failed_attempts: u64,
}

impl Verdict {
    /// Calls answered 429, as a part of all.
    #[must_use]
    pub fn refused_part(&self) -> f64 {
        self.refused as f64 / self.seen.len() as f64
    }
}

/// Sends `messages` to [`CHATS`] chats in turn, and to each of so many that are `banned` some more, with one worker.
///
/// # Panics
/// When something goes wrong that has nothing to do with limits.
pub async fn send(told: Told, messages: usize, banned: usize) -> Verdict {
    let (server, nginx) = (Sluiced::fresh().await, Nginx::start().await);
    let queue = server.queue("chat");
    put(&queue, told).await;
    let job = |n: usize| spec::keyed(&format!("chat{}", n % CHATS), &format!("message {n}"));
    for first in (0..messages).step_by(1_000) {
        queue.enqueue((first..messages.min(first + 1_000)).map(job).collect()).await;
    }
    for chat in 0..banned {
        let key = format!("{}{chat}", Nginx::BANNED);
        queue.enqueue(vec![spec::keyed(&key, "never"); BANNED_MESSAGES]).await;
    }
    let url = nginx.url();
    let work = ["work", "--queue", "chat", "--http", &url, "--concurrency", "20"];
    let directory = TempDir::new().unwrap();
    let mut worker = cli::start(&server, &work, &directory.path().join("worker.log"));
    let totals = loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let totals = queue.status().await.totals.unwrap();
        if totals.completed + totals.dead >= messages as u64 {
            break totals;
        }
    };
    worker.kill().await.unwrap();
    let is_served = |call: &Seen| !call.key.starts_with(Nginx::BANNED);
    let seen: Vec<Seen> = nginx.seen().into_iter().filter(is_served).collect();
    let first = seen[0].time;
    Verdict {
        refused: seen.iter().filter(|call| call.status == 429).count(),
        used: used(&seen, first),
        used_later: used(&seen, first + LEARNED),
        took: seen[seen.len() - 1].time - first,
        failed_attempts: totals.failed_attempts,
        seen,
    }
}

async fn put(queue: &Queue, told: Told) {
    // nginx takes burst + 1 at once; the rest of it is for what is late.
    let (all, chat) = match told {
        Told::Same => (rate(30, 1, 2), rate(20, 60, 1)),
        Told::Twice => (rate(60, 1, 4), rate(40, 60, 2)),
        Told::Nothing => return drop(queue.put(Settings::default()).await),
    };
    let key_rules = vec![KeyRule { key_pattern: "*".to_owned(), settings: Some(chat) }];
    queue.put(Settings { settings: Some(all), key_rules, ..Settings::default() }).await;
}

fn rate(amount: u32, seconds: u64, burst: u32) -> NodeSettings {
    let window = Window {
        amount,
        period: Some(spec::millis(1_000 * seconds)),
        burst: Some(burst),
        ..Window::default()
    };
    NodeSettings { windows: vec![window], ..NodeSettings::default() }
}

/// What was served from a time on, as a part of what the vendor would have admitted until the last was: at any time
/// what it takes in all, or what it takes of the chats that still have something to say.
fn used(seen: &[Seen], from: f64) -> f64 {
    let served: Vec<&Seen> = seen.iter().filter(|call| call.status == 200).collect();
    let mut left = BTreeMap::<&str, usize>::new();
    for call in &served {
        *left.entry(&call.key).or_default() += 1;
    }
    let mut last = from;
    let (mut allowed, mut count) = (0.0, 0.0);
    for call in served {
        if call.time >= from {
            allowed += (call.time - last) * ALL.min(left.len() as f64 * CHAT);
            (last, count) = (call.time, count + 1.0);
        }
        if let Some(mine) = left.get_mut(&*call.key) {
            *mine -= 1;
            if *mine == 0 {
                left.remove(&*call.key);
            }
        }
    }
    count / allowed
}
