//! Baseline of the creates: a bare HTTP server with the same group commit. It reads the same body,
//! draws an id and a PIN, and stores an allocation and an outbox row durably. It has no
//! credentials, no rules, no encryption and no index beyond id and PIN.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Client, NoTls};

use crate::cli::output::fail;
use crate::crypto::random;

/// Maximum number of requests per commit.
const BATCH: usize = 256;
const SCHEMA: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE allocations (id TEXT PRIMARY KEY, virtual_number TEXT NOT NULL, pin TEXT NOT NULL, body TEXT NOT NULL,
                              UNIQUE (virtual_number, pin));
    CREATE TABLE outbox (id INTEGER PRIMARY KEY, body TEXT NOT NULL);";

const SERVER_SCHEMA: &str = "SET synchronous_commit = on;
    CREATE TABLE IF NOT EXISTS bench_baseline (id TEXT PRIMARY KEY, virtual_number TEXT NOT NULL, pin TEXT NOT NULL,
                                            body TEXT NOT NULL, UNIQUE (virtual_number, pin));
    CREATE TABLE IF NOT EXISTS bench_outbox (id BIGSERIAL PRIMARY KEY, body TEXT NOT NULL)";

/// Body of a create.
#[derive(Deserialize)]
struct Asked {
    caller_id_number: String,
    from: String,
    to: String,
    duration: u32,
}

/// Response to a create, and body of its event.
#[derive(Serialize)]
struct Made {
    greenpin_id: String,
    virtual_number: String,
    pin: String,
    from: String,
    to: String,
    duration: u32,
}

impl Made {
    fn of(asked: Asked) -> Self {
        Self {
            greenpin_id: format!("gp_{:016x}{:016x}", random::u64(), random::u64()),
            virtual_number: asked.caller_id_number,
            pin: format!("{:012}", random::below(1_000_000_000_000)),
            from: asked.from,
            to: asked.to,
            duration: asked.duration,
        }
    }
}

/// An allocation to store.
struct Row {
    made: Made,
    body: String,
}

type Job = (Row, oneshot::Sender<Made>);

/// Serves the baseline on a free port until the process ends.
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
            let connection = Connection::open(folder.path().join("baseline.db"))?;
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
    let router = Router::new()
        .route("/", post(create))
        .route("/hello", get(|| async { "hello" }))
        .with_state(jobs);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    tracing::info!(http = %format_args!("http://{}", listener.local_addr()?), "the baseline is ready");
    Ok(axum::serve(listener, router).await?)
}

async fn create(
    State(jobs): State<mpsc::Sender<Job>>,
    body: String,
) -> Result<(StatusCode, Json<Made>), StatusCode> {
    let made = Made::of(serde_json::from_str(&body).map_err(|_| StatusCode::BAD_REQUEST)?);
    let body = serde_json::to_string(&made).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let (done, written) = oneshot::channel();
    jobs.send((Row { made, body }, done))
        .await
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let made = written
        .await
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok((StatusCode::CREATED, Json(made)))
}

fn write(mut connection: Connection, mut inbox: mpsc::Receiver<Job>) -> Option<()> {
    const ALLOCATION: &str =
        "INSERT INTO allocations (id, virtual_number, pin, body) VALUES ($1, $2, $3, $4)";
    let mut batch = Vec::with_capacity(BATCH);
    while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
        let transaction = connection.transaction().ok()?;
        for (Row { made, body }, _) in &batch {
            let row = [&made.greenpin_id, &made.virtual_number, &made.pin, body];
            transaction
                .prepare_cached(ALLOCATION)
                .ok()?
                .execute(row)
                .ok()?;
            transaction
                .prepare_cached("INSERT INTO outbox (body) VALUES ($1)")
                .ok()?
                .execute([body])
                .ok()?;
        }
        transaction.commit().ok()?;
        answer_all(&mut batch);
    }
    Some(())
}

/// Writes to PostgreSQL: a batch is two statements with one array per column.
async fn write_to_server(mut client: Client, mut inbox: mpsc::Receiver<Job>) -> Option<()> {
    let mut batch = Vec::with_capacity(BATCH);
    let allocations = "INSERT INTO bench_baseline (id, virtual_number, pin, body)
                       SELECT * FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[])";
    let outbox = "INSERT INTO bench_outbox (body) SELECT * FROM unnest($1::TEXT[])";
    let allocations = client.prepare(allocations).await.ok()?;
    let outbox = client.prepare(outbox).await.ok()?;
    while inbox.recv_many(&mut batch, BATCH).await > 0 {
        let column =
            |of: fn(&Row) -> &str| -> Vec<&str> { batch.iter().map(|(row, _)| of(row)).collect() };
        let (ids, bodies) = (column(|row| &row.made.greenpin_id), column(|row| &row.body));
        let (numbers, pins) = (
            column(|row| &row.made.virtual_number),
            column(|row| &row.made.pin),
        );
        let transaction = client.transaction().await.ok()?;
        transaction
            .execute(&allocations, &[&ids, &numbers, &pins, &bodies])
            .await
            .ok()?;
        transaction.execute(&outbox, &[&bodies]).await.ok()?;
        transaction.commit().await.ok()?;
        answer_all(&mut batch);
    }
    Some(())
}

fn answer_all(batch: &mut Vec<Job>) {
    for (row, done) in batch.drain(..) {
        let _ = done.send(row.made);
    }
}
