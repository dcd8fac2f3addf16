//! sipp scenarios against a real server. Each has a caller, in most cases a called party, its own trunk and its
//! own number. A scenario succeeds if sipp receives everything in its file and the call record has the expected
//! values.
//!
//! The files are ordinary sipp files with one addition: `{{name}}` includes `parts/name.xml`.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::support::call_setup::{AGENT, CUSTOMER};
use crate::support::server::Server;
use crate::support::sipp::{errors, expanded, scenarios, sipp};

/// Maximum number of concurrent scenarios.
const MAX_CONCURRENT: usize = 8;

/// Scenario: the files of the caller and the called party, and the expected `call_type` and `dial_call_status`.
struct Scenario {
    caller: &'static str,
    callee: Option<&'static str>,
    record: Option<(&'static str, Option<&'static str>)>,
    /// Additional keys of the trunk.
    trunk: &'static str,
}

/// Caller rejected without a call.
const fn refused(caller: &'static str) -> Scenario {
    Scenario {
        caller,
        callee: None,
        record: None,
        trunk: "",
    }
}

/// Caller answered but connected to no party.
const fn alone(caller: &'static str) -> Scenario {
    Scenario {
        caller,
        callee: None,
        record: Some(("call-attempt", None)),
        trunk: "",
    }
}

/// Two connected parties.
const fn talked(caller: &'static str, callee: &'static str) -> Scenario {
    Scenario {
        caller,
        callee: Some(callee),
        record: Some(("completed", Some("completed"))),
        trunk: "",
    }
}

/// Two parties with direct media, or with an attempt at it.
const fn direct(caller: &'static str, callee: &'static str) -> Scenario {
    Scenario {
        trunk: "media = \"direct\"\n",
        ..talked(caller, callee)
    }
}

/// Call without an answer of the called party.
const fn untaken(callee: &'static str, status: &'static str) -> Scenario {
    Scenario {
        caller: "pin",
        callee: Some(callee),
        record: Some(("incomplete", Some(status))),
        trunk: "",
    }
}

const SCENARIOS: &[Scenario] = &[
    // Actions of the caller.
    talked("talk", "stays"),
    talked("info-relay", "answers"),
    talked("info-dtmf", "answers"),
    alone("info-unknown"),
    talked("late-offer", "answers"),
    talked("hold", "stays"),
    talked("update", "stays"),
    talked("codec-change", "stays"),
    talked("address-change", "stays"),
    talked("late-reoffer", "stays"),
    talked("two-changes", "stays"),
    talked("overlapping-reinvite", "stays"),
    alone("options-within"),
    refused("options"),
    alone("refer"),
    refused("unknown-method"),
    refused("message"),
    refused("subscribe"),
    refused("register"),
    refused("publish"),
    refused("notify"),
    refused("require"),
    alone("require-100rel"),
    alone("prack"),
    refused("hops"),
    alone("late-ack"),
    alone("repeated-invite"),
    alone("cancel-crosses"),
    refused("cancel-nothing"),
    alone("bye-wrong-tag"),
    alone("cseq-back"),
    refused("session-short"),
    alone("session"),
    alone("session-offered"),
    talked("withheld", "answers"),
    talked("asserted", "answers"),
    talked("tel", "answers"),
    alone("long-headers"),
    alone("compact"),
    alone("folded"),
    alone("vias"),
    talked("routes", "answers"),
    refused("multipart"),
    refused("accept"),
    refused("no-codec"),
    refused("broken-sdp"),
    refused("no-number"),
    refused("scheme"),
    alone("leaves"),
    alone("merged"),
    direct("glare", "direct"),
    direct("glare-update", "direct"),
    refused("repeated-parameter"),
    refused("repeated-in-contact"),
    refused("repeated-in-route"),
    alone("repeated-in-target"),
    // Actions of the called party.
    talked("pin", "answers"),
    untaken("busy", "busy"),
    untaken("busy-everywhere", "busy"),
    untaken("not-found", "failed"),
    untaken("unavailable", "no-answer"),
    untaken("declines", "failed"),
    untaken("cannot-speak", "failed"),
    untaken("fails", "failed"),
    untaken("moved", "failed"),
    untaken("rings-out", "no-answer"),
    untaken("answer-crosses", "no-answer"),
    untaken("no-description", "failed"),
    talked("pin", "early-media"),
    talked("pin", "reliable"),
    talked("pin", "repeats-200"),
    talked("pin", "forks"),
    talked("pin", "asks-407"),
    talked("pin", "asks-401"),
    talked("pin", "holds"),
    talked("pin", "updates"),
    talked("pin", "refers"),
    talked("pin", "asks-within"),
    talked("talk", "recorded-route"),
    talked("pin", "rings-often"),
    talked("pin", "session-in-answer"),
    talked("talk", "moves"),
    untaken("sends-back", "failed"),
    direct("direct", "glare"),
    talked("pin", "repeated-in-contact"),
];

/// Addresses and number of a scenario. Each scenario has two addresses, so that all can use port 5060. Parallel
/// test runs use different addresses.
#[derive(Clone, Copy)]
struct ScenarioSlot {
    index: usize,
    row: &'static Scenario,
}

impl ScenarioSlot {
    fn address(&self, host: u8) -> String {
        let subnet = std::process::id() % 200 + 20;
        format!("127.{subnet}.{}.{host}", self.index)
    }

