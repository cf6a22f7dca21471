//! Messages of the contract with only the fields that the benchmark needs: what is not named is skipped
//! over. A test holds them against the contract.

use bytes::{Bytes, BytesMut};
use prost::Message;

use crate::proto::{EnqueueError, EnqueueRequest, JobSpec};

/// `EnqueueResponse`, without looking into its jobs.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Enqueued {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(super) jobs: Vec<Bytes>,
}

/// `EnqueueStreamRequest`, with its request as it is on the wire.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamRequest {
    #[prost(uint64, tag = "1")]
    pub(super) sequence: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) request: Bytes,
}

/// `EnqueueStreamResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamResponse {
    #[prost(uint64, tag = "1")]
    pub(super) sequence: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) response: Option<Enqueued>,
    #[prost(message, optional, tag = "3")]
    pub(super) error: Option<EnqueueError>,
}

/// `LeaseResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Leased {
    #[prost(message, repeated, tag = "1")]
    pub(super) jobs: Vec<LeasedJob>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LeasedJob {
    #[prost(message, optional, tag = "1")]
    pub(super) job: Option<JobName>,
    #[prost(uint64, tag = "2")]
    pub(super) lease_token: u64,
}

/// `Job`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct JobName {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) job_id: Bytes,
}

/// `AckRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Acks {
    #[prost(message, repeated, tag = "1")]
    pub(super) acks: Vec<Ack>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Ack {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) job_id: Bytes,
    #[prost(uint64, tag = "2")]
    pub(super) lease_token: u64,
}

/// `AckResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Acked {
    #[prost(message, repeated, tag = "1")]
    pub(super) results: Vec<AckResult>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AckResult {
    #[prost(message, optional, tag = "2")]
    pub(super) error: Option<crate::proto::ItemError>,
}

/// Encodes an `EnqueueRequest` whose jobs share their payload, without building it.
#[derive(Clone, Debug)]
pub(super) struct RequestTemplate {
    queue: String,
    payload: Bytes,
}

impl RequestTemplate {
    pub(super) fn new(queue: &str, payload_bytes: usize) -> RequestTemplate {
        RequestTemplate { queue: queue.to_owned(), payload: vec![b'x'; payload_bytes].into() }
    }

    /// A request with so many jobs; `vary` makes each what it is.
    pub(super) fn encode(&self, jobs: u32, request_id: String, mut vary: impl FnMut(&mut JobSpec)) -> Bytes {
        let frame = EnqueueRequest { queue: self.queue.clone(), request_id, ..Default::default() };
        let mut request =
            BytesMut::with_capacity(frame.encoded_len() + jobs as usize * (self.payload.len() + 64));
        frame.encode_raw(&mut request);
        let mut spec = JobSpec { payload: self.payload.clone(), ..JobSpec::default() };
        for _ in 0..jobs {
            vary(&mut spec);
            prost::encoding::message::encode(2, &spec, &mut request);
        }
        request.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;

    fn as_light<L: Message + Default>(full: &impl Message) -> L {
        L::decode(full.encode_to_vec().as_slice()).unwrap()
    }

    #[test]
    fn template_encodes_what_the_contract_decodes() {
        let mut keys = 0;
        let key = |job: &mut JobSpec| {
            keys += 1;
            job.key = format!("k{keys}");
        };
        let bytes = RequestTemplate::new("q", 3).encode(2, "id".to_owned(), key);
        let job = |key: &str| JobSpec { payload: "xxx".into(), key: key.to_owned(), ..JobSpec::default() };
        let expected = EnqueueRequest {
            queue: "q".to_owned(),
            jobs: vec![job("k1"), job("k2")],
            request_id: "id".to_owned(),
            ..Default::default()
        };
        assert_eq!(EnqueueRequest::decode(bytes.clone()).unwrap(), expected);
        let stream = StreamRequest { sequence: 7, request: bytes };
        let read: proto::EnqueueStreamRequest = as_light(&stream);
        assert_eq!((read.sequence, read.request), (7, Some(expected)));
    }

    #[test]
    fn light_messages_read_and_write_what_the_contract_means() {
        let job = proto::Job { job_id: "42".to_owned(), payload: Some("x".into()), ..proto::Job::default() };
        let leased = proto::LeasedJob { job: Some(job), lease_token: 9, ..proto::LeasedJob::default() };
        let light: Leased = as_light(&proto::LeaseResponse { jobs: vec![leased], ..Default::default() });
        assert_eq!((light.jobs[0].job.clone().unwrap().job_id, light.jobs[0].lease_token), ("42".into(), 9));

        let acks = Acks { acks: vec![Ack { job_id: "42".into(), lease_token: 9 }] };
        let full: proto::AckRequest = as_light(&acks);
        assert_eq!((full.acks[0].job_id.as_str(), full.acks[0].lease_token), ("42", 9));

        let error = Some(proto::ItemError { code: 9, ..proto::ItemError::default() });
        let results = vec![proto::AckResult { job_id: "42".to_owned(), error: error.clone() }];
        assert_eq!(as_light::<Acked>(&proto::AckResponse { results }).results[0].error, error);

        let jobs = vec![proto::EnqueuedJob { job_id: "42".to_owned(), ..Default::default() }; 3];
        let response = proto::EnqueueResponse { jobs, ..Default::default() };
        assert_eq!(as_light::<Enqueued>(&response).jobs.len(), 3);
        let outcome = Some(proto::enqueue_stream_response::Outcome::Response(response));
        let light: StreamResponse = as_light(&proto::EnqueueStreamResponse { sequence: 7, outcome });
        assert_eq!((light.sequence, light.response.unwrap().jobs.len(), light.error), (7, 3, None));
    }
}
