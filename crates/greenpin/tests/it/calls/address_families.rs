//! A server on an IPv6 socket that also takes IPv4.

use serde_json::json;

use crate::support::call_setup::CallSetup;

#[test]
fn ipv4_parties_are_served_through_an_ipv6_socket() {
    let sip = "[sip]\nlisten = [\"udp:[::ffff:127.0.0.1]:0\", \"tcp:[::ffff:127.0.0.1]:0\"]\n\
               public_address = \"127.0.0.1\"\n";
    let mut setup = CallSetup::start_with("", sip);
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    setup.both_talk();
    setup.hang_up();
    let completed = setup.completed();
    assert_eq!(completed["call_type"], "completed");
}
