//! `greenpin key rotate` beside running servers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER, CallSetup, VN};
use crate::support::http_client::raw;
use crate::support::operator_api::{OPERATOR, expect_response, send, tenants_status};
use crate::support::party::Party;
use crate::support::server::{SID, Server, TENANT, TOKEN};

fn rotate(server: &Server, options: &[&str]) -> Value {
    let arguments = [&["key", "rotate", "--json"], options].concat();
    let rotated = server.command(&arguments);
    assert!(rotated.status.success(), "{rotated:?}");
    serde_json::from_slice(&rotated.stdout).unwrap()
}

/// Returns the names of the key files beside a key file.
fn key_files(key: &Path) -> Vec<String> {
    let entries = fs::read_dir(key.parent().unwrap()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".key")).collect()
}

/// Starts the server again and calls its number with the PIN of an earlier allocation.
fn restart_and_call(setup: &mut CallSetup, allocation: &Value) {
    setup.server.kill();
    setup.server.start_again();
    setup.agent.set_server(setup.server.sip);
    setup.customer = Party::new(CUSTOMER, setup.server.sip);
    setup.connect(allocation);
    setup.hang_up();
    setup.completed();
}

#[test]
fn credentials_numbers_calls_links_and_recordings_survive_a_rotation_beside_the_server() {
    let encrypted = "[recordings]\nurl = \"file:{folder}/recordings\"\nencrypt = true\n";
    let mut setup = CallSetup::start_with("", encrypted);
    let allocation = setup.allocate(&json!({ "record": true }));
    setup.connect(&allocation);
    setup.both_talk();
    setup.hang_up();
    let call_sid = setup.completed()["call_sid"].as_str().unwrap().to_owned();
    setup.inbox.wait_for_event("recording.ready");
    let audio = setup.server.recording(&call_sid);
    let path = format!("/calls/{call_sid}/recording/link");
    let (status, link) = setup.server.request("POST", &path, None);
    assert_eq!(status, 200, "{link}");
    let link = link["response"]["url"].as_str().unwrap();
    let link = link.split_once("/v1/").unwrap().1.to_owned();
    let key = setup.server.database().with_file_name("master.key");
    let old = fs::read(&key).unwrap();

    let rotated = rotate(&setup.server, &[]);
    assert_eq!(
        (&rotated["state"], &rotated["tenants"]),
        (&json!("finished"), &json!(1))
    );
    assert_ne!(fs::read(&key).unwrap(), old);
    assert_eq!(key_files(&key), ["master.key"]);
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // The server that was running makes a tenant that is readable after a restart.
    setup
        .server
        .add_tenant("second", "AC0002", "fictional-token-of-second");
    for _ in 0..2 {
        let server = &setup.server;
        let credentials = |tenant, sid, token| tenants_status(server, tenant, sid, token).0;
        assert_eq!(credentials(TENANT, SID, TOKEN), 200);
        assert_eq!(
            credentials("second", "AC0002", "fictional-token-of-second"),
            200
        );
        assert_eq!(server.recording(&call_sid), audio);
        let request = format!("GET /v1/{link} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        assert_eq!(raw(server.http, request.as_bytes()).status, 200);
        restart_and_call(&mut setup, &allocation);
    }
    let backup = setup.server.database().with_file_name("backup");
    let made = setup.server.command(&["backup", backup.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn a_tenant_that_a_running_server_creates_after_a_rotation_is_readable_after_a_restart() {
    let mut server = Server::with_operator(OPERATOR, "");
    rotate(&server, &[]);
    let tenant = json!({ "tenant_id": "second" });
    let made = expect_response(send(&server, "POST", "/tenants", &tenant), 201);
    let number = json!({ "tenant_id": "second", "virtual_number": VN });
    expect_response(send(&server, "POST", "/numbers", &number), 201);
    server.kill();
    server.start_again();
    let (sid, token) = (
        made["account_sid"].as_str().unwrap(),
        made["token"].as_str().unwrap(),
    );
    assert_eq!(tenants_status(&server, "second", sid, token).0, 200);
    let listed = server.command(&["number", "list", "--json"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains(VN), "{listed}");
}

#[test]
fn a_rotation_on_postgresql_waits_until_the_new_key_is_on_all_nodes() {
    let [mut first, mut second] = Server::two_nodes("");
    first.add_number(VN, &[]);
    let allocation = first.allocate(&json!({ "caller_id_number": VN, "from": [AGENT] }));
    let path = format!("/greenpin/{}", allocation["greenpin_id"].as_str().unwrap());
    let key = first.database().with_file_name("master.key");
    let old = fs::read(&key).unwrap();
    let prepared = rotate(&first, &[]);
    assert_eq!(prepared["state"], "prepared");
    assert_eq!(fs::read(&key).unwrap(), old);
    assert_eq!(rotate(&first, &["--distributed"])["state"], "finished");
    assert_ne!(fs::read(&key).unwrap(), old);
    assert_eq!(key_files(&key), ["master.key"]);
    for server in [&mut first, &mut second] {
        assert_eq!(server.get(&path)["pin"], allocation["pin"]);
        server.kill();
        server.start_again();
        assert_eq!(server.get(&path)["pin"], allocation["pin"]);
    }
}

#[test]
fn a_rotation_that_is_killed_leaves_a_store_that_works_and_is_continued() {
    let mut server = Server::with("");
    server.add_number(VN, &[]);
    let allocation = server.allocate(&json!({ "caller_id_number": VN, "from": [AGENT] }));
    let path = format!("/greenpin/{}", allocation["greenpin_id"].as_str().unwrap());
    let key = server.database().with_file_name("master.key");
    for name in ["master.key.new", "master.key.old"] {
        let file = key.with_file_name(name);
        server.kill_command_when(&["key", "rotate"], || file.exists());
        assert_eq!(server.get(&path)["pin"], allocation["pin"]);
        server.kill();
        server.start_again();
        assert_eq!(server.get(&path)["pin"], allocation["pin"]);
        rotate(&server, &[]);
        assert_eq!(key_files(&key), ["master.key"]);
        server.kill();
        server.start_again();
        assert_eq!(server.get(&path)["pin"], allocation["pin"]);
    }
}

#[test]
fn a_rotation_without_a_database_creates_none() {
    let server = Server::with("");
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("greenpin.db").display());
    let refused = server
        .program()
        .args(["key", "rotate"])
        .env("GREENPIN_STORE__URL", url)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
