//! SIP over TLS: parties behind a stream that the test encrypts, with certificates of the test's own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoClientAuth, WebPkiClientVerifier};
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
        let write =
            |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", authority.pem());
        for (name, of) in [("loopback", "127.0.0.1"), ("other", "other.example")] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![of.to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(2099, 1, 1);
            write(
                &format!("{name}.pem"),
                params.signed_by(&key, &authority).unwrap().pem(),
            );
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { folder }
    }

    /// The file of `ca.pem`, or of a certificate or its key.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Puts those of another authority in the place of these.
    fn renew(&self, from: &Self) {
        for name in ["ca.pem", "loopback.pem", "loopback.key"] {
            std::fs::copy(from.path(name), self.path(name)).unwrap();
        }
    }

    /// The keys of a section for a certificate.
    pub fn identity(&self, name: &str) -> String {
        let [certificate, key] = ["pem", "key"].map(|kind| self.path(&format!("{name}.{kind}")));
        format!("tls_certificate = {certificate:?}\ntls_key = {key:?}\n")
    }

    fn chain(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
        (vec![certificate], key)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap())
            .unwrap();
        roots
    }

    /// Shows a certificate to those who come.
    pub fn acceptor(&self, name: &str) -> TlsAcceptor {
        self.acceptor_asking(name, Arc::new(NoClientAuth))
    }

    /// One that takes nobody without a certificate by the authority.
    fn demanding_acceptor(&self, name: &str) -> TlsAcceptor {
        let roots = Arc::new(self.roots());
        self.acceptor_asking(
            name,
            WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .unwrap(),
        )
    }

    fn acceptor_asking(&self, name: &str, verifier: Arc<dyn ClientCertVerifier>) -> TlsAcceptor {
        let (chain, key) = self.chain(name);
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_client_cert_verifier(verifier);
        TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
    }

    /// Trusts the authority, and shows a certificate, its own or another's, if any.
    fn connector(&self, shown: Option<(&Self, &str)>) -> TlsConnector {
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(self.roots());
        let config = match shown.map(|(of, name)| of.chain(name)) {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// What stands between a party, which speaks datagrams, and a stream.
pub struct Tunnel {
    /// Where the party sends to.
    pub near: SocketAddr,
    /// Where the stream is accepted, if it is.
    pub far: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Tunnel {
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    }

    /// Waits for streams that are encrypted, and shows a certificate to those who come; or for others.
    pub fn accept(party: SocketAddr, acceptor: Option<TlsAcceptor>) -> Self {
        let runtime = Self::runtime();
        let (listener, udp) = runtime.block_on(async {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            udp.connect(party).await.unwrap();
            (
                TcpListener::bind("127.0.0.1:0").await.unwrap(),
                Arc::new(udp),
            )
        });
        let (near, far) = (udp.local_addr().unwrap(), listener.local_addr().unwrap());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Some(acceptor) = &acceptor else {
                    tokio::spawn(carry(stream, udp.clone()));
                    continue;
                };
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(carry(stream, udp.clone()));
                }
            }
        });
        Self {
            near,
            far,
            _runtime: runtime,
        }
    }

    /// Makes a stream to a server, which must show a certificate for loopback.
    fn connect(server: SocketAddr, connector: &TlsConnector, party: SocketAddr) -> Self {
        Self::try_connect(server, connector, party).expect("the server shows its certificate")
    }

    fn try_connect(
        server: SocketAddr,
        connector: &TlsConnector,
        party: SocketAddr,
    ) -> io::Result<Self> {
        let runtime = Self::runtime();
        let (stream, udp) = runtime.block_on(async {
            let udp = UdpSocket::bind("127.0.0.1:0").await?;
            udp.connect(party).await?;
            let stream = TcpStream::connect(server).await?;
            let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
            io::Result::Ok((connector.connect(name, stream).await?, Arc::new(udp)))
        })?;
        let near = udp.local_addr()?;
        runtime.spawn(carry(stream, udp));
        Ok(Self {
            near,
            far: server,
            _runtime: runtime,
        })
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
    let listen =
        "[sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\", \"tls:127.0.0.1:0\"]\n";
    listen.to_owned() + &certificates.identity("loopback")
}

