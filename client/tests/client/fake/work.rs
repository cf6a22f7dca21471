//! The `Work` stream of the fake: jobs as long as there is credit, answers in order, and whatever a test says.

use std::{collections::BTreeSet, sync::Arc};

use sluice_client::proto::{work_request::Message as Asked, work_response::Message as Answer, *};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use super::{Shared, State};

pub(super) type Out = mpsc::Sender<Result<WorkResponse, Status>>;

/// Serves one stream until either side ends it.
pub(super) async fn serve(shared: Arc<Shared>, mut asked: Streaming<WorkRequest>, out: Out) {
    let mut stream = Stream { out: out.clone(), credit: 0, lease_duration: None, held: BTreeSet::new() };
    let break_after = {
        let mut state = shared.state.lock().unwrap();
        state.streams_opened += 1;
        state.work = Some(out);
        state.work_breaks.pop_front()
    };
    shared.called.notify_waiters();
    let mut answered = 0;
    let closed = loop {
        let Some(message) = asked.next().await else { break true };
        let Ok(WorkRequest { message: Some(message) }) = message else { break false };
        if break_after == Some(answered) {
            let _ = stream.out.send(Err(Status::unavailable("broken"))).await;
            break false;
        }
        let answers = stream.take(&mut shared.state.lock().unwrap(), message);
        shared.called.notify_waiters();
        for answer in answers {
            let _ = stream.out.send(Ok(WorkResponse { message: Some(answer) })).await;
        }
        answered += 1;
    };
    let mut state = shared.state.lock().unwrap();
    state.streams_closed += usize::from(closed);
    state.work = None;
    for job_id in stream.held {
        if let Some((_, job)) = state.leased.remove(&job_id) {
            state.ready.push_front(job);
        }
    }
    drop(state);
    shared.called.notify_waiters();
}

struct Stream {
    out: Out,
    credit: usize,
    lease_duration: Option<prost_types::Duration>,
    held: BTreeSet<String>,
}

impl Stream {
    fn take(&mut self, state: &mut State, message: Asked) -> Vec<Answer> {
        let mut answers = Vec::new();
        match message {
            Asked::Start(start) => {
                self.credit = start.credit as usize;
                self.lease_duration = start.lease_duration;
                state.starts.push(start);
            }
            Asked::Credit(more) => self.credit += more as usize,
            Asked::Acks(AckRequest { acks }) => {
                let result = |ack: &Ack| AckResult {
                    error: state.settle(&ack.job_id, ack.lease_token).err(),
                    job_id: ack.job_id.clone(),
                };
                let results = acks.iter().map(result).collect();
                self.held.retain(|held| acks.iter().all(|ack| ack.job_id != *held));
                state.streamed += acks.len();
                state.acks.push(acks);
                answers.push(Answer::Acks(AckResponse { results }));
            }
            Asked::Nacks(NackRequest { nacks }) => {
                let mut results = Vec::new();
                for nack in nacks {
                    self.held.remove(&nack.job_id);
                    let error = state.settle(&nack.job_id, nack.lease_token).err();
                    results.push(NackResult { job_id: nack.job_id.clone(), error, ..Default::default() });
                    state.streamed += 1;
                    state.nacks.push(nack);
                }
                answers.push(Answer::Nacks(NackResponse { results }));
            }
            Asked::Extends(ExtendLeaseRequest { leases }) => {
                let result = |lease: &LeaseExtension| ExtendLeaseResult {
                    job_id: lease.job_id.clone(),
                    error: state.refuse_extensions.clone(),
                    cancel_requested: state.cancel_requested,
                    ..Default::default()
                };
                let results = leases.iter().map(result).collect();
                state.extensions.extend(leases);
                answers.push(Answer::Extends(ExtendLeaseResponse { results }));
            }
        }
        answers.extend(self.deliver(state));
        answers
    }

    fn deliver(&mut self, state: &mut State) -> Option<Answer> {
        let count = self.credit.saturating_sub(self.held.len()).min(state.ready.len());
        let jobs: Vec<_> = (0..count).filter_map(|_| state.lease_one(self.lease_duration)).collect();
        self.held.extend(jobs.iter().filter_map(|leased| Some(leased.job.as_ref()?.job_id.clone())));
        let jobs = LeaseResponse { jobs, flow_hint: state.flow_hint, ..Default::default() };
        (count > 0).then_some(Answer::Jobs(jobs))
    }
}
