//! Bugs that are planted, each of which the simulation must find: the proof that it would.

use sluice_engine::Mutation;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    // The disk.
    /// Syncs of data do nothing.
    SyncIsLeftOut,
    // The store.
    /// A write or sync that failed is taken for a good one.
    GoesOnAfterFailedSync,
    /// What a kind of event says is not written.
    EnqueuesAreNotWritten,
    LeasesAreNotWritten,
    AcksAreNotWritten,
    ReturnsAreNotWritten,
    ExtensionsAreNotWritten,
    ChargesAreNotWritten,
    SettingsAreNotWritten,
    RequestsAreNotWritten,
    /// A segment goes without what only it says of limits.
    NodesAreNotRestated,
    /// A segment goes without its requests and idempotency keys.
    RequestsDoNotMoveHome,
    /// Records claim to include a group more than they do.
    RecordsClaimTooMuch,
    // What clients are told.
    /// A delivery that nobody took does not come back.
    VanishedKeepTheirJobs,
    /// A call is done twice.
    CallsAreDoneTwice,
    /// Engine time runs too fast.
    TimeRunsTooFast,
    /// Engine time stands still for a while after a restart.
    TimeStandsStill,
    /// A job that was acked is delivered.
    AcksAreForgotten,
    /// Jobs of an answer come in another order.
    OrderIsTurned,
    /// An answer tells of other jobs than those that came in.
    WrongIdsAreTold,
    /// A payload is another job's.
    PayloadsAreMixedUp,
}

impl Bug {
    pub(super) const ALL: [Bug; 21] = [
        Bug::SyncIsLeftOut,
        Bug::GoesOnAfterFailedSync,
        Bug::EnqueuesAreNotWritten,
        Bug::LeasesAreNotWritten,
        Bug::AcksAreNotWritten,
        Bug::ReturnsAreNotWritten,
        Bug::ExtensionsAreNotWritten,
        Bug::ChargesAreNotWritten,
        Bug::SettingsAreNotWritten,
        Bug::RequestsAreNotWritten,
        Bug::NodesAreNotRestated,
        Bug::RequestsDoNotMoveHome,
        Bug::RecordsClaimTooMuch,
        Bug::VanishedKeepTheirJobs,
        Bug::CallsAreDoneTwice,
        Bug::TimeRunsTooFast,
        Bug::TimeStandsStill,
        Bug::AcksAreForgotten,
        Bug::OrderIsTurned,
        Bug::WrongIdsAreTold,
        Bug::PayloadsAreMixedUp,
    ];

    /// What is written of a group.
    pub(super) fn spoil(self, mutations: &[Mutation]) -> Vec<Mutation> {
        let is_written = |mutation: &&Mutation| {
            !matches!(
                (self, mutation),
                (Bug::EnqueuesAreNotWritten, Mutation::Enqueued { .. })
                    | (Bug::LeasesAreNotWritten, Mutation::Leased { .. })
                    | (Bug::AcksAreNotWritten, Mutation::Acked { .. })
                    | (Bug::ReturnsAreNotWritten, Mutation::Returned { .. })
                    | (Bug::ExtensionsAreNotWritten, Mutation::Extended { .. })
                    | (Bug::ChargesAreNotWritten, Mutation::Charged { .. })
                    | (Bug::SettingsAreNotWritten, Mutation::QueuePut { .. })
                    | (Bug::RequestsAreNotWritten, Mutation::Requested { .. })
            )
        };
        mutations.iter().filter(is_written).cloned().collect()
    }
}
