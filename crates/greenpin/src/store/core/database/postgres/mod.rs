//! PostgreSQL: one database for many nodes.
//!
//! A transaction that writes begins with a lock on the row of its shard in `writer_shards`, or on all of them (see
//! [`WriteScope`]). In each shard all nodes together therefore write one transaction at a time, as SQLite does.

mod fetched;
mod lease;
mod statements;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::MaybeDone;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::Statement as Prepared;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::fetched::FetchedRows;
use super::WriterLease;
use super::batch_insert::BatchedRows;
use crate::crypto::tls_roots;
use crate::crypto::tls_roots::TrustError;
use crate::store::core::schema;
use crate::store::core::statement::Tables;
use crate::store::core::write_scope::WriteScope;
use crate::store::{OpenError, StoreError, Timestamp};

/// Settings of each connection. An acknowledged commit is durable, regardless of the server's default. A node that stops
/// within its lease of the writers delays the others by at most 2 seconds. A wait for the lease ends before [`ANSWER_TIMEOUT`]. Sequential scans are off: a plan made for a new, empty table
/// would scan the whole table for as long as the server caches the plan.
const SESSION: &str = "SET synchronous_commit = on; SET idle_in_transaction_session_timeout = '2s'; \
                       SET lock_timeout = '4s'; SET statement_timeout = '60s'; SET timezone = 'UTC'; \
                       SET client_min_messages = 'warning'; SET enable_seqscan = off; SET jit = off";
/// Timeout of a connection attempt, and of its TCP part without `connect_timeout` in the URL.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum wait for the answer to a statement. The connection is then given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for the statements of long jobs, such as an import: the timeout of statements on the server.
const LONG_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum time in which the server acknowledges nothing (`TCP_USER_TIMEOUT`), without `tcp_user_timeout` in the URL.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limits of the migration: a large index takes long.
const MIGRATION_LIMITS: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '5min'; \
                                SET LOCAL idle_in_transaction_session_timeout = 0";
/// Encoding of the database.
const SERVER_ENCODING: &str = "SELECT current_setting('server_encoding')";
/// Process of the server that serves the connection.
const SERVER_PROCESS: &str = "SELECT pg_backend_pid()::text";
/// Version and clock of the server, in microseconds since the epoch.
const SERVER_STATE: &str = "SELECT current_setting('server_version'), \
                            (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// Makes each transaction of the session read-only.
const READ_ONLY_SESSION: &str = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY";
/// SQLSTATE of a write on a server that is read-only: a standby, or a former primary.
const READ_ONLY: &str = "25006";
/// Advisory lock of the migration. The key is a random number.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(7305804402566260993)";

/// Database on a PostgreSQL server.
#[derive(Clone)]
pub(crate) struct PostgresTarget {
    server: tokio_postgres::Config,
    /// TLS settings; `None` for a connection in clear text.
    tls: Option<MakeRustlsConnect>,
    /// Number of times that the server turned out to be read-only. Older connections are then given up, because the
    /// address may lead to another server now.
    generation: Arc<AtomicU64>,
}

/// Connection with its own runtime, which runs on the thread that waits for an answer.
pub(crate) struct PostgresConnection {
    client: Arc<Client>,
    /// Prepared statements by their names.
    prepared: RefCell<HashMap<&'static str, Prepared>>,
    /// Prepared inserts of many rows, by the names of the statements that they combine.
    prepared_batches: RefCell<HashMap<Vec<&'static str>, Prepared>>,
    /// Rows that were not sent yet.
    batched: RefCell<BatchedRows>,
    /// Tables of these rows.
    batched_tables: Cell<Tables>,
    /// Rows that were read ahead.
    fetched: RefCell<FetchedRows>,
    /// Statements that were sent and whose answers are pending.
    deferred: RefCell<Vec<Deferred>>,
    changes: Cell<u64>,
    in_transaction: Cell<bool>,
    has_failed: Cell<bool>,
    /// The server did not answer in time. The state of the session is unknown.
    is_given_up: Cell<bool>,
    /// Maximum wait for an answer.
    answer_timeout: Cell<Duration>,
    /// Generation of the target at the time of the connection.
    generation: u64,
    current_generation: Arc<AtomicU64>,
    /// Rows that its transactions exclude from other writes.
    scope: WriteScope,
    /// Version that the open transaction leaves behind.
    next_version: Cell<i64>,
    /// Pipelined commit of the previous transaction, until its answer is read.
    pending_commit: RefCell<Option<PendingCommit>>,
    /// Pipelined begin of this transaction, until its answer is read.
    pending_lease: RefCell<Option<PendingAnswer<Vec<SimpleQueryMessage>>>>,
    /// Result of the pipelined commit, until the writer takes it.
    commit_result: RefCell<Option<Result<(), StoreError>>>,
    /// Lease of the pipelined begin, until the writer takes it.
    next_lease: RefCell<Option<WriterLease>>,
    // The last field: the futures above are dropped before their runtime.
    runtime: Runtime,
}

