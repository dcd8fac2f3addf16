//! Tables that give the room of the busiest moment back.

use super::Endpoint;

/// Room for so many transactions is kept.
const KEPT: usize = 2048;
/// Room for so many times the transactions that are under way is too much.
const TOO_MUCH: usize = 16;

impl Endpoint {
    /// To be called when a transaction has ended. Room for twice as many as there are is left, so that those that come
    /// back do not make the tables grow at once.
    pub(super) fn give_back_room(&mut self) {
        self.layer.give_back_room();
        let under_way = self.transactions.len();
        if self.transactions.capacity() <= KEPT.max(under_way * TOO_MUCH) {
            return;
        }
        let room = (under_way * 2).max(KEPT / 2);
        self.transactions.shrink_to(room);
        self.legs.shrink_to(room);
        self.by_tag.shrink_to(room);
        self.offers.shrink_to(room);
        self.timers.shrink_to(room);
        self.transmits.shrink_to(room);
        self.events.shrink_to(room);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{Network, Settings, SipMessage, Transport, Trunk};

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

    fn endpoint() -> Endpoint {
        let accept_from = vec![Network {
            address: PEER,
            prefix: 32,
        }];
        let settings = Settings {
            advertised: IpAddr::V4(Ipv4Addr::LOCALHOST),
            udp_port: 5060,
            tcp_port: 5060,
            tls_port: 5061,
            trunks: vec![Trunk {
                accept_from,
                ..Trunk::default()
            }],
        };
        Endpoint::new(settings, Box::new(|| 7))
    }

    fn ask(endpoint: &mut Endpoint, number: usize, now: Instant) {
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
    fn a_burst_leaves_little_room_behind_although_a_transaction_is_under_way_at_each_moment() {
        let (mut endpoint, start) = (endpoint(), Instant::now());
        (0..6000).for_each(|number| ask(&mut endpoint, number, start));
        assert_eq!(endpoint.load().transactions, 6000);
        ask(&mut endpoint, 6000, start + Duration::from_secs(31));
        // Timer J: RFC 3261, section 17.2.2.
        endpoint.handle_timeout(start + Duration::from_secs(33));
        assert_eq!(endpoint.load().transactions, 1);
        assert!(
            endpoint.transactions.capacity() <= KEPT,
            "{}",
            endpoint.transactions.capacity()
        );
        assert!(
            endpoint.timers.capacity() <= KEPT,
            "{}",
            endpoint.timers.capacity()
        );
        endpoint.handle_timeout(start + Duration::from_secs(64));
        assert_eq!(endpoint.load().transactions, 0);
    }
}
