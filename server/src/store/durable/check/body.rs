//! Looks whether the bodies of jobs can be read where they must be.

use sluice_engine::{JobId, JobRecord, JobState};

use crate::store::StoreError;
use crate::store::home::{Home, StateTree};
use crate::store::log::{self, Examined, LogPlace};

/// Bodies read in one go, and their bytes.
const READ_JOBS: usize = 256;
const READ_BYTES: u64 = 16 << 20;

/// See the module.
pub(super) struct Bodies<'a> {
    home: &'a Home,
    log: &'a Examined,
    /// To be read together: neighbours lie in one stretch.
    waiting: Vec<(JobId, JobState, LogPlace)>,
    waiting_bytes: u64,
    findings: Vec<StoreError>,
}

impl<'a> Bodies<'a> {
    pub(super) fn new(home: &'a Home, log: &'a Examined) -> Bodies<'a> {
        Bodies { home, log, waiting: Vec::new(), waiting_bytes: 0, findings: Vec::new() }
    }

    /// Looks at a job's body. Jobs come in order of their ids.
    pub(super) fn look(&mut self, record: &JobRecord) {
        let Some(place) = self.log.locate(record.id) else { return self.look_home(record.id, record.state) };
        self.waiting.push((record.id, record.state, place));
        self.waiting_bytes += u64::from(record.bytes);
        if self.waiting.len() >= READ_JOBS || self.waiting_bytes >= READ_BYTES {
            self.read();
        }
    }

    /// What is wrong.
    pub(super) fn finish(mut self) -> Vec<StoreError> {
        self.read();
        self.findings
    }

    fn read(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let places: Vec<_> = waiting.iter().map(|(id, _, place)| (*id, place)).collect();
        if log::read_bodies(&places).is_ok_and(|bodies| bodies.iter().all(Option::is_some)) {
            return;
        }
        // Again one by one, to say which.
        for (id, state, place) in waiting {
            match log::read_bodies(&[(id, place)]) {
                Ok(bodies) if bodies.iter().all(Option::is_some) => {}
                // The frame that it was born in is damaged, and named. It may have moved home before.
                Ok(_) => self.look_home(id, state),
                Err(error) => self.findings.push(error),
            }
        }
    }

    fn look_home(&mut self, id: JobId, state: JobState) {
        match self.home.guarded(|| self.home.body(id)) {
            // Of a finished job only the attributes stay.
            Ok(body) if body.payload.is_none() && StateTree::of(state) != StateTree::Done => {
                self.findings.push(self.home.body_missing(id));
            }
            Ok(_) => {}
            Err(error) => self.findings.push(error),
        }
    }
}
