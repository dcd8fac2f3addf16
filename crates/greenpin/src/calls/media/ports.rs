//! Pool of media ports.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use mio::net::UdpSocket;

use crate::calls::traffic_class::Dscp;
use crate::metrics::METRICS;

/// Error while opening a leg.
#[derive(Debug, thiserror::Error)]
pub enum OpenLegError {
    /// Every port of the media range is in use.
    #[error("no media port is free")]
    NoPortFree,
    /// The system refused a socket.
    #[error("media port: {0}")]
    Io(#[from] io::Error),
}

/// Free even ports. The port freed longest ago is used first, so that late packets of an ended call do not reach a new
/// call.
#[derive(Debug)]
pub(super) struct PortPool {
    bind: IpAddr,
    dscp: Dscp,
    /// Number of pairs in the range.
    size: usize,
    free: Mutex<VecDeque<u16>>,
    in_use: AtomicUsize,
    reserved: AtomicUsize,
}

/// Reserved pairs of ports. Dropping it releases them.
#[derive(Debug)]
pub struct PortReservation {
    pairs: usize,
    pool: Arc<PortPool>,
}

impl Drop for PortReservation {
    fn drop(&mut self) {
        self.pool.reserved.fetch_sub(self.pairs, Ordering::Relaxed);
    }
}

/// Two bound sockets. Dropping them returns the ports to the pool.
#[derive(Debug)]
pub(super) struct PortPair {
    pub(super) rtp: UdpSocket,
    pub(super) rtcp: UdpSocket,
    pub(super) port: u16,
    _lease: Lease,
}

// Last field of `PortPair`, so that the sockets close before the port is free.
#[derive(Debug)]
struct Lease {
    port: u16,
    pool: Arc<PortPool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.in_use.fetch_sub(1, Ordering::Relaxed);
        METRICS.rtp_port_pairs.dec();
        self.pool.return_port(self.port);
    }
}

impl PortPool {
    pub(super) fn new(bind: IpAddr, ports: &RangeInclusive<u16>, dscp: Dscp) -> Self {
        let pairs = ports
            .clone()
            .filter(|port| port % 2 == 0 && port < ports.end());
        let free: VecDeque<u16> = pairs.collect();
        Self {
            bind,
            dscp,
            size: free.len(),
            free: Mutex::new(free),
            in_use: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
        }
    }

    /// Returns `true` if that many pairs are not reserved.
    pub(super) fn has_room(&self, pairs: usize) -> bool {
        let reserved = self.reserved.load(Ordering::Relaxed);
        reserved.saturating_add(pairs) <= self.size
    }

    /// Reserves pairs; `None` if too few are left. Pairs in use by other programs are not known here.
    pub(super) fn reserve(self: &Arc<Self>, pairs: usize) -> Option<PortReservation> {
        let reserve = |reserved: usize| {
            let reserved = reserved.checked_add(pairs)?;
            (reserved <= self.size).then_some(reserved)
        };
        let order = Ordering::Relaxed;
        let update = self.reserved.fetch_update(order, order, reserve);
        update.is_ok().then(|| PortReservation {
            pairs,
            pool: self.clone(),
        })
    }

    /// Returns the number of pairs in use.
    pub(super) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Binds a pair of ports at the address of the pool.
    pub(super) fn bind(self: &Arc<Self>) -> Result<PortPair, OpenLegError> {
        self.bind_at(self.bind)
    }

    /// Binds a pair of ports at an IP address. Ports in use by another program are skipped and tried again later.
    pub(super) fn bind_at(self: &Arc<Self>, ip: IpAddr) -> Result<PortPair, OpenLegError> {
        let attempts = self.lock().len();
        for _ in 0..attempts {
            let port = self.lock().pop_front().ok_or(OpenLegError::NoPortFree)?;
            match self.bind_pair(ip, port) {
                Ok((rtp, rtcp)) => {
                    self.in_use.fetch_add(1, Ordering::Relaxed);
                    METRICS.rtp_port_pairs.inc();
                    let _lease = Lease {
                        port,
                        pool: self.clone(),
                    };
                    return Ok(PortPair {
                        rtp,
                        rtcp,
                        port,
                        _lease,
                    });
                }
                Err(error) => {
                    self.return_port(port);
                    if error.kind() != io::ErrorKind::AddrInUse {
                        return Err(OpenLegError::Io(error));
                    }
                }
            }
        }
        Err(OpenLegError::NoPortFree)
    }

    fn bind_pair(&self, ip: IpAddr, port: u16) -> io::Result<(UdpSocket, UdpSocket)> {
        let bind = |port| {
            let address = SocketAddr::new(ip, port);
            let socket = UdpSocket::bind(address)?;
            self.dscp.apply(&socket, address)?;
            Ok::<_, io::Error>(socket)
        };
        Ok((bind(port)?, bind(port.saturating_add(1))?))
    }

    fn return_port(&self, port: u16) {
        self.lock().push_back(port);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<u16>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_pair_has_an_even_port_and_returns_to_the_pool_when_dropped() {
        let pool = Arc::new(PortPool::new(
            LOCALHOST,
            &(31_001..=31_004),
            Dscp::default(),
        ));
        let pair = pool.bind().unwrap();
        assert_eq!(
            (
                pair.port,
                pair.rtcp.local_addr().unwrap().port(),
                pool.in_use()
            ),
            (31_002, 31_003, 1)
        );
        assert!(matches!(pool.bind(), Err(OpenLegError::NoPortFree)));
        drop(pair);
        assert_eq!((pool.in_use(), pool.bind().unwrap().port), (0, 31_002));
    }

    #[test]
    fn reserved_pairs_are_released_when_the_reservation_is_dropped() {
        let pool = Arc::new(PortPool::new(
            LOCALHOST,
            &(31_030..=31_035),
            Dscp::default(),
        ));
        let (first, second) = (pool.reserve(2), pool.reserve(2));
        assert!(first.is_some() && second.is_none());
        let third = pool.reserve(1).unwrap();
        assert!(!pool.has_room(1));
        drop(first);
        assert!(pool.has_room(2) && !pool.has_room(3));
        drop(third);
        assert!(pool.has_room(3));
    }

    #[test]
    fn a_port_in_use_by_another_program_is_skipped() {
        let _other = std::net::UdpSocket::bind((LOCALHOST, 31_013)).unwrap();
        let pool = Arc::new(PortPool::new(
            LOCALHOST,
            &(31_012..=31_015),
            Dscp::default(),
        ));
        assert_eq!(pool.bind().unwrap().port, 31_014);
    }

    #[test]
    fn a_range_without_a_pair_has_no_port() {
        let pool = Arc::new(PortPool::new(
            LOCALHOST,
            &(31_020..=31_020),
            Dscp::default(),
        ));
        assert!(matches!(pool.bind(), Err(OpenLegError::NoPortFree)));
    }
}
