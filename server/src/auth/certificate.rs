//! What a client's certificate calls its owner.

use std::sync::Arc;

/// The names in a certificate that was checked: its subject alternative names of the kinds DNS and URI. In
/// each request's extensions when the connection has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate(Arc<[Box<str>]>);

/// Names that are looked at: a certificate may hold any number.
const MAX_NAMES: usize = 16;

impl ClientCertificate {
    /// A certificate with these names.
    #[must_use]
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> ClientCertificate {
        ClientCertificate(names.take(MAX_NAMES).map(Box::from).collect())
    }

    /// The names in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }
}
