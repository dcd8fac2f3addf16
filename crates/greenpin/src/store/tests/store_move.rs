//! Move of a store from SQLite to PostgreSQL.

use super::*;

/// Runs blocking work of a connection, which has a runtime of its own.
fn blocking<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

#[tokio::test]
async fn an_interrupted_move_is_continued_and_no_server_uses_its_half() {
    let bench = Bench::new().await;
    let Database::File(source) = bench.options.database.clone() else {
        return;
    };
    let made = bench.create(SHARED, 0).await.unwrap();
    let (sid, _) = bench.call(SHARED, Some(CUSTOMER), 1).await;
    bench.attempt_pin(&sid, made.pin.expose(), 2).await;
    let server: tokio_postgres::Config = postgres::new_database().parse().unwrap();
    let begin = || StoreMove::begin(&source, &server, None);
    blocking(|| {
        let half = begin().unwrap();
        for table in &half.tables()[..5] {
            half.copy(table, &mut |_| ()).unwrap();
        }
    });
    let target = StoreOptions::new(
        Database::Server(Box::new(server.clone())),
        bench.options.key_file.clone(),
    );
    let opened = Store::open(&target).map(|_| ());
    assert!(
        matches!(opened, Err(OpenError::UnfinishedMove)),
        "{opened:?}"
    );
    blocking(|| {
        let rest = begin().unwrap();
        let (copied, left): (Vec<TableToMove>, Vec<_>) =
            rest.tables().iter().partition(|table| table.is_copied);
        assert_eq!(copied.len(), 5);
        for table in &left {
            rest.copy(table, &mut |_| ()).unwrap();
        }
        rest.finish().unwrap();
    });
    let moved = Store::open(&target).unwrap();
    let tenant = moved.tenant(bench.tenant.tenant_id().clone());
    let read = tenant.allocation(&made.greenpin_id).await.unwrap();
    assert_eq!(
        read,
        bench.tenant.allocation(&made.greenpin_id).await.unwrap()
    );
    let events = tenant.events_after(None, 100).await.unwrap();
    assert_eq!(events, bench.tenant.events_after(None, 100).await.unwrap());
    let call = tenant.call(&sid).await.unwrap().unwrap();
    assert_eq!(call.greenpin_id, Some(made.greenpin_id));
    let next = tenant
        .create_allocation(wanted(EXCLUSIVE), bench.at(3))
        .await;
    next.unwrap();
    let later = tenant.events_after(None, 100).await.unwrap();
    assert_eq!(
        &later[..events.len()],
        events,
        "new events follow the moved ones"
    );
    let again = blocking(|| begin().map(|_| ()));
    assert!(matches!(again, Err(MoveError::NotEmpty(_))), "{again:?}");
}

#[tokio::test]
async fn a_move_from_no_database_creates_none() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("greenpin.db");
    let server: tokio_postgres::Config = postgres::new_database().parse().unwrap();
    let begun = blocking(|| StoreMove::begin(&source, &server, None).map(|_| ()));
    assert!(matches!(begun, Err(MoveError::NoSource(_))), "{begun:?}");
    assert!(!source.exists());
}
