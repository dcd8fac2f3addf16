//! Rotation of the master key, and what an erasure leaves behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::store::core::crypto::{KeyFiles, MasterKey, WrappedKey};
use crate::store::core::database::Row;
use crate::store::core::statement::{Rows, Statement};

const TENANTS: &Statement = &Statement::new(
    "TENANTS",
    "SELECT tenant_id, sealed_key FROM tenants ORDER BY tenant_id",
    Rows::Any,
);
const SEALED: &Statement = &Statement::new(
    "SEALED",
    "SELECT sealed AS text FROM allocations",
    Rows::Any,
);

/// Storage without recordings.
struct NoFiles;

impl RecordingStorage for NoFiles {
    async fn remove(&self, _: &StoredRecording) -> std::io::Result<bool> {
        Ok(false)
    }
}

pub(super) fn operator(store: &Store) -> OperatorStore {
    store.operator(Actor::command_line())
}

async fn rotate(store: &Store, now: Timestamp) -> Result<Rotation, RotateError> {
    operator(store)
        .rotate_master_key(true, move || now, |_| ())
        .await
}

/// Returns the names of the key files.
fn key_files(bench: &Bench) -> BTreeSet<String> {
    let folder = bench.options.key_file.parent().unwrap();
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".key")).collect()
}

fn master_key(path: &Path) -> MasterKey {
    KeyFiles::new(path).current().unwrap().unwrap()
}

async fn rows<T: Send + 'static>(
    store: &Store,
    statement: &'static Statement,
    read: fn(&Row<'_>) -> Result<T, StoreError>,
) -> Vec<T> {
    let read = store
        .readers
        .read(move |snapshot| snapshot.rows(statement, (), read));
    read.await.map_err(|error: StoreError| error).unwrap()
}

/// Returns each tenant with the id of the master key that encrypts its key.
async fn wrapped_with(store: &Store) -> Vec<(String, Option<String>)> {
    rows(store, TENANTS, |row| {
        let key: Option<String> = row.get("sealed_key")?;
        let id = key.map(WrappedKey::stored);
        let id = id.and_then(|key| key.master_id().map(ToOwned::to_owned));
        Ok((row.get("tenant_id")?, id))
    })
    .await
}

/// Checks that a store reads everything that hangs on the keys.
async fn assert_usable(bench: &Bench, store: &Store, made: &Allocation, link: &str) {
    let tenant = store.tenant(bench.tenant.tenant_id().clone());
    let read = tenant.allocation(&made.greenpin_id).await.unwrap().unwrap();
    assert_eq!((&read.pin, &read.from), (&made.pin, &made.from));
    let found = store.authenticate("AC1", "secret", bench.start).await;
    assert!(found.unwrap().is_some(), "the token is valid");
    let now = bench.at(1);
    let (vn, caller) = (made.virtual_number, Some(number(CUSTOMER)));
    let resolved = tenant
        .resolve(vn, caller, Some(made.pin.clone()), now)
        .await;
    assert!(
        matches!(resolved, Ok(Resolution::Connected { .. })),
        "{resolved:?}"
    );
    assert!(store.open_recording_link(link, bench.at(1)).is_ok());
}

#[tokio::test]
async fn a_rotation_encrypts_the_keys_of_all_tenants_again_and_everything_stays_readable() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let link = bench
        .tenant
        .recording_link(&CallSid::new(bench.start), bench.at(60));
    let old = master_key(&bench.options.key_file);
    // A second server, without restart.
    let running = Store::open(&bench.options).unwrap();
    let rotated = rotate(&bench.store, bench.at(1)).await.unwrap();
    assert_eq!(rotated, Rotation::Finished { tenants: 1 });
    assert_eq!(key_files(&bench), BTreeSet::from(["master.key".to_owned()]));
    let new = master_key(&bench.options.key_file);
    assert_ne!(new.id(), old.id());
    assert_usable(&bench, &bench.store, &made, &link).await;
    assert_usable(&bench, &running, &made, &link).await;
    // It learns of the new key with the next tenant.
    running
        .create_tenant(other_tenant(), bench.at(2))
        .await
        .map_err(|error| error.to_string())
        .unwrap();
    let new_id = Some(new.id().to_owned());
    let expected = ["acme", "other"].map(|name| (name.to_owned(), new_id.clone()));
    assert_eq!(wrapped_with(&running).await, expected);
    let again = Store::open(&bench.options).unwrap();
    assert_usable(&bench, &again, &made, &link).await;
    assert_eq!(
        rotate(&again, bench.at(3)).await.unwrap(),
        Rotation::Finished { tenants: 2 }
    );
    assert_usable(&bench, &Store::open(&bench.options).unwrap(), &made, &link).await;
}

