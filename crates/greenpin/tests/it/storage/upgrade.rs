//! Databases with data, written by earlier versions of the schema, are upgraded in place on both engines.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use greenpin::store::{
    AllocationFilter, CallSid, Database, NewAllocation, Store, StoreOptions, TenantId, Timestamp,
};
use tempfile::TempDir;

use crate::support::call_setup::{AGENT, CUSTOMER};
use crate::support::postgres;

/// Master key of the databases in `released/`.
const MASTER_KEY: &str = "29cfd450569ff264f7b831ae90e35f1864413842aa2026a464195095fcea06ae";
const EXCLUSIVE: &str = "+914000000001";
const SHARED: &str = "+914000000002";

/// Content of a stored database that differs between the engines.
struct Content {
    file: &'static str,
    pins: [&'static str; 2],
    call_sid: &'static str,
}

const SQLITE: Content = Content {
    file: "schema-113/sqlite.sql",
    pins: ["3727", "329753"],
    call_sid: "call_01m8f20tv45vygap850fs35fgq",
};
const POSTGRES: Content = Content {
    file: "schema-113/postgres.sql",
    pins: ["9213", "363556"],
    call_sid: "call_01m8f23yyznnh12zx7mgbd9nd0",
};

/// Digests of the migrations of released schemas: a database that has run them must be what they say.
const RELEASED: &[(&str, &str)] = &[
    (
        "0001_first.sql",
        "8a896be092f71efb44d8dd7285e2b4642adc8b361772e85905ebfc755934a186",
    ),
    (
        "0002_operator.sql",
        "4f05cd471f472af436d07a801f8b16f708970bf72f557e1f6ac3260179f63b99",
    ),
    (
        "0003_tenant.sql",
        "807083854da4697b2e191752f17b1dabc7328564bccb6d8829a9e665889f212c",
    ),
    (
        "0004_pins_counted.sql",
        "04cc9c6e94d2269292d246a5e66b6193e6bfcea06318ce428b7aeeb1103bb6d6",
    ),
    (
        "0005_nodes.sql",
        "5a549caf910875a8cc254636bd408e1feb902f650004b792be4b0ace3cb8b144",
    ),
    (
        "0006_prompts.sql",
        "67339c4a903d3e01a2558c93f22d748a520d38de3bda007c1a20f928fc7696de",
    ),
    (
        "0007_events.sql",
        "616896c8779dc48d9050c041e4665c381027f20c90c40f08233ab5186cb93550",
    ),
    (
        "0008_idempotent_creates.sql",
        "179fb145bb102bee29a8b98887c02c6d9314ce6edb77d5f8c75c80accea9d4c2",
    ),
    (
        "0009_uploads.sql",
        "53055d5ae5ce2c7b5a177f91def5f42f8354364d564c1600b7dfc253b98a05b7",
    ),
    (
        "0010_turns.sql",
        "fec43fbb3fee6a90a64adf4272fa07dd2f3338dd4c6d7af2cf8671f66f7207b1",
    ),
    (
        "0011_tenants_unchecked.sql",
        "d2f3e02500852d4eab6a8034fd0de55b21c3bba561cb310d7f1f2274a6f5dcae",
    ),
    (
        "0012_caller_withheld.sql",
        "f749f1af5d79f25f1982fdc01e69c56c80deca8b4c2ba80ff8b4ee5acfb80a4f",
    ),
    (
        "0013_call_cause.sql",
        "3ef9dc1a6c8ca8bbf5320a9b75ad4eed4a25e2ad08ba184dd0257cc7d65b5605",
    ),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn released(file: &str) -> String {
    let path = folder("tests/it/storage/released").join(file);
    fs::read_to_string(path).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens a database with the master key of the stored ones.
fn open(database: Database, key_folder: &TempDir) -> Store {
    let key: Vec<u8> = (0..MASTER_KEY.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&MASTER_KEY[at..at + 2], 16).unwrap())
        .collect();
    let file = key_folder.path().join("master.key");
    fs::write(&file, key).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&file, private).unwrap();
    Store::open(&StoreOptions::new(database, file)).unwrap()
}

async fn check(store: &Store, content: &Content) {
    let now = Timestamp::now();
    let known = store.authenticate("AC1", "tok-acme-0123456789", now).await;
    assert_eq!(known.unwrap().unwrap().tenant_id.as_str(), "acme");
    let tenant = store.tenant(TenantId::parse("acme").unwrap());
    let all = tenant.allocations(AllocationFilter::default(), None, 10, now);
    let mut all = all.await.unwrap();
    all.reverse();
    let pins: Vec<_> = all
        .iter()
        .map(|allocation| allocation.pin.expose())
        .collect();
    assert_eq!(pins, content.pins);
    assert_eq!(all[0].virtual_number.expose(), EXCLUSIVE);
    assert_eq!(all[0].from[0].expose(), AGENT);
    assert_eq!(all[0].custom_field.as_deref(), Some("order_id=1"));
    let call = tenant
        .call(&CallSid::parse(content.call_sid).unwrap())
        .await;
    let call = call.unwrap().unwrap();
    assert_eq!(call.shown_caller().unwrap().expose(), CUSTOMER);
    assert_eq!((call.pin_attempts, call.ended_at.is_some()), (1, true));
    let events = tenant.events_after(None, 100).await.unwrap();
    assert_eq!(events.len(), 5);
    assert!(events.iter().all(|event| event.body.contains("\"type\"")));
    assert_eq!(store.open_deliveries().await.unwrap(), 5);
}

/// Creates an allocation on the shared number.
async fn create(store: &Store) {
    let number = |text: &str| call::PhoneNumber::parse(text).unwrap();
    let tenant = store.tenant(TenantId::parse("acme").unwrap());
    let new = NewAllocation::new(number(SHARED), vec![number(AGENT)]);
    tenant
        .create_allocation(new, Timestamp::now())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_sqlite_database_of_an_earlier_schema_is_upgraded_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("greenpin.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(&released(SQLITE.file)).unwrap();
    drop(connection);
    for _ in 0..2 {
        check(&open(Database::File(path.clone()), &folder), &SQLITE).await;
    }
    create(&open(Database::File(path), &folder)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_database_of_an_earlier_schema_is_upgraded_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let url = postgres::new_database();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    client
        .batch_execute(&released(POSTGRES.file))
        .await
        .unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    let database = || Database::Server(Box::new(url.parse().unwrap()));
    for _ in 0..2 {
        check(&open(database(), &folder), &POSTGRES).await;
    }
    create(&open(database(), &folder)).await;
}

#[test]
fn the_migrations_of_released_schemas_are_unchanged() {
    for (name, expected) in RELEASED {
        let path = folder("src/store/core/migrations").join(name);
        let found = digest(&SHA256, &fs::read(path).unwrap());
        assert_eq!(
            hex(found.as_ref()),
            *expected,
            "{name}: add a new migration instead"
        );
    }
}
