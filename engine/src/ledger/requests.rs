//! Requests that were answered, so that a repeated one gets the first answer again.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::bound::{MAX_REQUEST_IDS, REQUEST_ID_WINDOW};
use crate::command::RequestKey;
use crate::ledger::RequestRecord;
use crate::outcome::Enqueued;
use crate::time::Timestamp;

/// The window of answered requests.
#[derive(Default)]
pub(crate) struct Requests {
    answers: HashMap<u128, (u64, Enqueued)>,
    by_time: VecDeque<(Timestamp, u128)>,
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Never seen, or too long ago.
    No,
    /// This was its answer.
    Answered(Enqueued),
    /// Its id came before with other content.
    Reused,
}

impl Requests {
    pub(crate) fn look_up(&self, request: RequestKey) -> Known {
        match self.answers.get(&request.id) {
            None => Known::No,
            Some((content, answer)) if *content == request.content => Known::Answered(answer.clone()),
            Some(_) => Known::Reused,
        }
    }

    /// Remembers an answer; a replay may bring one that is known.
    pub(crate) fn insert(&mut self, record: RequestRecord) {
        let RequestRecord { request, answer, time } = record;
        if self.answers.insert(request.id, (request.content, answer)).is_none() {
            self.by_time.push_back((time, request.id));
        }
        if self.by_time.len() > MAX_REQUEST_IDS {
            self.drop_oldest();
        }
    }

    /// Forgets what the window has passed.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        while let Some((time, _)) = self.by_time.front() {
            if now.since(*time) < REQUEST_ID_WINDOW {
                break;
            }
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, id)) = self.by_time.pop_front() {
            self.answers.remove(&id);
        }
    }
}
