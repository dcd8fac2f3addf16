//! SIGHUP makes a running server take over a changed configuration.

use std::time::Instant;

use serde_json::json;

use crate::support::call_setup::{CUSTOMER, CallSetup, VN};
use crate::support::http_client::{basic, raw, request};
use crate::support::operator_api::trunk;
use crate::support::party::Party;
use crate::support::server::{SID, Server, TENANT, TIMEOUT, TOKEN};

const LISTED: &str = "accept_from = [\"127.0.0.1/32\"]";
const NOT_LISTED: &str = "accept_from = [\"192.0.2.0/24\"]";

/// Waits until the tenant has a limit of a burst.
fn wait_for_burst(server: &Server, burst: &str) {
    let path = format!("/v1/tenants/{TENANT}/settings");
    let request = request("GET", &path, &basic(SID, TOKEN), b"");
    let deadline = Instant::now() + TIMEOUT;
    while raw(server.http, &request).header("ratelimit-limit") != Some(burst) {
        assert!(Instant::now() < deadline, "the limit is never {burst}");
    }
}

#[test]
fn a_trunk_changes_while_a_call_continues() {
    let mut setup = CallSetup::start_with_operator("");
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    let log = setup.server.log_of_change(LISTED, NOT_LISTED);
    assert!(log.contains("trunks.0.accept_from"), "{log}");
    assert!(!log.contains("needs a restart"), "{log}");
    let shown = &trunk(&setup.server, 0)["accept_from"];
    assert_eq!(*shown, json!(["192.0.2.0/24"]));
    let mut stranger = Party::new(CUSTOMER, setup.server.sip);
    assert_eq!(stranger.call(VN), 403);
    setup.both_talk();
    setup.hang_up();
    assert_eq!(setup.completed()["call_type"], "completed");
    setup.server.log_of_change(NOT_LISTED, LISTED);
    setup.customer = Party::new(CUSTOMER, setup.server.sip);
    setup.connect(&allocation);
    setup.hang_up();
}

#[test]
fn limits_and_the_level_of_the_log_change_at_run_time() {
    let mut server = Server::with_http("rate_burst = 900", "[log]\nlevel = \"info\"\n");
    server.start_again_with_configured_log();
    wait_for_burst(&server, "900");
    server.change_configuration("level = \"info\"", "level = \"error\"");
    server.change_configuration("rate_burst = 900", "rate_burst = 800");
    wait_for_burst(&server, "800");
    assert!(!server.log().contains("rate_burst"), "{}", server.log());
    let log = server.log_of_change("level = \"error\"", "level = \"info\"");
    assert!(log.contains("log.level"), "{log}");
}

#[test]
fn a_configuration_with_a_fault_changes_nothing() {
    let server = Server::with_http("rate_burst = 900", "[log]\nlevel = \"info\"\n");
    let (first, second) = ("rate_burst = 900\n", "rate_burst = 700\nrate_limit = 0\n");
    let log = server.log_of_change(first, second);
    assert!(
        log.contains("greenpin.toml:") && log.contains("http.rate_limit"),
        "{log}"
    );
    wait_for_burst(&server, "900");
    server.log_of_change("rate_limit = 0\n", "");
    wait_for_burst(&server, "700");
}

#[test]
fn a_change_that_needs_a_restart_is_named_until_then() {
    let server = Server::with_http("", "");
    let log = server.log_of_change("allow_private = true", "allow_private = false");
    assert!(
        log.contains("a change of webhooks.allow_private needs a restart"),
        "{log}"
    );
    let log = server.log_of_change("[webhooks]", "[log]\nlevel = \"warn\"\n[webhooks]");
    assert!(
        log.contains("a change of webhooks.allow_private needs a restart"),
        "{log}"
    );
}
