//! Jobs come in.

use crate::command::Enqueue;
use crate::engine::rate::Event;
use crate::engine::{Effects, Engine};
use crate::id::{JobId, QueueId};
use crate::job::Start;
use crate::ledger::requests::Known;
use crate::mutation::Mutation;
use crate::outcome::{Answer, Enqueued, Outcome, Refusal};
use crate::time::{Now, Span};

impl Engine {
    pub(super) fn enqueue(&mut self, enqueue: Enqueue, now: Now, effects: &mut Effects) -> Answer {
        self.ledger.requests.forget(now.engine);
        match enqueue.request.map_or(Known::No, |request| self.ledger.requests.look_up(request)) {
            Known::Answered(answer) => return Ok(Outcome::Enqueued(answer)),
            Known::Reused => return Err(Refusal::RequestIdReused),
            Known::No => {}
        }
        let queue = self.ensure_queue(&enqueue.queue, now, effects)?;
        let mut jobs = enqueue.jobs;
        for spec in &mut jobs {
            if has_come(spec.start, now) {
                spec.start = Start::Now;
            }
        }
        let first = JobId(self.next_serial());
        let count = jobs.len();
        self.record(Mutation::Enqueued { queue, first, jobs }, now, effects);
        for id in first.0..first.0 + count as u64 {
            let slot = self.ledger.jobs.slot(JobId(id)).expect("it was just enqueued");
            self.index.place(&self.ledger, slot, now.engine);
        }
        let answer = Enqueued { first, count: u32::try_from(count).expect("requests are bounded") };
        if let Some(request) = enqueue.request {
            self.record(Mutation::Requested { request, answer }, now, effects);
        }
        self.index.desk(queue).rates_mut().count(Event::Enqueued, count, now.engine);
        self.stir(queue);
        effects.touch(queue);
        Ok(Outcome::Enqueued(answer))
    }

    /// Jobs may have become ready: a waiting lease is looked for at the end of the step.
    pub(super) fn stir(&mut self, queue: QueueId) {
        if self.stirred.last() != Some(&queue) {
            self.stirred.push(queue);
        }
    }
}

fn has_come(start: Start, now: Now) -> bool {
    match start {
        Start::Now => true,
        Start::After(span) => span == Span::ZERO,
        Start::At(time) => time <= now.wall,
    }
}
