//! Direct media between the gateways of two carriers, and its return to the server.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::call_setup::{CallSetup, pin_of};
use crate::support::loud_audio::{loud, wav};

const SDP: &str = "Content-Type: application/sdp\r\n";

impl CallSetup {
    /// Connects both parties with audio through the server.
    fn relayed(allocation: &Value) -> Self {
        Self::relayed_with(allocation, &json!({}), "")
    }

    /// Like `relayed`, with settings of the tenant and further configuration.
    fn relayed_with(allocation: &Value, settings: &Value, configuration: &str) -> Self {
        let mut setup = Self::start_with("media = \"direct\"", configuration);
        setup.server.update_settings(settings);
        let allocation = setup.allocate(allocation);
        setup.call_with(pin_of(&allocation));
        setup.agent_answers();
        setup
    }

    /// Connects both parties with direct media.
    fn direct() -> Self {
        let mut setup = Self::relayed(&json!({}));
        setup.part();
        setup
    }

    fn part(&mut self) {
        self.customer.accept_reinvite();
        self.agent.accept_reinvite();
        assert!(self.is_direct());
    }

    fn is_direct(&self) -> bool {
        let (customer, agent) = (self.customer.audio_address(), self.agent.audio_address());
        self.customer.audio_destination() == Some(agent)
            && self.agent.audio_destination() == Some(customer)
    }

    /// Hangs up the customer. Returns the media path, and the number of packets received from the caller.
    fn hang_up_and_read_media(mut self) -> (String, u64) {
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
fn direct_media_carries_audio_and_keys_between_the_gateways() {
    let mut setup = CallSetup::direct();
    setup.both_talk();
    setup.customer.press("12");
    assert_eq!(setup.agent.receive_keys(2, 97), "12");
    assert!(setup.is_direct());
    let (media, packets) = setup.hang_up_and_read_media();
    // Only the PIN passed through the server.
    assert_eq!((media.as_str(), packets), ("direct", 20));
}

#[test]
fn the_called_party_hangs_up_on_a_direct_call() {
    let mut setup = CallSetup::direct();
    setup.agent.bye_as_callee();
    setup.customer.serve("BYE");
    assert_eq!(setup.record().0, "direct");
}

#[test]
fn hold_returns_a_direct_call_to_relay_and_resume_makes_it_direct_again() {
    let mut setup = CallSetup::direct();
    let hold = setup.customer.description("sendonly");
    assert_eq!(setup.customer.send_in_dialog("UPDATE", SDP, &hold), 200);
    assert!(setup.customer.last.contains("a=recvonly"));
    setup.agent.accept_reinvite();
    assert!(!setup.is_direct());
    let resume = setup.customer.description("sendrecv");
    assert_eq!(setup.customer.send_in_dialog("UPDATE", SDP, &resume), 200);
    setup.part();
    setup.both_talk();
    assert_eq!(setup.hang_up_and_read_media().0, "direct");
}

#[test]
fn a_call_is_relayed_if_either_gateway_rejects_direct_media() {
    let mut setup = CallSetup::relayed(&json!({}));
    let relayed = setup.customer.audio_destination();
    setup.customer.receive_reinvite();
    setup.customer.refuse_with(488, "");
    setup.customer.serve("ACK");
    setup.customer.keep_audio_destination(relayed);
    setup.both_talk();
    assert_eq!(setup.hang_up_and_read_media().0, "relay");

    let mut setup = CallSetup::relayed(&json!({}));
    setup.customer.accept_reinvite();
    let relayed = setup.agent.audio_destination();
    setup.agent.receive_reinvite();
    setup.agent.refuse_with(488, "");
    setup.agent.serve("ACK");
    setup.agent.keep_audio_destination(relayed);
    setup.customer.accept_reinvite();
    setup.both_talk();
    assert_eq!(setup.hang_up_and_read_media().0, "relay");
}

#[test]
fn a_recorded_call_is_never_direct() {
    let mut setup = CallSetup::relayed(&json!({ "record": true }));
    setup.both_talk();
    assert!(!setup.is_direct());
    assert_eq!(setup.hang_up_and_read_media().0, "relay");
}

#[test]
fn the_maximum_duration_ends_a_direct_call_on_both_sides() {
    let mut setup = CallSetup::relayed_with(&json!({}), &json!({ "max_call_duration": 10 }), "");
    setup.part();
    setup.both_talk();
    setup.customer.serve("BYE");
    setup.agent.serve("BYE");
    assert_eq!(setup.record().0, "direct");
}

#[test]
fn a_call_with_a_warning_tone_stays_relayed_and_hears_it() {
    let prompts = tempfile::tempdir().unwrap();
    std::fs::write(prompts.path().join("warning.wav"), wav(8000, 8000)).unwrap();
    let configuration = format!(
        "[media]\nprompts = {:?}\n",
        prompts.path().display().to_string()
    );
    let settings = json!({ "max_call_duration": 10, "warning_tone": 8 });
    let mut setup = CallSetup::relayed_with(&json!({}), &settings, &configuration);
    setup.both_talk();
    assert!(!setup.is_direct());
    setup.customer.wait_for_audio(loud());
    setup.agent.wait_for_audio(loud());
    setup.customer.serve("BYE");
    setup.agent.serve("BYE");
    assert_eq!(setup.record().0, "relay");
}

#[test]
fn a_key_by_info_returns_the_call_to_relay_and_is_forwarded() {
    let mut setup = CallSetup::direct();
    // This key is in no recent PIN, so it is not taken for a repeated press.
    setup.customer.press_by_info("*");
    setup.customer.accept_reinvite();
    setup.agent.accept_reinvite();
    assert_eq!(setup.agent.receive_keys(1, 97), "*");
    setup.both_talk();
    assert_eq!(setup.hang_up_and_read_media().0, "direct");
}

#[test]
fn a_session_refresh_without_a_change_leaves_a_direct_call_direct() {
    let mut setup = CallSetup::direct();
    let agent = setup.agent.audio_address();
    let refresh = setup.customer.description("sendrecv");
    // More often than a call can become direct.
    for _ in 0..10 {
        assert_eq!(setup.customer.send_in_dialog("INVITE", SDP, &refresh), 200);
        let media = format!("c=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} ", agent.port());
        assert!(
            setup.customer.last.contains(&media),
            "{}",
            setup.customer.last
        );
        setup.customer.acknowledge();
        assert_eq!(setup.customer.send_in_dialog("UPDATE", SDP, &refresh), 200);
        assert!(
            setup.customer.last.contains(&media),
            "{}",
            setup.customer.last
        );
    }
    assert!(setup.is_direct());
    setup.both_talk();
    setup.hang_up();
    let received = String::from_utf8_lossy(&setup.agent.received).into_owned();
    let invites: BTreeSet<&str> = received
        .lines()
        .filter(|line| line.starts_with("CSeq: ") && line.ends_with(" INVITE"))
        .collect();
    assert_eq!(
        invites.len(),
        2,
        "no re-INVITE after the first: {invites:?}"
    );
    assert_eq!(setup.record().0, "direct");
}
