//! `greenpin backup` and `greenpin restore`: beside traffic, killed in the middle, and on a wrong target.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::call_setup::{CallSetup, VN, allocation_body};
use crate::support::http_client::create;
use crate::support::server::{Server, TENANT, TIMEOUT};

const SHARED: &str = "+914000000002";
const ENCRYPTED: &str = "[recordings]\nurl = \"file:{folder}/recordings\"\nencrypt = true\n";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn beside(server: &Server, name: &str) -> PathBuf {
    server.database().with_file_name(name)
}

fn backup(server: &Server, folder: &Path) -> Value {
    let made = server.command(&["backup", text(folder), "--recordings", "--json"]);
    assert!(made.status.success(), "{made:?}");
    serde_json::from_slice(&made.stdout).unwrap()
}

fn assert_refused(output: &Output, reason: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains(reason), "{said}");
}

/// Removes the database and the recordings, like a lost disk.
fn lose_data(server: &Server) {
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(beside(server, &format!("greenpin.db{end}")));
    }
    let _ = fs::remove_dir_all(beside(server, "recordings"));
}

/// Runs an action while clients create allocations. Returns its result.
fn under_load<T>(server: &Server, action: impl FnOnce() -> T) -> T {
    let (count, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let wait_for = |wanted: usize| {
        let deadline = Instant::now() + TIMEOUT;
        while count.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "no load");
            std::thread::yield_now();
        }
    };
    let http = server.http;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let body = allocation_body(SHARED);
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(create(http, &body).status, 201);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_for(20);
        let result = action();
        let during = count.load(Ordering::Relaxed);
        wait_for(during + 20);
        over.store(true, Ordering::Relaxed);
        assert!(during > 20, "no create during the action");
        result
    })
}

/// Completes a recorded call and returns its id.
fn recorded_call(setup: &mut CallSetup, allocation: &Value) -> String {
    setup.connect(allocation);
    setup.both_talk();
    setup.hang_up();
    let completed = setup.completed();
    setup.inbox.wait_for_event("recording.ready");
    completed["call_sid"].as_str().unwrap().to_owned()
}

/// Returns a call record with the path of its recording only: the server has another port after each start.
fn without_host(mut call: Value) -> Value {
    let url = call["recording_url"].as_str().unwrap();
    call["recording_url"] = json!(url[url.find("/v1/").unwrap()..]);
    call
}

#[test]
fn a_backup_beside_traffic_restores_allocations_calls_and_recordings() {
    let mut setup = CallSetup::start_with("", ENCRYPTED);
    let allocation = setup.allocate(&json!({ "record": true }));
    let call_sid = recorded_call(&mut setup, &allocation);
    let call_path = format!("/calls/{call_sid}");
    let (call, audio) = (
        setup.server.get(&call_path),
        setup.server.recording(&call_sid),
    );
    assert!(audio.starts_with(b"RIFF"));
    let wide = ["--mode", "shared", "--pin-length", "6"];
    let wide = [&wide[..], &["--max-active", "100000"]].concat();
    setup.server.add_number(SHARED, &wide);
    let folder = beside(&setup.server, "backup");
    let manifest = under_load(&setup.server, || backup(&setup.server, &folder));
    let recordings = &manifest["recordings"];
    assert_eq!(
        (&recordings["files"], &recordings["copied"]),
        (&json!(1), &json!(true)),
        "{manifest}"
    );
    let mode = fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let master = fs::read(beside(&setup.server, "master.key")).unwrap();
    let restore = ["restore", text(&folder)];
    assert_refused(
        &setup.server.command(&restore),
        "another server uses the database",
    );
    setup.server.kill();
    assert_refused(
        &setup.server.command(&restore),
        "greenpin.db: the file exists",
    );
    lose_data(&setup.server);
    let restored = setup.server.command(&restore);
    assert!(restored.status.success(), "{restored:?}");
    setup.server.start_again();
    let id = allocation["greenpin_id"].as_str().unwrap();
    let found = setup.server.get(&format!("/greenpin/{id}"));
    assert_eq!(found["pin"], allocation["pin"]);
    let served = setup.server.get(&call_path);
    assert_eq!(without_host(served), without_host(call));
    assert_eq!(setup.server.recording(&call_sid), audio);
    assert_eq!(
        create(setup.server.http, &allocation_body(SHARED)).status,
        201
    );
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let content = fs::read(&path).unwrap_or_default();
        let has_key = content.windows(master.len()).any(|part| part == master);
        assert!(!has_key, "{} holds the key", path.display());
    }
}

#[test]
fn a_restored_store_can_hold_its_webhooks() {
    let setup = CallSetup::start();
    let mut server = setup.server;
    let folder = beside(&server, "backup");
    backup(&server, &folder);
    server.kill();
    lose_data(&server);
    let restored = server.command(&["restore", text(&folder), "--hold-webhooks", "--json"]);
    assert!(restored.status.success(), "{restored:?}");
    let said: Value = serde_json::from_slice(&restored.stdout).unwrap();
    assert_eq!(said["webhooks"], "paused");
    server.start_again();
    let settings = server.get("/settings");
    assert_eq!(settings["webhooks"][0]["paused"], true, "{settings}");
}