#[tokio::test]
async fn the_old_key_opens_the_database_until_the_end_of_a_rotation_and_not_afterwards() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old.key");
    std::fs::copy(&bench.options.key_file, &old).unwrap();
    rotate(&bench.store, bench.at(1)).await.unwrap();
    let options = StoreOptions {
        key_file: old,
        ..bench.options.clone()
    };
    assert!(matches!(Store::open(&options), Err(OpenError::OtherKey)));
    let missing = StoreOptions {
        key_file: folder.path().join("none.key"),
        ..bench.options.clone()
    };
    assert!(matches!(
        Store::open(&missing),
        Err(OpenError::MissingKey { .. })
    ));
    assert!(
        !missing.key_file.exists(),
        "no key is made beside a database"
    );
}

#[tokio::test]
async fn a_rotation_that_is_interrupted_after_any_step_continues_with_the_same_command() {
    for interrupted_after in 0.. {
        let bench = Bench::new().await;
        let made = bench.create(EXCLUSIVE, 0).await.unwrap();
        let link = bench
            .tenant
            .recording_link(&CallSid::new(bench.start), bench.at(60));
        let (store, now) = (bench.store.clone(), bench.at(1));
        let interrupted = tokio::spawn(async move {
            let mut steps = 0;
            let on_step = |_| {
                assert!(steps < interrupted_after, "interrupted");
                steps += 1;
            };
            let operator = operator(&store);
            let rotated = operator.rotate_master_key(true, move || now, on_step);
            rotated.await.unwrap()
        });
        let is_complete = interrupted.await.is_ok();
        // A server that starts now works, and one that runs as well.
        let server = Store::open(&bench.options).unwrap();
        assert_usable(&bench, &server, &made, &link).await;
        assert_usable(&bench, &bench.store, &made, &link).await;
        if is_complete {
            assert!(interrupted_after >= 4, "{interrupted_after} steps");
            return;
        }
        rotate(&server, bench.at(2)).await.unwrap();
        assert_eq!(key_files(&bench), BTreeSet::from(["master.key".to_owned()]));
        let new = master_key(&bench.options.key_file).id().to_owned();
        let expected = [("acme".to_owned(), Some(new))];
        assert_eq!(wrapped_with(&server).await, expected);
        assert_usable(&bench, &Store::open(&bench.options).unwrap(), &made, &link).await;
    }
}

