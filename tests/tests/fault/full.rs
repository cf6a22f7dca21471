//! A disk that is really full: a small file system, filled and cleared again.

use sluice_tests::Setup;
use sluice_tests::fault::Script;
use sluice_tests::fault::full::{self, Verdict};

/// Times that the disk fills up.
const ROUNDS: usize = 3;

async fn go_through(setup: Setup, rounds: usize) -> Verdict {
    let verdict = full::go_through(setup, rounds).await;
    let verdict = verdict.expect("no tmpfs can be mounted here: this test needs root, or CAP_SYS_ADMIN");
    eprintln!("{verdict:?}");
    verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_refuses_enqueues_lets_work_go_on_and_is_forgotten_when_there_is_room() {
    let verdict = go_through(Script::setup(), ROUNDS).await;
    assert!(verdict.wrong.is_empty(), "{:#?}", verdict.wrong);
    assert_eq!(verdict.rounds, ROUNDS);
    assert!(verdict.refused >= ROUNDS && verdict.acked >= ROUNDS, "{verdict:?}");
}

/// The rounds would notice: this server writes until there is no room at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_keeps_no_reserve_is_found_out() {
    let verdict = go_through(Script::setup().planted("no-reserve"), ROUNDS).await;
    assert!(!verdict.wrong.is_empty(), "{verdict:?}");
}
