//! Backups that must not be restored.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::store::{Database, Store, StoreOptions, Timestamp};

/// Store with a backup.
struct Bench {
    folder: TempDir,
    target: RestoreTarget,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let source = BackupSource {
            database: path("data/greenpin.db"),
            key_file: path("master.key"),
            recordings: path("recordings"),
            copies_recordings: true,
        };
        let database = Database::File(source.database.clone());
        let store = Store::open(&StoreOptions::new(database, source.key_file.clone())).unwrap();
        let target = RestoreTarget {
            database: path("restored/greenpin.db"),
            key_file: path("master.key"),
            recordings: path("restored/recordings"),
        };
        let backup = path("backups/one");
        create(&source, &backup, Timestamp::now(), &mut |_| ()).unwrap();
        drop(store);
        Self { folder, target }
    }

    fn backup(&self) -> PathBuf {
        self.folder.path().join("backups/one")
    }

    fn open(&self) -> Result<VerifiedBackup, BackupError> {
        VerifiedBackup::open(&self.backup(), &self.target.key_file, &mut |_| ())
    }

    fn change_manifest(&self, change: impl FnOnce(&mut Value)) {
        let path = self.backup().join("manifest.json");
        let mut manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut manifest);
        fs::write(path, manifest.to_string()).unwrap();
    }

    /// Changes a file of the backup, and the manifest with it.
    fn replace(&self, name: &str, entry: &str, change: impl FnOnce(&std::path::Path)) {
        let path = self.backup().join(name);
        change(&path);
        let changed = checksum::entry(&path, name, &mut |_| ()).unwrap();
        self.change_manifest(|manifest| *manifest.pointer_mut(entry).unwrap() = json!(changed));
    }
}

#[test]
fn a_restored_database_opens_with_its_key() {
    let bench = Bench::new();
    let backup = bench.open().unwrap();
    backup.restore(&bench.target, false, &mut |_| ()).unwrap();
    let database = Database::File(bench.target.database.clone());
    let options = StoreOptions::new(database, bench.target.key_file.clone());
    assert!(Store::open(&options).is_ok());
    let again = backup.restore(&bench.target, false, &mut |_| ());
    assert!(matches!(again, Err(BackupError::Exists(_))));
}

#[test]
fn the_log_of_another_database_is_not_applied_to_a_restored_one() {
    let bench = Bench::new();
    fs::create_dir(bench.folder.path().join("restored")).unwrap();
    let log = bench.folder.path().join("restored/greenpin.db-wal");
    fs::write(&log, "log").unwrap();
    let restored = bench.open().unwrap();
    let restored = restored.restore(&bench.target, false, &mut |_| ());
    assert!(matches!(restored, Err(BackupError::Exists(path)) if path == log));
}

#[test]
fn a_backup_of_a_newer_version_is_refused() {
    let bench = Bench::new();
    bench.replace("greenpin.db", "/database", |path| {
        let database = rusqlite::Connection::open(path).unwrap();
        let newer = "INSERT INTO schema_version VALUES (9999, 0)";
        database.execute(newer, []).unwrap();
    });
    assert!(matches!(
        bench.open(),
        Err(BackupError::NewerVersion { .. })
    ));
    bench.change_manifest(|manifest| manifest["format"] = json!(2));
    assert!(matches!(
        bench.open(),
        Err(BackupError::NewerVersion { .. })
    ));
}

#[test]
fn an_incomplete_backup_is_refused() {
    let bench = Bench::new();
    fs::remove_file(bench.backup().join("manifest.json")).unwrap();
    assert!(matches!(bench.open(), Err(BackupError::NoBackup { .. })));
}

#[test]
fn a_backup_writes_only_into_the_folder_of_recordings() {
    let bench = Bench::new();
    bench.replace("recordings.jsonl", "/recordings/index", |path| {
        let line = json!({
            "tenant_id": "acme", "call_sid": "CA1", "location": "a.wav",
            "file": { "name": "../a.wav", "bytes": 0, "sha256": "" },
        });
        fs::write(path, format!("{line}\n")).unwrap();
    });
    assert!(matches!(bench.open(), Err(BackupError::Io { .. })));
}
