//! Commands have the same effect as the API, with or without a running server.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::call_setup::VN;
use crate::support::operator_api::{expect_response, operator_request, server, tenants_status};
use crate::support::server::{SID, Server, TENANT, TOKEN};

/// Runs a command and parses its output, one JSON object per line.
fn lines(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let output = server.command(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn line(server: &Server, arguments: &[&str]) -> Value {
    lines(server, arguments).into_iter().next().unwrap()
}

fn expect_failure(output: &Output, why: &str) {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && error.contains(why),
        "{output:?}"
    );
}

#[test]
fn a_tenant_is_suspended_resumed_shown_and_erased() {
    let server = server();
    server.add_number(VN, &[]);
    assert_eq!(
        line(&server, &["tenant", "suspend", TENANT, "--json"])["status"],
        "suspended"
    );
    assert_eq!(
        lines(&server, &["tenant", "list", "--json"])[0]["status"],
        "suspended"
    );
    assert_eq!(
        line(&server, &["tenant", "resume", TENANT, "--json"])["status"],
        "active"
    );
    let shown = line(&server, &["tenant", "show", TENANT, "--json"]);
    assert_eq!(
        (&shown["numbers"], &shown["credentials"]),
        (&json!(1), &json!(1))
    );
    expect_failure(&server.command(&["tenant", "erase", TENANT]), "--yes");
    assert_eq!(
        line(&server, &["tenant", "show", TENANT, "--json"])["status"],
        "active"
    );
    let receipt = line(&server, &["tenant", "erase", TENANT, "--yes", "--json"]);
    assert!(
        receipt["erased"]["numbers"] == 1 && receipt["finished_at"].is_string(),
        "{receipt}"
    );
    assert_eq!(
        line(&server, &["tenant", "show", TENANT, "--json"])["status"],
        "erased"
    );
    for act in ["show", "suspend", "resume"] {
        expect_failure(
            &server.command(&["tenant", act, "nobody"]),
            "no such tenant",
        );
    }
    expect_failure(&server.command(&["tenant", "suspend", TENANT]), "erased");
}

#[test]
fn credentials_are_made_rotated_and_revoked_while_the_server_does_not_run() {
    let mut server = server();
    server.kill();
    let made = line(
        &server,
        &[
            "tenant",
            "credential",
            "create",
            TENANT,
            "--label",
            "second shop",
            "--json",
        ],
    );
    let new = line(
        &server,
        &[
            "tenant",
            "credential",
            "rotate",
            TENANT,
            SID,
            "--overlap",
            "0",
            "--json",
        ],
    );
    let listed = lines(&server, &["tenant", "credential", "list", TENANT, "--json"]);
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().any(|item| item["label"] == "second shop") && listed[0]["live"] == false);
    server.start_again();
    let text = |made: &Value, name: &str| made[name].as_str().unwrap().to_owned();
    assert_eq!(tenants_status(&server, TENANT, SID, TOKEN).0, 401);
    for one in [&made, &new] {
        assert_eq!(
            tenants_status(
                &server,
                TENANT,
                &text(one, "account_sid"),
                &text(one, "token")
            )
            .0,
            200
        );
    }
    check_rejected_credential_commands(&server);
}

/// Checks commands that are rejected.
fn check_rejected_credential_commands(server: &Server) {
    expect_failure(
        &server.command(&["tenant", "credential", "revoke", TENANT, SID]),
        "before",
    );
    expect_failure(
        &server.command(&["tenant", "credential", "revoke", TENANT, "AC9"]),
        "no such",
    );
    expect_failure(
        &server.command(&["tenant", "credential", "list", "nobody"]),
        "no such",
    );
    expect_failure(
        &server.command(&[
            "tenant",
            "credential",
            "create",
            TENANT,
            "--account-sid",
            SID,
        ]),
        "in use",
    );
}

