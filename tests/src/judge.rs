//! Judges a history: which promises do the answers show to be broken? Uses nothing but answers, the
//! times at which clients called and were answered, and a last listing of all jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluice_proto::v1::JobState;

use crate::history::{Seen, What};

/// Where every job stands when all is done, as a client lists them.
pub type Audit = BTreeMap<String, JobState>;

/// A promise that was broken, and the job or request it was broken to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// An acknowledged job is gone.
    JobLost(String),
    /// A job is there that no request was answered with.
    JobInvented(String),
    /// One request was answered with different jobs.
    RequestAnsweredTwice(String),
    /// One idempotency key was answered with different jobs.
    KeyAnsweredTwice(String),
    /// A job was delivered with a token above the one it was acked with.
    DeliveredAfterAck(String),
    /// A later delivery did not have a greater token.
    TokenDidNotGrow(String),
    /// A job was acked by two deliveries, or acked and nacked by one.
    SettledTwice(String),
    /// A lease was lost before its time.
    LeaseLostEarly(String),
    /// An acked job is not COMPLETED.
    AckForgotten(String),
    /// A job is COMPLETED, and nobody acked it.
    CompletedByNobody(String),
    /// A job was delivered to a worker that asked after it was cancelled or dropped.
    DeliveredAfterEnd(String),
    /// A job that was cancelled or dropped is something else.
    EndForgotten(String),
    /// A job is CANCELLED, EXPIRED or DROPPED, and nobody was told or wanted it.
    EndedByNobody(String),
    /// A job came to no end, though everything that was delivered was worked off.
    Stuck(String),
}

/// The promises that were broken. Nothing is what a good server leaves.
#[must_use]
pub fn judge(seen: &[Seen], audit: &Audit) -> BTreeSet<Violation> {
    let mut found = BTreeSet::new();
    let enqueued = judge_requests(seen, &mut found);
    for job in &enqueued {
        if !audit.contains_key(*job) {
            found.insert(Violation::JobLost((*job).to_owned()));
        }
    }
    let lives = lives(seen);
    for life in lives.values() {
        life.judge(&mut found);
    }
    for (job, state) in audit {
        if !enqueued.contains(job.as_str()) {
            found.insert(Violation::JobInvented(job.clone()));
        }
        found.extend(lives.get(job.as_str()).unwrap_or(&Life::default()).judge_end(job, *state));
    }
    found
}

/// What happened to one job.
#[derive(Default)]
struct Life<'a> {
    job: &'a str,
    deliveries: Vec<Delivery>,
    acked: BTreeSet<u64>,
    nacked: BTreeSet<u64>,
    lost: Vec<(u64, Duration)>,
    is_mortal: bool,
    /// When its cancel was answered first, and whether it was CANCELLED then.
    cancelled: Option<(Duration, bool)>,
    /// When it was first told that it had to go.
    dropped: Option<Duration>,
}

struct Delivery {
    token: u64,
    begin: Duration,
    end: Duration,
    duration: Duration,
}

/// Every job that was acknowledged; on the way, requests that were answered in two ways.
fn judge_requests<'a>(seen: &'a [Seen], found: &mut BTreeSet<Violation>) -> BTreeSet<&'a str> {
    let mut answers: BTreeMap<&str, [&[String]; 2]> = BTreeMap::new();
    let mut of_keys: BTreeMap<&str, &str> = BTreeMap::new();
    let mut enqueued = BTreeSet::new();
    for seen in seen {
        let What::Enqueued { request_id, jobs, keys, dropped, .. } = &seen.what else { continue };
        enqueued.extend(jobs.iter().map(String::as_str));
        if *answers.entry(request_id).or_insert([jobs, dropped]) != [jobs, dropped] {
            found.insert(Violation::RequestAnsweredTwice(request_id.clone()));
        }
        for (key, job) in keys {
            if of_keys.entry(key).or_insert(job) != job {
                found.insert(Violation::KeyAnsweredTwice(key.clone()));
            }
        }
    }
    enqueued
}

