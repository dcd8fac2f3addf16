//! Address of the client of a request, and the network that counts as one source.

use std::net::IpAddr;

/// Address of the client of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// Returns the key under which the requests and connections of an address are counted: an IPv6 client owns a whole /64
/// network.
pub(crate) fn source_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}