    fn trunk(&self) -> String {
        format!(
            "[[trunks]]\nname = \"row{}\"\npeer = \"sip:{}:5060\"\naccept_from = [\"{}/30\"]\nkeep_alive = 0\n\
             username = \"trunk-user\"\npassword = \"a fictional password\"\n{}",
            self.index,
            self.address(2),
            self.address(0),
            self.row.trunk,
        )
    }

    fn number(&self) -> String {
        format!("+9140000001{:02}", self.index)
    }

    fn name(&self) -> String {
        format!(
            "{} / {}",
            self.row.caller,
            self.row.callee.unwrap_or("nobody")
        )
    }

    fn allocate(&self, server: &Server) -> Value {
        server.add_number(&self.number(), &[]);
        server
            .allocate(&json!({ "caller_id_number": self.number(), "from": AGENT, "to": CUSTOMER }))
    }

    /// Runs the scenario and returns its failure, if any.
    fn run(&self, pin: &str, target: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let called = self.row.callee.map(|callee| {
            let file = expanded("callee", callee, folder.path());
            let address = self.address(2);
            sipp(
                folder.path(),
                &[
                    "-sf",
                    &file,
                    "-i",
                    &address,
                    "-mi",
                    &address,
                    "-p",
                    "5060",
                    "-aa",
                    "-trace_err",
                ],
            )
        });
        let caller = self.call(pin, target, folder.path());
        for (side, child) in [("caller", Some(caller)), ("callee", called)] {
            if child.is_some_and(|mut child| !child.wait().unwrap().success()) {
                return Err(format!(
                    "{}: the {side} saw something else:\n{}",
                    self.name(),
                    errors(folder.path())
                ));
            }
        }
        Ok(())
    }

    fn call(&self, pin: &str, target: &str, folder: &Path) -> Child {
        let file = expanded("caller", self.row.caller, folder);
        let (address, number) = (self.address(1), self.number());
        let place = [
            target,
            "-sf",
            &file,
            "-i",
            &address,
            "-mi",
            &address,
            "-p",
            "5060",
            "-trace_err",
        ];
        let keys: Vec<String> = (0..4).map(|key| format!("key{key}")).collect();
        let mut arguments = place.to_vec();
        arguments.extend([
            "-key", "vn", &number, "-key", "caller", CUSTOMER, "-key", "agent", AGENT, "-key",
            "keys", pin,
        ]);
        for (index, key) in keys.iter().enumerate() {
            arguments.extend(["-key", key, &pin[index..=index]]);
        }
        sipp(folder, &arguments)
    }

    fn check_record(&self, allocation: &Value, server: &Server) -> Result<(), String> {
        let Some((call_type, status)) = self.row.record else {
            return Ok(());
        };
        let path = format!(
            "/greenpin/{}/calls",
            allocation["greenpin_id"].as_str().unwrap()
        );
        let calls = server.get(&path);
        let found = (
            &calls[0]["call_type"],
            &calls[0]["dial_call_status"],
            calls.as_array().map(Vec::len),
        );
        let wanted = (&json!(call_type), &json!(status), Some(1));
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{}: {found:?}, not {wanted:?}", self.name()))
        }
    }
}

#[test]
fn every_sipp_scenario_succeeds() {
    let places: Vec<ScenarioSlot> = SCENARIOS
        .iter()
        .enumerate()
        .map(|(index, row)| ScenarioSlot { index, row })
        .collect();
    let server = Server::with(&places.iter().map(ScenarioSlot::trunk).collect::<String>());
    server.update_settings(&json!({ "ring_timeout": 5 }));
    let staged: Vec<(ScenarioSlot, Value)> = places
        .into_iter()
        .map(|place| (place, place.allocate(&server)))
        .collect();
    let target = server.sip.to_string();
    let (waiting, failures) = (
        Mutex::new(VecDeque::from(staged.clone())),
        Mutex::new(Vec::new()),
    );
    let play_all = || {
        while let Some((place, allocation)) = { waiting.lock().unwrap().pop_front() } {
            let failure = place
                .run(allocation["pin"].as_str().unwrap(), &target)
                .err();
            failures.lock().unwrap().extend(failure);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..MAX_CONCURRENT {
            scope.spawn(play_all);
        }
    });
    for (place, allocation) in &staged {
        failures
            .lock()
            .unwrap()
            .extend(place.check_record(allocation, &server).err());
    }
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        SCENARIOS.len(),
        failures.join("\n")
    );
    assert!(!server.log().contains("fictional password"));
}

#[test]
fn every_scenario_file_is_used_and_matches_its_row() {
    let mut text = String::new();
    for (side, played) in [
        (
            "caller",
            SCENARIOS.iter().map(|row| row.caller).collect::<Vec<_>>(),
        ),
        (
            "callee",
            SCENARIOS.iter().filter_map(|row| row.callee).collect(),
        ),
    ] {
        for entry in fs::read_dir(scenarios().join(side)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            assert!(
                played.contains(&name.as_str()),
                "{side}/{name} is not played"
            );
            let scenario = fs::read_to_string(path).unwrap();
            assert!(
                scenario.lines().nth(1).unwrap().starts_with("<!-- "),
                "{side}/{name}"
            );
            text.push_str(&scenario);
        }
    }
    let parts = fs::read_dir(scenarios().join("parts"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let parts: Vec<PathBuf> = parts.collect();
    parts
        .iter()
        .for_each(|part| text.push_str(&fs::read_to_string(part).unwrap()));
    for part in parts {
        let name = format!("{{{{{}}}}}", part.file_stem().unwrap().to_string_lossy());
        assert!(text.contains(&name), "nothing uses {name}");
    }
}
