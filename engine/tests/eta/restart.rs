//! What is known of when a job runs follows from the facts: a restart knows it too.

use sluice_engine::*;

use crate::chance::Chance;
use crate::driver::{Driver, queue};
use crate::load::{Load, rate, rule};

fn enqueue(driver: &mut Driver, jobs: Vec<JobSpec>) {
    let enqueue = Enqueue { queue: queue(), jobs, request: None, batch_totals: Vec::new(), wait: Span::ZERO };
    driver.done(Command::Enqueue(enqueue));
}

fn lease(driver: &mut Driver, max_jobs: u32) -> usize {
    let lease = Lease {
        queue: queue(),
        max_jobs,
        max_bytes: usize::MAX,
        lease_duration: None,
        wait: Span::ZERO,
        worker: "w".into(),
    };
    let Outcome::Leased(leased) = driver.done(Command::Lease(lease)) else { unreachable!() };
    leased.jobs.len()
}

/// What is before a job, and not before when it goes.
fn known(engine: &Engine, id: JobId, now: Now) -> (Vec<Ahead>, WallTime) {
    let explained = engine.explain(id, now).unwrap();
    // How fast workers are is not known yet after a start, and with it how much siblings take meanwhile.
    let ahead = explained.ahead.into_iter().map(|ahead| Ahead { before: 0, ..ahead }).collect();
    (ahead, explained.job.eta.unwrap().earliest)
}

#[test]
fn what_is_before_a_job_is_known_after_a_restart() {
    let load = Load { depth: 3, keys: 50, priorities: &[2, 4, 7], ..Load::default() };
    let mut chance = Chance::new(7);
    let mut driver = Driver::at(1_000);
    driver.put(QueuePatch {
        node: Some(rate(30, 1, 5)),
        key_rules: Some(vec![rule("*", rate(10, 1, 3)), rule("*/*/*", rate(20, 60, 3))]),
        // How long a job has waited for its priority is known only roughly after a start.
        priority_ageing: Some(Span::ZERO),
        ..QueuePatch::default()
    });
    enqueue(&mut driver, (0..1_000).map(|_| load.job(&mut chance)).collect());
    assert_eq!(lease(&mut driver, 100), 5);
    driver.pass(Span::from_secs(2));
    assert!(lease(&mut driver, 100) >= 5);

    let mut loader = Loader::new(EngineConfig::default());
    for (number, (now, mutations)) in (1..).zip(&driver.groups) {
        loader.group(number, *now, mutations.clone()).unwrap();
    }
    let again = loader.finish(driver.now).unwrap();
    let mut compared = 0;
    for id in (1..=1_000).map(JobId) {
        if driver.engine.job(id, driver.now).unwrap().state == JobState::Ready {
            let (before, earliest) = known(&driver.engine, id, driver.now);
            let (after, still) = known(&again, id, driver.now);
            assert_eq!((before.len(), &before), (4, &after), "{id}");
            assert!(earliest.since(still).0.max(still.since(earliest).0) <= 1, "{id}");
            compared += 1;
        }
    }
    assert!(compared > 900, "{compared}");
}
