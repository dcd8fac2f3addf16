//! Proxy that makes a distance to the database: it holds each octet for half a round trip, in both directions.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Octets per read.
const CHUNK: usize = 1 << 16;

/// Starts a proxy to a server. Its threads end with the process.
pub(super) fn start(server: SocketAddr, round_trip: Duration) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // A connection that cannot be made is closed, which the client sees.
            let _ = connect(client, server, round_trip / 2);
        }
    });
    Ok(address)
}

fn connect(client: TcpStream, server: SocketAddr, delay: Duration) -> std::io::Result<()> {
    let server = TcpStream::connect(server)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    delay_octets(client.try_clone()?, server.try_clone()?, delay);
    delay_octets(server, client, delay);
    Ok(())
}

/// Copies one direction on two threads: a later octet does not wait for the delay of an earlier one.
fn delay_octets(from: TcpStream, to: TcpStream, delay: Duration) {
    let (sender, receiver) = channel();
    std::thread::spawn(move || receive(from, &sender));
    std::thread::spawn(move || send(&receiver, to, delay));
}

fn receive(mut from: TcpStream, sender: &Sender<(Instant, Vec<u8>)>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        let octets = chunk.get(..length).unwrap_or_default().to_vec();
        if sender.send((Instant::now(), octets)).is_err() {
            return;
        }
    }
}

fn send(receiver: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream, delay: Duration) {
    while let Ok((received, octets)) = receiver.recv() {
        std::thread::sleep((received + delay).saturating_duration_since(Instant::now()));
        if to.write_all(&octets).is_err() {
            return;
        }
    }
    // The other side has closed its direction.
    let _ = to.shutdown(Shutdown::Write);
}
