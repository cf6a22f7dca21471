//! An independent referee: nginx counts what arrives, by its own rules, and says 429 to what is too much. By itself, for
//! it needs the machine: what is late by a tenth of a second is lost.
//!
//! `cargo run --release --bin referee` is the long form, with limits that are wrong or not known, and with chats that are
//! always told 429.

#![allow(clippy::print_stderr, reason = "the figures")]

use std::collections::BTreeMap;

use sluice_tests::nginx::Seen;
use sluice_tests::referee::{CHATS, Told, send};

const MESSAGES: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_1_n2_vendor_with_the_same_limits_never_says_429_and_is_used_fully() {
    let verdict = send(Told::Same, MESSAGES, 0).await;
    let (seen, used) = (&verdict.seen, verdict.used);
    eprintln!(
        "{} calls in {:.1} s, {} answered 429, used ÷ allowed {used:.4}",
        seen.len(),
        verdict.took,
        verdict.refused
    );
    assert_eq!((seen.len(), verdict.refused, verdict.failed_attempts), (MESSAGES, 0, 0));
    assert!(used >= 0.98, "used ÷ allowed {used}");
    let mut chats = BTreeMap::<&str, Vec<&Seen>>::new();
    for call in seen {
        chats.entry(&call.key).or_default().push(call);
    }
    assert_eq!(chats.len(), CHATS);
    for (chat, calls) in chats {
        assert!(calls.is_sorted_by_key(|call| call.job_id), "{chat} is not in order");
        assert_eq!(calls.len(), MESSAGES / CHATS, "{chat} has its share");
    }
}
