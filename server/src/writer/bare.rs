//! The writer without thread and clock: whoever drives it says what comes when. For tests and simulations.

use std::sync::Arc;
use std::time::Duration;

use sluice_engine::{Engine, Now, Ticket};

use super::handle::Shared;
use super::mailbox::{Inbox, MailboxLimit, mailbox};
use super::message::Message;
use super::step::{Step, Wake};
use crate::store::{Store, StoreError};

/// See the module.
pub(crate) struct Bare {
    step: Step,
    inbox: Inbox,
    shared: Arc<Shared>,
}

impl Bare {
    pub(crate) fn new(engine: Engine, store: Box<dyn Store>) -> Bare {
        let (mailbox, inbox) = mailbox(MailboxLimit::default());
        let shared = Arc::new(Shared::new(mailbox));
        Bare { step: Step::new(engine, store, shared.clone()), inbox, shared }
    }

    /// A ticket for the next call.
    pub(crate) fn ticket(&self) -> Ticket {
        self.shared.ticket()
    }

    /// Does `group`, and what came into the mailbox meanwhile.
    pub(crate) fn step(&mut self, mut group: Vec<Message>, now: Now) -> Result<Wake, StoreError> {
        self.inbox.take(&mut group, Duration::ZERO);
        self.step.step(group, now)
    }

    /// Ends in good order.
    pub(crate) fn close(&mut self, now: Now) -> Result<(), StoreError> {
        self.step.close(now)
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.step.engine()
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.step.store()
    }

    pub(super) fn watched_queues(&self) -> usize {
        self.step.watched_queues()
    }
}