fn lives(seen: &[Seen]) -> BTreeMap<&str, Life<'_>> {
    let mut lives: BTreeMap<&str, Life<'_>> = BTreeMap::new();
    for Seen { begin, end, what } in seen {
        match what {
            What::Enqueued { mortal, dropped, .. } => {
                mortal.iter().for_each(|job| life(&mut lives, job).is_mortal = true);
                for job in dropped {
                    life(&mut lives, job).dropped.get_or_insert(*end);
                }
            }
            What::Cancelled { job, is_final } => {
                life(&mut lives, job).cancelled.get_or_insert((*end, false)).1 |= is_final;
            }
            What::Leased { job, token, duration } => life(&mut lives, job).deliveries.push(Delivery {
                token: *token,
                begin: *begin,
                end: *end,
                duration: *duration,
            }),
            What::Acked { job, token } => _ = life(&mut lives, job).acked.insert(*token),
            What::Nacked { job, token } => _ = life(&mut lives, job).nacked.insert(*token),
            What::Lost { job, token } => life(&mut lives, job).lost.push((*token, *end)),
        }
    }
    lives
}

fn life<'a, 'l>(lives: &'l mut BTreeMap<&'a str, Life<'a>>, job: &'a str) -> &'l mut Life<'a> {
    lives.entry(job).or_insert_with(|| Life { job, ..Life::default() })
}

