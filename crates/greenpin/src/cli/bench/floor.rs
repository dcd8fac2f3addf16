//! The floor that creates are held against: the barest HTTP server that keeps a row and an outbox row durable, with
//! the same group commit and no rules at all.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Client, NoTls};

use super::super::fail;

/// Requests in one commit, at the most.
const BATCH: usize = 256;
const SCHEMA: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE outbox (id INTEGER PRIMARY KEY, body TEXT NOT NULL);";

const SERVER_SCHEMA: &str = "SET synchronous_commit = on;
    CREATE TABLE IF NOT EXISTS bench_floor (id BIGSERIAL PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS bench_outbox (id BIGSERIAL PRIMARY KEY, body TEXT NOT NULL)";

type Job = (String, oneshot::Sender<()>);

/// Serves the floor on a free port until it is ended.
pub(in crate::cli) async fn serve(database: Option<String>) -> ExitCode {
    match start(database).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

async fn start(database: Option<String>) -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let (jobs, inbox) = mpsc::channel(4096);
    match database {
        None => {
            let connection = Connection::open(folder.path().join("floor.db"))?;
            connection.execute_batch(SCHEMA)?;
            std::thread::spawn(move || write(connection, inbox));
        }
        Some(url) => {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            tokio::spawn(connection);
            client.batch_execute(SERVER_SCHEMA).await?;
            tokio::spawn(write_to_server(client, inbox));
        }
    }
    let router =
        Router::new().route("/", post(create)).route("/hello", get(|| async { "hello" })).with_state(jobs);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    tracing::info!(http = %format_args!("http://{}", listener.local_addr()?), "the floor is ready");
    Ok(axum::serve(listener, router).await?)
}

async fn create(State(jobs): State<mpsc::Sender<Job>>, body: String) -> StatusCode {
    let (done, written) = oneshot::channel();
    let kept = jobs.send((body, done)).await.is_ok() && written.await.is_ok();
    if kept { StatusCode::CREATED } else { StatusCode::INTERNAL_SERVER_ERROR }
}

fn write(mut connection: Connection, mut inbox: mpsc::Receiver<Job>) -> Option<()> {
    let mut batch = Vec::with_capacity(BATCH);
    while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
        let transaction = connection.transaction().ok()?;
        for (body, _) in &batch {
            for table in ["rows", "outbox"] {
                let insert = format!("INSERT INTO {table} (body) VALUES ($1)");
                transaction.prepare_cached(&insert).ok()?.execute([body]).ok()?;
            }
        }
        transaction.commit().ok()?;
        for (_, done) in batch.drain(..) {
            let _ = done.send(());
        }
    }
    Some(())
}

/// The same on a server: a batch is two statements, whose rows go as one array each.
async fn write_to_server(mut client: Client, mut inbox: mpsc::Receiver<Job>) -> Option<()> {
    let mut batch = Vec::with_capacity(BATCH);
    let insert = |table: &str| format!("INSERT INTO {table} (body) SELECT * FROM unnest($1::TEXT[])");
    let floor = client.prepare(&insert("bench_floor")).await.ok()?;
    let outbox = client.prepare(&insert("bench_outbox")).await.ok()?;
    while inbox.recv_many(&mut batch, BATCH).await > 0 {
        let bodies: Vec<&str> = batch.iter().map(|(body, _)| body.as_str()).collect();
        let transaction = client.transaction().await.ok()?;
        transaction.execute(&floor, &[&bodies]).await.ok()?;
        transaction.execute(&outbox, &[&bodies]).await.ok()?;
        transaction.commit().await.ok()?;
        for (_, done) in batch.drain(..) {
            let _ = done.send(());
        }
    }
    Some(())
}
