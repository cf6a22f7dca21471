//! Files that are not as they were left.

use sluice_tests::fault::Script;
use sluice_tests::fault::spoil::{Case, Sound};

/// Harm at random places.
const RANDOM: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoiled_store_is_refused_with_a_word_why_or_is_whole() {
    let sound = Sound::make(Script::default()).await;
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
