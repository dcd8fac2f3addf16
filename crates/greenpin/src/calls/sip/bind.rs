//! Binding of the SIP sockets.

use std::io;
use std::net::SocketAddr;

use signalling::Transport;
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use super::listen::{BindError, Listen};

/// Maximum number of attempts to find ports that are free for both UDP and TCP.
const MAX_PORT_ATTEMPTS: u32 = 16;
/// Size of the UDP socket buffers, for bursts while the engine is busy.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Queue of TCP connections that wait to be accepted.
const ACCEPT_BACKLOG: u32 = 1024;

/// Socket with its bound address.
pub(crate) struct BoundSocket {
    pub(crate) listen: Listen,
    pub(crate) socket: Socket,
}

/// Socket of a listen address.
pub(crate) enum Socket {
    Datagrams(UdpSocket),
    Connections(TcpListener),
}

/// Binds a socket for each address.
pub(super) fn bind_all(listen: &[Listen]) -> Result<Vec<BoundSocket>, BindError> {
    let has_shared_port = listen.iter().any(|tcp| shared_port(listen, tcp).is_some());
    let mut attempts = if has_shared_port {
        MAX_PORT_ATTEMPTS
    } else {
        1
    };
    loop {
        attempts = attempts.saturating_sub(1);
        match bind_once(listen) {
            // Another program uses the TCP port with the number chosen for UDP.
            Err(_) if attempts > 0 => {}
            bound => return bound,
        }
    }
}

/// Binds a socket for each address on its own, with a result for each.
pub(crate) fn bind_each(listen: &[Listen]) -> Vec<Result<BoundSocket, BindError>> {
    let bind = |wanted: &Listen| bind_one(*wanted, shares_port_space(listen, wanted));
    listen.iter().map(bind).collect()
}

/// Returns the index of the UDP address with the port of a TCP address: both have the same IP address and port 0.
fn shared_port(listen: &[Listen], tcp: &Listen) -> Option<usize> {
    let has_any_port = tcp.transport == Transport::Tcp && tcp.address.port() == 0;
    let is_same = |udp: &Listen| udp.transport == Transport::Udp && udp.address == tcp.address;
    listen.iter().position(is_same).filter(|_| has_any_port)
}

fn bind_once(listen: &[Listen]) -> Result<Vec<BoundSocket>, BindError> {
    let mut bound: Vec<Option<BoundSocket>> = Vec::new();
    bound.resize_with(listen.len(), || None);
    let is_udp = |listen: &Listen| listen.transport == Transport::Udp;
    // The ports of UDP come first, because those of TCP may follow them.
    let (udp, others): (Vec<_>, Vec<_>) = listen
        .iter()
        .enumerate()
        .partition(|(_, listen)| is_udp(listen));
    for (index, wanted) in udp.into_iter().chain(others) {
        let udp = shared_port(listen, wanted)
            .and_then(|udp| bound.get(udp)?.as_ref())
            .map(|udp| udp.listen.address.port());
        let mut address = wanted.address;
        address.set_port(udp.unwrap_or(address.port()));
        let only_v6 = shares_port_space(listen, wanted);
        let socket = bind_one(Listen { address, ..*wanted }, only_v6);
        if let Some(entry) = bound.get_mut(index) {
            *entry = Some(socket?);
        }
    }
    Ok(bound.into_iter().flatten().collect())
}

/// Returns `true` for `[::]` beside an IPv4 address of the same transport. It must leave IPv4 to that address.
fn shares_port_space(listen: &[Listen], wanted: &Listen) -> bool {
    let is_beside = |other: &Listen| {
        other.transport == wanted.transport && other.address.ip().to_canonical().is_ipv4()
    };
    let ip = wanted.address.ip();
    ip.is_ipv6() && ip.is_unspecified() && listen.iter().any(is_beside)
}

fn bind_one(wanted: Listen, only_v6: bool) -> Result<BoundSocket, BindError> {
    let failed = |source| BindError::Address {
        listen: wanted,
        source,
    };
    let bind = || {
        let (socket, address) = match wanted.transport {
            Transport::Udp => {
                let socket = bind_udp(wanted.address, only_v6)?;
                let address = socket.local_addr()?;
                (Socket::Datagrams(socket), address)
            }
            Transport::Tcp | Transport::Tls => {
                let socket = bind_tcp(wanted.address, only_v6)?;
                let address = socket.local_addr()?;
                (Socket::Connections(socket), address)
            }
        };
        let listen = Listen { address, ..wanted };
        Ok(BoundSocket { listen, socket })
    };
    bind().map_err(failed)
}

fn bind_udp(address: SocketAddr, only_v6: bool) -> io::Result<UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if only_v6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    // The system may grant less.
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    UdpSocket::from_std(socket.into())
}

fn bind_tcp(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    if only_v6 {
        SockRef::from(&socket).set_only_v6(true)?;
    }
    socket.bind(address)?;
    socket.listen(ACCEPT_BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(words: &[&str]) -> Vec<Listen> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn each_address_has_its_socket_and_tcp_shares_the_port_of_udp() {
        let listen = addresses(&[
            "udp:127.0.0.1:0",
            "udp:127.0.0.2:0",
            "tcp:127.0.0.2:0",
            "tls:127.0.0.1:0",
        ]);
        let bound = bind_all(&listen).unwrap();
        let bound: Vec<Listen> = bound.iter().map(|bound| bound.listen).collect();
        for (bound, wanted) in bound.iter().zip(&listen) {
            assert_eq!(bound.transport, wanted.transport);
            assert_eq!(bound.address.ip(), wanted.address.ip());
            assert_ne!(bound.address.port(), 0);
        }
        assert_eq!(bound[1].address, bound[2].address);
    }

    #[test]
    fn an_unspecified_ipv6_address_leaves_ipv4_to_another_address_of_its_transport() {
        for (others, expected) in [
            (&["udp:0.0.0.0:5060"][..], true),
            (&["tcp:127.0.0.1:5060"], false),
            (&[], false),
        ] {
            let mut listen = addresses(others);
            let unspecified: Listen = "udp:[::]:5060".parse().unwrap();
            listen.push(unspecified);
            assert_eq!(shares_port_space(&listen, &unspecified), expected);
            let named: Listen = "udp:[2001:db8::1]:5060".parse().unwrap();
            assert!(!shares_port_space(&listen, &named));
        }
    }

    #[tokio::test]
    async fn the_error_names_the_address_that_is_in_use() {
        let bound = bind_all(&addresses(&["udp:127.0.0.1:0"])).unwrap();
        let listen = bound[0].listen;
        let error = bind_all(&[listen]).err().unwrap().to_string();
        assert!(error.contains(&listen.to_string()), "{error}");
    }
}
