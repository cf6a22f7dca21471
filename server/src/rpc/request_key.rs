//! What makes two requests the same: their names, and what they ask for.
//!
//! These hashes are on disk for as long as a request is remembered: keep them. A field that is new in the
//! contract is hashed only when it was said, after all others, so that older hashes stay what they were.

use sluice_engine::{BatchName, Cost, JobSpec, QueueName, RequestKey, RetryPatch, Span, Start};
use xxhash_rust::xxh3::Xxh3;

/// An Enqueue. The principal is the caller's name; empty when nobody is asked for one.
pub(super) fn enqueue(
    principal: &str,
    queue: &QueueName,
    request_id: &str,
    jobs: &[JobSpec],
    batch_totals: &[(BatchName, u64)],
) -> RequestKey {
    let mut content = Content::default();
    content.number(jobs.len() as u64);
    jobs.iter().for_each(|job| content.job(job));
    for (batch, total) in batch_totals {
        content.said(4);
        content.bytes(batch.as_bytes());
        content.number(*total);
    }
    RequestKey { id: id(principal, "Enqueue", queue, request_id), content: content.0.digest() }
}

/// A Drain. Where it is read from is not content.
pub(super) fn drain(principal: &str, queue: &QueueName, request_id: &str, max_jobs: u32) -> RequestKey {
    let mut content = Content::default();
    content.number(max_jobs.into());
    RequestKey { id: id(principal, "Drain", queue, request_id), content: content.0.digest() }
}

fn id(principal: &str, rpc: &str, queue: &QueueName, request_id: &str) -> u128 {
    let mut id = Content::default();
    for part in [principal, rpc, queue, request_id] {
        id.bytes(part.as_bytes());
    }
    id.0.digest128()
}

/// Everything that is asked for, each part with its length or a mark, so that no two requests look alike.
#[derive(Default)]
struct Content(Xxh3);

impl Content {
    fn job(&mut self, job: &JobSpec) {
        self.bytes(&job.payload);
        self.bytes(job.key.as_bytes());
        self.number(job.priority.get().into());
        match job.start {
            Start::Now => self.number(0),
            Start::After(span) => [1, span.0].into_iter().for_each(|n| self.number(n)),
            Start::At(time) => [2, time.0].into_iter().for_each(|n| self.number(n)),
        }
        self.retry(job.retry.as_deref().unwrap_or(&RetryPatch::default()));
        self.number(job.attributes.labels.len() as u64);
        for (name, value) in &job.attributes.labels {
            self.bytes(name.as_bytes());
            self.bytes(value.as_bytes());
        }
        self.bytes(job.attributes.content_type.as_bytes());
        if let Some(ttl) = job.ttl {
            self.said(1);
            self.number(ttl.0);
        }
        if let Some(batch) = &job.batch {
            self.said(2);
            self.bytes(batch.as_bytes());
        }
        if !job.attributes.idempotency_key.is_empty() {
            self.said(3);
            self.bytes(job.attributes.idempotency_key.as_bytes());
        }
        if job.cost != Cost::DEFAULT {
            self.said(5);
            self.number(job.cost.get().into());
        }
    }

    /// A field that came later, by its number here.
    fn said(&mut self, field: u8) {
        self.0.update(&[b'+', field]);
    }

    fn retry(&mut self, retry: &RetryPatch) {
        let span = |span: Option<Span>| span.map(|s| s.0);
        self.maybe(retry.max_attempts.map(u64::from));
        self.maybe(span(retry.initial_backoff));
        self.maybe(retry.multiplier.map(f64::to_bits));
        self.maybe(span(retry.max_backoff));
        self.maybe(retry.jitter.map(f64::to_bits));
    }

    fn maybe(&mut self, number: Option<u64>) {
        match number {
            None => self.0.update(&[0]),
            Some(number) => {
                self.0.update(&[1]);
                self.number(number);
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use sluice_engine::{Attributes, Key, Priority, WallTime};

    use super::*;

    fn queue() -> QueueName {
        QueueName::new("q").unwrap()
    }

    fn job() -> JobSpec {
        JobSpec {
            payload: "hi".into(),
            key: Key::new("a/b".to_owned()).unwrap(),
            priority: Priority::new(7).unwrap(),
            start: Start::After(Span(5)),
            retry: Some(Box::new(RetryPatch { jitter: Some(0.5), ..Default::default() })),
            attributes: Attributes {
                labels: vec![("n".into(), "v".into())],
                content_type: "t".into(),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    /// On disk: a change here makes servers forget the requests they remember.
    #[test]
    fn hashes_are_what_they_always_were() {
        let key = enqueue("", &queue(), "r", &[job(), JobSpec::default()], &[]);
        assert_eq!((key.id, key.content), (ENQUEUE_ID, ENQUEUE_CONTENT));
        let key = drain("", &queue(), "r", 1_000_000);
        assert_eq!((key.id, key.content), (DRAIN_ID, DRAIN_CONTENT));
    }

    const ENQUEUE_ID: u128 = 0x754c613b4561270e6f40901720bb098c;
    const ENQUEUE_CONTENT: u64 = 0x92bb67c659a3ac47;
    const DRAIN_ID: u128 = 0x51c09f58197b81c7a96e181cbac0da1d;
    const DRAIN_CONTENT: u64 = 0x2c27ac0713086960;

    #[test]
    fn requests_are_named_by_caller_rpc_queue_and_id() {
        let other = QueueName::new("p").unwrap();
        let ids = [
            id("", "Enqueue", &queue(), "r"),
            id("mailer", "Enqueue", &queue(), "r"),
            id("", "Drain", &queue(), "r"),
            id("", "Enqueue", &other, "r"),
            id("", "Enqueue", &queue(), "s"),
            id("", "Enqueue", &QueueName::new("qr").unwrap(), ""),
        ];
        for (i, id) in ids.iter().enumerate() {
            assert!(ids[..i].iter().all(|other| other != id));
        }
    }

    #[test]
    fn whatever_differs_in_a_job_differs_in_its_content() {
        let changes: [fn(&mut JobSpec); 14] = [
            |_| (),
            |j| j.payload = "ho".into(),
            |j| j.key = Key::default(),
            |j| j.priority = Priority::default(),
            |j| j.start = Start::Now,
            |j| j.start = Start::At(WallTime(5)),
            |j| j.retry = None,
            |j| j.retry = Some(Box::new(RetryPatch { multiplier: Some(0.5), ..Default::default() })),
            |j| j.attributes.labels = vec![("nv".into(), "".into())],
            |j| j.attributes.content_type = "".into(),
            |j| j.ttl = Some(Span(5)),
            |j| j.batch = Some(BatchName::new("b").unwrap()),
            |j| j.attributes.idempotency_key = "k".into(),
            |j| j.cost = Cost::new(2).unwrap(),
        ];
        let contents: Vec<u64> = changes
            .iter()
            .map(|change| {
                let mut job = job();
                change(&mut job);
                enqueue("", &queue(), "r", &[job], &[]).content
            })
            .collect();
        for (i, content) in contents.iter().enumerate() {
            assert!(contents[..i].iter().all(|other| other != content), "change {i}");
        }
    }
}
