//! Address families, and addresses of audio apart from SIP.

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

#[test]
fn audio_uses_its_own_address() {
    let media = "[media]\nlisten = \"127.0.0.2\"\npublic_address = \"127.0.0.2\"\ndscp = 46\n";
    let mut setup = CallSetup::start_with("", media);
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    setup.both_talk();
    let destination = setup.customer.audio_destination().unwrap();
    assert_eq!(destination.ip().to_string(), "127.0.0.2");
    setup.hang_up();
    setup.completed();
}
