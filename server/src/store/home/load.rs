//! Reads everything but the bodies, for a start.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_engine::{Besides, DrainRecord, JobId, Loader, QueueId, QueueRecord};

use super::{Home, StateTree, batch, drain, idempotency, job, open, part, queue, request};
use crate::store::StoreError;

/// What a start has to know besides what the loader was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// The last group that any record includes.
    pub(crate) as_of: u64,
    /// How many jobs are here, counting one twice that is on its way from one tree to another.
    pub(crate) jobs: u64,
}

impl Home {
    /// Brings every record into `loader`.
    pub(crate) fn load(&self, loader: &mut Loader) -> Result<Loaded, StoreError> {
        open::guarded(&self.dir, || {
            let mut loaded = Loaded::default();
            for (record, as_of) in self.queues()? {
                loaded.as_of = loaded.as_of.max(as_of);
                loader.queue(record, as_of);
            }
            for tree in StateTree::ALL {
                self.load_jobs(tree, loader, &mut loaded)?;
            }
            for (record, as_of) in self.drains()? {
                loaded.as_of = loaded.as_of.max(as_of);
                loader.drain(record, as_of);
            }
            self.load_batches(loader, &mut loaded)?;
            self.load_idempotency(loader)?;
            self.load_requests(loader)?;
            Ok(loaded)
        })
    }

    /// The jobs here from `first` on, in no order, perhaps twice.
    pub(crate) fn ids_from(&self, first: JobId) -> Result<Vec<JobId>, StoreError> {
        let mut ids = Vec::new();
        for tree in StateTree::ALL {
            for key in self.states[tree as usize].range(job::key(first)..).keys() {
                let key = key.map_err(|e| self.failed("read jobs", e))?;
                ids.push(job::id(&key).map_err(self.malformed(tree.name(), &key))?);
            }
        }
        Ok(ids)
    }

    fn load_jobs(&self, tree: StateTree, loader: &mut Loader, loaded: &mut Loaded) -> Result<(), StoreError> {
        for row in &self.states[tree as usize] {
            let (key, value) = row.map_err(|e| self.failed("read jobs", e))?;
            let stored = job::decode(&key, &value).map_err(self.malformed(tree.name(), &key))?;
            if StateTree::of(stored.record.state) != tree {
                return Err(self.damaged(tree.name(), &key, "a job in a state of another tree"));
            }
            let stored = self.with_apart(stored)?;
            loaded.jobs += 1;
            loaded.as_of = loaded.as_of.max(stored.as_of);
            loader
                .job(stored.record, stored.as_of)
                .map_err(|error| self.damaged(tree.name(), &key, error))?;
        }
        Ok(())
    }

    fn load_batches(&self, loader: &mut Loader, loaded: &mut Loaded) -> Result<(), StoreError> {
        for row in &self.batch {
            let (key, value) = row.map_err(|e| self.failed("read batches", e))?;
            let (record, as_of) = batch::decode(&key, &value).map_err(self.malformed("batch", &key))?;
            loaded.as_of = loaded.as_of.max(as_of);
            loader.batch(record, as_of);
        }
        Ok(())
    }

    fn load_idempotency(&self, loader: &mut Loader) -> Result<(), StoreError> {
        for row in &self.idempotency {
            let (key, value) = row.map_err(|e| self.failed("read idempotency keys", e))?;
            for record in idempotency::decode(&key, &value).map_err(self.malformed("idempotency", &key))? {
                loader.idempotency(record);
            }
        }
        Ok(())
    }

    fn load_requests(&self, loader: &mut Loader) -> Result<(), StoreError> {
        for row in &self.request {
            let (key, value) = row.map_err(|e| self.failed("read requests", e))?;
            // What is besides is read with its page.
            let Some(page) = request::page_key(&key) else { continue };
            let records = request::decode(&key, &value).map_err(self.malformed("request", &key))?;
            for (place, (mut record, has_besides)) in (0..).zip(records) {
                if has_besides {
                    record.answer.besides = Some(self.besides(&page, place)?);
                }
                loader.request(record);
            }
        }
        Ok(())
    }

    fn besides(&self, page: &[u8; 12], place: u8) -> Result<Arc<Besides>, StoreError> {
        let row = |part| {
            let key = request::besides_key(page, place, part);
            let value = self.request.get(key).map_err(|e| self.failed("read requests", e))?;
            let value = value.ok_or_else(|| self.damaged("request", &key, "a part is missing"))?;
            Ok::<_, StoreError>((key, value))
        };
        let (key, value) = row(0)?;
        let (bytes, first) = part::first(&key, &value).map_err(self.malformed("request", &key))?;
        let mut whole = first.to_vec();
        for number in 1..part::count(bytes) {
            let (key, value) = row(number)?;
            whole.extend_from_slice(part::next(&key, &value).map_err(self.malformed("request", &key))?);
        }
        request::decode_besides(&whole).map_err(self.malformed("request", page))
    }

    /// The newest complete record of each queue.
    pub(super) fn queues(&self) -> Result<Vec<(QueueRecord, u64)>, StoreError> {
        let mut newest: BTreeMap<QueueId, (u64, QueueRecord)> = BTreeMap::new();
        for row in &self.queue {
            let (key, value) = row.map_err(|e| self.failed("read queues", e))?;
            let (id, as_of, part) = queue::parse(&key).map_err(self.malformed("queue", &key))?;
            if part != 0 {
                // Its part 0 is missing: the writing of it did not come to its end.
                continue;
            }
            let (bytes, first) = part::first(&key, &value).map_err(self.malformed("queue", &key))?;
            let mut whole = first.to_vec();
            for part in 1..part::count(bytes) {
                let key = queue::key(id, as_of, part);
                let value = self.queue.get(key).map_err(|e| self.failed("read queues", e))?;
                let value = value.ok_or_else(|| self.damaged("queue", &key, "a part is missing"))?;
                whole.extend_from_slice(part::next(&key, &value).map_err(self.malformed("queue", &key))?);
            }
            let record = queue::decode(id, &whole).map_err(self.malformed("queue", &key))?;
            // Rows of a queue come in the order of their age.
            newest.insert(id, (as_of, record));
        }
        Ok(newest.into_values().map(|(as_of, record)| (record, as_of)).collect())
    }

    /// Every complete set.
    pub(super) fn drains(&self) -> Result<Vec<(DrainRecord, u64)>, StoreError> {
        let mut sets: Vec<(DrainRecord, u64)> = Vec::new();
        let mut open: Option<drain::Head> = None;
        let mut finish = |head: Option<drain::Head>| match head {
            Some(head) if head.record.jobs.len() as u64 != head.jobs => {
                Err(self.damaged("drain", &drain::prefix(head.record.request.id), "a page is missing"))
            }
            Some(head) => {
                sets.push((head.record, head.as_of));
                Ok(())
            }
            None => Ok(()),
        };
        for row in &self.drain {
            let (key, value) = row.map_err(|e| self.failed("read drained sets", e))?;
            let (set, page) = drain::parse(&key).map_err(self.malformed("drain", &key))?;
            if page == 0 {
                let head = drain::decode_head(&key, &value).map_err(self.malformed("drain", &key))?;
                finish(open.replace(head))?;
            } else if let Some(head) = open.as_mut().filter(|head| head.record.request.id == set) {
                drain::decode_page(&key, &value, &mut head.record.jobs)
                    .map_err(self.malformed("drain", &key))?;
            }
            // Otherwise a page whose head is not written yet, or gone first: not a set.
        }
        finish(open)?;
        Ok(sets)
    }
}
