//! An independent referee: nginx counts what arrives, by its own rules, and says 429 to what is too much. By itself, for
//! it needs the machine: what is late by a tenth of a second is lost.
//!
//! `REFEREE_MESSAGES=5000 cargo test --release -p sluice-tests --test referee` is the long form.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, and says where")]
#![allow(clippy::print_stderr, reason = "the figures")]

use std::collections::BTreeMap;

use sluice_proto::v1::{KeyRule, NodeSettings, Queue, Window};
use sluice_tests::nginx::{Nginx, Seen};
use sluice_tests::{Sluiced, cli, spec};

const CHATS: usize = 100;
/// What nginx admits a second, in all and for each chat.
const ALL: f64 = 30.0;
const CHAT: f64 = 20.0 / 60.0;

fn rate(amount: u32, seconds: u64, burst: u32) -> NodeSettings {
    let window = Window {
        amount,
        period: Some(spec::millis(1_000 * seconds)),
        burst: Some(burst),
        ..Window::default()
    };
    NodeSettings { windows: vec![window], ..NodeSettings::default() }
}

/// What the vendor would have admitted between the first request and the last: at any time what it takes in all, or
/// what it takes of the chats that still have something to say.
fn allowed(seen: &[Seen]) -> f64 {
    let mut left = BTreeMap::<&str, usize>::new();
    for call in seen {
        *left.entry(&call.key).or_default() += 1;
    }
    let mut last = seen[0].time;
    let mut allowed = 0.0;
    for call in seen {
        allowed += (call.time - last) * ALL.min(left.len() as f64 * CHAT);
        last = call.time;
        let mine = left.get_mut(&*call.key).unwrap();
        *mine -= 1;
        if *mine == 0 {
            left.remove(&*call.key);
        }
    }
    allowed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_1_n2_vendor_with_the_same_limits_never_says_429_and_is_used_fully() {
    let messages: usize = std::env::var("REFEREE_MESSAGES").map_or(1_000, |count| count.parse().unwrap());
    let (server, nginx) = (Sluiced::fresh().await, Nginx::start().await);
    let queue = server.queue("chat");
    // nginx takes burst + 1 at once; the rest of it is for what is late.
    let key_rules = vec![KeyRule { key_pattern: "chat*".to_owned(), settings: Some(rate(20, 60, 1)) }];
    queue.put(Queue { settings: Some(rate(30, 1, 2)), key_rules, ..Queue::default() }).await;
    let job = |n: usize| spec::keyed(&format!("chat{}", n % CHATS), &format!("message {n}"));
    queue.enqueue((0..messages).map(job).collect()).await;

    let url = nginx.url();
    let work = ["work", "--queue", "chat", "--http", &url, "--concurrency", "20", "--until-empty"];
    let said = cli::run(&server, &work).await;
    assert_eq!(said.code, 0, "{said:?}");

    let seen = nginx.seen();
    let refused = seen.iter().filter(|call| call.status == 429).count();
    let used = seen.len() as f64 / allowed(&seen);
    let took = seen.last().unwrap().time - seen[0].time;
    eprintln!("{} calls in {took:.1} s, {refused} answered 429, used ÷ allowed {used:.4}", seen.len());
    assert_eq!((seen.len(), refused), (messages, 0));
    assert!(used >= 0.98, "used ÷ allowed {used}");
    let mut chats = BTreeMap::<&str, Vec<&Seen>>::new();
    for call in &seen {
        chats.entry(&call.key).or_default().push(call);
    }
    assert_eq!(chats.len(), CHATS);
    for (chat, calls) in chats {
        assert!(calls.is_sorted_by_key(|call| call.job_id), "{chat} is not in order");
        assert_eq!(calls.len(), messages / CHATS, "{chat} has its share");
    }
    let totals = queue.status().await.totals.unwrap();
    assert_eq!((totals.completed, totals.throttled, totals.failed_attempts), (messages as u64, 0, 0));
}
