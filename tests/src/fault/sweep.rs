//! Goes through the calls of a script and has something happen at each: what comes of it, and what a restart finds.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;

use super::script::{self, Script};
use super::strace::{self, Action, Counts, Fault};
use super::{Told, clock};
use crate::{Setup, Sluiced, task};

/// What came of one fault.
#[derive(Debug)]
pub struct Case {
    /// The fault.
    pub fault: Fault,
    /// How the process took it.
    pub outcome: Outcome,
    /// Enqueues and leases that were refused because the disk was full.
    pub refused: usize,
    /// Jobs that were acknowledged before.
    pub acknowledged: usize,
    /// What is wrong: with how it ended, with the store by `sluiced check`, with what a restart shows.
    pub wrong: Vec<String>,
}

/// How a process took a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call did not come so often.
    NotReached,
    /// It ended.
    Ended {
        /// Its exit code; none after a signal.
        code: Option<i32>,
        /// How long after the call.
        after: Duration,
        /// What it logged last.
        last_words: String,
    },
    /// It went on, and the script went to its end.
    WentOn,
}

/// How soon after an error a process must be gone, if it does not go on.
const SOON: Duration = Duration::from_secs(1);
/// How long `strace` may take to note how a process ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has it happen at each of about `budget` calls; tells `see` of each.
pub async fn go_through(
    script: Script,
    action: Action,
    budget: usize,
    mut see: impl FnMut(&Case),
) -> Vec<Case> {
    let counts = counts(script).await;
    let mut cases = Vec::new();
    for fault in faults(&counts, action, budget) {
        let case = try_one(Script::setup(), script, fault).await;
        see(&case);
        cases.push(case);
    }
    cases
}

/// How often the calls of the script come.
pub async fn counts(script: Script) -> Counts {
    let mut server = Script::setup().at_rest();
    let log = log_of(&server);
    server.run_under(strace::noting(&log));
    server.start().await;
    let process = server.pid();
    let ended = script.run(&server).await;
    assert!(ended.failed.is_none(), "the script goes to its end when nothing happens: {:?}", ended.failed);
    server.stop().await;
    until_noted(&log, process).await;
    let counts = strace::counts(&log);
    assert!(counts.contains_key(&("rename", strace::Place::Log)), "segments retire: {counts:?}");
    counts
}

/// About `budget` faults, spread over all calls: each call at its first time, at its last, and evenly between.
#[must_use]
pub fn faults(counts: &Counts, action: Action, budget: usize) -> Vec<Fault> {
    let share = budget.div_ceil(counts.len());
    let at = |((call, place), count): (&(&'static str, strace::Place), &usize)| {
        let (call, place, count) = (*call, *place, *count);
        let times = share.min(count);
        (0..times).map(move |n| {
            let nth = if times == 1 { count.div_ceil(2) } else { 1 + n * (count - 1) / (times - 1) };
            Fault { call, place, nth, action }
        })
    };
    counts.iter().flat_map(at).collect()
}

/// Has it happen to a new server, restarts, judges.
pub async fn try_one(setup: Setup, script: Script, fault: Fault) -> Case {
    let server = &mut setup.at_rest();
    let log = log_of(server);
    let mut case =
        Case { fault, outcome: Outcome::NotReached, refused: 0, acknowledged: 0, wrong: Vec::new() };
    server.run_under(fault.command(&server.data(), &log));
    let mut told = Told::default();
    let is_up = server.try_start().await;
    let process = server.pid();
    let mut is_over = !is_up;
    if !is_over {
        let ended = script.run(server).await;
        (told, case.refused) = (ended.told, ended.refused);
        is_over = ended.failed.is_some() || !server.is_running();
        case.acknowledged = told.acknowledged();
    }
    if is_over {
        let status = server.stopped().await;
        until_noted(&log, process).await;
        let after = fault.happened(&log);
        let last_words = server.log().lines().last().unwrap_or_default().to_owned();
        case.outcome = Outcome::Ended { code: status.code(), after: after.unwrap_or_default(), last_words };
        if after.is_none() {
            case.wrong.push("it ended, and nothing had happened".to_owned());
        }
    } else {
        server.kill().await;
        until_noted(&log, process).await;
        if fault.action != Action::Kill && fault.happened(&log).is_some() {
            case.outcome = Outcome::WentOn;
        }
    }
    case.judge_end(&server.log());
    case.judge_store(server, &told).await;
    case
}

impl Case {
    /// Who ends over an error says so, with a code, at once.
    fn judge_end(&mut self, log: &str) {
        if self.fault.action == Action::Kill {
            return;
        }
        if self.outcome == Outcome::WentOn && self.fault.is_fatal() {
            self.wrong.push("it went on".to_owned());
        }
        let Outcome::Ended { code, after, .. } = self.outcome.clone() else { return };
        if code.is_none_or(|code| code == 0) {
            self.wrong.push(format!("it ended with {code:?}"));
        }
        if after > SOON {
            self.wrong.push(format!("it ended after {after:?}"));
        }
        let is_broken = self.fault.action == Action::BrokenDisk;
        let why = if is_broken { "Input/output error" } else { "No space left on device" };
        let says =
            |line: &str| line.contains(why) && (line.contains("ERROR") || line.starts_with("sluiced: "));
        if !log.lines().any(says) {
            let last = log.lines().rev().take(5).collect::<Vec<_>>().join("\n");
            self.wrong.push(format!("it does not say why it ended: {last}"));
        }
    }

    /// By `sluiced check`, and by what a restart shows.
    async fn judge_store(&mut self, server: &mut Sluiced, told: &Told) {
        let checked = task::check(&server.data()).await;
        // Whoever was told of nothing may find no store.
        if checked.code != 0 && !(checked.code == 2 && self.acknowledged == 0) {
            self.wrong.push(format!("check: {}{}", checked.stdout, checked.stderr));
        }
        server.run_under(Vec::new());
        if !server.try_start().await {
            self.wrong.push(format!("it does not start again: {}", server.log()));
            let _ = server.stopped().await;
            return;
        }
        let shown = script::shown(server).await;
        self.wrong.extend(told.judge(&shown, clock::now()));
        // What is left is still a queue.
        let queue = server.queue("afterwards");
        queue.enqueue(crate::spec::jobs("after", 3)).await;
        if queue.finish(3).await.len() != 3 {
            self.wrong.push("it does not deliver any more".to_owned());
        }
        server.kill().await;
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { call, place, nth, action } = self.fault;
        write!(f, "{action:?} at {call} {place:?} {nth}: ")?;
        match &self.outcome {
            Outcome::NotReached => write!(f, "not reached")?,
            Outcome::WentOn => write!(f, "went on")?,
            Outcome::Ended { code: None, .. } => write!(f, "killed")?,
            Outcome::Ended { code: Some(code), after, last_words } => {
                write!(f, "ended with {code} after {after:.1?}: {last_words}")?;
            }
        }
        write!(f, "; {} acknowledged, {} refused", self.acknowledged, self.refused)?;
        self.wrong.iter().try_for_each(|wrong| write!(f, "\n    WRONG: {wrong}"))
    }
}

fn log_of(server: &Sluiced) -> PathBuf {
    server.data().with_file_name("strace")
}

/// `strace` outlives what it watches by a moment.
async fn until_noted(log: &Path, process: Pid) {
    let end = format!("{} ", process.as_raw_nonzero());
    let noted = async {
        loop {
            let text = tokio::fs::read_to_string(log).await.unwrap_or_default();
            if text.lines().any(|line| line.starts_with(&end) && line.contains(" +++ ")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, noted).await.expect("strace notes how a process ends");
}
