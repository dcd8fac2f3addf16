//! Addresses of a leg's peer, and the check of packet sources.

use std::{net::SocketAddr, time::Duration};

use super::{Remote, SourceRule};

/// Addresses of the peer for sending, and the rule for accepted sources.
#[derive(Debug)]
pub(super) struct PeerAddress {
    rtp: SocketAddr,
    rtcp: SocketAddr,
    rule: SourceRule,
    latched: Option<SocketAddr>,
    contact: Contact,
    /// Earlier addresses of the leg that have never answered, with the octets sent to them.
    unanswered: Vec<(SocketAddr, usize)>,
}

/// Packets exchanged with a peer's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contact {
    /// No packet has come from the address.
    Unanswered {
        /// First check after the first packet to it, or after a pause of sending.
        since: Option<Duration>,
        /// Octets sent to it.
        octets: usize,
    },
    /// Nothing has come from the address for too long: nothing is sent.
    Paused,
    /// A packet has come from the address.
    Answered,
}

/// Maximum number of octets to an address that never answers, in the whole call: more than 5 s of G.711. It holds however
/// often the address or the direction is negotiated anew.
const MAX_UNANSWERED_OCTETS: usize = 64_000;
/// Maximum number of addresses of a leg that never answer. Nothing is sent to further ones before they answer.
const MAX_UNANSWERED_ADDRESSES: usize = 8;

impl PeerAddress {
    /// Creates the addresses of a negotiated peer. A latched source is kept while the negotiated address stays the
    /// same.
    pub(super) fn new(remote: &Remote, before: Option<&Self>) -> Self {
        let above = SocketAddr::new(remote.rtp.ip(), remote.rtp.port().saturating_add(1));
        let same = before.filter(|before| before.rtp == remote.rtp && before.rule == remote.source);
        let unanswered = before.map(Self::unanswered_before).unwrap_or_default();
        let sent = unanswered
            .iter()
            .find(|(address, _)| *address == remote.rtp);
        let contact = match (same, sent) {
            (Some(same), _) => same.contact,
            (None, Some((_, octets))) => Contact::unanswered(*octets),
            (None, None) if unanswered.len() >= MAX_UNANSWERED_ADDRESSES => Contact::Paused,
            (None, None) => Contact::unanswered(0),
        };
        Self {
            rtp: remote.rtp,
            rtcp: remote.rtcp.unwrap_or(above),
            rule: remote.source.clone(),
            latched: same.and_then(|before| before.latched),
            contact,
            unanswered,
        }
    }

    /// Returns the addresses that have not answered so far, this one included.
    fn unanswered_before(&self) -> Vec<(SocketAddr, usize)> {
        let mut addresses = self.unanswered.clone();
        addresses.retain(|(address, _)| *address != self.rtp);
        let octets = match self.contact {
            Contact::Unanswered { octets, .. } => Some(octets),
            Contact::Paused => Some(MAX_UNANSWERED_OCTETS),
            Contact::Answered => None,
        };
        let entry = octets.map(|octets| (self.rtp, octets));
        let has_room = addresses.len() < MAX_UNANSWERED_ADDRESSES;
        addresses.extend(entry.filter(|_| has_room));
        addresses
    }

    /// Returns `true` if RTP from `source` is accepted. The latch rule keeps the first accepted source.
    pub(super) fn accepts(&mut self, source: SocketAddr) -> bool {
        let allowed = self.may_accept(source);
        if allowed && matches!(self.rule, SourceRule::Latch(_)) {
            self.latched = Some(source);
        }
        allowed
    }

    /// Returns `true` if a packet from `source` may be accepted. Changes nothing, because the packet is not
    /// authenticated yet.
    pub(super) fn may_accept(&self, source: SocketAddr) -> bool {
        match (&self.rule, self.latched) {
            (SourceRule::Negotiated, _) => source == self.rtp,
            (SourceRule::Latch(_), Some(latched)) => source == latched,
            (SourceRule::Latch(networks), None) => {
                networks.iter().any(|network| network.contains(source.ip()))
            }
        }
    }

    /// Returns `true` if RTCP from `source` is accepted. Only the IP address is compared, because NAT changes ports and
    /// RTCP affects only statistics.
    pub(super) fn accepts_rtcp(&self, source: SocketAddr) -> bool {
        source.ip() == self.latched.unwrap_or(self.rtcp).ip()
    }

    /// Notes a packet of the peer.
    pub(super) fn on_received(&mut self) {
        self.contact = Contact::Answered;
    }

    /// Notes octets sent to the peer.
    pub(super) fn on_sent(&mut self, length: usize) {
        if let Contact::Unanswered { octets, .. } = &mut self.contact {
            *octets = octets.saturating_add(length);
        }
    }

    /// Returns `false` if too much was sent without any packet of the peer.
    pub(super) fn may_send(&self) -> bool {
        match self.contact {
            Contact::Unanswered { octets, .. } => octets < MAX_UNANSWERED_OCTETS,
            Contact::Paused => false,
            Contact::Answered => true,
        }
    }

    /// Pauses sending if nothing has come from the address for longer than the limit. Returns `true` if the pause starts
    /// now.
    pub(super) fn check_answered(&mut self, limit: Duration, now: Duration) -> bool {
        let Contact::Unanswered { since, octets } = self.contact else {
            return false;
        };
        let since = since.or((octets > 0).then_some(now));
        let too_long = since.is_some_and(|since| now.saturating_sub(since) > limit)
            || octets >= MAX_UNANSWERED_OCTETS;
        self.contact = match too_long {
            true => Contact::Paused,
            false => Contact::Unanswered { since, octets },
        };
        too_long
    }

