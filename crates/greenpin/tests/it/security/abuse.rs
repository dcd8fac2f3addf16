//! Unlisted sources and callers with guessed PINs: their cost, and the information available to them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::call_setup::{AGENT, CUSTOMER, CallSetup, VN};
use crate::support::party::{Party, header};
use crate::support::server::TIMEOUT;

const SHARED: &str = "+914000000002";
/// Datagrams of the flood, from each of two sources.
const FLOOD: usize = 20_000;
/// Maximum growth of the server's memory during the flood, in MiB.
const GROWTH: u64 = 64;

impl CallSetup {
    /// Connects a call with audio in both directions.
    fn start_connected() -> Self {
        let mut setup = Self::start();
        let allocation = setup.allocate(&json!({}));
        setup.connect(&allocation);
        setup.both_talk();
        setup
    }

    /// Ends an undisturbed call and checks its record.
    fn end_and_check(&mut self) {
        self.both_talk();
        self.hang_up();
        let record = self.completed();
        assert_eq!(
            (&record["call_type"], &record["hangup_by"]),
            (&json!("completed"), &json!("caller"))
        );
    }
}

fn unlisted_socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket
}

/// Returns a request of an unlisted source. For the same index, only the number differs.
fn request(method: &str, number: &str, from: &str, index: usize, source: SocketAddr) -> String {
    format!(
        "{method} sip:{number}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{method}{index};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{from}@{source}>;tag={index}\r\nTo: <sip:{number}@127.0.0.1>\r\n\
         P-Asserted-Identity: <tel:{from}>\r\nCall-ID: {method}{index}\r\nCSeq: 1 {method}\r\nContact: <sip:{source}>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Returns a datagram of the flood: a call, a registration, random bytes, or a malformed request.
fn flood_datagram(index: usize, source: SocketAddr) -> Vec<u8> {
    let number = format!("+91400000{:04}", index % 10_000);
    match index % 4 {
        0 => request("INVITE", &number, AGENT, index, source).into_bytes(),
        1 => request("REGISTER", &number, AGENT, index, source).into_bytes(),
        2 => (0..200)
            .map(|octet| (index * 31 + octet * 7) as u8)
            .collect(),
        _ => request("INVITE", &number, AGENT, index, source)
            .replace(" SIP/2.0\r\nVia", "  SIP/2.0\r\nVia")
            .into_bytes(),
    }
}

/// Opens connections and sends random bytes, half of a message, or a call.
fn open_flood_connections(server: SocketAddr) -> Vec<TcpStream> {
    let connect = |index: usize| {
        let mut stream = TcpStream::connect(server).unwrap();
        let half = format!("INVITE sip:x@y SIP/2.0\r\nX: {}", "x".repeat(4000));
        let said = if index.is_multiple_of(2) {
            half.into_bytes()
        } else {
            vec![0xff; 5000]
        };
        // The server may already have closed the connection.
        let _ = stream.write_all(&said);
        stream
    };
    (0..100).map(connect).collect()
}

#[test]
fn a_flood_from_unlisted_sources_is_rejected_in_bounded_memory_and_affects_no_call() {
    let mut setup = CallSetup::start_connected();
    let before = setup.server.resident_kib();
    let (target, over) = (setup.server.sip, AtomicBool::new(false));
    let connections = std::thread::scope(|scope| {
        let flood = |half: usize| {
            let socket = unlisted_socket();
            let source = socket.local_addr().unwrap();
            for index in 0..FLOOD {
                // A full send buffer would not reach the server, so retry.
                while socket
                    .send_to(&flood_datagram(half * FLOOD + index, source), target)
                    .is_err()
                {}
            }
        };
        let floods = [scope.spawn(move || flood(0)), scope.spawn(move || flood(1))];
        let connections = scope.spawn(move || open_flood_connections(target));
        let watch = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                setup.both_talk();
            }
        });
        for flood in floods {
            flood.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        watch.join().unwrap();
        connections.join().unwrap()
    });
    let after = setup.server.resident_kib();
    assert!(
        after < before + GROWTH * 1024,
        "{before} KiB before, {after} KiB after"
    );
    drop(connections);
    wait_until_drained(target);
    setup.end_and_check();
}

/// Waits until the server has read its socket buffer. The parties of these tests do not retransmit, so a full
/// buffer would lose their messages.
fn wait_until_drained(server: SocketAddr) {
    let socket = unlisted_socket();
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let asked = request("OPTIONS", VN, AGENT, 1, socket.local_addr().unwrap());
    let deadline = Instant::now() + TIMEOUT;
    loop {
        socket.send_to(asked.as_bytes(), server).unwrap();
        if socket.recv_from(&mut [0; 65_535]).is_ok() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the server answers nobody any more"
        );
    }
}

/// Returns the response to an unlisted source, without the requested number.
fn response_to(server: SocketAddr, socket: &UdpSocket, method: &str, number: &str) -> String {
    let message = request(method, number, AGENT, 1, socket.local_addr().unwrap());
    socket.send_to(message.as_bytes(), server).unwrap();
    let mut buffer = [0; 65_535];
    let (length, _) = socket
        .recv_from(&mut buffer)
        .expect("a stranger is told something");
    String::from_utf8_lossy(&buffer[..length]).replace(number, "NUMBER")
}

