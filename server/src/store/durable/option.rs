//! How the store on disk is kept.

use std::sync::Arc;

use super::step::{Step, Steps};
use crate::os::Space;
use crate::store::StoreError;

/// How the store on disk is kept.
#[derive(Clone)]
pub struct DurableOptions {
    /// How large a segment of the log is.
    pub log_segment_bytes: u64,
    /// Bytes of the log at which its oldest jobs begin to move home; none: 1 GiB, or a tenth of the disk
    /// if that is less.
    pub log_budget_bytes: Option<u64>,
    /// Bytes that are kept written, to be given up when the disk is full; zero: none.
    pub ballast_bytes: u64,
    /// Free bytes below which enqueues are refused; none: 256 MiB, or a twentieth of the disk if that is less.
    pub refuse_enqueues_below_bytes: Option<u64>,
    /// Free bytes below which leases are refused too; none: a quarter of those.
    pub refuse_leases_below_bytes: Option<u64>,
    /// Bytes of sled's file from which on it is copied at a start, if it holds less than a third of that.
    pub compact_above_bytes: u64,
    /// Goes without the filter that makes sled sync for real (see `os::refuse_sync_file_range`): after a
    /// loss of power jobs may be missing.
    pub trust_sync_file_range: bool,
    /// For tests of crashes: called at each step of moving home and of compaction.
    pub(crate) steps: Option<Arc<dyn Steps>>,
}

const DEFAULT_BUDGET_BYTES: u64 = 1 << 30;
const DEFAULT_RESERVE_BYTES: u64 = 256 << 20;
/// Moving home takes closed segments only: below this there might be none.
const MIN_BUDGET_SEGMENTS: u64 = 2;

impl Default for DurableOptions {
    fn default() -> DurableOptions {
        DurableOptions {
            log_segment_bytes: 64 << 20,
            log_budget_bytes: None,
            ballast_bytes: 64 << 20,
            refuse_enqueues_below_bytes: None,
            refuse_leases_below_bytes: None,
            compact_above_bytes: 256 << 20,
            trust_sync_file_range: false,
            steps: None,
        }
    }
}

impl DurableOptions {
    pub(super) fn budget_bytes(&self, space: Space) -> u64 {
        let budget = self.log_budget_bytes.unwrap_or_else(|| DEFAULT_BUDGET_BYTES.min(space.total / 10));
        budget.max(self.log_segment_bytes.saturating_mul(MIN_BUDGET_SEGMENTS))
    }

    /// Free bytes below which enqueues, and below which leases are refused.
    pub(super) fn reserves(&self, space: Space) -> (u64, u64) {
        let enqueues =
            self.refuse_enqueues_below_bytes.unwrap_or_else(|| DEFAULT_RESERVE_BYTES.min(space.total / 20));
        let leases = self.refuse_leases_below_bytes.unwrap_or(enqueues / 4);
        (enqueues, leases.min(enqueues))
    }

    /// Tells a test where we are.
    ///
    /// # Errors
    /// What the test says: that it ends here.
    pub(super) fn reach(&self, step: Step) -> Result<(), StoreError> {
        self.steps.as_ref().map_or(Ok(()), |steps| steps.reach(step))
    }
}
