//! What clients were told, held against the promises of the queue. It knows answers and their times, and nothing of
//! engine or store; now and then it looks at all jobs, as anybody may.

use std::collections::{BTreeMap, HashMap};

use sluice_engine::{
    Answer, Drained, Engine, Enqueued, ItemRefusal, JobId, JobState, JobView, LeaseToken, LeasedJob,
    NackReason, Nacked, Now, Outcome, Refusal, Span, Timestamp,
};

use super::call::Asked;
use super::script::{self, DOOMED, LIMITED, QUEUES, SHARED};
use super::window::{IN_FLIGHT, Quota, Rate};

/// What is wrong.
pub(super) type Wrong = String;

macro_rules! ensure {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}
pub(super) use ensure;

/// See the module.
pub(super) struct Judge {
    pub(super) jobs: BTreeMap<JobId, Job>,
    last_id: JobId,
    requests: HashMap<(usize, u8), (Enqueued, Timestamp)>,
    keys: HashMap<(usize, u8), (JobId, Timestamp)>,
    is_paused: [bool; QUEUES.len()],
    limited: Rate,
    shared: Quota,
    /// Whether a deletion may have been refused of which nobody heard: then requests before it are remembered.
    is_deletion_in_doubt: bool,
    /// Whether not all is known of who moved in this step: somebody was gone before the answer, or a set before it was seen.
    pub(super) vanished: bool,
    pub(super) deliveries: usize,
}

/// What is known of a job.
#[derive(Clone, Debug)]
pub(super) struct Job {
    queue: usize,
    /// None: nobody was told of its enqueue.
    spec: Option<script::Job>,
    state: State,
    token: LeaseToken,
    /// Attempts spent in this life.
    spent: u32,
    deliveries: u32,
    created: Timestamp,
    /// Not before this, by what clients asked.
    not_before: Timestamp,
    cancel_requested: bool,
    /// Whether it is held by a delivery that nobody got.
    unheard: Unheard,
    /// Whether it stands where it was put: nobody changed it or gave it a new life.
    is_plain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unheard {
    No,
    /// It comes back in the next step.
    Returns,
    /// The process died before: it is over when its lease is.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It waits, or came to rest without a word: dead by expiry, expired.
    Open,
    /// Somebody holds it until then.
    Held(Timestamp),
    Acked,
    /// Somebody was told.
    AtRest(JobState),
    Gone,
}

const DAY: Span = Span::from_secs(24 * 3600);

impl Judge {
    pub(super) fn new() -> Judge {
        Judge {
            jobs: BTreeMap::new(),
            last_id: JobId(0),
            requests: HashMap::new(),
            keys: HashMap::new(),
            is_paused: Default::default(),
            limited: Rate::default(),
            shared: Quota::default(),
            is_deletion_in_doubt: false,
            vanished: false,
            deliveries: 0,
        }
    }

    /// Deliveries that may be settled, and with `stale` those that may not any more.
    pub(super) fn tokens(&self, stale: bool) -> Vec<(JobId, LeaseToken)> {
        let holds = |job: &Job| matches!(job.state, State::Held(_)) && job.unheard == Unheard::No;
        let is_wanted = |job: &Job| holds(job) != stale && job.token.0 > 0;
        let tokens = self.jobs.iter().filter(|(_, job)| is_wanted(job) && job.state != State::Gone);
        tokens.map(|(id, job)| (*id, job.token)).collect()
    }

    /// Jobs of a queue in a state that was told.
    pub(super) fn at_rest(&self, queue: usize) -> Vec<JobId> {
        let is_wanted = |job: &Job| matches!(job.state, State::AtRest(state) if state.is_requeueable());
        self.jobs.iter().filter(|(_, job)| job.queue == queue && is_wanted(job)).map(|(id, _)| *id).collect()
    }

    /// Jobs that are there.
    pub(super) fn known(&self) -> Vec<JobId> {
        self.jobs.iter().filter(|(_, job)| job.state != State::Gone).map(|(id, _)| *id).collect()
    }

