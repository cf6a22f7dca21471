//! Waiting for what comes of jobs.

use std::time::Duration;

use serde::Serialize;

use crate::{
    cli::{
        Session,
        batch::{NOT_COMPLETED, UNFINISHED},
        error::CliError,
        get::read_all,
        output::{Format, remark},
        view::JobView,
    },
    is_at_rest,
    proto::{Job, JobState},
};

/// Jobs whose results are wanted.
pub(super) struct Awaited {
    pub(super) job_ids: Vec<String>,
    pub(super) wait: Duration,
}

#[derive(Serialize)]
struct Nothing {}

impl Awaited {
    /// Prints results in order; for people a result is its own bytes as text, and what else came is a remark.
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let (jobs, missing) = read_all(&session.client, self.job_ids, false, self.wait).await?;
        let mut end = if missing.is_empty() { Ok(()) } else { Err(CliError::Nothing) };
        for job in &jobs {
            if end.is_ok() {
                end = exit(job.state());
            }
        }
        if session.output.format() == Format::Table {
            for job in jobs {
                show(session, &job)?;
            }
        } else if let [job] = &jobs[..] {
            session.output.one(&JobView::from(job.clone()))?;
        } else {
            let views: Vec<_> = jobs.into_iter().map(JobView::from).collect();
            session.output.many(&views)?;
        }
        end
    }
}

fn show(session: &Session, job: &Job) -> Result<(), CliError> {
    match &job.result {
        Some(result) => {
            session.output.line(String::from_utf8_lossy(result).trim_end_matches('\n'), &Nothing {})?
        }
        None => {
            let error = job.last_error.as_ref().map(|error| format!(": {} {}", error.code, error.message));
            let state = job.state().as_str_name().trim_start_matches("JOB_STATE_");
            remark(&format!("job {} is {state}{}", job.job_id, error.unwrap_or_default()));
        }
    }
    Ok(())
}

fn exit(state: JobState) -> Result<(), CliError> {
    match state {
        JobState::Completed => Ok(()),
        state if is_at_rest(state) => Err(CliError::Answer(NOT_COMPLETED)),
        _ => Err(CliError::Answer(UNFINISHED)),
    }
}
