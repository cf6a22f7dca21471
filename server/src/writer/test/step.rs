//! The step alone: no thread, no clock.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use sluice_engine::{
    Answer, Command, Engine, EngineConfig, JobId, JobState, Mutation, Now, Outcome, QueueStatus, Refusal,
    Span, Timestamp, WallTime,
};
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{Spy, enqueue, lease, queue};
use crate::bound::WATCH_INTERVAL;
use crate::store::{Failure, Memory};
use crate::store::{Store, StoreError, Upkeep};
use crate::writer::bare::Bare;
use crate::writer::delivery::Delivery;
use crate::writer::message::{Message, Watched};
use crate::writer::step::Wake;

struct Rig {
    writer: Bare,
    now: Now,
}

type LeaseReply = oneshot::Receiver<Result<Delivery, Refusal>>;

impl Rig {
    fn new(store: impl Store + 'static) -> Rig {
        let writer = Bare::new(Engine::new(EngineConfig::default()), Box::new(store));
        Rig { writer, now: Now { engine: Timestamp(1_000), wall: WallTime(1_000_000) } }
    }

    fn step(&mut self, group: Vec<Message>) -> Result<Wake, StoreError> {
        self.writer.step(group, self.now)
    }

    fn pass(&mut self, span: Span) {
        self.now.engine = self.now.engine + span;
        self.now.wall = self.now.wall + span;
    }

    fn call(&self, command: Command) -> (Message, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        (Message::Call { ticket: self.writer.ticket(), command, reply }, answer)
    }

    fn lease(&self, max_jobs: u32, wait: Span) -> (Message, LeaseReply) {
        let (reply, answer) = oneshot::channel();
        (Message::Lease { ticket: self.writer.ticket(), lease: lease(max_jobs, wait), reply }, answer)
    }

    fn enqueue(&mut self, payload: &'static str) {
        let (message, mut answer) = self.call(enqueue(payload));
        self.step(vec![message]).unwrap();
        assert!(matches!(answer.try_recv(), Ok(Ok(Outcome::Enqueued(_)))));
    }

    fn watch(&mut self) -> Watched {
        let (reply, mut watched) = oneshot::channel();
        self.step(vec![Message::Watch { queue: queue(), reply }]).unwrap();
        watched.try_recv().unwrap()
    }

    fn status(&mut self) -> QueueStatus {
        let (tell, told) = mpsc::channel();
        let read =
            move |engine: &Engine, _: &dyn Store, now| tell.send(engine.status(&queue(), now)).unwrap();
        self.step(vec![Message::Read(Box::new(read))]).unwrap();
        told.recv().unwrap().unwrap()
    }

    fn count(&mut self, state: JobState) -> u64 {
        self.status().counts.get(state)
    }
}

#[test]
fn nobody_is_answered_before_the_commit() {
    let waiting: Arc<Mutex<Option<oneshot::Receiver<Answer>>>> = Arc::default();
    let seen = Arc::new(Mutex::new(0));
    let spy = Spy::new(&Memory::new(), {
        let (waiting, seen) = (waiting.clone(), seen.clone());
        move |_| {
            let mut waiting = waiting.lock().unwrap();
            assert_eq!(waiting.as_mut().unwrap().try_recv().unwrap_err(), TryRecvError::Empty);
            *seen.lock().unwrap() += 1;
        }
    });
    let mut rig = Rig::new(spy);
    let (message, answer) = rig.call(enqueue("a"));
    *waiting.lock().unwrap() = Some(answer);
    rig.step(vec![message]).unwrap();
    assert_eq!(*seen.lock().unwrap(), 1);
    let answer = waiting.lock().unwrap().take().unwrap().try_recv();
    assert!(matches!(answer, Ok(Ok(Outcome::Enqueued(_)))));
}

#[test]
fn group_is_one_commit() {
    let store = Memory::new();
    let mut rig = Rig::new(store.clone());
    let (first, mut first_answer) = rig.call(enqueue("a"));
    let (second, mut second_answer) = rig.call(enqueue("b"));
    rig.step(vec![first, second]).unwrap();
    assert!(first_answer.try_recv().is_ok() && second_answer.try_recv().is_ok());
    assert_eq!(store.groups(), 1);
}