fn trunk(peer: SocketAddr, keys: &str) -> String {
    format!("[[trunks]]\nname = \"carrier\"\npeer = \"sips:{peer}\"\n{keys}\n")
}

#[test]
fn a_call_comes_and_goes_over_tls() {
    let certificates = Certificates::new();
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let mut agent = Party::new(AGENT, nowhere);
    let tunnel = Tunnel::accept(agent.address(), Some(certificates.acceptor("loopback")));
    agent.set_server(tunnel.near);
    let keys = format!("keep_alive = 0\ntls_ca = {:?}", certificates.path("ca.pem"));
    let server = Server::with_operator(OPERATOR, &(sip(&certificates) + &trunk(tunnel.far, &keys)));
    server.add_number(VN, &[]);
    let allocation =
        server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let mut customer = Party::new(CUSTOMER, nowhere);
    let to_server = Tunnel::connect(
        server.sip_tls(),
        &certificates.connector(None),
        customer.address(),
    );
    customer.set_server(to_server.near);
    assert_eq!(customer.call(VN), 200);
    let contact = header(&customer.last, "Contact");
    assert!(
        contact.contains(&format!("@{};transport=tls>", server.sip_tls())),
        "{contact}"
    );
    customer.press(allocation["pin"].as_str().unwrap());
    let invite = agent.invited();
    assert!(
        invite.starts_with(&format!("INVITE sip:{AGENT}@{};transport=tls ", tunnel.far)),
        "{invite}"
    );
    assert!(
        header(&invite, "Via").starts_with("SIP/2.0/TLS "),
        "{invite}"
    );
    assert!(
        header(&invite, "Contact").contains(";transport=tls>"),
        "{invite}"
    );
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
        let tunnel = Tunnel::accept(agent.address(), Some(certificates.acceptor(shown)));
        let keys = format!("keep_alive = 1\ntls_ca = {:?}", trusted.path("ca.pem"));
        let server =
            Server::with_operator(OPERATOR, &(sip(&certificates) + &trunk(tunnel.far, &keys)));
        let deadline = Instant::now() + PATIENCE;
        while response(operate(&server, "GET", "/trunks"), 200)[0]["state"] != "away" {
            assert!(Instant::now() < deadline, "it is never away");
            std::thread::yield_now();
        }
        server.log_with("TLS handshake with a trunk's peer failed");
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
    let tunnel = Tunnel::connect(
        server.sip_tls(),
        &certificates.connector(None),
        stranger.address(),
    );
    stranger.set_server(tunnel.near);
    assert_eq!(stranger.call(VN), 403);
}

fn until_state(server: &Server, state: &str) {
    let deadline = Instant::now() + PATIENCE;
    while response(operate(server, "GET", "/trunks"), 200)[0]["state"] != state {
        assert!(
            Instant::now() < deadline,
            "the trunk is never {state}\n{}",
            server.log()
        );
        std::thread::yield_now();
    }
}

/// A party and the stream between it and a server.
fn party_over_tls(number: &str, server: &Server, connector: &TlsConnector) -> (Party, Tunnel) {
    let mut party = Party::new(number, "127.0.0.1:9".parse().unwrap());
    let tunnel = Tunnel::connect(server.sip_tls(), connector, party.address());
    party.set_server(tunnel.near);
    (party, tunnel)
}

