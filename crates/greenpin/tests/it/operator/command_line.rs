//! Output and exit codes of the command line.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use serde_json::Value;

use crate::support::server::Server;

const NUMBER: &str = "+914000000001";

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    lines(output).into_iter().next().unwrap()
}

/// Parses output with one JSON object per line.
fn lines(output: &Output) -> Vec<Value> {
    assert_eq!(code(output), 0, "{output:?}");
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn commands_work_while_the_server_runs_and_while_it_does_not() {
    let mut server = Server::with("");
    server.add_number(NUMBER, &[]);
    server.kill();
    server.add_number(
        "+914000000002",
        &["--mode", "shared", "--pin-length", "6", "--max-active", "9"],
    );
    let listed = lines(&server.command(&["number", "list", "--json"]));
    assert_eq!(listed.len(), 2);
    let listed = Value::from(listed).to_string();
    assert!(
        listed.contains(NUMBER) && listed.contains("+914000000002") && listed.contains("shared")
    );
    server.start_again();
    let tenants = Value::from(lines(&server.command(&["tenant", "list", "--json"]))).to_string();
    assert!(tenants.contains("acme"));
}

#[test]
fn a_tenants_token_is_printed_at_creation_and_is_valid() {
    let server = Server::with("");
    let made = json(&server.command(&[
        "tenant",
        "create",
        "other",
        "--account-sid",
        "AC2",
        "--json",
    ]));
    let token = made["token"].as_str().unwrap();
    assert!(token.len() >= 43, "32 random bytes were drawn");
    let request = crate::support::http_client::request(
        "GET",
        "/v1/tenants/other/settings",
        &crate::support::http_client::basic("AC2", token),
        b"",
    );
    assert_eq!(
        crate::support::http_client::raw(server.http, &request).status,
        200
    );
    let database = std::fs::read(server.database()).unwrap();
    assert!(
        !database
            .windows(token.len())
            .any(|window| window == token.as_bytes())
    );
}

#[test]
fn a_failed_command_exits_with_1_and_prints_the_reason() {
    let server = Server::with("");
    server.add_number(NUMBER, &[]);
    for (arguments, why) in [
        (
            &["tenant", "create", "acme", "--account-sid", "AC9"][..],
            "already",
        ),
        (
            &["tenant", "create", "new", "--account-sid", "AC0001"],
            "in use",
        ),
        (&["number", "add", "--tenant", "acme", NUMBER], "already"),
        (
            &["number", "add", "--tenant", "nobody", "+914000000003"],
            "no such tenant",
        ),
        (
            &[
                "number",
                "add",
                "--tenant",
                "acme",
                "+914000000003",
                "--mode",
                "shared",
                "--max-active",
                "5001",
            ],
            "5000",
        ),
    ] {
        let output = server.command(arguments);
        assert!(
            code(&output) == 1 && error(&output).contains(why),
            "{arguments:?}: {output:?}"
        );
    }
    let tenants = Value::from(lines(&server.command(&["tenant", "list", "--json"]))).to_string();
    assert!(
        !tenants.contains("new"),
        "a tenant whose account SID is taken is not half made"
    );
}

#[test]
fn misuse_exits_with_2_and_names_the_valid_values() {
    let server = Server::with("");
    for arguments in [
        &["tenant", "create"][..],
        &["tenant", "create", "Not A Name", "--account-sid", "AC9"],
        &["number", "add", "--tenant", "acme", "914000000001"],
        &[
            "number", "add", "--tenant", "acme", NUMBER, "--mode", "both",
        ],
        &["number", "add", NUMBER],
        &["nonsense"],
        &["serve", "--nonsense"],
    ] {
        let output = server.command(arguments);
        assert!(
            code(&output) == 2 && !error(&output).is_empty(),
            "{arguments:?}: {output:?}"
        );
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    let server = Server::with("");
    for command in [
        &["serve"][..],
        &["demo"],
        &["call"],
        &["tenant", "create"],
        &["number", "add"],
        &["number", "list"],
    ] {
        let output = server.command(&[command, &["--help"]].concat());
        let help = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(
            code(&output) == 0 && help.contains("Example"),
            "{command:?}: {help}"
        );
    }
}

#[test]
fn a_second_server_on_the_same_port_names_the_port() {
    let server = Server::with("");
    let mut second = std::process::Command::new(env!("CARGO_BIN_EXE_greenpin"));
    second
        .current_dir(server.database().parent().unwrap())
        .env("GREENPIN_HTTP__LISTEN", server.http.to_string());
    let output = second.arg("serve").output().unwrap();
    assert!(
        code(&output) == 1 && error(&output).contains(&server.http.to_string()),
        "{output:?}"
    );
}

#[test]
fn a_second_server_on_the_same_database_names_the_process_of_the_first() {
    let server = Server::with("");
    let mut second = std::process::Command::new(env!("CARGO_BIN_EXE_greenpin"));
    second
        .current_dir(server.database().parent().unwrap())
        .env("GREENPIN_HTTP__LISTEN", "127.0.0.1:0");
    let output = second.arg("serve").output().unwrap();
    let pid = format!("(pid {})", server.pid());
    assert!(
        code(&output) == 1 && error(&output).contains(&pid),
        "{output:?}"
    );
    assert_eq!(server.get("/settings")["timezone"], "Asia/Kolkata");
}

#[test]
fn a_missing_or_exposed_key_file_is_refused_and_no_other_is_made() {
    let server = Server::with("");
    let key = server.database().with_file_name("master.key");
    let hidden = server.database().with_file_name("copy.key");
    std::fs::rename(&key, &hidden).unwrap();
    let output = server.command(&["tenant", "list"]);
    assert!(
        code(&output) == 1 && error(&output).contains("missing"),
        "{output:?}"
    );
    assert!(!key.exists());
    std::fs::rename(&hidden, &key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = server.command(&["tenant", "list"]);
    assert!(
        code(&output) == 1 && error(&output).contains("chmod 600"),
        "{output:?}"
    );
}

#[test]
fn a_misspelt_key_prevents_the_start_and_the_error_suggests_the_right_one() {
    let server = Server::with("");
    let mut misspelt = std::process::Command::new(env!("CARGO_BIN_EXE_greenpin"));
    misspelt
        .current_dir(server.database().parent().unwrap())
        .env("GREENPIN_HTTP__LISEN", "127.0.0.1:0");
    let output = misspelt.arg("serve").output().unwrap();
    assert!(
        code(&output) == 1 && error(&output).contains("http.listen"),
        "{output:?}"
    );
}
