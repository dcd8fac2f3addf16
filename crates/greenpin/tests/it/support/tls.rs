//! Certificates and TLS streams of the tests.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
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

use super::party::header;

/// CA with a certificate for loopback and a certificate for a name.
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Creates a CA and its certificates.
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

    /// Returns the path of `ca.pem`, or of a certificate or key.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Replaces these files with those of another CA.
    pub fn renew(&self, from: &Self) {
        for name in ["ca.pem", "loopback.pem", "loopback.key"] {
            std::fs::copy(from.path(name), self.path(name)).unwrap();
        }
    }

    /// Returns the configuration keys of a certificate.
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

    /// Creates an acceptor with a certificate.
    pub fn acceptor(&self, name: &str) -> TlsAcceptor {
        self.acceptor_asking(name, Arc::new(NoClientAuth))
    }

    /// Creates an acceptor that requires a client certificate from this CA.
    pub fn demanding_acceptor(&self, name: &str) -> TlsAcceptor {
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

    /// Creates a connector that trusts this CA and presents a certificate, if given.
    pub fn connector(&self, shown: Option<(&Self, &str)>) -> TlsConnector {
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

/// Bridge between a party with datagrams and a stream.
pub struct Tunnel {
    /// Address for the party.
    pub near: SocketAddr,
    /// Address for incoming streams, if it accepts any.
    pub far: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Tunnel {
    pub fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    }

    /// Accepts streams, with TLS if there is an acceptor.
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

    /// Connects to a server that must present a certificate for loopback.
    pub fn connect(server: SocketAddr, connector: &TlsConnector, party: SocketAddr) -> Self {
        Self::try_connect(server, connector, party).expect("the server shows its certificate")
    }

    pub fn try_connect(
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

/// Returns the length of the first message, once it is complete.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length: usize = header(&text, "Content-Length").parse().unwrap();
    (bytes.len() >= head + length).then_some(head + length)
}

/// Returns the configuration of SIP over TLS with the certificate for loopback.
pub fn sip(certificates: &Certificates) -> String {
    let listen =
        "[sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\", \"tls:127.0.0.1:0\"]\n";
    listen.to_owned() + &certificates.identity("loopback")
}
