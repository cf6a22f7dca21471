//! Jobs come in: at once, when there is room for them, or not at all.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::bound::{MAX_BATCHES, MAX_KEYS_FORGOTTEN_PER_STEP};
use crate::command::Enqueue;
use crate::engine::capacity::{Amount, Place, Room};
use crate::engine::rate::Event;
use crate::engine::{Effects, Engine};
use crate::id::{JobId, QueueId, Ticket};
use crate::job::{JobSpec, Start};
use crate::ledger::requests::Known;
use crate::mutation::Mutation;
use crate::outcome::{Answer, Besides, Enqueued, Full, Outcome, Refusal};
use crate::time::{Now, Span};

/// What became of an enqueue.
pub(super) enum Admission {
    Answered(Answer),
    /// It may wait at this place.
    Blocked(Place),
}

impl Engine {
    pub(super) fn enqueue(&mut self, ticket: Ticket, mut enqueue: Enqueue, now: Now, effects: &mut Effects) {
        let answer = match self.admit(ticket, &mut enqueue, now, effects) {
            Admission::Answered(answer) => answer,
            Admission::Blocked(place) if enqueue.wait == Span::ZERO || !self.room.has_space(&enqueue) => {
                let what = if enqueue.wait > Span::ZERO { Full::Waiting } else { place.full() };
                Err(Refusal::Full { what, retry_after: self.room_in(place.queue, now) })
            }
            Admission::Blocked(place) => {
                effects.touch(place.queue);
                return self.room.add(ticket, enqueue, place, now.engine);
            }
        };
        effects.answers.push((ticket, answer));
    }

    /// Puts the jobs in if nothing stands in the way: no lack of room, and nobody who waits for it since before
    /// `ticket`. When it is blocked, `enqueue` is as it was.
    pub(super) fn admit(
        &mut self,
        ticket: Ticket,
        enqueue: &mut Enqueue,
        now: Now,
        effects: &mut Effects,
    ) -> Admission {
        self.ledger.requests.forget(now.engine);
        let queue = self.ledger.find_queue(&enqueue.queue).map(|queue| queue.record.id);
        let request = enqueue.request.zip(queue).map(|(request, queue)| request.within(queue));
        match request.map_or(Known::No, |request| self.ledger.requests.look_up(request)) {
            Known::Answered(answer) => return Admission::Answered(Ok(Outcome::Enqueued(answer))),
            Known::Reused => return Admission::Answered(Err(Refusal::RequestIdReused)),
            Known::No => {}
        }
        let duplicates = match self.duplicates(queue, &enqueue.jobs, now) {
            Ok(duplicates) => duplicates,
            Err(refusal) => return Admission::Answered(Err(refusal)),
        };
        let all = mem::take(&mut enqueue.jobs);
        let new = without(&duplicates, &all);
        let room = match self.obstacle(ticket, queue, enqueue, new.as_deref().unwrap_or(&all), now) {
            Ok(room) => room,
            Err(obstacle) => {
                enqueue.jobs = all;
                return obstacle;
            }
        };
        let besides = Besides { duplicates, dropped: Vec::new() };
        Admission::Answered(self.put_in(enqueue, new.unwrap_or(all), room, besides, now, effects))
    }

    /// Places that overflow when `jobs` come in, or what stands in their way.
    fn obstacle(
        &mut self,
        ticket: Ticket,
        queue: Option<QueueId>,
        enqueue: &Enqueue,
        jobs: &[JobSpec],
        now: Now,
    ) -> Result<Vec<(Place, Amount)>, Admission> {
        let refused = |refusal| Err(Admission::Answered(Err(refusal)));
        let mut overflowing = Vec::new();
        if let Some(queue) = queue.filter(|_| !jobs.is_empty()) {
            match self.room(queue, jobs) {
                Room::Is { overflowing: places } => overflowing = places,
                Room::WaitAt(place) => return Err(Admission::Blocked(place)),
                Room::Full(what) => {
                    return refused(Refusal::Full { what, retry_after: self.room_in(queue, now) });
                }
                Room::Never(what) => return refused(Refusal::NeverFits(what)),
            }
            if let Some(place) = self.queued_before(ticket, queue, jobs) {
                return Err(Admission::Blocked(place));
            }
        }
        match self.room_for_batches(queue, enqueue, jobs) {
            Ok(()) => Ok(overflowing),
            Err(refusal) => refused(refusal),
        }
    }

