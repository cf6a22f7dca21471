//! Counts connections, over all and by where they come from.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimit {
    /// Over all.
    pub total: usize,
    /// From one address; of IPv6, from one /64, which is what one customer is given.
    pub per_address: usize,
}

/// The places for connections.
#[derive(Clone)]
pub(super) struct Slots {
    limit: ConnectionLimit,
    taken: Arc<Mutex<Taken>>,
}

/// A place for a connection; free again when dropped.
pub(super) struct Slot {
    origin: IpAddr,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by_origin: HashMap<IpAddr, usize>,
}

impl Slots {
    pub(super) fn new(limit: ConnectionLimit) -> Slots {
        Slots { limit, taken: Arc::default() }
    }

    /// A place for a connection from `address`, if there is one.
    pub(super) fn take(&self, address: IpAddr) -> Option<Slot> {
        let origin = origin(address);
        let mut taken = lock(&self.taken);
        if taken.total >= self.limit.total {
            return None;
        }
        let from_there = taken.by_origin.entry(origin).or_default();
        if *from_there >= self.limit.per_address {
            return None;
        }
        *from_there += 1;
        taken.total += 1;
        Some(Slot { origin, taken: self.taken.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.total -= 1;
        if let Some(from_there) = taken.by_origin.get_mut(&self.origin) {
            *from_there -= 1;
            if *from_there == 0 {
                taken.by_origin.remove(&self.origin);
            }
        }
    }
}

/// Counting is all that is done under the lock: it cannot be left half done.
fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whom an address stands for.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(total: usize, per_address: usize) -> Slots {
        Slots::new(ConnectionLimit { total, per_address })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let slots = slots(3, 2);
        let held = [slots.take(address("10.0.0.1")), slots.take(address("10.0.0.1"))];
        assert!(held.iter().all(Option::is_some));
        assert!(slots.take(address("10.0.0.1")).is_none());
        let other = slots.take(address("10.0.0.2"));
        assert!(other.is_some());
        assert!(slots.take(address("10.0.0.3")).is_none(), "over all");
        drop(held);
        assert!(slots.take(address("10.0.0.1")).is_some());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let slots = slots(10, 1);
        let _held = slots.take(address("2001:db8::1"));
        assert!(slots.take(address("2001:db8::ffff:2")).is_none());
        assert!(slots.take(address("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn ipv4_address_in_ipv6_form_counts_as_itself() {
        let slots = slots(10, 1);
        let _held = slots.take(address("::ffff:10.0.0.1"));
        assert!(slots.take(address("10.0.0.1")).is_none());
        assert!(slots.take(address("::ffff:10.0.0.2")).is_some());
    }

    #[test]
    fn nothing_is_kept_of_addresses_that_have_gone() {
        let slots = slots(10, 1);
        drop(slots.take(address("10.0.0.1")));
        // Refused ones leave nothing behind either.
        let _held = slots.take(address("10.0.0.2"));
        assert!(slots.take(address("10.0.0.2")).is_none());
        assert_eq!(lock(&slots.taken).by_origin.len(), 1);
        assert_eq!(lock(&slots.taken).total, 1);
    }
}
