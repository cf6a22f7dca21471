//! Ends the process at each step of moving home. The process is a real one, this test's own program
//! started once more, so that what was only in its memory is gone as after `kill -9`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use sluice_engine::{
    Answer, Command, JobSpec, Lease, NodeSettings, Now, PutQueue, QueuePatch, Span, Unit, Window, WindowKind,
};

use super::picture::Picture;
use super::rig::{Rig, SPAWNING, Subject};
use super::workload::{Workload, enqueue, probe, queue};
use crate::os;
use crate::store::StoreError;
use crate::store::durable::{Step, Steps};

pub(super) const DIR: &str = "SLUICE_TEST_CRASH_DIR";
pub(super) const AT: &str = "SLUICE_TEST_CRASH_AT";
const CHILD: &str = "store::conformance::crash::child";
const ENDED_AT_STEP: i32 = 86;
const ROUNDS: usize = 2;
const COMMANDS: usize = 260;
const SEED: u64 = 11;

/// Counts steps, and ends the process at one of them.
pub(super) struct EndAt {
    /// As `Step:number`, the first being 1.
    at: String,
    /// Steps before this is set are not counted.
    is_armed: AtomicBool,
    seen: Mutex<BTreeMap<Step, usize>>,
}

impl EndAt {
    pub(super) fn new(at: String) -> Arc<EndAt> {
        let steps = EndAt::unarmed(at);
        steps.arm();
        steps
    }

    /// Begins to count when it is told to.
    pub(super) fn unarmed(at: String) -> Arc<EndAt> {
        Arc::new(EndAt { at, is_armed: AtomicBool::new(false), seen: Mutex::default() })
    }

    pub(super) fn arm(&self) {
        self.is_armed.store(true, Ordering::Release);
    }

    /// Notes how often each step was reached.
    pub(super) fn note(&self, dir: &Path) {
        let seen = self.seen.lock().unwrap().clone();
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

/// What the child does: commands, then moving home, twice. It notes which round it is in.
fn live(dir: &Path, at: String) {
    let steps = EndAt::new(at);
    let subject = Subject::at(&dir.join("store"), Some(steps.clone()));
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let mut work = Workload::new(SEED);
    for round in 0..ROUNDS {
        work.run(&mut rig, COMMANDS);
        std::fs::write(dir.join("round"), round.to_string()).unwrap();
        rig.settle();
    }
    steps.note(dir);
}

/// Not a test: what [`end_child`] starts.
#[test]
#[ignore = "started by the tests of this module"]
fn child() {
    if let (Ok(dir), Ok(at)) = (std::env::var(DIR), std::env::var(AT)) {
        live(Path::new(&dir), at);
    }
}

/// Runs the test `child` in a process of its own, which ends at a step; says whether it got there.
pub(super) fn end_child(child: &str, dir: &Path, at: &str) -> bool {
    let alone = SPAWNING.write().unwrap();
    let child = process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--ignored", "--nocapture"])
        .envs([(DIR, dir.as_os_str()), (AT, at.as_ref())])
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
    assert!(!end_child(CHILD, whole.path(), "never"));
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
        if !end_child(CHILD, dir.path(), &end) {
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

/// Ends the work of the thread that moves jobs, at a step.
struct StopAt(Step);

impl Steps for StopAt {
    fn reach(&self, step: Step) -> Result<(), StoreError> {
        if step == self.0 { Err(StoreError::Unusable("stopped".to_owned())) } else { Ok(()) }
    }
}

/// From the note on a start reads the segment no more, and nothing but the log knows what went through limits.
#[test]
fn limits_keep_what_went_through_them_when_the_end_comes_right_after_the_note() {
    let dir = tempfile::tempdir().unwrap();
    let stopping = Subject::at(&dir.path().join("store"), Some(Arc::new(StopAt(Step::NotedSynced))));
    let mut rig = stopping.start(Rig::dawn()).unwrap();
    let window =
        Window { kind: WindowKind::Quota, amount: 5, period: Span::from_secs(86_400), unit: Unit::Jobs };
    let node = NodeSettings { windows: vec![window], ..NodeSettings::default() };
    let patch = QueuePatch { node: Some(node), ..QueuePatch::default() };
    rig.apply(Command::PutQueue(PutQueue { name: queue("alpha"), patch, version: None })).unwrap();
    rig.apply(enqueue("alpha", vec![JobSpec::default(); 10])).unwrap();
    rig.apply(lease("alpha")).unwrap();
    for _ in 0..12 {
        let payload = vec![7; 32 << 10].into();
        rig.apply(enqueue("beta", vec![JobSpec { payload, ..JobSpec::default() }])).unwrap();
    }
    let picture = Picture::take(&rig, &[]);
    assert_eq!(picture.nodes.len(), 1);
    while let Ok(upkeep) = rig.store.upkeep(rig.engine.ledger(), rig.now) {
        if !upkeep.mutations.is_empty() {
            rig.store.commit(rig.now, &upkeep.mutations).unwrap();
        }
        std::thread::yield_now();
    }
    let now = rig.stop(false);
    let rig = Subject::at(stopping.dir(), None).start(now).unwrap();
    Picture::take(&rig, &[]).assert_is(&picture, "after the note");
}

fn lease(name: &str) -> Command {
    Command::Lease(Lease {
        queue: queue(name),
        max_jobs: 10,
        max_bytes: usize::MAX,
        lease_duration: None,
        wait: Span::ZERO,
        worker: "w".into(),
    })
}
