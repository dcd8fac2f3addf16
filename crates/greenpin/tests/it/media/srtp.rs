//! Encrypted audio: each leg on its own, as the trunk wants it and the peer can.

use serde_json::{Value, json};

use crate::support::call_setup::{CUSTOMER, CUSTOMER_SAYS, Stage, VN, pin_of};
use crate::support::party::Party;

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

impl Stage {
    /// A server whose trunk has this `srtp`, and the PIN of an allocation that records.
    fn with_srtp(srtp: &str) -> (Self, String) {
        let stage = Self::set_with(&format!("srtp = {srtp:?}"), "");
        let pin = pin_of(&stage.allocate(&json!({ "record": true }))).to_owned();
        (stage, pin)
    }

    /// A call on which both hear each other and each other's keys, and a recording was made; gives what its record says of
    /// both legs' encryption.
    fn suites_of_a_call(mut self, pin: &str) -> (Value, Value) {
        self.call_with(pin);
        self.agent_answers();
        self.hook.event("call.answered");
        self.both_talk();
        self.customer.press("5");
        assert_eq!(self.agent.keys_heard(1, 97), "5");
        self.agent.press("7");
        assert_eq!(self.customer.keys_heard(1, 97), "7");
        self.hang_up();
        let completed = self.completed();
        let sid = completed["call_sid"].as_str().unwrap();
        self.hook.event("recording.ready");
        assert!(holds(&self.server.recording(sid), CUSTOMER_SAYS));
        let record = self.server.get(&format!("/calls/{sid}"));
        (
            record["caller_media"]["srtp"].clone(),
            record["callee_media"]["srtp"].clone(),
        )
    }
}

/// Whether a recording holds what a party said in one octet of G.711 A-law.
fn holds(wav: &[u8], octet: u8) -> bool {
    let mut said = [0];
    media::Codec::Pcma.decode(&[octet], &mut said);
    let samples = hound::WavReader::new(std::io::Cursor::new(wav))
        .unwrap()
        .into_samples::<i16>();
    samples.map(Result::unwrap).any(|sample| sample == said[0])
}

#[test]
fn an_encrypted_caller_talks_to_an_agent_in_clear_and_neither_notices() {
    let (mut stage, pin) = Stage::with_srtp("off");
    stage.customer.encrypt("RTP/SAVP");
    assert_eq!(stage.suites_of_a_call(&pin), (json!(SUITE), Value::Null));
}

#[test]
fn both_legs_are_encrypted_under_keys_of_their_own_where_that_is_required() {
    let (mut stage, pin) = Stage::with_srtp("required");
    stage.customer.encrypt("RTP/SAVP");
    stage.agent.encrypt("RTP/SAVP");
    assert_eq!(stage.suites_of_a_call(&pin), (json!(SUITE), json!(SUITE)));
}

#[test]
fn where_it_is_optional_the_peer_chooses() {
    let (mut stage, pin) = Stage::with_srtp("optional");
    stage.agent.encrypt("RTP/AVP");
    assert_eq!(stage.suites_of_a_call(&pin), (Value::Null, json!(SUITE)));
    let (mut stage, pin) = Stage::with_srtp("optional");
    stage.customer.encrypt("RTP/AVP");
    assert_eq!(stage.suites_of_a_call(&pin), (json!(SUITE), Value::Null));
}

#[test]
fn audio_in_clear_is_refused_where_encryption_is_required() {
    let (mut stage, pin) = Stage::with_srtp("required");
    assert_eq!(stage.customer.call(VN), 488);
    let mut customer = Party::new(CUSTOMER, stage.server.sip);
    customer.encrypt("RTP/SAVP");
    assert_eq!(customer.call(VN), 200);
    customer.press(&pin);
    stage.agent_answers();
    stage.agent.served("BYE");
    customer.served("BYE");
    let record = stage.hook.event("call.completed");
    assert_eq!(record["data"]["dial_call_status"], "failed");
}

#[test]
fn a_forger_who_knows_the_address_but_no_key_changes_nothing() {
    let (mut stage, pin) = Stage::with_srtp("off");
    stage.customer.encrypt("RTP/SAVP");
    assert_eq!(stage.customer.call(VN), 200);
    stage.customer.press_in_clear("0000");
    stage.customer.press(&pin);
    stage.agent.invited();
    stage.customer.bye();
    let record = stage.hook.event("call.completed");
    assert_eq!(record["data"]["pin_attempts"], 1);
}

#[test]
fn a_call_that_began_encrypted_does_not_go_on_in_clear() {
    let (mut stage, pin) = Stage::with_srtp("off");
    stage.customer.encrypt("RTP/SAVP");
    assert_eq!(stage.customer.call(VN), 200);
    let encrypted = stage.customer.description("sendonly");
    let key = encrypted
        .lines()
        .find(|line| line.starts_with("a=crypto"))
        .unwrap();
    let clear = encrypted
        .replace("RTP/SAVP", "RTP/AVP")
        .replace(&format!("{key}\r\n"), "");
    let content = "Content-Type: application/sdp\r\n";
    assert_eq!(stage.customer.within("INVITE", content, &clear), 488);
    assert_eq!(stage.customer.within("INVITE", content, &encrypted), 200);
    stage.customer.acknowledge();
    assert!(stage.customer.last.contains("RTP/SAVP") && stage.customer.last.contains("a=recvonly"));
    stage.customer.press(&pin);
    stage.agent.invited();
    assert!(!stage.server.log().contains("inline"));
    stage.customer.bye();
}
