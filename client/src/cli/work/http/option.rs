//! The options that go with `--http`.

use std::time::Duration;

use clap::{Args, value_parser};
use http::{HeaderMap, HeaderName};

use super::{
    header::{self, Own},
    status::{CHANGEABLE, Meanings},
};
use crate::cli::argument::span;

const HEADING: &str = "With --http";
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// Whoever answers later is better asked for the result in another way.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

#[derive(Debug, Args)]
pub(in crate::cli::work) struct HttpOptions {
    /// A header for every request, such as 'Accept: text/plain'; repeat for more, at most 64. It goes before the usual
    /// content-type and user-agent. @FILE reads headers from a file, one a line: a secret in an argument can
    /// be read by everybody on the machine. Never logged. Default: none.
    #[arg(long = "header", value_name = "NAME: VALUE|@FILE", requires = "http", conflicts_with = "exec", help_heading = HEADING, value_parser = Own::read)]
    headers: Vec<Own>,
    /// How long one request may take, from connecting to the end of the answer: 1ms to 1h.
    #[arg(long, default_value = "30s", value_name = "SPAN", requires = "http", conflicts_with = "exec", help_heading = HEADING, value_parser = request_timeout)]
    pub(super) request_timeout: Duration,
    /// Statuses that mean slow down, besides 429 and 503: 300 to 599, with commas or repeated, such as 413,420.
    #[arg(long, value_name = "STATUS", requires = "http", conflicts_with = "exec", help_heading = HEADING, value_delimiter = ',', value_parser = value_parser!(u16).range(CHANGEABLE))]
    throttled_status: Vec<u16>,
    /// Statuses to try again after, besides 3xx, 408, 409, 425 and 5xx: 300 to 599, with commas or repeated.
    #[arg(long, value_name = "STATUS", requires = "http", conflicts_with = "exec", help_heading = HEADING, value_delimiter = ',', value_parser = value_parser!(u16).range(CHANGEABLE))]
    failed_status: Vec<u16>,
    /// Statuses that will never become success, besides the other 4xx: 300 to 599, with commas or repeated.
    #[arg(long, value_name = "STATUS", requires = "http", conflicts_with = "exec", help_heading = HEADING, value_delimiter = ',', value_parser = value_parser!(u16).range(CHANGEABLE))]
    rejected_status: Vec<u16>,
    /// The header of answers that says what the request cost in the end, where limits count cost, such as x-used-tokens:
    /// a whole number. An answer without it cost what its job reserved. Default: none.
    #[arg(long, value_name = "NAME", requires = "http", conflicts_with = "exec", help_heading = HEADING, value_parser = header_name)]
    pub(super) cost_header: Option<HeaderName>,
    /// A header of answers that mean slow down, such as X-RateLimit-Scope, that names the level it was too much for by a
    /// number of key segments: 0 the queue, 1 what begins with the first segment, up to 3. Without it, or with anything
    /// else in it, it is the job's key. Default: none is read.
    #[arg(long, value_name = "NAME", requires = "http", conflicts_with = "exec", help_heading = HEADING, value_parser = header_name)]
    pub(super) throttle_scope_header: Option<HeaderName>,
}

impl HttpOptions {
    pub(super) fn own_headers(&self) -> Result<HeaderMap, String> {
        header::own(&self.headers)
    }

    pub(super) fn meanings(&self) -> Result<Meanings, String> {
        Meanings::new(&self.throttled_status, &self.failed_status, &self.rejected_status)
    }
}

fn request_timeout(text: &str) -> Result<Duration, String> {
    let timeout = span(text)?;
    if (MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout) { Ok(timeout) } else { Err("1ms to 1h".to_owned()) }
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(text).map_err(|_| "a header's name has a character that none can have".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_header_is_one() {
        assert_eq!(header_name("X-RateLimit-Scope").unwrap(), "x-ratelimit-scope");
        for wrong in ["", "a b", "a:", "ü"] {
            assert!(header_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn timeout_is_bounded() {
        assert_eq!(request_timeout("1ms"), Ok(MIN_TIMEOUT));
        assert_eq!(request_timeout("1h"), Ok(MAX_TIMEOUT));
        for wrong in ["0", "999us", "3601s", "30"] {
            assert!(request_timeout(wrong).is_err(), "{wrong}");
        }
    }
}