    /// The first place of the jobs' where others wait who came earlier.
    fn queued_before(&self, ticket: Ticket, queue: QueueId, jobs: &[JobSpec]) -> Option<Place> {
        if self.room.len_of(queue) == 0 {
            return None;
        }
        self.places(queue, jobs).into_iter().find(|place| self.room.is_waited_at(place, ticket))
    }

    /// The jobs of a request that came before, by their place in it: within it, or as others did.
    fn duplicates(
        &mut self,
        queue: Option<QueueId>,
        jobs: &[JobSpec],
        now: Now,
    ) -> Result<Vec<(u32, JobId)>, Refusal> {
        if jobs.iter().all(|job| job.idempotency.is_none()) {
            return Ok(Vec::new());
        }
        let window = queue.map(|queue| self.ledger.queue(queue).record.settings.idempotency_window);
        if let Some((queue, window)) = queue.zip(window) {
            let limit = MAX_KEYS_FORGOTTEN_PER_STEP;
            self.ledger.idempotency.forget(queue, window, now.engine, limit);
        }
        let mut duplicates = Vec::new();
        let mut here = HashMap::with_capacity(jobs.len());
        let mut next = self.next_serial();
        for (at, job) in jobs.iter().enumerate() {
            let known = job.idempotency.and_then(|hash| {
                let there = queue.zip(window).and_then(|(queue, window)| {
                    self.ledger.idempotency.find(queue, hash, window, now.engine)
                });
                there.or_else(|| here.get(&hash).copied())
            });
            match known {
                Some(id) => duplicates.push((at as u32, id)),
                None => {
                    here.extend(job.idempotency.map(|hash| (hash, JobId(next))));
                    next += 1;
                }
            }
        }
        self.room_for_idempotency(here.len() as u64, now)?;
        Ok(duplicates)
    }

    fn room_for_idempotency(&mut self, new: u64, now: Now) -> Result<(), Refusal> {
        let most = self.config.max_idempotency_keys;
        if new == 0 || self.ledger.idempotency.len() + new <= most {
            return Ok(());
        }
        let queues: Vec<QueueId> = self.ledger.idempotency.queues().collect();
        let mut budget = MAX_KEYS_FORGOTTEN_PER_STEP;
        for queue in queues {
            let window = self.ledger.queue(queue).record.settings.idempotency_window;
            budget -= self.ledger.idempotency.forget(queue, window, now.engine, budget);
        }
        if self.ledger.idempotency.len() + new <= most { Ok(()) } else { Err(Refusal::IdempotencyFull) }
    }

    fn room_for_batches(
        &self,
        queue: Option<QueueId>,
        enqueue: &Enqueue,
        jobs: &[JobSpec],
    ) -> Result<(), Refusal> {
        let room = MAX_BATCHES - self.ledger.batches.len().min(MAX_BATCHES);
        if jobs.len() + enqueue.batch_totals.len() <= room {
            return Ok(());
        }
        let named = jobs.iter().filter_map(|job| job.batch.as_ref());
        let announced = enqueue.batch_totals.iter().map(|(name, _)| name);
        let is_new = |name: &&_| queue.is_none_or(|queue| self.ledger.batches.find(queue, name).is_none());
        let mut new = BTreeSet::new();
        for name in named.chain(announced).filter(is_new) {
            new.insert(name);
            if new.len() > room {
                return Err(Refusal::TooManyBatches);
            }
        }
        Ok(())
    }

