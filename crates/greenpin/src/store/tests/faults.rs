//! Faults of the stored data, of the clock and of the database.

use super::*;

/// Runs a statement on the database, as another program does.
async fn execute(database: &Database, sql: &str) {
    match database {
        Database::File(path) => {
            let connection = rusqlite::Connection::open(path).unwrap();
            connection.execute_batch(sql).unwrap();
        }
        Database::Server(server) => {
            let connecting = server.connect(tokio_postgres::NoTls);
            let (client, connection) = connecting.await.unwrap();
            tokio::spawn(connection);
            // Each statement in a transaction of its own.
            for statement in sql.split("; ") {
                client.batch_execute(statement).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn an_unreadable_allocation_delays_the_expiry_of_no_other() {
    let bench = Bench::new().await;
    let broken = bench.create(SHARED, 0).await.unwrap();
    let other = bench.create(SHARED, 1).await.unwrap();
    let cut = format!(
        "UPDATE allocations SET sealed = 'x' WHERE greenpin_id = '{}'",
        broken.greenpin_id
    );
    execute(&bench.options.database, &cut).await;
    assert_eq!(bench.store.report_expired(bench.at(900)).await.unwrap(), 2);
    assert_eq!(bench.store.report_expired(bench.at(900)).await.unwrap(), 0);
    let events = bench.events().await;
    let expired: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "allocation.expired")
        .map(|event| event["greenpin_id"].as_str().unwrap())
        .collect();
    assert_eq!(expired, [other.greenpin_id.as_str()]);
}

#[tokio::test]
async fn an_unreadable_call_does_not_prevent_the_start_of_its_node() {
    let bench = Bench::new().await;
    bench.create(EXCLUSIVE, 0).await.unwrap();
    let (broken, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    let (other, _) = bench.call(EXCLUSIVE, Some(CUSTOMER), 1).await;
    let cut = format!("UPDATE calls SET sealed = 'x' WHERE call_sid = '{broken}'");
    execute(&bench.options.database, &cut).await;
    assert_eq!(bench.join("node-1", 9).await, 2);
    assert_eq!(bench.join("node-1", 9).await, 0);
    let record = bench.tenant.call(&other).await.unwrap().unwrap();
    assert_eq!(record.ended_at, Some(bench.at(9)));
    let types = bench.event_types().await;
    let ended = types.iter().filter(|name| *name == "call.completed");
    assert_eq!(ended.count(), 1);
}

#[tokio::test]
async fn new_events_follow_the_others_after_a_clock_that_went_back_and_a_restart() {
    let bench = Bench::new().await;
    bench.create(SHARED, 1000).await.unwrap();
    let last = bench.tenant.events_after(None, 10).await.unwrap();
    let last = EventId::parse(&last.last().unwrap().event_id).unwrap();
    let restarted = Store::open(&bench.options).unwrap();
    let tenant = restarted.tenant(TenantId::parse("acme").unwrap());
    let create = |seconds| tenant.create_allocation(wanted(SHARED), bench.at(seconds));
    create(5).await.unwrap();
    // The first process goes on, and writes with the time of a request that has waited.
    bench.create(SHARED, 1).await.unwrap();
    create(6).await.unwrap();
    let seen = bench.tenant.events_after(Some(last), 10).await.unwrap();
    assert_eq!(seen.len(), 3, "a reader of the log misses none");
}

#[tokio::test]
async fn a_text_with_a_nul_matches_no_allocation() {
    let bench = Bench::new().await;
    bench.create(SHARED, 0).await.unwrap();
    let filter = AllocationFilter {
        custom_field: Some("a\0".into()),
        ..AllocationFilter::default()
    };
    let found = bench.tenant.allocations(filter, None, 10, bench.at(1));
    assert_eq!(found.await, Ok(Vec::new()));
}

/// Waits until the store takes writes and is ready.
async fn wait_until_healed(bench: &Bench) {
    while bench.create(SHARED, 1).await.is_err() || bench.store.ready().await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_unavailable_and_heals_without_a_restart() {
    let bench = Bench::new().await;
    bench.create(SHARED, 0).await.unwrap();
    let refused = |created: Result<Allocation, CreateError>| {
        let is_outage = matches!(&created, Err(CreateError::Store(error)) if error.is_outage());
        assert!(is_outage, "{created:?}");
    };
    match &bench.options.database {
        Database::File(path) => {
            let other = rusqlite::Connection::open(path).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            refused(bench.create(SHARED, 1).await);
            assert!(bench.store.ready().await.is_err());
            other.execute_batch("ROLLBACK").unwrap();
        }
        database @ Database::Server(server) => {
            let name = server.get_dbname().unwrap();
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
            let set = |to| {
                format!("ALTER DATABASE {name} SET default_transaction_read_only = {to}; {end}")
            };
            execute(database, &set("on")).await;
            refused(bench.create(SHARED, 1).await);
            assert!(bench.store.ready().await.is_err());
            let back = format!("SET default_transaction_read_only = off; {}", set("off"));
            execute(database, &back).await;
        }
    }
    wait_until_healed(&bench).await;
}

#[tokio::test]
async fn of_several_hosts_the_one_that_answers_is_used() {
    let bench = Bench::new().await;
    let Database::Server(server) = &bench.options.database else {
        return;
    };
    let made = bench.create(SHARED, 0).await.unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let (port, database) = (server.get_ports()[0], server.get_dbname().unwrap());
    let url = format!("postgres://postgres@{closed},127.0.0.1:{port}/{database}");
    let options = StoreOptions {
        database: Database::Server(Box::new(url.parse().unwrap())),
        ..bench.options.clone()
    };
    let store = Store::open(&options).unwrap();
    let tenant = store.tenant(bench.tenant.tenant_id().clone());
    let read = tenant.allocation(&made.greenpin_id).await.unwrap();
    assert_eq!(read, Some(made));
}
