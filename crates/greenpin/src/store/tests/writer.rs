//! Writer thread with the caches of the store: batches, failures, rollbacks.

use std::sync::Arc;

use super::postgres as test_database;
use crate::store::core::database::{DatabaseTarget, postgres, sqlite};
use crate::store::core::reader::IdleReaders;
use crate::store::core::statement::{Rows, Statement};
use crate::store::core::write_scope::WriteScope;
use crate::store::{StoreError, Tx, Writer, Writers};
use crate::store::{TenantId, tenants::settings};
use crate::supervision::Supervisor;

const ADD: &Statement = &Statement::new(
    "ADD",
    "INSERT INTO tenants (tenant_id, settings, created_at) VALUES ($1, '{}', 0)",
    Rows::ExactlyOne,
);
const INSERT: &Statement = &Statement::new(
    "INSERT",
    "INSERT INTO tenants (tenant_id, settings, created_at) VALUES ($1, $2, $3)",
    Rows::ExactlyOne,
);
const NAMES: &Statement = &Statement::new(
    "NAMES",
    "SELECT tenant_id FROM tenants ORDER BY 1",
    Rows::Any,
);
const CHANGE: &Statement = &Statement::new(
    "CHANGE",
    "UPDATE tenants SET settings = '{\"pin_cooloff\": 7}'",
    Rows::Any,
);
const CHANGE_ONE: &Statement = &Statement::new(
    "CHANGE_ONE",
    "UPDATE tenants SET settings = '{\"pin_cooloff\": 7}' WHERE tenant_id = $1",
    Rows::ExactlyOne,
);

fn file(folder: &tempfile::TempDir) -> DatabaseTarget {
    DatabaseTarget::Sqlite(sqlite::SqliteTarget(folder.path().join("greenpin.db")))
}

fn writer() -> (tempfile::TempDir, Writer) {
    let folder = tempfile::tempdir().unwrap();
    let (writers, _) = Writers::start(
        file(&folder),
        &folder.path().join("master.key"),
        Arc::default(),
        IdleReaders::default(),
        &Supervisor::default(),
    )
    .unwrap();
    (folder, writers.whole().clone())
}

async fn add(writer: &Writer, name: &'static str, fails: bool) -> Result<usize, StoreError> {
    let work = move |tx: &Tx<'_>| {
        let added = tx.execute(ADD, [name])?;
        if fails {
            Err(StoreError::Unreadable("what a test made up"))
        } else {
            Ok(added)
        }
    };
    writer.write(work).await
}

async fn names(writer: &Writer) -> Vec<String> {
    let read = |tx: &Tx<'_>| tx.rows(NAMES, (), |row| row.get("tenant_id"));
    writer.write::<_, StoreError, _>(read).await.unwrap()
}

