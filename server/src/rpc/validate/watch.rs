//! WatchQueue.

use std::time::Duration;

use sluice_engine::{Key, QueueName, Span};
use sluice_proto::v1;

use super::field::Fields;
use super::path::Path;
use crate::rpc::status::Failure;

/// The shortest time between two messages: the writer publishes no more often.
const MIN_INTERVAL: Span = Span::from_millis(50);
/// The longest one.
const MAX_INTERVAL: Span = Span::from_secs(60);
/// When nothing is said.
const DEFAULT_INTERVAL: Span = Span::from_millis(250);

/// What to watch.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rpc) struct WatchCall {
    /// Which queue.
    pub(in crate::rpc) queue: QueueName,
    /// The least time between two messages.
    pub(in crate::rpc) min_interval: Duration,
}

/// What to watch.
pub(in crate::rpc) fn watch(request: v1::WatchQueueRequest) -> Result<WatchCall, Failure> {
    let mut fields = Fields::default();
    let queue = fields.queue(Path::new("queue"), &request.queue);
    let interval = fields.span(Path::new("min_interval"), request.min_interval, MIN_INTERVAL..=MAX_INTERVAL);
    let made = queue.zip(interval).map(|(queue, interval)| WatchCall {
        queue,
        min_interval: Duration::from_nanos(interval.unwrap_or(DEFAULT_INTERVAL).0),
    });
    fields.made(made)
}

/// Whose status is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rpc) struct StatusCall {
    /// Of which queue.
    pub(in crate::rpc) queue: QueueName,
    /// Of which key; the empty one: of the whole queue.
    pub(in crate::rpc) key: Key,
}

/// Whose status is wanted.
pub(in crate::rpc) fn status(request: v1::GetQueueStatusRequest) -> Result<StatusCall, Failure> {
    let mut fields = Fields::default();
    let queue = fields.queue(Path::new("queue"), &request.queue);
    let key = fields.key(Path::new("key"), request.key);
    fields.made(queue.zip(key).map(|(queue, key)| StatusCall { queue, key }))
}

/// What to watch, by pattern.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rpc) struct WatchManyCall {
    /// Which queues.
    pub(in crate::rpc) pattern: Box<str>,
    /// The least time between two messages.
    pub(in crate::rpc) min_interval: Duration,
}

/// What to watch, by pattern.
pub(in crate::rpc) fn watch_many(request: v1::WatchQueuesRequest) -> Result<WatchManyCall, Failure> {
    let mut fields = Fields::default();
    let at = Path::new("queue_pattern");
    let pattern = if request.queue_pattern.is_empty() { "*" } else { &*request.queue_pattern };
    // A pattern is a name with stars in it.
    let name = QueueName::new(&pattern.replace('*', "-")).map_err(|error| fields.wrong(at, error)).ok();
    let interval = fields.span(Path::new("min_interval"), request.min_interval, MIN_INTERVAL..=MAX_INTERVAL);
    let made = name.zip(interval).map(|(_, interval)| WatchManyCall {
        pattern: pattern.into(),
        min_interval: Duration::from_nanos(interval.unwrap_or(DEFAULT_INTERVAL).0),
    });
    fields.made(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(seconds: i64, nanos: i32) -> Option<Duration> {
        let min_interval = Some(prost_types::Duration { seconds, nanos });
        watch(v1::WatchQueueRequest { queue: "q".to_owned(), min_interval }).ok().map(|w| w.min_interval)
    }

    #[test]
    fn interval_is_bounded() {
        let unsaid = v1::WatchQueueRequest { queue: "q".to_owned(), min_interval: None };
        assert_eq!(watch(unsaid).unwrap().min_interval, Duration::from_millis(250));
        assert_eq!(interval(0, 50_000_000), Some(Duration::from_millis(50)));
        assert_eq!(interval(60, 0), Some(Duration::from_secs(60)));
        assert_eq!(interval(0, 49_999_999), None);
        assert_eq!(interval(60, 1), None);
        assert_eq!(interval(0, -1), None);
        assert!(watch(v1::WatchQueueRequest::default()).is_err());
    }

    #[test]
    fn pattern_is_a_name_with_stars() {
        let of = |pattern: &str| {
            let request = v1::WatchQueuesRequest { queue_pattern: pattern.to_owned(), ..Default::default() };
            watch_many(request).map(|call| call.pattern.to_string()).ok()
        };
        assert_eq!(of("").as_deref(), Some("*"));
        assert_eq!(of("sms.*").as_deref(), Some("sms.*"));
        assert_eq!(of("a b"), None);
        assert_eq!(of(&"q".repeat(129)), None);
    }
}
