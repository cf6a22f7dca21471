//! Shared limits as they are printed, and what came of asking for tokens.

use serde::Serialize;

use super::{breaker_state, limit::LimitsView, node::answers, span, time};
use crate::{
    cli::output::Show,
    proto::{AcquireLimitResponse, Limit},
};

#[derive(Debug, Serialize)]
pub(in crate::cli) struct LimitView {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<LimitsView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority_ageing: Option<String>,
    queues: u64,
    in_flight: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frozen_until_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_in_force: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<String>,
    etag: String,
}

/// What came of asking for tokens.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct AcquiredView {
    acquired: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
}

impl From<Limit> for LimitView {
    fn from(limit: Limit) -> LimitView {
        LimitView {
            limits: limit.settings.as_ref().and_then(LimitsView::of),
            priority_ageing: limit.priority_ageing.as_ref().map(span),
            queues: limit.queues,
            in_flight: limit.in_flight,
            tokens: limit.tokens,
            frozen_until_time: limit.frozen_until_time.as_ref().map(time),
            rate_in_force: limit.rate_in_force,
            breaker: breaker_state(limit.breaker),
            etag: limit.etag,
            name: limit.name,
        }
    }
}

impl From<AcquireLimitResponse> for AcquiredView {
    fn from(answer: AcquireLimitResponse) -> AcquiredView {
        AcquiredView {
            acquired: answer.acquired,
            retry_after: answer.retry_after.as_ref().map(span),
            tokens: answer.tokens,
        }
    }
}

fn number(number: Option<u64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

impl Show for LimitView {
    const HEADER: &'static [&'static str] =
        &["NAME", "LIMITS", "QUEUES", "IN-FLIGHT", "TOKENS", "FROZEN-UNTIL", "ANSWERS", "AGEING", "ETAG"];

    fn row(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.limits.as_ref().map(LimitsView::cell).unwrap_or_default(),
            self.queues.to_string(),
            self.in_flight.to_string(),
            number(self.tokens),
            self.frozen_until_time.clone().unwrap_or_default(),
            answers(self.rate_in_force, self.breaker.as_deref()).collect::<Vec<_>>().join(" "),
            self.priority_ageing.clone().unwrap_or_default(),
            self.etag.clone(),
        ]
    }
}

impl Show for AcquiredView {
    const HEADER: &'static [&'static str] = &["ACQUIRED", "RETRY-AFTER", "TOKENS"];

    fn row(&self) -> Vec<String> {
        vec![self.acquired.to_string(), self.retry_after.clone().unwrap_or_default(), number(self.tokens)]
    }
}
