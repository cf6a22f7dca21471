//! Ends the process at each step of moving home. The process is a real one, this test's own program
//! started once more, so that what was only in its memory is gone as after `kill -9`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::{env, process};

use sluice_engine::{Answer, Command, DeleteQueue, JobSpec, Now, Span, Start};

use super::picture::Picture;
use super::rig::{Rig, SPAWNING, Subject};
use super::workload::{Workload, enqueue, probe, queue};
use crate::os;
use crate::store::StoreError;
use crate::store::durable::{Step, Steps};

const DIR: &str = "SLUICE_TEST_CRASH_DIR";
const AT: &str = "SLUICE_TEST_CRASH_AT";
const LIFE: &str = "SLUICE_TEST_CRASH_LIFE";
const ENDED_AT_STEP: i32 = 86;
const ROUNDS: usize = 2;
const COMMANDS: usize = 260;
const SEED: u64 = 11;

/// Counts steps, and ends the process at one of them.
struct EndAt {
    /// As `Step:number`, the first being 1.
    at: String,
    /// Steps before this is set are not counted.
    is_armed: AtomicBool,
    seen: Mutex<BTreeMap<Step, usize>>,
}

/// What a child does.
#[derive(Clone, Copy)]
enum Life {
    /// Commands, then moving home, twice. It notes which round it is in.
    Rounds,
    /// A queue of which jobs are at home is deleted, and the segment that says so moves. Steps count from there on.
    Deletion,
}

impl Life {
    const ALL: [(&str, Life); 2] = [("rounds", Life::Rounds), ("deletion", Life::Deletion)];

    fn live(self, dir: &Path, at: String) {
        let is_armed = matches!(self, Life::Rounds).into();
        let steps = Arc::new(EndAt { at, is_armed, seen: Mutex::default() });
        let subject = Subject::at(&dir.join("store"), Some(steps.clone()));
        let mut rig = subject.start(Rig::dawn()).unwrap();
        match self {
            Life::Rounds => rounds(&mut rig, dir),
            Life::Deletion => deletion(&mut rig, &steps),
        }
        let seen = steps.seen.lock().unwrap().clone();
        let lines: String = seen.iter().map(|(step, count)| format!("{step:?} {count}\n")).collect();
        std::fs::write(dir.join("steps"), lines).unwrap();
    }
}

impl Steps for EndAt {
    fn reach(&self, step: Step) -> Result<(), StoreError> {
        if !self.is_armed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut seen = self.seen.lock().unwrap();
        let count = seen.entry(step).or_default();
        *count += 1;
        if self.at == format!("{step:?}:{count}") {
            os::exit_at_once(ENDED_AT_STEP);
        }
        Ok(())
    }
}

fn rounds(rig: &mut Rig, dir: &Path) {
    let mut work = Workload::new(SEED);
    for round in 0..ROUNDS {
        work.run(rig, COMMANDS);
        std::fs::write(dir.join("round"), round.to_string()).unwrap();
        rig.settle();
    }
}

fn deletion(rig: &mut Rig, steps: &EndAt) {
    let rests = JobSpec { start: Start::After(Span::from_secs(3_000)), ..JobSpec::default() };
    rig.apply(enqueue("omega", vec![rests; 20])).unwrap();
    fill(rig);
    steps.is_armed.store(true, Ordering::Release);
    let name = queue("omega");
    rig.apply(Command::DeleteQueue(DeleteQueue { name, force: true })).unwrap();
    fill(rig);
}

/// Brings the log over its budget, so that what happened before moves.
fn fill(rig: &mut Rig) {
    for _ in 0..15 {
        let job = JobSpec { payload: vec![7; 9_000].into(), ..JobSpec::default() };
        rig.apply(enqueue("alpha", vec![job; 3])).unwrap();
    }
    rig.settle();
}

/// Not a test: what [`end_child`] starts.
#[test]
#[ignore = "started by the tests of this module"]
fn child() {
    if let (Ok(dir), Ok(at), Ok(life)) = (env::var(DIR), env::var(AT), env::var(LIFE)) {
        let life = Life::ALL.into_iter().find(|(name, _)| *name == life).unwrap().1;
        life.live(Path::new(&dir), at);
    }
}