type PendingAnswer<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// Pending answer to a deferred statement: the number of rows.
type Deferred = PendingAnswer<u64>;

/// Pipelined end of a transaction.
struct PendingCommit {
    statements: Vec<Deferred>,
    commit: MaybeDone<PendingAnswer<()>>,
}

impl PostgresTarget {
    /// Creates a target from an address such as `postgres://user:password@host/database`.
    ///
    /// With `sslmode=require` the certificate of the server must match its host and be issued by a CA in the file `ca`.
    /// Other modes use clear text: without verification, encryption would not identify the server.
    pub(crate) fn new(
        mut server: tokio_postgres::Config,
        ca: Option<&Path>,
    ) -> Result<Self, TrustError> {
        server.application_name("greenpin");
        if server.get_connect_timeout().is_none() {
            server.connect_timeout(CONNECT_TIMEOUT);
        }
        if server.get_tcp_user_timeout().is_none() {
            server.tcp_user_timeout(UNACKNOWLEDGED_TIMEOUT);
        }
        if server.get_target_session_attrs() == TargetSessionAttrs::Any {
            server.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let tls = match server.get_ssl_mode() {
            SslMode::Require => Some(MakeRustlsConnect::new(
                tls_roots::client(ca)?.with_no_client_auth(),
            )),
            _ => None,
        };
        if tls.is_none() {
            server.ssl_mode(SslMode::Disable);
        }
        Ok(Self {
            server,
            tls,
            generation: Arc::default(),
        })
    }

    /// Migrates the schema. If several nodes start at once, one migrates and the others wait for it.
    pub(crate) fn prepare(&self) -> Result<(), OpenError> {
        let connection = self.connect_checked()?;
        connection.runtime.block_on(migrate(&connection.client))
    }

    /// Connects to the server for a session that cannot write.
    pub(crate) fn connect_to_inspect(&self) -> Result<PostgresConnection, OpenError> {
        let connection = self.connect_checked()?;
        connection
            .block_on(async |client: &Client| client.batch_execute(READ_ONLY_SESSION).await)?;
        Ok(connection)
    }

    /// Connects to the server, and checks its encoding and its sessions.
    fn connect_checked(&self) -> Result<PostgresConnection, OpenError> {
        let connect = || self.connect(WriteScope::Whole);
        let (connection, other) = (connect()?, connect()?);
        let read = |connection: &PostgresConnection, sql| -> Result<String, OpenError> {
            let reading = connection.client.query_one(sql, &[]);
            Ok(connection.runtime.block_on(reading)?.try_get(0)?)
        };
        let encoding = read(&connection, SERVER_ENCODING)?;
        if encoding != "UTF8" {
            return Err(OpenError::Encoding(encoding));
        }
        // Two open connections have two processes of the server, unless a pooler gives both the same one in turn.
        if read(&connection, SERVER_PROCESS)? == read(&other, SERVER_PROCESS)? {
            return Err(OpenError::PooledSessions);
        }
        Ok(connection)
    }

    /// Connects to the server. Transactions on the connection have this scope.
    pub(crate) fn connect(&self, scope: WriteScope) -> Result<PostgresConnection, OpenError> {
        let io = |source| OpenError::Io {
            path: "a thread's runtime".into(),
            source,
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(io)?;
        let generation = self.generation.load(Ordering::Relaxed);
        let connecting = async {
            let client = match &self.tls {
                Some(tls) => spawn_connection(self.server.connect(tls.clone())).await?,
                None => spawn_connection(self.server.connect(NoTls)).await?,
            };
            client.batch_execute(SESSION).await?;
            Ok::<_, Error>(client)
        };
        let client =
            runtime.block_on(async { tokio::time::timeout(CONNECT_TIMEOUT, connecting).await });
        let client = client.map_err(|_| OpenError::NoAnswer)??;
        let generations = (generation, self.generation.clone());
        Ok(PostgresConnection::new(client, runtime, generations, scope))
    }
}

impl PostgresConnection {
    /// Returns the version of the server and its clock, in microseconds since the epoch.
    pub(crate) fn server_state(&self) -> Result<(String, i64), Error> {
        self.block_on(async |client: &Client| {
            let row = client.query_one(SERVER_STATE, &[]).await?;
            Ok((row.try_get(0)?, row.try_get(1)?))
        })
    }

    /// Runs requests on the connection, outside of the writer's protocol.
    pub(super) fn block_on<T>(
        &self,
        requests: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.runtime.block_on(requests(&self.client))
    }

    fn new(
        client: Client,
        runtime: Runtime,
        (generation, current_generation): (u64, Arc<AtomicU64>),
        scope: WriteScope,
    ) -> Self {
        Self {
            is_given_up: Cell::new(false),
            answer_timeout: Cell::new(ANSWER_TIMEOUT),
            generation,
            current_generation,
            client: Arc::new(client),
            prepared: RefCell::default(),
            prepared_batches: RefCell::default(),
            batched: RefCell::default(),
            batched_tables: Cell::default(),
            fetched: RefCell::default(),
            deferred: RefCell::default(),
            changes: Cell::new(0),
            in_transaction: Cell::new(false),
            has_failed: Cell::new(false),
            scope,
            next_version: Cell::new(0),
            pending_commit: RefCell::default(),
            pending_lease: RefCell::default(),
            commit_result: RefCell::default(),
            next_lease: RefCell::default(),
            runtime,
        }
    }
}

/// Connects and spawns the connection on the runtime of the thread.
async fn spawn_connection<S, T>(
    connecting: impl Future<Output = Result<(Client, tokio_postgres::Connection<S, T>), Error>>,
) -> Result<Client, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = connecting.await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn migrate(client: &Client) -> Result<(), OpenError> {
    client.batch_execute(MIGRATION_LIMITS).await?;
    client.batch_execute(MIGRATION_LOCK).await?;
    client.batch_execute(schema::SCHEMA_VERSION.sql).await?;
    let found: i64 = client
        .query_one(schema::SCHEMA_FOUND.sql, &[])
        .await?
        .try_get("version")?;
    for (version, step) in schema::missing_steps(found)? {
        client.batch_execute(&for_postgres(step)).await?;
        client
            .execute(
                schema::SCHEMA_APPLIED.sql,
                &[&version, &Timestamp::now().micros()],
            )
            .await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(())
}

/// Adapts a migration step. Texts are compared by their bytes, regardless of the server's locale: ids sort by time.
pub(crate) fn for_postgres(step: &str) -> String {
    step.replace(" TEXT", " TEXT COLLATE \"C\"")
        .replace("/* PostgreSQL:", "")
        .replace(":PostgreSQL */", "")
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let code = error.as_db_error().map(|reply| reply.code().code());
        match error.as_db_error() {
            // Read-only, no lock in time, canceled by a timeout, serialization failure, deadlock, disk full.
            Some(reply)
                if code.is_some_and(|code| {
                    [READ_ONLY, "55P03", "57014", "40001", "40P01", "53100"].contains(&code)
                }) =>
            {
                Self::Unavailable(format!("{}: {}", reply.code().code(), reply.message()))
            }
            // Class 08: connection failure; 57P: the server starts or stops; 53: no resources for a connection.
            Some(reply)
                if ["08", "57P", "53"]
                    .iter()
                    .any(|class| reply.code().code().starts_with(class)) =>
            {
                Self::Unreachable
            }
            Some(reply) => Self::Database(format!("{}: {}", reply.code().code(), reply.message())),
            None if error.is_closed() || is_io(&error) => Self::Unreachable,
            None => Self::Database(error.to_string()),
        }
    }
}

fn is_io(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}
