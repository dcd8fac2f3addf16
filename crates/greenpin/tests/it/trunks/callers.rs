//! Identification of a trunk's callers, and limits on their calls.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::party::{Party, exchange_audio, header};
use crate::support::server::{Server, trunk};
use crate::support::webhook_inbox::WebhookInbox;

const OTHER: &str = "+918800000002";
const KEYS: &str = "keep_alive = 0\naccept_from = [\"192.0.2.1\"]\naccept_username = \"pbx\"\n\
                    accept_password = \"a-fictional-password\"\n";

fn sha256(text: &str) -> String {
    digest(&SHA256, text.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Returns a parameter of a challenge.
fn parameter(challenge: &str, name: &str) -> String {
    challenge
        .split(&format!("{name}=\""))
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned()
}

/// Computes the response to a SHA-256 challenge (RFC 7616, section 3.4.1).
fn digest_response(challenge: &str, password: &str, uri: &str) -> String {
    assert!(
        challenge.contains("algorithm=SHA-256, qop=\"auth\""),
        "{challenge}"
    );
    let (realm, nonce) = (parameter(challenge, "realm"), parameter(challenge, "nonce"));
    let known = sha256(&format!("pbx:{realm}:{password}"));
    let asked = sha256(&format!("INVITE:{uri}"));
    let response = sha256(&format!("{known}:{nonce}:00000001:c1:auth:{asked}"));
    format!(
        "Authorization: Digest username=\"pbx\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{response}\", algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"c1\"\r\n"
    )
}

#[test]
fn a_caller_from_an_unknown_address_is_accepted_by_password() {
    let mut agent = Party::unconnected(AGENT);
    let server = Server::with(&format!(
        "[[trunks]]\nname = \"pbx\"\npeer = \"sip:{}\"\n{KEYS}",
        agent.address()
    ));
    agent.set_server(server.sip);
    server.add_number(VN, &[]);
    let allocation =
        server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let mut customer = Party::new(CUSTOMER, server.sip);
    let uri = format!("sip:{VN}@{}", server.sip);
    let mut challenges = Vec::new();
    for called in [VN, "+914000000009", "nobody"] {
        assert_eq!(customer.call(called), 401, "{called}");
        let lines = customer
            .last
            .lines()
            .filter(|line| !line.starts_with("To:") && !line.contains("nonce="));
        challenges.push(lines.map(str::to_owned).collect::<Vec<_>>());
    }
    assert!(
        challenges.windows(2).all(|pair| pair[0] == pair[1]),
        "no answer tells a number: {challenges:?}"
    );
    let challenge = header(&customer.last, "WWW-Authenticate");
    customer.add_headers(&digest_response(&challenge, "another password", &uri));
    assert_eq!(customer.call(VN), 401);
    assert!(!customer.last.contains("stale"), "{}", customer.last);
    customer.add_headers(&digest_response(&challenge, "a-fictional-password", &uri));
    assert_eq!(customer.call(VN), 200);
    customer.press(allocation["pin"].as_str().unwrap());
    agent.receive_invite();
    agent.respond(200);
    agent.serve("ACK");
    exchange_audio(&mut customer, 0x2a, &mut agent, 0x9c);
    customer.bye();
    agent.serve("BYE");
    assert!(!server.log().contains("fictional-password"));
    // A used nonce is rejected.
    let mut again = Party::new(CUSTOMER, server.sip);
    again.add_headers(&digest_response(&challenge, "a-fictional-password", &uri));
    assert_eq!(again.call(VN), 401);
    assert!(
        header(&again.last, "WWW-Authenticate").contains("stale=true"),
        "{}",
        again.last
    );
}

#[test]
fn no_caller_is_challenged_if_no_trunk_has_a_password() {
    let agent = Party::unconnected(AGENT);
    let trunk = format!(
        "[[trunks]]\nname = \"a\"\nkeep_alive = 0\naccept_from = [\"192.0.2.1\"]\npeer = \"sip:{}\"\n",
        agent.address()
    );
    let server = Server::with(&trunk);
    assert_eq!(Party::new(CUSTOMER, server.sip).call(VN), 403);
}

/// Sends a call from a trunk with further keys and headers. Returns the caller in its event.
fn reported_caller(keys: &str, headers: &str) -> serde_json::Value {
    let agent = Party::unconnected(AGENT);
    let server = Server::with(&trunk("carrier", agent.address(), keys));
    server.add_number(VN, &[]);
    server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let mut inbox = WebhookInbox::open();
    server.send_events_to(&inbox.url);
    let mut customer = Party::new("anonymous", server.sip);
    customer.add_headers(headers);
    assert_eq!(customer.call(VN), 200);
    inbox.wait_for_event("call.initiated")["data"]["from"].clone()
}

#[test]
fn the_caller_is_read_from_the_trunks_configured_header() {
    // All of the party's own headers say `anonymous`, including the first P-Asserted-Identity.
    // The added P-Asserted-Identity has the number.
    let said = format!("P-Asserted-Identity: <tel:{CUSTOMER}>\r\n");
    assert_eq!(reported_caller("", &said), CUSTOMER);
    assert_eq!(
        reported_caller("caller_from = \"from\"", &said),
        serde_json::Value::Null
    );
}

#[test]
fn a_withheld_number_is_shown_only_if_the_trunk_is_configured_to_show_it() {
    let withheld = format!("P-Asserted-Identity: <tel:{CUSTOMER}>\r\nPrivacy: user;id\r\n");
    assert_eq!(reported_caller("", &withheld), serde_json::Value::Null);
    assert_eq!(reported_caller("show_withheld = true", &withheld), CUSTOMER);
    let party = format!("Remote-Party-ID: <sip:{CUSTOMER}@x>;party=calling;privacy=full\r\n");
    let keys = "caller_from = \"remote-party-id\"";
    assert_eq!(reported_caller(keys, &party), serde_json::Value::Null);
}

#[test]
fn a_withheld_listed_caller_is_connected_and_its_number_is_nowhere_in_the_record() {
    let mut agent = Party::unconnected(AGENT);
    let server = Server::with(&trunk("carrier", agent.address(), ""));
    agent.set_server(server.sip);
    server.add_number(VN, &[]);
    server.update_settings(&json!({ "caller_policy": "listed" }));
    let allocation =
        server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let mut customer = Party::new(CUSTOMER, server.sip);
    customer.add_headers("Privacy: id\r\n");
    assert_eq!(customer.call(VN), 200);
    customer.press(allocation["pin"].as_str().unwrap());
    agent.receive_invite();
    agent.respond(200);
    agent.serve("ACK");
    customer.bye();
    agent.serve("BYE");
    let calls = server.get_until("/calls?status=ended", |calls| {
        calls.as_array().is_some_and(|calls| calls.len() == 1)
    });
    assert!(!calls.to_string().contains(CUSTOMER), "{calls}");
    assert_eq!(calls[0]["from"], serde_json::Value::Null);
    assert_eq!(calls[0]["call_type"], "completed");
    let party = format!("/calls?party={}", CUSTOMER.replace('+', "%2B"));
    server.get_until(&party, |calls| calls == &json!([]));
    assert!(!server.log().contains(CUSTOMER));
}

#[test]
fn an_identity_header_that_cannot_be_read_is_not_replaced_by_from() {
    let agent = Party::unconnected(AGENT);
    let server = Server::with(&trunk("carrier", agent.address(), ""));
    server.add_number(VN, &[]);
    server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    for (identity, expected) in [
        (String::new(), json!(null)),
        ("\"A <tel:+918800000002>".into(), json!(null)),
        ("<sip:anonymous@x>".into(), json!(null)),
        (format!("Doe, Jane <sip:{OTHER}@x>"), json!(OTHER)),
        (
            format!("<sip:1001@pbx>, <tel:{OTHER}>;screen=yes"),
            json!(OTHER),
        ),
        (format!("sip:{OTHER}@x;user=phone"), json!(OTHER)),
    ] {
        let mut inbox = WebhookInbox::open();
        server.send_events_to(&inbox.url);
        let mut caller = Party::new(CUSTOMER, server.sip);
        let address = caller.address();
        let id = inbox.url.rsplit(':').next().unwrap().replace('/', "");
        caller.send_sip(&format!(
            "INVITE sip:{VN}@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{id};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{CUSTOMER}@x>;tag=1\r\nTo: <sip:{VN}@x>\r\nCall-ID: {id}\r\n\
             CSeq: 1 INVITE\r\nContact: <sip:{address}>\r\nP-Asserted-Identity: {identity}\r\n\
             Content-Length: 0\r\n\r\n",
            sip = server.sip
        ));
        caller.wait_for_message(|text| text.starts_with("SIP/2.0 200"));
        let from = inbox.wait_for_event("call.initiated")["data"]["from"].clone();
        assert_eq!(from, expected, "{identity}");
    }
}

#[test]
fn numbers_without_a_country_are_read_in_their_context_or_in_the_country_of_trunk_or_tenant() {
    let agent = Party::unconnected(AGENT);
    let server = Server::with(&trunk("carrier", agent.address(), ""));
    server.add_number(VN, &[]);
    server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let caller = |identity: &str| {
        let mut inbox = WebhookInbox::open();
        server.send_events_to(&inbox.url);
        let mut party = Party::new("anonymous", server.sip);
        party.add_headers(&format!("P-Asserted-Identity: <{identity}>\r\n"));
        assert_eq!(party.call(VN), 200);
        inbox.wait_for_event("call.initiated")["data"]["from"].clone()
    };
    assert_eq!(caller("tel:8800000001;phone-context=+91"), CUSTOMER);
    assert_eq!(caller("tel:08800000001"), serde_json::Value::Null);
    server.update_settings(&json!({ "country": "IN" }));
    assert_eq!(caller("tel:08800000001"), CUSTOMER);
    assert_eq!(caller("sip:1001@pbx>, <tel:8800000001"), CUSTOMER);
    assert_eq!(
        caller("tel:8800000001;phone-context=carrier.example"),
        serde_json::Value::Null
    );
    let answer = |called: &str| Party::new(CUSTOMER, server.sip).call(called);
    assert_eq!(answer("4000000001;phone-context=+91"), 200);
    assert_eq!(answer("4000000001;phone-context=+1"), 404);
}

#[test]
fn the_called_number_is_read_from_to_if_the_request_uri_names_a_user() {
    let agent = Party::unconnected(AGENT);
    let server = Server::with(&trunk("carrier", agent.address(), "called_from = \"to\""));
    server.add_number(VN, &[]);
    server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let mut caller = Party::new(CUSTOMER, server.sip);
    let message = |branch: &str, to: &str, address| {
        format!(
            "INVITE sip:trunk-user@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{CUSTOMER}@x>;tag=1\r\nTo: <sip:{to}@x>\r\nCall-ID: {branch}\r\n\
             CSeq: 1 INVITE\r\nContact: <sip:{address}>\r\nContent-Length: 0\r\n\r\n",
            sip = server.sip
        )
    };
    for (to, status) in [("+914000000009", "404"), ("trunk-user", "404"), (VN, "200")] {
        caller.send_sip(&message(&to.replace('+', "n"), to, caller.address()));
        let response = caller.wait_for_message(|text| {
            text.starts_with("SIP/2.0 ") && !text.starts_with("SIP/2.0 100")
        });
        assert_eq!(&response[8..11], status, "{to}");
    }
}

#[test]
fn a_trunk_uses_only_its_configured_codecs() {
    let mut agent = Party::unconnected(AGENT);
    let trunks = trunk("carrier", agent.address(), "codecs = [\"pcmu\", \"pcma\"]");
    let server = Server::with(&trunks);
    agent.set_server(server.sip);
    server.add_number(VN, &[]);
    let allocation =
        server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let mut customer = Party::new(CUSTOMER, server.sip);
    customer.set_codecs("9");
    assert_eq!(customer.call(VN), 488, "G.722 is not allowed");
    let mut customer = Party::new(CUSTOMER, server.sip);
    customer.set_codecs("9 8 0");
    assert_eq!(customer.call(VN), 200);
    let answered = customer
        .last
        .lines()
        .find(|line| line.starts_with("m=audio"))
        .unwrap()
        .to_owned();
    assert!(
        answered.ends_with("RTP/AVP 0 97"),
        "the trunk's order, not the peer's: {answered}"
    );
    customer.press(allocation["pin"].as_str().unwrap());
    let invite = agent.receive_invite();
    assert!(invite.contains(" RTP/AVP 0 8 101\r\n"), "{invite}");
    agent.respond(486);
    agent.serve("ACK");
}

#[test]
fn calls_are_sent_to_the_outbound_proxy_with_the_peer_in_the_request_uri() {
    let mut proxy = Party::unconnected(AGENT);
    let trunk = format!(
        "[[trunks]]\nname = \"carrier\"\npeer = \"sip:192.0.2.7:5080\"\noutbound_proxy = \"sip:{}\"\n\
         keep_alive = 0\n",
        proxy.address()
    );
    let server = Server::with(&trunk);
    proxy.set_server(server.sip);
    server.add_number(VN, &[]);
    let allocation =
        server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    // The trunk may also send calls, because they come from the destination of ours.
    let mut customer = Party::new(CUSTOMER, server.sip);
    assert_eq!(customer.call(VN), 200);
    customer.press(allocation["pin"].as_str().unwrap());
    let invite = proxy.receive_invite();
    assert!(
        invite.starts_with(&format!("INVITE sip:{AGENT}@192.0.2.7:5080 SIP/2.0\r\n")),
        "{invite}"
    );
    assert_eq!(
        header(&invite, "Route"),
        format!("<sip:{};lr>", proxy.address())
    );
    proxy.respond(200);
    proxy.serve("ACK");
    customer.bye();
    proxy.serve("BYE");
}

#[test]
fn a_call_beyond_a_tenants_limit_is_rejected_and_reported() {
    let agent = Party::unconnected(AGENT);
    let limits = "[sip]\nlisten = [\"udp:127.0.0.1:0\"]\ntenant_max_calls = 2\n";
    let server = Server::with(&(limits.to_owned() + &trunk("carrier", agent.address(), "")));
    server.add_number(VN, &[]);
    server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let mut inbox = WebhookInbox::open();
    server.send_events_to(&inbox.url);
    let too_much = json!({ "call_limit": { "max_calls": 3, "calls_per_second": 1 } });
    assert_eq!(server.request("PUT", "/settings", Some(&too_much)).0, 422);
    server.update_settings(&json!({ "call_limit": { "max_calls": 1, "calls_per_second": 100 } }));
    let [mut first, mut second] = [CUSTOMER, OTHER].map(|number| Party::new(number, server.sip));
    assert_eq!(first.call(VN), 200);
    assert_eq!(second.call(VN), 503);
    assert_eq!(header(&second.last, "Retry-After"), "5");
    let completed = inbox.wait_for_event("call.completed");
    assert_eq!(
        (&completed["data"]["from"], &completed["data"]["call_type"]),
        (&json!(OTHER), &json!("call-attempt"))
    );
    first.bye();
    server.get_until("/calls?status=ended", |calls| {
        calls.as_array().is_some_and(|calls| calls.len() == 2)
    });
    let mut third = Party::new(OTHER, server.sip);
    assert_eq!(third.call(VN), 200, "room again");
    // Without a limit of the tenant, the operator's limit applies.
    server.update_settings(&json!({ "call_limit": null }));
    assert_eq!(Party::new(CUSTOMER, server.sip).call(VN), 200);
    assert_eq!(Party::new(OTHER, server.sip).call(VN), 503);
}

#[test]
fn a_trunk_above_its_call_rate_is_rejected_with_retry_after() {
    let agent = Party::unconnected(AGENT);
    let server = Server::with(&trunk(
        "carrier",
        agent.address(),
        "max_calls_per_second = 1",
    ));
    server.add_number(VN, &[]);
    server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT], "to": [CUSTOMER] }));
    let mut parties: Vec<Party> = (0..20).map(|_| Party::new(OTHER, server.sip)).collect();
    parties
        .iter_mut()
        .for_each(|party| party.invite_with(VN, true));
    let statuses: Vec<u16> = parties.iter_mut().map(Party::final_response).collect();
    let refused = parties
        .iter()
        .zip(&statuses)
        .filter(|(_, status)| **status == 503);
    assert!(
        statuses.contains(&200) && statuses.iter().filter(|status| **status == 503).count() > 10
    );
    for (party, _) in refused {
        assert_eq!(header(&party.last, "Retry-After"), "5");
    }
}
