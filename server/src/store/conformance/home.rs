//! That jobs really move home, into the tree of their state, and leave it again.

use std::collections::BTreeMap;

use sluice_engine::{
    Command, DeleteQueue, JobId, JobSpec, JobState, Lease, Nack, NackReason, Outcome, PutQueue, QueuePatch,
    Span, StateSet, Sweep,
};

use super::picture::Picture;
use super::rig::{Rig, Subject, all_jobs};
use super::workload::{Workload, enqueue, queue};
use crate::store::home::Home;

fn rows(subject: &Subject) -> BTreeMap<&'static str, usize> {
    let home = Home::open(&subject.dir().join("sled")).unwrap();
    let states = ["ready", "scheduled", "retry", "dead", "done"];
    let others = ["body", "drain", "queue", "request", "batch", "idempotency", "meta"];
    states.into_iter().chain(others).map(|tree| (tree, home.rows(tree))).collect()
}

/// Whether a job is RETRYING for so long that it moves soon.
fn waits_long(rig: &Rig) -> bool {
    let states = [JobState::Retrying].into_iter().collect();
    let page = rig.engine.jobs(&all_jobs(states), JobId(0), 10_000, rig.now);
    page.jobs.iter().any(|view| view.run_time > Some(rig.now.wall + Span::from_secs(100)))
}

#[test]
fn what_outlives_the_log_lives_in_the_tree_of_its_state() {
    let subject = Subject::durable();
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let mut work = Workload::new(31);
    work.run(&mut rig, 500);
    while !waits_long(&rig) {
        work.run(&mut rig, 10);
    }
    rig.settle();
    let picture = Picture::take(&rig, &work.sets);
    rig.stop(true);
    let rows = rows(&subject);
    for (tree, rows) in &rows {
        assert!(*rows > 0, "nothing in {tree}");
    }
    let dead = picture.jobs.values().filter(|(view, _)| view.state == JobState::Dead).count();
    assert!(rows["dead"] >= dead, "the dead move soon: {} of {dead}", rows["dead"]);
}

#[test]
fn details_of_jobs_at_rest_are_let_go_and_still_told() {
    let subject = Subject::durable();
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let mut work = Workload::new(35);
    work.run(&mut rig, 300);
    let before = Picture::take(&rig, &work.sets);
    rig.settle();
    let states: StateSet = [JobState::Dead].into_iter().collect();
    let page = rig.engine.jobs(&all_jobs(states), JobId(0), 1_000, rig.now);
    assert!(!page.jobs.is_empty());
    assert!(page.jobs.iter().all(|view| view.detail_at_rest), "all dead jobs are at rest");
    Picture::take(&rig, &work.sets).assert_is(&before, "at rest");
}

#[test]
fn jobs_that_are_gone_leave_nothing_at_home() {
    let subject = Subject::durable();
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let mut work = Workload::new(33);
    work.run(&mut rig, 400);
    rig.settle();
    let patch = QueuePatch {
        retention: Some(Span::from_secs(1)),
        dead_retention: Some(Span::from_secs(1)),
        ..QueuePatch::default()
    };
    let purge = |rig: &mut Rig, name: &str| {
        let jobs = rig.find(&queue(name), StateSet::ALL, 100_000);
        rig.apply(Command::Purge(Sweep { queue: queue(name), states: StateSet::ALL, jobs })).unwrap();
    };
    let names: Vec<_> = rig.engine.queues(None, 100).into_iter().map(|view| view.name).collect();
    for name in &names {
        let put = PutQueue { name: name.clone(), patch: patch.clone(), version: None };
        rig.apply(Command::PutQueue(put)).unwrap();
        purge(&mut rig, name);
    }
    rig.pass(Span::from_secs(100 * 3_600));
    rig.wake();
    names.iter().for_each(|name| purge(&mut rig, name));
    // Batches are remembered a moment longer than their last job.
    rig.pass(Span::from_secs(5));
    for _ in 0..20 {
        rig.wake();
    }
    // Segments move when the log is over its budget: bring it there, with what is gone at once.
    for _ in 0..60 {
        let jobs = vec![JobSpec { payload: vec![7; 9_000].into(), ..JobSpec::default() }; 3];
        rig.apply(enqueue("alpha", jobs)).unwrap();
        purge(&mut rig, "alpha");
        rig.settle_quickly();
    }
    rig.settle();
    assert!(Picture::take(&rig, &[]).jobs.is_empty());
    rig.stop(true);
    let mut rows = rows(&subject);
    assert_eq!((rows.remove("queue"), rows.remove("meta")), (Some(names.len()), Some(1)));
    assert!(rows.values().all(|rows| *rows == 0), "{rows:?}");
}

#[test]
fn log_is_brought_back_under_its_budget() {
    let subject = Subject::durable();
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let mut work = Workload::new(34);
    work.run(&mut rig, 700);
    rig.settle();
    let logs = std::fs::read_dir(subject.dir().join("log")).unwrap().count();
    // Two of 128 KiB hold the budget; one is made ahead, two are kept for a next life.
    assert!(logs <= 6, "{logs} files");
}

#[test]
fn dead_job_that_moved_alone_finds_its_queue_again() {
    let subject = Subject::durable();
    let mut rig = subject.start(Rig::dawn()).unwrap();
    rig.apply(enqueue("alpha", vec![JobSpec::default(); 2])).unwrap();
    let lease = Lease {
        queue: queue("alpha"),
        max_jobs: 1,
        max_bytes: 1_000,
        lease_duration: None,
        wait: Span::ZERO,
        worker: "w".into(),
    };
    let Ok(Outcome::Leased(leased)) = rig.apply(Command::Lease(lease)) else { panic!("no job") };
    let (id, token) = (leased.jobs[0].job.id, leased.jobs[0].token);
    let nack = Nack {
        id,
        token,
        reason: NackReason::Rejected,
        error: None,
        retry_after: None,
        scope: None,
        actual_cost: None,
    };
    rig.apply(Command::Nack(vec![nack])).unwrap();
    let before = Picture::take(&rig, &[]);
    rig.settle();
    let now = rig.stop(false);
    assert_eq!(rows(&subject)["dead"], 1);
    let rig = subject.start(now).unwrap();
    Picture::take(&rig, &[]).assert_is(&before, "after a restart");
}

#[test]
fn queue_that_came_and_went_within_the_log_is_no_riddle_while_its_segments_go() {
    let subject = Subject::durable();
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let large = || vec![JobSpec { payload: vec![7; 9_000].into(), ..JobSpec::default() }; 3];
    // The younger of two: else the other's record would tell that its number was given.
    rig.apply(enqueue("alpha", vec![JobSpec::default()])).unwrap();
    for _ in 0..12 {
        rig.apply(enqueue("omega", large())).unwrap();
    }
    rig.apply(Command::DeleteQueue(DeleteQueue { name: queue("omega"), force: true })).unwrap();
    let given = rig.engine.ledger().last_queue();
    // Its segments go one by one, the one that says that it is gone last.
    for round in 0..25 {
        rig.apply(enqueue("alpha", large())).unwrap();
        rig.settle_quickly();
        let before = Picture::take(&rig, &[]);
        let now = rig.stop(false);
        rig = subject.start(now).unwrap();
        Picture::take(&rig, &[]).assert_is(&before, &format!("round {round}"));
        assert!(rig.engine.ledger().last_queue() >= given, "numbers are not given twice");
    }
}
