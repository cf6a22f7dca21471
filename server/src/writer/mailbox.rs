//! The way to the writer: bounded in calls and in bytes, and full at once rather than slow.
//!
//! What must not be lost (a caller has gone, a delivery goes back) is carried without a bound of its
//! own: there is at most one of each for a lease that was let in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::handle::CallError;
use super::message::Message;
use crate::bound::{DEFAULT_MAILBOX_BYTES, DEFAULT_MAILBOX_CALLS, GROUP_BYTES, GROUP_CALLS};

/// How much may wait for the writer.
#[derive(Clone, Copy, Debug)]
pub struct MailboxLimit {
    /// Calls.
    pub calls: usize,
    /// Bytes that they hold.
    pub bytes: usize,
}

/// The callers' end.
#[derive(Clone)]
pub(super) struct Mailbox {
    sender: mpsc::Sender<Envelope>,
    limit: MailboxLimit,
    load: Arc<Load>,
}

/// The writer's end.
pub(super) struct Inbox {
    receiver: mpsc::Receiver<Envelope>,
    load: Arc<Load>,
}

/// What was taken out of the mailbox in one go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Whether the writer is to stop after this group.
    pub(super) stop: bool,
}

struct Envelope {
    message: Message,
    /// What it counts; none for what is carried in any case.
    bytes: Option<usize>,
}

#[derive(Default)]
struct Load {
    calls: AtomicUsize,
    bytes: AtomicUsize,
}

/// Both ends of a mailbox.
pub(super) fn mailbox(limit: MailboxLimit) -> (Mailbox, Inbox) {
    let (sender, receiver) = mpsc::channel();
    let load = Arc::new(Load::default());
    (Mailbox { sender, limit, load: load.clone() }, Inbox { receiver, load })
}

impl Mailbox {
    /// Hands `message` over if there is room for it.
    pub(super) fn post(&self, message: Message, bytes: usize) -> Result<(), CallError> {
        let calls = self.load.calls.fetch_add(1, Ordering::Relaxed);
        let held = self.load.bytes.fetch_add(bytes, Ordering::Relaxed);
        // An empty mailbox takes anything: no setting can shut a request out for good.
        if calls >= self.limit.calls || (held > 0 && held + bytes > self.limit.bytes) {
            self.load.release(1, bytes);
            return Err(CallError::Overloaded);
        }
        self.sender.send(Envelope { message, bytes: Some(bytes) }).map_err(|_| CallError::Stopping)
    }

    /// Hands over what must not be lost. When the writer has stopped there is nobody to care.
    pub(super) fn post_always(&self, message: Message) {
        let _ = self.sender.send(Envelope { message, bytes: None });
    }
}

impl Inbox {
    /// Fills `group` with what has come, waiting for the first at most `wait`.
    pub(super) fn take(&self, group: &mut Vec<Message>, wait: Duration) -> Taken {
        let mut calls = 0;
        let mut bytes = 0;
        let mut stop = false;
        let mut next = match self.receiver.recv_timeout(wait) {
            Ok(envelope) => Some(envelope),
            Err(RecvTimeoutError::Timeout) => None,
            // Nobody is left who could ask for anything, not even for a stop.
            Err(RecvTimeoutError::Disconnected) => return Taken { stop: true },
        };
        while let Some(envelope) = next.take() {
            if let Some(held) = envelope.bytes {
                calls += 1;
                bytes += held;
            }
            if matches!(envelope.message, Message::Stop) {
                stop = true;
                break;
            }
            group.push(envelope.message);
            if group.len() < GROUP_CALLS && bytes < GROUP_BYTES {
                next = self.receiver.try_recv().ok();
            }
        }
        self.load.release(calls, bytes);
        Taken { stop }
    }
}

impl Load {
    fn release(&self, calls: usize, bytes: usize) {
        self.calls.fetch_sub(calls, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Default for MailboxLimit {
    fn default() -> MailboxLimit {
        MailboxLimit { calls: DEFAULT_MAILBOX_CALLS, bytes: DEFAULT_MAILBOX_BYTES }
    }
}

#[cfg(test)]
mod tests {
    use sluice_engine::Ticket;

    use super::*;

    fn abandon(ticket: u64) -> Message {
        Message::Abandon(Ticket(ticket))
    }

    fn take(inbox: &Inbox) -> Vec<Message> {
        let mut group = Vec::new();
        inbox.take(&mut group, Duration::ZERO);
        group
    }

    #[test]
    fn mailbox_full_of_calls_refuses_at_once_and_takes_again_when_emptied() {
        let (mailbox, inbox) = mailbox(MailboxLimit { calls: 2, bytes: 1_000 });
        assert_eq!(mailbox.post(abandon(1), 1), Ok(()));
        assert_eq!(mailbox.post(abandon(2), 1), Ok(()));
        assert_eq!(mailbox.post(abandon(3), 1), Err(CallError::Overloaded));
        assert_eq!(take(&inbox).len(), 2);
        assert_eq!(mailbox.post(abandon(3), 1), Ok(()));
    }

    #[test]
    fn mailbox_full_of_bytes_refuses_at_once() {
        let (mailbox, inbox) = mailbox(MailboxLimit { calls: 100, bytes: 1_000 });
        assert_eq!(mailbox.post(abandon(1), 600), Ok(()));
        assert_eq!(mailbox.post(abandon(2), 401), Err(CallError::Overloaded));
        assert_eq!(mailbox.post(abandon(3), 400), Ok(()));
        assert_eq!(take(&inbox).len(), 2);
        assert_eq!(mailbox.post(abandon(4), 5_000), Ok(()), "an empty mailbox takes anything");
    }

    #[test]
    fn full_mailbox_still_carries_what_must_not_be_lost() {
        let (mailbox, inbox) = mailbox(MailboxLimit { calls: 1, bytes: 1_000 });
        assert_eq!(mailbox.post(abandon(1), 1), Ok(()));
        mailbox.post_always(abandon(2));
        assert_eq!(take(&inbox).len(), 2);
    }

    #[test]
    fn group_closes_at_its_bytes() {
        let (mailbox, inbox) = mailbox(MailboxLimit { calls: 100, bytes: 10 * GROUP_BYTES });
        for ticket in 0..3 {
            assert_eq!(mailbox.post(abandon(ticket), GROUP_BYTES / 2), Ok(()));
        }
        assert_eq!(take(&inbox).len(), 2);
        assert_eq!(take(&inbox).len(), 1);
    }

    #[test]
    fn stop_ends_the_group() {
        let (mailbox, inbox) = mailbox(MailboxLimit::default());
        mailbox.post_always(abandon(1));
        mailbox.post_always(Message::Stop);
        mailbox.post_always(abandon(2));
        let mut group = Vec::new();
        assert_eq!(inbox.take(&mut group, Duration::ZERO), Taken { stop: true });
        assert_eq!(group.len(), 1);
    }
}
