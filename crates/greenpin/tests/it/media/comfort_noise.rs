//! Comfort noise in a masked call.

use serde_json::json;

use crate::support::call_setup::{CallSetup, pin_of};

/// Connects parties with the given payload types until both have received audio. Returns the offer to the agent.
fn connect_parties(
    customer_speaks: &'static str,
    agent_speaks: &'static str,
) -> (CallSetup, String) {
    let mut setup = CallSetup::start();
    setup.agent.set_codecs(agent_speaks);
    setup.customer.set_codecs(customer_speaks);
    let allocation = setup.allocate(&json!({}));
    setup.call_with(pin_of(&allocation));
    let offered = setup.agent_answers();
    setup.inbox.wait_for_event("call.answered");
    setup.both_talk();
    (setup, offered)
}

#[test]
fn comfort_noise_passes_between_two_parties_that_support_it() {
    let (mut setup, offered) = connect_parties("8 13", "8 13");
    assert!(
        offered.contains(" 8 0 13 101\r\n") && offered.contains("a=rtpmap:13 CN/8000\r\n"),
        "{offered}"
    );
    assert!(
        setup.customer.last.contains("RTP/AVP 8 13 97\r\n"),
        "{}",
        setup.customer.last
    );
    setup.customer.send_noise(&[60, 100, 7]);
    assert_eq!(setup.agent.wait_for_packet(13, |_| true), [60, 100, 7]);
    setup.agent.send_noise(&[50; 60]);
    assert_eq!(setup.customer.wait_for_packet(13, |_| true), [50; 11]);
    setup.hang_up();
}

#[test]
fn a_party_without_comfort_noise_hears_generated_noise_until_the_other_speaks() {
    let (mut setup, offered) = connect_parties("8 13", "8");
    assert!(offered.contains(" 13 "), "{offered}");
    setup.customer.send_noise(&[20]);
    let loud = |payload: &[u8]| {
        let mut samples = [0; 160];
        media::Codec::Pcma.decode(payload, &mut samples);
        samples.windows(2).filter(|pair| pair[0] != pair[1]).count() > 100
    };
    for _ in 0..10 {
        setup.agent.wait_for_packet(8, loud);
    }
    setup.customer.send_audio(0x4b);
    setup.agent.wait_for_audio(0x4b);
    setup.hang_up();
}

#[test]
fn comfort_noise_is_offered_only_if_the_caller_supports_it() {
    let (mut setup, offered) = connect_parties("8", "8 13");
    assert!(
        !offered.contains("CN/8000") && !setup.customer.last.contains("CN/8000"),
        "{offered}"
    );
    setup.hang_up();
}
