//! Trunks with domain names, and a DNS server of the test.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, NAPTR, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record};
use serde_json::json;

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::operator_api::{OPERATOR, expect_response, operator_request, wait_for_trunk};
use crate::support::party::{Party, header};
use crate::support::server::{Server, TIMEOUT};
use crate::support::tls::{Certificates, Tunnel};

type Zone = Arc<Mutex<Vec<Record>>>;

/// DNS server on loopback with records of 1 s.
struct Dns {
    address: SocketAddr,
    zone: Zone,
}

impl Dns {
    fn open() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, zone) = (socket.local_addr().unwrap(), Zone::default());
        let known = zone.clone();
        std::thread::spawn(move || serve(&socket, &known));
        Self { address, zone }
    }

    /// Replaces the records.
    fn set_records(&self, records: Vec<(&str, RData)>) {
        let records = records
            .into_iter()
            .map(|(name, data)| Record::from_rdata(Name::from_utf8(name).unwrap(), 1, data));
        *self.zone.lock().unwrap() = records.collect();
    }

    fn configuration(&self, keys: &str) -> String {
        format!(
            "[sip]\nlisten = [\"udp:127.0.0.1:0\"]\ndns = \"{}\"\n[[trunks]]\nname = \"carrier\"\n\
             peer = \"sip:carrier.example\"\n{keys}\n",
            self.address
        )
    }
}

fn serve(socket: &UdpSocket, zone: &Zone) {
    let mut buffer = [0; 2048];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let asked = Message::from_vec(&buffer[..length]).unwrap();
        let query = asked.queries[0].clone();
        let mut response = Message::response(asked.metadata.id, asked.metadata.op_code);
        response.metadata.recursion_available = true;
        let zone = zone.lock().unwrap();
        let of_name = zone.iter().filter(|record| record.name == *query.name());
        let found: Vec<Record> = of_name
            .clone()
            .filter(|record| record.record_type() == query.query_type())
            .cloned()
            .collect();
        if of_name.count() == 0 {
            response.metadata.response_code = ResponseCode::NXDomain;
        }
        response.add_query(query);
        response.add_answers(found);
        let _ = socket.send_to(&response.to_vec().unwrap(), client);
    }
}

fn address() -> RData {
    RData::A(A(Ipv4Addr::LOCALHOST))
}

fn service(priority: u16, port: u16, host: &str) -> RData {
    RData::SRV(SRV::new(priority, 1, port, Name::from_utf8(host).unwrap()))
}

/// Returns a NAPTR record with an order and a service.
fn naptr(order: u16, service: &str, services: &str) -> RData {
    let text = |text: &str| text.as_bytes().into();
    RData::NAPTR(NAPTR::new(
        order,
        1,
        text("s"),
        text(service),
        text(""),
        Name::from_utf8(services).unwrap(),
    ))
}

/// Calls as a customer and enters the PIN. The call comes from the address of the name.
fn customer(server: &Server, pin: &str) -> Party {
    let mut customer = Party::new(CUSTOMER, server.sip);
    assert_eq!(customer.call(VN), 200);
    customer.press(pin);
    customer
}

fn allocate(server: &Server) -> String {
    server.add_number(VN, &[]);
    let allocation =
        server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    allocation["pin"].as_str().unwrap().to_owned()
}

#[test]
fn a_name_resolves_to_its_services_in_order_and_to_new_ones_after_the_ttl() {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let mut parties = [(); 3].map(|()| Party::new(AGENT, nowhere));
    let [first, second, third] = [0, 1, 2].map(|index| parties[index].address().port());
    let dns = Dns::open();
    let names = [("one.example.", address()), ("two.example.", address())];
    let services = [
        (
            "_sip._udp.carrier.example.",
            service(20, second, "two.example."),
        ),
        (
            "_sip._udp.carrier.example.",
            service(10, first, "one.example."),
        ),
    ];
    dns.set_records(names.iter().chain(&services).cloned().collect());
    let server = Server::with_operator(OPERATOR, &dns.configuration("keep_alive = 0"));
    parties
        .iter_mut()
        .for_each(|party| party.set_server(server.sip));
    wait_for_trunk(&server, 0, "state", &json!("up"));
    let pin = allocate(&server);
    let mut caller = customer(&server, &pin);
    let [one, two, three] = &mut parties;
    let invite = one.receive_invite();
    assert!(
        invite.starts_with(&format!("INVITE sip:{AGENT}@carrier.example SIP/2.0\r\n")),
        "{invite}"
    );
    one.respond(503);
    one.serve("ACK");
    two.receive_invite();
    two.respond(486);
    two.serve("ACK");
    caller.serve("BYE");
    dns.set_records(vec![
        names[0].clone(),
        (
            "_sip._udp.carrier.example.",
            service(1, third, "one.example."),
        ),
    ]);
    // The records expire according to their own TTL. Until then, calls use the old address.
    let deadline = Instant::now() + TIMEOUT;
    while three.received.is_empty() {
        assert!(Instant::now() < deadline, "the new service is never called");
        let mut caller = customer(&server, &pin);
        let mut both = [&mut *two, &mut *three];
        let mut is_called = || {
            both.iter_mut()
                .position(|party| party.poll_invite().is_some())
        };
        // A busy machine may need more time than the TTL allows, so retry.
        let index = (0..5)
            .find_map(|_| is_called())
            .expect("somebody is called");
        let called = &mut both[index];
        called.respond(486);
        called.serve("ACK");
        caller.serve("BYE");
    }
}