#[tokio::test]
async fn a_node_with_its_own_key_files_takes_part_in_a_rotation() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let link = bench
        .tenant
        .recording_link(&CallSid::new(bench.start), bench.at(60));
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        key_file: folder.path().join("master.key"),
        ..bench.options.clone()
    };
    std::fs::copy(&bench.options.key_file, &options.key_file).unwrap();
    let other = Store::open(&options).unwrap();
    let prepared = operator(&bench.store)
        .rotate_master_key(false, || bench.at(1), |_| ())
        .await
        .unwrap();
    let next = KeyFiles::new(&bench.options.key_file).next_path();
    assert_eq!(prepared, Rotation::Prepared { next: next.clone() });
    assert_usable(&bench, &Store::open(&options).unwrap(), &made, &link).await;
    std::fs::copy(&next, KeyFiles::new(&options.key_file).next_path()).unwrap();
    let (store, now) = (bench.store.clone(), bench.at(1));
    let until_begun = tokio::spawn(async move {
        let on_step = |step| assert!(step != RotationStep::Begun, "interrupted");
        operator(&store)
            .rotate_master_key(true, move || now, on_step)
            .await
    });
    assert!(until_begun.await.is_err());
    let without = tempfile::tempdir().unwrap();
    let elsewhere = StoreOptions {
        key_file: without.path().join("master.key"),
        ..bench.options.clone()
    };
    std::fs::copy(&bench.options.key_file, &elsewhere.key_file).unwrap();
    let refused = rotate(&Store::open(&elsewhere).unwrap(), bench.at(2)).await;
    assert!(matches!(refused, Err(RotateError::OtherRotation { .. })));
    rotate(&bench.store, bench.at(2)).await.unwrap();
    assert_usable(&bench, &other, &made, &link).await;
    other
        .create_tenant(other_tenant(), bench.at(2))
        .await
        .map_err(|error| error.to_string())
        .unwrap();
    let new = master_key(&bench.options.key_file).id().to_owned();
    assert!(
        wrapped_with(&other)
            .await
            .iter()
            .all(|(_, id)| *id == Some(new.clone()))
    );
    // Its next start puts the new key in place.
    assert_usable(&bench, &Store::open(&options).unwrap(), &made, &link).await;
    assert_eq!(master_key(&options.key_file).id(), new);
    assert!(!KeyFiles::new(&options.key_file).next_path().exists());
}

/// Returns the text of all files below a folder that can be read.
fn content(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => {
                    all.extend(std::fs::read(entry.path()).unwrap_or_default());
                    all.push(b'\n');
                }
                Err(_) => {}
            }
        }
    }
    all
}

