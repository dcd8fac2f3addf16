//! Webhook receiver with a configurable failure.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Reaction of the receiver to each request.
#[derive(Clone)]
pub enum FailureMode {
    /// Sends the text and closes the connection.
    Respond(String),
    /// Sends the text and leaves the connection open.
    Hang(String),
    /// Sends the text again and again, without a pause.
    Repeat(String),
    /// Answers the first request of a connection, and closes the connection when the next one arrives.
    CloseSecond(String),
    /// Sends the text byte by byte, with a pause after each byte.
    Drip(String, Duration),
}

/// Receiver with the paths of its requests.
pub struct FailingReceiver {
    /// URL of the receiver.
    pub url: String,
    paths: Receiver<String>,
}

impl FailingReceiver {
    /// Starts a receiver.
    pub fn open(mode: FailureMode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, paths) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (sender, mode) = (sender.clone(), mode.clone());
                std::thread::spawn(move || {
                    let path = read(&stream).unwrap_or_default();
                    let _ = sender.send(path);
                    respond(stream, mode);
                });
            }
        });
        Self { url, paths }
    }

    /// Returns the number of requests since the last call.
    pub fn unexpected_requests(&self) -> usize {
        self.paths.try_iter().count()
    }
}

/// Returns a response with a body.
pub fn http_response(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn read(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok()?;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    Some(path)
}

fn respond(mut stream: TcpStream, mode: FailureMode) {
    match mode {
        FailureMode::Respond(text) => {
            let _ = stream.write_all(text.as_bytes());
        }
        FailureMode::Hang(text) => {
            let _ = stream.write_all(text.as_bytes());
            // Wait until the client closes the connection.
            let _ = stream.read(&mut [0]);
        }
        FailureMode::Repeat(text) => while stream.write_all(text.as_bytes()).is_ok() {},
        FailureMode::CloseSecond(text) => {
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.read(&mut [0]);
        }
        FailureMode::Drip(text, pause) => {
            for byte in text.bytes() {
                let started_at = Instant::now();
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(pause.saturating_sub(started_at.elapsed()));
            }
        }
    }
}
