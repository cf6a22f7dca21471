//! A server from start to start, those who call it, and what goes wrong.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake as Ring, Waker};

use sluice_engine::bound::{IDEMPOTENCY_WINDOW, REQUEST_ID_WINDOW};
use sluice_engine::{
    Answer, Command, Engine, EngineConfig, JobId, LeasedJob, Loader, Now, Outcome, Refusal, Span, Ticket,
    Timestamp, WallTime,
};
use tokio::sync::oneshot;

use super::bug::Bug;
use super::call::{self, Asked, Requests};
use super::judge::{Judge, Wrong, ensure};
use super::script::{Call, QUEUES, Script, Step};
use super::store::{Shelf, SimReader, SimStore};
use crate::store::conformance::picture::Picture;
use crate::store::disk::sim::{Plan, SimDisk};
use crate::store::{BodyReader, Store};
use crate::writer::bare::Bare;
use crate::writer::{Delivery, Message, Wake};

/// See the module.
pub(super) struct World {
    disk: SimDisk,
    shelf: Shelf,
    now: Now,
    life: Option<Life>,
    judge: Judge,
    requests: Requests,
    fault: Option<Fault>,
    bug: Option<Bug>,
    /// Whether somebody who put jobs in is gone before the answer.
    unheard: bool,
    /// For a bug that is planted.
    last_delivery: (usize, Vec<LeasedJob>),
    /// What had been asked when the process died, and was not answered.
    doubted: Vec<Asked>,
    /// Callers that leave in this step, and those that left in the one before.
    leaving: Vec<Ticket>,
    left: Vec<Ticket>,
    /// Sets that were asked for.
    sets: Vec<u128>,
    pub(super) figures: Figures,
}

/// A process.
struct Life {
    writer: Bare,
    wake: Wake,
    waiting: BTreeMap<Ticket, Waiting>,
    /// Tickets in the order in which they were answered.
    bell: Arc<Mutex<Vec<Ticket>>>,
}

/// A call that is not answered yet.
struct Waiting {
    asked: Asked,
    receipt: Receipt,
}

enum Receipt {
    Call(oneshot::Receiver<Answer>),
    Lease(oneshot::Receiver<Result<Delivery, Refusal>>),
}

/// How the next life begins.
#[derive(Clone, Copy, Debug)]
enum Fault {
    PowerLoss { chance: u64 },
    Kill,
}

/// What happened, so that nobody is content with nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) crashes: usize,
    /// Crashes in which a group was there that nobody was told of.
    pub(super) kept: usize,
    pub(super) deliveries: usize,
    pub(super) moved: usize,
    /// Of everything on the disk at the end.
    pub(super) digest: u64,
}

impl Figures {
    pub(super) fn add(&mut self, other: &Figures) {
        self.crashes += other.crashes;
        self.kept += other.kept;
        self.deliveries += other.deliveries;
        self.moved += other.moved;
        self.digest ^= other.digest;
    }
}

/// Tells which ticket was answered.
struct Bell {
    ticket: Ticket,
    order: Arc<Mutex<Vec<Ticket>>>,
}

impl Ring for Bell {
    fn wake(self: Arc<Self>) {
        self.order.lock().unwrap().push(self.ticket);
    }
}

/// Wakes on the way of a span; after that the thread was asleep.
const MAX_WAKES: usize = 4;
/// Rounds at the end until all is done.
const MAX_ROUNDS: usize = 2_000;
/// Steps until nothing is due, before everything is looked at.
const MAX_STEPS_AT_ONCE: usize = 400;

impl World {
    pub(super) fn new(bug: Option<Bug>) -> World {
        World {
            disk: SimDisk::new(sound(bug)),
            shelf: Shelf::default(),
            now: Now { engine: Timestamp(3_600_000_000_000), wall: WallTime(1_700_000_000_000_000_000) },
            life: None,
            judge: Judge::new(),
            requests: Requests::new(),
            fault: None,
            bug,
            unheard: false,
            last_delivery: (0, Vec::new()),
            doubted: Vec::new(),
            leaving: Vec::new(),
            left: Vec::new(),
            sets: Vec::new(),
            figures: Figures::default(),
        }
    }