    /// An answer.
    pub(super) fn hear(&mut self, asked: &Asked, answer: &Answer, now: Now) -> Result<(), Wrong> {
        match (asked, answer) {
            (Asked::Enqueue { queue, jobs, request }, Ok(Outcome::Enqueued(enqueued))) => {
                self.enqueued(*queue, jobs, *request, enqueued, now)
            }
            (Asked::Ack { id, token }, Ok(Outcome::Acked(results))) => {
                self.acked(*id, *token, results[0], now)
            }
            (Asked::Nack { id, token, reason, retry_after }, Ok(Outcome::Nacked(results))) => {
                self.nacked((*id, *token), *reason, *retry_after, results[0], now)
            }
            (Asked::Extend { id, token, seconds }, Ok(Outcome::Extended(results))) => match results[0] {
                Ok(_) => {
                    let job = self.holder(*id, *token, "extended")?;
                    job.state = State::Held(now.engine + Span::from_secs(*seconds));
                    Ok(())
                }
                Err(refusal) => self.refused(*id, *token, refusal, now),
            },
            (Asked::Cancel { id }, Ok(Outcome::Changed(view))) => {
                let job = self.there(*id, "cancelled")?;
                job.cancel_requested = true;
                job.is_plain = false;
                if view.state == JobState::Cancelled {
                    ensure!(!matches!(job.state, State::Acked), "{id} was acked and is cancelled");
                    job.state = State::AtRest(JobState::Cancelled);
                }
                Ok(())
            }
            (Asked::Update { id, after }, Ok(Outcome::Changed(_))) => {
                let job = self.there(*id, "updated")?;
                job.is_plain = false;
                if let Some(after) = after {
                    job.not_before = now.engine + Span::from_secs(*after);
                }
                Ok(())
            }
            (Asked::Requeue { jobs }, Ok(Outcome::Swept(count))) => {
                for id in self.swept(jobs, *count)? {
                    let job = self.there(id, "requeued")?;
                    (job.state, job.spent, job.is_plain) = (State::Open, 0, false);
                    (job.not_before, job.created) = (now.engine, now.engine);
                    job.cancel_requested = false;
                }
                Ok(())
            }
            (Asked::Purge { jobs }, Ok(Outcome::Swept(count))) => {
                let purged = self.swept(jobs, *count)?;
                purged.into_iter().for_each(|id| self.gone(id));
                Ok(())
            }
            (Asked::Delete, Ok(Outcome::QueueDeleted)) => {
                self.forget_doomed();
                Ok(())
            }
            (Asked::Pause { queue, paused }, Ok(Outcome::QueuePut(_))) => {
                self.is_paused[*queue] = *paused;
                Ok(())
            }
            (Asked::Acquire { cost }, Ok(Outcome::Acquired(acquired))) => match acquired.retry_after {
                None => {
                    self.shared.pass(*cost, now.engine).map_err(|what| format!("the shared limit: {what}"))
                }
                Some(_) => Ok(()),
            },
            (Asked::Cancel { id } | Asked::Update { id, .. }, Err(Refusal::JobNotFound)) => {
                let is_gone = self.jobs.get(id).is_none_or(|job| job.state == State::Gone);
                ensure!(is_gone, "{id} is said not to be there");
                Ok(())
            }
            (
                _,
                Err(
                    Refusal::QueueNotFound
                    | Refusal::RequestIdReused
                    | Refusal::Full { .. }
                    | Refusal::NeverFits(_)
                    | Refusal::WrongState(_)
                    | Refusal::QueueNotEmpty,
                ),
            )
            | (Asked::Setup | Asked::Reset | Asked::Drain { .. }, Ok(_)) => Ok(()),
            (asked, answer) => Err(format!("{asked:?} was answered {answer:?}")),
        }
    }

