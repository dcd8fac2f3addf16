//! Source addresses of packets and connections.

use std::net::SocketAddr;

/// Returns the address of a peer as the peer's own family has it. A socket on an IPv6 address reports IPv4 peers as
/// mapped addresses, `::ffff:192.0.2.1` (RFC 4291, section 2.5.5.2), which equal no configured or negotiated address.
pub(super) fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        // Only a mapped address changes its family. An IPv6 address keeps its scope.
        ip if ip.is_ipv4() => SocketAddr::new(ip, address.port()),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mapped_address_changes() {
        for (address, expected) in [
            ("[::ffff:192.0.2.1]:5060", "192.0.2.1:5060"),
            ("192.0.2.1:5060", "192.0.2.1:5060"),
            ("[2001:db8::1]:5060", "[2001:db8::1]:5060"),
            ("[fe80::1%3]:5060", "[fe80::1%3]:5060"),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(unmapped(address), expected.parse().unwrap());
        }
    }
}
