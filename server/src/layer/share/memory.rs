//! Memory that a handler needs for its answer. An answer is written when its caller reads, which may be never: so what
//! it is made of is the caller's to hold before it is read from disk.

use std::sync::Arc;

use http::Extensions;

use super::Share;
use crate::rpc::status::Failure;

/// What a call's answer may be made of: in the request's extensions.
#[derive(Clone)]
pub(crate) struct Memory(Option<Arc<Share>>);

impl Memory {
    pub(super) fn of_share(share: &Arc<Share>) -> Memory {
        Memory(Some(Arc::clone(share)))
    }

    /// That of a call; one that has no share is not bounded.
    pub(crate) fn of(extensions: &Extensions) -> Memory {
        extensions.get::<Memory>().cloned().unwrap_or(Memory(None))
    }

    /// The answer is made of so many bytes from now on, and no more of those from before.
    ///
    /// # Errors
    /// When the caller's share has no room for them.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), Failure> {
        match &self.0 {
            Some(share) if !share.make_of(bytes) => {
                share.make_of(0);
                Err(Failure::AnswerNotTaken)
            }
            _ => Ok(()),
        }
    }
}
