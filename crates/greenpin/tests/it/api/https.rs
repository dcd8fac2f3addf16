//! HTTPS with the server's own certificate.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::support::http_client::request;
use crate::support::operator_api::OPERATOR;
use crate::support::server::{Server, TIMEOUT, trunk};
use crate::support::tls::Certificates;

fn server(certificates: &Certificates) -> Server {
    let keys = format!(
        "{}operator_token = \"{OPERATOR}\"",
        certificates.identity("loopback")
    );
    let carrier = trunk("carrier", "127.0.0.1:9".parse().unwrap(), "");
    Server::with_http(&keys, &carrier)
}

/// Sends a request over HTTP/1.1. Returns status and body; an error if the certificate is not that of the CA.
fn get(
    runtime: &Runtime,
    server: &Server,
    certificates: &Certificates,
    path: &str,
) -> reqwest::Result<(u16, String)> {
    let ca = std::fs::read(certificates.path("ca.pem")).unwrap();
    let client =
        reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()]);
    let client = client.timeout(TIMEOUT).build().unwrap();
    let url = format!("https://{}{path}", server.http);
    runtime.block_on(async {
        let response = client.get(url).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    })
}

/// Sends a request over HTTP/2 and returns the status.
async fn get_by_http2(server: &Server, connector: &TlsConnector) -> u16 {
    let mut config = connector.config().as_ref().clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(server.http).await.unwrap();
    let name = ServerName::IpAddress(server.http.ip().into());
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get(format!("https://{}/readyz", server.http));
    let response = sender
        .send_request(request.body(Empty).unwrap())
        .await
        .unwrap();
    assert!(response.headers().contains_key("x-request-id"));
    response.status().as_u16()
}

/// Body of a request without content.
struct Empty;

impl hyper::body::Body for Empty {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

#[test]
fn https_serves_both_versions_of_http() {
    let (certificates, runtime) = (Certificates::new(), Runtime::new().unwrap());
    let server = server(&certificates);
    let (status, metrics) = get(&runtime, &server, &certificates, "/metrics").unwrap();
    assert_eq!(status, 200);
    // 2099-01-01T00:00:00Z
    assert!(
        metrics.contains("greenpin_http_certificate_expiry_time_seconds 4070908800"),
        "{metrics}"
    );
    let connector = certificates.connector(None);
    assert_eq!(runtime.block_on(get_by_http2(&server, &connector)), 200);
    let answer = plain(&server);
    assert!(
        !answer.contains("HTTP/1.1 200"),
        "no service without TLS: {answer}"
    );
}

/// Sends a request without TLS and returns what comes back.
fn plain(server: &Server) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(server.http).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
        .write_all(&request("GET", "/readyz", "", b""))
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_renewed_certificate_is_used_for_new_connections() {
    let (certificates, renewed) = (Certificates::new(), Certificates::new());
    let runtime = Runtime::new().unwrap();
    let server = server(&certificates);
    let old = Certificates::new();
    old.renew(&certificates);
    certificates.renew(&renewed);
    server.hang_up();
    let deadline = Instant::now() + TIMEOUT;
    while get(&runtime, &server, &renewed, "/healthz").is_err() {
        assert!(
            Instant::now() < deadline,
            "the old certificate is still in use"
        );
    }
    assert!(get(&runtime, &server, &old, "/healthz").is_err());
    server.wait_for_log("reloaded the certificate for HTTPS");
}

#[test]
fn the_command_line_reaches_a_server_with_https() {
    let certificates = Certificates::new();
    let server = server(&certificates);
    let listed = server
        .program()
        .args(["trunk", "list"])
        .env("GREENPIN_HTTP__LISTEN", server.http.to_string())
        .output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    assert!(listed.contains(" up "), "{listed}");
}
