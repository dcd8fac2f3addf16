//! Shrinking of the endpoint's tables after a burst.

use super::Endpoint;

/// Capacity up to which tables are never shrunk, in transactions.
const MIN_CAPACITY: usize = 2048;
/// Maximum ratio of capacity to active transactions.
const MAX_SLACK: usize = 16;

impl Endpoint {
    /// Shrinks all tables if they are much larger than needed. Called at the end of a transaction.
    ///
    /// Room for twice the number of active transactions remains, so that a new burst does not make
    /// the tables grow at once.
    pub(super) fn shrink_tables(&mut self) {
        self.layer.shrink_tables();
        let active = self.transactions.len();
        if self.transactions.capacity() <= MIN_CAPACITY.max(active.saturating_mul(MAX_SLACK)) {
            return;
        }
        let capacity = active.saturating_mul(2).max(MIN_CAPACITY / 2);
        self.transactions.shrink_to(capacity);
        self.legs.shrink_to(capacity);
        self.by_tag.shrink_to(capacity);
        self.recent_invites.shrink_to(capacity);
        self.timers.shrink_to(capacity);
        self.transmits.shrink_to(capacity);
        self.events.shrink_to(capacity);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{EndpointSettings, Network, SipMessage, SipTimers, Transport, Trunk};

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

    fn endpoint() -> Endpoint {
        let accept_from = vec![Network {
            address: PEER,
            prefix: 32,
        }];
        let settings = EndpointSettings {
            advertised: IpAddr::V4(Ipv4Addr::LOCALHOST),
            own_addresses: Vec::new(),
            listen: Vec::new(),
            timers: SipTimers::default(),
            trunks: vec![Trunk {
                accept_from,
                ..Trunk::default()
            }],
        };
        Endpoint::new(settings, Box::new(|| 7))
    }

    fn send_options(endpoint: &mut Endpoint, number: usize, now: Instant) {
        let text = format!(
            "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bK{number}\r\n\
             From: <sip:127.0.0.2>;tag=a\r\nTo: <sip:127.0.0.1>\r\nCall-ID: {number}\r\nCSeq: 1 OPTIONS\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        let message = SipMessage::from_datagram(text.into()).unwrap();
        endpoint.receive(Transport::Udp, (PEER, 5060).into(), message, now);
        while endpoint.poll_transmit().is_some() {}
    }

    #[test]
    fn a_burst_leaves_small_tables_even_if_a_transaction_is_always_active() {
        let (mut endpoint, start) = (endpoint(), Instant::now());
        (0..6000).for_each(|number| send_options(&mut endpoint, number, start));
        assert_eq!(endpoint.load().transactions, 6000);
        send_options(&mut endpoint, 6000, start + Duration::from_secs(31));
        // Timer J (RFC 3261, section 17.2.2).
        endpoint.handle_timeout(start + Duration::from_secs(33));
        assert_eq!(endpoint.load().transactions, 1);
        assert!(
            endpoint.transactions.capacity() <= MIN_CAPACITY,
            "{}",
            endpoint.transactions.capacity()
        );
        assert!(
            endpoint.timers.capacity() <= MIN_CAPACITY,
            "{}",
            endpoint.timers.capacity()
        );
        endpoint.handle_timeout(start + Duration::from_secs(64));
        assert_eq!(endpoint.load().transactions, 0);
    }
}