    /// Nothing stands in the way any more.
    fn put_in(
        &mut self,
        enqueue: &mut Enqueue,
        mut jobs: Vec<JobSpec>,
        overflowing: Vec<(Place, Amount)>,
        mut besides: Besides,
        now: Now,
        effects: &mut Effects,
    ) -> Answer {
        let queue = self.ensure_queue(&enqueue.queue, now, effects)?;
        self.room.overtake(queue, enqueue.request, &jobs);
        for (batch, total) in mem::take(&mut enqueue.batch_totals) {
            self.record(Mutation::BatchAnnounced { queue, batch, total }, now, effects);
        }
        self.note_emptied_batches();
        for spec in &mut jobs {
            if has_come(spec.start, now) {
                spec.start = Start::Now;
            }
        }
        let first = JobId(self.next_serial());
        let count = jobs.len();
        if count > 0 {
            self.record(Mutation::Enqueued { queue, first, jobs }, now, effects);
        }
        for id in first.0..first.0 + count as u64 {
            let slot = self.ledger.jobs.slot(JobId(id)).expect("it was just enqueued");
            self.index.place(&self.ledger, slot, now.engine);
        }
        for (place, most) in overflowing {
            besides.dropped.extend(self.drop_oldest(&place, most, now, effects));
        }
        let is_usual = besides == Besides::default();
        let answer = Enqueued {
            first,
            count: u32::try_from(count).expect("requests are bounded"),
            besides: (!is_usual).then(|| Arc::new(besides)),
        };
        if let Some(request) = enqueue.request {
            let request = request.within(queue);
            self.record(Mutation::Requested { request, answer: answer.clone() }, now, effects);
        }
        self.index.desk(queue).rates_mut().count(Event::Enqueued, count, now.engine);
        self.stir(queue);
        effects.touch(queue);
        Ok(Outcome::Enqueued(answer))
    }

    /// Lets the oldest of the least urgent go until there is no more than `most` at a place.
    fn drop_oldest(&mut self, place: &Place, most: Amount, now: Now, effects: &mut Effects) -> Vec<JobId> {
        let key = self.ledger.keys.find(place.queue, &place.key);
        let mut held = self.held_at(place);
        let (mut slots, mut jobs) = (Vec::new(), Vec::new());
        while (held.jobs > most.jobs || held.bytes > most.bytes)
            && let Some(slot) = self.index.oldest_waiting(&self.ledger, place.queue, key)
        {
            let job = self.ledger.jobs.at(slot);
            held.jobs -= 1;
            held.bytes -= u64::from(job.bytes);
            jobs.push(job.id);
            slots.push(slot);
            self.room.stir(job, &self.ledger.keys);
            self.index.unplace(&self.ledger, slot, now.engine);
        }
        if !jobs.is_empty() {
            self.record(Mutation::Dropped { jobs: jobs.clone() }, now, effects);
            for slot in slots {
                self.index.place(&self.ledger, slot, now.engine);
            }
            self.rearm_forget(place.queue);
        }
        jobs
    }

    /// Jobs may have become ready: a waiting lease is looked for at the end of the step.
    pub(super) fn stir(&mut self, queue: QueueId) {
        if self.stirred.last() != Some(&queue) {
            self.stirred.push(queue);
        }
    }
}

/// The jobs that are no duplicates; none: all of them.
fn without(duplicates: &[(u32, JobId)], jobs: &[JobSpec]) -> Option<Vec<JobSpec>> {
    if duplicates.is_empty() {
        return None;
    }
    let left_out: BTreeSet<u32> = duplicates.iter().map(|(at, _)| *at).collect();
    let new = jobs.iter().zip(0..).filter(|(_, at)| !left_out.contains(at));
    Some(new.map(|(job, _)| job.clone()).collect())
}

fn has_come(start: Start, now: Now) -> bool {
    match start {
        Start::Now => true,
        Start::After(span) => span == Span::ZERO,
        Start::At(time) => time <= now.wall,
    }
}
