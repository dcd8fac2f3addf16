//! Targets for received RTP and RTCP.

use std::time::Duration;

use media::{
    Codec, EventFormat, Header, JitterBuffer, NegotiatedFormats, OutboundStream, Packet,
    ReceiverStats, SRTP_OVERHEAD, SrtpReceiver, SrtpSender, SrtpSuite, forward, parse_rtcp,
};

/// Splits an input into datagrams: one octet for the length, then the datagram.
pub(crate) fn datagrams(mut input: &[u8]) -> Vec<&[u8]> {
    let mut datagrams = Vec::new();
    while let Some((length, rest)) = input.split_first() {
        let (datagram, after) = rest
            .split_at_checked(usize::from(*length))
            .unwrap_or((rest, &[]));
        datagrams.push(datagram);
        input = after;
    }
    datagrams
}

/// Packets of one leg, forwarded to the other.
pub(crate) fn rtp(input: &[u8]) {
    let (mut stats, mut now) = (ReceiverStats::default(), Duration::ZERO);
    let (mut stream, mut buffer) = (OutboundStream::new(7, 1, 1), JitterBuffer::default());
    for datagram in datagrams(input) {
        now += Duration::from_millis(20);
        let Ok(packet) = Packet::parse(datagram) else {
            continue;
        };
        assert_eq!(datagram.get(packet.payload_range()), Some(packet.payload));
        stats.receive(&packet.header, datagram.len(), now);
        let _ = forward(
            &packet,
            &formats(Some(101)),
            &formats(Some(96)),
            &mut stream,
            now,
        );
        buffer.arrive(&packet, now);
        while buffer.next(now).is_some() {}
        let mut copy = datagram.to_vec();
        if let Some(range) = packet.header.replace_in(&mut copy, packet.payload_range()) {
            let again = copy.get(range).map(Packet::parse);
            assert!(
                again.is_some_and(|again| again.is_ok_and(|again| again.header == packet.header))
            );
        }
    }
    let report = stats.report(20.0);
    assert!((0.0..=1.0).contains(&report.loss()));
    let _ = stats.report_block(None, now);
    let after_timeout = now + Duration::from_millis(200);
    while buffer.next(after_timeout).is_some() {}
    assert!(!buffer.is_waiting());
}

fn formats(telephone_event: Option<u8>) -> NegotiatedFormats {
    let telephone_event = telephone_event.map(EventFormat::at_8000);
    NegotiatedFormats {
        telephone_event,
        comfort_noise: true,
        ..NegotiatedFormats::new(Codec::Pcma)
    }
}

/// RTCP compound.
pub(crate) fn rtcp(input: &[u8]) {
    assert!(
        parse_rtcp(input).count() <= input.len() / 4,
        "each item has at least four octets"
    );
}

/// Datagrams for each suite. A datagram without the key is rejected, and an encrypted packet is
/// accepted once.
pub(crate) fn srtp(input: &[u8]) {
    let suites = [
        SrtpSuite::AesCm128HmacSha1_80,
        SrtpSuite::AesCm128HmacSha1_32,
        SrtpSuite::AeadAes128Gcm,
        SrtpSuite::AeadAes256Gcm,
    ];
    for suite in suites {
        let key = vec![3; suite.key_length()];
        let (Some(mut sender), Some(mut receiver)) =
            (SrtpSender::new(suite, &key), SrtpReceiver::new(suite, &key))
        else {
            return;
        };
        for datagram in datagrams(input) {
            assert!(
                receiver.open(&mut datagram.to_vec()).is_err()
                    && receiver.open_rtcp(&mut datagram.to_vec()).is_err()
            );
        }
        seal_and_open(&mut sender, &mut receiver, input);
    }
}

fn seal_and_open(sender: &mut SrtpSender, receiver: &mut SrtpReceiver, payload: &[u8]) {
    let header = Header {
        marker: false,
        payload_type: 8,
        sequence: 1,
        timestamp: 160,
        ssrc: 7,
    };
    let mut packet = [&header.octets()[..], payload].concat();
    let length = packet.len();
    packet.resize(length + SRTP_OVERHEAD, 0);
    let Ok(sealed) = sender.seal(&mut packet, length) else {
        return;
    };
    packet.truncate(sealed);
    let (mut first, mut repeated) = (packet.clone(), packet);
    let opened = receiver.open(&mut first);
    assert_eq!(opened, Ok(length));
    assert_eq!(first.get(Header::LENGTH..length), Some(payload));
    assert!(
        receiver.open(&mut repeated).is_err(),
        "a repeated packet is dropped"
    );
}
