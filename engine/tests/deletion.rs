//! Queues that go while something happens in them.

#![allow(clippy::unwrap_used, reason = "a test")]

use sluice_engine::*;

#[test]
fn queue_may_go_in_the_step_in_which_a_job_of_it_becomes_ready() {
    let dawn = Now { engine: Timestamp(3_600_000_000_000), wall: WallTime(1_700_000_000_000_000_000) };
    let queue = QueueName::new("a").unwrap();
    let mut engine = Engine::new(EngineConfig::default());
    let job = JobSpec { start: Start::After(Span::from_secs(1)), ..JobSpec::default() };
    let enqueue = Enqueue {
        queue: queue.clone(),
        jobs: vec![job],
        request: None,
        batch_totals: Vec::new(),
        wait: Span::ZERO,
    };
    let mut effects = Effects::default();
    engine.apply(Ticket(1), Command::Enqueue(enqueue), dawn, &mut effects);
    engine.wake(dawn, &mut effects);
    let later = Now { engine: dawn.engine + Span::from_secs(2), wall: dawn.wall + Span::from_secs(2) };
    let delete = DeleteQueue { name: queue.clone(), force: true };
    let mut effects = Effects::default();
    engine.apply(Ticket(2), Command::DeleteQueue(delete), later, &mut effects);
    engine.wake(later, &mut effects);
    assert!(engine.queue(&queue).is_none());
    // Whoever tells of this step looks up which queue it was.
    let deleted = effects.mutations.iter().find_map(|mutation| match mutation {
        Mutation::QueueDeleted { queue } => Some(*queue),
        _ => None,
    });
    assert_eq!(engine.queue_name(deleted.unwrap()), Some(&queue));
    engine.wake(later, &mut effects);
    assert!(matches!(effects.mutations.last(), Some(Mutation::QueueForgotten { .. })));
    assert_eq!(engine.queue_name(deleted.unwrap()), None);
}
