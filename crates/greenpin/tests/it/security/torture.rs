//! Messages of RFC 4475 and RFC 5118 against a running server over UDP and TCP. Each gets the response required by
//! its section, and a masked call succeeds after all of them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::server::Server;
use crate::support::sipp;

/// Timeout for a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Message with its expected responses.
struct Case {
    /// Section of the RFC, and its name of the message.
    section: &'static str,
    name: &'static str,
    /// Final status over UDP. `None`: no response.
    udp: Option<u16>,
    /// Final statuses over TCP, and the state of the connection afterwards.
    tcp: (&'static [u16], StreamState),
}

/// State of a connection after a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StreamState {
    /// The connection serves further requests.
    Stays,
    /// The server closes the connection, because the start of the next message is unknown.
    Closes,
    /// The server waits for the rest of the message.
    Waits,
}
use StreamState::{Closes, Stays, Waits};

/// Message with the same response over UDP and TCP.
const fn both(section: &'static str, name: &'static str, status: &'static [u16]) -> Case {
    apart(section, name, status.first().copied(), status, Stays)
}

const fn silence(section: &'static str, name: &'static str) -> Case {
    apart(section, name, None, &[], Stays)
}

/// Request with invalid framing or an invalid start line. Over TCP it ends the connection.
const fn broken(section: &'static str, name: &'static str) -> Case {
    apart(section, name, Some(400), &[400], Closes)
}

const fn apart(
    section: &'static str,
    name: &'static str,
    udp: Option<u16>,
    tcp: &'static [u16],
    then: StreamState,
) -> Case {
    Case {
        section,
        name,
        udp,
        tcp: (tcp, then),
    }
}

const RFC4475: &[Case] = &[
    // Well formed. `To` has a tag, but the dialog does not exist (RFC 3261, section 12.2.2).
    both("3.1.1.1", "wsinv", &[481]),
    // Unknown method.
    both("3.1.1.2", "intmeth", &[501]),
    // Well formed calls to unknown numbers get 404.
    both("3.1.1.3", "esc01", &[404]),
    // The server is no registrar: every parseable REGISTER gets 405.
    both("3.1.1.4", "escnull", &[405]),
    // `RE%47IST%45R` is a different method from REGISTER.
    both("3.1.1.5", "esc02", &[501]),
    both("3.1.1.6", "lwsdisp", &[200]),
    both("3.1.1.7", "longreq", &[404]),
    // In a datagram, data after the message is ignored. In a stream it is the next request, with an invalid line
    // in its description and invalid data after it.
    apart("3.1.1.8", "dblreq", Some(405), &[405, 400], Closes),
    both("3.1.1.9", "semiuri", &[200]),
    both("3.1.1.10", "transports", &[200]),
    both("3.1.1.11", "mpart01", &[405]),
    // Responses without a request.
    silence("3.1.1.12", "unreason"),
    // `Content-Length` is missing, which a stream requires.
    apart("3.1.1.13", "noreason", None, &[], Closes),
    // Separators make `Via` unreadable. The response is sent to the source address.
    both("3.1.2.1", "badinv01", &[400]),
    // In a stream, the rest of the body may still arrive.
    apart("3.1.2.2", "clerr", Some(400), &[], Waits),
    broken("3.1.2.3", "ncl"),
    both("3.1.2.4", "scalar02", &[400]),
    silence("3.1.2.5", "scalarlg"),
    // The body is longer than its `Content-Length`. In a stream the rest is invalid data.
    apart("3.1.2.6", "quotbal", Some(400), &[400], Closes),
    broken("3.1.2.7", "ltgtruri"),
    broken("3.1.2.8", "lwsruri"),
    // A lenient parser may accept it; this one does not.
    broken("3.1.2.9", "lwsstart"),
    broken("3.1.2.10", "trws"),
    both("3.1.2.11", "escruri", &[400]),
    // An invalid `Date` is ignored, because the server does not use it.
    both("3.1.2.12", "baddate", &[404]),
    // A registrar would respond with 400. This server rejects REGISTER.
    both("3.1.2.13", "regbadct", &[405]),
    // Blanks within `<>` may be ignored; this parser rejects them.
    both("3.1.2.14", "badaspec", &[400]),
    // The datagram lacks its empty line. In the stream the test sends that line afterwards.
    both("3.1.2.15", "baddn", &[400]),
    both("3.1.2.16", "badvers", &[505]),
    both("3.1.2.17", "mismatch01", &[400]),
    // 400 takes precedence over 501.
    both("3.1.2.18", "mismatch02", &[400]),
    apart("3.1.2.19", "bigcode", None, &[], Closes),
    // The branch counts as missing. RFC 2543 matches without a branch.
    both("3.2.1", "badbranch", &[200]),
    // `From`, `To` and `Call-ID` are missing, so the 400 contains only the existing headers.
    both("3.3.1", "insuf", &[400]),
    both("3.3.2", "unkscm", &[416]),
    both("3.3.3", "novelsc", &[416]),
    both("3.3.4", "unksm2", &[405]),
    both("3.3.5", "bext01", &[420]),
    both("3.3.6", "invut", &[415]),
    both("3.3.7", "regaut01", &[405]),
    both("3.3.8", "multi01", &[400]),
    broken("3.3.9", "mcl01"),
    silence("3.3.10", "bcast"),
    // An endpoint accepts a request with `Max-Forwards: 0`.
    both("3.3.11", "zeromf", &[200]),
    both("3.3.12", "cparam01", &[405]),
    both("3.3.13", "cparam02", &[405]),
    both("3.3.14", "regescrt", &[405]),
    both("3.3.15", "sdp01", &[406]),
    // RFC 2543 has no `Contact`, required for a dialog, and no `Content-Length`, required in a stream.
    apart("3.4.1", "inv2543", Some(400), &[400], Closes),
];

