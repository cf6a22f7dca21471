//! What a service's answer means for the job. Knows nothing of connections.

use std::time::Duration;

use http::StatusCode;

use super::{
    body::Beginning,
    status::{Meaning, Meanings},
};
use crate::{Failure, Outcome};

/// Bytes of an answer's first line that are kept as the error.
const MAX_MESSAGE_BYTES: usize = 1 << 10;

/// An answer, with as much of its body as came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// How long the service wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// What the request cost, if the service said so.
    pub(super) cost: Option<u32>,
    /// Which level it was too much for, if the service said so.
    pub(super) throttle_scope: String,
    pub(super) body: Beginning,
    /// Why the body did not come to its end.
    pub(super) broken: Option<Failure>,
}

impl Answer {
    pub(super) fn into_outcome(self, meanings: &Meanings) -> Outcome {
        let meaning = meanings.of(self.status.as_u16());
        match (meaning, self.broken) {
            // The result is a part of what was asked for.
            (Meaning::Done, Some(broken)) => Outcome::Failed(broken),
            (Meaning::Done, None) => {
                let result = self.body.bytes;
                Outcome::Done((!result.is_empty()).then(|| result.into()))
            }
            // The status has said it all; of the body only a line would have been kept.
            (meaning, _) => {
                let failure = failure(self.status, &self.body.bytes);
                match meaning {
                    Meaning::Throttled => {
                        let failure = Failure { throttle_scope: self.throttle_scope, ..failure };
                        Outcome::Throttled { retry_after: self.retry_after, failure }
                    }
                    Meaning::Rejected => Outcome::Rejected(failure),
                    Meaning::Failed | Meaning::Done => Outcome::Failed(failure),
                }
            }
        }
    }
}

fn failure(status: StatusCode, body: &[u8]) -> Failure {
    let error = first_line(body).unwrap_or_else(|| format!("the service answered {status}"));
    Failure::new(error).code(format!("HTTP_{}", status.as_u16()))
}

/// The first line that says something.
fn first_line(body: &[u8]) -> Option<String> {
    let mut lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let line = lines.find(|line| !line.is_empty())?;
    let mut line = String::from_utf8_lossy(line).into_owned();
    line.truncate(line.floor_char_boundary(MAX_MESSAGE_BYTES));
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Option<Duration> = Some(Duration::from_secs(7));

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: WAIT,
            cost: None,
            throttle_scope: String::new(),
            body: Beginning { bytes: body.into(), is_cut: false },
            broken: None,
        }
    }

    fn outcome(status: u16, body: &str) -> Outcome {
        answer(status, body).into_outcome(&Meanings::default())
    }

    #[test]
    fn body_of_a_2xx_is_the_result() {
        assert_eq!(outcome(200, "fine\n"), Outcome::Done(Some("fine\n".into())));
        assert_eq!(outcome(204, ""), Outcome::Done(None));
    }

    #[test]
    fn status_decides_and_the_first_line_is_the_error() {
        let failure = |code: &str| Failure::new("no: why").code(code);
        let body = "\r\n  no: why \r\nmore";
        assert_eq!(outcome(500, body), Outcome::Failed(failure("HTTP_500")));
        assert_eq!(outcome(302, body), Outcome::Failed(failure("HTTP_302")));
        assert_eq!(outcome(404, body), Outcome::Rejected(failure("HTTP_404")));
        let throttled = |code| Outcome::Throttled { retry_after: WAIT, failure: failure(code) };
        assert_eq!(outcome(429, body), throttled("HTTP_429"));
        assert_eq!(outcome(503, body), throttled("HTTP_503"));
    }

    #[test]
    fn level_is_told_of_those_alone_that_mean_slow_down() {
        let of = |status| Answer { throttle_scope: "1".to_owned(), ..answer(status, "x") };
        let failure = |status| match of(status).into_outcome(&Meanings::default()) {
            Outcome::Throttled { failure, .. } | Outcome::Failed(failure) | Outcome::Rejected(failure) => {
                failure
            }
            Outcome::Done(_) | Outcome::Costing { .. } => panic!("{status} is no success"),
        };
        assert_eq!([429, 503, 500, 404].map(|status| failure(status).throttle_scope), ["1", "1", "", ""]);
    }

    #[test]
    fn answer_without_words_says_its_status() {
        let failure = |error: &str, code: &str| Outcome::Failed(Failure::new(error).code(code));
        assert_eq!(
            outcome(500, " \n"),
            failure("the service answered 500 Internal Server Error", "HTTP_500")
        );
        assert_eq!(outcome(599, ""), failure("the service answered 599 <unknown status code>", "HTTP_599"));
    }

    #[test]
    fn line_is_bounded_and_cut_between_characters() {
        let long = format!("a{}", "é".repeat(MAX_MESSAGE_BYTES));
        let line = first_line(long.as_bytes()).unwrap();
        assert_eq!(line.len(), MAX_MESSAGE_BYTES - 1);
        assert_eq!(first_line(b"a\xff").unwrap(), "a\u{fffd}");
    }

    #[test]
    fn broken_body_fails_a_2xx_and_changes_nothing_else() {
        let broken = |status| {
            let broken = Some(Failure::new("cut").code("NETWORK"));
            Answer { broken, ..answer(status, "half") }.into_outcome(&Meanings::default())
        };
        assert_eq!(broken(200), Outcome::Failed(Failure::new("cut").code("NETWORK")));
        assert_eq!(broken(404), Outcome::Rejected(Failure::new("half").code("HTTP_404")));
    }
}
