//! HTTP/1.1 server with limits on the number of connections and on the time and size of request headers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of open connections. Further connections are closed at once.
pub const MAX_CONNECTIONS: usize = 4096;
/// Time for a client to send the headers of a request, including the idle time before the request.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum size of request headers, in bytes. The server answers larger ones with 431.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Delay before the next `accept` after a failure, such as a lack of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// Serves connections until `stop` resolves, then completes the requests in progress.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            continue;
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            tracing::warn!("rejected an HTTP connection: {MAX_CONNECTIONS} connections are open");
            continue;
        };
        serve_connection(stream, peer.ip(), router.clone(), &graceful, permit);
    }
    graceful.shutdown().await;
}

/// Address of the client of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

fn serve_connection(
    stream: TcpStream,
    peer: IpAddr,
    router: Router,
    graceful: &GracefulShutdown,
    permit: OwnedSemaphorePermit,
) {
    // Responses are small, so delaying them to fill packets gains nothing.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ClientAddress(peer));
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        // A broken connection concerns only its client.
        let _ = watched.await;
        drop(permit);
    });
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn server() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "hello" }));
        tokio::spawn(serve(listener, router, std::future::pending()));
        address
    }

    async fn send(address: std::net::SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(request).await;
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response).await;
        String::from_utf8_lossy(&response).into_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_partial_request_times_out() {
        let address = server().await;
        let response = send(address, b"GET / HTTP/1.1\r\nHost: x\r\n").await;
        assert!(
            response.is_empty() || response.starts_with("HTTP/1.1 408"),
            "{response}"
        );
        assert!(
            send(
                address,
                b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            .await
            .ends_with("hello")
        );
    }

    #[tokio::test]
    async fn headers_of_64_kib_are_rejected_and_the_next_client_is_served() {
        let address = server().await;
        let huge = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
            "a".repeat(64 * 1024)
        );
        let response = send(address, huge.as_bytes()).await;
        assert!(
            response.is_empty() || response.starts_with("HTTP/1.1 431"),
            "{response}"
        );
        let response = send(address, b"\x16\x03\x01 garbage\r\n\r\n").await;
        assert!(
            response.is_empty() || response.starts_with("HTTP/1.1 400"),
            "{response}"
        );
        assert!(
            send(
                address,
                b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            .await
            .ends_with("hello")
        );
    }

    #[tokio::test]
    async fn idle_connections_block_no_client() {
        let address = server().await;
        let mut idle = Vec::new();
        for _ in 0..200 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(
            send(
                address,
                b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            .await
            .ends_with("hello")
        );
    }
}
