//! Why a job does not run, as it is printed.

use serde::Serialize;

use super::{JobView, limit::GateView};
use crate::{
    cli::output::Show,
    proto::{ExplainJobResponse, NodeAhead},
};

#[derive(Debug, Serialize)]
pub(in crate::cli) struct ExplanationView {
    reason: String,
    job: JobView,
    gates: Vec<GateView>,
    ahead: Vec<AheadView>,
    waiting_leases: u64,
}

/// What is before a job at a node.
#[derive(Debug, Serialize)]
struct AheadView {
    node: String,
    ready_jobs: u64,
    higher_jobs: u64,
    jobs_before: u64,
    rivals: u64,
}

impl From<NodeAhead> for AheadView {
    fn from(ahead: NodeAhead) -> AheadView {
        AheadView {
            node: ahead.node,
            ready_jobs: ahead.ready_jobs,
            higher_jobs: ahead.higher_jobs,
            jobs_before: ahead.jobs_before,
            rivals: ahead.rivals,
        }
    }
}

impl AheadView {
    fn cell(&self) -> String {
        let node = if self.node.is_empty() { "the queue" } else { &self.node };
        format!(
            "{node}: about {} before it ({} more urgent), {} ready, {} take turns with it",
            self.jobs_before, self.higher_jobs, self.ready_jobs, self.rivals
        )
    }
}

impl From<ExplainJobResponse> for ExplanationView {
    fn from(explained: ExplainJobResponse) -> ExplanationView {
        ExplanationView {
            reason: explained.reason,
            job: explained.job.unwrap_or_default().into(),
            gates: explained.gates.into_iter().map(GateView::from).collect(),
            ahead: explained.ahead.into_iter().map(AheadView::from).collect(),
            waiting_leases: explained.waiting_leases,
        }
    }
}

impl Show for ExplanationView {
    const HEADER: &'static [&'static str] =
        &["JOB", "QUEUE", "KEY", "STATE", "WHY", "POSITION", "EXPECTED", "GATES", "AHEAD", "WAITING-WORKERS"];

    fn row(&self) -> Vec<String> {
        let gates: Vec<_> = self.gates.iter().map(GateView::line).collect();
        let ahead: Vec<_> = self.ahead.iter().map(AheadView::cell).collect();
        let mut row = self.job.summary();
        row.extend([
            self.reason.clone(),
            self.job.position(),
            self.job.expected(),
            gates.join("; "),
            ahead.join("; "),
            self.waiting_leases.to_string(),
        ]);
        row
    }
}
