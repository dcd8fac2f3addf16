//! `greenpin store move`: from the SQLite database of a server to PostgreSQL.

use serde_json::{Value, json};

use crate::support::call_setup::CallSetup;
use crate::support::postgres;

#[test]
fn a_stopped_server_goes_on_with_its_data_on_postgresql() {
    let mut setup = CallSetup::start();
    let allocation = setup.allocate(&json!({}));
    setup.connect(&allocation);
    setup.hang_up();
    setup.completed();
    let path = format!("/greenpin/{}", allocation["greenpin_id"].as_str().unwrap());
    let (before, events) = (
        setup.server.get(&path),
        setup.server.get("/events?limit=200"),
    );
    let database = postgres::new_database();
    let file = setup.server.database();
    let from = format!("sqlite:{}", file.display());
    let run = |setup: &CallSetup, more: &[&str]| {
        let command = ["store", "move", "--from", &from, "--to", &database];
        let output = setup.server.command(&[&command, more].concat());
        let text = |octets| String::from_utf8(octets).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, _, said) = run(&setup, &[]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("another server uses the database (pid"),
        "{said}"
    );

    setup.server.kill();
    let (code, planned, said) = run(&setup, &["--dry-run", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let planned: Value = serde_json::from_str(&planned).unwrap();
    assert_eq!(
        (&planned["rows"]["allocations"], &planned["rows"]["calls"]),
        (&json!(1), &json!(1))
    );
    let (code, _, said) = run(&setup, &[]);
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = run(&setup, &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("the target is not empty"), "{said}");

    let configuration = file.with_file_name("greenpin.toml");
    let text = std::fs::read_to_string(&configuration).unwrap();
    let key = file.with_file_name("master.key");
    let on_server = format!("url = {database:?}\nencryption_key_file = {key:?}");
    let text = text.replace(&format!("url = {from:?}"), &on_server);
    assert!(text.contains(&database), "{text}");
    std::fs::write(&configuration, text + "[node]\nname = \"local\"\n").unwrap();
    setup.server.start_again();
    assert_eq!(setup.server.get(&path), before);
    assert_eq!(setup.server.get("/events?limit=200"), events);
    let change = json!({ "custom_field": "moved" });
    assert_eq!(setup.server.request("PUT", &path, Some(&change)).0, 200);
    let later = setup.server.get("/events?limit=200");
    let (later, events) = (later.as_array().unwrap(), events.as_array().unwrap());
    assert_eq!(
        (later.len(), &later[..events.len()]),
        (events.len() + 1, &events[..])
    );
}
