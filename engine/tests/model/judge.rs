//! Judges every answer by the model's facts, and lets the model follow.

use sluice_engine::*;

use crate::room::Expected;
use crate::step::{BATCHES, Step};
use crate::world::{Model, ModelCall, ModelDrain, ModelJob, priority};

impl Model {
    /// A delivery to settle: a present one, or a stale one.
    pub(crate) fn pick(&self, pick: usize, stale: bool) -> Option<(JobId, LeaseToken)> {
        let delivered: Vec<_> = self.jobs.iter().filter(|(_, job)| job.deliveries > 0).collect();
        let leased: Vec<_> = delivered.iter().filter(|(_, job)| job.state == JobState::Leased).collect();
        if !leased.is_empty() && !stale {
            let (id, job) = leased[pick % leased.len()];
            return Some((JobId(**id), LeaseToken(u64::from(job.deliveries))));
        }
        let (id, job) = delivered.get(pick % delivered.len().max(1))?;
        let off = u64::from(stale && pick.is_multiple_of(2));
        Some((JobId(**id), LeaseToken(u64::from(job.deliveries) - off)))
    }

    pub(crate) fn in_states(
        &self,
        name: usize,
        wanted: impl Fn(JobState) -> bool,
        most: usize,
    ) -> Vec<JobId> {
        let Some(queue) = self.queue_of(name) else { return Vec::new() };
        let chosen = self.jobs.iter().filter(|(_, job)| job.queue == queue && wanted(job.state));
        chosen.map(|(id, _)| JobId(*id)).take(most).collect()
    }

    /// Nobody ready is more urgent than `id`, or before it with its key.
    fn may_go(&self, id: u64, queue: u32, counts: impl Fn(&ModelJob) -> bool) {
        let job = self.jobs.get(&id).unwrap_or_else(|| panic!("job {id} does not exist"));
        assert_eq!((job.state, job.queue), (JobState::Ready, queue), "job {id} is not ready there");
        assert!(counts(job), "job {id} goes though it is frozen");
        let has_ageing = self.queues[&queue].settings.priority_ageing != Span::ZERO;
        for (other_id, other) in &self.jobs {
            if other.state == JobState::Ready && other.queue == queue && counts(other) {
                assert!(has_ageing || other.priority <= job.priority, "{other_id} is more urgent than {id}");
                if other.key == job.key && other.priority == job.priority {
                    assert!(other.sequence >= job.sequence, "{other_id} was before {id}");
                }
            }
        }
    }

    fn leased(&mut self, leased: &Leased, name: usize, max_jobs: u32, now: Now) {
        assert!(leased.jobs.len() <= max_jobs as usize);
        for given in &leased.jobs {
            let (id, queue) = (given.job.id.0, self.queue_of(name).unwrap());
            assert!(!self.queues[&queue].settings.paused, "nothing is leased from a paused queue");
            self.may_go(id, queue, |job| self.can_go(job, now));
            let lease = self.queues[&queue].settings.lease_duration;
            let job = self.jobs.get_mut(&id).unwrap();
            job.state = JobState::Leased;
            job.deliveries += 1;
            job.nacked = false;
            job.due = (now.engine + lease).0;
            assert!(job.expire.is_none_or(|time| time > now.engine.0), "job {id} was over already");
            assert_eq!(given.token.0, u64::from(job.deliveries));
            let before = self.last_tokens.insert(id, given.token.0);
            assert!(before.is_none_or(|before| before < given.token.0), "tokens grow");
            self.place(id);
        }
    }

    fn has_work(&self, name: usize, now: Now) -> bool {
        self.queue_of(name).is_some_and(|queue| {
            !self.queues[&queue].settings.paused
                && self.jobs.values().any(|job| job.queue == queue && self.can_go(job, now))
        })
    }

    /// An answer to a call that waited.
    pub(crate) fn waited(&mut self, ticket: Ticket, answer: &Answer, deletes: bool, now: Now) {
        if let Some(call) = self.calls.remove(&ticket) {
            return self.waited_for_room(ticket, call, answer, deletes, now);
        }
        let (name, max_jobs, timeout) =
            self.waiting.remove(&ticket).expect("only those that wait are answered later");
        let Ok(Outcome::Leased(leased)) = answer else { panic!("{answer:?}") };
        if leased.jobs.is_empty() {
            assert!(timeout <= now.engine.0, "answered before its time");
            assert!(!self.has_work(name, now));
        }
        self.leased(leased, name, max_jobs, now);
    }

