//! Files that are not as they were left.

use fastrand::Rng;
use sluice_tests::fault::Script;
use sluice_tests::fault::spoil::{Case, End, Harm, Sound};

/// Harm at random places, and in the last part of sled's file.
const RANDOM: usize = 30;
const IN_SLED: usize = 25;
/// Events that are spoiled under a server that does not notice, at most: one of a few shows it.
const MAX_TRIES: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoiled_store_is_refused_with_a_word_why_or_is_whole() {
    let sound = Sound::make(Script::setup(), Script::default(), End::Stopped).await;
    let mut chance = seeded();
    let mut harms = sound.chosen();
    harms.extend((0..RANDOM).map(|_| sound.random(&mut chance)));
    harms.extend((0..IN_SLED).map(|_| sound.in_sled(&mut chance)));
    let (cases, found) = try_all(&sound, harms).await;
    assert!(found > cases / 3, "{found} of {cases} were found");
}

/// After a kill an end of the log that is damaged is one that was cut short, and nobody was told of what was in it. Of
/// sled's file that is not so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sled_that_is_spoiled_after_a_kill_is_refused_with_a_word_why_or_is_whole() {
    let sound = Sound::make(Script::setup(), Script::default(), End::Killed).await;
    let mut chance = seeded();
    let harms = (0..IN_SLED).map(|_| sound.in_sled(&mut chance)).collect();
    try_all(&sound, harms).await;
}

/// Nothing may be wrong. Gives how many there were, and how many of them a check found.
async fn try_all(sound: &Sound, harms: Vec<(String, Harm)>) -> (usize, usize) {
    let mut cases = Vec::new();
    for (file, harm) in harms {
        let case = sound.try_one(&file, harm).await;
        eprintln!("{case}");
        cases.push(case);
    }
    let wrong: Vec<&Case> = cases.iter().filter(|case| !case.wrong.is_empty()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    (cases.len(), cases.iter().filter(|case| case.is_found).count())
}

fn seeded() -> Rng {
    let seed = fastrand::u64(..1_000_000);
    eprintln!("seed {seed}");
    Rng::with_seed(seed)
}

/// The judge would notice: this server believes every frame of its log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_leaves_out_the_crc_of_frames_is_found_out() {
    let sound = Sound::make(Script::setup().planted("no-frame-crc"), Script::default(), End::Stopped).await;
    let mut chance = Rng::with_seed(7);
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