impl Life<'_> {
    fn judge(&self, found: &mut BTreeSet<Violation>) {
        if self.acked.len() > 1 || self.acked.intersection(&self.nacked).next().is_some() {
            found.insert(Violation::SettledTwice(self.job.to_owned()));
        }
        // A token is given at the lease: one above the acked one was given after the ack.
        let acked = self.acked.first().copied().unwrap_or(u64::MAX);
        if self.deliveries.iter().any(|delivery| delivery.token > acked) {
            found.insert(Violation::DeliveredAfterAck(self.job.to_owned()));
        }
        let ends = [self.cancelled.map(|(time, _)| time), self.dropped];
        if let Some(end) = ends.into_iter().flatten().min()
            && self.deliveries.iter().any(|delivery| delivery.begin > end)
        {
            found.insert(Violation::DeliveredAfterEnd(self.job.to_owned()));
        }
        if !self.tokens_grow() {
            found.insert(Violation::TokenDidNotGrow(self.job.to_owned()));
        }
        if self.lost.iter().any(|(token, end)| self.was_live(*token, *end)) {
            found.insert(Violation::LeaseLostEarly(self.job.to_owned()));
        }
    }

    /// What is wrong with where the job came to rest.
    fn judge_end(&self, job: &str, state: JobState) -> Option<Violation> {
        let violation = match state {
            JobState::Completed if self.acked.is_empty() => Violation::CompletedByNobody,
            _ if state != JobState::Completed && !self.acked.is_empty() => Violation::AckForgotten,
            _ if self.dropped.is_some() && state != JobState::Dropped => Violation::EndForgotten,
            // An ack still completes what its worker was asked to give up.
            JobState::Completed if self.cancelled.is_some_and(|(_, is_final)| is_final) => {
                Violation::EndForgotten
            }
            JobState::Dead if self.cancelled.is_some() => Violation::EndForgotten,
            JobState::Expired if self.cancelled.is_some() => Violation::EndForgotten,
            JobState::Cancelled if self.cancelled.is_none() => Violation::EndedByNobody,
            JobState::Expired if !self.is_mortal => Violation::EndedByNobody,
            JobState::Dropped if self.dropped.is_none() => Violation::EndedByNobody,
            JobState::Completed
            | JobState::Dead
            | JobState::Cancelled
            | JobState::Expired
            | JobState::Dropped => return None,
            _ => Violation::Stuck,
        };
        Some(violation(job.to_owned()))
    }

    /// Of any two deliveries of which one was answered before the other was asked for, the later has
    /// the greater token; and no token is given twice.
    fn tokens_grow(&self) -> bool {
        let pairs = self.deliveries.iter().enumerate();
        pairs.into_iter().all(|(n, one)| {
            self.deliveries[n + 1..].iter().all(|other| {
                let (early, late) = if one.end <= other.end { (one, other) } else { (other, one) };
                one.token != other.token && (late.begin < early.end || early.token < late.token)
            })
        })
    }

    /// Whether the lease of `token` cannot have ended at `time`: it began after it was asked for.
    /// A lease that was given back is not held to this.
    fn was_live(&self, token: u64, time: Duration) -> bool {
        let lease = self.deliveries.iter().find(|delivery| delivery.token == token);
        lease.is_some_and(|lease| time < lease.begin + lease.duration) && !self.nacked.contains(&token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(second: u32, what: What) -> Seen {
        Seen { begin: SECOND * second, end: SECOND * second + SECOND / 2, what }
    }

    fn enqueued(request_id: &str, jobs: &[&str]) -> What {
        let jobs = jobs.iter().map(|job| (*job).to_owned()).collect();
        What::Enqueued {
            request_id: request_id.to_owned(),
            jobs,
            mortal: Vec::new(),
            keys: Vec::new(),
            dropped: Vec::new(),
        }
    }

    /// A request that put `i` in, to which this was told besides.
    fn enqueued_and(
        change: impl FnOnce(&mut Vec<String>, &mut Vec<(String, String)>, &mut Vec<String>),
    ) -> What {
        let mut what = enqueued("s", &["i"]);
        if let What::Enqueued { mortal, keys, dropped, .. } = &mut what {
            change(mortal, keys, dropped);
        }
        what
    }

    fn cancelled(is_final: bool) -> What {
        What::Cancelled { job: "j".to_owned(), is_final }
    }

    /// How `j` ended, and that `i` came to nothing.
    fn ends(state: JobState) -> Audit {
        [("i".to_owned(), JobState::Dead), ("j".to_owned(), state)].into()
    }

    fn leased(token: u64) -> What {
        What::Leased { job: "j".to_owned(), token, duration: SECOND * 30 }
    }

    fn acked(token: u64) -> What {
        What::Acked { job: "j".to_owned(), token }
    }

    fn nacked(token: u64) -> What {
        What::Nacked { job: "j".to_owned(), token }
    }

    fn lost(token: u64) -> What {
        What::Lost { job: "j".to_owned(), token }
    }

    fn end(state: JobState) -> Audit {
        Audit::from([("j".to_owned(), state)])
    }

    fn verdict(whats: Vec<What>, audit: &Audit) -> Vec<Violation> {
        let seen: Vec<Seen> = (0..).zip(whats).map(|(second, what)| at(second, what)).collect();
        judge(&seen, audit).into_iter().collect()
    }

    #[test]
    fn good_history_passes() {
        let life = vec![
            enqueued("r", &["j"]),
            enqueued("r", &["j"]),
            leased(1),
            nacked(1),
            leased(2),
            acked(2),
            acked(2),
            lost(1),
        ];
        assert_eq!(verdict(life, &end(JobState::Completed)), []);
    }

    #[test]
    fn lost_job_is_seen() {
        let life = vec![enqueued("r", &["j"])];
        assert_eq!(verdict(life, &Audit::new()), [Violation::JobLost("j".to_owned())]);
    }

    #[test]
    fn invented_job_is_seen() {
        let life = vec![enqueued("r", &[])];
        assert_eq!(verdict(life, &end(JobState::Dead)), [Violation::JobInvented("j".to_owned())]);
    }

    #[test]
    fn request_with_two_answers_is_seen() {
        let life = vec![enqueued("r", &["i"]), enqueued("r", &["j"])];
        let audit = ["i", "j"].map(|job| (job.to_owned(), JobState::Dead)).into();
        assert_eq!(verdict(life, &audit), [Violation::RequestAnsweredTwice("r".to_owned())]);
    }

    #[test]
    fn delivery_after_ack_is_seen() {
        let life = vec![enqueued("r", &["j"]), leased(1), acked(1), leased(2)];
        let expected = [Violation::DeliveredAfterAck("j".to_owned())];
        assert_eq!(verdict(life, &end(JobState::Completed)), expected);
    }

    #[test]
    fn token_that_stays_or_falls_is_seen() {
        for second in [1, 2] {
            let life = vec![enqueued("r", &["j"]), leased(2), leased(second)];
            let expected = [Violation::TokenDidNotGrow("j".to_owned())];
            assert_eq!(verdict(life, &end(JobState::Dead)), expected);
        }
    }

    #[test]
    fn tokens_of_calls_that_overlap_may_come_in_any_order() {
        let overlapping = |token| Seen { begin: SECOND, end: SECOND * 2, what: leased(token) };
        let seen = [at(0, enqueued("r", &["j"])), overlapping(2), overlapping(1)];
        assert_eq!(judge(&seen, &end(JobState::Dead)), BTreeSet::new());
    }

    #[test]
    fn two_acks_by_different_deliveries_are_seen() {
        let life = vec![enqueued("r", &["j"]), leased(1), leased(2), acked(2), acked(1)];
        let violations = verdict(life, &end(JobState::Completed));
        assert!(violations.contains(&Violation::SettledTwice("j".to_owned())), "{violations:?}");
    }

    #[test]
    fn ack_and_nack_by_one_delivery_are_seen() {
        let life = vec![enqueued("r", &["j"]), leased(1), nacked(1), acked(1)];
        let expected = [Violation::SettledTwice("j".to_owned())];
        assert_eq!(verdict(life, &end(JobState::Completed)), expected);
    }

    #[test]
    fn lease_lost_before_its_time_is_seen() {
        let life = vec![enqueued("r", &["j"]), leased(1), lost(1)];
        let expected = [Violation::LeaseLostEarly("j".to_owned())];
        assert_eq!(verdict(life, &end(JobState::Dead)), expected);
    }

    #[test]
    fn forgotten_ack_is_seen() {
        let life = vec![enqueued("r", &["j"]), leased(1), acked(1)];
        let expected = [Violation::AckForgotten("j".to_owned())];
        assert_eq!(verdict(life, &end(JobState::Ready)), expected);
    }

    #[test]
    fn completion_by_nobody_is_seen() {
        let life = vec![enqueued("r", &["j"]), leased(1)];
        let expected = [Violation::CompletedByNobody("j".to_owned())];
        assert_eq!(verdict(life, &end(JobState::Completed)), expected);
    }

    #[test]
    fn stuck_job_is_seen() {
        let life = vec![enqueued("r", &["j"])];
        assert_eq!(verdict(life, &end(JobState::Ready)), [Violation::Stuck("j".to_owned())]);
    }

    #[test]
    fn job_that_ends_as_was_told_passes() {
        let r = || enqueued("r", &["j"]);
        let expires = enqueued_and(|mortal, _, _| mortal.push("j".to_owned()));
        assert_eq!(verdict(vec![r(), leased(1), expires], &ends(JobState::Expired)), []);
        let drops = enqueued_and(|_, _, dropped| dropped.push("j".to_owned()));
        assert_eq!(verdict(vec![r(), leased(1), drops], &ends(JobState::Dropped)), []);
        assert_eq!(verdict(vec![r(), cancelled(true)], &end(JobState::Cancelled)), []);
        assert_eq!(verdict(vec![r(), leased(1), cancelled(false), acked(1)], &end(JobState::Completed)), []);
    }

    #[test]
    fn delivery_after_the_end_is_seen() {
        let life = vec![enqueued("r", &["j"]), cancelled(true), leased(1)];
        let expected = [Violation::DeliveredAfterEnd("j".to_owned())];
        assert_eq!(verdict(life, &end(JobState::Cancelled)), expected);
    }

    #[test]
    fn end_that_was_told_and_is_another_is_seen() {
        let r = || enqueued("r", &["j"]);
        let expected = [Violation::EndForgotten("j".to_owned())];
        let drops = enqueued_and(|_, _, dropped| dropped.push("j".to_owned()));
        assert_eq!(verdict(vec![r(), drops], &ends(JobState::Dead)), expected);
        assert_eq!(verdict(vec![r(), leased(1), cancelled(false)], &end(JobState::Dead)), expected);
    }

    #[test]
    fn end_that_nobody_told_is_seen() {
        for state in [JobState::Cancelled, JobState::Expired, JobState::Dropped] {
            let expected = [Violation::EndedByNobody("j".to_owned())];
            assert_eq!(verdict(vec![enqueued("r", &["j"])], &end(state)), expected, "{state:?}");
        }
    }

    #[test]
    fn key_with_two_jobs_is_seen() {
        let named = |job: &str| {
            let job = job.to_owned();
            enqueued_and(|_, keys, _| keys.push(("k".to_owned(), job)))
        };
        let life = vec![enqueued("r", &["j"]), named("i"), named("j")];
        let expected = [Violation::KeyAnsweredTwice("k".to_owned())];
        assert_eq!(verdict(life, &ends(JobState::Dead)), expected);
    }
}
