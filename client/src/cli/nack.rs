//! `sluice nack`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{
    Session,
    ack::first_error,
    argument::{LeaseName, lease, span},
    error::CliError,
    view::SettledView,
};
use crate::{proto, span_to_proto};

/// Give leased jobs back. Safe to repeat. Exits with the first refused item's error.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sluice nack 42:1 --reason throttled --retry-after 30s")]
pub(super) struct Nack {
    /// The leases, as `sluice lease` prints them.
    #[arg(required = true, value_parser = lease, value_name = "JOB_ID:LEASE_TOKEN")]
    leases: Vec<LeaseName>,
    /// Why.
    #[arg(long, value_enum, default_value = "failed")]
    reason: Reason,
    /// What went wrong, for people; cut to 4 KiB. Default: nothing.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    error: String,
    /// A word for this kind of error, such as http_500. Default: none.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "WORD")]
    error_code: String,
    /// Not before this much from now; with failed and throttled. Default: the back-off; when throttled 1s, and
    /// 2s, 4s, 8s, 16s when that is said again within a minute.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    retry_after: Option<Duration>,
    /// With throttled: which node it was too much for, by segments of the key: 0 the queue, 1 the first segment, and
    /// so on; or the name of the shared limit that the queue hangs under. Default: the key.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "SEGMENTS|LIMIT")]
    throttle_scope: String,
    /// What each of them cost in the end, where limits count cost: 0 to 1,000,000,000. Default: what it reserved.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000_000))]
    actual_cost: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Reason {
    /// Spends an attempt and backs off, or is dead when none is left.
    Failed,
    /// The downstream said slow down: spends no attempt.
    Throttled,
    /// Will never succeed: dead now.
    Rejected,
    /// Given back untouched.
    Released,
}

impl Nack {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let reason = match self.reason {
            Reason::Failed => proto::NackReason::Failed,
            Reason::Throttled => proto::NackReason::Throttled,
            Reason::Rejected => proto::NackReason::Rejected,
            Reason::Released => proto::NackReason::Released,
        };
        let nack = |lease: LeaseName| proto::Nack {
            job_id: lease.job_id,
            lease_token: lease.lease_token,
            reason: reason.into(),
            error: self.error.clone(),
            error_code: self.error_code.clone(),
            retry_after: self.retry_after.map(span_to_proto),
            throttle_scope: self.throttle_scope.clone(),
            actual_cost: self.actual_cost,
        };
        let nacks = self.leases.into_iter().map(nack).collect();
        let results = session.client.nack(proto::NackRequest { nacks }).await?.results;
        let first =
            results.iter().find_map(|result| result.error.clone().map(|e| (result.job_id.clone(), e)));
        let views: Vec<_> = results.into_iter().map(SettledView::from).collect();
        session.output.many(&views)?;
        first_error(first)
    }
}
