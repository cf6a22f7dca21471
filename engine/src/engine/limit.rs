//! Shared limits come into being, change and go.

use crate::bound::MAX_LIMITS;
use crate::command::PutLimit;
use crate::engine::{Effects, Engine};
use crate::ledger::flow::Spot;
use crate::ledger::keys::KeyId;
use crate::ledger::limits::Limit;
use crate::limit::{LimitRecord, LimitSettings, LimitView};
use crate::mutation::Mutation;
use crate::name::LimitName;
use crate::outcome::{Answer, Outcome, Refusal};
use crate::time::Now;

impl Engine {
    pub(super) fn put_limit(&mut self, put: PutLimit, now: Now, effects: &mut Effects) -> Answer {
        let known = self.ledger.limits.find(&put.name).map(|limit| &limit.record);
        if put.version.is_some() && put.version != known.map(LimitRecord::version) {
            return Err(Refusal::VersionMismatch);
        }
        let before = known.map(|record| &record.settings);
        let settings = put.patch.over(before.unwrap_or(&LimitSettings::default()));
        if before != Some(&settings) {
            let (id, version) = match known {
                Some(record) => (record.id, record.version + 1),
                None if self.ledger.limits.len() >= MAX_LIMITS => return Err(Refusal::TooManyLimits),
                None => (self.ledger.next_queue(), 1),
            };
            let record = LimitRecord { id, name: put.name.clone(), settings, version };
            self.record(Mutation::LimitPut(Box::new(record)), now, effects);
            if self.index.limit(id).is_none() {
                self.index.open_limit(id, &self.ledger);
            } else {
                self.index.resettle_limit(&self.ledger, id, now.engine);
                self.stir(id);
                self.acquires.stir_all();
            }
        }
        let view = self.limit(&put.name, now).ok_or(Refusal::LimitNotFound)?;
        Ok(Outcome::LimitPut(Box::new(view)))
    }

    pub(super) fn delete_limit(&mut self, name: &LimitName, now: Now, effects: &mut Effects) -> Answer {
        let limit = self.ledger.limits.find(name).ok_or(Refusal::LimitNotFound)?;
        if !limit.queues.is_empty() {
            return Err(Refusal::LimitInUse);
        }
        let limit = limit.record.id;
        self.record(Mutation::LimitDeleted { limit }, now, effects);
        self.index.close_limit(limit);
        // Whoever waits for its tokens is told that it is gone.
        self.acquires.stir_all();
        Ok(Outcome::LimitDeleted)
    }

    /// A shared limit; none when there is none of this name.
    #[must_use]
    pub fn limit(&self, name: &LimitName, now: Now) -> Option<LimitView> {
        self.ledger.limits.find(name).map(|limit| self.limit_view(limit, now))
    }

    /// Shared limits by name, after `after`, at most `limit`.
    #[must_use]
    pub fn limits(&self, after: Option<&str>, limit: usize, now: Now) -> Vec<LimitView> {
        self.ledger.limits.after(after).take(limit).map(|limit| self.limit_view(limit, now)).collect()
    }

    fn limit_view(&self, limit: &Limit, now: Now) -> LimitView {
        let LimitRecord { id, name, settings, .. } = &limit.record;
        let spot = Spot { queue: *id, key: KeyId::NONE };
        LimitView {
            name: name.clone(),
            settings: settings.clone(),
            version: limit.record.version(),
            queues: limit.queues.len() as u64,
            tokens: self.ledger.tokens(spot, now.engine),
            node: self.limit_node(limit, now),
        }
    }
}