    fn waited_for_room(&mut self, ticket: Ticket, call: ModelCall, answer: &Answer, deletes: bool, now: Now) {
        let ModelCall { queue, enqueue, timeout } = call;
        if answer == &Err(Refusal::QueueNotFound) {
            return assert!(deletes, "{ticket:?} is turned away though its queue is there");
        }
        let (duplicates, new) = self.new_ones(Some(queue), &enqueue.jobs, now);
        let known = self.known_request(&enqueue);
        match (answer, self.room(queue, &new)) {
            (Ok(Outcome::Enqueued(enqueued)), _) if known.is_some() => {
                assert_eq!(Some(Ok(enqueued.clone())), known)
            }
            (Ok(Outcome::Enqueued(enqueued)), Expected::Room(places)) => {
                self.put_in(&enqueue, duplicates, new, &places, enqueued, now);
            }
            (Err(Refusal::RequestIdReused), _) => assert_eq!(known, Some(Err(()))),
            (Err(Refusal::NeverFits(what)), Expected::Never(expected)) => assert_eq!(*what, expected),
            // Whose time has passed hears where it waited, though another place may be full by now.
            (Err(Refusal::Full { .. }), _) if timeout <= now.engine.0 => {}
            (Err(Refusal::Full { what, .. }), Expected::Full(expected)) => assert_eq!(*what, expected),
            other => panic!("{other:?}"),
        }
    }

    /// After a step nobody waits who need not.
    pub(crate) fn time_out(&self, now: Now) {
        for (name, _, timeout) in self.waiting.values() {
            assert!(*timeout > now.engine.0, "its time has passed");
            assert!(!self.has_work(*name, now), "waits though there is work");
        }
        self.nobody_waits_in_vain(now);
    }

    /// What is known of the request: its answer, or that it had other content.
    fn known_request(&self, enqueue: &Enqueue) -> Option<Result<Enqueued, ()>> {
        let request = enqueue.request?;
        let id = ((request.id - 1) / 10, (request.id - 1) % 10);
        let (content, answer, _) = self.requests.get(&(id.0 as usize, id.1 as u8))?;
        Some(if *content == request.content { Ok(answer.clone()) } else { Err(()) })
    }

    /// Duplicates by their place in the request, and the jobs that are none.
    pub(crate) fn new_ones(
        &self,
        queue: Option<u32>,
        jobs: &[JobSpec],
        now: Now,
    ) -> (Vec<(u32, JobId)>, Vec<JobSpec>) {
        let window = |queue: u32| self.queues[&queue].settings.idempotency_window.0;
        let (mut duplicates, mut new) = (Vec::new(), Vec::<JobSpec>::new());
        for (at, job) in (0u32..).zip(jobs) {
            let there = job.idempotency.and_then(|hash| {
                let queue = queue?;
                let (id, time) = self.idempotency.get(&(queue, hash))?;
                (time + window(queue) > now.engine.0).then_some(*id)
            });
            let here = new
                .iter()
                .position(|other| job.idempotency.is_some() && other.idempotency == job.idempotency);
            match there.or(here.map(|at| self.serial + 1 + at as u64)) {
                Some(id) => duplicates.push((at, JobId(id))),
                None => new.push(job.clone()),
            }
        }
        (duplicates, new)
    }