    /// Stops the time without an answer while nothing is sent.
    pub(super) fn stop_clock(&mut self) {
        if let Contact::Unanswered { since, .. } = &mut self.contact {
            *since = None;
        }
    }

    /// Returns the destination of RTP.
    pub(super) fn rtp(&self) -> SocketAddr {
        self.latched.unwrap_or(self.rtp)
    }

    /// Returns the destination of RTCP.
    pub(super) fn rtcp(&self) -> SocketAddr {
        let above =
            |latched: SocketAddr| SocketAddr::new(latched.ip(), latched.port().saturating_add(1));
        self.latched.map_or(self.rtcp, above)
    }
}

impl Contact {
    fn unanswered(octets: usize) -> Self {
        Self::Unanswered {
            since: None,
            octets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::{Codec, NegotiatedFormats, OpusSettings};

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn remote(rtp: &str, source: SourceRule) -> Remote {
        let formats = NegotiatedFormats::new(Codec::Pcma);
        Remote {
            rtp: address(rtp),
            rtcp: None,
            formats,
            opus: OpusSettings::default(),
            crypto: None,
            send: true,
            receive: true,
            source,
            proven: true,
        }
    }

    fn latch(network: &str, prefix: u8) -> SourceRule {
        SourceRule::Latch(vec![signalling::Network {
            address: network.parse().unwrap(),
            prefix,
        }])
    }

    #[test]
    fn only_the_negotiated_address_and_port_are_accepted() {
        let mut peer = PeerAddress::new(&remote("192.0.2.1:4000", SourceRule::Negotiated), None);
        assert!(peer.accepts(address("192.0.2.1:4000")));
        assert!(!peer.accepts(address("192.0.2.1:4002")));
        assert!(!peer.accepts(address("192.0.2.2:4000")));
        assert_eq!(peer.rtcp(), address("192.0.2.1:4001"));
    }

    #[test]
    fn the_first_source_within_the_networks_is_latched_and_no_other_is_accepted() {
        let mut peer = PeerAddress::new(&remote("10.0.0.9:4000", latch("192.0.2.0", 24)), None);
        assert!(!peer.accepts(address("198.51.100.1:4000")));
        assert!(!peer.accepts(address("10.0.0.9:4000")));
        assert!(peer.accepts(address("192.0.2.7:5000")));
        assert!(!peer.accepts(address("192.0.2.8:5000")));
        assert!(!peer.accepts(address("192.0.2.7:5001")));
        assert_eq!(
            (peer.rtp(), peer.rtcp()),
            (address("192.0.2.7:5000"), address("192.0.2.7:5001"))
        );
    }

    #[test]
    fn a_new_offer_keeps_the_latched_source_unless_its_address_changes() {
        let first = remote("10.0.0.9:4000", latch("192.0.2.0", 24));
        let mut peer = PeerAddress::new(&first, None);
        assert!(peer.accepts(address("192.0.2.7:5000")));
        assert!(!PeerAddress::new(&first, Some(&peer)).accepts(address("192.0.2.8:5000")));
        let moved = remote("10.0.0.9:4002", latch("192.0.2.0", 24));
        assert!(PeerAddress::new(&moved, Some(&peer)).accepts(address("192.0.2.8:5000")));
    }

    #[test]
    fn an_address_that_never_answers_gets_nothing_more_until_a_packet_comes() {
        const LIMIT: Duration = Duration::from_secs(5);
        let at = Duration::from_secs;
        let open = remote("192.0.2.1:4000", SourceRule::Negotiated);
        let mut peer = PeerAddress::new(&open, None);
        assert!(!peer.check_answered(LIMIT, at(60)), "nothing was sent yet");
        peer.on_sent(172);
        assert!(!peer.check_answered(LIMIT, at(60)));
        assert!(!peer.check_answered(LIMIT, at(65)));
        assert!(peer.may_send());
        assert!(peer.check_answered(LIMIT, at(66)));
        assert!(!peer.check_answered(LIMIT, at(67)), "reported once");
        assert!(!peer.may_send());
        assert!(!PeerAddress::new(&open, Some(&peer)).may_send());
        let moved = remote("192.0.2.1:4002", SourceRule::Negotiated);
        assert!(PeerAddress::new(&moved, Some(&peer)).may_send());
        peer.on_received();
        peer.on_sent(172);
        assert!(peer.may_send() && !peer.check_answered(LIMIT, at(600)));
    }

    #[test]
    fn the_octets_to_an_address_without_an_answer_are_bounded_in_the_whole_call() {
        const LIMIT: Duration = Duration::from_secs(5);
        let port = |port: u16| remote(&format!("192.0.2.1:{port}"), SourceRule::Negotiated);
        let mut peer = PeerAddress::new(&port(4000), None);
        let mut sent = [0_usize; 2];
        // The address changes to and fro, and each time sending stops before the time limit.
        for round in 0..2000_u16 {
            let current = usize::from(round % 2);
            peer = PeerAddress::new(&port(4000 + 2 * (round % 2)), Some(&peer));
            for _ in 0..10 {
                if peer.may_send() {
                    peer.on_sent(172);
                    sent[current] += 172;
                }
            }
            peer.check_answered(LIMIT, Duration::ZERO);
            peer.stop_clock();
        }
        assert!(
            sent.iter()
                .all(|octets| *octets < MAX_UNANSWERED_OCTETS + 172)
        );
        peer.on_received();
        assert!(peer.may_send());
        // Further addresses get nothing once too many have not answered.
        for index in 0..MAX_UNANSWERED_ADDRESSES {
            let next = port(5000 + u16::try_from(index).unwrap());
            peer = PeerAddress::new(&next, Some(&peer));
        }
        assert!(!PeerAddress::new(&port(6000), Some(&peer)).may_send());
    }
}
