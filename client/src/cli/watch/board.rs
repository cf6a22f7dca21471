//! What is known of all the queues that are watched, and of the way to the server. Pure: it is told what came
//! and when a second has passed.

use std::collections::BTreeMap;

use super::{feed::Update, history::History};
use crate::{cli::output::printable, proto::QueueStatus};

/// Queues that are kept, each with its history: 10 MB. What goes beyond is not shown.
pub(super) const MAX_QUEUES: usize = 1000;
/// After a break the server names every queue again: what it has not named after so many seconds is gone. It
/// takes several messages when there are many.
const RETURN_TICKS: u32 = 5;

#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    queues: BTreeMap<String, Track>,
    overfull: bool,
    link: Link,
    /// Seconds until what did not return after a break is gone.
    sweep: Option<u32>,
}

/// One queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    pub(super) status: QueueStatus,
    pub(super) history: History,
    /// Whether it was named since the last break.
    returned: bool,
}

/// The way to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Link {
    #[default]
    Opening,
    Live,
    Lost {
        /// What the last attempt said; safe to print.
        reason: String,
        seconds: u32,
    },
}

impl Board {
    pub(super) fn queues(&self) -> &BTreeMap<String, Track> {
        &self.queues
    }

    /// Whether there are more queues than are kept.
    pub(super) fn is_overfull(&self) -> bool {
        self.overfull
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn update(&mut self, update: Update) {
        if matches!(self.link, Link::Lost { .. }) {
            self.queues.values_mut().for_each(|track| track.returned = false);
            self.sweep = Some(RETURN_TICKS);
        }
        self.link = Link::Live;
        for queue in &update.deleted_queues {
            self.queues.remove(queue);
            // Another may have the room: the next one that has none says so again.
            self.overfull = false;
        }
        for status in update.statuses {
            if self.queues.len() >= MAX_QUEUES && !self.queues.contains_key(&status.queue) {
                self.overfull = true;
                continue;
            }
            let track = self.queues.entry(status.queue.clone()).or_default();
            track.status = status;
            track.returned = true;
        }
    }

    pub(super) fn lose(&mut self, reason: &str) {
        let seconds = match self.link {
            Link::Lost { seconds, .. } => seconds,
            Link::Opening | Link::Live => 0,
        };
        self.link = Link::Lost { reason: printable(reason), seconds };
        // What did not return was not given the time.
        self.sweep = None;
    }

    /// A second has passed.
    pub(super) fn tick(&mut self) {
        if let Link::Lost { seconds, .. } = &mut self.link {
            *seconds = seconds.saturating_add(1);
        }
        if self.sweep == Some(0) {
            self.queues.retain(|_, track| track.returned);
            self.overfull = self.queues.len() == MAX_QUEUES && self.overfull;
        }
        self.sweep = self.sweep.and_then(|seconds| seconds.checked_sub(1));
        let live = self.link == Link::Live;
        for track in self.queues.values_mut() {
            track.history.push(live.then_some(&track.status));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::watch::measure::Measure;

    fn named(queues: &[&str]) -> Update {
        let status = |queue: &&str| QueueStatus { queue: (*queue).to_owned(), ..Default::default() };
        Update { statuses: queues.iter().map(status).collect(), ..Update::default() }
    }

    fn names(board: &Board) -> Vec<&str> {
        board.queues().keys().map(String::as_str).collect()
    }

    #[test]
    fn queue_comes_with_its_first_status_and_goes_when_it_is_deleted() {
        let mut board = Board::default();
        board.update(named(&["b", "a"]));
        assert_eq!((names(&board), board.link()), (vec!["a", "b"], &Link::Live));
        board.update(Update { deleted_queues: vec!["a".to_owned()], ..named(&["c"]) });
        assert_eq!(names(&board), ["b", "c"]);
    }

    #[test]
    fn queue_that_does_not_return_after_a_break_goes_a_little_later() {
        let mut board = Board::default();
        board.update(named(&["a", "b"]));
        board.lose("broken");
        board.tick();
        board.update(named(&["a"]));
        (0..RETURN_TICKS).for_each(|_| board.tick());
        assert_eq!(names(&board), ["a", "b"]);
        board.tick();
        assert_eq!(names(&board), ["a"]);
        (0..20).for_each(|_| board.tick());
        assert_eq!(names(&board), ["a"]);
    }

    #[test]
    fn queue_stays_while_the_server_is_away_again() {
        let mut board = Board::default();
        board.update(named(&["a", "b"]));
        board.lose("broken");
        board.update(named(&["a"]));
        board.lose("broken");
        (0..20).for_each(|_| board.tick());
        assert_eq!(names(&board), ["a", "b"]);
    }

    #[test]
    fn lost_time_counts_over_attempts_and_is_a_gap_in_the_history() {
        let mut board = Board::default();
        board.update(named(&["a"]));
        board.tick();
        board.lose("reset\u{1b}[2J");
        board.tick();
        board.lose("refused");
        board.tick();
        assert_eq!(board.link(), &Link::Lost { reason: "refused".to_owned(), seconds: 2 });
        let values: Vec<_> = board.queues()["a"].history.values(Measure::Ready).collect();
        assert_eq!(values, [None, None, Some(0.0)]);
    }

    #[test]
    fn queues_beyond_the_bound_are_not_kept_and_that_is_said() {
        let mut board = Board::default();
        let names: Vec<_> = (0..=MAX_QUEUES).map(|number| format!("q{number:04}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        board.update(named(&names[..MAX_QUEUES]));
        assert!(!board.is_overfull());
        board.update(named(&names));
        assert!(board.is_overfull());
        assert_eq!(board.queues().len(), MAX_QUEUES);
    }
}
