//! Actions of operators on tenants and numbers.

use super::*;
use crate::store::core::statement::{Rows, Statement};

/// Recordings as local files.
struct Files;

impl RecordingStorage for Files {
    async fn remove(&self, recording: &StoredRecording) -> std::io::Result<bool> {
        std::fs::remove_file(&recording.location).map(|()| true)
    }
}

/// Tables that keep rows of an erased tenant: its name, the audit log, and the receipt.
const KEPT: [&str; 3] = ["tenants", "audit", "erasures"];

/// Every table of the schema, with the text of its columns.
fn tables() -> impl Iterator<Item = (&'static str, &'static str)> {
    let tables = crate::store::core::schema::MIGRATIONS
        .iter()
        .flat_map(|step| step.split("CREATE TABLE ").skip(1));
    tables.map(|table| {
        let (name, rest) = table.split_once(" (").unwrap();
        (name, rest.split(");").next().unwrap_or_default())
    })
}

async fn rows(store: &Store, table: &str) -> i64 {
    let text = Box::leak(format!("SELECT COUNT(*) AS count FROM {table}").into_boxed_str());
    let count: &'static Statement = Box::leak(Box::new(Statement::new(text, text, Rows::Any)));
    let read = store
        .readers
        .read(move |snapshot| snapshot.row(count, (), |row| row.get("count")));
    read.await
        .map_err(|error: StoreError| error)
        .unwrap()
        .unwrap()
}

fn operator(bench: &Bench) -> OperatorStore {
    bench.store.operator(Actor::command_line())
}

/// Creates a tenant with rows in every table.
async fn lived() -> (Bench, GreenpinId) {
    let bench = Bench::new().await;
    let hook = EndpointSpec::to("http://127.0.0.1:9/");
    bench
        .tenant
        .update_settings(|_| {}, Some(vec![hook]), bench.start)
        .await
        .unwrap();
    let made = bench.create(EXCLUSIVE, 0).await.unwrap();
    bench.create(SHARED, 0).await.unwrap();
    let open = bench.create(OPEN, 0).await.unwrap();
    let (sid, _) = bench.call(OPEN, Some(STRANGER), 1).await;
    bench.attempt_pin(&sid, &wrong(&open.pin), 2).await;
    bench
        .store
        .end_call(&sid, ending(bench.at(3)))
        .await
        .unwrap();
    let tenant = bench.tenant.tenant_id().clone();
    let trace = SealedTrace::new(tenant, sid, &CallTrace::default()).unwrap();
    bench.store.write_traces(vec![trace]).await.unwrap();
    (bench, made.greenpin_id)
}

#[tokio::test]
async fn an_erased_tenant_has_no_row_in_any_table() {
    let (bench, id) = lived().await;
    for (table, _) in tables().filter(|(table, _)| !KEPT.contains(table)) {
        // Tables of other parts of the schema, which this test does not fill, are checked by their columns below.
        if [
            "allocations",
            "pins",
            "parties",
            "strangers",
            "calls",
            "call_traces",
            "events",
            "deliveries",
        ]
        .contains(&table)
        {
            assert!(rows(&bench.store, table).await > 0, "{table}");
        }
    }
    let tenant = bench.tenant.tenant_id().clone();
    let now = bench.at(10);
    let receipt = operator(&bench)
        .erase_tenant(&tenant, &Files, move || now)
        .await
        .unwrap();
    assert_eq!((receipt.begun_at, receipt.finished_at), (now, Some(now)));
    for (table, columns) in tables().filter(|(table, _)| !KEPT.contains(table)) {
        if columns.contains("tenant_id") {
            assert!(
                receipt.erased.contains_key(table),
                "an erasure does not know of {table}"
            );
            assert_eq!(rows(&bench.store, table).await, 0, "{table}");
        }
    }
    for table in ["pins", "strangers", "numbers"] {
        assert_eq!(rows(&bench.store, table).await, 0, "{table}");
    }
    assert_eq!(bench.tenant.allocation(&id).await, Ok(None));
    let (_, route) = bench.call(EXCLUSIVE, Some(CUSTOMER), 11).await;
    assert_eq!(route, Route::UnknownNumber);
    let again = operator(&bench)
        .erase_tenant(&tenant, &Files, move || bench.at(99))
        .await
        .unwrap();
    assert_eq!(again, receipt);
}