    fn put_in(
        &mut self,
        enqueue: &Enqueue,
        duplicates: Vec<(u32, JobId)>,
        new: Vec<JobSpec>,
        places: &[(String, u64, u64)],
        enqueued: &Enqueued,
        now: Now,
    ) {
        let name = crate::step::QUEUES.iter().position(|name| *name == &*enqueue.queue).unwrap();
        let queue = self.ensure_queue(name);
        for (batch, total) in &enqueue.batch_totals {
            let batch = self.batches.entry((queue, batch.clone())).or_default();
            (batch.total, batch.change_time) = (Some(*total), now.engine.0);
        }
        assert_eq!((enqueued.first.0, enqueued.count as usize), (self.serial + 1, new.len()));
        self.totals(queue).enqueued += new.len() as u64;
        for spec in &new {
            let id = self.next_serial();
            self.put_one(id, queue, spec, now);
        }
        let dropped: Vec<JobId> =
            places.iter().flat_map(|place| self.drop_oldest(queue, place, now)).collect();
        let besides = Besides { duplicates, dropped };
        let seen = enqueued.besides.as_deref().cloned().unwrap_or_default();
        assert_eq!(seen, besides);
        if let Some(request) = enqueue.request {
            let key = (((request.id - 1) / 10) as usize, ((request.id - 1) % 10) as u8);
            self.requests.insert(key, (request.content, enqueued.clone(), now.engine));
        }
    }

    fn put_one(&mut self, id: u64, queue: u32, spec: &JobSpec, now: Now) {
        let (due, due_by_wall) = match spec.start {
            Start::Now => (0, None),
            Start::After(span) => ((now.engine + span).0, None),
            Start::At(time) => (0, (time > now.wall).then_some(time.0)),
        };
        let ready = due == 0 && due_by_wall.is_none();
        let job = ModelJob {
            queue,
            key: spec.key.clone(),
            priority: priority(spec),
            bypass_limits: spec.bypass_limits,
            state: if ready { JobState::Ready } else { JobState::Scheduled },
            attempts: 0,
            deliveries: 0,
            requeues: 0,
            sequence: if ready { id } else { 0 },
            due,
            due_by_wall,
            nacked: false,
            cancel_requested: false,
            ttl: spec.ttl.map(|ttl| ttl.0),
            expire: spec.ttl.map(|ttl| (now.engine + ttl).0),
            bytes: spec.payload.len() as u64,
            batch: spec.batch.clone(),
            result: 0,
            history: Vec::new(),
            ended: 0,
            placed: 0,
        };
        if let Some(batch) = &spec.batch {
            let batch = self.batches.entry((queue, batch.clone())).or_default();
            batch.change_time = batch.change_time.max(now.engine.0);
        }
        if let Some(hash) = spec.idempotency {
            self.idempotency.insert((queue, hash), (id, now.engine.0));
        }
        assert!(self.jobs.insert(id, job).is_none(), "ids are given once");
        self.place(id);
    }

