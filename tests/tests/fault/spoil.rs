//! Files that are not as they were left.

use sluice_tests::fault::Script;
use sluice_tests::fault::spoil::{Case, Sound};

/// Harm at random places.
const RANDOM: usize = 30;
/// Events that are spoiled under a server that does not notice, at most: one of a few shows it.
const MAX_TRIES: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoiled_store_is_refused_with_a_word_why_or_is_whole() {
    let sound = Sound::make(Script::setup(), Script::default()).await;
    let seed = fastrand::u64(..1_000_000);
    eprintln!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut harms = sound.chosen();
    harms.extend((0..RANDOM).map(|_| sound.random(&mut chance)));
    let mut cases = Vec::new();
    for (file, harm) in harms {
        let case = sound.try_one(&file, harm).await;
        eprintln!("{case}");
        cases.push(case);
    }
    let wrong: Vec<&Case> = cases.iter().filter(|case| !case.wrong.is_empty()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let found = cases.iter().filter(|case| case.is_found).count();
    assert!(found > cases.len() / 3, "{found} of {} were found", cases.len());
}

/// The judge would notice: this server believes every frame of its log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_leaves_out_the_crc_of_frames_is_found_out() {
    let sound = Sound::make(Script::setup().planted("no-frame-crc"), Script::default()).await;
    let mut chance = fastrand::Rng::with_seed(7);
    for _ in 0..MAX_TRIES {
        let (file, harm) = sound.in_small_frame(&mut chance);
        let case = sound.try_one(&file, harm).await;
        eprintln!("{case}");
        if !case.wrong.is_empty() {
            return;
        }
    }
    panic!("{MAX_TRIES} events were spoiled, and nothing was wrong");
}
