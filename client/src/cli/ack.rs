//! `sluice ack`.

use bytes::Bytes;
use clap::Args;

use super::{
    Session,
    argument::{LeaseName, lease},
    error::CliError,
    view::SettledView,
};
use crate::{Error, proto};

/// Mark leased jobs as done. Safe to repeat. Exits with the first refused item's error.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sluice ack 42:1 43:1 --result delivered")]
pub(super) struct Ack {
    /// The leases, as `sluice lease` prints them.
    #[arg(required = true, value_parser = lease, value_name = "JOB_ID:LEASE_TOKEN")]
    leases: Vec<LeaseName>,
    /// What came of them, for whoever reads the jobs; at most 64 KiB. Default: nothing.
    #[arg(long, value_name = "TEXT")]
    result: Option<String>,
    /// What each of them cost in the end, where limits count cost: 0 to 1,000,000,000. Default: what it reserved.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000_000))]
    actual_cost: Option<u32>,
}

impl Ack {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let result = self.result.map(Bytes::from);
        let ack = |lease: LeaseName| proto::Ack {
            job_id: lease.job_id,
            lease_token: lease.lease_token,
            result: result.clone(),
            actual_cost: self.actual_cost,
        };
        let acks = self.leases.into_iter().map(ack).collect();
        let results = session.client.ack(proto::AckRequest { acks }).await?.results;
        let first =
            results.iter().find_map(|result| result.error.clone().map(|e| (result.job_id.clone(), e)));
        let views: Vec<_> = results.into_iter().map(SettledView::from).collect();
        session.output.many(&views)?;
        first_error(first)
    }
}

/// A command with many items ends as its first refused one did.
pub(super) fn first_error(first: Option<(String, proto::ItemError)>) -> Result<(), CliError> {
    match first {
        Some((job_id, error)) => Err(CliError::About(format!("job {job_id}"), Error::from(error))),
        None => Ok(()),
    }
}
