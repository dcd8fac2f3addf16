//! Calls between two sipp processes, over each transport.

use serde_json::json;

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::server::Server;
use crate::support::sipp::{SippAgent, masked_call};
use crate::support::webhook_inbox::WebhookInbox;

/// Runs a call with one transport for the caller and one for the called party.
fn call_over(transport: &str, called_transport: &'static str) {
    let agent = SippAgent::somewhere(called_transport);
    let server = Server::with(&agent.trunk("127.0.0.1/32"));
    server.add_number(VN, &[]);
    let mut inbox = WebhookInbox::open();
    server.send_events_to(&inbox.url);
    let allocation =
        server.allocate(&json!({ "caller_id_number": VN, "from": AGENT, "to": CUSTOMER }));
    masked_call(&server, &allocation, transport, &agent);
    let record = inbox.wait_for_event("call.completed");
    assert_eq!(record["data"]["call_type"], "completed", "{record}");
}

#[test]
fn a_caller_of_sipp_reaches_a_called_party_of_sipp_over_udp() {
    call_over("u1", "udp");
}

#[test]
fn a_caller_of_sipp_reaches_a_called_party_of_sipp_over_tcp() {
    call_over("t1", "udp");
}

#[test]
fn a_caller_of_sipp_reaches_a_called_party_of_sipp_that_speaks_tcp() {
    call_over("u1", "tcp");
}
