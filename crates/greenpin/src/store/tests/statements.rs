//! Rules that hold for every SQL statement, on both databases.

use crate::store::core::database::{Value, postgres, sqlite};
use crate::store::core::schema::{self, MIGRATIONS, SCHEMA_VERSION};
use crate::store::{
    allocations, calls, cluster, core, events, keys, numbers, pins, retention, tenants,
};

/// Returns name and text of every statement that both databases run.
fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lists = [
        schema::ALL,
        core::sql::ALL,
        core::key_sql::ALL,
        tenants::sql::ALL,
        numbers::sql::ALL,
        allocations::sql::ALL,
        pins::sql::ALL,
        calls::sql::ALL,
        events::sql::ALL,
        cluster::sql::ALL,
        keys::sql::ALL,
        retention::sql::ALL,
    ];
    lists
        .into_iter()
        .flatten()
        .map(|statement| (statement.name, statement.sql))
}

#[test]
fn every_statement_is_valid_and_numbers_its_parameters_in_order() {
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    MIGRATIONS
        .iter()
        .for_each(|step| connection.execute_batch(&sqlite::for_sqlite(step)).unwrap());
    connection.execute_batch(SCHEMA_VERSION.sql).unwrap();
    for (name, text) in all() {
        let statement = connection
            .prepare(text)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        for index in 1..=statement.parameter_count() {
            assert_eq!(
                statement.parameter_name(index),
                Some(format!("${index}").as_str()),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn every_statement_is_valid_on_postgresql_with_integer_and_text_parameters() {
    let url = super::postgres::new_database();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    for step in MIGRATIONS {
        client
            .batch_execute(&postgres::for_postgres(step))
            .await
            .unwrap();
    }
    client.batch_execute(SCHEMA_VERSION.sql).await.unwrap();
    for (name, text) in all() {
        let statement = client.prepare(text).await;
        let statement =
            statement.unwrap_or_else(|error| panic!("{name}: {}", error.as_db_error().unwrap()));
        for kind in statement.params() {
            assert!(
                <Value<'_> as tokio_postgres::types::ToSql>::accepts(kind),
                "{name}: {kind}"
            );
        }
    }
}

#[test]
fn every_statement_has_a_unique_name() {
    let names: std::collections::HashSet<&str> = all().map(|(name, _)| name).collect();
    assert_eq!(names.len(), all().count());
}

#[test]
fn no_statement_uses_sqlite_syntax() {
    for (name, text) in all().chain(MIGRATIONS.iter().map(|step| ("migration", *step))) {
        for foreign in [
            "?",
            "OR IGNORE",
            "OR REPLACE",
            "datetime(",
            "strftime(",
            "rowid",
            "AUTOINCREMENT",
            "json_",
        ] {
            assert!(!text.contains(foreign), "{name} uses {foreign}");
        }
    }
}