#[test]
fn a_trunk_with_an_unresolvable_name_is_down_until_the_name_resolves() {
    let dns = Dns::open();
    let server = Server::with_operator(OPERATOR, &dns.configuration("keep_alive = 0"));
    assert_eq!(
        expect_response(operator_request(&server, "GET", "/trunks"), 200)[0]["state"],
        "away"
    );
    let mut caller = Party::new(CUSTOMER, server.sip);
    assert_eq!(
        caller.call(VN),
        403,
        "nobody knows yet that it is the trunk that calls"
    );
    dns.set_records(vec![("carrier.example.", address())]);
    wait_for_trunk(&server, 0, "state", &json!("up"));
    assert_eq!(
        Party::new(CUSTOMER, server.sip).call(VN),
        404,
        "it is, and there is no such number"
    );
}

#[test]
fn a_name_with_a_port_is_looked_up_as_an_address_and_registered_with() {
    let mut registrar = Party::unconnected(AGENT);
    let dns = Dns::open();
    dns.set_records(vec![("carrier.example.", address())]);
    let keys =
        "keep_alive = 1\nregister = true\nusername = \"u\"\npassword = \"a fictional password\"";
    let port = registrar.address().port();
    let configuration = dns
        .configuration(keys)
        .replace("carrier.example", &format!("carrier.example:{port}"));
    let server = Server::with_operator(OPERATOR, &configuration);
    registrar.set_server(server.sip);
    let told = registrar.serve("REGISTER");
    assert!(
        told.starts_with(&format!("REGISTER sip:carrier.example:{port} SIP/2.0\r\n")),
        "{told}"
    );
    registrar.serve("OPTIONS");
    wait_for_trunk(&server, 0, "state", &json!("up"));
}

/// Waits for an OPTIONS request over the transport in its `Via`.
fn wait_for_options_over(party: &mut Party, transport: &str) {
    let asked = party.serve("OPTIONS");
    assert!(
        asked.starts_with("OPTIONS sip:other.example SIP/2.0\r\n"),
        "{asked}"
    );
    assert!(
        header(&asked, "Via").starts_with(&format!("SIP/2.0/{transport} ")),
        "{asked}"
    );
}

#[test]
fn a_domain_is_reached_over_the_preferred_transport_of_its_current_records() {
    let [mut over_tcp, mut over_udp] = [(); 2].map(|()| Party::unconnected(AGENT));
    let tcp = Tunnel::accept(over_tcp.address(), None);
    over_tcp.set_server(tcp.near);
    let dns = Dns::open();
    let services = [
        ("one.example.", address()),
        (
            "_sip._tcp.elsewhere.example.",
            service(1, tcp.far.port(), "one.example."),
        ),
        (
            "_sip._udp.other.example.",
            service(1, over_udp.address().port(), "one.example."),
        ),
    ];
    let ways = [
        (
            "other.example.",
            naptr(20, "SIP+D2U", "_sip._udp.other.example."),
        ),
        (
            "other.example.",
            naptr(10, "SIP+D2T", "_sip._tcp.elsewhere.example."),
        ),
        (
            "other.example.",
            naptr(1, "SIP+D2S", "_sip._sctp.other.example."),
        ),
    ];
    dns.set_records(services.iter().chain(&ways).cloned().collect());
    let configuration = dns
        .configuration("keep_alive = 1")
        .replace("carrier.example", "other.example");
    let server = Server::with_operator(OPERATOR, &configuration);
    over_udp.set_server(server.sip);
    wait_for_options_over(&mut over_tcp, "TCP");
    wait_for_trunk(&server, 0, "state", &json!("up"));
    // Without NAPTR records, the SRV records decide.
    dns.set_records(services.to_vec());
    wait_for_options_over(&mut over_udp, "UDP");
    wait_for_trunk(&server, 0, "state", &json!("up"));
}

#[test]
fn a_domain_with_certificates_is_reached_only_over_tls() {
    let certificates = Certificates::new();
    let [mut named, mut known, mut clear] = [(); 3].map(|()| Party::unconnected(AGENT));
    let [one, two] = [&mut named, &mut known].map(|party| {
        let tunnel = Tunnel::accept(party.address(), Some(certificates.acceptor("other")));
        party.set_server(tunnel.near);
        tunnel
    });
    let dns = Dns::open();
    let services = [
        ("one.example.", address()),
        (
            "_sips._tcp.elsewhere.example.",
            service(1, one.far.port(), "one.example."),
        ),
        (
            "_sips._tcp.other.example.",
            service(1, two.far.port(), "one.example."),
        ),
        (
            "_sip._udp.other.example.",
            service(1, clear.address().port(), "one.example."),
        ),
    ];
    let way = |name, services| ("other.example.", naptr(10, name, services));
    let in_clear = way("SIP+D2U", "_sip._udp.other.example.");
    let encrypted = way("SIPS+D2T", "_sips._tcp.elsewhere.example.");
    dns.set_records(
        services
            .iter()
            .chain([&in_clear, &encrypted])
            .cloned()
            .collect(),
    );
    let keys = format!("keep_alive = 1\ntls_ca = {:?}", certificates.path("ca.pem"));
    let configuration = dns
        .configuration(&keys)
        .replace("carrier.example", "other.example");
    let server = Server::with_operator(OPERATOR, &configuration);
    wait_for_options_over(&mut named, "TLS");
    dns.set_records(services.to_vec());
    wait_for_options_over(&mut known, "TLS");
    wait_for_trunk(&server, 0, "state", &json!("up"));
    dns.set_records(services.iter().chain([&in_clear]).cloned().collect());
    wait_for_trunk(&server, 0, "state", &json!("away"));
    assert!(
        clear.poll_invite().is_none() && clear.received.is_empty(),
        "it was reached in clear"
    );
}
