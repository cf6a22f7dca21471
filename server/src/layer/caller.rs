//! Who calls: by name where callers must say it, else the address they come from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http::Extensions;
use tonic::transport::server::TcpConnectInfo;

/// Whoever shares a request rate. Who is known by name is in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller(Name);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Address(IpAddr),
    Principal(Arc<str>),
}

impl Caller {
    /// The caller at an address. A host that has a whole IPv6 network for itself (a /64, as providers
    /// give them) is one caller, else it would have as many rates as it has addresses.
    #[must_use]
    pub fn new(address: IpAddr) -> Caller {
        Caller(Name::Address(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
            v4 => v4,
        }))
    }

    /// The caller of this name, wherever it comes from.
    pub(super) fn principal(name: &Arc<str>) -> Caller {
        Caller(Name::Principal(Arc::clone(name)))
    }

    /// Who made a request.
    pub(super) fn of(extensions: &Extensions) -> Caller {
        let told = extensions.get::<Caller>().cloned();
        let seen = || extensions.get::<TcpConnectInfo>()?.remote_addr().map(|a| Caller::new(a.ip()));
        // Whoever cannot be told apart is one caller.
        told.or_else(seen).unwrap_or_else(|| Caller::new(Ipv4Addr::UNSPECIFIED.into()))
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Address(address) => address.fmt(f),
            Name::Principal(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(address: &str) -> Caller {
        Caller::new(address.parse().unwrap())
    }

    #[test]
    fn ipv6_network_is_one_caller() {
        assert_eq!(caller("2001:db8:1:2::1"), caller("2001:db8:1:2:ffff::9"));
        assert_ne!(caller("2001:db8:1:2::1"), caller("2001:db8:1:3::1"));
        assert_ne!(caller("10.0.0.1"), caller("10.0.0.2"));
        assert_eq!(caller("::ffff:10.0.0.1"), caller("10.0.0.1"));
    }

    #[test]
    fn caller_is_taken_from_the_connection() {
        let mut extensions = Extensions::new();
        assert_eq!(Caller::of(&extensions), caller("0.0.0.0"));
        let remote_addr = Some("10.0.0.1:77".parse().unwrap());
        extensions.insert(TcpConnectInfo { local_addr: None, remote_addr });
        assert_eq!(Caller::of(&extensions), caller("10.0.0.1"));
        extensions.insert(caller("10.0.0.2"));
        assert_eq!(Caller::of(&extensions), caller("10.0.0.2"));
    }
}
