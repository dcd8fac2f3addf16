//! Erasure of a tenant leaves only its name and a receipt.

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER, VN};
use crate::support::operator_api::{
    OPERATOR, expect_response, operator_request, send, tenants_status,
};
use crate::support::party::Party;
use crate::support::server::{SID, Server, TENANT, TIMEOUT, TOKEN, trunk};
use crate::support::webhook_inbox::WebhookInbox;

const SHARED: &str = "+914000000002";

/// Starts a server with a tenant and a completed call between two parties.
fn setup() -> (Server, Party, Party) {
    let mut agent = Party::unconnected(AGENT);
    let trunk = trunk("carrier", agent.address(), "");
    let server = Server::with_operator(OPERATOR, &trunk);
    agent.set_server(server.sip);
    let customer = Party::new(CUSTOMER, server.sip);
    server.add_number(VN, &[]);
    server.add_number(SHARED, &["--mode", "shared"]);
    (server, agent, customer)
}

fn allocate(server: &Server, number: &str) -> Value {
    let body = json!({
        "caller_id_number": number, "from": [AGENT], "to": [CUSTOMER], "record": true, "custom_field": "order of a person"
    });
    server.allocate(&body)
}

fn connect(allocation: &Value, agent: &mut Party, customer: &mut Party) {
    assert_eq!(customer.call(VN), 200);
    customer.press(allocation["pin"].as_str().unwrap());
    agent.receive_invite();
    agent.respond(200);
    agent.serve("ACK");
}

fn database(server: &Server) -> Connection {
    let database = Connection::open(server.database()).unwrap();
    database.busy_timeout(TIMEOUT).unwrap();
    database
}

fn tables(database: &Connection) -> Vec<String> {
    let mut tables = database
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")
        .unwrap();
    tables
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// Returns every text in a table.
fn texts(database: &Connection, table: &str) -> Vec<String> {
    let mut all = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns = all.column_count();
    let mut rows = all.query([]).unwrap();
    let mut texts = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        for column in 0..columns {
            if let ValueRef::Text(text) = row.get_ref(column).unwrap() {
                texts.push(String::from_utf8_lossy(text).into_owned());
            }
        }
    }
    texts
}

/// Returns `true` if the database files contain one of the texts, including free pages and the write-ahead log.
fn found_on_disk(server: &Server, texts: &[&str]) -> bool {
    let files = std::fs::read_dir(server.database().parent().unwrap()).unwrap();
    let database = files.map(|file| file.unwrap().path()).filter(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("greenpin.db"))
    });
    let octets: Vec<Vec<u8>> = database.map(|path| std::fs::read(path).unwrap()).collect();
    let holds = |octets: &[u8], text: &str| {
        octets
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    texts
        .iter()
        .any(|text| octets.iter().any(|octets| holds(octets, text)))
}

fn recordings(server: &Server) -> usize {
    std::fs::read_dir(server.database().with_file_name("recordings"))
        .unwrap()
        .count()
}

#[test]
fn no_personal_data_is_left_and_the_receipt_lists_the_erased_rows() {
    let (server, mut agent, mut customer) = setup();
    let mut inbox = WebhookInbox::open();
    server.send_events_to(&inbox.url);
    let allocation = allocate(&server, VN);
    allocate(&server, SHARED);
    connect(&allocation, &mut agent, &mut customer);
    customer.bye();
    inbox.wait_for_event("recording.ready");
    assert_eq!(recordings(&server), 1);
    let texts_of_tenant = texts(&database(&server), "tenants").into_iter();
    let key = texts_of_tenant
        .filter(|text| !text.starts_with('{'))
        .max_by_key(String::len)
        .unwrap();
    assert!(found_on_disk(&server, &[&key]) && found_on_disk(&server, &["order of a person"]));
    let receipt = expect_response(operator_request(&server, "DELETE", "/tenants/acme"), 200);
    assert!(!found_on_disk(
        &server,
        &[&key, "order of a person", "whsec_"]
    ));
    let erased = &receipt["erased"];
    for (table, rows) in [
        ("allocations", 2),
        ("calls", 1),
        ("numbers", 2),
        ("credentials", 1),
        ("endpoints", 1),
        ("recordings", 1),
    ] {
        assert_eq!(erased[table], rows, "{table} in {receipt}");
    }
    for table in ["events", "deliveries", "pins", "listed_callers"] {
        assert!(erased[table].as_u64().unwrap() > 1, "{table} in {receipt}");
    }
    assert!(
        receipt["erasure_id"].as_str().unwrap().starts_with("era_")
            && receipt["finished_at"].is_string()
    );
    assert_eq!(recordings(&server), 0);
    assert_eq!(
        tenants_status(&server, TENANT, SID, TOKEN).0,
        401,
        "its credentials are invalid"
    );
    let mut next = Party::new(CUSTOMER, server.sip);
    assert_eq!(next.call(VN), 404, "its numbers are in no pool");

    check_nothing_left(&server);
}

