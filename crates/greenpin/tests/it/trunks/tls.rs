//! SIP over TLS, with parties behind a TLS stream and certificates of the test.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::operator_api::{OPERATOR, expect_response, operator_request, wait_for_trunk};
use crate::support::party::{Party, exchange_audio, header};
use crate::support::server::{Server, TIMEOUT};
use crate::support::tls::{Certificates, Tunnel, sip};

fn trunk(peer: SocketAddr, keys: &str) -> String {
    format!("[[trunks]]\nname = \"carrier\"\npeer = \"sips:{peer}\"\n{keys}\n")
}

#[test]
fn calls_are_received_and_placed_over_tls() {
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
    let invite = agent.receive_invite();
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
    // The agent's contact names no transport, so the dialog stays on TLS.
    agent.serve("ACK");
    exchange_audio(&mut customer, 0x2a, &mut agent, 0x9c);
    agent.bye_as_callee();
    customer.serve("BYE");
}

#[test]
fn a_peer_without_a_valid_certificate_gets_no_message() {
    let (certificates, foreign) = (Certificates::new(), Certificates::new());
    for (shown, trusted) in [("other", &certificates), ("loopback", &foreign)] {
        let mut agent = Party::unconnected(AGENT);
        let tunnel = Tunnel::accept(agent.address(), Some(certificates.acceptor(shown)));
        let keys = format!("keep_alive = 1\ntls_ca = {:?}", trusted.path("ca.pem"));
        let server =
            Server::with_operator(OPERATOR, &(sip(&certificates) + &trunk(tunnel.far, &keys)));
        let deadline = Instant::now() + TIMEOUT;
        while expect_response(operator_request(&server, "GET", "/trunks"), 200)[0]["state"]
            != "away"
        {
            assert!(Instant::now() < deadline, "it is never away");
            std::thread::yield_now();
        }
        server.wait_for_log("TLS handshake with a trunk's peer failed");
        agent.set_server(tunnel.near);
        assert!(agent.poll_invite().is_none() && agent.received.is_empty());
    }
}

#[test]
fn an_unlisted_source_over_tls_is_rejected() {
    let certificates = Certificates::new();
    let trunk = "[[trunks]]\nname = \"elsewhere\"\naccept_from = [\"192.0.2.1\"]\n";
    let server = Server::with(&(sip(&certificates) + trunk));
    let mut stranger = Party::unconnected(CUSTOMER);
    let tunnel = Tunnel::connect(
        server.sip_tls(),
        &certificates.connector(None),
        stranger.address(),
    );
    stranger.set_server(tunnel.near);
    assert_eq!(stranger.call(VN), 403);
}

/// Creates a party with a stream to a server.
fn party_over_tls(number: &str, server: &Server, connector: &TlsConnector) -> (Party, Tunnel) {
    let mut party = Party::unconnected(number);
    let tunnel = Tunnel::connect(server.sip_tls(), connector, party.address());
    party.set_server(tunnel.near);
    (party, tunnel)
}

