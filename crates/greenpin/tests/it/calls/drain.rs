//! Shutdown of a server during a call.

use std::time::Instant;

use serde_json::json;

use crate::support::call_setup::CallSetup;
use crate::support::http_client::{call, raw, request, send};
use crate::support::party::Party;
use crate::support::server::{Server, TIMEOUT};

const NUMBER: &str = "+914000000001";
const SHARED: &str = "+914000000002";
const NOWHERE: &str = "127.0.0.1:9";

#[test]
fn during_a_shutdown_new_allocations_are_rejected_and_reads_still_work() {
    let mut agent = Party::new("+919900000001", NOWHERE.parse().unwrap());
    let server = Server::start(agent.address());
    agent.set_server(server.sip);
    let mut customer = Party::new("+918800000001", server.sip);
    server.add_number(NUMBER, &[]);
    server.add_number(SHARED, &["--mode", "shared", "--pin-length", "6"]);
    let wanted =
        |number| json!({ "caller_id_number": number, "from": "+919900000001", "duration": 600 });
    let made = server.allocate(&wanted(NUMBER));
    assert_eq!(customer.call(NUMBER), 200);
    server.terminate();
    let deadline = Instant::now() + TIMEOUT;
    let refused = loop {
        let response = send(server.http, "POST", "/greenpin", &wanted(SHARED));
        if response.status != 201 {
            break response;
        }
        assert!(Instant::now() < deadline, "the server takes no notice");
    };
    assert_eq!((refused.status, refused.code()), (503, "draining"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let path = format!("/greenpin/{}", made["greenpin_id"].as_str().unwrap());
    assert_eq!(call(server.http, "GET", &path).status, 200);
    assert_eq!(
        send(server.http, "PUT", &path, &json!({ "record": true })).status,
        200
    );
    assert_eq!(
        raw(server.http, &request("GET", "/readyz", "", b"")).status,
        503
    );
}

#[test]
fn after_sigterm_a_call_goes_on_and_the_server_ends_with_it() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    setup.server.terminate();
    setup.server.wait_for_log("waiting for the calls under way");
    setup.both_talk();
    setup.hang_up();
    assert_eq!(setup.server.exit_code(), Some(0));
    assert!(setup.server.log().contains("stopped"));
}

#[test]
fn a_second_sigterm_ends_the_calls_with_their_records() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    setup.server.terminate();
    setup.server.wait_for_log("waiting for the calls under way");
    setup.server.terminate();
    setup.customer.serve("BYE");
    setup.agent.serve("BYE");
    assert_eq!(setup.server.exit_code(), Some(0));
    setup.server.start_again();
    assert_eq!(setup.completed()["hangup_by"], "system");
}

#[test]
fn calls_that_outlast_the_drain_timeout_are_ended() {
    let mut setup = CallSetup::start_with("", "[node]\ndrain_timeout = 1\n");
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    setup.server.terminate();
    setup.customer.serve("BYE");
    setup.agent.serve("BYE");
    assert_eq!(setup.server.exit_code(), Some(0));
    setup.server.start_again();
    assert_eq!(setup.completed()["hangup_by"], "system");
}