#[tokio::test]
async fn the_key_of_an_erased_tenant_is_deleted() {
    let (bench, _) = lived().await;
    let tenant = bench.tenant.tenant_id().clone();
    let now = bench.at(10);
    operator(&bench)
        .erase_tenant(&tenant, &Files, move || now)
        .await
        .unwrap();
    let read = bench
        .store
        .readers
        .read(move |snapshot| snapshot.tenant_key(&tenant).map(|_| ()));
    assert!(matches!(read.await, Err(StoreError::Unreadable(_))));
}

#[tokio::test]
async fn an_erasure_stops_at_a_recording_that_cannot_be_deleted_and_can_continue() {
    let (bench, _) = lived().await;
    let tenant = bench.tenant.tenant_id().clone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.wav");
    // A folder instead of the file cannot be deleted as a file.
    std::fs::create_dir(&path).unwrap();
    let (sid, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 4).await;
    let recording = Some(RecordingFile {
        location: path.display().to_string(),
        duration: Duration::from_secs(1),
    });
    bench
        .store
        .end_call(
            &sid,
            CallEnding {
                recording,
                ..ending(bench.at(5))
            },
        )
        .await
        .unwrap();
    let now = bench.at(10);
    let erased = operator(&bench)
        .erase_tenant(&tenant, &Files, move || now)
        .await;
    assert!(matches!(erased, Err(EraseError::Recording { .. })));
    let shown = operator(&bench)
        .tenant(&tenant, now)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(shown.status, TenantStatus::Erasing);
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "audio").unwrap();
    let receipt = operator(&bench)
        .erase_tenant(&tenant, &Files, move || now)
        .await
        .unwrap();
    assert_eq!((receipt.erased["recordings"], path.exists()), (1, false));
    let shown = operator(&bench)
        .tenant(&tenant, now)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(shown.status, TenantStatus::Erased);
}

