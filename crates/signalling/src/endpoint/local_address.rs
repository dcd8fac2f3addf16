//! Addresses of this host: which one a path uses, and what peers see of it.

use std::net::{IpAddr, SocketAddr};

use super::{Endpoint, LegId};
use crate::wire::{Path, Transport};

/// Address that the host listens on for one transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress {
    /// Transport.
    pub transport: Transport,
    /// Local address and port.
    pub address: SocketAddr,
    /// Address written into `Via`, `Contact` and `From` in place of the local one.
    pub advertised: IpAddr,
}

impl ListenAddress {
    /// Returns an address for UDP, TCP and TLS each, with these ports.
    pub fn for_each_transport(advertised: IpAddr, ports: [u16; 3]) -> Vec<Self> {
        let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
        let listen = |(transport, port)| Self {
            transport,
            address: SocketAddr::new(advertised, port),
            advertised,
        };
        transports.into_iter().zip(ports).map(listen).collect()
    }

    /// Returns the rank of this address for a destination: 2 for the same IP version, 1 for an unspecified IPv6 address,
    /// which serves both, and 0 if it cannot reach the destination.
    fn rank_for(&self, destination: IpAddr) -> u8 {
        let own = self.address.ip();
        let is_same = own.to_canonical().is_ipv4() == destination.to_canonical().is_ipv4();
        match (is_same, own.is_unspecified() && own.is_ipv6()) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        }
    }
}

impl Endpoint {
    /// Returns the index of the address that a path uses: the one in the path, or else one for its transport. Among
    /// several these come first: the IP version of the destination, the IP address that the path used over another
    /// transport, the IP address that the trunk is given (`advertised`), the order of the settings.
    pub(super) fn local_index(&self, path: Path) -> Option<u8> {
        let listen = &self.settings.listen;
        let present = path.local.and_then(|index| listen.get(usize::from(index)));
        if present.is_some_and(|present| present.transport == path.transport) {
            return path.local;
        }
        let trunk = path.trunk.and_then(|trunk| self.settings.trunks.get(trunk));
        let near = present.map(|present| present.address.ip());
        let named = trunk.and_then(|trunk| trunk.advertised);
        let rank = |listen: &ListenAddress| {
            let ip = listen.address.ip();
            let for_destination = listen.rank_for(path.destination.ip());
            (for_destination, Some(ip) == near, Some(ip) == named)
        };
        let fitting = listen.iter().enumerate();
        let fitting = fitting.filter(|(_, listen)| listen.transport == path.transport);
        // The last of equal elements is the greatest, so that the order is reversed.
        let best = fitting.rev().max_by_key(|(_, listen)| rank(listen));
        best.and_then(|(index, _)| u8::try_from(index).ok())
    }

    /// Returns the address that a path uses. Without one for its transport, that of the next weaker transport stands for
    /// it.
    fn listen_address(&self, path: Path) -> Option<&ListenAddress> {
        let weaker = match path.transport {
            Transport::Udp => &[Transport::Udp][..],
            Transport::Tcp => &[Transport::Tcp, Transport::Udp],
            Transport::Tls => &[Transport::Tls, Transport::Tcp, Transport::Udp],
        };
        let index = weaker.iter().find_map(|transport| {
            self.local_index(Path {
                transport: *transport,
                ..path
            })
        })?;
        self.settings.listen.get(usize::from(index))
    }

    /// Returns the address and port at which the peer of a path reaches the endpoint.
    pub(super) fn local_host(&self, path: Path) -> SocketAddr {
        let listen = self.listen_address(path);
        let trunk = path.trunk.and_then(|trunk| self.settings.trunks.get(trunk));
        let advertised = trunk
            .and_then(|trunk| trunk.advertised)
            .or(listen.map(|listen| listen.advertised))
            .unwrap_or(self.settings.advertised);
        SocketAddr::new(advertised, listen.map_or(0, |listen| listen.address.port()))
    }

    /// Returns the index in [`super::EndpointSettings::listen`] of the address that a leg uses.
    pub fn local_of_leg(&self, leg: LegId) -> Option<u8> {
        self.local_index(self.legs.get(&leg)?.path)
    }

    /// Returns the index in [`super::EndpointSettings::listen`] of the address that calls to a trunk leave from.
    pub fn local_of_trunk(&self, trunk: usize) -> Option<u8> {
        self.local_index(self.trunk_path(trunk)?)
    }
}
