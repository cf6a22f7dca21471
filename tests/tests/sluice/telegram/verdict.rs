//! Holds what the vendor saw against what the fleet was promised. It knows what was set, and when each message left at
//! the soonest and was there; nothing of what the server believes but where each job came to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use sluice_proto::v1::{Job, JobState};
use sluice_tests::spec;

use super::vendor::{Arrival, RETRY_AFTER, Refusal};
use super::{
    ALARM, ALL, BACKOFF, BOT, BOTS, GROUP, HIGH, JITTER, LOW, MAX_ATTEMPTS, QUEUES, Quota, Rate, bot,
};

/// What times of one server differ by that were shown by different lives of it.
const SLACK: Duration = Duration::from_millis(20);

pub(super) struct Verdict<'a> {
    /// In the order in which they came.
    arrivals: &'a [Arrival],
    jobs: BTreeMap<&'a str, &'a Job>,
}

fn bot_of(key: &str) -> &str {
    key.split('/').next().expect("a split gives something")
}

/// From `left` to `time`, as far as there is such a span.
fn between(left: SystemTime, time: SystemTime) -> Duration {
    time.duration_since(left).unwrap_or_default()
}

impl<'a> Verdict<'a> {
    pub(super) fn new(arrivals: &'a [Arrival], jobs: &'a [Job]) -> Verdict<'a> {
        Verdict { arrivals, jobs: jobs.iter().map(|job| (&*job.job_id, job)).collect() }
    }

    fn of<'s>(&'s self, is_one: impl Fn(&Arrival) -> bool + 's) -> Vec<&'a Arrival> {
        self.arrivals.iter().filter(move |arrival| is_one(arrival)).collect()
    }

    /// The first word of what came of a job.
    fn kind(&self, job: &Job) -> &'a str {
        let came = self.arrivals.iter().find(|arrival| arrival.job.as_deref() == Some(&*job.job_id));
        let came = came.unwrap_or_else(|| panic!("it never came: {job:?}"));
        came.text.split(' ').next().expect("a message has a first word")
    }

    pub(super) fn all_came_and_what_never_succeeds_is_dead(&self) {
        for (id, job) in &self.jobs {
            let kind = self.kind(job);
            let came = self.of(|arrival| arrival.job.as_deref() == Some(id)).len() as u32;
            assert!(came >= 1 && came <= job.deliveries, "{came} arrivals of {job:?}");
            let state =
                if ["cursed", "forbidden"].contains(&kind) { JobState::Dead } else { JobState::Completed };
            assert_eq!(job.state(), state, "{job:?}");
            if kind == "cursed" {
                assert_eq!(job.attempts, MAX_ATTEMPTS, "{job:?}");
            }
        }
        let by_itself = self.of(|arrival| arrival.job.is_none()).len();
        assert!(by_itself > 0, "nobody could send by itself");
    }

    /// Of any two that came, no more left between them than may: those that left no sooner than the first, and came no
    /// later than the last. Emergencies count for what came after them, and are not held to it themselves.
    fn is_within(came: &[&Arrival], most: impl Fn(Duration) -> u32) -> bool {
        came.iter().all(|first| {
            let is_in = |arrival: &&&Arrival| arrival.left >= first.left;
            let (emergencies, ordinary): (Vec<&Arrival>, Vec<&Arrival>) =
                came.iter().filter(is_in).partition(|arrival| arrival.is_emergency);
            ordinary.iter().enumerate().all(|(before, last)| {
                let passed = emergencies.iter().filter(|passed| passed.time <= last.left).count();
                let span = between(first.left, last.time) + SLACK;
                before + 1 + passed <= most(span) as usize
            })
        })
    }

    pub(super) fn no_window_is_exceeded(&self) {
        let rate = |Rate { amount, burst }: Rate| {
            move |span: Duration| burst + (span.as_secs_f64() * f64::from(amount)) as u32
        };
        let quota = |Quota { amount, period }: Quota| {
            move |span: Duration| if span < period { amount } else { u32::MAX }
        };
        assert!(Verdict::is_within(&self.of(|_| true), rate(ALL)), "of all bots");
        let names = QUEUES.iter().flat_map(|queue| (0..BOTS).map(|number| bot::name(queue, number)));
        for name in names {
            assert!(
                Verdict::is_within(&self.of(|arrival| bot_of(&arrival.key) == name), rate(BOT)),
                "of {name}"
            );
        }
        let groups: BTreeSet<&str> = self.arrivals.iter().map(|arrival| &*arrival.key).collect();
        for key in groups.into_iter().filter(|key| key.contains("/group/")) {
            let limit = if key.ends_with("alarm") { ALARM } else { GROUP };
            assert!(Verdict::is_within(&self.of(|arrival| arrival.key == key), quota(limit)), "of {key}");
        }
    }

    pub(super) fn emergencies_pass_what_is_used_up(&self) {
        let chats: BTreeSet<&str> =
            self.of(|arrival| arrival.is_emergency).iter().map(|arrival| &*arrival.key).collect();
        assert_eq!(chats.len(), QUEUES.len() * BOTS, "every bot had one");
        for chat in chats {
            let came = self.of(|arrival| arrival.key == chat);
            assert!(came.len() > ALARM.amount as usize, "{came:?}");
            assert!(came[..ALARM.amount as usize].iter().all(|arrival| !arrival.is_emergency), "{came:?}");
        }
    }

    /// Of a key and priority who was first put in came first; where one goes after another as the vendor saw it, else as
    /// they left, of those of which every delivery came.
    pub(super) fn order_is_kept_within_keys(&self) {
        let mut firsts = BTreeMap::<(&str, u32), Vec<(u64, &Arrival)>>::new();
        let mut known = BTreeSet::new();
        for arrival in self.arrivals {
            let Some(id) = arrival.job.as_deref().filter(|id| known.insert(*id)) else { continue };
            let lane = firsts.entry((&arrival.key, arrival.priority)).or_default();
            lane.push((id.parse().unwrap(), arrival));
        }
        for ((key, _), mut lane) in firsts {
            if key.contains("/group/") && !key.ends_with("alarm") {
                assert!(lane.is_sorted_by_key(|(id, _)| *id), "{key}: {lane:?}");
                continue;
            }
            let came = |id: &str| self.of(|arrival| arrival.job.as_deref() == Some(id)).len() as u32;
            lane.retain(|(id, _)| {
                let id = id.to_string();
                came(&id) == self.jobs[&*id].deliveries
            });
            lane.sort_by_key(|(id, _)| *id);
            for pair in lane.windows(2) {
                assert!(pair[0].1.left <= pair[1].1.left + SLACK, "{:?} passed {:?}", pair[1], pair[0]);
            }
        }
    }

    /// In the first half, in which there is something to do for all, and of what is queued.
    pub(super) fn bots_are_served_alike(&self) {
        let queued = self.of(|arrival| arrival.job.is_some() && !arrival.is_emergency);
        let mut counts = BTreeMap::<&str, usize>::new();
        for arrival in &queued[..queued.len() / 2] {
            *counts.entry(bot_of(&arrival.key)).or_default() += 1;
        }
        eprintln!("of the first half: {counts:?}");
        let (most, least) = (counts.values().max().unwrap(), counts.values().min().unwrap());
        assert!(counts.len() == QUEUES.len() * BOTS && most - least <= least / 3, "{counts:?}");
    }

    pub(super) fn low_ones_are_served_while_high_ones_come(&self) {
        let last = self.arrivals.iter().rposition(|arrival| arrival.priority == HIGH).unwrap();
        let low = |arrivals: &[Arrival]| arrivals.iter().filter(|arrival| arrival.priority == LOW).count();
        let (before, all) = (low(&self.arrivals[..last]), low(self.arrivals));
        eprintln!("{before} of {all} low ones came before the last high one");
        assert!(before * 2 > all, "{before} of {all}");
        let (high, rest) = (
            self.arrivals.iter().position(|arrival| arrival.priority == HIGH).unwrap(),
            self.arrivals.iter().position(|arrival| arrival.priority == LOW).unwrap(),
        );
        assert!(high < rest, "and high ones first");
    }

    pub(super) fn failures_wait_longer_each_time(&self) {
        let cursed = self.jobs.values().filter(|job| self.kind(job) == "cursed");
        for job in cursed.filter(|job| {
            self.of(|arrival| arrival.job.as_deref() == Some(&*job.job_id)).len() as u32 == job.deliveries
        }) {
            let came = self.of(|arrival| arrival.job.as_deref() == Some(&*job.job_id));
            for (failures, pair) in came.windows(2).enumerate() {
                let wait = BACKOFF.mul_f64(f64::from(1 << failures) * (1.0 - JITTER));
                let waited = between(pair[0].time, pair[1].left);
                assert!(waited + SLACK >= wait, "{waited:?} after {} failures, not {wait:?}", failures + 1);
            }
        }
    }

    /// Nothing of the key left while it was to wait, over the kill; its bot's other chats went on; no attempt was spent.
    pub(super) fn one_key_alone_was_frozen(&self, refusal: &Refusal) {
        let until = refusal.time + RETRY_AFTER;
        let early = self.of(|arrival| {
            arrival.key == refusal.key && arrival.left > refusal.told && arrival.left + SLACK < until
        });
        assert_eq!(early.len(), 0, "while {refusal:?} held: {early:?}");
        let later = self.of(|arrival| arrival.key == refusal.key && arrival.left + SLACK >= until);
        assert!(!later.is_empty(), "it goes on");
        let bot = bot_of(&refusal.key);
        let others = self.of(|arrival| {
            let is_other = bot_of(&arrival.key) == bot && arrival.key != refusal.key;
            is_other && arrival.left > refusal.told && arrival.time < until
        });
        assert!(!others.is_empty(), "{bot} stood still");
        let job = self.jobs[&*refusal.job];
        assert!(job.attempts == 0 && job.deliveries >= 2, "{job:?}");
        assert!(spec::moment(job.start_time) + SLACK >= until, "{job:?}");
    }
}
