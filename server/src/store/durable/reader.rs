//! Reads bodies from the log and from sled, on any thread, beside the writer.

use std::sync::{Arc, PoisonError, RwLock};

use sluice_engine::JobId;

use crate::store::home::Home;
use crate::store::log::{self, LogPlace};
use crate::store::{Body, BodyReader, Place, PlaceKind, StoreError};

/// Held by those who are to read from home: what is there stays until they have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pin(Arc<()>);

impl Pin {
    /// Whether nobody but the caller holds it.
    pub(super) fn is_free(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// Reads bodies, until the store is closed.
pub(super) struct HomeReader {
    home: RwLock<Option<Home>>,
}

impl HomeReader {
    pub(super) fn new(home: Home) -> HomeReader {
        HomeReader { home: RwLock::new(Some(home)) }
    }

    /// Where it reads.
    pub(super) fn home(&self) -> Result<Home, StoreError> {
        self.home.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)
    }

    /// Gives the home back, once those who are reading have what they read: the store is closed then.
    pub(super) fn take(&self) -> Result<Home, StoreError> {
        self.home.write().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(closed)
    }
}

/// Nothing is read from a store that is closed.
fn closed() -> StoreError {
    StoreError::Unusable("the store is closed".to_owned())
}

fn read_home(home: &Home, id: JobId) -> Result<Body, StoreError> {
    let mut body = home.body(id)?;
    // sled may have lost it, after a kill: it must not pass for an empty one.
    if body.payload.is_none() && home.needs_payload(id)? {
        return Err(home.body_missing(id));
    }
    body.detail = home.detail(id)?;
    Ok(body)
}

impl BodyReader for HomeReader {
    fn read(&self, places: &[Place]) -> Result<Vec<Body>, StoreError> {
        let home = self.home.read().unwrap_or_else(PoisonError::into_inner);
        let home = home.as_ref().ok_or_else(closed)?;
        let mut bodies = vec![Body::default(); places.len()];
        let mut from_log: Vec<(JobId, &LogPlace)> = Vec::new();
        let mut indexes: Vec<usize> = Vec::new();
        for (index, place) in places.iter().enumerate() {
            match &place.0 {
                PlaceKind::Memory(body) => bodies[index] = body.clone(),
                PlaceKind::Home { id, .. } => bodies[index] = read_home(home, *id)?,
                PlaceKind::Log { id, place, .. } => {
                    from_log.push((*id, place));
                    indexes.push(index);
                }
            }
        }
        let found = log::read_bodies(&from_log)?;
        for ((index, body), (id, _)) in indexes.into_iter().zip(found).zip(&from_log) {
            bodies[index] =
                body.ok_or_else(|| StoreError::Damaged(format!("job {id} is not where it was born")))?;
            if let PlaceKind::Log { detail_at_home: true, .. } = &places[index].0 {
                bodies[index].detail = home.detail(*id)?;
            }
        }
        Ok(bodies)
    }
}
