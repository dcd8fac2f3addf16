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
}

/// Packets exchanged with a peer's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contact {
    /// Nothing was sent, and nothing has come from the address.
    None,
    /// Packets are sent, but none has come from the address. The time is that of the first check after the first packet.
    Unanswered(Option<Duration>),
    /// Nothing has come from the address for too long: nothing is sent.
    Paused,
    /// A packet has come from the address.
    Answered,
}

impl PeerAddress {
    /// Creates the addresses of a negotiated peer. A latched source is kept while the negotiated address stays the
    /// same.
    pub(super) fn new(remote: &Remote, before: Option<&Self>) -> Self {
        let above = SocketAddr::new(remote.rtp.ip(), remote.rtp.port().saturating_add(1));
        let same = before.filter(|before| before.rtp == remote.rtp && before.rule == remote.source);
        Self {
            rtp: remote.rtp,
            rtcp: remote.rtcp.unwrap_or(above),
            rule: remote.source.clone(),
            latched: same.and_then(|before| before.latched),
            contact: same.map_or(Contact::None, |before| before.contact),
        }
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

    /// Notes a packet to the peer.
    pub(super) fn on_sent(&mut self) {
        if self.contact == Contact::None {
            self.contact = Contact::Unanswered(None);
        }
    }

    /// Returns `false` after too long a time without any packet of the peer.
    pub(super) fn may_send(&self) -> bool {
        self.contact != Contact::Paused
    }

    /// Pauses sending if nothing has come from the address for longer than the limit. Returns `true` if the pause starts
    /// now.
    pub(super) fn check_answered(&mut self, limit: Duration, now: Duration) -> bool {
        let Contact::Unanswered(since) = self.contact else {
            return false;
        };
        let since = since.unwrap_or(now);
        let too_long = now.saturating_sub(since) > limit;
        self.contact = match too_long {
            true => Contact::Paused,
            false => Contact::Unanswered(Some(since)),
        };
        too_long
    }

    /// Starts the time without a packet anew, because the peer sends nothing on purpose.
    pub(super) fn expect_nothing(&mut self) {
        if self.contact != Contact::Answered {
            self.contact = Contact::None;
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
        peer.on_sent();
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
        peer.on_sent();
        assert!(peer.may_send() && !peer.check_answered(LIMIT, at(600)));
    }

    #[test]
    fn a_peer_that_sends_nothing_on_purpose_is_not_expected_to_answer() {
        let mut peer = PeerAddress::new(&remote("192.0.2.1:4000", SourceRule::Negotiated), None);
        peer.on_sent();
        assert!(peer.check_answered(Duration::ZERO, Duration::ZERO) || peer.may_send());
        peer.expect_nothing();
        assert!(peer.may_send());
        assert!(!peer.check_answered(Duration::ZERO, Duration::from_secs(9)));
    }
}