#[test]
fn an_unlisted_source_gets_identical_responses_for_every_number() {
    let setup = CallSetup::start();
    setup.server.add_number(SHARED, &[]);
    setup.allocate(&json!({}));
    let socket = unlisted_socket();
    for method in [
        "INVITE", "OPTIONS", "BYE", "CANCEL", "INFO", "UPDATE", "PRACK", "REGISTER", "MESSAGE",
        "DANCE",
    ] {
        let known = response_to(setup.server.sip, &socket, method, VN);
        let status = match method {
            "REGISTER" | "MESSAGE" => 405,
            "DANCE" => 501,
            _ => 403,
        };
        assert!(known.starts_with(&format!("SIP/2.0 {status} ")), "{known}");
        for number in [SHARED, "+914000000099", "1000", "admin", "00914000000001"] {
            assert_eq!(
                response_to(setup.server.sip, &socket, method, number),
                known,
                "{method} {number}"
            );
        }
    }
    assert_eq!(setup.server.get("/calls"), json!([]));
}

#[test]
fn an_unlisted_source_with_an_agents_number_gains_nothing() {
    let mut setup = CallSetup::start_connected();
    let socket = unlisted_socket();
    assert!(response_to(setup.server.sip, &socket, "INVITE", VN).starts_with("SIP/2.0 403 "));
    // The source knows the identifiers of the call, but is not a party of it.
    let sdp = setup.customer.description("sendrecv");
    let keys = (
        "INFO",
        "Content-Type: application/dtmf-relay\r\n",
        "Signal=5\r\n",
    );
    for (method, headers, body) in [
        ("BYE", "", ""),
        ("INVITE", "Content-Type: application/sdp\r\n", &*sdp),
        ("UPDATE", "", ""),
        keys,
    ] {
        let forged = setup.customer.build_in_dialog(method, headers, body);
        socket.send_to(forged.as_bytes(), setup.server.sip).unwrap();
        let mut buffer = [0; 65_535];
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        let response = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(response.starts_with("SIP/2.0 403 "), "{response}");
        assert!(header(&response, "CSeq").contains(method));
    }
    setup.end_and_check();
    assert_eq!(setup.server.get("/calls").as_array().map(Vec::len), Some(1));
}

#[test]
fn an_unlisted_source_over_tcp_is_rejected() {
    let setup = CallSetup::start();
    let source = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    source
        .bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into())
        .unwrap();
    source.connect(&setup.server.sip.into()).unwrap();
    let mut stream = TcpStream::from(source);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let message = request("INVITE", VN, AGENT, 1, stream.local_addr().unwrap());
    stream.write_all(message.as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"SIP/2.0 403 ");
}

/// Makes one call with three wrong PINs, each after the prompt.
fn guess_pins(server: SocketAddr, caller: usize, wrong: &str) {
    let mut guesser = Party::new(&format!("+9177000000{caller:02}"), server);
    assert_eq!(guesser.call(SHARED), 200);
    for _ in 0..3 {
        guesser.press(wrong);
        guesser.wait_until_quiet();
    }
    guesser.serve("BYE");
}

#[test]
fn mass_guessing_closes_a_number_to_unlisted_callers_but_not_to_its_customers() {
    let mut setup = CallSetup::start();
    setup
        .server
        .add_number(SHARED, &["--mode", "shared", "--pin-length", "6"]);
    let allocation = setup.allocate(&json!({ "caller_id_number": SHARED }));
    let pin = allocation["pin"].as_str().unwrap();
    let wrong = if pin == "000000" { "111111" } else { "000000" };
    let target = setup.server.sip;
    std::thread::scope(|scope| {
        for caller in 0..8 {
            scope.spawn(move || guess_pins(target, caller, wrong));
        }
    });
    setup.inbox.wait_for_event("number.pin_attack");
    // An unlisted caller is rejected even with the correct PIN. A listed customer is not.
    let mut stranger = Party::new("+917700000099", target);
    assert_eq!(stranger.call(SHARED), 200);
    stranger.press(pin);
    stranger.wait_until_quiet();
    assert_eq!(setup.customer.call(SHARED), 200);
    setup.customer.press(pin);
    setup.agent_answers();
    assert_eq!(
        setup.inbox.wait_for_event("call.answered")["data"]["from"],
        CUSTOMER
    );
    setup.both_talk();
    stranger.bye();
}

/// Sends bytes over TCP from an address. Returns all that comes back until the server closes the connection.
fn response_over_tcp(source: &str, server: SocketAddr, bytes: &[u8]) -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let source: SocketAddr = source.parse().unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect(&server.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(bytes).unwrap();
    let (mut received, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => received.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the connection stays open: {error}"),
        }
    }
    String::from_utf8(received).unwrap()
}

#[test]
fn a_stranger_with_a_broken_stream_gets_no_response_under_silence() {
    const STRANGER: &str = "127.0.0.2:0";
    const TRUNK: &str = "127.0.0.1:0";
    let broken = request("INVITE", VN, CUSTOMER, 1, "127.0.0.2:5060".parse().unwrap());
    let broken = broken.replace(" SIP/2.0\r\nVia", "  SIP/2.0\r\nVia");
    let pinged = format!("\r\n\r\n{broken}");
    for (keys, answered) in [
        ("", true),
        ("silence = true\n", false),
        ("silence = [\"udp\"]\n", true),
    ] {
        let sip = format!("[sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\n{keys}");
        let server = CallSetup::start_with("", &sip).server;
        let from = |source, bytes: &str| response_over_tcp(source, server.sip, bytes.as_bytes());
        let answer = from(STRANGER, &broken);
        assert_eq!(answer.starts_with("SIP/2.0 400 "), answered, "{keys}");
        assert_eq!(from(STRANGER, &pinged).is_empty(), !answered, "{keys}");
        if !answered {
            assert_eq!(answer, "");
        }
        assert!(from(TRUNK, &broken).starts_with("SIP/2.0 400 "), "{keys}");
        assert_eq!(from(STRANGER, "\u{1}\u{2}garbage\r\n\r\n"), "");
    }
}
