//! What the one client of a script asked and was told of each job, when; and what a store may therefore hold at any
//! moment: what was answered must be there, what was asked and not answered may be.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_proto::v1::JobState;

use super::clock;

/// Every job by its name, which is its key.
#[derive(Clone, Debug, Default)]
pub struct Told {
    jobs: BTreeMap<String, Vec<Act>>,
    /// Leases that were asked for: whose they would be only their answer says.
    leases: Vec<Asked>,
}

/// When something was asked, and when it was answered, if it was.
#[derive(Clone, Copy, Debug)]
struct Asked {
    begin: Duration,
    end: Option<Duration>,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Act {
    begin: Duration,
    end: Option<Duration>,
    /// Where the job stands after it.
    state: JobState,
}

/// A job as a store shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its key.
    pub name: String,
    /// Where it stands.
    pub state: JobState,
    /// What it carries; none if that is gone.
    pub payload: Option<Vec<u8>>,
}

/// Something that was asked, until it is told what came of it.
#[must_use]
pub struct Question(Duration);

impl Told {
    /// Something is asked now.
    pub fn ask() -> Question {
        Question(clock::now())
    }

    /// These jobs were asked to come to `state`; whether it was answered.
    pub fn note<'a>(
        &mut self,
        asked: &Question,
        names: impl IntoIterator<Item = &'a str>,
        state: JobState,
        is_answered: bool,
    ) {
        let end = is_answered.then(clock::now);
        for name in names {
            self.jobs.entry(name.to_owned()).or_default().push(Act { begin: asked.0, end, state });
        }
    }

    /// So many jobs were asked for; whether it was answered.
    pub fn note_lease(&mut self, asked: &Question, count: usize, is_answered: bool) {
        let end = is_answered.then(clock::now);
        self.leases.push(Asked { begin: asked.0, end, count });
    }

    /// The jobs that stand in `state` by the last answer.
    #[must_use]
    pub fn standing(&self, state: JobState) -> Vec<String> {
        let stands = |acts: &[Act]| acts.last().is_some_and(|act| act.end.is_some() && act.state == state);
        self.jobs.iter().filter(|(_, acts)| stands(acts)).map(|(name, _)| name.clone()).collect()
    }

    /// Jobs whose enqueue was answered.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.jobs.values().filter(|acts| acts[0].end.is_some()).count()
    }

    /// What is wrong with what a store shows, if all ended at `moment`.
    #[must_use]
    pub fn judge(&self, shown: &[Shown], moment: Duration) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut found = BTreeMap::new();
        for job in shown {
            if found.insert(job.name.as_str(), job).is_some() {
                wrong.push(format!("{} is there twice", job.name));
            }
            if !self.jobs.contains_key(&job.name) {
                wrong.push(format!("{} was never enqueued", job.name));
            }
        }
        let is_open =
            |begin: Duration, end: Option<Duration>| begin <= moment && end.is_none_or(|end| end > moment);
        let mut unanswered: usize =
            self.leases.iter().filter(|lease| is_open(lease.begin, lease.end)).map(|lease| lease.count).sum();
        for (name, acts) in &self.jobs {
            let sure = acts.iter().rposition(|act| act.end.is_some_and(|end| end <= moment));
            let open = &acts[sure.map_or(0, |at| at + 1)..];
            let mut allowed: Vec<Option<JobState>> = vec![sure.map(|at| acts[at].state)];
            allowed.extend(open.iter().filter(|act| act.begin <= moment).map(|act| Some(act.state)));
            let job = found.get(name.as_str());
            let state = job.map(|job| job.state);
            if !allowed.contains(&state) {
                let was_ready = allowed.contains(&Some(JobState::Ready));
                if state == Some(JobState::Leased) && was_ready && unanswered > 0 {
                    unanswered -= 1;
                } else {
                    wrong.push(format!("{name} is {state:?}, and may be {allowed:?}"));
                }
            }
            let Some(job) = job else { continue };
            match &job.payload {
                Some(payload) if *payload != payload_of(name) => {
                    wrong.push(format!("{name} has another payload"))
                }
                None if !is_history(job.state) => wrong.push(format!("{name} has no payload")),
                _ => {}
            }
        }
        wrong
    }
}

/// Whether jobs in such a state keep no payload.
fn is_history(state: JobState) -> bool {
    matches!(state, JobState::Completed | JobState::Cancelled | JobState::Expired)
}

/// Every job's payload follows from its name: about 2.5 KB, and different everywhere.
#[must_use]
pub fn payload_of(name: &str) -> Vec<u8> {
    let seed = name.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut payload = name.as_bytes().to_vec();
    payload.extend((0..chance.usize(1_500..3_500)).map(|_| chance.u8(..)));
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, state: JobState) -> Shown {
        Shown { name: name.to_owned(), state, payload: Some(payload_of(name)) }
    }

    /// `a` was enqueued and acked; the ack of `b`, the enqueue of `c` and a lease of one job were not answered.
    fn told() -> Told {
        let mut told = Told::default();
        told.note(&Told::ask(), ["a", "b", "d", "e"], JobState::Ready, true);
        told.note(&Told::ask(), ["a", "b"], JobState::Leased, true);
        told.note(&Told::ask(), ["a"], JobState::Completed, true);
        told.note(&Told::ask(), ["b"], JobState::Completed, false);
        told.note(&Told::ask(), ["c"], JobState::Ready, false);
        told.note_lease(&Told::ask(), 1, false);
        told
    }

    fn judged(jobs: &[(&str, JobState)]) -> usize {
        let shown: Vec<Shown> = jobs.iter().map(|(name, state)| shown(name, *state)).collect();
        told().judge(&shown, clock::now()).len()
    }

    #[test]
    fn what_was_told_and_what_may_be_passes() {
        use JobState::{Completed, Leased, Ready};
        assert_eq!(judged(&[("a", Completed), ("b", Leased), ("d", Ready), ("e", Ready)]), 0);
        assert_eq!(
            judged(&[("a", Completed), ("b", Completed), ("c", Ready), ("d", Leased), ("e", Ready)]),
            0
        );
    }

    #[test]
    fn what_nobody_was_told_is_seen() {
        use JobState::{Completed, Leased, Ready};
        let rest = [("b", Leased), ("d", Ready), ("e", Ready)];
        let with = |more: &[(&'static str, JobState)]| judged(&[&rest[..], more].concat());
        assert_eq!(with(&[]), 1, "a is lost");
        assert_eq!(with(&[("a", Leased)]), 1, "its ack is forgotten");
        assert_eq!(with(&[("a", Completed), ("x", Ready)]), 1, "x is invented");
        assert_eq!(with(&[("a", Completed), ("c", Leased), ("d", Leased)]), 2, "one lease, and a job twice");
        assert_eq!(judged(&[("a", Completed), ("b", Leased), ("d", Leased), ("e", Leased)]), 1, "two leases");
    }

    #[test]
    fn another_payload_and_none_are_seen() {
        let mut jobs =
            [shown("a", JobState::Completed), shown("b", JobState::Leased), shown("d", JobState::Ready)];
        jobs[1].payload = Some(payload_of("d"));
        jobs[2].payload = None;
        let e = shown("e", JobState::Ready);
        assert_eq!(told().judge(&[&jobs[..], &[e]].concat(), clock::now()).len(), 2);
    }

    #[test]
    fn before_a_question_nothing_of_it_may_be() {
        let before = clock::now() - Duration::from_nanos(1);
        let told = told();
        assert_eq!(told.judge(&[], before), Vec::<String>::new());
        assert_eq!(told.judge(&[shown("a", JobState::Ready)], before).len(), 1);
    }
}
