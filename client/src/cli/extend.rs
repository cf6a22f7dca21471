//! `sluice extend`.

use std::time::Duration;

use clap::Args;

use super::{
    Session,
    ack::first_error,
    argument::{LeaseName, lease, span},
    error::CliError,
    view::SettledView,
};
use crate::{proto, span_to_proto};

/// Let leases end later, or sooner. Safe to repeat. Exits with the first refused item's error.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sluice extend 42:1 --lease-duration 5m")]
pub(super) struct Extend {
    /// The leases, as `sluice lease` prints them.
    #[arg(required = true, value_parser = lease, value_name = "JOB_ID:LEASE_TOKEN")]
    leases: Vec<LeaseName>,
    /// How long from now, 1s to 12h. Default: the queue's lease.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    lease_duration: Option<Duration>,
}

impl Extend {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let extension = |lease: LeaseName| proto::LeaseExtension {
            job_id: lease.job_id,
            lease_token: lease.lease_token,
            lease_duration: self.lease_duration.map(span_to_proto),
        };
        let leases = self.leases.into_iter().map(extension).collect();
        let results = session.client.extend_lease(proto::ExtendLeaseRequest { leases }).await?.results;
        let first =
            results.iter().find_map(|result| result.error.clone().map(|e| (result.job_id.clone(), e)));
        let views: Vec<_> = results.into_iter().map(SettledView::from).collect();
        session.output.many(&views)?;
        first_error(first)
    }
}