    pub(crate) fn judge(
        &mut self,
        step: &Step,
        command: &Command,
        ticket: Ticket,
        answer: Option<Answer>,
        taken: &[JobId],
        now: Now,
    ) {
        match (step, command) {
            (Step::Enqueue { queue, .. }, Command::Enqueue(enqueue)) => {
                self.judge_enqueue(*queue, enqueue, ticket, answer, now);
            }
            (Step::Lease { queue, max_jobs, wait, .. }, _) => match answer {
                None => {
                    assert!(*wait > 0);
                    self.waiting.insert(ticket, (*queue, *max_jobs, (now.engine + Span::from_secs(*wait)).0));
                }
                Some(Ok(Outcome::Leased(leased))) => {
                    assert_eq!(
                        leased.jobs.is_empty(),
                        !self.has_work(*queue, now),
                        "work is given when there is some"
                    );
                    self.leased(&leased, *queue, *max_jobs, now);
                }
                other => panic!("{other:?}"),
            },
            (Step::Abandon { .. }, Command::Abandon(gone)) => {
                assert_eq!(answer, None);
                self.waiting.remove(gone);
                self.calls.remove(gone);
            }
            (Step::Ack { .. }, Command::Ack(acks)) => {
                let Some(Ok(Outcome::Acked(results))) = answer else { panic!("{answer:?}") };
                let id = acks[0].id.0;
                let job = self.jobs.get_mut(&id).unwrap();
                let present = u64::from(job.deliveries) == acks[0].token.0 && acks[0].token.0 > 0;
                if present && job.state == JobState::Leased {
                    job.result = 2;
                    self.end(id, JobState::Completed, now);
                    assert_eq!(results, [Ok(())]);
                } else if present && job.state == JobState::Completed {
                    assert_eq!(results, [Ok(())]);
                } else {
                    assert_eq!(results, [Err(ItemRefusal::LeaseLost)]);
                }
            }
            (Step::Nack { .. }, Command::Nack(nacks)) => {
                let Some(Ok(Outcome::Nacked(results))) = answer else { panic!("{answer:?}") };
                let nack = &nacks[0];
                let job = &self.jobs[&nack.id.0];
                let present = u64::from(job.deliveries) == nack.token.0 && nack.token.0 > 0;
                let taken = matches!(job.state, JobState::Drained | JobState::Dropped);
                if present && job.state == JobState::Leased {
                    let cause = match nack.reason {
                        NackReason::Failed => ReturnCause::Failed,
                        NackReason::Throttled => ReturnCause::Throttled,
                        NackReason::Rejected => ReturnCause::Rejected,
                        NackReason::Released => ReturnCause::Released,
                    };
                    if cause == ReturnCause::Throttled {
                        self.throttle(nack.id.0, nack.retry_after, now);
                    }
                    self.give_back(nack.id.0, cause, nack.retry_after, now);
                    assert_eq!(results[0].unwrap().state, self.jobs[&nack.id.0].state);
                } else if present && job.nacked && !taken {
                    assert_eq!(results[0].unwrap().state, job.state);
                } else {
                    assert_eq!(results, [Err(ItemRefusal::LeaseLost)]);
                }
            }
            (Step::Extend { seconds, .. }, Command::Extend(extensions)) => {
                let Some(Ok(Outcome::Extended(results))) = answer else { panic!("{answer:?}") };
                let job = self.jobs.get_mut(&extensions[0].id.0).unwrap();
                if job.state == JobState::Leased && u64::from(job.deliveries) == extensions[0].token.0 {
                    job.due = (now.engine + Span::from_secs(*seconds)).0;
                    let expire_time = now.wall + Span::from_secs(*seconds);
                    let cancel_requested = job.cancel_requested;
                    assert_eq!(results, [Ok(Extended { expire_time, cancel_requested })]);
                    self.place(extensions[0].id.0);
                } else {
                    assert_eq!(results, [Err(ItemRefusal::LeaseLost)]);
                }
            }
            (Step::Drain { queue, max_jobs, request }, _) => {
                self.judge_drain((*queue, *max_jobs, *request), answer, taken, now);
            }
            (Step::Cancel { .. }, Command::Cancel(id)) => {
                let job = self.jobs.get_mut(&id.0).unwrap();
                match job.state {
                    JobState::Leased => job.cancel_requested = true,
                    state if state.is_waiting() => self.end(id.0, JobState::Cancelled, now),
                    JobState::Cancelled => {}
                    state => return assert_eq!(answer, Some(Err(Refusal::WrongState(state)))),
                }
                let Some(Ok(Outcome::Changed(view))) = answer else { panic!("{answer:?}") };
                assert_eq!(view.state, self.jobs[&id.0].state);
            }
            (Step::Update { .. }, Command::Update(update)) => self.judge_update(update, answer, now),
            (Step::Requeue { queue, .. }, Command::Requeue(requeue)) => {
                if !swept(&requeue.sweep.jobs, answer, self.queue_of(*queue).is_some()) {
                    return;
                }
                for (at, id) in requeue.sweep.jobs.iter().enumerate() {
                    let wait = at as u64 * requeue.interval.0;
                    let sequence = if wait == 0 { self.next_serial() } else { 0 };
                    let job = self.jobs.get_mut(&id.0).unwrap();
                    let state = if wait == 0 { JobState::Ready } else { JobState::Scheduled };
                    let due = if wait == 0 { 0 } else { now.engine.0 + wait };
                    (job.state, job.attempts, job.due, job.nacked) = (state, 0, due, false);
                    job.requeues += 1;
                    job.sequence = sequence;
                    job.expire = job.ttl.map(|ttl| now.engine.0 + ttl);
                    job.history.clear();
                    let queue = job.queue;
                    self.totals(queue).requeued += 1;
                    self.place(id.0);
                }
            }
            (Step::Purge { queue, .. }, Command::Purge(sweep)) => {
                let mut ids = sweep.jobs.clone();
                if sweep.states.contains(JobState::Leased) {
                    ids.clear();
                }
                if swept(&ids, answer, self.queue_of(*queue).is_some()) {
                    ids.iter().for_each(|id| self.remove(id.0, now));
                }
            }
            (Step::Delete { queue, force }, _) => {
                let Some(id) = self.queue_of(*queue) else {
                    return assert_eq!(answer, Some(Err(Refusal::QueueNotFound)));
                };
                if !force && self.jobs.values().any(|job| job.queue == id && job.is_live()) {
                    return assert_eq!(answer, Some(Err(Refusal::QueueNotEmpty)));
                }
                assert_eq!(answer, Some(Ok(Outcome::QueueDeleted)));
                assert!(self.calls.values().all(|call| call.queue != id), "who waited was turned away");
                self.delete_queue(id);
            }
            (Step::Put { queue, .. }, Command::PutQueue(put)) => {
                let id = self.ensure_queue(*queue);
                let known = self.queues.get_mut(&id).unwrap();
                known.settings = put.patch.over(&known.settings);
                let Some(Ok(Outcome::QueuePut(view))) = answer else { panic!("{answer:?}") };
                assert_eq!(view.settings, known.settings);
            }
            (step, command) => panic!("{step:?} {command:?}"),
        }
    }

