//! Engines brought back from records that are younger than the groups they are replayed with.

#![allow(clippy::unwrap_used, reason = "a test")]

use sluice_engine::*;

const DAWN: Now = Now { engine: Timestamp(3_600_000_000_000), wall: WallTime(1_700_000_000_000_000_000) };

/// What was committed, a group a command.
#[derive(Default)]
struct Life {
    groups: Vec<Vec<Mutation>>,
}

fn name(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

fn engine() -> Engine {
    Engine::new(EngineConfig::default())
}

fn loader() -> Loader {
    Loader::new(EngineConfig::default())
}

fn job(key: &str, batch: Option<&str>) -> JobSpec {
    JobSpec {
        idempotency: (!key.is_empty()).then_some(key.len() as u128),
        batch: batch.map(|name| BatchName::new(name).unwrap()),
        ..JobSpec::default()
    }
}

fn enqueue(queue: &str, job: JobSpec) -> Command {
    let queue = name(queue);
    Command::Enqueue(Enqueue {
        queue,
        jobs: vec![job],
        request: None,
        batch_totals: Vec::new(),
        wait: Span::ZERO,
    })
}

fn delete(queue: &str) -> Command {
    Command::DeleteQueue(DeleteQueue { name: name(queue), force: true })
}

impl Life {
    fn apply(&mut self, engine: &mut Engine, command: Command) -> Answer {
        let mut effects = Effects::default();
        engine.apply(Ticket(1), command, DAWN, &mut effects);
        // A deleted queue is forgotten in the step after.
        engine.wake(DAWN, &mut effects);
        engine.wake(DAWN, &mut effects);
        self.groups.push(effects.mutations);
        effects.answers.remove(0).1
    }

    /// Replays the groups from number `first` on.
    fn replay(&self, loader: &mut Loader, first: usize) {
        for (number, group) in (1..).zip(&self.groups).skip(first - 1) {
            loader.group(number, DAWN, group.clone()).unwrap();
        }
    }
}

#[test]
fn name_belongs_to_the_younger_of_two_queues() {
    let (mut engine, mut life) = (engine(), Life::default());
    life.apply(&mut engine, enqueue("a", job("", None))).unwrap();
    life.apply(&mut engine, delete("a")).unwrap();
    life.apply(&mut engine, enqueue("a", job("", None))).unwrap();
    let younger = engine.ledger().queue_record(engine.ledger().last_queue()).unwrap();
    let mut loader = loader();
    loader.queue(younger, 3);
    life.replay(&mut loader, 1);
    let reloaded = loader.finish(DAWN).unwrap();
    assert_eq!(reloaded.status(&name("a"), DAWN), engine.status(&name("a"), DAWN).map(without_rates));
}

#[test]
fn record_of_a_queue_from_before_it_was_deleted_leaves_no_name_and_no_key() {
    let (mut engine, mut life) = (engine(), Life::default());
    life.apply(&mut engine, enqueue("a", job("", None))).unwrap();
    let older = engine.ledger().queue_record(QueueId(1)).unwrap();
    life.apply(&mut engine, delete("a")).unwrap();
    let forgotten = life.groups[1].last().unwrap().clone();
    assert_eq!(forgotten, Mutation::QueueForgotten { queue: QueueId(1) });
    let mut loader = loader();
    loader.queue(older, 1);
    loader.idempotency(IdempotencyRecord { queue: QueueId(1), hash: 7, job: JobId(1), time: DAWN.engine });
    loader.group(2, DAWN, [forgotten]).unwrap();
    let mut reloaded = loader.finish(DAWN).unwrap();
    assert!(reloaded.queue(&name("a")).is_none());
    assert_eq!(reloaded.ledger().last_queue(), QueueId(1));
    life.apply(&mut reloaded, enqueue("a", job("seven b", None))).unwrap();
    assert_eq!(reloaded.ledger().last_queue(), QueueId(2), "numbers are not given twice");
}

#[test]
fn keys_of_a_deleted_queue_are_forgotten_though_its_record_includes_that() {
    let (mut engine, mut life) = (engine(), Life::default());
    let config = EngineConfig { max_idempotency_keys: 1, ..EngineConfig::default() };
    life.apply(&mut engine, enqueue("a", job("k", None))).unwrap();
    life.apply(&mut engine, enqueue("b", job("", None))).unwrap();
    life.apply(&mut engine, delete("a")).unwrap();
    let mut record = QueueRecord { deleted: true, ..queue_record(&life) };
    record.id = QueueId(1);
    let mut loader = Loader::new(config);
    loader.queue(record, 3);
    life.replay(&mut loader, 1);
    let mut reloaded = loader.finish(DAWN).unwrap();
    let answer = life.apply(&mut reloaded, enqueue("b", job("k", None)));
    assert!(matches!(answer, Ok(Outcome::Enqueued(_))), "{answer:?}");
}

#[test]
fn jobs_of_a_queue_of_which_nothing_is_left_are_passed_over() {
    let (mut engine, mut life) = (engine(), Life::default());
    life.apply(&mut engine, enqueue("a", job("", None))).unwrap();
    life.apply(&mut engine, enqueue("a", job("k", Some("batch")))).unwrap();
    life.apply(&mut engine, delete("a")).unwrap();
    let mut loader = loader();
    loader.last_queue(QueueId(1));
    life.replay(&mut loader, 2);
    let reloaded = loader.finish(DAWN).unwrap();
    assert_eq!(reloaded.ledger().serial(), engine.ledger().serial());
    assert_eq!(reloaded.ledger().queue_ids().count(), 0);
    let mut unknown = Loader::new(EngineConfig::default());
    assert!(unknown.group(2, DAWN, life.groups[1].clone()).is_err(), "nobody gave it a number");
}

#[test]
fn batch_that_was_forgotten_and_began_again_keeps_its_later_jobs() {
    let (mut engine, mut life) = (engine(), Life::default());
    life.apply(&mut engine, enqueue("a", job("", None))).unwrap();
    let batch = BatchName::new("batch").unwrap();
    let first = JobId(engine.ledger().serial() + 1);
    life.apply(&mut engine, enqueue("a", job("", Some("batch")))).unwrap();
    let purge = Sweep { queue: name("a"), states: StateSet::ALL, jobs: vec![first] };
    life.apply(&mut engine, Command::Purge(purge)).unwrap();
    let forgotten = Mutation::BatchesForgotten { queue: QueueId(1), batches: vec![batch.clone()] };
    life.groups.push(vec![forgotten]);
    let second = JobId(engine.ledger().serial() + 1);
    life.apply(&mut engine, enqueue("a", job("", Some("batch")))).unwrap();
    let mut loader = loader();
    loader.queue(engine.ledger().queue_record(QueueId(1)).unwrap(), 5);
    loader.job(engine.ledger().record(second).unwrap(), 5).unwrap();
    life.replay(&mut loader, 1);
    let reloaded = loader.finish(DAWN).unwrap();
    let counts = reloaded.batch(&name("a"), &batch).unwrap().counts;
    assert_eq!((counts.get(JobState::Ready), counts.sum()), (1, 1));
}

#[test]
fn job_at_rest_still_says_when_its_time_to_live_passes() {
    let (mut engine, mut life) = (engine(), Life::default());
    life.apply(&mut engine, enqueue("a", JobSpec { ttl: Some(Span::from_secs(9)), ..job("", None) }))
        .unwrap();
    let id = JobId(engine.ledger().serial());
    let request = RequestKey { id: 1, content: 1 };
    life.apply(&mut engine, Command::Drain(Drain { queue: name("a"), request, max_jobs: 1 })).unwrap();
    let before = engine.job(id, DAWN).unwrap().expire_time;
    engine.release_details(&[id]);
    assert!(before.is_some());
    assert_eq!(engine.job(id, DAWN).unwrap().expire_time, before);
}

fn queue_record(life: &Life) -> QueueRecord {
    let mut loader = loader();
    loader.group(1, DAWN, life.groups[0].clone()).unwrap();
    loader.finish(DAWN).unwrap().ledger().queue_record(QueueId(1)).unwrap()
}

fn without_rates(status: QueueStatus) -> QueueStatus {
    QueueStatus { rates: QueueRates::default(), time_to_empty: None, ..status }
}

#[test]
fn records_of_a_queue_that_is_not_there_are_refused() {
    let mut loader = loader();
    let request = RequestKey { id: 7, content: 1 };
    loader.drain(DrainRecord { request, queue: QueueId(5), time: DAWN.engine, jobs: Vec::new() }, 1);
    let Err(error) = loader.finish(DAWN) else { panic!("it was accepted") };
    assert_eq!(error.to_string(), "a drained set is of queue 5, which is unknown");
}
