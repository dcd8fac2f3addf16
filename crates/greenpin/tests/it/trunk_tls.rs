//! SIP over TLS: parties behind a stream that the test encrypts, with certificates of the test's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::operator::{OPERATOR, operate, response};
use super::party::{Party, both_hear_each_other, header};
use super::server::{PATIENCE, Server};

const VN: &str = "+914000000001";
const AGENT: &str = "+919900000001";
const CUSTOMER: &str = "+918800000001";

/// An authority, with a certificate for loopback and one for a name.
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes them.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", authority.pem());
        for (name, of) in [("loopback", "127.0.0.1"), ("other", "other.example")] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![of.to_owned()]).unwrap();
            write(&format!("{name}.pem"), params.signed_by(&key, &authority).unwrap().pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { folder }
    }

    /// The file of `ca.pem`, or of a certificate or its key.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let read = |file: String| CertificateDer::from_pem_file(Path::new(&file)).unwrap();
        let chain = vec![read(self.path(&format!("{name}.pem")))];
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
    }

    fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }
}

/// What stands between a party, which speaks datagrams, and an encrypted stream.
struct Tunnel {
    /// Where the party sends to.
    near: SocketAddr,
    /// Where the stream is accepted, if it is.
    far: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Tunnel {
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    /// Waits for streams, and shows a certificate to those who come.
    fn accept(party: SocketAddr, acceptor: TlsAcceptor) -> Self {
        let runtime = Self::runtime();
        let (listener, udp) = runtime.block_on(async {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            udp.connect(party).await.unwrap();
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::new(udp))
        });
        let (near, far) = (udp.local_addr().unwrap(), listener.local_addr().unwrap());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(carry(stream, udp.clone()));
                }
            }
        });
        Self { near, far, _runtime: runtime }
    }

    /// Makes a stream to a server, which must show a certificate for loopback.
    fn connect(server: SocketAddr, connector: &TlsConnector, party: SocketAddr) -> Self {
        let runtime = Self::runtime();
        let (stream, udp) = runtime.block_on(async {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            udp.connect(party).await.unwrap();
            let stream = TcpStream::connect(server).await.unwrap();
            let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
            (connector.connect(name, stream).await.expect("the server shows its certificate"), Arc::new(udp))
        });
        let near = udp.local_addr().unwrap();
        runtime.spawn(carry(stream, udp));
        Self { near, far: server, _runtime: runtime }
    }
}

async fn carry(stream: impl AsyncRead + AsyncWrite + Send + 'static, udp: Arc<UdpSocket>) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (mut bytes, mut datagram) = (Vec::new(), vec![0; 65_535]);
    loop {
        let mut chunk = [0; 4096];
        tokio::select! {
            read = reader.read(&mut chunk) => match read {
                Ok(length) if length > 0 => {
                    bytes.extend_from_slice(&chunk[..length]);
                    while let Some(length) = message_length(&bytes) {
                        let message: Vec<u8> = bytes.drain(..length).collect();
                        udp.send(&message).await.unwrap();
                    }
                }
                _ => return,
            },
            Ok(length) = udp.recv(&mut datagram) => {
                writer.write_all(&datagram[..length]).await.unwrap();
                writer.flush().await.unwrap();
            }
        }
    }
}

/// How long the first message is, once it is whole.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length: usize = header(&text, "Content-Length").parse().unwrap();
    (bytes.len() >= head + length).then_some(head + length)
}

/// Where a server serves SIP that has the certificate for loopback.
pub fn sip(certificates: &Certificates) -> String {
    format!(
        "[sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\", \"tls:127.0.0.1:0\"]\ntls_certificate = {:?}\ntls_key = {:?}\n",
        certificates.path("loopback.pem"),
        certificates.path("loopback.key")
    )
}

fn trunk(peer: SocketAddr, keys: &str) -> String {
    format!("[[trunks]]\nname = \"carrier\"\npeer = \"sips:{peer}\"\n{keys}\n")
}

#[test]
fn a_call_comes_and_goes_over_tls() {
    let certificates = Certificates::new();
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let mut agent = Party::new(AGENT, nowhere);
    let tunnel = Tunnel::accept(agent.address(), certificates.acceptor("loopback"));
    agent.set_server(tunnel.near);
    let keys = format!("keep_alive = 0\ntls_ca = {:?}", certificates.path("ca.pem"));
    let server = Server::with_operator(OPERATOR, &(sip(&certificates) + &trunk(tunnel.far, &keys)));
    server.add_number(VN, &[]);
    let allocation = server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let mut customer = Party::new(CUSTOMER, nowhere);
    let to_server = Tunnel::connect(server.sip_tls(), &certificates.connector(), customer.address());
    customer.set_server(to_server.near);
    assert_eq!(customer.call(VN), 200);
    let contact = header(&customer.last, "Contact");
    assert!(contact.contains(&format!("@{};transport=tls>", server.sip_tls())), "{contact}");
    customer.press(allocation["pin"].as_str().unwrap());
    let invite = agent.invited();
    assert!(invite.starts_with(&format!("INVITE sip:{AGENT}@{};transport=tls ", tunnel.far)), "{invite}");
    assert!(header(&invite, "Via").starts_with("SIP/2.0/TLS "), "{invite}");
    assert!(header(&invite, "Contact").contains(";transport=tls>"), "{invite}");
    agent.respond(200);
    // Its contact names no transport: what began encrypted stays so.
    agent.served("ACK");
    both_hear_each_other(&mut customer, 0x2a, &mut agent, 0x9c);
    agent.bye_as_callee();
    customer.served("BYE");
}

#[test]
fn a_peer_that_does_not_show_who_it_is_gets_no_message() {
    let (certificates, foreign) = (Certificates::new(), Certificates::new());
    for (shown, trusted) in [("other", &certificates), ("loopback", &foreign)] {
        let mut agent = Party::new(AGENT, "127.0.0.1:9".parse().unwrap());
        let tunnel = Tunnel::accept(agent.address(), certificates.acceptor(shown));
        let keys = format!("keep_alive = 1\ntls_ca = {:?}", trusted.path("ca.pem"));
        let server = Server::with_operator(OPERATOR, &(sip(&certificates) + &trunk(tunnel.far, &keys)));
        let deadline = Instant::now() + PATIENCE;
        while response(operate(&server, "GET", "/trunks"), 200)[0]["state"] != "away" {
            assert!(Instant::now() < deadline, "it is never away");
            std::thread::yield_now();
        }
        server.log_with("a trunk's peer did not show who it is");
        agent.set_server(tunnel.near);
        assert!(agent.invited_soon().is_none() && agent.received.is_empty());
    }
}

#[test]
fn a_stranger_over_tls_is_refused_as_anybody_else() {
    let certificates = Certificates::new();
    let trunk = "[[trunks]]\nname = \"elsewhere\"\naccept_from = [\"192.0.2.1\"]\n";
    let server = Server::with(&(sip(&certificates) + trunk));
    let mut stranger = Party::new(CUSTOMER, "127.0.0.1:9".parse().unwrap());
    let tunnel = Tunnel::connect(server.sip_tls(), &certificates.connector(), stranger.address());
    stranger.set_server(tunnel.near);
    assert_eq!(stranger.call(VN), 403);
}
