//! Several listen addresses: which one a message comes from, and what it shows.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::support::call_setup::{AGENT, CUSTOMER, CallSetup, VN, pin_of};
use crate::support::party::{Party, header};
use crate::support::server::{Server, trunk};
use crate::support::webhook_inbox::WebhookInbox;

const LISTEN: &str = "[sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\", \"udp:127.0.0.2:0\", \
                      \"tcp:127.0.0.2:0\"]\n";

/// Starts a server with two addresses of each transport. The agent's trunk knows it by the second one.
fn start() -> CallSetup {
    let mut agent = Party::unconnected(AGENT);
    let keys = "public_address = \"127.0.0.2\"";
    let server = Server::with(&(trunk("carrier", agent.address(), keys) + LISTEN));
    agent.set_server(server.sip);
    let customer = Party::new(CUSTOMER, server.sip_addresses("udp:")[1]);
    server.add_number(VN, &[]);
    let inbox = WebhookInbox::open();
    server.send_events_to(&inbox.url);
    CallSetup {
        server,
        inbox,
        agent,
        customer,
    }
}

#[test]
fn a_call_stays_at_the_address_that_it_came_to_and_a_trunk_has_its_own() {
    let mut setup = start();
    let udp = setup.server.sip_addresses("udp:");
    let tcp = setup.server.sip_addresses("tcp:");
    assert_eq!((udp.len(), tcp.len()), (2, 2));
    for (udp, tcp) in udp.iter().zip(&tcp) {
        assert_eq!(udp, tcp, "TCP shares the port of UDP");
    }
    let second = udp[1];
    let allocation = setup.allocate(&json!({}));
    setup.call_with(pin_of(&allocation));
    assert_eq!(setup.customer.last_source(), second);
    assert!(header(&setup.customer.last, "Contact").contains(&format!("@{second}>")));
    let audio = setup.customer.audio_destination().unwrap();
    assert_eq!(audio.ip(), second.ip());
    let invite = setup.agent_answers();
    assert_eq!(setup.agent.last_source(), second);
    for name in ["Via", "Contact", "From"] {
        assert!(
            header(&invite, name).contains(&second.to_string()),
            "{name}"
        );
    }
    let audio = setup.agent.audio_destination().unwrap();
    assert_eq!(audio.ip(), second.ip());
    setup.both_talk();
    setup.agent.bye_as_callee();
    setup.customer.serve("BYE");
    assert_eq!(setup.customer.last_source(), second, "the BYE as well");
    setup.completed();
}

#[test]
fn each_address_answers_for_itself() {
    let setup = start();
    for (index, server) in setup.server.sip_addresses("udp:").into_iter().enumerate() {
        let mut caller = Party::new("+918800000002", server);
        caller.invite_with("+914000000009", true);
        caller.wait_for_message(|text| text.starts_with("SIP/2.0 404"));
        assert_eq!(caller.last_source(), server, "{index}");
    }
    for server in setup.server.sip_addresses("tcp:") {
        let mut stream = TcpStream::connect(server).unwrap();
        let own = stream.local_addr().unwrap();
        let request = format!(
            "OPTIONS sip:{server} SIP/2.0\r\nVia: SIP/2.0/TCP {own};branch=z9hG4bK1\r\n\
             From: <sip:a@{own}>;tag=1\r\nTo: <sip:{server}>\r\nCall-ID: {own}\r\nCSeq: 1 OPTIONS\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 11];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"SIP/2.0 200");
    }
}

#[test]
fn connections_to_a_peer_leave_from_the_address_of_its_trunk() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = listener.local_addr().unwrap();
    let configuration = format!(
        "[[trunks]]\nname = \"carrier\"\npeer = \"sip:{peer};transport=tcp\"\nkeep_alive = 1\n\
         public_address = \"127.0.0.2\"\n{LISTEN}"
    );
    let server = Server::with(&configuration);
    let (mut stream, source) = listener.accept().unwrap();
    let own = server.sip_addresses("tcp:")[1];
    assert_eq!(source.ip(), own.ip());
    let mut request = [0; 512];
    let length = stream.read(&mut request).unwrap();
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    assert!(
        header(&request, "Via").contains(&format!("SIP/2.0/TCP {own};")),
        "{request}"
    );
}