#[test]
fn a_backup_is_refused_in_a_folder_in_use_and_a_restoration_with_another_key() {
    let mut server = Server::with("");
    let folder = beside(&server, "backup");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "").unwrap();
    let again = server.command(&["backup", text(&folder)]);
    assert_refused(&again, "the folder is not empty");
    fs::remove_file(folder.join("file")).unwrap();
    backup(&server, &folder);
    server.kill();
    lose_data(&server);
    let key = beside(&server, "master.key");
    let kept = fs::read(&key).unwrap();
    fs::write(&key, [7; 32]).unwrap();
    let restore = ["restore", text(&folder)];
    assert_refused(&server.command(&restore), "not the master key");
    fs::remove_file(&key).unwrap();
    assert_refused(&server.command(&restore), "the key file is missing");
    assert!(!server.database().exists() && !key.exists());
    fs::write(&key, kept).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let database = folder.join("greenpin.db");
    let mut changed = fs::read(&database).unwrap();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    fs::write(&database, changed).unwrap();
    assert_refused(&server.command(&restore), "its checksum differs");
    assert!(!server.database().exists());
}

/// Adds about 80 MB to the database, so that a copy takes a while.
fn fill(server: &Server) {
    let database = Connection::open(server.database()).unwrap();
    database.busy_timeout(TIMEOUT).unwrap();
    let audio = "a".repeat(4_000_000);
    for index in 0..20 {
        let row = (TENANT, format!("filler-{index}"), &audio);
        let insert =
            "INSERT INTO prompts (tenant_id, name, audio, updated_at) VALUES (?1, ?2, ?3, 0)";
        database.execute(insert, row).unwrap();
    }
}

/// Returns the first entry of a folder whose name begins with a text.
fn entry(folder: &Path, start: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut paths = entries.map(|entry| entry.path());
    paths.find(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with(start)
    })
}

#[test]
fn a_backup_that_is_killed_leaves_no_folder_with_its_name() {
    let server = Server::with("");
    fill(&server);
    let parent = server.database().parent().unwrap().to_owned();
    let has_length = |name: &str, bytes: u64| {
        let partial = entry(&parent, ".backup.partial-");
        let file = partial.and_then(|folder| folder.join(name).metadata().ok());
        file.is_some_and(|file| file.len() >= bytes)
    };
    for (name, bytes) in [
        ("greenpin.db", 0),
        ("greenpin.db", 1_000_000),
        ("greenpin.db", 40_000_000),
        ("recordings.jsonl", 0),
        ("manifest.json", 0),
    ] {
        let folder = beside(&server, "backup");
        server.kill_command_when(&["backup", text(&folder)], || has_length(name, bytes));
        // The process may have ended before the signal.
        assert_eq!(folder.exists(), folder.join("manifest.json").exists());
        let _ = fs::remove_dir_all(&folder);
        if let Some(partial) = entry(&parent, ".backup.partial-") {
            fs::remove_dir_all(partial).unwrap();
        }
    }
    backup(&server, &beside(&server, "backup"));
}

#[test]
fn a_restoration_that_is_killed_leaves_no_database() {
    let mut server = Server::with("");
    fill(&server);
    let folder = beside(&server, "backup");
    backup(&server, &folder);
    server.kill();
    let parent = server.database().parent().unwrap().to_owned();
    let whole = folder.join("greenpin.db").metadata().unwrap().len();
    for bytes in [0, 1_000_000, 40_000_000, whole] {
        lose_data(&server);
        server.kill_command_when(&["restore", text(&folder)], || {
            let draft = entry(&parent, ".greenpin.db.restore-");
            let file = draft.and_then(|path| path.metadata().ok());
            file.is_some_and(|file| file.len() >= bytes)
        });
        // The process may have ended before the signal.
        let restored = server.database().metadata().map(|file| file.len());
        assert!(restored.is_err() || restored.is_ok_and(|bytes| bytes == whole));
        if let Some(draft) = entry(&parent, ".greenpin.db.restore-") {
            fs::remove_file(draft).unwrap();
        }
    }
    lose_data(&server);
    let restored = server.command(&["restore", text(&folder)]);
    assert!(restored.status.success(), "{restored:?}");
    server.start_again();
    server.add_number(VN, &[]);
}

#[test]
fn a_postgresql_database_is_backed_up_with_its_own_programs() {
    let [first, _second] = Server::two_nodes("");
    for command in ["backup", "restore"] {
        let refused = first.command(&[command, "a-folder"]);
        assert_refused(&refused, "pg_dump");
    }
}
