//! Bugs built in on purpose, one at a time, so that tests can show that their harnesses find them. `SLUICE_PLANTED` says
//! which, and only to `sluiced-planted`: any other server is built without a single one.

use sluice_engine::Mutation;

/// What is wrong with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// It answers before the disk has what it says.
    EarlyAnswer,
    /// A sync of the log that failed counts as one that did not.
    FailedSync,
    /// sled syncs as it likes: by `sync_file_range`.
    NoSyncFilter,
    /// A frame's body is believed without its crc.
    NoFrameCrc,
    /// The disk never counts as full.
    NoReserve,
    /// A restart does not know what went through limits.
    ForgottenDebts,
}

/// Whether the server has this bug.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn has(_: Bug) -> bool {
    false
}

/// Whether the server has this bug.
#[cfg(feature = "planted-bugs")]
pub(crate) fn has(bug: Bug) -> bool {
    static PLANTED: std::sync::OnceLock<Bug> = std::sync::OnceLock::new();
    bug == *PLANTED.get_or_init(|| match std::env::var("SLUICE_PLANTED").as_deref() {
        Ok("failed-sync") => Bug::FailedSync,
        Ok("no-sync-filter") => Bug::NoSyncFilter,
        Ok("no-frame-crc") => Bug::NoFrameCrc,
        Ok("no-reserve") => Bug::NoReserve,
        Ok("forgotten-debts") => Bug::ForgottenDebts,
        Ok("early-answer") | Err(_) => Bug::EarlyAnswer,
        // Without a bug a harness would pass for blind.
        Ok(other) => panic!("there is no bug {other:?}"),
    })
}

/// What a start takes of a group of the log.
pub(crate) fn taken(mut mutations: Vec<Mutation>) -> Vec<Mutation> {
    if has(Bug::ForgottenDebts) {
        mutations
            .retain(|mutation| !matches!(mutation, Mutation::Charged { .. } | Mutation::NodeState { .. }));
    }
    mutations
}
