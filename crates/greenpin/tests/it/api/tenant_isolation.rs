//! Isolation of tenants, checked for each route of the router.

use std::time::Duration;

use call::PhoneNumber;
use greenpin::http;
use greenpin::store::{
    CallEnding, CallSid, CallType, HangupBy, NewCall, RecordingFile, TenantId, Timestamp,
};
use serde_json::{Value, json};

use crate::support::call_setup::AGENT;
use crate::support::http_client::{HttpResponse, basic, raw, request};
use crate::support::server::{SID, Server, TENANT, TOKEN};

const NUMBER: &str = "+914000000001";
const OTHER_TOKEN: &str = "fictional-token-of-other";

/// Tenant with one of each resource, and a second tenant without any.
struct TwoTenants {
    server: Server,
    greenpin_id: String,
    call_sid: String,
    event_id: String,
    endpoint_id: String,
}

impl TwoTenants {
    fn start() -> Self {
        let server = Server::with("");
        server.add_number(NUMBER, &[]);
        let made =
            server.allocate(&json!({ "caller_id_number": NUMBER, "from": AGENT, "duration": 600 }));
        let other = [
            "tenant",
            "create",
            "other",
            "--account-sid",
            "AC2",
            "--token",
            OTHER_TOKEN,
        ];
        assert!(server.command(&other).status.success());
        let tenant = TenantId::parse(TENANT).unwrap();
        let prompt = async {
            server
                .store()
                .tenant(tenant)
                .put_prompt("goodbye", &[0; 8], Timestamp::now())
                .await
                .unwrap();
        };
        tokio::runtime::Runtime::new().unwrap().block_on(prompt);
        let event_id = server.get("/events")[0]["event_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let call_sid = tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(recorded_call(&server));
        let greenpin_id = made["greenpin_id"].as_str().unwrap().to_owned();
        server.send_events_to("http://127.0.0.1:9/");
        let endpoint_id = server.get("/settings")["webhooks"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        Self {
            server,
            greenpin_id,
            call_sid,
            event_id,
            endpoint_id,
        }
    }

    /// Fills a route template with the first tenant's resources.
    fn path(&self, route: &str) -> String {
        let path = route
            .replace("{greenpin_id}", &self.greenpin_id)
            .replace("{call_sid}", &self.call_sid)
            .replace("{endpoint_id}", &self.endpoint_id)
            .replace("{event_id}", &self.event_id)
            .replace("{name}", "goodbye");
        assert!(
            !path.contains('{'),
            "a new kind of resource in {route}: make one here"
        );
        path
    }

    fn send_request(&self, who: &str, tenant: &str, method: &str, path: &str) -> HttpResponse {
        let headers = format!("{who}content-type: application/json\r\n");
        let body: &[u8] = if method == "GET" { b"" } else { b"{}" };
        let path = format!("/v1/tenants/{tenant}{path}");
        raw(
            self.server.http,
            &request(&method.to_uppercase(), &path, &headers, body),
        )
    }

    fn state(&self) -> (Value, Value) {
        (
            self.server.get(&format!("/greenpin/{}", self.greenpin_id)),
            self.server.get("/events"),
        )
    }
}

async fn recorded_call(server: &Server) -> String {
    let store = server.store();
    let started_at = Timestamp::now();
    let call_sid = CallSid::new(started_at);
    let new = NewCall {
        call_sid: call_sid.clone(),
        virtual_number: PhoneNumber::parse(NUMBER).unwrap(),
        caller: None,
        trunk: "carrier".into(),
        node: "elsewhere".into(),
        started_at,
    };
    store.begin_call(new).await.unwrap();
    let path = server.database().with_file_name("a.wav");
    std::fs::write(&path, b"RIFF").unwrap();
    let ending = CallEnding {
        ended_at: started_at,
        answered_at: None,
        dialled: None,
        dialled_at: None,
        bridged_at: None,
        call_type: CallType::CallAttempt,
        dial_call_status: None,
        hangup_by: HangupBy::Caller,
        sip_cause: None,
        pin_attempts: 0,
        recording: Some(RecordingFile {
            location: path.display().to_string(),
            duration: Duration::from_secs(1),
        }),
        caller_media: None,
        callee_media: None,
    };
    store.end_call(&call_sid, ending).await.unwrap();
    call_sid.to_string()
}

#[test]
fn no_route_returns_or_changes_another_tenants_data() {
    let two = TwoTenants::start();
    let before = two.state();
    let (own, other) = (basic(SID, TOKEN), basic("AC2", OTHER_TOKEN));
    let document: Value = serde_json::from_str(http::openapi()).unwrap();
    let calls = tenant_routes(&document);
    assert!(calls.len() >= 18);
    for (method, route) in calls {
        let method = method.to_uppercase();
        let path = two.path(route);
        if method == "GET" {
            assert_eq!(
                two.send_request(&own, "acme", &method, &path).status,
                200,
                "{route} exists for its owner"
            );
        }
        let foreign = two.send_request(&other, "acme", &method, &path);
        assert_eq!(
            (foreign.status, foreign.code()),
            (403, "foreign_tenant"),
            "{method} {route}"
        );
        let within = two.send_request(&other, "other", &method, &path);
        // Every tenant can upload every prompt.
        if route.contains('{') && (method.as_str(), route) != ("PUT", "/prompts/{name}") {
            assert_eq!(
                (within.status, within.code()),
                (404, "not_found"),
                "{method} {route}"
            );
        }
        for secret in [
            &two.greenpin_id,
            &two.call_sid,
            &two.event_id,
            NUMBER,
            AGENT,
        ] {
            assert!(
                !within.body.to_string().contains(secret),
                "{method} {route} shows {secret}"
            );
        }
        assert_eq!(
            two.send_request("", "acme", &method, &path).status,
            401,
            "{method} {route}"
        );
        assert_eq!(
            two.send_request(&basic(SID, "wrong"), "acme", &method, &path)
                .status
                / 100,
            4,
            "{method} {route}"
        );
    }
    assert_eq!(two.state(), before);
}

/// Returns the methods and paths of the tenant API.
fn tenant_routes(document: &Value) -> Vec<(&String, &str)> {
    let calls = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let route = path
                .strip_prefix("/v1/tenants/{tenant_id}")
                .map(|route| (route, item.as_object().unwrap()));
            route
                .into_iter()
                .flat_map(|(route, item)| item.keys().map(move |method| (method, route)))
        });
    calls.collect()
}

#[test]
fn a_bulk_change_finds_nothing_of_another_tenant() {
    let two = TwoTenants::start();
    let before = two.state();
    let item = json!([{ "greenpin_id": two.greenpin_id, "record": true }]).to_string();
    let headers = format!(
        "{}content-type: application/json\r\n",
        basic("AC2", OTHER_TOKEN)
    );
    let response = raw(
        two.server.http,
        &request(
            "PUT",
            "/v1/tenants/other/greenpin",
            &headers,
            item.as_bytes(),
        ),
    );
    assert_eq!(response.status, 200);
    assert_eq!(response.body["response"][0]["error"]["code"], "not_found");
    assert_eq!(two.state(), before);
}