    /// Does all of a script, and then brings everything to its end.
    pub(super) fn run(&mut self, script: &Script) -> Result<(), Wrong> {
        self.recover()?;
        for (number, step) in script.0.iter().enumerate() {
            self.step(step).map_err(|wrong| format!("step {number}: {wrong}"))?;
        }
        self.finish().map_err(|wrong| format!("at the end: {wrong}"))?;
        self.figures.digest = self.disk.digest();
        self.figures.moved = self.shelf.kept().moved;
        self.figures.deliveries = self.judge.deliveries;
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), Wrong> {
        match step {
            Step::Group { after_millis, calls } => {
                self.pass(Span::from_millis(*after_millis))?;
                self.group(calls)
            }
            Step::Wake => {
                let wake = self.life.as_ref().map_or(Timestamp(0), |life| life.wake.0);
                self.advance(wake.since(self.now.engine));
                self.group(&[])
            }
            Step::SetWall { seconds } => {
                self.now.wall.0 = self.now.wall.0.saturating_add_signed(seconds * 1_000_000_000);
                Ok(())
            }
            Step::PowerLoss { at, chance } => {
                self.fault = Some(Fault::PowerLoss { chance: *chance });
                self.plan(|plan, now| plan.crash_at = Some(now + at));
                Ok(())
            }
            Step::Kill { at } => {
                self.fault = Some(Fault::Kill);
                self.plan(|plan, now| plan.crash_at = Some(now + at));
                Ok(())
            }
            Step::Broken { at } => {
                self.fault = Some(Fault::Kill);
                self.plan(|plan, now| plan.fail_at = Some(now + at));
                Ok(())
            }
            Step::Restart => self.restart(),
            Step::Look => self.look(),
        }
    }

    fn plan(&mut self, change: impl FnOnce(&mut Plan, u64)) {
        let mut plan = sound(self.bug);
        change(&mut plan, self.disk.operations());
        self.disk.set_plan(plan);
    }

    fn advance(&mut self, span: Span) {
        self.now = Now { engine: self.now.engine + span, wall: self.now.wall + span };
    }

    /// What the server takes for now.
    fn now(&self) -> Now {
        let start = 3_600_000_000_000;
        let engine = match self.bug {
            Some(Bug::TimeRunsTooFast) => start + (self.now.engine.0 - start) * 3 / 2,
            Some(Bug::TimeStandsStill) if self.figures.crashes > 0 => {
                self.now.engine.0.saturating_sub(5_000_000_000).max(start)
            }
            _ => self.now.engine.0,
        };
        Now { engine: Timestamp(engine), wall: self.now.wall }
    }

    /// Time passes; the writer wakes when it wanted to, but for a thread that sleeps too long.
    fn pass(&mut self, span: Span) -> Result<(), Wrong> {
        let end = self.now.engine + span;
        for _ in 0..MAX_WAKES {
            let Some(life) = &self.life else { break };
            if life.wake.0 >= end {
                break;
            }
            self.advance(life.wake.0.since(self.now.engine));
            self.group(&[])?;
        }
        self.advance(end.since(self.now.engine));
        Ok(())
    }

    /// Calls that the writer finds together.
    fn group(&mut self, calls: &[Call]) -> Result<(), Wrong> {
        // Whom a drain took can be seen after its step: what would move them comes in the next.
        let is_drained = |queue: &usize, calls: &[Call]| {
            calls.iter().any(|call| matches!(call, Call::Drain { queue: drained, .. } if drained == queue))
        };
        let moves_them = |(at, call): (usize, &Call)| match call {
            Call::Requeue { queue, .. } | Call::Purge { queue } => is_drained(queue, &calls[..at]),
            _ => false,
        };
        if let Some(at) = calls.iter().enumerate().position(moves_them) {
            self.group(&calls[..at])?;
            return self.group(&calls[at..]);
        }
        let mut messages = Vec::new();
        let mut vanishing = false;
        // Those who came in this very group do not wait yet.
        let mut earlier: Vec<Ticket> =
            self.life.iter().flat_map(|life| life.waiting.keys().rev()).copied().collect();
        for call in calls {
            let Some(life) = &mut self.life else { return Ok(()) };
            if *call == Call::Vanish {
                let longest = earlier.pop().and_then(|ticket| life.waiting.remove_entry(&ticket));
                if let Some((ticket, waiting)) = longest {
                    messages.push(Message::Abandon(ticket));
                    vanishing = true;
                    // Its jobs may be in before the writer hears of it.
                    self.unheard |= matches!(waiting.asked, Asked::Enqueue { .. });
                }
                continue;
            }
            let ticket = life.writer.ticket();
            if let Some((asked, lease)) = call::lease(call) {
                let (reply, receiver) = oneshot::channel();
                messages.push(Message::Lease { ticket, lease, reply });
                if matches!(call, Call::Lease { vanishes: true, .. }) {
                    vanishing = true;
                    self.leaving.push(ticket);
                    // Its caller is gone before the answer, but not before the writer took the call.
                    let keeps = self.bug == Some(Bug::VanishedKeepTheirJobs);
                    messages.push(Message::Read(Box::new(move |_, _, _| match keeps {
                        true => std::mem::forget(receiver),
                        false => drop(receiver),
                    })));
                } else {
                    life.wait(ticket, asked, Receipt::Lease(receiver));
                }
            } else if let Some((asked, command)) = call::command(call, &self.judge, &mut self.requests) {
                if let Asked::Drain { set } = &asked
                    && !self.sets.contains(set)
                {
                    self.sets.push(*set);
                }
                if self.bug == Some(Bug::CallsAreDoneTwice) && matches!(command, Command::Enqueue(_)) {
                    let (reply, _) = oneshot::channel();
                    let (ticket, command) = (life.writer.ticket(), command.clone());
                    messages.push(Message::Call { ticket, command, reply });
                }
                messages.push(life.call(ticket, asked, command));
            }
        }
        self.drive(messages, vanishing)
    }

