//! Rule for the audio that a trunk may negotiate: its codecs, and the addresses that audio may be sent to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Endpoint, EndpointSettings};
use crate::sdp::{Codec, Description, SdpError};
use crate::wire::{Network, Path};

/// Audio that a trunk may negotiate.
#[derive(Debug, Clone, Copy)]
pub(super) struct MediaRule<'a> {
    codecs: &'a [Codec],
    /// Networks of the peer's audio. Empty for all except those of this host.
    networks: &'a [Network],
    settings: &'a EndpointSettings,
}

impl MediaRule<'_> {
    /// Restricts a description to the codecs of the trunk. Fails if its audio must not be sent to its address.
    pub(super) fn apply(&self, description: Description) -> Result<Description, SdpError> {
        self.check(&description)?;
        description.restrict_to(self.codecs)
    }

    /// Fails if the audio of a description must not be sent to its address.
    pub(super) fn check(&self, description: &Description) -> Result<(), SdpError> {
        match self.allows(description.remote().rtp.ip()) {
            true => Ok(()),
            false => Err(SdpError::AddressNotAllowed),
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        // 0.0.0.0 is a hold of RFC 2543. Nothing is sent.
        if address.is_unspecified() {
            return true;
        }
        if !self.networks.is_empty() {
            return self
                .networks
                .iter()
                .any(|network| network.contains(address));
        }
        // A host that is itself reached over loopback has its peers there.
        self.settings.advertised.to_canonical().is_loopback() || !self.is_local(address)
    }

    /// Returns `true` for addresses of this host and of its link.
    fn is_local(&self, address: IpAddr) -> bool {
        let reserved = match address {
            IpAddr::V4(v4) => is_reserved(v4),
            IpAddr::V6(v6) => {
                let embedded = embedded_ipv4(v6);
                let in_reserved = embedded.is_some_and(is_reserved);
                v6.is_loopback() || v6.is_unicast_link_local() || in_reserved
            }
        };
        let mut own = self.settings.own_addresses.iter();
        reserved || own.any(|own| own.to_canonical() == address)
    }
}

impl Endpoint {
    /// Returns the rule for the audio of the peer at a path.
    pub(super) fn media_rule(&self, path: Path) -> MediaRule<'_> {
        let trunk = path.trunk.and_then(|trunk| self.settings.trunks.get(trunk));
        MediaRule {
            codecs: self.codecs_for(path),
            networks: trunk.map_or(&[], |trunk| &trunk.media_from),
            settings: &self.settings,
        }
    }
}

/// Returns `true` for addresses that are no destination on a network: this host, the link, and reserved ones (RFC 6890,
/// section 2.2.2).
fn is_reserved(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    let is_this_network = first == 0 && !address.is_unspecified();
    let is_for_future_use = first >= 240;
    address.is_loopback() || address.is_link_local() || is_this_network || is_for_future_use
}

/// Returns the IPv4 address that a gateway translates an IPv6 address to: IPv4-compatible (RFC 4291, section 2.5.5.1), NAT64
/// (RFC 6052, section 2.1) and 6to4 (RFC 3056, section 2).
fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.octets() {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        | [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        | [0x20, 0x02, a, b, c, d, ..] => Some(Ipv4Addr::new(a, b, c, d)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SipTimers;

    fn allowed(advertised: &str, networks: &[Network], address: &str) -> bool {
        let settings = EndpointSettings {
            advertised: advertised.parse().unwrap(),
            own_addresses: vec!["192.0.2.1".parse().unwrap()],
            listen: Vec::new(),
            timers: SipTimers::default(),
            trunks: Vec::new(),
        };
        let rule = MediaRule {
            codecs: &[],
            networks,
            settings: &settings,
        };
        rule.allows(address.parse().unwrap())
    }

    #[test]
    fn audio_is_not_sent_to_this_host_or_its_link() {
        for address in ["198.51.100.7", "10.0.0.1", "0.0.0.0", "2001:db8::1"] {
            assert!(allowed("192.0.2.1", &[], address), "{address}");
        }
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "255.255.255.255",
            "192.0.2.1",
            "::1",
            "fe80::1",
            "::ffff:127.0.0.1",
            "::ffff:192.0.2.1",
            "0.1.2.3",
            "240.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            assert!(!allowed("192.0.2.1", &[], address), "{address}");
            assert!(allowed("127.0.0.1", &[], address), "{address}");
        }
    }

    #[test]
    fn the_networks_of_a_trunk_decide_alone() {
        let networks = [
            Network::single("127.0.0.5".parse().unwrap()),
            Network {
                address: "198.51.100.0".parse().unwrap(),
                prefix: 24,
            },
        ];
        for advertised in ["192.0.2.1", "127.0.0.1"] {
            for (address, expected) in [
                ("127.0.0.5", true),
                ("198.51.100.9", true),
                ("0.0.0.0", true),
                ("127.0.0.1", false),
                ("203.0.113.1", false),
            ] {
                assert_eq!(
                    allowed(advertised, &networks, address),
                    expected,
                    "{address}"
                );
            }
        }
    }
}
