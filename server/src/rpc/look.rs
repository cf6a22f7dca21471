//! Lists by name, of which callers see what they may read.

use sluice_engine::{Engine, LimitView, Now, QueueName, QueueView};

use super::right::READ;
use super::status::Failure;
use crate::auth::Access;
use crate::writer::Handle;

/// Entries of one look when the caller may not read all: the writer does it in well under a millisecond.
const ENTRIES_PER_LOOK: usize = 256;

/// A look for one page.
pub(super) struct Look<'a> {
    pub(super) access: &'a Access,
    /// By name after this one.
    pub(super) after: Option<QueueName>,
    pub(super) limit: usize,
}

impl Look<'_> {
    /// What there is for the page, and one more at least when there is a next page. Bounded by the call's
    /// deadline.
    pub(super) async fn all<T: Named>(
        self,
        handle: &Handle,
        read: impl Fn(&Engine, Option<&str>, usize, Now) -> Vec<T> + Copy + Send + 'static,
    ) -> Result<Vec<T>, Failure> {
        let Look { access, mut after, limit } = self;
        let mut shown = Vec::new();
        loop {
            let wanted = limit + 1 - shown.len();
            let most = if access.may_everywhere(READ) { wanted } else { wanted.max(ENTRIES_PER_LOOK) };
            let from = after.take();
            let found = handle.read(move |engine, now| read(engine, from.as_deref(), most, now)).await?;
            let is_last = found.len() < most;
            after = found.last().map(|entry| entry.name().clone());
            shown.extend(found.into_iter().filter(|entry| access.may(READ, entry.name())));
            if is_last || shown.len() > limit {
                return Ok(shown);
            }
        }
    }
}

/// An entry of a list.
pub(super) trait Named: Send + 'static {
    /// What it is called.
    fn name(&self) -> &QueueName;
}

impl Named for QueueView {
    fn name(&self) -> &QueueName {
        &self.name
    }
}

impl Named for LimitView {
    fn name(&self) -> &QueueName {
        &self.name
    }
}