/// Checks every text of the database for data of the tenant.
fn check_nothing_left(server: &Server) {
    let database = database(server);
    for table in tables(&database) {
        for text in texts(&database, &table) {
            for secret in [VN, SHARED, AGENT, CUSTOMER, "order of a person", "whsec_"] {
                assert!(!text.contains(secret), "{table} still holds {secret}");
            }
        }
    }
    let kept = ["tenants", "audit", "erasures"];
    for table in tables(&database)
        .iter()
        .filter(|table| !kept.contains(&table.as_str()))
    {
        let texts = texts(&database, table);
        assert!(
            !texts.iter().any(|text| text == TENANT),
            "{table} still names the tenant"
        );
    }
}

#[test]
fn an_erased_tenant_stays_erased_and_returns_the_same_receipt() {
    let (server, ..) = setup();
    let receipt = expect_response(operator_request(&server, "DELETE", "/tenants/acme"), 200);
    assert_eq!(
        expect_response(operator_request(&server, "DELETE", "/tenants/acme"), 200),
        receipt
    );
    let shown = expect_response(operator_request(&server, "GET", "/tenants/acme"), 200);
    assert_eq!(
        (&shown["status"], &shown["erasure"]),
        (&json!("erased"), &receipt)
    );
    for (method, path, body) in [
        ("POST", "/tenants/acme/suspend", None),
        ("POST", "/tenants/acme/resume", None),
        ("POST", "/tenants/acme/credentials", Some(json!({}))),
    ] {
        let response = send(&server, method, path, &body.unwrap_or(json!({})));
        assert_eq!(
            (response.status, response.code()),
            (409, "tenant_erased"),
            "{path}"
        );
    }
    let again = send(&server, "POST", "/tenants", &json!({ "tenant_id": TENANT }));
    assert_eq!(
        (again.status, again.code()),
        (409, "tenant_exists"),
        "nobody gets the name again"
    );
    let number = send(
        &server,
        "POST",
        "/numbers",
        &json!({ "tenant_id": TENANT, "virtual_number": VN }),
    );
    assert_eq!(number.faults(), [("tenant_id", "no_such_tenant")]);
    assert_eq!(
        operator_request(&server, "DELETE", "/tenants/nobody").status,
        404
    );
    let made = expect_response(
        send(
            &server,
            "POST",
            "/tenants",
            &json!({ "tenant_id": "other", "account_sid": SID }),
        ),
        201,
    );
    assert_eq!(made["account_sid"], SID, "the account SID is free again");
    expect_response(
        send(
            &server,
            "POST",
            "/numbers",
            &json!({ "tenant_id": "other", "virtual_number": VN }),
        ),
        201,
    );
}

#[test]
fn a_tenant_with_a_call_is_not_erased_and_loses_nothing() {
    let (server, mut agent, mut customer) = setup();
    let allocation = allocate(&server, VN);
    connect(&allocation, &mut agent, &mut customer);
    let refused = operator_request(&server, "DELETE", "/tenants/acme");
    assert_eq!((refused.status, refused.code()), (409, "tenant_has_calls"));
    let output = server.command(&["tenant", "erase", TENANT, "--yes"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(tenants_status(&server, TENANT, SID, TOKEN).0, 200);
    customer.bye();
}

#[test]
fn erasing_a_tenant_does_not_affect_another() {
    let (server, ..) = setup();
    let made = expect_response(
        send(
            &server,
            "POST",
            "/tenants",
            &json!({ "tenant_id": "other" }),
        ),
        201,
    );
    let number = json!({ "tenant_id": "other", "virtual_number": "+914000000003" });
    expect_response(send(&server, "POST", "/numbers", &number), 201);
    let before: Vec<_> = {
        let database = database(&server);
        tables(&database)
            .into_iter()
            .map(|table| {
                texts(&database, &table)
                    .iter()
                    .filter(|text| *text == "other")
                    .count()
            })
            .collect()
    };
    expect_response(operator_request(&server, "DELETE", "/tenants/acme"), 200);
    let database = database(&server);
    let after: Vec<_> = tables(&database)
        .into_iter()
        .map(|table| {
            texts(&database, &table)
                .iter()
                .filter(|text| *text == "other")
                .count()
        })
        .collect();
    assert_eq!(before, after);
    let (sid, token) = (
        made["account_sid"].as_str().unwrap(),
        made["token"].as_str().unwrap(),
    );
    assert_eq!(tenants_status(&server, "other", sid, token).0, 200);
}