#[test]
fn step_that_changes_nothing_commits_nothing() {
    let store = Memory::new();
    let mut rig = Rig::new(store.clone());
    let (message, mut answer) = rig.lease(1, Span::ZERO);
    rig.step(vec![message]).unwrap();
    assert!(answer.try_recv().unwrap().unwrap().jobs.is_empty());
    assert_eq!(store.groups(), 0);
}

#[test]
fn failed_commit_answers_nobody_whether_it_was_kept_or_not() {
    for kept in [false, true] {
        let store = Memory::new();
        let mut rig = Rig::new(store.clone());
        store.fail(Failure { commit: 1, kept });
        let (call, mut answer) = rig.call(enqueue("a"));
        let (tell, told) = mpsc::channel();
        let read = Message::Read(Box::new(move |_, _, _| tell.send(()).unwrap()));
        assert!(rig.step(vec![call, read]).is_err());
        assert_eq!(answer.try_recv().unwrap_err(), TryRecvError::Empty);
        assert!(told.try_recv().is_err(), "reads see durable state only");
    }
}

#[test]
fn read_of_a_group_sees_all_of_it_and_only_when_it_is_durable() {
    let store = Memory::new();
    let mut rig = Rig::new(store.clone());
    let (tell, told) = mpsc::channel();
    let read = Message::Read(Box::new(move |engine, _, now| {
        let ready = engine.status(&queue(), now).unwrap().counts.get(JobState::Ready);
        tell.send((ready, store.groups())).unwrap();
    }));
    let (call, _answer) = rig.call(enqueue("a"));
    rig.step(vec![read, call]).unwrap();
    assert_eq!(told.recv().unwrap(), (1, 1));
}

#[test]
fn lease_is_durable_before_its_jobs_are_handed_out() {
    let committed = Arc::new(Mutex::new(Vec::new()));
    let spy = Spy::new(&Memory::new(), {
        let committed = committed.clone();
        move |mutations| committed.lock().unwrap().extend_from_slice(mutations)
    });
    let mut rig = Rig::new(spy);
    rig.enqueue("a");
    let (message, mut answer) = rig.lease(1, Span::ZERO);
    rig.step(vec![message]).unwrap();
    let delivery = answer.try_recv().unwrap().unwrap();
    assert_eq!(delivery.jobs.len(), 1);
    assert!(delivery.places[0].is_some());
    let last = committed.lock().unwrap().last().cloned();
    assert!(matches!(last, Some(Mutation::Leased { jobs, .. }) if jobs == [delivery.jobs[0].job.id]));
    delivery.guard.deliver();
}

#[test]
fn delivery_that_is_dropped_goes_back_unspent() {
    let mut rig = Rig::new(Memory::new());
    rig.enqueue("a");
    let (message, mut answer) = rig.lease(1, Span::ZERO);
    rig.step(vec![message]).unwrap();
    let delivery = answer.try_recv().unwrap().unwrap();
    assert_eq!(rig.count(JobState::Leased), 1);
    let id = delivery.jobs[0].job.id;
    drop(delivery);
    assert_eq!(rig.count(JobState::Ready), 1);
    let (tell, told) = mpsc::channel();
    let read = move |engine: &Engine, _: &dyn Store, now| tell.send(engine.job(id, now)).unwrap();
    rig.step(vec![Message::Read(Box::new(read))]).unwrap();
    let job = told.recv().unwrap().unwrap();
    assert_eq!((job.attempts, job.deliveries), (0, 1));
}

#[test]
fn delivery_that_is_handed_over_stays_leased() {
    let mut rig = Rig::new(Memory::new());
    rig.enqueue("a");
    let (message, mut answer) = rig.lease(1, Span::ZERO);
    rig.step(vec![message]).unwrap();
    answer.try_recv().unwrap().unwrap().guard.deliver();
    assert_eq!(rig.count(JobState::Leased), 1);
}

