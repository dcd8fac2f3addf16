//! The address at which peers reach the server: packets to it must arrive here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use signalling::{Probe, Transport, Trunk, TrunkPeer};
use tokio::net::UdpSocket;

use super::Context;
use super::deadline::CHECK_TIMEOUT;
use super::finding::{Check, Finding, Judgement};
use crate::calls::sip::{BoundSocket, ProbeError, ProbeRoute, Socket, send_probe};
use crate::crypto::random;
use crate::webhooks::is_public_address;

/// Subject of the findings.
const SUBJECT: &str = "sip.public_address";
/// Interval at which a packet to the server is repeated.
const REPEAT_INTERVAL: Duration = Duration::from_millis(500);

/// Result of a packet to the public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// It arrived at the socket of the server, or the server answered.
    Arrived,
    /// Nothing listens at the address.
    Refused,
    /// Nothing came back.
    Lost,
}

/// Examines the public address with an OPTIONS request. Without a server, `sockets` receive it.
pub(super) async fn examine(context: &Context, sockets: Vec<BoundSocket>) -> Vec<Finding> {
    let sip = &context.config.sip;
    let mut port = sip.udp().port();
    let socket = sockets.into_iter().find_map(|bound| match bound.socket {
        Socket::Datagrams(socket) => Some((bound.listen.address.port(), socket)),
        Socket::Connections(_) => None,
    });
    let unchecked = |why: &str, remedy: &str| {
        vec![Finding::not_checked(
            Check::PublicAddress,
            SUBJECT,
            why,
            remedy,
        )]
    };
    let arrival = match (&context.server, socket) {
        (Some(_), _) if port == 0 => {
            return unchecked(
                "the port of the server is not known",
                "name a port in sip.listen",
            );
        }
        (Some(_), _) if sip.silent.contains(&Transport::Udp) => {
            return unchecked(
                "with sip.silence the server answers only its trunks",
                "make a test call from a trunk",
            );
        }
        (Some(_), Some(_)) => {
            return unchecked(
                "the running server does not listen on its port",
                "if sip.listen has changed, restart the server",
            );
        }
        (Some(_), None) => ask_server(SocketAddr::new(sip.public_address, port)).await,
        (None, Some((bound, socket))) => {
            port = bound;
            receive_at(socket, SocketAddr::new(sip.public_address, port)).await
        }
        (None, None) => {
            return unchecked("the port is in use", "free the port first");
        }
    };
    let address = SocketAddr::new(sip.public_address, port);
    let judgement = match arrival {
        Ok(arrival) => judge(arrival, address, is_local(address.ip())),
        Err(error) => Judgement::Warning(
            format!("nothing can be sent to {address}: {error}"),
            "set sip.public_address to the address at which the carrier reaches this machine"
                .to_owned(),
        ),
    };
    vec![judgement.on(Check::PublicAddress, SUBJECT)]
}

/// Judges the public address of the server. `is_local`: it is an address of this machine.
fn judge(arrival: Arrival, address: SocketAddr, is_local: bool) -> Judgement {
    match (arrival, is_local) {
        (Arrival::Arrived, _) => {
            Judgement::Ok(format!("packets to udp:{address} arrive here"))
        }
        (Arrival::Refused, true) => Judgement::Fault(
            format!("nothing listens at udp:{address}"),
            "set sip.public_address to an address that leads to sip.listen, or listen on 0.0.0.0"
                .to_owned(),
        ),
        (Arrival::Lost, true) => Judgement::Fault(
            format!("packets to udp:{address} do not arrive, although this machine has the address"),
            "check the firewall of this machine, and that sip.listen covers the address".to_owned(),
        ),
        // A router that does not route packets back may refuse them itself.
        (Arrival::Lost | Arrival::Refused, false) => Judgement::Warning(
            format!("nothing came back from udp:{address}, which is not an address of this machine"),
            "behind NAT, forward the SIP ports and media.ports unchanged; many routers do not route packets from inside back \
             (no hairpin), so make a test call from outside"
                .to_owned(),
        ),
    }
}

/// Judges whether the peer of a trunk can reach the address that it is told.
pub(super) fn judge_scope(public: IpAddr, peer: IpAddr) -> Option<Judgement> {
    let is_reachable = is_public_address(public) || !is_public_address(peer);
    if is_reachable {
        return None;
    }
    let remedy =
        "set sip.public_address, or public_address of the trunk, to the outer address of the NAT";
    let reason = format!(
        "the peer has the public address {peer} and gets {public} as the address of this server"
    );
    Some(if public.is_loopback() {
        let reason = format!("{reason}, which no other machine can reach");
        Judgement::Fault(reason, remedy.to_owned())
    } else {
        let reason = format!("{reason}, which is private");
        let remedy = format!("{remedy}, unless a VPN leads there");
        Judgement::Warning(reason, remedy)
    })
}

