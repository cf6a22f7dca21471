//! Somebody who may call, and all of those.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_engine::is_like;

use super::{ClientCertificate, Rights, TokenHash};

/// Somebody who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: Arc<str>,
    grants: Box<[Grant]>,
}

/// What somebody may do to queues and limits whose names are like a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) pattern: Box<str>,
    pub(super) rights: Rights,
}

/// All who may call.
#[derive(Debug, Default)]
pub struct Identities {
    /// By a part of the hash, so that a call costs the same however many there are.
    by_token: HashMap<u64, Vec<(TokenHash, Arc<Identity>)>>,
    by_certificate: HashMap<Box<str>, Arc<Identity>>,
    count: usize,
}

impl Identity {
    pub(super) fn new(name: &str, grants: Vec<Grant>) -> Identity {
        Identity { name: name.into(), grants: grants.into() }
    }

    /// What it is called: in the log, and where rates and request ids are kept apart.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it has one of these rights on the queue or limit `name`.
    #[must_use]
    pub fn may(&self, any_of: Rights, name: &str) -> bool {
        self.grants.iter().any(|grant| grant.rights.meets(any_of) && is_like(&grant.pattern, name))
    }

    /// Whether it has one of these rights on anything.
    #[must_use]
    pub fn may_somewhere(&self, any_of: Rights) -> bool {
        self.grants.iter().any(|grant| grant.rights.meets(any_of))
    }

    /// Whether it has one of these rights on all that there is and will be.
    #[must_use]
    pub fn may_everywhere(&self, any_of: Rights) -> bool {
        self.grants.iter().any(|grant| grant.rights.meets(any_of) && &*grant.pattern == "*")
    }
}

impl Identities {
    /// Adds one; false when a token or the certificate's name is another's already.
    pub(super) fn add(
        &mut self,
        identity: Identity,
        tokens: &[TokenHash],
        certificate: Option<&str>,
    ) -> bool {
        let identity = Arc::new(identity);
        for token in tokens {
            let there = self.by_token.entry(token.place()).or_default();
            if there.iter().any(|(other, _)| other == token) {
                return false;
            }
            there.push((*token, Arc::clone(&identity)));
        }
        if let Some(name) = certificate
            && self.by_certificate.insert(name.into(), identity).is_some()
        {
            return false;
        }
        self.count += 1;
        true
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whose token it is.
    #[must_use]
    pub fn of_token(&self, token: &TokenHash) -> Option<Arc<Identity>> {
        let there = self.by_token.get(&token.place())?;
        there.iter().find(|(hash, _)| hash == token).map(|(_, identity)| Arc::clone(identity))
    }

    /// Whose certificate it is: by the first of its names that is somebody's.
    #[must_use]
    pub fn of_certificate(&self, certificate: &ClientCertificate) -> Option<Arc<Identity>> {
        certificate.names().find_map(|name| self.by_certificate.get(name)).cloned()
    }
}