    fn enqueued(
        &mut self,
        queue: usize,
        jobs: &[script::Job],
        request: Option<u8>,
        enqueued: &Enqueued,
        now: Now,
    ) -> Result<(), Wrong> {
        let requested = request.map(|request| (queue, request));
        if let Some((before, time)) = requested.and_then(|request| self.requests.get(&request))
            && time.0 + DAY.0 > now.engine.0
        {
            ensure!(before == enqueued, "a repeated request got {enqueued:?}, before {before:?}");
            return Ok(());
        }
        if let Some(request) = requested {
            self.requests.insert(request, (enqueued.clone(), now.engine));
        }
        let first = self.jobs.get(&enqueued.first).filter(|_| enqueued.count > 0);
        let may_be_old = |job: &Job| job.spec.is_none() || queue == DOOMED && self.is_deletion_in_doubt;
        let is_old = enqueued.first <= self.last_id && first.is_some_and(may_be_old);
        if requested.is_some() && is_old {
            // It came before, and nobody heard of the answer.
            return Ok(());
        }
        let besides = enqueued.besides.as_deref().cloned().unwrap_or_default();
        ensure!(
            enqueued.count as usize + besides.duplicates.len() == jobs.len(),
            "{} jobs became {enqueued:?}",
            jobs.len()
        );
        let mut next = enqueued.first.0;
        for (place, spec) in (0..).zip(jobs) {
            let known = besides.duplicates.iter().find(|(at, _)| *at == place).map(|(_, id)| *id);
            let id = known.unwrap_or(JobId(next));
            if let Some(key) = spec.idempotency {
                let entry = self.keys.get(&(queue, key)).filter(|(_, time)| time.0 + DAY.0 > now.engine.0);
                if let Some((first, _)) = entry {
                    ensure!(*first == id, "key {key} of {} is job {first} and {id}", QUEUES[queue]);
                } else {
                    self.keys.insert((queue, key), (id, now.engine));
                }
            }
            if known.is_some() {
                continue;
            }
            next += 1;
            ensure!(id > self.last_id, "job {id} came after {}", self.last_id);
            self.last_id = id;
            let job = Job {
                queue,
                spec: Some(spec.clone()),
                state: State::Open,
                token: LeaseToken(0),
                spent: 0,
                deliveries: 0,
                created: now.engine,
                not_before: now.engine + Span::from_secs(spec.after.unwrap_or(0)),
                cancel_requested: false,
                unheard: Unheard::No,
                is_plain: spec.after.is_none() && spec.ttl.is_none(),
            };
            // One that was learned of was put in together with it.
            let before = self.jobs.insert(id, job);
            ensure!(before.is_none_or(|before| before.spec.is_none()), "job {id} came twice");
        }
        for id in &besides.dropped {
            self.there(*id, "dropped")?.state = State::AtRest(JobState::Dropped);
        }
        Ok(())
    }

