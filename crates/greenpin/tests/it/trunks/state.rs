//! Requests to a trunk outside of calls: keep-alive and registration, and the state in the API.

use serde_json::json;

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::http_client::{raw_text, request};
use crate::support::operator_api::{OPERATOR, trunk as trunk_details, wait_for_trunk};
use crate::support::party::{Party, header};
use crate::support::server::{Server, trunk};

fn metrics(server: &Server) -> String {
    raw_text(server.http, &request("GET", "/metrics", "", b"")).1
}

#[test]
fn a_trunk_that_is_down_is_skipped_until_it_responds_again() {
    let [mut first, mut second] = [Party::unconnected(AGENT), Party::unconnected(AGENT)];
    let trunks = trunk("first", first.address(), "keep_alive = 1")
        + &trunk("second", second.address(), "priority = 20");
    let server = Server::with_operator(OPERATOR, &trunks);
    first.set_server(server.sip);
    second.set_server(server.sip);
    let options = first.serve_with("OPTIONS", 503, "");
    assert!(
        options.starts_with(&format!("OPTIONS sip:{} SIP/2.0", first.address())),
        "{options}"
    );
    wait_for_trunk(&server, 0, "state", &json!("away"));
    assert_eq!(trunk_details(&server, 1)["state"], "up");
    let told = metrics(&server);
    assert!(
        told.contains("greenpin_trunk_up{trunk=\"first\"} 0\n"),
        "{told}"
    );
    assert!(
        told.contains("greenpin_trunk_up{trunk=\"second\"} 1\n"),
        "{told}"
    );
    server.add_number(VN, &[]);
    let allocation =
        server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let mut customer = Party::new(CUSTOMER, server.sip);
    assert_eq!(customer.call(VN), 200);
    customer.press(allocation["pin"].as_str().unwrap());
    second.receive_invite();
    second.respond(486);
    second.serve("ACK");
    // Any response shows that the trunk is alive.
    first.serve_with("OPTIONS", 405, "");
    wait_for_trunk(&server, 0, "state", &json!("up"));
    assert!(metrics(&server).contains("greenpin_trunk_up{trunk=\"first\"} 1\n"));
    let log = server.wait_for_log("trunk is up");
    let said = |what: &str| log.matches(&format!("\"message\":\"{what}\"")).count();
    assert_eq!(
        (said("trunk is away"), said("trunk is up")),
        (1, 1),
        "{log}"
    );
}

const CHALLENGE: &str =
    "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"\r\n";

#[test]
fn a_trunk_is_registered_with_sends_calls_to_the_contact_and_is_unregistered_at_shutdown() {
    let mut registrar = Party::unconnected(CUSTOMER);
    let keys = "register = true\nusername = \"trunk-user\"\npassword = \"a fictional password\"";
    let server = Server::with_operator(OPERATOR, &trunk("carrier", registrar.address(), keys));
    registrar.set_server(server.sip);
    assert_eq!(trunk_details(&server, 0)["registered"], false);
    let asked = registrar.serve_with("REGISTER", 401, CHALLENGE);
    assert!(header(&asked, "To").contains("sip:trunk-user@"), "{asked}");
    let again = registrar.serve_with("REGISTER", 200, "Expires: 600\r\n");
    let proof = header(&again, "Authorization");
    assert!(
        proof.starts_with("Digest username=\"trunk-user\", realm=\"carrier\""),
        "{proof}"
    );
    wait_for_trunk(&server, 0, "registered", &json!(true));
    assert!(metrics(&server).contains("greenpin_trunk_registered{trunk=\"carrier\"} 1\n"));
    // Calls arrive at the registered contact.
    let contact = header(&again, "Contact");
    assert!(
        contact.contains(&format!("trunk-user@{}", server.sip)),
        "{contact}"
    );
    server.add_number(VN, &[]);
    server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    assert_eq!(registrar.call(VN), 200);
    registrar.bye();
    server.terminate();
    let gone = registrar.serve_with("REGISTER", 200, "");
    assert_eq!(header(&gone, "Expires"), "0");
    server.wait_for_log("\"message\":\"stopped\"");
    assert!(!server.log().contains("fictional password"));
}

#[test]
fn registrations_are_rejected() {
    let mut phone = Party::unconnected(CUSTOMER);
    let server = Server::with(&trunk("carrier", phone.address(), ""));
    phone.set_server(server.sip);
    let address = phone.address();
    phone.send_sip(&format!(
        "REGISTER sip:{} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bKr;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:x@{address}>;tag=1\r\nTo: <sip:x@{address}>\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\n\
         Contact: <sip:x@{address}>\r\nContent-Length: 0\r\n\r\n",
        server.sip
    ));
    let response = phone.wait_for_message(|text| text.starts_with("SIP/2.0 "));
    assert!(
        response.starts_with("SIP/2.0 405 ") && !header(&response, "Allow").contains("REGISTER"),
        "{response}"
    );
}