const RFC5118: &[Case] = &[
    both("4.1", "ipv6-good", &[405]),
    broken("4.2", "ipv6-bad"),
    both("4.3", "port-ambiguous", &[405]),
    both("4.4", "port-unambiguous", &[405]),
    both("4.5", "via-received-param-with-delim", &[481]),
    both("4.5", "via-received-param-no-delim", &[200]),
    // The offer has video and an unsupported codec, so nothing of it is acceptable.
    both("4.6", "ipv6-in-sdp", &[488]),
    both("4.7", "mult-ip-in-header", &[481]),
    both("4.8", "mult-ip-in-sdp", &[404]),
    both("4.9", "ipv4-mapped-ipv6", &[488]),
    // The third colon is an error in the grammar of RFC 3261, and must be tolerated.
    both("4.10", "ipv6-bug-abnf-3-colons", &[200]),
    both("4.10", "ipv6-correct-abnf-2-colons", &[200]),
];

fn cases() -> impl Iterator<Item = (&'static str, &'static Case)> {
    RFC4475
        .iter()
        .map(|case| ("rfc4475", case))
        .chain(RFC5118.iter().map(|case| ("rfc5118", case)))
}

fn folder(rfc: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torture")).join(rfc)
}

fn message(rfc: &str, case: &Case) -> Vec<u8> {
    let message = std::fs::read(folder(rfc).join(format!("{}.sip", case.name))).unwrap();
    if case.name != "ipv6-correct-abnf-2-colons" {
        return message;
    }
    // Both messages of section 4.10 name the same transaction, so the second would be a retransmission.
    String::from_utf8(message)
        .unwrap()
        .replace("z9hG4bKas3-111", "z9hG4bKas3-112")
        .into_bytes()
}