#[test]
fn a_renewed_certificate_is_used_for_new_connections_without_affecting_calls() {
    let [old, new, newest] = [(); 3].map(|()| Certificates::new());
    let shown = Certificates::new();
    shown.renew(&old);
    let mut agent = Party::unconnected(AGENT);
    let server = Server::with(
        &(sip(&shown) + &crate::support::server::trunk("carrier", agent.address(), "")),
    );
    agent.set_server(server.sip);
    server.add_number(VN, &[]);
    let allocation =
        server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let (mut customer, _tunnel) = party_over_tls(CUSTOMER, &server, &old.connector(None));
    assert_eq!(customer.call(VN), 200);
    customer.press(allocation["pin"].as_str().unwrap());
    agent.receive_invite();
    agent.respond(200);
    agent.serve("ACK");
    shown.renew(&new);
    server.hang_up();
    server.wait_for_log("reloaded the certificates for SIP over TLS");
    party_over_tls(CUSTOMER, &server, &new.connector(None));
    std::fs::write(shown.path("loopback.pem"), "no certificate").unwrap();
    server.hang_up();
    let log = server.wait_for_log("cannot reload the certificates for SIP over TLS");
    assert!(log.contains("no certificate in"), "{log}");
    party_over_tls(CUSTOMER, &server, &new.connector(None));
    // The server also checks the files without a signal.
    shown.renew(&newest);
    let deadline = Instant::now() + TIMEOUT;
    let party = Party::new(CUSTOMER, server.sip);
    while Tunnel::try_connect(server.sip_tls(), &newest.connector(None), party.address()).is_err() {
        assert!(
            Instant::now() < deadline,
            "the newest certificate is never shown\n{}",
            server.log()
        );
    }
    exchange_audio(&mut customer, 0x2a, &mut agent, 0x9c);
    agent.bye_as_callee();
    customer.serve("BYE");
}

#[test]
fn a_trunk_presents_its_certificate_to_its_peer() {
    let certificates = Certificates::new();
    let ca = format!(
        "keep_alive = 1\ntls_ca = {:?}\n",
        certificates.path("ca.pem")
    );
    for (keys, state) in [
        (certificates.identity("other"), "up"),
        (String::new(), "away"),
    ] {
        let mut agent = Party::unconnected(AGENT);
        let tunnel = Tunnel::accept(
            agent.address(),
            Some(certificates.demanding_acceptor("loopback")),
        );
        agent.set_server(tunnel.near);
        let configuration = sip(&certificates) + &trunk(tunnel.far, &(ca.clone() + &keys));
        let server = Server::with_operator(OPERATOR, &configuration);
        if state == "up" {
            agent.serve("OPTIONS");
        }
        wait_for_trunk(&server, 0, "state", &json!(state));
    }
}

#[test]
fn clients_must_present_a_certificate_if_required() {
    let (certificates, foreign) = (Certificates::new(), Certificates::new());
    let ca = format!("tls_client_ca = {:?}\n", certificates.path("ca.pem"));
    let carrier = crate::support::server::trunk("carrier", "127.0.0.1:9".parse().unwrap(), "");
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
    assert!(options_response(&server, &certificates.connector(shown)).is_some());
    for shown in [None, Some((&foreign, "other"))] {
        assert_eq!(
            options_response(&server, &certificates.connector(shown)),
            None
        );
    }
}

#[test]
fn a_certificate_identifies_a_trunk_whatever_its_address() {
    let certificates = Certificates::new();
    let ca = format!("tls_client_ca = {:?}\n", certificates.path("ca.pem"));
    let named = "[[trunks]]\nname = \"carrier\"\ntls_peer_name = \"other.example\"\n";
    let elsewhere = format!("{named}accept_from = [\"192.0.2.1\"]\n");
    for (trunk, status) in [(named, 404), (&elsewhere, 403)] {
        let server = Server::with(&(sip(&certificates) + &ca + trunk));
        let shows = |name| certificates.connector(Some((&certificates, name)));
        let (mut caller, _tunnel) = party_over_tls(CUSTOMER, &server, &shows("other"));
        assert_eq!(caller.call(VN), status, "there is no such number");
        let (mut misnamed, _tunnel) = party_over_tls(CUSTOMER, &server, &shows("loopback"));
        assert_eq!(misnamed.call(VN), 403, "the certificate has another name");
        let mut in_clear = Party::new(CUSTOMER, server.sip);
        assert_eq!(in_clear.call(VN), 403, "no certificate");
    }
}

/// Sends OPTIONS over a new stream and returns the length of the response. `None` if the server closes the stream.
fn options_response(server: &Server, connector: &TlsConnector) -> Option<usize> {
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
        let length = tokio::time::timeout(TIMEOUT, read)
            .await
            .expect("it is answered or closed")
            .ok()?;
        (length > 0).then_some(length)
    })
}
