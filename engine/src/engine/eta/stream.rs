//! What comes to the nodes on a job's way meanwhile: as much of what comes to the queue as of what came last.

use crate::engine::Engine;
use crate::job::Priority;
use crate::ledger::jobs::Job;
use crate::ledger::keys::KeyId;
use crate::time::Timestamp;
use crate::tree::Survey;

/// Jobs a second that come to a node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stream {
    /// At higher priorities than the job's.
    pub(super) higher: f64,
    /// Those of them that are hardly there by chance.
    pub(super) sure: f64,
    /// At the job's own priority, and not on its way.
    pub(super) fresh: f64,
}

impl Engine {
    /// For each step of a survey.
    pub(super) fn streams(&self, job: &Job, survey: &Survey, now: Timestamp) -> Vec<Stream> {
        let mut streams = vec![Stream::default(); survey.steps.len()];
        let Some(traffic) = self.index.desks.get(&job.queue).and_then(|desk| desk.traffic()) else {
            return streams;
        };
        let priority = job.priority.index();
        let higher = traffic.arrivals(priority + 1, Priority::COUNT - 1, now);
        let sure = traffic.sure_arrivals(priority + 1, Priority::COUNT - 1, now);
        let equal = traffic.arrivals(priority, priority, now);
        if higher + equal == 0.0 {
            return streams;
        }
        // Of the latest arrivals of each kind how many went by each step.
        let mut went_higher = vec![0.0; survey.steps.len()];
        let mut went_equal = went_higher.clone();
        for (key, of) in traffic.latest().iter().filter(|(_, of)| *of >= job.priority) {
            let went = if *of > job.priority { &mut went_higher } else { &mut went_equal };
            let joins = self.joins(*key, survey);
            went[joins..].iter_mut().for_each(|count| *count += 1.0);
        }
        let last = streams.len() - 1;
        // All of it comes to the queue.
        let part = |went: &[f64], at: usize| if at == last { 1.0 } else { went[at] / went[last].max(1.0) };
        for (at, stream) in streams.iter_mut().enumerate() {
            stream.higher = higher * part(&went_higher, at);
            let chance = went_higher[at].max(1.0).sqrt().recip();
            stream.sure = sure * part(&went_higher, at) * (1.0 - chance);
            if at > 0 {
                stream.fresh = equal * (part(&went_equal, at) - part(&went_equal, at - 1)).max(0.0);
            }
        }
        streams
    }

    /// The first step that jobs of a key go by.
    fn joins(&self, key: KeyId, survey: &Survey) -> usize {
        let last = survey.steps.len() - 1;
        if let Some(at) = survey.steps.iter().position(|step| step.key == key) {
            return at;
        }
        // Those of longer keys do not go by the leaf of what they begin with.
        let outer = self.ledger.keys.chain(key).skip(1);
        let mut joined = outer.filter_map(|key| survey.steps.iter().rposition(|step| step.key == key));
        joined.next().unwrap_or(last)
    }
}
