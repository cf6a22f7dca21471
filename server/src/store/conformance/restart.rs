//! What must be true of every store.

use sluice_engine::{Answer, Command, JobId, JobSpec, JobState, Lease, Outcome, Span};

use super::picture::Picture;
use super::rig::{Rig, Subject};
use super::workload::{Workload, enqueue, probe, queue};
use crate::store::Failure;

/// Each test once for each store.
macro_rules! every_store {
    ($($test:ident)*) => {
        mod memory {
            $(#[test] fn $test() { super::$test(&super::Subject::memory()) })*
        }
        mod durable {
            $(#[test] fn $test() { super::$test(&super::Subject::durable()) })*
        }
    };
}

every_store! {
    empty_store_loads_as_an_empty_engine
    what_was_committed_is_loaded_again
    restarts_at_any_time_change_nothing_that_can_be_seen
    upkeep_at_any_time_changes_nothing_that_can_be_seen
    idempotency_keys_are_remembered_through_restarts
    repeated_request_gets_its_first_answer_after_restarts
    bodies_are_read_through_places_taken_before_a_job_ended
}

fn empty_store_loads_as_an_empty_engine(subject: &Subject) {
    let rig = subject.start(Rig::dawn()).unwrap();
    assert_eq!(Picture::take(&rig, &[]), Picture::default());
    let now = rig.stop(true);
    let rig = subject.start(now).unwrap();
    assert_eq!(Picture::take(&rig, &[]), Picture::default());
}

fn what_was_committed_is_loaded_again(subject: &Subject) {
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let mut work = Workload::new(1);
    work.run(&mut rig, 400);
    for is_clean in [true, false] {
        let before = Picture::take(&rig, &work.sets);
        assert!(before.jobs.len() > 100, "there is something to lose");
        let now = rig.stop(is_clean);
        rig = subject.start(now).unwrap();
        Picture::take(&rig, &work.sets).assert_is(&before, "after a restart");
    }
}

fn restarts_at_any_time_change_nothing_that_can_be_seen(subject: &Subject) {
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let mut work = Workload::new(3);
    for round in 0..12 {
        work.run(&mut rig, 50);
        // Something is left half way.
        rig.settle_quickly();
        let before = Picture::take(&rig, &work.sets);
        let now = rig.stop(round % 2 == 0);
        rig = subject.start(now).unwrap();
        Picture::take(&rig, &work.sets).assert_is(&before, &format!("round {round}"));
    }
}

fn upkeep_at_any_time_changes_nothing_that_can_be_seen(subject: &Subject) {
    let reference = Subject::memory();
    let mut expected = reference.start(Rig::dawn()).unwrap();
    let mut expected_work = Workload::new(4);
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let mut work = Workload::new(4);
    for round in 0..60 {
        expected_work.run(&mut expected, 10);
        for _ in 0..10 {
            work.run(&mut rig, 1);
            rig.keep_up();
        }
        if round % 10 == 9 {
            let when = format!("round {round}");
            Picture::take(&rig, &work.sets).assert_is(&Picture::take(&expected, &expected_work.sets), &when);
        }
    }
    rig.settle();
    let settled = Picture::take(&rig, &work.sets);
    settled.assert_is(&Picture::take(&expected, &expected_work.sets), "settled");
    let now = rig.stop(false);
    let rig = subject.start(now).unwrap();
    Picture::take(&rig, &work.sets).assert_is(&settled, "after a restart");
}

fn idempotency_keys_are_remembered_through_restarts(subject: &Subject) {
    let reference = Subject::memory();
    let mut expected = reference.start(Rig::dawn()).unwrap();
    Workload::new(7).run(&mut expected, 600);
    let mut rig = subject.start(Rig::dawn()).unwrap();
    Workload::new(7).run(&mut rig, 600);
    for is_clean in [false, true] {
        rig.settle();
        let now = rig.stop(is_clean);
        rig = subject.start(now).unwrap();
        let answers = probe(&mut rig);
        assert_eq!(answers, probe(&mut expected));
        let known = answers.iter().flatten().filter_map(|outcome| match outcome {
            Outcome::Enqueued(enqueued) => enqueued.besides.as_ref().map(|besides| besides.duplicates.len()),
            _ => None,
        });
        assert!(known.sum::<usize>() > 10, "there is something to remember");
    }
}

fn repeated_request_gets_its_first_answer_after_restarts(subject: &Subject) {
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let mut work = Workload::new(5);
    work.run(&mut rig, 500);
    for is_clean in [false, true] {
        rig.settle();
        let now = rig.stop(is_clean);
        rig = subject.start(now).unwrap();
        assert!(work.repeatable.len() > 20);
        for (enqueue, outcome) in &work.repeatable {
            assert_eq!(rig.apply(Command::Enqueue(enqueue.clone())), Ok(outcome.clone()));
        }
    }
}

fn bodies_are_read_through_places_taken_before_a_job_ended(subject: &Subject) {
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let job = JobSpec { payload: "the body".into(), ..JobSpec::default() };
    let Ok(Outcome::Enqueued(enqueued)) = rig.apply(enqueue("q", vec![job])) else { panic!() };
    let place = rig.store.locate(&[enqueued.first])[0].clone().unwrap();
    let leased = lease_one(&mut rig);
    let Ok(Outcome::Leased(leased)) = leased else { panic!() };
    let ack = sluice_engine::Ack {
        id: enqueued.first,
        token: leased.jobs[0].token,
        result: None,
        actual_cost: None,
    };
    rig.apply(Command::Ack(vec![ack])).unwrap();
    // Enough after it that its segment would go.
    Workload::new(6).run(&mut rig, 300);
    rig.settle();
    assert_eq!(rig.store.reader().read(&[place]).unwrap()[0].payload.as_deref(), Some(&b"the body"[..]));
}

fn lease_one(rig: &mut Rig) -> Answer {
    rig.apply(Command::Lease(Lease {
        queue: queue("q"),
        max_jobs: 1,
        max_bytes: 1_000,
        lease_duration: None,
        wait: Span::ZERO,
        worker: "w".into(),
    }))
}

#[test]
fn failed_commit_is_there_whole_or_not_at_all() {
    for kept in [false, true] {
        let Subject::Memory(memory) = Subject::memory() else { unreachable!() };
        let subject = Subject::Memory(memory.clone());
        let mut rig = subject.start(Rig::dawn()).unwrap();
        memory.fail(Failure { commit: 1, kept });
        let mut effects = sluice_engine::Effects::default();
        let command = enqueue("q", vec![JobSpec::default(); 3]);
        rig.engine.apply(sluice_engine::Ticket(9), command, rig.now, &mut effects);
        assert!(rig.store.commit(rig.now, &effects.mutations).is_err());
        let rig = subject.start(rig.now).unwrap();
        let jobs = Picture::take(&rig, &[]).jobs;
        assert_eq!(jobs.len(), if kept { 3 } else { 0 });
        assert!(jobs.values().all(|(view, _)| view.state == JobState::Ready && view.id > JobId(0)));
    }
}
