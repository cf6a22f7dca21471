//! Bytes that nobody wrote: what reads records refuses them or makes sense of them, and never panics, hangs or asks for
//! more memory than they could hold. What is on disk has crcs, which random changes would not get past: these have
//! right ones.
//!
//! `SLUICE_FUZZ_TIMES` makes each test so many times as long, `SLUICE_FUZZ_SEED` repeats one.

use bytes::Bytes;
use fastrand::Rng;
use sluice_engine::{EngineConfig, Loader};

use super::damage::spoilable;
use super::rig::Rig;
use crate::store::codec::{decode, encode, sample};
use crate::store::home::Home;
use crate::store::home::value::seal;

/// Where chance begins, and how often it is tried.
struct Campaign {
    chance: Rng,
    times: usize,
}

impl Campaign {
    fn begin() -> Campaign {
        let said = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
        let seed = said("SLUICE_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
        // A panic shows it.
        println!("SLUICE_FUZZ_SEED={seed}");
        let times = said("SLUICE_FUZZ_TIMES").unwrap_or(1) as usize;
        Campaign { chance: Rng::with_seed(seed), times }
    }

    /// Changes `bytes` a little, as a slip of memory or a clever enemy would.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.chance.usize(1..4) {
            let at = self.chance.usize(..=bytes.len());
            match self.chance.u8(..8) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.chance.u8(..)),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => {
                    let from = self.chance.usize(..=at);
                    let again = bytes[from..at].to_vec();
                    bytes.splice(at..at, again);
                }
                // Counts and lengths.
                4 if at + 4 <= bytes.len() => {
                    bytes[at..at + 4].fill(*self.chance.choice(&[0, 0x7f, 0xff]).unwrap())
                }
                5 if at < bytes.len() => bytes[at] = *self.chance.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap(),
                _ if at < bytes.len() => bytes[at] ^= 1 << self.chance.u8(..8),
                _ => bytes.push(self.chance.u8(..)),
            }
        }
    }
}

#[test]
fn any_events_are_decoded_or_refused_and_what_is_decoded_is_written_the_same_way() {
    let mut campaign = Campaign::begin();
    let written = |mutations: &[_]| {
        let mut out = Vec::new();
        mutations.iter().for_each(|mutation| encode(mutation, &mut out, |_| {}));
        out
    };
    let samples: Vec<Vec<u8>> = sample::one_of_each()
        .into_iter()
        .chain(sample::one_of_each_later())
        .map(|mutation| written(&[mutation]))
        .collect();
    let (mut decoded, mut refused) = (0_u64, 0_u64);
    for _ in 0..100_000 * campaign.times {
        let mut events = campaign.chance.choice(&samples).unwrap().clone();
        if campaign.chance.bool() {
            events.extend_from_slice(campaign.chance.choice(&samples).unwrap());
        }
        campaign.spoil(&mut events);
        let Ok(mutations) = decode(&Bytes::from(events), |_| {}) else {
            refused += 1;
            continue;
        };
        decoded += 1;
        let once = written(&mutations);
        let again = decode(&Bytes::from(once.clone()), |_| {}).expect("what was written is read");
        assert_eq!(written(&again), once);
    }
    assert!(decoded > 100 && refused > 100, "{decoded} decoded, {refused} refused: both are to be tried");
}

#[test]
fn any_rows_at_home_are_loaded_or_refused() {
    let mut campaign = Campaign::begin();
    let (subject, rig, _) = spoilable();
    rig.stop(true);
    let home = Home::open(&subject.dir().join("sled")).unwrap();
    let rows = home.all_rows();
    let (mut loaded, mut refused) = (0_u64, 0_u64);
    for _ in 0..1_000 * campaign.times {
        let (tree, key, value) = campaign.chance.choice(&rows).unwrap();
        let mut spoilt = value[..value.len() - 4].to_vec();
        campaign.spoil(&mut spoilt);
        if home.put_row(tree, key, &seal(key, spoilt)).is_err() {
            refused += 1;
            continue;
        }
        let mut loader = Loader::new(EngineConfig::default());
        // Without the log jobs are missing.
        let result = home.load(&mut loader).map_err(drop);
        match result.and_then(|_| loader.finish_what_is_left(Rig::dawn()).map_err(drop)) {
            Ok(_) => loaded += 1,
            Err(()) => refused += 1,
        }
        home.put_row(tree, key, value).unwrap();
    }
    assert!(loaded > 10 && refused > 10, "{loaded} loaded, {refused} refused: both are to be tried");
}
