//! Drives a load through the engine, asks when jobs will run, and notes when they did.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use sluice_engine::*;

use crate::chance::Chance;
use crate::driver::{Driver, queue};
use crate::figure::Figures;
use crate::load::Load;

/// How often jobs are asked for their range, and how many.
const ASKED_EVERY: Span = Span::from_secs(3);
const ASKED: usize = 10;
/// Until then nobody is asked while jobs come by chance: how many do is not known yet.
const WARM: Span = Span::from_secs(300);
const AGEING: Span = Span::from_secs(300);

struct Run<'a> {
    load: &'a Load,
    driver: Driver,
    chance: Chance,
    begun: Timestamp,
    /// Jobs that wait.
    waiting: Vec<JobId>,
    /// Where they stand there.
    places: BTreeMap<JobId, usize>,
    /// What was said of them: when, and in how many seconds from then.
    said: BTreeMap<JobId, Vec<(Timestamp, f64, Option<f64>)>>,
    /// Workers that wait for a job.
    leases: Vec<Ticket>,
    /// Jobs in hand, by when they are done.
    in_hand: BinaryHeap<Reverse<(Timestamp, JobId, LeaseToken)>>,
    figures: Figures,
}

pub(crate) fn run(load: &Load, seed: u64) -> Figures {
    let driver = Driver::at(1_000);
    let mut run = Run {
        load,
        begun: driver.now.engine,
        driver,
        chance: Chance::new(seed),
        waiting: Vec::new(),
        places: BTreeMap::new(),
        said: BTreeMap::new(),
        leases: Vec::new(),
        in_hand: BinaryHeap::new(),
        figures: Figures::default(),
    };
    run.driver.put(QueuePatch {
        node: Some(load.node.clone()),
        key_rules: Some(load.rules.clone()),
        priority_ageing: Some(AGEING),
        lease_duration: Some(Span::from_secs(3_600)),
        retention_bytes: Some(0),
        ..QueuePatch::default()
    });
    let backlog = (0..load.backlog).map(|_| load.job(&mut run.chance)).collect();
    run.enqueue(backlog);
    (0..load.workers.count).for_each(|_| run.lease());
    run.run_out();
    run.figures
}

impl Run<'_> {
    fn run_out(&mut self) {
        let end = self.begun + Span::from_secs(self.load.seconds);
        // Who is asked late would not be seen to go.
        let last_asked = self.begun + Span::from_secs(self.load.seconds * 2 / 3);
        let streams = self.load.arrivals > 0.0;
        let mut next_asked = self.begun + if streams { WARM } else { ASKED_EVERY };
        let mut next_arrival = streams.then(|| self.begun + self.gap());
        while self.driver.now.engine < end && (streams || !self.is_over()) {
            self.settle();
            let now = self.driver.now.engine;
            let done = self.in_hand.peek().map(|Reverse((time, ..))| *time);
            let wake = self.driver.engine.next_wake(self.driver.now);
            let next = [Some(next_asked), next_arrival, done, wake].into_iter().flatten().min();
            self.driver.pass(next.unwrap().since(now));
            let now = self.driver.now.engine;
            while next_arrival.is_some_and(|time| time <= now) {
                let job = self.load.job(&mut self.chance);
                self.enqueue(vec![job]);
                next_arrival = Some(now + self.gap());
            }
            if next_asked <= now {
                if now < last_asked {
                    self.settle();
                    self.ask();
                }
                next_asked = now + ASKED_EVERY;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.in_hand.is_empty()
    }

    /// Until the next job comes.
    fn gap(&mut self) -> Span {
        let gap = -(1.0 - self.chance.part()).ln() / self.load.arrivals;
        Span((gap * 1e9) as u64 + 1)
    }

    fn enqueue(&mut self, jobs: Vec<JobSpec>) {
        let count = jobs.len() as u64;
        let enqueue =
            Enqueue { queue: queue(), jobs, request: None, batch_totals: Vec::new(), wait: Span::ZERO };
        let Outcome::Enqueued(enqueued) = self.driver.done(Command::Enqueue(enqueue)) else { unreachable!() };
        for id in (enqueued.first.0..enqueued.first.0 + count).map(JobId) {
            self.places.insert(id, self.waiting.len());
            self.waiting.push(id);
        }
    }

    fn lease(&mut self) {
        let lease = Lease {
            queue: queue(),
            max_jobs: 1,
            max_bytes: usize::MAX,
            lease_duration: None,
            wait: bound::MAX_SPAN,
            worker: "w".into(),
        };
        let ticket = self.driver.ask(Command::Lease(lease));
        self.leases.push(ticket);
    }

    /// Takes what workers got, and lets those go on who are done, until nothing more happens at this time.
    fn settle(&mut self) {
        loop {
            let now = self.driver.now.engine;
            let mut got = Vec::new();
            let driver = &mut self.driver;
            self.leases.retain(|ticket| match driver.answer(*ticket) {
                Some(answer) => {
                    got.push(answer);
                    false
                }
                None => true,
            });
            let was_idle = got.is_empty();
            for answer in got {
                let Ok(Outcome::Leased(leased)) = answer else { panic!("no lease") };
                for LeasedJob { job, token, .. } in leased.jobs {
                    self.started(job.id);
                    let done = now + self.load.workers.takes(&mut self.chance);
                    self.in_hand.push(Reverse((done, job.id, token)));
                }
            }
            let mut done = 0;
            while let Some(Reverse((time, id, token))) = self.in_hand.peek().copied()
                && time <= now
            {
                self.in_hand.pop();
                self.driver.done(Command::Ack(vec![Ack { id, token, result: None, actual_cost: None }]));
                done += 1;
            }
            (0..done).for_each(|_| self.lease());
            if was_idle && done == 0 {
                return;
            }
        }
    }

    fn started(&mut self, id: JobId) {
        let place = self.places.remove(&id).unwrap();
        self.waiting.swap_remove(place);
        if let Some(moved) = self.waiting.get(place) {
            self.places.insert(*moved, place);
        }
        for (at, earliest, latest) in self.said.remove(&id).unwrap_or_default() {
            let wait = self.driver.now.engine.since(at).0 as f64 / 1e9;
            self.figures.add(wait, earliest, latest);
        }
    }

    fn ask(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let now = self.driver.now;
        for _ in 0..ASKED {
            let id = self.waiting[self.chance.below(self.waiting.len())];
            let eta = self.driver.engine.foresee(id, now).unwrap().eta.unwrap();
            let after = |time: WallTime| time.since(now.wall).0 as f64 / 1e9;
            let said = (now.engine, after(eta.earliest), eta.latest.map(after));
            self.said.entry(id).or_default().push(said);
        }
    }
}
