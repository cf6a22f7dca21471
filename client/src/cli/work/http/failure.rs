//! Why there is no answer, in words and as a code.

use std::{error::Error, time::Duration};

use hyper_util::client::legacy;

use crate::Failure;

pub(super) fn timed_out(timeout: Duration) -> Failure {
    let timeout = humantime::format_duration(timeout);
    Failure::new(format!("no whole answer within {timeout}")).code("TIMEOUT")
}

pub(super) fn given_up() -> Failure {
    let why =
        "the request was given up: the job was cancelled, its lease was lost, or the worker had to stop";
    Failure::new(why).code("ABORTED")
}

pub(super) fn no_answer(error: &legacy::Error) -> Failure {
    let code = if error.is_connect() { "CONNECT" } else { "NETWORK" };
    Failure::new(words(error)).code(code)
}

pub(super) fn broken_body(error: &hyper::Error) -> Failure {
    Failure::new(words(error)).code("NETWORK")
}

/// With its causes: the last one is what a person looks for.
fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
