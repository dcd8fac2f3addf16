//! HTTP load: the same request repeated on persistent connections, one at a time on each.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Number of connections.
const CONNECTIONS: usize = 64;

/// Repeats one request for `time`. Returns the responses per second with the expected status.
pub(super) async fn run(
    address: SocketAddr,
    request: &str,
    status: u16,
    time: Duration,
) -> Result<f64, String> {
    let until = Instant::now() + time;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(tokio::spawn(converse(
            address,
            request.to_owned(),
            status,
            until,
        )));
    }
    let mut answered = 0_u32;
    for connection in connections {
        answered += connection.await.map_err(|error| error.to_string())??;
    }
    Ok(f64::from(answered) / time.as_secs_f64())
}

async fn converse(
    address: SocketAddr,
    request: String,
    status: u16,
    until: Instant,
) -> Result<u32, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let mut answer = Vec::new();
    let mut count = 0;
    while Instant::now() < until {
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        answer.clear();
        while !is_whole(&answer) {
            if stream.read_buf(&mut answer).await.map_err(failed)? == 0 {
                return Err("the server closed a connection".to_owned());
            }
        }
        let expected = format!("HTTP/1.1 {status}");
        if !answer.starts_with(expected.as_bytes()) {
            return Err(String::from_utf8_lossy(&answer).into_owned());
        }
        count += 1;
    }
    Ok(count)
}

/// Returns whether a response has arrived completely, by its `Content-Length`.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).to_ascii_lowercase();
    let length = head.lines().find_map(|line| {
        line.strip_prefix("content-length: ")?
            .trim()
            .parse::<usize>()
            .ok()
    });
    answer.len() >= end + 4 + length.unwrap_or(0)
}
