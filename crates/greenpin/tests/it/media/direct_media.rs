//! Audio that goes past us: two carriers' gateways that are told of each other, and when they come back.

use serde_json::{Value, json};

use crate::support::call_setup::{Stage, pin_of};
use crate::support::loud_audio::{loud, wav};

const SDP: &str = "Content-Type: application/sdp\r\n";

impl Stage {
    /// Both are connected, and their audio still goes through us.
    fn relayed(allocation: &Value) -> Self {
        Self::relayed_with(allocation, &json!({}), "")
    }

    /// The same with settings of the tenant, and more of the configuration.
    fn relayed_with(allocation: &Value, settings: &Value, configuration: &str) -> Self {
        let mut stage = Self::set_with("media = \"direct\"", configuration);
        stage.server.set(settings);
        let allocation = stage.allocate(allocation);
        stage.call_with(pin_of(&allocation));
        stage.agent_answers();
        stage
    }

    /// The gateways talk to each other.
    fn direct() -> Self {
        let mut stage = Self::relayed(&json!({}));
        stage.part();
        stage
    }

    fn part(&mut self) {
        self.customer.redirected();
        self.agent.redirected();
        assert!(self.is_direct());
    }

    fn is_direct(&self) -> bool {
        let (customer, agent) = (self.customer.audio_address(), self.agent.audio_address());
        self.customer.sends_to() == Some(agent) && self.agent.sends_to() == Some(customer)
    }

    /// The customer hangs up; gives which way the audio went, and what we had of the caller's.
    fn ended(mut self) -> (String, u64) {
        self.hang_up();
        self.record()
    }

    fn record(mut self) -> (String, u64) {
        let call = self.completed()["call_sid"].take();
        let record = self
            .server
            .get(&format!("/calls/{}", call.as_str().unwrap()));
        let media = &record["caller_media"];
        assert_eq!(media["media"], record["callee_media"]["media"]);
        assert_eq!(media["packets_lost"], 0, "{record}");
        (
            media["media"].as_str().unwrap().to_owned(),
            media["packets_received"].as_u64().unwrap(),
        )
    }
}

#[test]
fn the_two_gateways_talk_to_each_other_and_keys_go_the_same_way() {
    let mut stage = Stage::direct();
    stage.both_talk();
    stage.customer.press("12");
    assert_eq!(stage.agent.keys_heard(2, 97), "12");
    assert!(stage.is_direct());
    let (media, packets) = stage.ended();
    // What came through us is the PIN.
    assert_eq!((media.as_str(), packets), ("direct", 20));
}

#[test]
fn the_called_party_hangs_up_on_a_direct_call() {
    let mut stage = Stage::direct();
    stage.agent.bye_as_callee();
    stage.customer.served("BYE");
    assert_eq!(stage.record().0, "direct");
}

#[test]
fn who_is_put_on_hold_comes_back_to_us_and_both_part_again_afterwards() {
    let mut stage = Stage::direct();
    let hold = stage.customer.description("sendonly");
    assert_eq!(stage.customer.within("UPDATE", SDP, &hold), 200);
    assert!(stage.customer.last.contains("a=recvonly"));
    stage.agent.redirected();
    assert!(!stage.is_direct());
    let resume = stage.customer.description("sendrecv");
    assert_eq!(stage.customer.within("UPDATE", SDP, &resume), 200);
    stage.part();
    stage.both_talk();
    assert_eq!(stage.ended().0, "direct");
}

#[test]
fn a_gateway_that_refuses_is_relayed_whichever_it_is() {
    let mut stage = Stage::relayed(&json!({}));
    let relayed = stage.customer.sends_to();
    stage.customer.reinvited();
    stage.customer.refuse_with(488, "");
    stage.customer.served("ACK");
    stage.customer.goes_on_sending_to(relayed);
    stage.both_talk();
    assert_eq!(stage.ended().0, "relay");

    let mut stage = Stage::relayed(&json!({}));
    stage.customer.redirected();
    let relayed = stage.agent.sends_to();
    stage.agent.reinvited();
    stage.agent.refuse_with(488, "");
    stage.agent.served("ACK");
    stage.agent.goes_on_sending_to(relayed);
    stage.customer.redirected();
    stage.both_talk();
    assert_eq!(stage.ended().0, "relay");
}

#[test]
fn a_recorded_call_is_never_direct() {
    let mut stage = Stage::relayed(&json!({ "record": true }));
    stage.both_talk();
    assert!(!stage.is_direct());
    assert_eq!(stage.ended().0, "relay");
}

#[test]
fn the_longest_time_of_a_call_ends_a_direct_one_on_both_sides() {
    let mut stage = Stage::relayed_with(&json!({}), &json!({ "max_call_duration": 10 }), "");
    stage.part();
    stage.both_talk();
    stage.customer.served("BYE");
    stage.agent.served("BYE");
    assert_eq!(stage.record().0, "direct");
}

#[test]
fn a_call_that_is_to_be_warned_of_its_end_stays_with_us_and_is() {
    let prompts = tempfile::tempdir().unwrap();
    std::fs::write(prompts.path().join("warning.wav"), wav(8000, 8000)).unwrap();
    let configuration = format!(
        "[media]\nprompts = {:?}\n",
        prompts.path().display().to_string()
    );
    let settings = json!({ "max_call_duration": 10, "warning_tone": 8 });
    let mut stage = Stage::relayed_with(&json!({}), &settings, &configuration);
    stage.both_talk();
    assert!(!stage.is_direct());
    stage.customer.hears(loud());
    stage.agent.hears(loud());
    stage.customer.served("BYE");
    stage.agent.served("BYE");
    assert_eq!(stage.record().0, "relay");
}

#[test]
fn a_key_by_info_brings_both_back_and_is_passed_on_then() {
    let mut stage = Stage::direct();
    // No key of the PIN, which it could be taken for: that came a moment ago.
    stage.customer.press_by_info("*");
    stage.customer.redirected();
    stage.agent.redirected();
    assert_eq!(stage.agent.keys_heard(1, 97), "*");
    stage.both_talk();
    assert_eq!(stage.ended().0, "direct");
}