    fn judge_enqueue(
        &mut self,
        name: usize,
        enqueue: &Enqueue,
        ticket: Ticket,
        answer: Option<Answer>,
        now: Now,
    ) {
        self.requests.retain(|_, (_, _, time)| now.engine.since(*time) < Span::from_secs(24 * 3600));
        match self.known_request(enqueue) {
            Some(Ok(known)) => return assert_eq!(answer, Some(Ok(Outcome::Enqueued(known)))),
            Some(Err(())) => return assert_eq!(answer, Some(Err(Refusal::RequestIdReused))),
            None => {}
        }
        let queue = self.queue_of(name);
        let (duplicates, new) = self.new_ones(queue, &enqueue.jobs, now);
        let room = match queue.filter(|_| !new.is_empty()) {
            Some(queue) => self.room(queue, &new),
            None => Expected::Room(Vec::new()),
        };
        let behind = queue.is_some_and(|queue| self.may_stand_behind(ticket, queue, &new));
        match (answer, room) {
            (None, room) => {
                assert!(matches!(room, Expected::Wait(_)) || behind, "it waits though it meets {room:?}");
                assert!(enqueue.wait > Span::ZERO);
                let timeout = (now.engine + enqueue.wait).0;
                self.calls
                    .insert(ticket, ModelCall { queue: queue.unwrap(), enqueue: enqueue.clone(), timeout });
            }
            (Some(Ok(Outcome::Enqueued(enqueued))), Expected::Room(places)) => {
                self.put_in(enqueue, duplicates, new, &places, &enqueued, now);
            }
            (Some(Err(Refusal::NeverFits(what))), Expected::Never(expected)) => assert_eq!(what, expected),
            (Some(Err(Refusal::Full { what, .. })), Expected::Full(expected)) => assert_eq!(what, expected),
            (Some(Err(Refusal::Full { what, .. })), Expected::Wait(expected)) => {
                assert_eq!((what, enqueue.wait), (expected, Span::ZERO));
            }
            (Some(Err(Refusal::Full { .. })), Expected::Room(_)) => {
                assert!(behind && enqueue.wait == Span::ZERO, "refused though there is room");
            }
            other => panic!("{other:?}"),
        }
    }

    fn judge_update(&mut self, update: &Update, answer: Option<Answer>, now: Now) {
        let job = self.jobs.get_mut(&update.id.0).unwrap();
        if !job.state.is_waiting() {
            return assert_eq!(answer, Some(Err(Refusal::WrongState(job.state))));
        }
        let before = job.clone();
        if let Some(priority) = update.priority
            && !job.bypass_limits
        {
            job.priority = priority.get();
        }
        let waits = match update.start {
            None => None,
            Some(Start::Now) => Some((0, None)),
            Some(Start::After(span)) => Some(((now.engine + span).0, None)),
            Some(Start::At(time)) => Some((0, (time > now.wall).then_some(time.0))),
        };
        if let Some((due, due_by_wall)) = waits {
            (job.due, job.due_by_wall) = (due, due_by_wall);
            job.state = match job.state {
                _ if due == 0 && due_by_wall.is_none() => JobState::Ready,
                JobState::Retrying => JobState::Retrying,
                _ => JobState::Scheduled,
            };
            if job.state == JobState::Ready && job.sequence == 0 {
                self.serial += 1;
                job.sequence = self.serial;
            }
        }
        let Some(Ok(Outcome::Changed(view))) = answer else { panic!("{answer:?}") };
        assert_eq!((view.state, view.priority.get()), (job.state, job.priority));
        if *job != before {
            self.place(update.id.0);
        }
    }