#[test]
fn numbers_are_changed_moved_quarantined_and_removed() {
    let server = server();
    server.add_number(VN, &[]);
    assert!(
        server
            .command(&["tenant", "create", "other", "--account-sid", "AC2"])
            .status
            .success()
    );
    change_and_quarantine(&server);
    let arguments = [
        "allocation",
        "create",
        VN,
        "--tenant",
        TENANT,
        "--from",
        "+919900000001",
        "--to",
        "+918800000001",
        "--json",
    ];
    let made = line(&server, &arguments);
    let id = made["greenpin_id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/greenpin/{id}"))["pin"], made["pin"]);
    for act in [
        &["remove", VN][..],
        &["move", VN, "--tenant", "other"],
        &["mode", VN, "exclusive"],
    ] {
        expect_failure(&server.command(&[&["number"], act].concat()), "1 active");
    }
    assert_eq!(
        line(
            &server,
            &["allocation", "delete", id, "--tenant", TENANT, "--json"]
        )["status"],
        "deleted"
    );
    assert_eq!(
        line(
            &server,
            &["number", "move", VN, "--tenant", "other", "--json"]
        )["tenant_id"],
        "other"
    );
    assert_eq!(
        line(&server, &["number", "remove", VN, "--json"])["status"],
        "removed"
    );
    expect_failure(&server.command(&["number", "remove", VN]), "no pool");
    check_audit_log(&server);
}

/// Changes the mode of a number, then quarantines and releases it.
fn change_and_quarantine(server: &Server) {
    let changed = line(
        server,
        &[
            "number",
            "mode",
            VN,
            "shared",
            "--pin-length",
            "6",
            "--json",
        ],
    );
    assert_eq!(
        (
            &changed["mode"],
            &changed["pin_length"],
            &changed["max_active"]
        ),
        (&json!("shared"), &json!(6), &json!(200))
    );
    assert_eq!(
        line(server, &["number", "quarantine", VN, "--json"])["quarantined"],
        true
    );
    assert_eq!(
        lines(server, &["number", "list", "--quarantined", "--json"]).len(),
        1
    );
    assert_eq!(
        lines(server, &["number", "list", "--mode", "exclusive", "--json"]).len(),
        0
    );
    assert_eq!(
        line(server, &["number", "release", VN, "--json"])["quarantined"],
        false
    );
}

/// Checks the actions in the audit log.
fn check_audit_log(server: &Server) {
    let acts = operator_request(server, "GET", "/audit?limit=200").body["response"].clone();
    let acts: Vec<_> = acts
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["act"].as_str().unwrap().to_owned())
        .collect();
    let expected = [
        "tenant.create",
        "number.add",
        "tenant.create",
        "number.change",
        "number.quarantine",
        "number.release",
        "allocation.create",
        "allocation.delete",
        "number.move",
        "number.remove",
    ];
    assert_eq!(acts, expected);
}

#[test]
fn allocations_are_listed_and_shown() {
    let server = server();
    server.add_number(VN, &["--mode", "shared"]);
    let create = [
        "allocation",
        "create",
        VN,
        "--tenant",
        TENANT,
        "--from",
        "+919900000001",
        "--to",
        "+918800000001",
    ];
    let first = line(
        &server,
        &[
            &create[..],
            &["--duration", "300", "--custom-field", "one", "--json"],
        ]
        .concat(),
    );
    line(&server, &[&create[..], &["--json"]].concat());
    let id = first["greenpin_id"].as_str().unwrap();
    check_allocation_lists(&server);
    assert_eq!(
        line(
            &server,
            &["allocation", "show", id, "--tenant", TENANT, "--json"]
        ),
        first
    );
    let shown = String::from_utf8(
        server
            .command(&["allocation", "show", id, "--tenant", TENANT])
            .stdout,
    )
    .unwrap();
    assert!(shown.contains(first["pin"].as_str().unwrap()));
    let other = "gp_00000000000000000000000000";
    expect_failure(
        &server.command(&["allocation", "show", other, "--tenant", TENANT]),
        "no such allocation",
    );
    expect_failure(
        &server.command(&["allocation", "delete", other, "--tenant", TENANT]),
        "no such allocation",
    );
    expect_failure(
        &server.command(&["allocation", "list", "--tenant", "nobody"]),
        "no such tenant",
    );
    for (more, why) in [
        (["--duration", "299"], "300"),
        (["--to", "+919900000001"], "--to[1] is also in from"),
        (["--to", "+918800000001"], "--to[1] is already in the list"),
    ] {
        expect_failure(&server.command(&[&create[..], &more].concat()), why);
    }
}

