//! Ends the process while a deleted queue goes from home with all that it held.

use std::env;
use std::path::Path;

use sluice_engine::{Command, DeleteQueue, JobSpec, Span, Start};

use super::crash::{AT, DIR, EndAt, end_child};
use super::picture::Picture;
use super::rig::{Rig, Subject};
use super::workload::{enqueue, queue};

const CHILD: &str = "store::conformance::deletion::child";
/// What `alpha` holds from before the queue is deleted.
const JOBS_BEFORE: usize = 45;

/// A queue of which jobs are at home is deleted, and the segment that says so moves. Steps count from there on.
fn live(dir: &Path, at: String) {
    let steps = EndAt::unarmed(at);
    let subject = Subject::at(&dir.join("store"), Some(steps.clone()));
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let rests = JobSpec { start: Start::After(Span::from_secs(3_000)), ..JobSpec::default() };
    rig.apply(enqueue("omega", vec![rests; 20])).unwrap();
    fill(&mut rig);
    steps.arm();
    rig.apply(Command::DeleteQueue(DeleteQueue { name: queue("omega"), force: true })).unwrap();
    fill(&mut rig);
    steps.note(dir);
}

/// Brings the log over its budget, so that what happened before moves.
fn fill(rig: &mut Rig) {
    for _ in 0..JOBS_BEFORE / 3 {
        let job = JobSpec { payload: vec![7; 9_000].into(), ..JobSpec::default() };
        rig.apply(enqueue("alpha", vec![job; 3])).unwrap();
    }
    rig.settle();
}

/// Not a test: what [`end_child`] starts.
#[test]
#[ignore = "started by the tests of this module"]
fn child() {
    if let (Ok(dir), Ok(at)) = (env::var(DIR), env::var(AT)) {
        live(Path::new(&dir), at);
    }
}

#[test]
fn crash_while_a_deleted_queue_goes_leaves_nothing_of_it_and_all_of_the_others() {
    let whole = tempfile::tempdir().unwrap();
    assert!(!end_child(CHILD, whole.path(), "never"));
    let steps = std::fs::read_to_string(whole.path().join("steps")).unwrap();
    let mut reached = 0;
    for line in steps.lines() {
        let (step, count) = line.split_once(' ').unwrap();
        if !["Written", "Removed", "QueuesRemoved", "Noted"].contains(&step) {
            continue;
        }
        for number in 1..=count.parse().unwrap() {
            let (dir, end) = (tempfile::tempdir().unwrap(), format!("{step}:{number}"));
            reached += usize::from(end_child(CHILD, dir.path(), &end));
            assert_gone(&Subject::at(&dir.path().join("store"), None), &end);
        }
    }
    assert!(reached >= 8, "only {reached} crashes: {steps}");
}

fn assert_gone(subject: &Subject, end: &str) {
    for when in ["at once", "moved"] {
        let when = format!("after {end}, {when}");
        let mut rig = subject.start(Rig::dawn()).unwrap_or_else(|error| panic!("{when}: {error}"));
        rig.wake();
        let names: Vec<_> = rig.engine.queues(None, 10).into_iter().map(|view| view.name).collect();
        assert_eq!(names, [queue("alpha")], "{when}");
        let jobs = Picture::take(&rig, &[]).jobs;
        assert!(jobs.values().all(|(view, _)| view.queue == queue("alpha")), "{when}");
        assert!(jobs.len() >= JOBS_BEFORE, "{when}");
        rig.settle();
        rig.stop(false);
    }
}
