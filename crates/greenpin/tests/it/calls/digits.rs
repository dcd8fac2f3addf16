//! Digit statistics of the call record: methods and losses, but never the digits.

use serde_json::{Value, json};

use crate::support::call_setup::{CallSetup, VN, pin_of};
use crate::support::party::Party;

/// Runs a call with a PIN, audio and a key of the agent. Returns the media reports of both legs, after a check for
/// digits in any output.
fn media_of_a_call(events: bool, key: impl FnOnce(&mut Party, &str)) -> (Value, Value) {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    let pin = pin_of(&allocation);
    setup.customer.invite_with(VN, events);
    assert_eq!(setup.customer.final_response(), 200);
    key(&mut setup.customer, pin);
    setup.agent_answers();
    setup.inbox.wait_for_event("call.answered");
    setup.both_talk();
    setup.agent.press("7");
    if events {
        assert_eq!(setup.customer.receive_keys(1, 97), "7");
    }
    setup.hang_up();
    let completed = setup.completed();
    let record = setup.server.get(&format!(
        "/calls/{}",
        completed["call_sid"].as_str().unwrap()
    ));
    assert!(
        !record.to_string().contains(&format!("\"{pin}\"")),
        "{record}"
    );
    (
        record["caller_media"].clone(),
        record["callee_media"].clone(),
    )
}

#[test]
fn the_record_has_methods_losses_and_drops_of_each_leg_and_no_digit() {
    let (caller, callee) = media_of_a_call(true, |customer, pin| {
        customer.press(&pin[..1]);
        customer.press_by_info(&pin[..1]);
        customer.press(&pin[1..3]);
        customer.press_without_end(pin.chars().next_back().unwrap());
    });
    let zeros = json!({ "pressed": 0, "duplicates": 0, "rfc4733": 0, "info": 0, "in_band": 0, "lost_packets": 0,
        "lost_ends": 0, "end_only": 0, "late_packets": 0 });
    let expect = |changed: Value| {
        let mut expected = zeros.clone();
        expected
            .as_object_mut()
            .unwrap()
            .extend(changed.as_object().unwrap().clone());
        expected
    };
    assert_eq!(
        caller["digits"],
        expect(json!({ "pressed": 4, "duplicates": 1, "rfc4733": 4, "info": 1, "lost_ends": 1 }))
    );
    assert_eq!(
        callee["digits"],
        expect(json!({ "pressed": 1, "rfc4733": 1 }))
    );
}

#[test]
fn keys_as_tones_are_reported_as_such_and_duplicate_packets_as_late() {
    let (caller, callee) = media_of_a_call(false, |customer, pin| {
        customer.play_tones(pin);
        customer.send_audio_twice(0x2a);
    });
    let digits = &caller["digits"];
    assert_eq!(
        (&digits["pressed"], &digits["in_band"], &digits["rfc4733"]),
        (&json!(4), &json!(4), &json!(0))
    );
    assert_eq!(
        (&caller["packets_late"], &callee["packets_late"]),
        (&json!(1), &json!(0))
    );
}

#[test]
fn a_key_by_info_equal_to_the_last_pin_digit_by_info_is_a_new_press_and_is_forwarded() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    let pin = pin_of(&allocation);
    assert_eq!(setup.customer.call(VN), 200);
    setup.customer.press_by_info(pin);
    setup.agent_answers();
    setup.customer.press_by_info(&pin[3..]);
    assert_eq!(setup.agent.receive_keys(1, 97), pin[3..]);
}

#[test]
fn a_key_by_info_and_by_event_reaches_the_other_party_once() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    let pin = pin_of(&allocation);
    assert_eq!(setup.customer.call(VN), 200);
    setup.customer.press_by_info(&pin[..1]);
    setup.customer.press(pin);
    setup.agent_answers();
    setup.inbox.wait_for_event("call.answered");
    for key in ["1", "2"] {
        setup.customer.press_by_info(key);
        setup.customer.press(key);
    }
    setup.customer.press("3");
    assert_eq!(setup.agent.receive_keys(3, 97), "123");
}

#[test]
fn a_pin_by_info_in_one_body_opens_the_call_and_an_unreadable_body_is_rejected() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    let pin = pin_of(&allocation);
    assert_eq!(setup.customer.call(VN), 200);
    let nortel = "Content-Type: application/vnd.nortelnetworks.digits\r\n";
    for (content_type, body, status) in [
        ("Content-Type: application/json\r\n", "{}", 415),
        (
            "Content-Type: application/dtmf-relay\r\n",
            "Signal=17\r\n",
            400,
        ),
        (
            nortel,
            &format!("p=Digit-Collection\r\ny=Digits\r\nd={pin}\r\n"),
            200,
        ),
    ] {
        let answered = setup.customer.send_in_dialog("INFO", content_type, body);
        assert_eq!(answered, status, "{body}");
    }
    setup.agent_answers();
}
