//! What the engine knows of an idempotency key. The log has the key itself, but what outlives the log is
//! remembered by its hash alone: it never changes.

use xxhash_rust::xxh3::xxh3_128;

/// A hash of the key.
pub(crate) fn hash(key: &str) -> u128 {
    xxh3_128(key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_stays_as_it_is() {
        assert_eq!(hash("order-17"), GOLDEN);
    }

    const GOLDEN: u128 = 61_756_671_245_810_404_965_389_272_376_186_016_888;
}
