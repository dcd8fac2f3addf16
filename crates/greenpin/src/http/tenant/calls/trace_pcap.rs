//! Captures in the classic pcap format: each SIP message of a trace as a UDP datagram.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::store::{CallTrace, Timestamp, TraceFact};

/// File header: magic number of microseconds, version 2.4, no zone, no accuracy, maximum length of a packet, link type 101
/// (packets begin with their IP header).
const FILE_HEADER: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0x0004_0000, 101];
const UDP: u8 = 17;
const UDP_HEADER_BYTES: usize = 8;
const IPV4_HEADER_BYTES: usize = 20;
const HOP_LIMIT: u8 = 64;
const MICROS: i64 = 1_000_000;

/// Returns the messages of a trace as a capture.
pub(crate) fn capture(trace: &CallTrace, started_at: Timestamp) -> Vec<u8> {
    let mut out: Vec<u8> = FILE_HEADER
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    for entry in &trace.entries {
        let TraceFact::Sip {
            received,
            local,
            peer,
            text,
            ..
        } = &entry.fact
        else {
            continue;
        };
        let (source, destination) = match received {
            true => (*peer, *local),
            false => (*local, *peer),
        };
        let Some(packet) = packet(source, destination, peer.is_ipv4(), text.as_bytes()) else {
            continue;
        };
        let at = started_at.micros().saturating_add(entry.at);
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let words = [
            u32::try_from(at.div_euclid(MICROS)).unwrap_or(0),
            u32::try_from(at.rem_euclid(MICROS)).unwrap_or(0),
            length,
            length,
        ];
        out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        out.extend(packet);
    }
    out
}

/// Returns an IP packet; `None` if the message is too long for one.
fn packet(
    source: SocketAddr,
    destination: SocketAddr,
    is_ipv4: bool,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let length = payload.len().checked_add(UDP_HEADER_BYTES)?;
    let datagram_length = u16::try_from(length).ok()?;
    let mut datagram = Vec::with_capacity(length);
    for field in [source.port(), destination.port(), datagram_length, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(payload);
    match is_ipv4 {
        true => ipv4(source.ip(), destination.ip(), &datagram),
        false => ipv6(source.ip(), destination.ip(), datagram),
    }
}

fn ipv4(source: IpAddr, destination: IpAddr, datagram: &[u8]) -> Option<Vec<u8>> {
    let address = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let total = u16::try_from(datagram.len().checked_add(IPV4_HEADER_BYTES)?).ok()?;
    // Version 4, header of five words.
    let mut header = vec![0x45, 0];
    header.extend(total.to_be_bytes());
    header.extend([0, 0, 0, 0, HOP_LIMIT, UDP, 0, 0]);
    header.extend(address(source).octets());
    header.extend(address(destination).octets());
    let sum = checksum(&header).to_be_bytes();
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&sum);
    }
    header.extend(datagram);
    Some(header)
}

fn ipv6(source: IpAddr, destination: IpAddr, mut datagram: Vec<u8>) -> Option<Vec<u8>> {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => match address.is_unspecified() {
            true => Ipv6Addr::UNSPECIFIED,
            false => address.to_ipv6_mapped(),
        },
        IpAddr::V6(address) => address,
    };
    let (source, destination) = (address(source).octets(), address(destination).octets());
    let length = u16::try_from(datagram.len()).ok()?;
    // The checksum of UDP covers a pseudo-header (RFC 8200, section 8.1).
    let pseudo = [
        &source[..],
        &destination,
        &[0, 0],
        &length.to_be_bytes(),
        &[0, 0, 0, UDP],
    ];
    let sum = match checksum(&[&pseudo.concat()[..], &datagram].concat()) {
        0 => 0xffff,
        sum => sum,
    };
    if let Some(field) = datagram.get_mut(6..8) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([UDP, HOP_LIMIT]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(datagram);
    Some(packet)
}

/// Returns the Internet checksum (RFC 1071).
fn checksum(octets: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in octets.chunks(2) {
        let high = pair.first().copied().unwrap_or(0);
        let low = pair.get(1).copied().unwrap_or(0);
        sum = sum.wrapping_add(u32::from(u16::from_be_bytes([high, low])));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_its_checksum_sums_to_zero() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let packet = packet(
            address("192.0.2.1:5060"),
            address("198.51.100.7:5062"),
            true,
            b"x",
        );
        let packet = packet.unwrap();
        assert_eq!(packet.len(), 29);
        assert_eq!(checksum(&packet[..20]), 0);
        let long = vec![0; 65_536];
        assert_eq!(
            super::packet(address("192.0.2.1:1"), address("192.0.2.2:1"), true, &long),
            None
        );
    }
}
