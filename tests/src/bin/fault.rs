//! The long forms of the tests of faults. `cargo run --bin fault -- kill 200` ends a server at 200 system calls;
//! `broken 200` and `full 200` have the calls fail; `disk 100` fills a disk so often; `spoil 300` spoils so many
//! files; `power 20000` builds so many images of what a loss of power leaves.

#![allow(clippy::print_stdout, reason = "the figures")]

use std::process::ExitCode;

use sluice_tests::fault::spoil::{End, Sound};
use sluice_tests::fault::strace::Action;
use sluice_tests::fault::sweep::{self, Outcome};
use sluice_tests::fault::{Script, full, power};

#[tokio::main]
async fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (Some(what), Some(Ok(count))) = (words.next(), words.next().map(|word| word.parse::<usize>())) else {
        println!("fault kill|broken|full|disk|spoil|power COUNT");
        return ExitCode::from(2);
    };
    let is_good = match &*what {
        "kill" => calls(Action::Kill, count).await,
        "broken" => calls(Action::BrokenDisk, count).await,
        "full" => calls(Action::FullDisk, count).await,
        "disk" => disk(count).await,
        "spoil" => spoil(count).await,
        "power" => power(count).await,
        other => {
            println!("there is no `{other}`");
            false
        }
    };
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn calls(action: Action, budget: usize) -> bool {
    let cases = sweep::go_through(Script::default(), action, budget, |case| println!("{case}")).await;
    let reached = cases.iter().filter(|case| case.outcome != Outcome::NotReached).count();
    let wrong = cases.iter().filter(|case| !case.wrong.is_empty()).count();
    println!("{} faults, {reached} reached, {wrong} with something wrong", cases.len());
    wrong == 0
}

async fn disk(rounds: usize) -> bool {
    let verdict = full::go_through(Script::setup(), rounds).await;
    println!("{verdict:#?}");
    verdict.is_some_and(|verdict| verdict.wrong.is_empty())
}

async fn spoil(count: usize) -> bool {
    let mut chance = fastrand::Rng::new();
    let stopped = Sound::make(Script::setup(), Script::default(), End::Stopped).await;
    let mut harms = stopped.chosen();
    harms.extend((0..count.saturating_sub(harms.len())).map(|_| stopped.random(&mut chance)));
    let killed = Sound::make(Script::setup(), Script::default(), End::Killed).await;
    let in_sled = (0..count / 4).map(|_| killed.in_sled(&mut chance));
    let cases = harms.into_iter().map(|harm| (&stopped, harm)).chain(in_sled.map(|harm| (&killed, harm)));
    let (mut harms, mut wrong, mut found, mut refused) = (0, 0, 0, 0);
    for (store, (file, harm)) in cases {
        let case = store.try_one(&file, harm).await;
        println!("{case}");
        harms += 1;
        wrong += usize::from(!case.wrong.is_empty());
        found += usize::from(case.is_found);
        refused += usize::from(case.is_refused);
    }
    println!("{harms} harms, {found} found by check, {refused} refused, {wrong} with something wrong");
    wrong == 0
}

async fn power(images: usize) -> bool {
    let run = power::record(Script::setup(), Script::default()).await;
    let seed = fastrand::u64(..1_000_000);
    println!("seed {seed}");
    let verdict = run.judge(images, seed);
    println!("{verdict:#?}");
    verdict.wrong == 0
}
