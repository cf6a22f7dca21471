//! Who calls, and what they may do.
//!
//! Knows the file of identities, tokens and rights. Knows no rpc: which right a call needs, `rpc::right` says.

mod access;
mod certificate;
mod file;
mod identity;
mod right;
mod token;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

pub(crate) use access::Credential;
pub use access::{Access, Ended};
pub use certificate::ClientCertificate;
pub use file::AuthFileError;
pub use identity::{Identities, Identity};
pub use right::{Right, Rights};
pub use token::{Token, TokenHash};

/// All who may call, as they are now: cheap to clone, and changed for all clones at once.
#[derive(Clone, Debug)]
pub struct Auth {
    /// None: nobody is asked who they are, and everybody may do everything.
    identities: Option<Arc<watch::Sender<Arc<Identities>>>>,
}

impl Auth {
    /// Nobody is asked.
    #[must_use]
    pub fn open() -> Auth {
        Auth { identities: None }
    }

    /// Only these may call.
    #[must_use]
    pub fn of(identities: Identities) -> Auth {
        Auth { identities: Some(Arc::new(watch::Sender::new(Arc::new(identities)))) }
    }

    /// Only those may call whom a file names.
    ///
    /// # Errors
    /// When the file cannot be read or is wrong.
    pub fn load(path: &Path) -> Result<Auth, AuthFileError> {
        Identities::load(path).map(Auth::of)
    }

    /// From now on these may call, and no others. Nothing where nobody is asked.
    pub fn replace(&self, identities: Identities) {
        if let Some(all) = &self.identities {
            all.send_replace(Arc::new(identities));
        }
    }

    /// Whether nobody is asked who they are.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.identities.is_none()
    }

    /// What the owner of a credential may do; none: it is nobody's.
    pub(crate) fn access(&self, credential: Credential) -> Option<Access> {
        let Some(all) = &self.identities else { return Some(Access::open()) };
        let identity = credential.owner(&all.borrow())?;
        Some(Access::known(identity, credential, Arc::clone(all)))
    }
}