    fn judge_drain(&mut self, step: (usize, u32, u8), answer: Option<Answer>, taken: &[JobId], now: Now) {
        let (name, max_jobs, request) = step;
        if let Some(ModelDrain { max_jobs: known_max, jobs, .. }) = self.drains.get(&(name, request)) {
            if *known_max == max_jobs {
                let Some(Ok(Outcome::Drained(drained))) = answer else { panic!("{answer:?}") };
                assert_eq!(drained.total, jobs.len() as u64);
            } else {
                assert_eq!(answer, Some(Err(Refusal::RequestIdReused)));
            }
            return;
        }
        let Some(Ok(Outcome::Drained(drained))) = answer else { panic!("{answer:?}") };
        let Some(queue) = self.queue_of(name) else { return assert_eq!(drained.total, 0) };
        let waiting = self.jobs.values().filter(|job| job.queue == queue && job.state.is_waiting()).count();
        assert_eq!(drained.total, waiting.min(max_jobs as usize) as u64);
        assert_eq!(taken.len() as u64, drained.total);
        let mut last_run_time = None;
        for id in taken.iter().map(|id| id.0) {
            if self.jobs[&id].state == JobState::Ready {
                assert_eq!(last_run_time, None, "ready jobs come first");
                self.may_go(id, queue, |_| true);
            } else {
                let ready = |job: &ModelJob| job.queue == queue && job.state == JobState::Ready;
                assert!(!self.jobs.values().any(ready), "ready jobs come first");
                let job = &self.jobs[&id];
                let run_time = job.due_by_wall.unwrap_or_else(|| now.wall_at(Timestamp(job.due)).0);
                assert!(last_run_time.is_none_or(|last| last <= run_time), "the others come by run time");
                last_run_time = Some(run_time);
            }
            self.end(id, JobState::Drained, now);
        }
        let jobs = taken.iter().map(|id| id.0).collect();
        self.drains.insert((name, request), ModelDrain { queue, max_jobs, jobs, time: now.engine.0 });
    }

    /// Batches as they should be seen.
    pub(crate) fn batch_view(&self, queue: u32, index: usize) -> Option<BatchView> {
        let name = BatchName::new(BATCHES[index]).unwrap();
        let batch = self.batches.get(&(queue, name.clone()))?;
        let mut counts = StateCounts::default();
        for state in JobState::ALL {
            let there = self.in_batch(queue, &name).filter(|job| job.state == state).count() as u64;
            counts = counts.with(state, there + batch.gone.get(&state).copied().unwrap_or(0));
        }
        let jobs = counts.sum();
        let is_final = counts.live() == 0 && jobs > 0 && batch.total.is_none_or(|total| jobs >= total);
        let untouched = counts.get(JobState::Ready) + counts.get(JobState::Scheduled);
        let state = match counts.get(JobState::Completed) {
            0 if is_final => BatchState::Failed,
            all if is_final && all == jobs => BatchState::Completed,
            _ if is_final => BatchState::Partial,
            _ if untouched == jobs => BatchState::Pending,
            _ => BatchState::Running,
        };
        Some(BatchView { counts, total: batch.total, state })
    }
}

/// Whether a sweep was done, of all these jobs.
fn swept(jobs: &[JobId], answer: Option<Answer>, exists: bool) -> bool {
    match answer {
        Some(Ok(Outcome::Swept(count))) => assert_eq!(count as usize, jobs.len()),
        Some(Err(Refusal::QueueNotFound)) => assert!(!exists),
        other => panic!("{other:?}"),
    }
    exists
}
