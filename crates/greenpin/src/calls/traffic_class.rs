//! Differentiated services marks of sent packets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

/// Mark of sent packets: a DSCP from 0 to 63 (RFC 2474, section 3). 46, expedited forwarding, is usual for audio, 24 for
/// SIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dscp(u8);

impl Dscp {
    /// Returns a mark; `None` above 63.
    pub fn new(value: u8) -> Option<Self> {
        (value < 64).then_some(Self(value))
    }

    /// Marks the packets of a socket that is bound to an address. A mark of 0 changes nothing.
    pub(super) fn apply(self, socket: &impl AsFd, bound: SocketAddr) -> io::Result<()> {
        if self.0 == 0 {
            return Ok(());
        }
        let socket = socket2::SockRef::from(socket);
        // The upper six bits of the octet that both IP versions have.
        let octet = u32::from(self.0) << 2;
        if bound.is_ipv6() {
            socket.set_tclass_v6(octet)?;
            // Packets to IPv4 peers. The system rejects it for a socket without them.
            let _ = socket.set_tos_v4(octet);
            return Ok(());
        }
        socket.set_tos_v4(octet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_set_on_sockets_of_both_families() {
        let mark = Dscp::new(46).unwrap();
        let v4 = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        mark.apply(&v4, v4.local_addr().unwrap()).unwrap();
        assert_eq!(socket2::SockRef::from(&v4).tos_v4().unwrap(), 0xb8);
        let v6 = std::net::UdpSocket::bind("[::1]:0").unwrap();
        mark.apply(&v6, v6.local_addr().unwrap()).unwrap();
        assert_eq!(socket2::SockRef::from(&v6).tclass_v6().unwrap(), 0xb8);
        assert_eq!(Dscp::new(64), None);
    }
}
