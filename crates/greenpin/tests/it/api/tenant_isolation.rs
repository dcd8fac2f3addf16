//! Isolation of tenants, checked for each route of the router.

use greenpin::http;
use greenpin::store::{CallTrace, SealedTrace, TenantId, Timestamp};
use serde_json::{Value, json};

use crate::support::call_setup::AGENT;
use crate::support::http_client::{HttpResponse, basic, raw, request};
use crate::support::server::{SID, Server, TENANT, TOKEN};
use crate::support::stored_call::store_recorded_call;

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
        server.add_tenant("other", "AC2", OTHER_TOKEN);
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
        let (call_sid, _) = tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(store_recorded_call(&server, NUMBER, Timestamp::now()));
        let tenant = TenantId::parse(TENANT).unwrap();
        let trace = SealedTrace::new(tenant, call_sid.clone(), &CallTrace::default()).unwrap();
        tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(server.store().write_traces(vec![trace]))
            .unwrap();
        let call_sid = call_sid.to_string();
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
        // A stream has no end, and a search needs a query.
        if method == "GET" && !["/stream", "/search"].contains(&route) {
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
        if route == "/stream" {
            continue;
        }
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
