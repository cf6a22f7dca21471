//! Takes answers to those who wait for them.
//!
//! Each answer wakes a task. Woken one by one from the writer's thread, each would be run as soon as it is
//! woken, and its connection would write it by itself; and the writer would pay for every wake. So a
//! group's answers travel as one, and are handed out where the tasks run.

use sluice_engine::{Answer, Refusal};
use tokio::runtime::Handle as Runtime;
use tokio::sync::oneshot;

use super::delivery::Delivery;

/// An answer and who waits for it.
pub(super) enum Addressed {
    Call(oneshot::Sender<Answer>, Answer),
    Lease(oneshot::Sender<Result<Delivery, Refusal>>, Result<Delivery, Refusal>),
}

/// The way to those who wait.
pub(super) struct Post {
    /// None: whoever drives the writer is no runtime, and answers are handed out at once.
    runtime: Option<Runtime>,
}

impl Post {
    /// To those who wait on the runtime this is called on, if it is one.
    pub(super) fn here() -> Post {
        Post { runtime: Runtime::try_current().ok() }
    }

    pub(super) fn send(&self, answers: Vec<Addressed>) {
        match &self.runtime {
            Some(runtime) if answers.len() > 1 => {
                runtime.spawn(async { hand_out(answers) });
            }
            _ => hand_out(answers),
        }
    }
}

fn hand_out(answers: Vec<Addressed>) {
    for answer in answers {
        match answer {
            // Who has gone meanwhile misses an answer, and no more.
            Addressed::Call(reply, answer) => drop(reply.send(answer)),
            // Who has gone drops the delivery, which sends the jobs back.
            Addressed::Lease(reply, delivery) => drop(reply.send(delivery)),
        }
    }
}
