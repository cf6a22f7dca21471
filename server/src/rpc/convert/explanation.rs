//! When a job will run, and why it does not now, in words.

use sluice_engine::{Ahead, Block, BlockKind, Eta, Explanation, JobState, JobView, Reason, WallTime};
use sluice_proto::v1;

use super::gate::{any_gate, node_name};
use super::job::job;
use super::time::timestamp;
use crate::store::Body;

/// Why a job stands where it does, at a time. `body` is none when that is gone.
pub(in crate::rpc) fn explanation(
    explanation: Explanation,
    body: Option<Body>,
    now: WallTime,
) -> v1::ExplainJobResponse {
    let reason = reason(&explanation, now);
    v1::ExplainJobResponse {
        reason,
        gates: explanation.gates.iter().map(any_gate).collect(),
        ahead: explanation.ahead.iter().map(ahead).collect(),
        waiting_leases: explanation.waiting_leases,
        job: Some(job(explanation.job, body, false)),
    }
}

/// When something is expected.
pub(super) fn eta(eta: &Eta) -> v1::Eta {
    v1::Eta { earliest_time: Some(timestamp(eta.earliest)), latest_time: eta.latest.map(timestamp) }
}

fn ahead(ahead: &Ahead) -> v1::NodeAhead {
    v1::NodeAhead {
        node: ahead.key.to_string(),
        ready_jobs: ahead.ready,
        higher_jobs: ahead.higher,
        jobs_before: ahead.before,
        rivals: ahead.rivals,
    }
}

/// Why a job does not run.
fn reason(explanation: &Explanation, now: WallTime) -> String {
    let job = &explanation.job;
    match &explanation.reason {
        Reason::Scheduled => format!("it waits for its time{}", comes(job, now)),
        Reason::Retrying => format!("it came back, and waits for its next attempt{}", comes(job, now)),
        Reason::Paused => "the queue is paused".to_owned(),
        Reason::Closed { gate, before } => closed(gate, *before, now),
        Reason::NoWorker => "nobody is leasing from this queue".to_owned(),
        Reason::Turn { before, higher } => turn(*before, *higher),
        Reason::Next => "it is the next to go: no worker has asked for it yet".to_owned(),
        Reason::Leased { worker, since, cancel_requested } => leased(worker, *since, *cancel_requested),
        Reason::AtRest(state) => at_rest(*state).to_owned(),
    }
}

fn comes(job: &JobView, now: WallTime) -> String {
    job.run_time.map(|time| format!(": {} ({})", timestamp(time), wait(time, now))).unwrap_or_default()
}

fn closed(gate: &Block, before: u64, now: WallTime) -> String {
    let name = node_name(&gate.key, gate.limit.as_ref());
    let node = if gate.key.is_empty() { name } else { format!("its {name}") };
    let what = match gate.kind {
        BlockKind::Rate => format!("{node} is at its rate"),
        BlockKind::Quota => format!("the quota of {node} is used up"),
        BlockKind::InFlight => format!("as many jobs of {node} as may be are with workers"),
        BlockKind::Ordered => format!("the jobs of {node} go one by one, and another is not done"),
        BlockKind::Frozen => format!("{node} is frozen, because a worker said THROTTLED"),
        BlockKind::Breaker => format!("{node} is open, because what went through it failed"),
        BlockKind::Adapted => format!("{node} is at the rate that it learned"),
        BlockKind::Paused => format!("{node} is paused"),
    };
    let opens = gate.until.map(|time| format!(": it opens {}", wait(time, now))).unwrap_or_default();
    match before {
        0 => format!("{what}{opens}"),
        1 => format!("{what}{opens}, and another job goes before this one"),
        many => format!("{what}{opens}, and about {many} jobs go before this one"),
    }
}

fn turn(before: u64, higher: bool) -> String {
    let jobs = if before == 1 { "1 job goes".to_owned() } else { format!("about {before} jobs go") };
    let which = if higher { ", more urgent ones among them" } else { "" };
    format!("it waits for its turn: {jobs} before it{which}")
}

fn leased(worker: &str, since: Option<WallTime>, cancel_requested: bool) -> String {
    let who = if worker.is_empty() { "a worker".to_owned() } else { format!("worker {worker}") };
    let since = since.map(|time| format!(" since {}", timestamp(time))).unwrap_or_default();
    let cancelled = if cancel_requested { ", who is asked to give it up" } else { "" };
    format!("it is with {who}{since}{cancelled}")
}

fn at_rest(state: JobState) -> &'static str {
    match state {
        JobState::Completed => "it is done",
        JobState::Dead => "it is dead: out of attempts, or rejected by a worker",
        JobState::Cancelled => "it was cancelled",
        JobState::Expired => "its time to live passed",
        JobState::Dropped => "it made room for others in a full queue",
        JobState::Drained => "it was drained",
        JobState::Scheduled | JobState::Ready | JobState::Leased | JobState::Retrying => "it is under way",
    }
}

/// How long it is until a time, as people say it.
fn wait(time: WallTime, now: WallTime) -> String {
    let tenths = time.since(now).0 / 100_000_000;
    let (minutes, hours) = (tenths / 600, tenths / 36_000);
    match tenths {
        0 => "at once".to_owned(),
        1..600 => format!("in {}.{} s", tenths / 10, tenths % 10),
        600..36_000 => format!("in {minutes} min {} s", tenths / 10 % 60),
        _ => format!("in {hours} h {} min", minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use sluice_engine::Key;

    use super::super::job::tests::view;
    use super::*;

    const NOW: WallTime = WallTime(1_700_000_000_000_000_000);

    fn after(millis: u64) -> WallTime {
        WallTime(NOW.0 + millis * 1_000_000)
    }

    fn said(state: JobState, reason: Reason) -> String {
        let job = JobView { run_time: Some(after(90_000)), ..view(7, state) };
        let explained = Explanation { job, reason, gates: Vec::new(), ahead: Vec::new(), waiting_leases: 0 };
        explanation(explained, None, NOW).reason
    }

    fn gate(key: &str, kind: BlockKind, until: Option<WallTime>) -> Block {
        Block { kind, key: Key::new(key.to_owned()).unwrap(), limit: None, until }
    }

    #[test]
    fn reason_is_one_sentence_that_says_what_matters() {
        let closed = |gate, before| said(JobState::Ready, Reason::Closed { gate, before });
        let rate = gate("bot42/chat7", BlockKind::Rate, Some(after(2_140)));
        assert_eq!(closed(rate, 0), "its key bot42/chat7 is at its rate: it opens in 2.1 s");
        let full = gate("", BlockKind::InFlight, None);
        let expected =
            "as many jobs of the queue as may be are with workers, and about 3 jobs go before this one";
        assert_eq!(closed(full, 3), expected);
        let turn = Reason::Turn { before: 41, higher: false };
        assert_eq!(said(JobState::Ready, turn), "it waits for its turn: about 41 jobs go before it");
        let retrying = said(JobState::Retrying, Reason::Retrying);
        assert!(retrying.ends_with("next attempt: 2023-11-14T22:14:50Z (in 1 min 30 s)"), "{retrying}");
        let leased = Reason::Leased { worker: "w1".into(), since: Some(NOW), cancel_requested: false };
        assert_eq!(said(JobState::Leased, leased), "it is with worker w1 since 2023-11-14T22:13:20Z");
        assert_eq!(said(JobState::Completed, Reason::AtRest(JobState::Completed)), "it is done");
    }
}