/// Returns the address from which a socket can send to any address of this IP version.
fn unspecified(to: IpAddr) -> IpAddr {
    match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Returns whether this machine has an address: only then can it be bound.
fn is_local(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

fn trunk_at(address: SocketAddr) -> Trunk {
    Trunk {
        peer: Some(TrunkPeer::at(Transport::Udp, address)),
        ..Trunk::default()
    }
}

/// Sends OPTIONS to the running server. Any answer will do; a stranger gets 403.
async fn ask_server(address: SocketAddr) -> io::Result<Arrival> {
    let trunk = trunk_at(address);
    let route = ProbeRoute {
        transport: Transport::Udp,
        peer: address,
        from: unspecified(address.ip()),
        tls: None,
    };
    let make = |local| Probe::options(&trunk, Transport::Udp, local, Box::new(random::u64));
    match send_probe(route, make, CHECK_TIMEOUT).await {
        Ok(_) => Ok(Arrival::Arrived),
        Err(ProbeError::NoAnswer(_)) => Ok(Arrival::Lost),
        Err(ProbeError::Io(error)) => refused(error),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn refused(error: io::Error) -> io::Result<Arrival> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Ok(Arrival::Refused),
        _ => Err(error),
    }
}

/// Sends OPTIONS to the public address, and waits until it arrives at the socket of the server.
async fn receive_at(socket: UdpSocket, address: SocketAddr) -> io::Result<Arrival> {
    let sender = UdpSocket::bind((unspecified(address.ip()), 0)).await?;
    sender.connect(address).await?;
    let (trunk, local) = (trunk_at(address), sender.local_addr()?);
    let probe = Probe::options(&trunk, Transport::Udp, local, Box::new(random::u64));
    let bytes = probe.map(|probe| probe.bytes()).unwrap_or_default();
    let deadline = Instant::now() + CHECK_TIMEOUT;
    let (mut received, mut reply) = (vec![0; 4096], [0; 1]);
    while Instant::now() < deadline {
        sender.send(&bytes).await?;
        let waiting = tokio::time::sleep(REPEAT_INTERVAL);
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                length = socket.recv(&mut received) => {
                    // A carrier may send to the port meanwhile.
                    if received.get(..length?) == Some(&bytes[..]) {
                        return Ok(Arrival::Arrived);
                    }
                }
                reply = sender.recv(&mut reply) => match reply {
                    Ok(_) => {}
                    Err(error) => return refused(error),
                },
                () = &mut waiting => break,
            }
        }
    }
    Ok(Arrival::Lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_another_machine_loses_or_refuses_is_less_than_a_fault() {
        let address = "203.0.113.10:5060".parse().unwrap();
        let judged = |arrival, is_local| judge(arrival, address, is_local);
        assert!(matches!(judged(Arrival::Arrived, false), Judgement::Ok(_)));
        assert!(matches!(
            judged(Arrival::Refused, true),
            Judgement::Fault(..)
        ));
        assert!(matches!(
            judged(Arrival::Refused, false),
            Judgement::Warning(..)
        ));
        assert!(matches!(judged(Arrival::Lost, true), Judgement::Fault(..)));
        let Judgement::Warning(_, remedy) = judged(Arrival::Lost, false) else {
            panic!("a warning");
        };
        assert!(remedy.contains("NAT"), "{remedy}");
    }

    #[test]
    fn a_peer_on_a_public_address_needs_a_public_address() {
        let judged =
            |public: &str, peer: &str| judge_scope(public.parse().unwrap(), peer.parse().unwrap());
        assert_eq!(judged("93.184.216.34", "8.8.8.8"), None);
        assert_eq!(judged("10.0.0.1", "10.0.0.2"), None);
        assert_eq!(judged("127.0.0.1", "127.0.0.1"), None);
        let private = judged("10.0.0.1", "8.8.8.8");
        assert!(matches!(private, Some(Judgement::Warning(..))));
        let loopback = judged("127.0.0.1", "8.8.8.8");
        assert!(matches!(loopback, Some(Judgement::Fault(..))));
        let v6 = judged("fd00::1", "2606:2800:220:1::1");
        assert!(matches!(v6, Some(Judgement::Warning(..))));
    }

    #[tokio::test]
    async fn a_packet_arrives_at_the_own_socket_and_nowhere_else() {
        let bind = || async { UdpSocket::bind("127.0.0.1:0").await.unwrap() };
        let (own, other) = (bind().await, bind().await);
        let address = own.local_addr().unwrap();
        assert_eq!(receive_at(own, address).await.unwrap(), Arrival::Arrived);
        let closed = bind().await.local_addr().unwrap();
        assert_eq!(receive_at(other, closed).await.unwrap(), Arrival::Refused);
    }
}
