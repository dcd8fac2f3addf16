//! The HTTP server over real connections. Time is paused in the tests of time-outs.

use std::net::SocketAddr;

use axum::body::Body;
use axum::routing::{get, post};
use futures_util::stream;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const COMPLETE: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// More than the kernel buffers for a connection.
const LARGE_BYTES: usize = 32 * 1024 * 1024;

async fn server_with(options: ServingOptions) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let endless = || async {
        Body::from_stream(stream::repeat_with(|| {
            Ok::<_, std::io::Error>(vec![0; 65_536])
        }))
    };
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/endless", get(endless))
        .route("/large", get(|| async { vec![b'a'; LARGE_BYTES] }))
        .route("/early", post(|| async { "no body wanted" }));
    let router = crate::http::with_request_layer(router);
    tokio::spawn(serve(listener, router, options, std::future::pending()));
    address
}

async fn server() -> SocketAddr {
    server_with(ServingOptions::default()).await
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    String::from_utf8_lossy(&response).into_owned()
}

async fn send(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(request).await;
    read_to_end(&mut stream).await
}

/// Checks a problem response, and that its id is in the header and the body.
fn assert_problem(response: &str, status: u16, code: &str) {
    let (head, body) = response.split_once("\r\n\r\n").expect(response);
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    assert!(head.contains("content-type: application/problem+json"));
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["code"], code);
    let id = body["request_id"].as_str().unwrap();
    assert!(head.contains(&format!("x-request-id: {id}")), "{head}");
    assert!(
        head.contains("connection: close") && head.contains("date: "),
        "{head}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_partial_request_times_out_with_a_problem() {
    let address = server().await;
    let response = send(address, b"GET / HTTP/1.1\r\nHost: x\r\n").await;
    assert_problem(&response, 408, "request_timeout");
    assert!(send(address, COMPLETE).await.ends_with("hello"));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_arrives_byte_by_byte_times_out_as_a_whole() {
    let address = server().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let started_at = tokio::time::Instant::now();
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        while writer.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut response = Vec::new();
    tokio::select! {
        () = drip => panic!("the server closes first"),
        read = reader.read_to_end(&mut response) => drop(read),
    }
    assert_problem(&String::from_utf8_lossy(&response), 408, "request_timeout");
    assert!(started_at.elapsed() < 2 * HEADER_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_is_idle_for_longer_than_a_head_may_take() {
    let address = server().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut buffer = [0; 1024];
    for pause in [0, 40, 74] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..count].ends_with(b"hello"), "after {pause} s");
    }
    assert_eq!(read_to_end(&mut stream).await, "", "closed without a word");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_response_is_disconnected() {
    let address = server().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    tokio::time::sleep(WRITE_TIMEOUT * 4).await;
    let mut buffer = vec![0; 1024 * 1024];
    // What the kernel still holds ends, although the response does not.
    while matches!(stream.read(&mut buffer).await, Ok(count) if count > 0) {}
}

#[tokio::test]
async fn a_client_that_takes_long_to_read_loses_its_place_to_a_new_one() {
    let address = server_with(ServingOptions {
        connections: ConnectionLimits {
            total: 8,
            per_address: 2,
        },
        ..ServingOptions::default()
    })
    .await;
    let mut readers = Vec::new();
    for _ in 0..6 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream.read_exact(&mut [0; 1024]).await.unwrap();
        readers.push(stream);
    }
    let mut buffer = vec![0; 1024 * 1024];
    for stream in &mut readers[..4] {
        // What the kernel still holds ends, although the response does not.
        let read_to_end =
            async { while matches!(stream.read(&mut buffer).await, Ok(count) if count > 0) {} };
        let ended = tokio::time::timeout(2 * WRITE_TIMEOUT, read_to_end).await;
        assert!(ended.is_ok(), "the connection stays open beyond its share");
    }
}

#[tokio::test]
async fn heads_that_cannot_be_read_get_a_problem_and_the_next_client_is_served() {
    let address = server().await;
    let huge = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "a".repeat(64 * 1024)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X: a\r\n".repeat(101)
    );
    for request in [&huge, &many] {
        let response = send(address, request.as_bytes()).await;
        assert_problem(&response, 431, "header_too_large");
    }
    for request in [
        &b"\x16\x03\x01 garbage\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        assert_problem(&send(address, request).await, 400, "malformed_request");
    }
    assert!(send(address, COMPLETE).await.ends_with("hello"));
}

#[tokio::test]
async fn an_unreadable_head_after_a_good_request_gets_a_problem() {
    let address = server().await;
    let requests = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET nonsense\r\n\r\n";
    let response = send(address, requests).await;
    let (first, second) = response.split_once("hello").expect(&response);
    assert!(first.starts_with("HTTP/1.1 200"));
    assert_problem(second, 400, "malformed_request");
}

#[tokio::test]
async fn a_response_before_the_end_of_a_large_body_arrives() {
    let address = server().await;
    let body = vec![b'a'; 8 * 1024 * 1024];
    let head = format!(
        "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
        .write_all(&body)
        .await
        .expect("the whole body is taken");
    assert!(read_to_end(&mut stream).await.ends_with("no body wanted"));
}

#[tokio::test]
async fn the_last_response_of_a_connection_arrives_whole() {
    let address = server().await;
    let request = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.unwrap();
    // The server writes until the kernel takes no more.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let response = read_to_end(&mut stream).await;
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.len(), LARGE_BYTES);
}

#[tokio::test]
async fn half_requests_of_one_address_do_not_keep_others_out_nor_its_own() {
    let connections = ConnectionLimits {
        total: 100,
        per_address: 20,
    };
    let address = server_with(ServingOptions {
        connections,
        ..ServingOptions::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nX: ").await;
        held.push(stream);
    }
    assert!(send(address, COMPLETE).await.ends_with("hello"));
}
