//! Addresses that audio may be sent to.

use serde_json::json;

use crate::support::call_setup::{CUSTOMER, CallSetup, VN, pin_of};
use crate::support::party::Party;

/// A server that its peers do not reach over loopback.
const SIP: &str =
    "[sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\npublic_address = \"192.0.2.9\"\n";

#[test]
fn an_offer_with_an_address_of_the_servers_host_is_rejected() {
    let mut setup = CallSetup::start_with("", SIP);
    for host in ["127.0.0.1", "127.0.0.5", "169.254.169.254", "192.0.2.9"] {
        let mut caller = Party::new(CUSTOMER, setup.server.sip);
        caller.set_media_host(host);
        assert_eq!(caller.call(VN), 488, "{host}");
    }
    setup.customer.set_media_host("0.0.0.0");
    assert_eq!(setup.customer.call(VN), 200, "a hold is no destination");
}

#[test]
fn audio_stays_within_the_networks_of_the_trunk() {
    let mut setup = CallSetup::start_with("media_from = [\"127.0.0.5\"]\n", SIP);
    let allocation = setup.allocate(&json!({}));
    let mut stranger = Party::new(CUSTOMER, setup.server.sip);
    assert_eq!(stranger.call(VN), 488);
    setup.customer.set_media_host("127.0.0.5");
    assert_eq!(setup.customer.call(VN), 200);
    let moved = setup
        .customer
        .description("sendrecv")
        .replace("127.0.0.5", "127.0.0.1");
    let content_type = "Content-Type: application/sdp\r\n";
    let answered = setup
        .customer
        .send_in_dialog("UPDATE", content_type, &moved);
    assert_eq!(answered, 488, "{moved}");
    setup.customer.press_by_info(pin_of(&allocation));
    setup.agent.receive_invite();
    setup.agent.respond(200);
    setup.agent.serve("ACK");
    setup.agent.serve("BYE");
}

#[test]
fn a_host_name_in_place_of_an_address_is_looked_up() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    setup.customer.set_media_host("localhost");
    setup.agent.set_media_host("localhost");
    setup.connect(&allocation);
    setup.both_talk();
    setup.hang_up();
    setup.completed();
}

#[test]
fn a_host_name_without_an_address_is_rejected() {
    let mut setup = CallSetup::start();
    setup.customer.set_media_host("no-such-host.invalid");
    assert_eq!(setup.customer.call(VN), 488);
}
