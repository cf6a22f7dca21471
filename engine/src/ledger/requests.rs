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

    /// See [`crate::ledger::Ledger::requests_after`].
    pub(crate) fn after(&self, after: Option<Timestamp>, limit: usize) -> Vec<RequestRecord> {
        let from = after.map_or(0, |after| self.by_time.partition_point(|(time, _)| *time <= after));
        let mut records: Vec<RequestRecord> = Vec::new();
        for (time, id) in self.by_time.range(from..) {
            if records.len() >= limit && records.last().is_some_and(|last| last.time != *time) {
                break;
            }
            if let Some((content, answer)) = self.answers.get(id) {
                let request = RequestKey { id: *id, content: *content };
                records.push(RequestRecord { request, answer: answer.clone(), time: *time });
            }
        }
        records
    }

    fn drop_oldest(&mut self) {
        if let Some((_, id)) = self.by_time.pop_front() {
            self.answers.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JobId;

    #[test]
    fn requests_are_read_in_slices_that_miss_none() {
        let mut requests = Requests::default();
        let record = |id: u128, time: u64| RequestRecord {
            request: RequestKey { id, content: 1 },
            answer: Enqueued { first: JobId(1), count: 1, besides: None },
            time: Timestamp(time),
        };
        for (id, time) in [(9, 1), (3, 2), (7, 2), (1, 2), (4, 5)] {
            requests.insert(record(id, time));
        }
        let first = requests.after(None, 2);
        assert_eq!(first, [record(9, 1), record(3, 2), record(7, 2), record(1, 2)]);
        assert_eq!(requests.after(Some(Timestamp(2)), 2), [record(4, 5)]);
        assert_eq!(requests.after(Some(Timestamp(5)), 2), []);
    }
}
