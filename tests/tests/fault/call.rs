//! Something happens at a system call: `strace` ends the process there, or has the call fail.

use sluice_tests::binary;
use sluice_tests::fault::Script;
use sluice_tests::fault::strace::{self, Action, Fault, Place};
use sluice_tests::fault::sweep::{self, Case, Outcome};

/// Faults of one test: one or two at each call in each place.
const BUDGET: usize = 20;

/// Goes through the calls; all that happened must have been borne well.
async fn go_through(action: Action) -> Vec<Case> {
    assert!(strace::is_there(), "strace is missing: ./test installs it");
    let cases = sweep::go_through(Script::default(), action, BUDGET, |case| eprintln!("{case}")).await;
    let wrong: Vec<&Case> = cases.iter().filter(|case| !case.wrong.is_empty()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let reached = cases.iter().filter(|case| case.outcome != Outcome::NotReached).count();
    assert!(reached > cases.len() / 2, "{reached} of {} happened", cases.len());
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_killed_at_any_call_has_lost_nothing_that_it_acknowledged() {
    go_through(Action::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_whose_disk_breaks_stops_at_once_or_bears_it_and_loses_nothing() {
    go_through(Action::BrokenDisk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_whose_disk_has_no_room_refuses_or_stops_and_loses_nothing() {
    go_through(Action::FullDisk).await;
}

/// The sweep would notice: this server answers before it writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_answers_before_it_writes_is_found_out() {
    for action in [Action::Kill, Action::BrokenDisk] {
        let setup = Script::setup().program(binary::sluiced_planted());
        let fault = Fault { call: "pwrite64", place: Place::Log, nth: 100, action };
        let case = sweep::try_one(setup, Script::default(), fault).await;
        eprintln!("{case}");
        assert!(case.wrong.iter().any(|wrong| wrong.contains("and may be")), "{case}");
    }
}

/// So it would here: to this server a sync that failed is none that matters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_goes_on_after_a_failed_sync_is_found_out() {
    let setup = Script::setup().planted("failed-sync");
    let fault = Fault { call: "fdatasync", place: Place::Log, nth: 100, action: Action::BrokenDisk };
    let case = sweep::try_one(setup, Script::default(), fault).await;
    eprintln!("{case}");
    assert!(case.wrong.iter().any(|wrong| wrong == "it went on"), "{case}");
}
