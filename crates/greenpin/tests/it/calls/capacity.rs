//! Capacity of a node: the ports of both legs are reserved when a call is admitted.

use serde_json::json;

use crate::support::call_setup::{AGENT, CUSTOMER, CallSetup, VN, pin_of};
use crate::support::party::Party;

#[test]
fn a_call_without_ports_for_both_legs_is_rejected_and_admitted_calls_are_connected() {
    let mut setup = CallSetup::start_with("", "[media]\nports = \"12000-12007\"\n");
    let allocation = setup.allocate(&json!({ "from": [AGENT], "to": [] }));
    let mut other = Party::new(CUSTOMER, setup.server.sip);
    let mut third = Party::new(CUSTOMER, setup.server.sip);
    assert_eq!([setup.customer.call(VN), other.call(VN)], [200, 200]);
    assert_eq!(third.call(VN), 503);

    setup.customer.press(pin_of(&allocation));
    setup.agent_answers();
    setup.both_talk();
    setup.hang_up();
    setup.completed();
    assert_eq!(Party::new(CUSTOMER, setup.server.sip).call(VN), 200);
}
