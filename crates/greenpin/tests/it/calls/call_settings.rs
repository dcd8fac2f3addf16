//! Call settings of a tenant: prompts, and steps before a dialled party is connected.

use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CallSetup, SECOND_AGENT, VN, pin_of};
use crate::support::http_client::{basic, raw, request};
use crate::support::loud_audio::{loud, wav};
use crate::support::server::{SID, Server, TENANT, TOKEN};

impl CallSetup {
    fn with_settings(settings: &Value) -> Self {
        let setup = Self::start();
        setup.server.update_settings(settings);
        setup
    }

    /// Connects a customer with a correct PIN to an agent, up to the agent's answer.
    fn connect_to_agent(&mut self, record: bool) {
        let allocation = self.allocate(&json!({ "from": [AGENT, SECOND_AGENT], "record": record }));
        self.call_with(pin_of(&allocation));
        assert!(self.agent_answers().contains(AGENT));
    }

    fn put(&self, name: &str, file: &[u8]) -> (u16, Value) {
        put(&self.server, name, "audio/wav", file)
    }
}

fn put(server: &Server, name: &str, media_type: &str, file: &[u8]) -> (u16, Value) {
    let headers = format!("{}content-type: {media_type}\r\n", basic(SID, TOKEN));
    let path = format!("/v1/tenants/{TENANT}/prompts/{name}");
    let response = raw(server.http, &request("PUT", &path, &headers, file));
    (response.status, response.body)
}

#[test]
fn a_custom_prompt_can_be_uploaded_heard_downloaded_and_deleted() {
    let mut setup = CallSetup::with_settings(&json!({ "prompts": { "language": "hi" } }));
    let file = wav(8000, 16_000);
    let (status, response) = setup.put("enter_pin", &file);
    assert_eq!(
        (status, &response["response"]["duration"]),
        (200, &json!(2.0)),
        "{response}"
    );
    let shown = setup.server.get("/prompts");
    let own = |name: &str| {
        shown
            .as_array()
            .unwrap()
            .iter()
            .find(|prompt| prompt["name"] == name)
            .unwrap()["own"]
            .clone()
    };
    assert_eq!(
        (own("enter_pin"), own("goodbye")),
        (json!(true), json!(false))
    );
    setup.allocate(&json!({}));
    assert_eq!(setup.customer.call(VN), 200);
    setup.customer.wait_for_audio(loud());
    assert_eq!(setup.server.audio("/prompts/enter_pin"), file);
    assert_eq!(
        setup.server.request("DELETE", "/prompts/enter_pin", None).0,
        200
    );
    assert_eq!(
        setup.server.request("DELETE", "/prompts/enter_pin", None).0,
        404
    );
    assert_eq!(
        setup.server.request("GET", "/prompts/enter_pin", None).0,
        404
    );
}

#[test]
fn an_invalid_prompt_is_rejected_with_its_rule_and_changes_nothing() {
    let server = Server::with("");
    let faults = [
        (
            "enter_pin",
            "audio/wav",
            wav(16_000, 100),
            422,
            "invalid_prompt",
        ),
        (
            "enter_pin",
            "audio/wav",
            wav(8000, 8000 * 60 + 1),
            422,
            "invalid_prompt",
        ),
        (
            "enter_pin",
            "audio/wav",
            b"no sound".to_vec(),
            422,
            "invalid_prompt",
        ),
        (
            "enter_pin",
            "application/json",
            b"{}".to_vec(),
            415,
            "unsupported_media_type",
        ),
        (
            "enter_pin",
            "audio/wav",
            wav(8000, 600_000),
            413,
            "body_too_large",
        ),
        ("lullaby", "audio/wav", wav(8000, 100), 404, "not_found"),
    ];
    for (name, media_type, file, status, code) in faults {
        let (answered, body) = put(&server, name, media_type, &file);
        assert_eq!(
            (answered, body["code"].as_str()),
            (status, Some(code)),
            "{body}"
        );
    }
    check_unchanged_prompts(&server);
}

/// Checks that no prompt has changed, and that an unknown language is rejected.
fn check_unchanged_prompts(server: &Server) {
    let shown = server.get("/prompts");
    assert!(
        shown
            .as_array()
            .unwrap()
            .iter()
            .all(|prompt| prompt["own"] == false)
    );
    let (status, body) = server.request(
        "PUT",
        "/settings",
        Some(&json!({ "prompts": { "language": "xx" } })),
    );
    assert_eq!(
        (status, body["errors"][0]["field"].as_str()),
        (400, Some("prompts.language")),
        "{body}"
    );
}

#[test]
fn a_party_that_presses_one_is_connected() {
    let mut setup = CallSetup::with_settings(&json!({ "accept_call": "key" }));
    assert_eq!(setup.put("accept_call", &wav(8000, 8000)).0, 200);
    setup.connect_to_agent(false);
    setup.agent.wait_for_audio(loud());
    setup.agent.press("1");
    setup.inbox.wait_for_event("call.answered");
    setup.both_talk();
    setup.customer.bye();
    setup.agent.serve("BYE");
    assert_eq!(
        setup.inbox.wait_for_event("call.completed")["data"]["call_type"],
        "completed"
    );
}

#[test]
fn the_next_number_is_called_if_a_party_hangs_up_at_the_prompt() {
    let mut setup = CallSetup::with_settings(&json!({ "accept_call": "key" }));
    setup.connect_to_agent(false);
    setup.agent.bye_as_callee();
    assert!(setup.agent.receive_invite().contains(SECOND_AGENT));
    setup.agent.respond(486);
    setup.agent.serve("ACK");
    let completed = setup.inbox.wait_for_event("call.completed");
    assert_eq!(completed["data"]["call_type"], "incomplete");
}

#[test]
fn a_caller_who_hangs_up_while_the_agent_is_prompted_frees_the_agent() {
    let mut setup = CallSetup::with_settings(&json!({ "accept_call": "key" }));
    setup.connect_to_agent(false);
    setup.customer.bye();
    setup.agent.serve("BYE");
    assert_eq!(
        setup.inbox.wait_for_event("call.completed")["data"]["call_type"],
        "client-hangup"
    );
}

#[test]
fn a_whisper_is_played_before_the_call_is_connected() {
    let mut setup = CallSetup::with_settings(&json!({ "whisper": true }));
    assert_eq!(setup.put("whisper", &wav(8000, 8000)).0, 200);
    setup.connect_to_agent(false);
    setup.agent.wait_for_audio(loud());
    setup.inbox.wait_for_event("call.answered");
    setup.both_talk();
}

#[test]
fn both_parties_hear_the_recording_announcement_and_then_talk() {
    let mut setup = CallSetup::with_settings(&json!({ "record_announcement": true }));
    assert_eq!(setup.put("recorded", &wav(8000, 8000)).0, 200);
    setup.connect_to_agent(true);
    setup.agent.wait_for_audio(loud());
    setup.customer.wait_for_audio(loud());
    setup.both_talk();
    setup.customer.bye();
    setup.inbox.wait_for_event("recording.ready");
}