    /// One step of the writer, and what its clients hear of it.
    fn drive(&mut self, messages: Vec<Message>, vanishing: bool) -> Result<(), Wrong> {
        // Between two steps there is a sync: no two are at one moment.
        self.advance(Span(1));
        let now = self.now();
        // The writer hears of who left in the step before.
        let left = self.left.drain(..).map(Message::Abandon);
        let messages: Vec<Message> = left.chain(messages).collect();
        self.judge.vanished = vanishing || matches!(messages.first(), Some(Message::Abandon(_)));
        self.left.append(&mut self.leaving);
        let Some(life) = &mut self.life else { return Ok(()) };
        let result = life.writer.step(messages, now);
        let answered = std::mem::take(&mut *life.bell.lock().unwrap());
        if std::mem::take(&mut self.unheard) && result.is_ok() {
            self.judge.learn(life.writer.engine(), self.now);
        }
        for ticket in answered {
            self.hear(ticket)?;
        }
        match result {
            Ok(wake) => {
                if let Some(life) = &mut self.life {
                    life.wake = wake;
                    self.judge.end_step(life.writer.engine(), self.now)?;
                }
                Ok(())
            }
            Err(error) => {
                ensure!(self.fault.is_some(), "the store failed by itself: {error}");
                self.die()
            }
        }
    }

    /// Somebody was answered.
    fn hear(&mut self, ticket: Ticket) -> Result<(), Wrong> {
        let now = self.now;
        let Some(life) = &mut self.life else { return Ok(()) };
        let Some(mut waiting) = life.waiting.remove(&ticket) else { return Ok(()) };
        match &mut waiting.receipt {
            Receipt::Call(receiver) => {
                let Ok(mut answer) = receiver.try_recv() else { return Ok(()) };
                if let (Some(Bug::WrongIdsAreTold), Ok(Outcome::Enqueued(enqueued))) = (self.bug, &mut answer)
                {
                    enqueued.first.0 += 1;
                }
                self.judge.hear(&waiting.asked, &answer, now)?;
                if self.bug == Some(Bug::AcksAreForgotten) && matches!(waiting.asked, Asked::Ack { .. }) {
                    let (queue, jobs) = &self.last_delivery;
                    self.judge.leased(*queue, 1, jobs, &[], now)?;
                }
                // Of a queue that was not there no set is kept, and the same call may drain it once it is.
                if let (Asked::Drain { set }, Ok(Outcome::Drained(drained))) = (&waiting.asked, &answer)
                    && drained.total > 0
                {
                    let engine = self.life.as_ref().map(|life| life.writer.engine());
                    match engine.and_then(|engine| engine.drain_page(*set, 0, 1_000, now)) {
                        Some((jobs, _)) => {
                            let jobs: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
                            self.judge.drained(*drained, &jobs)?;
                        }
                        // Its queue was deleted in the same step: nobody can say any more who was in the set.
                        None => self.judge.vanished = true,
                    }
                }
                Ok(())
            }
            Receipt::Lease(receiver) => {
                let Asked::Lease { queue, seconds } = waiting.asked else { return Ok(()) };
                let Ok(answer) = receiver.try_recv() else { return Ok(()) };
                let Ok(mut delivery) = answer else {
                    // Of a queue that is not there.
                    return Ok(());
                };
                let places: Vec<_> = delivery.places.iter().flatten().cloned().collect();
                // A disk that died meanwhile does not read.
                let bodies = SimReader.read(&places).unwrap_or_default();
                let payloads = bodies.into_iter().map(|body| body.payload.unwrap_or_default().to_vec());
                let mut payloads: Vec<Vec<u8>> = payloads.collect();
                match self.bug {
                    Some(Bug::OrderIsTurned) => {
                        delivery.jobs.reverse();
                        payloads.reverse();
                    }
                    Some(Bug::PayloadsAreMixedUp) => payloads.reverse(),
                    _ => {}
                }
                delivery.guard.deliver();
                self.last_delivery = (queue, delivery.jobs.clone());
                self.judge.leased(queue, seconds, &delivery.jobs, &payloads, now)
            }
        }
    }