#[tokio::test]
async fn a_job_that_fails_halfway_does_not_affect_its_batch() {
    let (_folder, writer) = writer();
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let held = writer.write::<(), StoreError, _>(move |_| {
        // Once open, the gate stays open: the job may run again.
        let _ = gate.recv();
        Ok(())
    });
    let release = async move { drop(open) };
    let batch = async {
        tokio::join!(
            add(&writer, "a", false),
            add(&writer, "b", true),
            add(&writer, "c", false),
            release
        )
    };
    let (held, (a, b, c, ())) = tokio::join!(held, batch);
    assert!(held.is_ok() && b.is_err());
    assert_eq!((a, c), (Ok(1), Ok(1)));
    assert_eq!(names(&writer).await, ["a", "c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_concurrent_inserts_only_the_duplicates_fail() {
    let server = test_database::new_database().parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for target in [
        DatabaseTarget::Postgres(Box::new(
            postgres::PostgresTarget::new(server, None).unwrap(),
        )),
        file(&folder),
    ] {
        let (writers, _) = Writers::start(
            target,
            &folder.path().join("master.key"),
            Arc::default(),
            IdleReaders::default(),
            &Supervisor::default(),
        )
        .unwrap();
        let writer = writers.whole();
        let mut crowd = tokio::task::JoinSet::new();
        for client in 0..64 {
            let writer = writer.clone();
            crowd.spawn(async move {
                let mut refused = 0;
                for turn in 0..20 {
                    // Two clients insert each name at about the same time.
                    let name = format!("t{}-{turn}", client / 2);
                    let insert = move |tx: &Tx<'_>| tx.insert_batched(INSERT, (&name, "{}", 0_i64));
                    refused += usize::from(
                        writer
                            .write_speculatively::<_, StoreError, _>(insert)
                            .await
                            .is_err(),
                    );
                }
                refused
            });
        }
        assert_eq!(crowd.join_all().await.into_iter().sum::<usize>(), 32 * 20);
        assert_eq!(names(writer).await.len(), 32 * 20);
    }
}

#[tokio::test]
async fn batched_rows_are_inserted_before_a_statement_that_reads_their_table() {
    let server = test_database::new_database().parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (writers, _) = Writers::start(
        DatabaseTarget::Postgres(Box::new(
            postgres::PostgresTarget::new(server, None).unwrap(),
        )),
        &folder.path().join("master.key"),
        Arc::default(),
        IdleReaders::default(),
        &Supervisor::default(),
    )
    .unwrap();
    let writer = writers.whole();
    let seen = writer.write::<Vec<String>, StoreError, _>(|tx| {
        tx.insert_batched(INSERT, ("a", "{}", 0_i64))?;
        tx.rows(NAMES, (), |row| row.get("tenant_id"))
    });
    assert_eq!(seen.await, Ok(vec!["a".to_owned()]));
}

#[tokio::test]
async fn a_job_whose_statement_misses_its_row_fails_and_leaves_nothing_behind() {
    let (_folder, writer) = writer();
    let missed = writer.write::<(), StoreError, _>(|tx| {
        tx.execute(ADD, ["a"])?;
        tx.execute(CHANGE_ONE, ["b"]).map(|_| ())
    });
    let error = StoreError::RowCount {
        statement: "CHANGE_ONE",
        rows: 0,
    };
    assert_eq!(missed.await, Err(error));
    assert!(names(&writer).await.is_empty());
}

#[tokio::test]
async fn a_job_that_panics_halfway_leaves_nothing_behind() {
    let (_folder, writer) = writer();
    let broken = writer.write::<(), StoreError, _>(|tx| {
        tx.execute(ADD, ["a"])?;
        std::panic::resume_unwind(Box::new("made up"))
    });
    assert!(broken.await.is_err());
    assert_eq!(add(&writer, "b", false).await, Ok(1));
    assert_eq!(names(&writer).await, ["b"]);
}

#[tokio::test]
async fn settings_that_were_rolled_back_or_changed_by_another_process_are_not_cached() {
    let (folder, writer) = writer();
    add(&writer, "acme", false).await.unwrap();
    let tenant = TenantId::parse("acme").unwrap();
    let cooloff = |fails: bool, change: bool| {
        let (tenant, writer) = (tenant.clone(), writer.clone());
        async move {
            let work = move |tx: &Tx<'_>| {
                if change {
                    tx.execute(CHANGE, ())?;
                    tx.cache().tenants.change();
                }
                let found = settings::cached(tx, &tenant)?.pin_cooloff;
                if fails {
                    Err(StoreError::Unreadable("what a test made up"))
                } else {
                    Ok(found)
                }
            };
            writer.write(work).await
        }
    };
    assert_eq!(cooloff(false, false).await, Ok(3600));
    assert!(cooloff(true, true).await.is_err());
    assert_eq!(
        cooloff(false, false).await,
        Ok(3600),
        "a change that failed is not kept"
    );
    file(&folder)
        .writer(WriteScope::Whole)
        .unwrap()
        .execute(CHANGE, &[])
        .unwrap();
    assert_eq!(
        cooloff(false, false).await,
        Ok(7),
        "another process's change is seen"
    );
}
