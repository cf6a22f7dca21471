//! The power goes, and leaves of what was not synced what it will.

use sluice_tests::fault::Script;
use sluice_tests::fault::power::{self, Verdict};

/// Images of one run.
const IMAGES: usize = 2_000;
/// Images of a run with a bug: many of them show it.
const FEW: usize = 400;

fn judge(run: &power::Run, images: usize) -> Verdict {
    let seed = fastrand::u64(..1_000_000);
    eprintln!("seed {seed}");
    let verdict = run.judge(images, seed);
    eprintln!("{verdict:#?}");
    assert!(verdict.images >= images, "{verdict:?}");
    verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loss_of_power_at_any_moment_loses_nothing_that_was_acknowledged() {
    let run = power::record(Script::setup(), Script::default()).await;
    assert_eq!(run.range_syncs, 0, "sled syncs for real");
    let verdict = judge(&run, IMAGES);
    assert_eq!(verdict.wrong, 0);
    assert!(verdict.with_jobs > IMAGES / 2, "most images have jobs: {verdict:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_leaves_a_sync_out_is_found_out() {
    let setup = Script::setup().environment("RECORDER_FORGET", "fdatasync");
    let run = power::record(setup, Script::default()).await;
    assert!(judge(&run, FEW).wrong > 0);
}

/// Without the filter sled syncs with a call that makes nothing sure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_whose_sled_syncs_ranges_only_is_found_out() {
    let setup = Script::setup().planted("no-sync-filter").argument("--insecure-no-sync-filter");
    let run = power::record(setup, Script::default()).await;
    assert!(run.range_syncs > 0, "sled used its own way to sync");
    assert!(judge(&run, FEW).wrong > 0);
}

/// The directory was made, filled and synced, and its name is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_does_not_sync_the_name_of_its_directory_is_found_out() {
    let setup = Script::setup().environment("RECORDER_FORGET", "root");
    let run = power::record(setup, Script { rounds: 8, retire: false, life: 0 }).await;
    assert!(judge(&run, FEW / 4).wrong > 0);
}