#[test]
fn a_renewed_certificate_is_shown_from_then_on_and_harms_no_call() {
    let [old, new, newest] = [(); 3].map(|()| Certificates::new());
    let shown = Certificates::new();
    shown.renew(&old);
    let mut agent = Party::new(AGENT, "127.0.0.1:9".parse().unwrap());
    let server =
        Server::with(&(sip(&shown) + &super::server::trunk("carrier", agent.address(), "")));
    agent.set_server(server.sip);
    server.add_number(VN, &[]);
    let allocation =
        server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let (mut customer, _tunnel) = party_over_tls(CUSTOMER, &server, &old.connector(None));
    assert_eq!(customer.call(VN), 200);
    customer.press(allocation["pin"].as_str().unwrap());
    agent.invited();
    agent.respond(200);
    agent.served("ACK");
    shown.renew(&new);
    server.hang_up();
    server.log_with("reloaded the certificates for SIP over TLS");
    party_over_tls(CUSTOMER, &server, &new.connector(None));
    std::fs::write(shown.path("loopback.pem"), "no certificate").unwrap();
    server.hang_up();
    let log = server.log_with("cannot reload the certificates for SIP over TLS");
    assert!(log.contains("no certificate in"), "{log}");
    party_over_tls(CUSTOMER, &server, &new.connector(None));
    // The files are looked at by themselves, too.
    shown.renew(&newest);
    let deadline = Instant::now() + PATIENCE;
    let party = Party::new(CUSTOMER, server.sip);
    while Tunnel::try_connect(server.sip_tls(), &newest.connector(None), party.address()).is_err() {
        assert!(
            Instant::now() < deadline,
            "the newest certificate is never shown\n{}",
            server.log()
        );
    }
    both_hear_each_other(&mut customer, 0x2a, &mut agent, 0x9c);
    agent.bye_as_callee();
    customer.served("BYE");
}

#[test]
fn a_trunk_shows_its_peer_who_it_is() {
    let certificates = Certificates::new();
    let ca = format!(
        "keep_alive = 1\ntls_ca = {:?}\n",
        certificates.path("ca.pem")
    );
    for (keys, state) in [
        (certificates.identity("other"), "up"),
        (String::new(), "away"),
    ] {
        let mut agent = Party::new(AGENT, "127.0.0.1:9".parse().unwrap());
        let tunnel = Tunnel::accept(
            agent.address(),
            Some(certificates.demanding_acceptor("loopback")),
        );
        agent.set_server(tunnel.near);
        let configuration = sip(&certificates) + &trunk(tunnel.far, &(ca.clone() + &keys));
        let server = Server::with_operator(OPERATOR, &configuration);
        if state == "up" {
            agent.served("OPTIONS");
        }
        until_state(&server, state);
    }
}

#[test]
fn who_connects_must_show_who_it_is_where_that_is_asked_for() {
    let (certificates, foreign) = (Certificates::new(), Certificates::new());
    let ca = format!("tls_client_ca = {:?}\n", certificates.path("ca.pem"));
    let carrier = super::server::trunk("carrier", "127.0.0.1:9".parse().unwrap(), "");
    let server = Server::with(&(sip(&certificates) + &ca + &carrier));
    let (mut known, _tunnel) = party_over_tls(
        CUSTOMER,
        &server,
        &certificates.connector(Some((&certificates, "other"))),
    );
    assert_eq!(
        known.call(VN),
        404,
        "it may call, and there is no such number"
    );
    let shown = Some((&certificates, "other"));
    assert!(answer_to_a_question(&server, &certificates.connector(shown)).is_some());
    for shown in [None, Some((&foreign, "other"))] {
        assert_eq!(
            answer_to_a_question(&server, &certificates.connector(shown)),
            None
        );
    }
}

/// What comes back over a stream of one's own; `None`: it is closed instead.
fn answer_to_a_question(server: &Server, connector: &TlsConnector) -> Option<usize> {
    let question = "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK1\r\n\
        Max-Forwards: 70\r\nFrom: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:a@127.0.0.1>\r\nCall-ID: a\r\n\
        CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    Tunnel::runtime().block_on(async {
        let stream = TcpStream::connect(server.sip_tls()).await.unwrap();
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let mut stream = connector.connect(name, stream).await.ok()?;
        stream.write_all(question.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk);
        let length = tokio::time::timeout(PATIENCE, read)
            .await
            .expect("it is answered or closed")
            .ok()?;
        (length > 0).then_some(length)
    })
}