    /// The process ends, and another begins.
    fn die(&mut self) -> Result<(), Wrong> {
        self.figures.crashes += 1;
        if let Some(life) = self.life.take() {
            self.doubted = life.waiting.into_values().map(|waiting| waiting.asked).collect();
        }
        self.leaving.clear();
        self.left.clear();
        let fault = self.fault.take();
        self.disk = match fault {
            Some(Fault::PowerLoss { chance }) => self.disk.after_power_loss(chance, sound(self.bug)),
            _ => self.disk.after_kill(sound(self.bug)),
        };
        self.recover()
    }

    fn restart(&mut self) -> Result<(), Wrong> {
        let now = self.now();
        let Some(life) = &mut self.life else { return Ok(()) };
        if life.writer.close(now).is_err() {
            ensure!(self.fault.is_some(), "the store failed by itself");
            return self.die();
        }
        self.life = None;
        self.leaving.clear();
        self.left.clear();
        self.recover()
    }

    /// Opens what the last process left.
    fn recover(&mut self) -> Result<(), Wrong> {
        let now = self.now();
        let mut store = match SimStore::open(&self.disk, &self.shelf, self.bug) {
            Ok(store) => store,
            Err(error) => {
                ensure!(self.fault.is_some(), "it does not start: {error}");
                return self.die();
            }
        };
        let mut loader = Loader::new(EngineConfig::default());
        let last = match store.load(&mut loader) {
            Ok(last) => last,
            Err(error) => {
                ensure!(self.fault.is_some(), "it does not start: {error}");
                return self.die();
            }
        };
        ensure!(last.is_none_or(|last| last.engine <= now.engine), "time goes back");
        if self.disk.is_dead() {
            return self.die();
        }
        let found = store.last_group();
        let engine = loader.finish(now).map_err(|error| error.to_string())?;

        let is_in_doubt = self.settle_attempt(found)?;
        self.figures.kept += usize::from(is_in_doubt);
        let replayed = self.replay()?;
        self.compare(&engine, &replayed, &store, "after a start")?;
        if is_in_doubt {
            self.judge.in_doubt(&self.doubted, &engine, self.now)?;
        }
        self.judge.restarted();
        self.judge.look(&engine, self.now)?;

        let writer = Bare::new(engine, Box::new(store));
        let mut life =
            Life { writer, wake: Wake(now.engine), waiting: BTreeMap::new(), bell: Arc::default() };
        let setup = call::setup().into_iter();
        let messages = setup.map(|command| life.call(life.writer.ticket(), Asked::Setup, command)).collect();
        self.life = Some(life);
        self.drive(messages, false)
    }

    /// Two engines must be alike to everybody who asks.
    fn compare(&self, live: &Engine, replayed: &Engine, store: &dyn Store, when: &str) -> Result<(), Wrong> {
        let now = self.now();
        let picture = |engine| {
            let picture = Picture::of(engine, store, now, &self.sets);
            // Calls that wait are nobody's after a start.
            Picture { next_wake: picture.next_wake.filter(|_| self.life.is_none()), ..picture }
        };
        picture(live).assert_is(&picture(replayed), when);
        let requests = |engine: &Engine| {
            let all = engine.ledger().requests_after(None, usize::MAX).into_iter();
            all.filter(|request| request.time + REQUEST_ID_WINDOW > now.engine).collect::<Vec<_>>()
        };
        let keys = |engine: &Engine| {
            let all = engine.ledger().idempotency_after(None, usize::MAX).into_iter();
            all.filter(|key| key.time + IDEMPOTENCY_WINDOW > now.engine).collect::<Vec<_>>()
        };
        let (known, told) = (requests(live), requests(replayed));
        ensure!(known == told, "{when}: requests are {known:?}, not {told:?}");
        let (known, told) = (keys(live), keys(replayed));
        ensure!(known == told, "{when}: keys are {known:?}, not {told:?}");
        Ok(())
    }

