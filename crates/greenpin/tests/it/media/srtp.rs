//! Encrypted audio, negotiated separately for each leg.

use serde_json::{Value, json};

use crate::support::call_setup::{CUSTOMER, CUSTOMER_SAYS, CallSetup, VN, pin_of};
use crate::support::party::Party;

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

impl CallSetup {
    /// Starts a server with this `srtp` on its trunk. Returns it with the PIN of a recorded allocation.
    fn with_srtp(srtp: &str) -> (Self, String) {
        let setup = Self::start_with(&format!("srtp = {srtp:?}"), "");
        let pin = pin_of(&setup.allocate(&json!({ "record": true }))).to_owned();
        (setup, pin)
    }

    /// Runs a recorded call with audio and keys in both directions. Returns the encryption of both legs from its
    /// record.
    fn suites_of_a_call(mut self, pin: &str) -> (Value, Value) {
        self.call_with(pin);
        self.agent_answers();
        self.inbox.wait_for_event("call.answered");
        self.both_talk();
        self.customer.press("5");
        assert_eq!(self.agent.receive_keys(1, 97), "5");
        self.agent.press("7");
        assert_eq!(self.customer.receive_keys(1, 97), "7");
        self.hang_up();
        let completed = self.completed();
        let sid = completed["call_sid"].as_str().unwrap();
        self.inbox.wait_for_event("recording.ready");
        assert!(contains_octet(&self.server.recording(sid), CUSTOMER_SAYS));
        let record = self.server.get(&format!("/calls/{sid}"));
        (
            record["caller_media"]["srtp"].clone(),
            record["callee_media"]["srtp"].clone(),
        )
    }
}

/// Returns `true` if a recording contains audio made of one octet of G.711 A-law.
fn contains_octet(wav: &[u8], octet: u8) -> bool {
    let mut said = [0];
    media::Codec::Pcma.decode(&[octet], &mut said);
    let samples = hound::WavReader::new(std::io::Cursor::new(wav))
        .unwrap()
        .into_samples::<i16>();
    samples.map(Result::unwrap).any(|sample| sample == said[0])
}

#[test]
fn an_encrypted_caller_can_talk_to_an_unencrypted_agent() {
    let (mut setup, pin) = CallSetup::with_srtp("off");
    setup.customer.encrypt("RTP/SAVP");
    assert_eq!(setup.suites_of_a_call(&pin), (json!(SUITE), Value::Null));
}

#[test]
fn both_legs_are_encrypted_with_separate_keys_if_required() {
    let (mut setup, pin) = CallSetup::with_srtp("required");
    setup.customer.encrypt("RTP/SAVP");
    setup.agent.encrypt("RTP/SAVP");
    assert_eq!(setup.suites_of_a_call(&pin), (json!(SUITE), json!(SUITE)));
}

#[test]
fn the_peer_chooses_if_encryption_is_optional() {
    let (mut setup, pin) = CallSetup::with_srtp("optional");
    setup.agent.encrypt("RTP/AVP");
    assert_eq!(setup.suites_of_a_call(&pin), (Value::Null, json!(SUITE)));
    let (mut setup, pin) = CallSetup::with_srtp("optional");
    setup.customer.encrypt("RTP/AVP");
    assert_eq!(setup.suites_of_a_call(&pin), (json!(SUITE), Value::Null));
}

#[test]
fn unencrypted_audio_is_rejected_if_encryption_is_required() {
    let (mut setup, pin) = CallSetup::with_srtp("required");
    assert_eq!(setup.customer.call(VN), 488);
    let mut customer = Party::new(CUSTOMER, setup.server.sip);
    customer.encrypt("RTP/SAVP");
    assert_eq!(customer.call(VN), 200);
    customer.press(&pin);
    setup.agent_answers();
    setup.agent.serve("BYE");
    customer.serve("BYE");
    let record = setup.inbox.wait_for_event("call.completed");
    assert_eq!(record["data"]["dial_call_status"], "failed");
}

#[test]
fn a_forger_who_knows_the_address_but_no_key_changes_nothing() {
    let (mut setup, pin) = CallSetup::with_srtp("off");
    setup.customer.encrypt("RTP/SAVP");
    assert_eq!(setup.customer.call(VN), 200);
    setup.customer.press_in_clear("0000");
    setup.customer.press(&pin);
    setup.agent.receive_invite();
    setup.customer.bye();
    let record = setup.inbox.wait_for_event("call.completed");
    assert_eq!(record["data"]["pin_attempts"], 1);
}

#[test]
fn an_encrypted_call_cannot_continue_unencrypted() {
    let (mut setup, pin) = CallSetup::with_srtp("off");
    setup.customer.encrypt("RTP/SAVP");
    assert_eq!(setup.customer.call(VN), 200);
    let encrypted = setup.customer.description("sendonly");
    let key = encrypted
        .lines()
        .find(|line| line.starts_with("a=crypto"))
        .unwrap();
    let clear = encrypted
        .replace("RTP/SAVP", "RTP/AVP")
        .replace(&format!("{key}\r\n"), "");
    let content = "Content-Type: application/sdp\r\n";
    assert_eq!(
        setup.customer.send_in_dialog("INVITE", content, &clear),
        488
    );
    assert_eq!(
        setup.customer.send_in_dialog("INVITE", content, &encrypted),
        200
    );
    setup.customer.acknowledge();
    assert!(setup.customer.last.contains("RTP/SAVP") && setup.customer.last.contains("a=recvonly"));
    setup.customer.press(&pin);
    setup.agent.receive_invite();
    assert!(!setup.server.log().contains("inline"));
    setup.customer.bye();
}
