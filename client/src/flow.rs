//! Obeying a queue's flow hint: how many jobs a call may have, and the pause before the next call. Knows
//! answers and time, not what is called.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{proto::FlowHint, span::span_from_proto};

/// The longest pause that is obeyed: the longest a queue can be set to.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// What the last answer asked for. Shared by all who call about one queue.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hint: Option<FlowHint>,
    /// No call before this.
    next_time: Option<Instant>,
}

impl Flow {
    /// Takes the hint of an answer. An answer without one lifts what was asked before.
    pub(crate) fn learn(&self, hint: Option<FlowHint>) {
        let mut state = self.lock();
        state.next_time = hint.as_ref().map(|hint| {
            let after = Instant::now() + pause_of(hint);
            state.next_time.map_or(after, |before| before.max(after))
        });
        state.hint = hint;
    }

    /// The hint in force.
    pub(crate) fn hint(&self) -> Option<FlowHint> {
        self.lock().hint
    }

    /// The most jobs that one call may have: `most`, or fewer while a hint is in force; at least 1.
    pub(crate) fn batch_size(&self, most: usize) -> usize {
        let hinted = self.lock().hint.map(|hint| usize::try_from(hint.batch_size).unwrap_or(usize::MAX));
        hinted.map_or(most, |hinted| most.min(hinted)).max(1)
    }

    /// Waits until the next call may begin. Calls that wait together go one pause after another.
    pub(crate) async fn pause(&self) {
        let time = {
            let mut state = self.lock();
            let (Some(hint), Some(time)) = (state.hint, state.next_time) else { return };
            let time = time.max(Instant::now());
            state.next_time = Some(time + pause_of(&hint));
            time
        };
        sleep_until(time).await;
    }

    /// A panic elsewhere leaves the state as whole as it was.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause_of(hint: &FlowHint) -> Duration {
    hint.wait.as_ref().map_or(Duration::ZERO, span_from_proto).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span_to_proto;

    const PAUSE: Duration = Duration::from_millis(50);

    fn hint(batch_size: u32) -> FlowHint {
        FlowHint { batch_size, wait: Some(span_to_proto(PAUSE)), ..FlowHint::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_hint_nothing_is_held_back() {
        let flow = Flow::default();
        let begin = Instant::now();
        flow.pause().await;
        assert_eq!((flow.batch_size(1_000), begin.elapsed()), (1_000, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_one_pause_apart_and_batches_no_larger_than_hinted() {
        let flow = Flow::default();
        flow.learn(Some(hint(20)));
        assert_eq!((flow.batch_size(1_000), flow.batch_size(3)), (20, 3));
        let begin = Instant::now();
        tokio::join!(flow.pause(), flow.pause(), flow.pause());
        assert_eq!(begin.elapsed(), PAUSE * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn answer_without_a_hint_lifts_it_and_batch_of_none_is_one() {
        let flow = Flow::default();
        flow.learn(Some(hint(0)));
        assert_eq!(flow.batch_size(10), 1);
        flow.learn(None);
        let begin = Instant::now();
        flow.pause().await;
        assert_eq!((flow.batch_size(10), begin.elapsed(), flow.hint()), (10, Duration::ZERO, None));
    }
}
