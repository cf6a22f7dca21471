//! What an operator sets for the services.

use std::time::Duration;

use sluice_engine::WallTime;
use sluice_engine::bound::{DEFAULT_IDEMPOTENCY_KEYS, DEFAULT_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES};

use crate::layer::RequestRate;

/// What an operator sets for the services.
#[derive(Clone, Debug)]
pub struct RpcSettings {
    /// Bytes of a payload; what is above [`MAX_PAYLOAD_BYTES`] counts as that.
    pub max_payload_bytes: usize,
    /// Whether a queue that does not exist is NOT_FOUND, and not empty.
    pub strict_queues: bool,
    /// Calls that may be in the handlers at a time. Those that wait do not count.
    pub max_in_flight: usize,
    /// Calls that one caller may have open at a time, those that wait among them.
    pub max_calls_per_caller: usize,
    /// How often one caller may ask; none: as often as it likes.
    pub request_rate: Option<RequestRate>,
    /// How long a call may take until its answer begins. Longer than the longest wait.
    pub max_call_time: Duration,
    /// Idempotency keys that are remembered, over all queues.
    pub max_idempotency_keys: u64,
    /// When the server began to serve.
    pub start_time: WallTime,
}

impl RpcSettings {
    /// Bytes of a payload.
    pub(super) fn max_payload_bytes(&self) -> usize {
        self.max_payload_bytes.min(MAX_PAYLOAD_BYTES)
    }
}

impl Default for RpcSettings {
    fn default() -> RpcSettings {
        RpcSettings {
            max_payload_bytes: DEFAULT_PAYLOAD_BYTES,
            strict_queues: false,
            // A call holds at most a request of 4 MiB, and most hold a few hundred bytes.
            max_in_flight: 8_192,
            // Half of those: one caller cannot take all the places.
            max_calls_per_caller: 4_096,
            request_rate: None,
            max_call_time: Duration::from_secs(120),
            max_idempotency_keys: DEFAULT_IDEMPOTENCY_KEYS,
            start_time: WallTime::default(),
        }
    }
}
