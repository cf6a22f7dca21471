//! What the engine knows of an idempotency key. On disk there is the key itself, so the hash could change;
//! but a store that is read and a request that is checked must agree on it.

use xxhash_rust::xxh3::xxh3_128;

/// A hash of the key.
pub(crate) fn hash(key: &str) -> u128 {
    xxh3_128(key.as_bytes())
}
