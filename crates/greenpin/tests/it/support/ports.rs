//! Ports for programs without a way to report their own.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// First port. The range is below the server's audio ports and the system's ephemeral ports, so no other program
/// takes a port between its choice and its use.
const FIRST: u16 = 10_000;
/// Distance between ports. A program may also use the following ports for RTCP, video or control.
const STEP: u16 = 30;
const STEPS: u16 = 333;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Returns an even port, unique in this run and free over UDP and TCP, like the ports after it.
pub fn free_port() -> u16 {
    // Parallel runs start at different ports.
    let begin = u16::try_from(std::process::id() % u32::from(STEPS)).unwrap();
    loop {
        let step = (begin + NEXT.fetch_add(1, Ordering::Relaxed) % STEPS) % STEPS;
        let port = FIRST + step * STEP;
        if (port..port + STEP).all(is_free) {
            return port;
        }
    }
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok()
}