/// Returns a request for a 200 after all previous messages.
fn probe(transport: &str) -> String {
    static PROBES: AtomicU32 = AtomicU32::new(0);
    let branch = PROBES.fetch_add(1, Ordering::Relaxed);
    format!(
        "OPTIONS sip:probe@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1;branch=z9hG4bK{branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:probe@127.0.0.1>;tag=1\r\nTo: <sip:probe@127.0.0.1>\r\nCall-ID: probe\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

fn is_probed(response: &str) -> bool {
    response.contains("\r\nCall-ID: probe\r\n")
}

fn status(response: &str) -> u16 {
    response[8..11].parse().unwrap()
}

/// Checks the required headers of a rejection (RFC 3261, section 21.4).
fn check_form(case: &Case, response: &str) {
    let told = match status(response) {
        405 => "\r\nAllow: INVITE, ",
        415 => "\r\nAccept: application/sdp\r\n",
        420 => "\r\nUnsupported: nothingSupportsThis, nothingSupportsThisEither\r\n",
        _ => "\r\nVia: ",
    };
    assert!(
        response.contains(told),
        "{} {}:\n{response}",
        case.section,
        case.name
    );
}

/// Returns a socket with its own address and the port in the message's `Via`, so that the response arrives there.
fn socket(index: u8, message: &[u8]) -> UdpSocket {
    let [high, low] = u16::try_from(std::process::id() % 0xffff)
        .unwrap()
        .to_be_bytes();
    let text = String::from_utf8_lossy(message);
    let via = text
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("via"))
        .unwrap_or_default();
    let top = via.split([';', ',']).next().unwrap_or_default();
    let port = top
        .rsplit_once(':')
        .and_then(|(_, port)| port.trim().parse().ok());
    let port = port
        .filter(|_| !top.ends_with(']') && !top.to_ascii_lowercase().starts_with("via:     sip"));
    let address = Ipv4Addr::new(127, 230 + high % 20, low, index);
    UdpSocket::bind((address, port.unwrap_or(5060))).unwrap()
}

fn udp_answer(
    server: SocketAddr,
    socket: &UdpSocket,
    message: &[u8],
    expected: Option<u16>,
) -> Option<String> {
    socket.set_read_timeout(Some(RESPONSE_TIMEOUT)).unwrap();
    socket.send_to(message, server).unwrap();
    if expected.is_none() {
        socket.send_to(probe("UDP").as_bytes(), server).unwrap();
    }
    let mut buffer = [0; 65_535];
    loop {
        let (length, _) = socket.recv_from(&mut buffer).ok()?;
        let response = String::from_utf8_lossy(&buffer[..length]).into_owned();
        match status(&response) {
            _ if is_probed(&response) => return None,
            100..200 => {}
            _ => return Some(response),
        }
    }
}

#[test]
fn each_message_gets_its_response_over_udp_and_calls_still_work() {
    let setup = TortureSetup::start();
    let mut wrong = Vec::new();
    for (index, (rfc, case)) in cases().enumerate() {
        let message = message(rfc, case);
        let socket = socket(u8::try_from(index).unwrap() + 1, &message);
        let response = udp_answer(setup.server.sip, &socket, &message, case.udp);
        let status = response.as_deref().map(status);
        if status != case.udp {
            wrong.push(format!(
                "{rfc} {} {}: {status:?}, not {:?}",
                case.section, case.name, case.udp
            ));
        }
        response
            .iter()
            .for_each(|response| check_form(case, response));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    setup.call_over("u1");
}

/// Returns the next final response of a connection. `None` if the connection is closed or silent.
fn final_answer(stream: &mut TcpStream) -> Option<String> {
    loop {
        let mut response = Vec::new();
        // Reading octet by octet leaves the following data in the socket.
        while !response.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            stream.read_exact(&mut octet).ok()?;
            response.extend(octet);
        }
        let response = String::from_utf8_lossy(&response).into_owned();
        if status(&response) >= 200 {
            return Some(response);
        }
    }
}

/// Returns the final responses to a message, and the state of the connection afterwards.
fn tcp_answers(server: SocketAddr, case: &Case, message: &[u8]) -> (Vec<String>, StreamState) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(RESPONSE_TIMEOUT)).unwrap();
    stream.write_all(message).unwrap();
    if !message.windows(4).any(|window| window == b"\r\n\r\n") {
        stream.write_all(b"\r\n").unwrap();
    }
    let (statuses, then) = case.tcp;
    let mut responses: Vec<String> = statuses
        .iter()
        .map_while(|_| final_answer(&mut stream))
        .collect();
    match then {
        Stays => stream.write_all(probe("TCP").as_bytes()).unwrap(),
        Waits => stream.shutdown(Shutdown::Write).unwrap(),
        Closes => {}
    }
    loop {
        match final_answer(&mut stream) {
            Some(response) if is_probed(&response) => return (responses, Stays),
            Some(response) => responses.push(response),
            None if then == Waits => return (responses, Waits),
            None => return (responses, Closes),
        }
    }
}

#[test]
fn each_message_gets_its_response_over_tcp_and_calls_still_work() {
    let setup = TortureSetup::start();
    let mut wrong = Vec::new();
    for (rfc, case) in cases() {
        let (responses, then) = tcp_answers(setup.server.sip, case, &message(rfc, case));
        let statuses: Vec<u16> = responses.iter().map(|response| status(response)).collect();
        if (&statuses[..], then) != case.tcp {
            wrong.push(format!(
                "{rfc} {} {}: {statuses:?} {then:?}, not {:?}",
                case.section, case.name, case.tcp
            ));
        }
        responses
            .iter()
            .for_each(|response| check_form(case, response));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    setup.call_over("t1");
}

#[test]
fn every_message_of_both_documents_is_in_the_table() {
    for (rfc, count) in [("rfc4475", 49), ("rfc5118", 12)] {
        let files = std::fs::read_dir(folder(rfc)).unwrap().count();
        let known = cases().filter(|(of, _)| *of == rfc).count();
        assert_eq!((files, known), (count, count), "{rfc}");
    }
}

/// Server with the whole machine as its trunk, and an agent played by sipp.
struct TortureSetup {
    server: Server,
    agent: sipp::SippAgent,
}

impl TortureSetup {
    fn start() -> Self {
        let agent = sipp::SippAgent::somewhere("udp");
        let server = Server::with(&agent.trunk("127.0.0.0/8"));
        server.add_number(VN, &[]);
        Self { server, agent }
    }

    fn call_over(&self, transport: &str) {
        let body = json!({ "caller_id_number": VN, "from": AGENT, "to": CUSTOMER });
        let allocation = self.server.allocate(&body);
        sipp::masked_call(&self.server, &allocation, transport, &self.agent);
    }
}
