//! The load through one EnqueueStream: a window of requests that are not answered yet.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use prost::Message;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    load::{JobSource, Quota},
    message::{StreamRequest, StreamResponse},
    sample::Sample,
    wire::{Wire, decode},
};
use crate::Error;

/// Sends requests until the quota is used up and all are answered.
pub(super) async fn run(
    wire: Wire,
    jobs: Arc<JobSource>,
    quota: Arc<Quota>,
    batch: u32,
    window: usize,
) -> Result<Sample, Error> {
    let mut sample = Sample::default();
    let (out, requests) = mpsc::channel(window);
    let mut sent: VecDeque<(u64, u32, Instant)> = VecDeque::with_capacity(window);
    let mut sequence = 0;
    let mut send = |sent: &mut VecDeque<_>| {
        let count = quota.take(batch);
        if count > 0 {
            sent.push_back((sequence, count, Instant::now()));
            // The channel holds a whole window; a stream that is gone is noticed by its answers.
            let _ = out.try_send(request(sequence, jobs.request(count)));
            sequence += 1;
        }
    };
    (0..window).for_each(|_| send(&mut sent));
    let mut answers = wire.enqueue_stream(ReceiverStream::new(requests)).await?;
    while let Some((sequence, count, begin)) = sent.pop_front() {
        let answer = answers.message().await?.ok_or_else(|| Error::broken("the stream ended too soon"))?;
        let answer: StreamResponse = decode(answer)?;
        if let Some(refusal) = answer.error {
            return Err(refusal.into());
        }
        let enqueued = answer.response.unwrap_or_default().jobs.len();
        if answer.sequence != sequence || enqueued != count as usize {
            return Err(Error::broken("an answer does not fit its request"));
        }
        sample.record(begin.elapsed());
        sample.calls += 1;
        sample.jobs += u64::from(count);
        send(&mut sent);
    }
    Ok(sample)
}

fn request(sequence: u64, request: Bytes) -> Bytes {
    StreamRequest { sequence, request }.encode_to_vec().into()
}
