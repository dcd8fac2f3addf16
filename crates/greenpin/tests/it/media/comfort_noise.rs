//! Comfort noise over a whole call.

use serde_json::json;

use crate::support::call_setup::{Stage, pin_of};

/// A call between parties that name these payload types, up to where both have heard each other; with what the agent was
/// offered.
fn talk(customer_speaks: &'static str, agent_speaks: &'static str) -> (Stage, String) {
    let mut stage = Stage::set();
    stage.agent.speak(agent_speaks);
    stage.customer.speak(customer_speaks);
    let allocation = stage.allocate(&json!({}));
    stage.call_with(pin_of(&allocation));
    let offered = stage.agent_answers();
    stage.hook.event("call.answered");
    stage.both_talk();
    (stage, offered)
}

#[test]
fn two_who_speak_comfort_noise_are_quiet_to_each_other() {
    let (mut stage, offered) = talk("8 13", "8 13");
    assert!(
        offered.contains(" 8 0 13 101\r\n") && offered.contains("a=rtpmap:13 CN/8000\r\n"),
        "{offered}"
    );
    assert!(
        stage.customer.last.contains("RTP/AVP 8 13 97\r\n"),
        "{}",
        stage.customer.last
    );
    stage.customer.say_noise(&[60, 100, 7]);
    assert_eq!(stage.agent.hears_packet(13, |_| true), [60, 100, 7]);
    stage.agent.say_noise(&[50; 60]);
    assert_eq!(stage.customer.hears_packet(13, |_| true), [50; 11]);
    stage.hang_up();
}

#[test]
fn a_party_without_comfort_noise_hears_noise_made_for_it_until_the_other_speaks() {
    let (mut stage, offered) = talk("8 13", "8");
    assert!(offered.contains(" 13 "), "{offered}");
    stage.customer.say_noise(&[20]);
    let loud = |payload: &[u8]| {
        let mut samples = [0; 160];
        media::Codec::Pcma.decode(payload, &mut samples);
        samples.windows(2).filter(|pair| pair[0] != pair[1]).count() > 100
    };
    for _ in 0..10 {
        stage.agent.hears_packet(8, loud);
    }
    stage.customer.say(0x4b);
    stage.agent.hears(0x4b);
    stage.hang_up();
}

#[test]
fn nobody_is_offered_comfort_noise_that_the_caller_does_not_speak() {
    let (mut stage, offered) = talk("8", "8 13");
    assert!(
        !offered.contains("CN/8000") && !stage.customer.last.contains("CN/8000"),
        "{offered}"
    );
    stage.hang_up();
}