/// Runs a child that ends at a step; says whether it got there.
fn end_child(life: Life, dir: &Path, at: &str) -> bool {
    let name = Life::ALL[life as usize].0;
    let alone = SPAWNING.write().unwrap();
    let child = process::Command::new(env::current_exe().unwrap())
        .args(["--exact", "store::conformance::crash::child", "--ignored", "--nocapture"])
        .envs([(DIR, dir.as_os_str()), (AT, at.as_ref()), (LIFE, name.as_ref())])
        .stdout(process::Stdio::null())
        .stderr(process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(alone);
    let output = child.wait_with_output().unwrap();
    match output.status.code() {
        Some(ENDED_AT_STEP) => true,
        Some(0) => false,
        _ => panic!("{at}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// What must be seen after a round, at which time, and what must be answered then.
struct Expected {
    picture: Picture,
    now: Now,
    work: Workload,
    answers: Vec<Answer>,
}

impl Expected {
    fn after(round: usize) -> Expected {
        let mut rig = Subject::memory().start(Rig::dawn()).unwrap();
        let mut work = Workload::new(SEED);
        work.run(&mut rig, COMMANDS * (round + 1));
        let picture = Picture::take(&rig, &work.sets);
        let answers = probe(&mut rig);
        Expected { picture, now: rig.now, work, answers }
    }

    #[track_caller]
    fn assert_answers(&self, rig: &mut Rig, when: &str) {
        for (enqueue, outcome) in &self.work.repeatable {
            assert_eq!(rig.apply(Command::Enqueue(enqueue.clone())), Ok(outcome.clone()), "{when}");
        }
        assert_eq!(probe(rig), self.answers, "{when}");
    }
}

#[test]
fn crash_at_any_step_of_moving_home_loses_and_doubles_nothing() {
    let expected: Vec<Expected> = (0..ROUNDS).map(Expected::after).collect();
    let whole = tempfile::tempdir().unwrap();
    assert!(!end_child(Life::Rounds, whole.path(), "never"));
    let steps = std::fs::read_to_string(whole.path().join("steps")).unwrap();
    let mut ends = Vec::new();
    for line in steps.lines() {
        let (step, count) = line.split_once(' ').unwrap();
        let count: usize = count.parse().unwrap();
        let mut chosen = vec![1, count / 2, count];
        chosen.retain(|number| (1..=count).contains(number));
        chosen.sort_unstable();
        chosen.dedup();
        ends.extend(chosen.into_iter().map(|number| format!("{step}:{number}")));
    }
    let kinds = steps.lines().count();
    assert_eq!(kinds, 10, "every step was reached: {steps}");

    let mut reached = 0;
    for end in ends {
        let dir = tempfile::tempdir().unwrap();
        if !end_child(Life::Rounds, dir.path(), &end) {
            // How early moves fall together is a matter of time: this number of steps was not reached.
            continue;
        }
        reached += 1;
        let round: usize = std::fs::read_to_string(dir.path().join("round")).unwrap().parse().unwrap();
        let expected = &expected[round];
        let Expected { picture, now, work, .. } = expected;
        let sets = &work.sets;
        let subject = Subject::at(&dir.path().join("store"), None);
        let mut rig = subject.start(*now).unwrap_or_else(|error| panic!("after {end}: {error}"));
        Picture::take(&rig, sets).assert_is(picture, &format!("after {end}"));
        rig.settle();
        Picture::take(&rig, sets).assert_is(picture, &format!("after {end}, moved"));
        rig.stop(false);
        let mut rig = subject.start(*now).unwrap();
        Picture::take(&rig, sets).assert_is(picture, &format!("after {end}, moved, restarted"));
        expected.assert_answers(&mut rig, &format!("after {end}"));
    }
    assert!(reached >= 2 * kinds, "only {reached} crashes");
}

#[test]
fn crash_while_a_deleted_queue_goes_leaves_nothing_of_it_and_all_of_the_others() {
    let whole = tempfile::tempdir().unwrap();
    assert!(!end_child(Life::Deletion, whole.path(), "never"));
    let steps = std::fs::read_to_string(whole.path().join("steps")).unwrap();
    let mut reached = 0;
    for line in steps.lines() {
        let (step, count) = line.split_once(' ').unwrap();
        if !["Written", "Removed", "QueuesRemoved", "Noted"].contains(&step) {
            continue;
        }
        for number in 1..=count.parse().unwrap() {
            let (dir, end) = (tempfile::tempdir().unwrap(), format!("{step}:{number}"));
            reached += usize::from(end_child(Life::Deletion, dir.path(), &end));
            let subject = Subject::at(&dir.path().join("store"), None);
            for when in ["at once", "moved"] {
                let mut rig =
                    subject.start(Rig::dawn()).unwrap_or_else(|error| panic!("after {end}, {when}: {error}"));
                rig.wake();
                let names: Vec<_> = rig.engine.queues(None, 10).into_iter().map(|view| view.name).collect();
                assert_eq!(names, [queue("alpha")], "after {end}, {when}");
                let jobs = Picture::take(&rig, &[]).jobs;
                assert!(jobs.values().all(|(view, _)| view.queue == queue("alpha")), "after {end}, {when}");
                assert!(jobs.len() >= 45, "after {end}, {when}");
                rig.settle();
                rig.stop(false);
            }
        }
    }
    assert!(reached >= 8, "only {reached} crashes: {steps}");
}