/// Recordings as files on the disk of a node.
struct FilesOf(&'static str);

impl RecordingStorage for FilesOf {
    fn node(&self) -> Option<&str> {
        Some(self.0)
    }

    async fn remove(&self, recording: &StoredRecording) -> std::io::Result<bool> {
        assert_eq!(recording.node, self.0, "only its own files");
        Files.remove(recording).await
    }
}

#[tokio::test]
async fn an_erasure_is_complete_when_the_node_with_a_recording_has_deleted_it() {
    let (bench, _) = lived().await;
    let tenant = bench.tenant.tenant_id().clone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.wav");
    std::fs::write(&path, "audio").unwrap();
    let (sid, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 4).await;
    let recording = Some(RecordingFile {
        location: path.display().to_string(),
        duration: Duration::from_secs(1),
    });
    let ending = CallEnding {
        recording,
        ..ending(bench.at(5))
    };
    bench.store.end_call(&sid, ending).await.unwrap();
    let now = bench.at(10);
    let erase = async || {
        let operator = operator(&bench);
        operator
            .erase_tenant(&tenant, &FilesOf("node-2"), move || now)
            .await
    };
    for _ in 0..2 {
        let Err(EraseError::OtherNodes { recordings, nodes }) = erase().await else {
            panic!("the recording lies on another node")
        };
        assert_eq!((recordings, nodes), (1, vec!["node-1".to_owned()]));
        let receipt = operator(&bench).erasure(&tenant).await.unwrap().unwrap();
        assert!(receipt.finished_at.is_none() && path.exists());
        bench
            .store
            .continue_erasures(&FilesOf("node-2"))
            .await
            .unwrap();
    }
    bench
        .store
        .continue_erasures(&FilesOf("node-1"))
        .await
        .unwrap();
    assert!(!path.exists());
    let receipt = erase().await.unwrap();
    assert_eq!(
        (receipt.finished_at, receipt.erased["recordings"]),
        (Some(now), 1)
    );
}

#[tokio::test]
async fn a_tenant_with_an_open_call_is_not_erased() {
    let bench = Bench::new().await;
    bench.create(EXCLUSIVE, 0).await.unwrap();
    bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    let now = bench.at(2);
    let erased = operator(&bench)
        .erase_tenant(bench.tenant.tenant_id(), &Files, move || now)
        .await;
    assert!(matches!(erased, Err(EraseError::HasCalls)));
    assert!(bench.create(SHARED, 3).await.is_ok());
}

#[tokio::test]
async fn a_moved_number_serves_its_new_tenant_and_its_pins_continue_to_cool_off() {
    let bench = Bench::new().await;
    let other = TenantId::parse("other").unwrap();
    operator(&bench)
        .create_tenant(other_tenant(), bench.start)
        .await
        .map_err(|error| error.to_string())
        .unwrap();
    let old = bench.create(SHARED, 0).await.unwrap();
    let moved = operator(&bench)
        .move_number(number(SHARED), other.clone(), bench.at(1))
        .await;
    assert_eq!(moved, Err(PoolError::InUse(1)));
    bench
        .tenant
        .delete_allocation(&old.greenpin_id, bench.at(2))
        .await
        .unwrap();
    operator(&bench)
        .move_number(number(SHARED), other.clone(), bench.at(3))
        .await
        .unwrap();
    let found = operator(&bench)
        .number(number(SHARED), bench.at(3))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.number.tenant_id, found.number.active),
        (other.clone(), 0)
    );
    let pins = rows(&bench.store, "pins").await;
    let made = bench
        .store
        .tenant(other.clone())
        .create_allocation(wanted(SHARED), bench.at(4))
        .await
        .unwrap();
    assert_eq!(
        (rows(&bench.store, "pins").await, made.pin == old.pin),
        (pins + 1, false)
    );
    assert_eq!(
        bench.create(SHARED, 5).await,
        Err(CreateError::NumberNotInPool)
    );
    let erase_at = bench.at(6);
    let tenant = bench.tenant.tenant_id().clone();
    operator(&bench)
        .erase_tenant(&tenant, &Files, move || erase_at)
        .await
        .unwrap();
    let (_, route) = bench.call(SHARED, Some(CUSTOMER), 7).await;
    assert!(
        matches!(route, Route::Collect(_)),
        "the new tenant loses nothing"
    );
}

#[tokio::test]
async fn an_import_concurrent_with_an_add_is_all_or_nothing() {
    let bench = Bench::new().await;
    let tenant = bench.tenant.tenant_id().clone();
    let new = |index: u32| {
        let vn = number(&format!("+9140000{index:05}"));
        NewNumber {
            virtual_number: vn,
            mode: NumberMode::Exclusive,
            pin_length: 4,
            max_active: 1,
        }
    };
    let before = rows(&bench.store, "numbers").await;
    operator(&bench)
        .add_number(tenant.clone(), new(150), bench.start)
        .await
        .unwrap();
    let all: Vec<_> = (100..200).map(new).collect();
    let imported = operator(&bench)
        .import_numbers(tenant, all, bench.start)
        .await;
    assert_eq!(imported, Err(ImportError::Taken));
    assert_eq!(rows(&bench.store, "numbers").await, before + 1);
    let all: Vec<_> = (200..300).map(new).collect();
    operator(&bench)
        .import_numbers(bench.tenant.tenant_id().clone(), all, bench.start)
        .await
        .unwrap();
    assert_eq!(rows(&bench.store, "numbers").await, before + 101);
}