#[test]
fn jobs_leased_for_a_caller_who_left_before_the_answer_go_back() {
    let caller: Arc<Mutex<Option<LeaseReply>>> = Arc::default();
    let leased = Arc::new(Mutex::new(0));
    let spy = Spy::new(&Memory::new(), {
        let (caller, leased) = (caller.clone(), leased.clone());
        move |mutations| {
            if mutations.iter().any(|mutation| matches!(mutation, Mutation::Leased { .. })) {
                *leased.lock().unwrap() += 1;
                drop(caller.lock().unwrap().take());
            }
        }
    });
    let mut rig = Rig::new(spy);
    rig.enqueue("a");
    let (message, answer) = rig.lease(1, Span::ZERO);
    *caller.lock().unwrap() = Some(answer);
    rig.step(vec![message]).unwrap();
    assert_eq!(*leased.lock().unwrap(), 1);
    assert_eq!(rig.count(JobState::Ready), 1);
}

#[test]
fn lease_abandoned_in_the_very_group_that_found_jobs_for_it_gives_them_back() {
    let store = Memory::new();
    let mut rig = Rig::new(store.clone());
    rig.enqueue("a");
    let (reply, answer) = oneshot::channel();
    let ticket = rig.writer.ticket();
    let found = Message::Lease { ticket, lease: lease(1, Span::from_secs(60)), reply };
    rig.step(vec![found, Message::Abandon(ticket)]).unwrap();
    assert_eq!(store.groups(), 2, "the lease was made durable");
    drop(answer);
    assert_eq!(rig.count(JobState::Leased), 0);
    assert_eq!(rig.count(JobState::Ready), 1);
}

#[test]
fn abandoned_wait_takes_no_job() {
    let mut rig = Rig::new(Memory::new());
    rig.enqueue("a");
    let (all, mut answer) = rig.lease(1, Span::ZERO);
    rig.step(vec![all]).unwrap();
    answer.try_recv().unwrap().unwrap().guard.deliver();

    let (reply, answer) = oneshot::channel();
    let ticket = rig.writer.ticket();
    let waiting = Message::Lease { ticket, lease: lease(1, Span::from_secs(60)), reply };
    rig.step(vec![waiting]).unwrap();
    assert_eq!(rig.status().waiting_leases, 1);
    drop(answer);
    rig.step(vec![Message::Abandon(ticket)]).unwrap();
    assert_eq!(rig.status().waiting_leases, 0);
    rig.enqueue("b");
    assert_eq!(rig.count(JobState::Ready), 1);
}

#[test]
fn lease_whose_caller_left_in_the_mailbox_is_not_made() {
    let store = Memory::new();
    let mut rig = Rig::new(store.clone());
    rig.enqueue("a");
    let (message, answer) = rig.lease(1, Span::ZERO);
    drop(answer);
    rig.step(vec![message]).unwrap();
    assert_eq!(store.groups(), 1);
}

#[test]
fn waiting_lease_is_answered_by_the_group_that_brings_a_job() {
    let store = Memory::new();
    let mut rig = Rig::new(store.clone());
    let (waiting, mut answer) = rig.lease(1, Span::from_secs(60));
    rig.step(vec![waiting]).unwrap();
    assert_eq!(answer.try_recv().err(), Some(TryRecvError::Empty));
    rig.enqueue("a");
    assert_eq!(answer.try_recv().unwrap().unwrap().jobs.len(), 1);
    assert_eq!(store.groups(), 1, "enqueued and leased in one group");
}

#[test]
fn step_is_due_when_the_engine_has_something_to_do() {
    let mut rig = Rig::new(Memory::new());
    let (waiting, mut answer) = rig.lease(1, Span::from_millis(700));
    rig.step(vec![waiting]).unwrap();
    let due = rig.now.engine + Span::from_millis(700);
    assert_eq!(rig.step(vec![]).unwrap(), Wake(due));
    rig.now.engine = due;
    rig.step(vec![]).unwrap();
    assert!(answer.try_recv().unwrap().unwrap().jobs.is_empty());
}

