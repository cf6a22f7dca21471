//! What bots have to say, and what they do by themselves.

use std::time::Duration;

use sluice_proto::v1::JobSpec;
use sluice_tests::spec;

use super::sender::Sender;
use super::{ALARM, BOTS, HIGH, LOW, NORMAL, TRY};

/// Users that a bot speaks with, and its group chats.
const USERS: usize = 4;
const GROUPS: usize = 2;
/// Of each group chat and of each user, at each of the priorities that wait from the start.
const OF_GROUP: usize = 5;
const OF_USER: usize = 3;
/// Urgent messages come in so many parts, one to a user of each bot, and so often.
const PARTS: usize = 12;
const EVERY: Duration = Duration::from_millis(600);
/// So often a bot sends by itself.
const BY_ITSELF: usize = 2;

/// The first word of a message says what becomes of it, all of it which it is.
pub(super) fn message(kind: &str, key: &str, priority: u32, number: usize) -> JobSpec {
    let job = spec::keyed(key, &format!("{kind} {key} {priority} {number}"));
    JobSpec { priority: Some(priority), ..job }
}

/// The name of a bot of a queue: no other queue has one of that name.
pub(super) fn name(queue: &str, number: usize) -> String {
    format!("bot-{queue}-{number}")
}

fn user(bot: &str, number: usize) -> String {
    format!("{bot}/user/{}", number % USERS)
}

fn alarm(bot: &str) -> String {
    format!("{bot}/group/alarm")
}

/// Messages of all bots of a queue that wait from the start, one of each bot after another.
pub(super) fn waiting(queue: &str) -> Vec<JobSpec> {
    let of = |bot: String| {
        let alarms = (0..ALARM.amount as usize).map(|n| message("plain", &alarm(&bot), HIGH, n));
        let mut messages: Vec<JobSpec> = alarms.collect();
        for priority in [LOW, NORMAL] {
            for number in 0..OF_GROUP {
                let groups = (0..GROUPS).map(|group| format!("{bot}/group/{group}"));
                messages.extend(groups.map(|key| message("plain", &key, priority, number)));
            }
            for number in 0..OF_USER * USERS {
                let kind = match (priority, number) {
                    (NORMAL, 0) => "cursed",
                    (NORMAL, 1) => "forbidden",
                    (NORMAL, 2 | 7) => "flaky",
                    _ => "plain",
                };
                messages.push(message(kind, &user(&bot, number), priority, number));
            }
        }
        messages
    };
    let mut bots: Vec<_> = (0..BOTS).map(|number| of(name(queue, number)).into_iter()).collect();
    let mut messages = Vec::new();
    while !bots[0].as_slice().is_empty() {
        messages.extend(bots.iter_mut().filter_map(Iterator::next));
    }
    messages
}

/// Urgent messages, as they come.
pub(super) fn coming(queue: &str) -> Vec<Vec<JobSpec>> {
    let part = |part: usize| {
        let of = |bot: String| (0..USERS).map(move |n| message("plain", &user(&bot, n), HIGH, part));
        (0..BOTS).flat_map(|number| of(name(queue, number))).collect()
    };
    (0..PARTS).map(part).collect()
}

impl Sender {
    /// Puts urgent messages in, one part after another.
    pub(super) async fn produce(self, parts: Vec<Vec<JobSpec>>) {
        let mut ticks = tokio::time::interval(EVERY);
        for (number, part) in parts.into_iter().enumerate() {
            ticks.tick().await;
            self.enqueue(&format!("coming-{number}"), part).await;
        }
    }
}

/// One bot: it tries to send for a while before it queues, and what is an emergency it queues as such. How many it
/// queued; all emergencies have arrived.
pub(super) async fn live(sender: Sender, number: usize) -> usize {
    let bot = name(sender.queue.name(), number);
    let (alarm, mut queued) = (alarm(&bot), 0);
    sender.vendor.until(&alarm, ALARM.amount as usize).await;
    // Its chat may say no more for an hour: it is refused, and not kept waiting for longer than it wanted.
    assert!(!sender.acquires(&alarm, TRY).await, "{alarm} has used what it may");
    let emergencies: Vec<JobSpec> = (0..ALARM.amount as usize)
        .map(|n| JobSpec { bypass_limits: true, ..message("emergency", &alarm, NORMAL, n) })
        .collect();
    queued += emergencies.len();
    for id in sender.enqueue(&format!("{bot}-emergency"), emergencies).await {
        sender.queue.at_rest(&id).await;
    }
    for n in 0..BY_ITSELF {
        let itself = message("itself", &format!("{bot}/user/vip"), HIGH, n);
        if !sender.sends(&itself, TRY).await {
            sender.enqueue(&format!("{bot}-{n}"), vec![itself]).await;
            queued += 1;
        }
    }
    queued
}
