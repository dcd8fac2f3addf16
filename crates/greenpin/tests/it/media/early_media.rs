//! Audio of the dialled party's network before the answer.

use serde_json::{Value, json};

use crate::support::call_setup::{
    AGENT, AGENT_SAYS, CUSTOMER_SAYS, CallSetup, SECOND_AGENT, pin_of,
};
use crate::support::party::Party;
use crate::support::server::trunk;

const EARLY_MEDIA: &str = "early_media = true";

impl CallSetup {
    /// Starts a server, and calls the agent as the customer.
    fn ringing(of_trunk: &str, allocation: &Value) -> Self {
        let mut setup = Self::start_with(of_trunk, "");
        let allocation = setup.allocate(allocation);
        setup.call_with(pin_of(&allocation));
        setup.agent.receive_invite();
        setup
    }
}

/// Plays early media until the caller hears it. The caller talks meanwhile.
fn play_early_media(network: &mut Party, octet: u8, caller: &mut Party) {
    network.say_until_heard(octet, caller, CUSTOMER_SAYS);
}

/// Plays early media that the caller must not hear: ring-back goes on.
fn play_in_vain(network: &mut Party, caller: &mut Party) {
    caller.wait_for_tone();
    for _ in 0..10 {
        network.send_audio(AGENT_SAYS);
    }
    for _ in 0..3 {
        assert!(!caller.wait_for_tone().contains(&AGENT_SAYS));
    }
}

/// Answers as the agent. Both parties talk, and the customer hangs up.
fn answer_and_talk(setup: &mut CallSetup) {
    setup.agent.respond(200);
    setup.agent.serve("ACK");
    setup.inbox.wait_for_event("call.answered");
    setup.both_talk();
    setup.hang_up();
}

#[test]
fn the_caller_hears_the_network_until_the_answer_and_is_not_heard_there() {
    for status in [183, 180] {
        let mut setup = CallSetup::ringing(EARLY_MEDIA, &json!({ "record": true }));
        setup.customer.wait_for_tone();
        setup.agent.respond_early(status);
        play_early_media(&mut setup.agent, 0x31, &mut setup.customer);
        setup.customer.press("5");
        play_early_media(&mut setup.agent, 0x32, &mut setup.customer);
        let after = setup.customer.receive_until_quiet(8);
        assert!(
            after.iter().all(|packet| packet == &[0x32; 160]),
            "no ring-back"
        );
        for payload_type in [8, 97] {
            assert!(setup.agent.receive_until_quiet(payload_type).is_empty());
        }
        answer_and_talk(&mut setup);
        let sid = setup.completed()["call_sid"].as_str().unwrap().to_owned();
        setup.inbox.wait_for_event("recording.ready");
        let recording = setup.server.recording(&sid);
        let mut said = [0; 3];
        media::Codec::Pcma.decode(&[AGENT_SAYS, 0x31, 0x32], &mut said);
        let samples = hound::WavReader::new(std::io::Cursor::new(recording)).unwrap();
        let samples: Vec<i16> = samples.into_samples().map(Result::unwrap).collect();
        let holds = said.map(|sample| samples.contains(&sample));
        assert_eq!(
            holds,
            [true, false, false],
            "the recording starts with the bridge"
        );
    }
}

#[test]
fn without_the_key_the_caller_hears_ring_back() {
    let mut setup = CallSetup::ringing("", &json!({}));
    setup.agent.respond_early(183);
    play_in_vain(&mut setup.agent, &mut setup.customer);
    setup.customer.bye();
}

#[test]
fn ring_back_comes_again_if_the_attempt_ends_without_an_answer() {
    let more = json!({ "from": [AGENT, SECOND_AGENT] });
    let mut setup = CallSetup::ringing(EARLY_MEDIA, &more);
    setup.agent.respond_early(183);
    play_early_media(&mut setup.agent, AGENT_SAYS, &mut setup.customer);
    setup.agent.respond(404);
    setup.agent.serve("ACK");
    setup.agent.receive_invite();
    setup.customer.wait_for_tone();
    answer_and_talk(&mut setup);
}

#[test]
fn the_next_trunk_is_tried_after_early_media_without_alerting() {
    let mut second = Party::unconnected(AGENT);
    let mut setup = CallSetup::start_with(
        EARLY_MEDIA,
        &trunk("second", second.address(), "priority = 20"),
    );
    second.set_server(setup.server.sip);
    let allocation = setup.allocate(&json!({}));
    setup.call_with(pin_of(&allocation));
    setup.agent.receive_invite();
    setup.agent.respond_early(183);
    play_early_media(&mut setup.agent, AGENT_SAYS, &mut setup.customer);
    setup.agent.respond(503);
    setup.agent.serve("ACK");
    second.receive_invite();
    setup.customer.wait_for_tone();
    // The second trunk does not have the key.
    second.respond_early(183);
    play_in_vain(&mut second, &mut setup.customer);
    setup.customer.bye();
}

#[test]
fn in_parallel_early_media_is_heard_while_nobody_else_is_alerted() {
    let mut second = Party::unconnected(SECOND_AGENT);
    let rules = format!("{EARLY_MEDIA}\ndeny_destinations = [{SECOND_AGENT:?}]");
    let mut setup = CallSetup::start_with(
        &rules,
        &trunk(
            "second",
            second.address(),
            "early_media = true\npriority = 20",
        ),
    );
    second.set_server(setup.server.sip);
    setup
        .server
        .update_settings(&json!({ "dial_strategy": "parallel" }));
    let numbers = [AGENT, SECOND_AGENT];
    let allocation = setup.allocate(&json!({ "from": numbers }));
    setup.call_with(pin_of(&allocation));
    setup.agent.receive_invite();
    second.receive_invite();
    setup.agent.respond_early(183);
    play_early_media(&mut setup.agent, AGENT_SAYS, &mut setup.customer);
    second.respond(180);
    setup.inbox.wait_for_event("call.ringing");
    setup.customer.wait_for_tone();
    second.respond_early(183);
    setup.agent.respond(404);
    setup.agent.serve("ACK");
    play_early_media(&mut second, 0x33, &mut setup.customer);
    setup.customer.bye();
}

#[test]
fn encrypted_early_media_reaches_an_unencrypted_caller() {
    let keys = format!("{EARLY_MEDIA}\nsrtp = \"optional\"");
    let mut setup = CallSetup::start_with(&keys, "");
    setup.agent.encrypt("RTP/AVP");
    let allocation = setup.allocate(&json!({}));
    setup.call_with(pin_of(&allocation));
    setup.agent.receive_invite();
    setup.agent.respond_early(183);
    play_early_media(&mut setup.agent, AGENT_SAYS, &mut setup.customer);
    answer_and_talk(&mut setup);
}

#[test]
fn early_media_from_a_network_that_is_not_allowed_is_not_heard() {
    let keys = format!("{EARLY_MEDIA}\nmedia_from = [\"127.0.0.1\"]");
    let mut setup = CallSetup::ringing(&keys, &json!({}));
    setup.agent.set_media_host("127.0.0.9");
    setup.agent.respond_early(183);
    play_in_vain(&mut setup.agent, &mut setup.customer);
    setup.customer.bye();
}