#[test]
fn what_upkeep_wants_is_committed_with_the_next_group_and_at_once() {
    let store = Memory::new();
    let mut spy = Spy::new(&store, |_| {});
    let retired = vec![Mutation::Retired { segment: 7 }];
    spy.upkeep = vec![Upkeep { mutations: retired, at_rest: vec![JobId(9)], ..Upkeep::default() }];
    let mut rig = Rig::new(spy);
    let wake = rig.step(vec![]).unwrap();
    assert_eq!((wake, store.groups()), (Wake(rig.now.engine), 0));
    rig.step(vec![]).unwrap();
    assert_eq!(store.groups(), 1);
    rig.step(vec![]).unwrap();
    assert_eq!(store.groups(), 1, "once");
}

#[test]
fn what_upkeep_wanted_last_is_committed_before_the_store_closes() {
    let store = Memory::new();
    let mut spy = Spy::new(&store, |_| {});
    spy.upkeep = vec![Upkeep { mutations: vec![Mutation::Retired { segment: 7 }], ..Upkeep::default() }];
    let mut rig = Rig::new(spy);
    rig.step(vec![]).unwrap();
    rig.writer.close(rig.now).unwrap();
    assert_eq!(store.groups(), 1);
    assert!(store.is_clean());
}

#[test]
fn watcher_is_told_at_once_then_the_newest_and_never_too_often() {
    let interval = Span::from_millis(WATCH_INTERVAL.as_millis() as u64);
    let mut rig = Rig::new(Memory::new());
    let mut watched = rig.watch();
    assert!(watched.borrow_and_update().is_none(), "there is no such queue yet");

    rig.pass(interval);
    rig.enqueue("a");
    assert!(watched.has_changed().unwrap());
    assert_eq!(ready(&watched.borrow_and_update()), 1);

    rig.enqueue("b");
    rig.enqueue("c");
    assert!(!watched.has_changed().unwrap(), "too soon");
    let due = rig.now.engine + interval;
    assert_eq!(rig.step(vec![]).unwrap(), Wake(due), "and yet not forgotten");
    rig.pass(interval);
    rig.step(vec![]).unwrap();
    assert!(watched.has_changed().unwrap());
    assert_eq!(ready(&watched.borrow_and_update()), 3);

    rig.pass(interval);
    rig.step(vec![]).unwrap();
    assert!(!watched.has_changed().unwrap(), "nothing happened");
}

#[test]
fn watcher_does_not_hear_of_what_is_not_durable() {
    let store = Memory::new();
    let mut rig = Rig::new(store.clone());
    let watched = rig.watch();
    rig.pass(Span::from_secs(1));
    store.fail(Failure { commit: 1, kept: false });
    let (message, _answer) = rig.call(enqueue("a"));
    assert!(rig.step(vec![message]).is_err());
    assert!(!watched.has_changed().unwrap());
}

#[test]
fn second_watcher_of_a_quiet_queue_gets_a_fresh_status() {
    let mut rig = Rig::new(Memory::new());
    rig.enqueue("a");
    let _first = rig.watch();
    rig.pass(Span::from_secs(20));
    let second = rig.watch();
    let status = second.borrow().clone().unwrap();
    assert_eq!(status.status_time, rig.now.wall);
}

#[test]
fn queues_that_nobody_watches_any_more_are_forgotten() {
    let mut rig = Rig::new(Memory::new());
    for number in 0..1_000 {
        let (reply, _answer) = oneshot::channel();
        let queue = sluice_engine::QueueName::new(&format!("q{number}")).unwrap();
        rig.step(vec![Message::Watch { queue, reply }]).unwrap();
    }
    assert!(rig.writer.watched_queues() <= 64, "{}", rig.writer.watched_queues());
}

fn ready(status: &Option<Arc<QueueStatus>>) -> u64 {
    status.as_ref().unwrap().counts.get(JobState::Ready)
}
