//! How a batch stands, as it is printed.

use serde::Serialize;

use super::{batch_state, eta::EtaView, status::CountsView};
use crate::{cli::output::Show, proto::GetBatchResponse};

#[derive(Debug, Serialize)]
pub(in crate::cli) struct BatchView {
    queue: String,
    batch_id: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_jobs: Option<u64>,
    jobs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    eta: Option<EtaView>,
    counts: CountsView,
}

impl BatchView {
    pub(in crate::cli) fn new(queue: &str, batch_id: &str, batch: &GetBatchResponse) -> BatchView {
        BatchView {
            queue: queue.to_owned(),
            batch_id: batch_id.to_owned(),
            state: batch_state(batch.state),
            total_jobs: batch.total_jobs,
            jobs: batch.jobs,
            eta: batch.eta.map(EtaView::from),
            counts: batch.counts.unwrap_or_default().into(),
        }
    }
}

impl Show for BatchView {
    const HEADER: &'static [&'static str] = &[
        "BATCH",
        "QUEUE",
        "STATE",
        "JOBS",
        "TOTAL",
        "WAITING",
        "LEASED",
        "COMPLETED",
        "DEAD",
        "CANCELLED",
        "EXPIRED",
        "DROPPED",
        "DRAINED",
        "EXPECTED",
    ];

    fn row(&self) -> Vec<String> {
        let counts = &self.counts;
        let mut row = vec![self.batch_id.clone(), self.queue.clone(), self.state.clone()];
        row.push(self.jobs.to_string());
        row.push(self.total_jobs.map(|total| total.to_string()).unwrap_or_default());
        let waiting = counts.ready + counts.scheduled + counts.retrying;
        let each = [
            waiting,
            counts.leased,
            counts.completed,
            counts.dead,
            counts.cancelled,
            counts.expired,
            counts.dropped,
            counts.drained,
        ];
        row.extend(each.map(|count| count.to_string()));
        row.push(self.eta.as_ref().map(EtaView::cell).unwrap_or_default());
        row
    }
}