/// Checks the lists of allocations.
fn check_allocation_lists(server: &Server) {
    assert_eq!(
        lines(
            server,
            &[
                "allocation",
                "list",
                "--tenant",
                TENANT,
                "--status",
                "active",
                "--json"
            ]
        )
        .len(),
        2
    );
    assert_eq!(
        lines(
            server,
            &[
                "allocation",
                "list",
                "--tenant",
                TENANT,
                "--limit",
                "1",
                "--json"
            ]
        )
        .len(),
        1
    );
}

#[test]
fn a_file_is_imported_whole_or_not_at_all_and_a_pipe_sees_no_progress() {
    let server = server();
    let file = server.database().with_file_name("numbers.csv");
    let path = file.to_str().unwrap();
    let import = |more: &[&str]| {
        server.command(&[&["number", "import", path, "--tenant", TENANT], more].concat())
    };
    std::fs::write(
        &file,
        "virtual_number,mode\n+914000000001,shared\nnonsense,shared\n",
    )
    .unwrap();
    let output = import(&[]);
    expect_failure(&output, "1 of 2 lines");
    assert!(String::from_utf8_lossy(&output.stdout).contains("line 3: virtual_number"));
    assert_eq!(lines(&server, &["number", "list", "--json"]).len(), 0);
    let report: Value = serde_json::from_slice(&import(&["--json"]).stdout).unwrap();
    assert_eq!(
        (&report["refused"][0]["line"], &report["added"]),
        (&json!(3), &json!(0))
    );
    std::fs::write(
        &file,
        "virtual_number,mode\n+914000000001,shared\n+914000000002,\n",
    )
    .unwrap();
    assert!(import(&["--dry-run"]).status.success());
    assert_eq!(lines(&server, &["number", "list", "--json"]).len(), 0);
    let output = import(&[]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert_eq!(lines(&server, &["number", "list", "--json"]).len(), 2);
    expect_failure(&import(&[]), "2 of 2 lines");
    expect_failure(
        &server.command(&["number", "import", "missing.csv", "--tenant", TENANT]),
        "missing.csv",
    );
    expect_failure(
        &server.command(&["number", "import", path, "--tenant", "nobody"]),
        "no such tenant",
    );
}

#[test]
fn trunks_are_listed_and_shells_are_helped() {
    let trunk = "[[trunks]]\nname = \"carrier\"\npeer = \"sip:127.0.0.1:5070\"\n";
    let server = Server::with_operator(crate::support::operator_api::OPERATOR, trunk);
    // A running server provides the state. Without a server the state is unknown.
    let served = server.http.to_string();
    let asked = server.command_with(
        &["trunk", "list", "--json"],
        &[("GREENPIN_HTTP__LISTEN", Path::new(&served))],
    );
    let asked: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    let shown = expect_response(operator_request(&server, "GET", "/trunks"), 200)[0].clone();
    assert_eq!(
        (&asked["name"], &asked["peer"]),
        (&shown["name"], &shown["peer"])
    );
    assert!(asked["state"].is_string());
    let unasked = line(&server, &["trunk", "list", "--json"]);
    assert_eq!(
        (&unasked["name"], &unasked["state"]),
        (&shown["name"], &serde_json::Value::Null)
    );
    assert!(
        String::from_utf8(server.command(&["trunk", "list"]).stdout)
            .unwrap()
            .contains("carrier")
    );
    for shell in ["bash", "zsh", "fish"] {
        let script = String::from_utf8(server.command(&["completions", shell]).stdout).unwrap();
        assert!(
            script.contains("greenpin") && script.contains("quarantine"),
            "{shell}"
        );
    }
}

#[test]
fn every_command_has_help_with_an_example_and_misuse_is_2() {
    let server = server();
    let commands = "tenant show|tenant suspend|tenant resume|tenant destinations|tenant erase|tenant credential list|\
                    tenant credential create|tenant credential rotate|tenant credential revoke|number import|\
                    number mode|number move|number quarantine|number release|number remove|trunk list|\
                    allocation create|allocation list|allocation show|allocation delete|completions";
    for command in commands.split('|') {
        let arguments: Vec<&str> = command.trim().split(' ').collect();
        let help = server.command(&[&arguments[..], &["--help"]].concat());
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(
            help.status.success() && text.contains("Example") && text.contains("--config"),
            "{command}: {text}"
        );
        let misuse = server.command(&[&arguments[..], &["--nonsense"]].concat());
        assert_eq!(misuse.status.code(), Some(2), "{command}");
    }
}