/// Returns heap and write-ahead log of the database.
async fn disk(bench: &Bench) -> Vec<u8> {
    match &bench.options.database {
        Database::File(path) => content(path.parent().unwrap()),
        Database::Server(server) => {
            let (client, connection) = server.connect(tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute("CHECKPOINT").await.unwrap();
            let asked = "SELECT current_setting('data_directory'), oid::text FROM pg_database WHERE datname = current_database()";
            let row = client.query_one(asked, &[]).await.unwrap();
            let data = PathBuf::from(row.get::<_, String>(0));
            let heap = data.join("base").join(row.get::<_, String>(1));
            [content(&heap), content(&data.join("pg_wal"))].concat()
        }
    }
}

/// Length of an encrypted key: 22 characters of the id, a dot, and 12 + 43 + 16 octets in base64url.
const WRAPPED_LENGTH: usize = 22 + 1 + 16 + 79;

/// Returns whether a disk holds a key that a master key decrypts, and a text that this key decrypts.
fn is_readable(disk: &[u8], master: &MasterKey, tenant: &TenantId, sealed: &SealedText) -> bool {
    let is_text = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let parts = disk
        .windows(WRAPPED_LENGTH)
        .filter(|part| part[22] == b'.' && part[..22].iter().chain(&part[23..]).all(is_text));
    let keys = parts.filter_map(|part| {
        let wrapped = String::from_utf8(part.to_vec()).unwrap();
        master.open_tenant(tenant, &WrappedKey::stored(wrapped))
    });
    let is_there = disk
        .windows(sealed.text.len())
        .any(|part| part == sealed.text.as_bytes());
    let mut keys = keys.filter(|key| key.decrypt(&sealed.context, &sealed.text).is_ok());
    is_there && keys.next().is_some()
}

/// Encrypted numbers and PIN of an allocation.
struct SealedText {
    context: String,
    text: String,
}

#[tokio::test]
async fn after_an_erasure_and_a_rotation_no_copy_of_the_database_is_readable_with_the_master_key() {
    let bench = Bench::new().await;
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    let tenant = bench.tenant.tenant_id().clone();
    let mut texts: Vec<String> = rows(&bench.store, SEALED, |row| row.get("text")).await;
    let sealed = SealedText {
        context: format!("allocation {}", made.greenpin_id),
        text: texts.pop().unwrap(),
    };
    let old = master_key(&bench.options.key_file);
    let before = disk(&bench).await;
    let is_readable = |disk: &[u8], key: &MasterKey| is_readable(disk, key, &tenant, &sealed);
    assert!(is_readable(&before, &old), "the search finds the numbers");
    let erased = operator(&bench.store)
        .erase_tenant(&tenant, &NoFiles, || bench.at(1))
        .await
        .unwrap();
    assert_eq!(erased.key_destroyed_at, None);
    rotate(&bench.store, bench.at(2)).await.unwrap();
    let new = master_key(&bench.options.key_file);
    let after = disk(&bench).await;
    for disk in [&before, &after] {
        assert!(!is_readable(disk, &new));
    }
    assert!(
        is_readable(&before, &old),
        "a copy together with its own key"
    );
    let receipt = operator(&bench.store).erasure(&tenant).await.unwrap();
    assert_eq!(receipt.unwrap().key_destroyed_at, Some(bench.at(2)));
}

/// Turns a database into one of an earlier version, which derived all keys from the master key.
fn downgrade(database: &Path, master: &MasterKey) {
    let connection = rusqlite::Connection::open(database).unwrap();
    let unname = "UPDATE tenants SET sealed_key = substr(sealed_key, 24)";
    connection.execute(unname, []).unwrap();
    let digest = crate::store::core::crypto::legacy_digest(master);
    connection
        .execute(
            "INSERT INTO master_key (digest) VALUES (?1) ON CONFLICT DO NOTHING",
            [digest],
        )
        .unwrap();
    let drop = "DROP TABLE master_keys; DROP TABLE derived_keys; DROP TABLE caller_sources; DROP TABLE sessions;
        DROP TABLE call_traces;
        ALTER TABLE strangers DROP COLUMN own_left; ALTER TABLE strangers DROP COLUMN own_at;
        ALTER TABLE strangers DROP COLUMN own_until;
        ALTER TABLE nodes DROP COLUMN lease_seconds; ALTER TABLE nodes DROP COLUMN version;
        ALTER TABLE nodes DROP COLUMN started_at; ALTER TABLE nodes DROP COLUMN calls;
        ALTER TABLE nodes DROP COLUMN draining; ALTER TABLE nodes DROP COLUMN drain_wanted;
        DELETE FROM schema_version WHERE version >= 114";
    connection.execute_batch(drop).unwrap();
}

#[tokio::test]
async fn a_database_of_an_earlier_version_keeps_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("greenpin.db");
    let options = StoreOptions::new(
        Database::File(path.clone()),
        folder.path().join("master.key"),
    );
    let master = KeyFiles::new(&options.key_file).create().unwrap();
    // An empty database of an earlier version makes the derived keys as it did.
    drop(Store::open(&options).unwrap());
    downgrade(&path, &master);
    let store = Store::open(&options).unwrap();
    let now = Timestamp::from_micros(1_781_499_600_000_000);
    let token = store.create_tenant(other_tenant(), now).await;
    let token = token.map_err(|error| error.to_string()).unwrap().token;
    let link = |store: &Store| {
        let tenant = store.tenant(TenantId::parse("other").unwrap());
        tenant.recording_link(&CallSid::new(now), now + Duration::from_secs(60))
    };
    let signed = link(&store);
    drop(store);
    for round in 0..2 {
        if round == 0 {
            downgrade(&path, &master);
        }
        let store = Store::open(&options).unwrap();
        let found = store.authenticate("AC2", &token, now).await.unwrap();
        assert!(found.is_some(), "the token is valid");
        assert!(store.open_recording_link(&signed, now).is_ok());
        let tenant = store.tenant(TenantId::parse("other").unwrap());
        assert!(tenant.events_after(None, 10).await.is_ok());
        rotate(&store, now).await.unwrap();
    }
}
