//! Ports for programs that cannot say which one they took.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports of the server's audio, and of all that is given to whoever asks for any port: nobody takes one of
/// these between its choice and its use.
const FIRST: u16 = 10_000;
/// A program may take the ports after its own: for RTCP, for video, for what steers it.
const STEP: u16 = 30;
const STEPS: u16 = 333;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// An even port that is given once in a run, and that nobody has over UDP or TCP, nor those after it.
pub fn free_port() -> u16 {
    // Two runs at once begin at different places.
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