    /// Whether the group of which nobody knows is there; all others must be.
    fn settle_attempt(&mut self, found: u64) -> Result<bool, Wrong> {
        let mut kept = self.shelf.kept();
        let (told, attempted) = (kept.groups.len() as u64, kept.attempted.take());
        ensure!(found >= told, "groups are lost: {found} of {told} are there");
        if found == told {
            return Ok(false);
        }
        ensure!(found == told + 1 && attempted.is_some(), "{found} groups are there, and {told} were told");
        kept.groups.extend(attempted);
        Ok(true)
    }

    /// An engine that was told of every group, from the first.
    fn replay(&self) -> Result<Engine, Wrong> {
        let mut loader = Loader::new(EngineConfig::default());
        for (number, group) in (1..).zip(&self.shelf.kept().groups) {
            let mutations = group.mutations.iter().cloned();
            loader.group(number, group.now, mutations).map_err(|error| error.to_string())?;
        }
        loader.finish(self.now()).map_err(|error| error.to_string())
    }

    /// Everything is looked at.
    fn look(&mut self) -> Result<(), Wrong> {
        // What is due is done first.
        for _ in 0..MAX_STEPS_AT_ONCE {
            let now = self.now();
            let Some(life) = &self.life else { return Ok(()) };
            if life.wake.0 > now.engine {
                break;
            }
            self.drive(Vec::new(), false)?;
        }
        let replayed = self.replay()?;
        let Some(life) = &self.life else { return Ok(()) };
        let (engine, store) = (life.writer.engine(), life.writer.store());
        // A disk that is dead does not read either.
        if !self.disk.is_dead() {
            self.compare(engine, &replayed, store, "live")?;
        }
        self.judge.look(engine, self.now)
    }

    /// Nothing goes wrong any more, and every job comes to its end.
    fn finish(&mut self) -> Result<(), Wrong> {
        self.disk.set_plan(sound(self.bug));
        // Something may have gone wrong that nobody has met yet.
        self.fault = Some(Fault::Kill);
        self.restart()?;
        self.fault = None;
        self.look()?;
        for _ in 0..MAX_ROUNDS {
            let now = self.now;
            let Some(life) = &self.life else { return Err("nobody serves".to_owned()) };
            let engine = life.writer.engine();
            let live: u64 = (0..QUEUES.len())
                .filter_map(|index| engine.status(&call::queue(index), now))
                .map(|s| s.counts.live())
                .sum();
            if live == 0 {
                return self.look();
            }
            let mut calls = Vec::new();
            for queue in 0..QUEUES.len() {
                calls.push(Call::Pause { queue, paused: false });
                calls.push(Call::Lease { queue, max_jobs: 50, waits: true, seconds: 60, vanishes: false });
            }
            self.group(&calls)?;
            let held = self.judge.tokens(false).len();
            let acks = (0..held).map(|pick| Call::Ack { pick, stale: false, actual_cost: None });
            self.group(&acks.collect::<Vec<_>>())?;
            let wake = self.life.as_ref().map_or(now.engine, |life| life.wake.0);
            self.advance(wake.since(self.now.engine));
            self.group(&[Call::Vanish, Call::Vanish, Call::Vanish, Call::Vanish])?;
        }
        Err("jobs do not come to their end".to_owned())
    }
}

/// A plan by which nothing goes wrong, but for what is planted.
fn sound(bug: Option<Bug>) -> Plan {
    Plan { lie_about_sync: bug == Some(Bug::SyncIsLeftOut), ..Plan::default() }
}

impl Life {
    fn call(&mut self, ticket: Ticket, asked: Asked, command: Command) -> Message {
        let (reply, receiver) = oneshot::channel();
        self.wait(ticket, asked, Receipt::Call(receiver));
        Message::Call { ticket, command, reply }
    }

    /// Listens for an answer.
    fn wait(&mut self, ticket: Ticket, asked: Asked, mut receipt: Receipt) {
        let waker = Waker::from(Arc::new(Bell { ticket, order: self.bell.clone() }));
        let mut context = Context::from_waker(&waker);
        let is_ready = match &mut receipt {
            Receipt::Call(receiver) => Pin::new(receiver).poll(&mut context).is_ready(),
            Receipt::Lease(receiver) => Pin::new(receiver).poll(&mut context).is_ready(),
        };
        assert!(!is_ready, "it is sent only now");
        self.waiting.insert(ticket, Waiting { asked, receipt });
    }
}