    /// Jobs that a client has in hand.
    pub(super) fn leased(
        &mut self,
        queue: usize,
        seconds: u64,
        jobs: &[LeasedJob],
        payloads: &[Vec<u8>],
        now: Now,
    ) -> Result<(), Wrong> {
        ensure!(jobs.is_empty() || !self.is_paused[queue], "{} is paused", QUEUES[queue]);
        for (at, leased) in jobs.iter().enumerate() {
            let payload = payloads.get(at);
            let id = leased.job.id;
            self.in_order(id, leased)?;
            self.deliveries += 1;
            let job = self.jobs.get_mut(&id).ok_or_else(|| format!("nobody was told of {id}"))?;
            job.lapse(now);
            // A delivery that nobody got comes back.
            let is_free = job.state == State::Open || job.unheard != Unheard::No;
            ensure!(is_free, "{id} was delivered while it is {:?}", job.state);
            ensure!(job.queue == queue, "{id} is of {}", QUEUES[job.queue]);
            ensure!(leased.token > job.token, "the token of {id} does not grow");
            ensure!(leased.job.deliveries > job.deliveries, "deliveries of {id} do not grow");
            ensure!(
                leased.job.attempts == job.spent,
                "{id} has {} attempts, not {}",
                leased.job.attempts,
                job.spent
            );
            ensure!(!job.cancel_requested, "{id} was to be cancelled");
            ensure!(
                job.not_before <= now.engine,
                "{id} goes {} ms too soon",
                job.not_before.since(now.engine).0 / 1_000_000
            );
            if let Some(spec) = &job.spec {
                let is_over =
                    spec.ttl.is_some_and(|ttl| (job.created + Span::from_secs(ttl)).0 <= now.engine.0);
                ensure!(!is_over, "the time of {id} was over");
                let most = spec.max_attempts.unwrap_or(u32::MAX);
                ensure!(job.spent < most, "{id} has no attempts left");
                let is_its = payload.is_none_or(|payload| *payload == super::call::payload(spec));
                ensure!(is_its, "the payload of {id} is another");
            }
            (job.token, job.deliveries) = (leased.token, leased.job.deliveries);
            job.state = State::Held(now.engine + Span::from_secs(seconds));
            job.unheard = Unheard::No;
            match queue {
                LIMITED => self.limited.pass(now.engine).map_err(|what| format!("limited: {what}"))?,
                SHARED => {
                    self.shared.pass(1, now.engine).map_err(|what| format!("the shared limit: {what}"))?;
                    let holds = |job: &Job| matches!(job.state, State::Held(expire) if expire > now.engine);
                    let is_counted =
                        |job: &&Job| job.queue == SHARED && holds(job) && job.unheard == Unheard::No;
                    let held = self.jobs.values().filter(is_counted).count();
                    ensure!(held <= IN_FLIGHT as usize, "{held} of shared are in flight");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A first delivery comes after those of the same key and priority that were put in before.
    fn in_order(&self, id: JobId, leased: &LeasedJob) -> Result<(), Wrong> {
        let Some(job) = self.jobs.get(&id).filter(|job| job.is_plain) else { return Ok(()) };
        let Some(spec) = &job.spec else { return Ok(()) };
        if self.vanished || leased.job.deliveries > 1 {
            return Ok(());
        }
        let before = self.jobs.range(..id).find(|(_, other)| {
            let is_alike = other
                .spec
                .as_ref()
                .is_some_and(|other| (other.key, other.priority) == (spec.key, spec.priority));
            let waits = other.state == State::Open && other.deliveries == 0 && other.is_plain;
            other.queue == job.queue && is_alike && waits
        });
        ensure!(before.is_none(), "{id} went before {:?}", before.map(|(id, _)| id));
        Ok(())
    }

    fn acked(
        &mut self,
        id: JobId,
        token: LeaseToken,
        result: Result<(), ItemRefusal>,
        now: Now,
    ) -> Result<(), Wrong> {
        match result {
            Ok(()) => {
                let job = self.there(id, "acked")?;
                if job.state == State::Acked && job.token == token {
                    return Ok(());
                }
                self.holder(id, token, "acked")?.state = State::Acked;
                Ok(())
            }
            Err(refusal) => self.refused(id, token, refusal, now),
        }
    }

    fn nacked(
        &mut self,
        (id, token): (JobId, LeaseToken),
        reason: NackReason,
        retry_after: Option<u64>,
        result: Result<Nacked, ItemRefusal>,
        now: Now,
    ) -> Result<(), Wrong> {
        let nacked = match result {
            Ok(nacked) => nacked,
            Err(refusal) => return self.refused(id, token, refusal, now),
        };
        if self.there(id, "nacked")?.state == State::Open {
            // It was nacked before, and the same is told again.
            return Ok(());
        }
        if matches!(self.jobs[&id].state, State::AtRest(_)) && self.jobs[&id].token == token {
            return Ok(());
        }
        let job = self.holder(id, token, "nacked")?;
        job.spent += u32::from(matches!(reason, NackReason::Failed | NackReason::Rejected));
        job.state = if nacked.state.is_at_rest() { State::AtRest(nacked.state) } else { State::Open };
        if reason == NackReason::Failed {
            job.not_before = now.engine + Span::from_secs(retry_after.unwrap_or(0));
        }
        let is_over = job.cancel_requested || job.spec.as_ref().is_none_or(|spec| spec.ttl.is_some());
        match (reason, nacked.state) {
            (_, JobState::Cancelled) => {
                ensure!(job.cancel_requested, "{id} is cancelled, and nobody asked for it")
            }
            (_, JobState::Expired) => ensure!(is_over, "{id} expired, and has no end"),
            (NackReason::Rejected, JobState::Dead) => {}
            (NackReason::Failed, JobState::Dead) => {
                let most = job.spec.as_ref().and_then(|spec| spec.max_attempts).unwrap_or(5);
                ensure!(
                    job.spec.is_none() || job.spent == most,
                    "{id} is dead after {} of {most}",
                    job.spent
                );
            }
            (NackReason::Failed, JobState::Retrying | JobState::Ready)
            | (NackReason::Throttled | NackReason::Released, JobState::Ready | JobState::Retrying) => {}
            (reason, state) => return Err(format!("{id} was nacked {reason:?} and is {state:?}")),
        }
        Ok(())
    }

    /// A refusal is right when the token proves nothing.
    fn refused(&self, id: JobId, token: LeaseToken, refusal: ItemRefusal, now: Now) -> Result<(), Wrong> {
        let job = &self.jobs[&id];
        let is_held = matches!(job.state, State::Held(expire) if expire > now.engine);
        let holds = is_held && job.token == token && job.unheard == Unheard::No;
        match refusal {
            ItemRefusal::JobNotFound => ensure!(job.state == State::Gone, "{id} is there: {:?}", job.state),
            _ => ensure!(!holds, "{id} was refused to who holds it: {refusal:?}"),
        }
        Ok(())
    }

    /// Which of these jobs were requeued or purged: those that may be yet. One may have come to rest and gone on in one step.
    fn swept(&self, jobs: &[JobId], count: u32) -> Result<Vec<JobId>, Wrong> {
        if count as usize == jobs.len() {
            return Ok(jobs.to_vec());
        }
        let is_there =
            |id: &&JobId| matches!(self.jobs[*id].state, State::AtRest(state) if state.is_requeueable());
        let there: Vec<JobId> = jobs.iter().filter(is_there).copied().collect();
        ensure!(count as usize == there.len(), "{count} of {there:?} were swept");
        Ok(there)
    }

    /// Who was drained.
    pub(super) fn drained(&mut self, drained: Drained, jobs: &[JobId]) -> Result<(), Wrong> {
        ensure!(jobs.len() as u64 <= drained.total, "{} of {} are in the set", jobs.len(), drained.total);
        for id in jobs {
            let job = self.there(*id, "drained")?;
            let is_open = matches!(job.state, State::Open | State::AtRest(JobState::Drained));
            ensure!(is_open, "{id} was drained while it is {:?}", job.state);
            job.state = State::AtRest(JobState::Drained);
        }
        Ok(())
    }

    /// A step is done: leases that are over by now have ended, and nobody was told.
    pub(super) fn end_step(&mut self, engine: &Engine, now: Now) -> Result<(), Wrong> {
        self.jobs.values_mut().for_each(|job| job.lapse(now));
        self.follow_unheard(engine, now)
    }

    /// The process is another: what was on its way back will not come.
    pub(super) fn restarted(&mut self) {
        for job in self.jobs.values_mut().filter(|job| job.unheard == Unheard::Returns) {
            job.unheard = Unheard::Lost;
        }
    }

    fn holder(&mut self, id: JobId, token: LeaseToken, what: &str) -> Result<&mut Job, Wrong> {
        let job = self.there(id, what)?;
        let holds = matches!(job.state, State::Held(_)) && job.token == token;
        ensure!(holds, "{id} was {what} with {token:?}, but it is {:?} with {:?}", job.state, job.token);
        Ok(job)
    }

    fn there(&mut self, id: JobId, what: &str) -> Result<&mut Job, Wrong> {
        let job = self.jobs.get_mut(&id).filter(|job| job.state != State::Gone);
        job.ok_or_else(|| format!("{id} was {what}, and is not there"))
    }

    fn gone(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = State::Gone;
        }
    }

    /// The queue is deleted, and what it answered says nothing about the next of its name.
    fn forget_doomed(&mut self) {
        self.jobs.values_mut().filter(|job| job.queue == DOOMED).for_each(|job| job.state = State::Gone);
        self.requests.retain(|(queue, _), _| *queue != DOOMED);
        self.keys.retain(|(queue, _), _| *queue != DOOMED);
        self.is_paused[DOOMED] = false;
    }

    /// Calls were done of which nobody was told: what they did is taken as it is.
    pub(super) fn in_doubt(&mut self, asked: &[Asked], engine: &Engine, now: Now) -> Result<(), Wrong> {
        for asked in asked {
            match asked {
                Asked::Delete => {
                    self.forget_doomed();
                    self.is_deletion_in_doubt = true;
                }
                Asked::Purge { jobs } => jobs.iter().for_each(|id| self.gone(*id)),
                // A new life begins with it.
                Asked::Requeue { jobs } => jobs.iter().for_each(|id| {
                    self.jobs.entry(*id).and_modify(|job| job.created = now.engine);
                }),
                _ => {}
            }
        }
        for (index, name) in QUEUES.iter().enumerate() {
            let queue = engine.queue(&super::call::queue(index));
            self.is_paused[index] = queue.as_ref().is_some_and(|queue| queue.settings.paused);
            ensure!(index == DOOMED || self.jobs.is_empty() || queue.is_some(), "{name} is lost");
        }
        self.learn(engine, now);
        for (id, job) in &mut self.jobs {
            let Some(view) = engine.job(*id, now) else { continue };
            ensure!(
                job.state != State::Acked || view.state == JobState::Completed,
                "{id} was acked and is {:?}",
                view.state
            );
            job.state = match view.state {
                JobState::Completed => State::Acked,
                JobState::Leased => State::Held(end_of_lease(&view, now)),
                state if state.is_at_rest() => State::AtRest(state),
                _ => State::Open,
            };
            let is_new = view.deliveries > job.deliveries;
            let is_unheard = job.unheard != Unheard::No || is_new;
            let is_lost = view.state == JobState::Leased && is_unheard;
            job.unheard = if is_lost { Unheard::Lost } else { Unheard::No };
            (job.deliveries, job.spent) = (view.deliveries, view.attempts);
            job.cancel_requested = view.cancel_requested;
            job.not_before = Timestamp(0);
            job.is_plain = false;
            self.last_id = self.last_id.max(*id);
        }
        Ok(())
    }

    /// Takes note of deliveries that nobody got, and of how they come back.
    fn follow_unheard(&mut self, engine: &Engine, now: Now) -> Result<(), Wrong> {
        let vanished = self.vanished;
        let is_open = |job: &Job| vanished && job.state == State::Open;
        let may_be = |job: &Job| job.unheard != Unheard::No || is_open(job);
        for (id, job) in self.jobs.iter_mut().filter(|(_, job)| may_be(job)) {
            let Some(view) = engine.job(*id, now) else { continue };
            let is_held = view.state == JobState::Leased;
            let is_again = view.deliveries > job.deliveries;
            ensure!(
                !is_held || is_again || job.unheard != Unheard::Returns,
                "{id} does not come back from who is gone"
            );
            job.unheard = match job.unheard {
                _ if !is_held => Unheard::No,
                Unheard::Lost if !is_again => Unheard::Lost,
                _ => Unheard::Returns,
            };
            job.state = if is_held { State::Held(end_of_lease(&view, now)) } else { State::Open };
            (job.spent, job.deliveries) = (view.attempts, view.deliveries);
        }
        Ok(())
    }

    /// Takes note of jobs of which nobody was told.
    pub(super) fn learn(&mut self, engine: &Engine, now: Now) {
        for id in engine.ledger().ids(self.last_id.0 + 1..=u64::MAX, usize::MAX) {
            let Some(view) = engine.job(id, now) else { continue };
            let queue = QUEUES.iter().position(|name| *name == &*view.queue).unwrap();
            let job = Job {
                queue,
                spec: None,
                state: State::Open,
                token: LeaseToken(0),
                spent: 0,
                deliveries: 0,
                created: now.engine,
                not_before: Timestamp(0),
                cancel_requested: false,
                unheard: Unheard::No,
                is_plain: false,
            };
            self.jobs.entry(id).or_insert(job);
        }
    }

    /// What was told, held against what is there.
    pub(super) fn look(&mut self, engine: &Engine, now: Now) -> Result<(), Wrong> {
        for (id, job) in &mut self.jobs {
            let Some(view) = engine.job(*id, now) else {
                ensure!(job.state == State::Gone, "{id} is lost: it was {:?}", job.state);
                continue;
            };
            let is_right = match job.state {
                State::Gone => false,
                State::Acked => view.state == JobState::Completed,
                State::AtRest(state) => view.state == state,
                State::Held(_) => view.state == JobState::Leased,
                State::Open => match view.state {
                    JobState::Ready | JobState::Retrying | JobState::Scheduled => true,
                    JobState::Dead => view.attempts == view.policy.max_attempts,
                    JobState::Cancelled => job.cancel_requested,
                    JobState::Expired => job.spec.as_ref().is_none_or(|spec| spec.ttl.is_some()),
                    _ => false,
                },
            };
            ensure!(is_right, "{id} is {:?}, and by what was told {:?}", view.state, job.state);
            let is_counted = view.attempts == job.spent;
            ensure!(is_counted, "{id} has spent {} attempts, not {}", view.attempts, job.spent);
            if job.state == State::Open && view.state.is_at_rest() {
                job.state = State::AtRest(view.state);
            }
        }
        for (index, name) in QUEUES.iter().enumerate() {
            let Some(status) = engine.status(&super::call::queue(index), now) else { continue };
            let accounted = status.counts.sum() + status.totals.removed;
            ensure!(
                accounted == status.totals.enqueued,
                "{name} has {accounted} of {} jobs",
                status.totals.enqueued
            );
        }
        Ok(())
    }
}

impl Job {
    /// Its lease may be over. Until that is met, who holds it may still settle it.
    fn lapse(&mut self, now: Now) {
        if matches!(self.state, State::Held(expire) if expire <= now.engine) {
            self.state = State::Open;
            self.spent += 1;
            self.unheard = Unheard::No;
        }
    }
}

/// When a job's lease ends, by what is shown.
fn end_of_lease(view: &JobView, now: Now) -> Timestamp {
    view.lease_expire_time.map_or(now.engine, |end| now.engine + end.since(now.wall))
}
