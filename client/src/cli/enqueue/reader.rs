//! Bulk input as batches: lines are read, parsed and gathered. Knows nothing of the server.

use std::{
    fmt,
    io::{self, BufRead, Read},
};

use prost::Message;

use super::line;
use crate::proto::JobSpec;

/// Bytes of a line: a payload of 3 MiB, every byte of it escaped as `\u0000`, and the rest.
const MAX_LINE_BYTES: usize = 20 << 20;
/// Bytes of a batch: under the 4 MiB of a request, with room for its frame.
const MAX_BATCH_BYTES: usize = 3 << 20;

/// Jobs that go in one request.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) jobs: Vec<JobSpec>,
    /// Where they stand in the input, from 1.
    pub(super) first_line: u64,
    pub(super) last_line: u64,
    /// How much input has been read with them.
    pub(super) end_bytes: u64,
}

/// Why the input goes no further.
#[derive(Debug)]
pub(super) enum ReadError {
    Line { number: u64, reason: String },
    Input(io::Error),
}

/// Reads batches of at most `max_jobs` jobs.
pub(super) struct Reader<R> {
    input: R,
    max_jobs: usize,
    line: Vec<u8>,
    number: u64,
    read_bytes: u64,
    /// A job that did not fit the batch before, and its line.
    held: Option<(JobSpec, u64)>,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(input: R, max_jobs: usize) -> Reader<R> {
        Reader { input, max_jobs, line: Vec::new(), number: 0, read_bytes: 0, held: None }
    }

    /// The next batch, or none at the end. After an error there is no sense in going on.
    pub(super) fn next_batch(&mut self) -> Result<Option<Batch>, ReadError> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while batch.jobs.len() < self.max_jobs {
            let Some((job, number)) = self.next_job()? else { break };
            let job_bytes = job.encoded_len();
            if !batch.jobs.is_empty() && bytes + job_bytes > MAX_BATCH_BYTES {
                self.held = Some((job, number));
                break;
            }
            bytes += job_bytes;
            if batch.jobs.is_empty() {
                batch.first_line = number;
            }
            batch.last_line = number;
            batch.jobs.push(job);
        }
        batch.end_bytes = self.read_bytes;
        Ok((!batch.jobs.is_empty()).then_some(batch))
    }

    fn next_job(&mut self) -> Result<Option<(JobSpec, u64)>, ReadError> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        loop {
            self.line.clear();
            let mut bounded = self.input.by_ref().take(MAX_LINE_BYTES as u64 + 1);
            let count = bounded.read_until(b'\n', &mut self.line).map_err(ReadError::Input)?;
            if count == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.read_bytes += count as u64;
            let number = self.number;
            if count > MAX_LINE_BYTES {
                let reason = format!("longer than {MAX_LINE_BYTES} bytes");
                return Err(ReadError::Line { number, reason });
            }
            // An empty line, as the last one often is, is no job.
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            return match line::parse(&self.line) {
                Ok(job) => Ok(Some((job, number))),
                Err(reason) => Err(ReadError::Line { number, reason }),
            };
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Line { number, reason } => write!(f, "line {number}: {reason}"),
            ReadError::Input(error) => write!(f, "cannot read the input: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(input: &str, max_jobs: usize) -> (Vec<(usize, u64, u64)>, Option<String>) {
        let mut reader = Reader::new(input.as_bytes(), max_jobs);
        let mut batches = Vec::new();
        loop {
            match reader.next_batch() {
                Ok(Some(batch)) => batches.push((batch.jobs.len(), batch.first_line, batch.last_line)),
                Ok(None) => return (batches, None),
                Err(error) => return (batches, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn lines_are_gathered_into_batches_that_know_their_lines() {
        assert_eq!(batches("{}\n{}\n\n{}\n{}\n{}", 2), (vec![(2, 1, 2), (2, 4, 5), (1, 6, 6)], None));
        assert_eq!(batches("\n\n", 2), (vec![], None));
    }

    #[test]
    fn bad_line_is_named_and_nothing_of_its_batch_goes() {
        let (batches, error) = batches("{}\n{}\n{}\n{\"x\":1}\n{}\n", 2);
        assert_eq!(batches, vec![(2, 1, 2)]);
        assert!(error.unwrap().starts_with("line 4: unknown field `x`"));
    }

    #[test]
    fn batch_stays_within_the_bytes_of_a_request() {
        let job = format!("{{\"payload\":\"{}\"}}\n", "x".repeat(1 << 20));
        let (batches, error) = batches(&job.repeat(5), 1_000);
        assert_eq!((batches, error), (vec![(2, 1, 2), (2, 3, 4), (1, 5, 5)], None));
    }
}
