//! PostgreSQL: one database for many nodes.
//!
//! Writers take turns: a transaction begins by locking the one row of `writer_turn`, so that all that is true of
//! SQLite's one writer is true of all nodes together. The row also carries the id of the last event, for the log of
//! events to be in the order of its ids whichever node wrote them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::MaybeDone;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::Statement as Prepared;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Error, NoTls, RowStream, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::appended::{Appended, Column, Group, of_all_rows};
use super::{Row, Turn, Value};
use crate::crypto::tls_roots;
use crate::crypto::tls_roots::TrustError;
use crate::store::core::schema;
use crate::store::core::sql;
use crate::store::core::statement::{Statement, Tables};
use crate::store::{OpenError, StoreError, Timestamp};

/// What holds for each connection. A commit that was acknowledged is durable, whatever the server's default is; a
/// node that stops in the middle of its turn holds the others up for ten seconds at most. Everything is found by an
/// index: a plan that was made while a table was new and empty would read all of it for as long as the plan is kept.
const SESSION: &str = "SET synchronous_commit = on; SET idle_in_transaction_session_timeout = '10s'; \
                       SET lock_timeout = '20s'; SET statement_timeout = '60s'; SET timezone = 'UTC'; \
                       SET client_min_messages = 'warning'; SET enable_seqscan = off; SET jit = off";
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// The key of the lock under which a schema is brought up to date, drawn once.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(7305804402566260993)";

/// A database on a server.
#[derive(Clone)]
pub(crate) struct Place {
    server: tokio_postgres::Config,
    /// How connections are encrypted, if they are.
    tls: Option<MakeRustlsConnect>,
}

/// A connection with the small runtime that drives it on the thread that waits for it.
pub(crate) struct Connection {
    client: Arc<Client>,
    statements: RefCell<HashMap<&'static str, Prepared>>,
    /// Prepareds that insert many rows, by those that insert one into each table.
    of_all_rows: RefCell<HashMap<Vec<&'static str>, Prepared>>,
    /// Rows that were not sent yet.
    appended: RefCell<Appended>,
    /// Tables of these rows.
    appended_to: Cell<Tables>,
    /// Prepareds that were sent and not waited for.
    under_way: RefCell<Vec<UnderWay>>,
    changes: Cell<u64>,
    in_transaction: Cell<bool>,
    failed: Cell<bool>,
    version: Cell<i64>,
    /// What the open transaction will leave behind.
    next_mark: Cell<i64>,
    /// The end of the transaction that was handed over, and the beginning of this one, while nobody has waited for them.
    ending: RefCell<Option<Ending>>,
    beginning: RefCell<Option<Answer<Vec<SimpleQueryMessage>>>>,
    /// What has come of them, while nobody has asked.
    ended: RefCell<Option<Result<(), StoreError>>>,
    begun: RefCell<Option<Turn>>,
    // Last, for it to be there while the others go.
    runtime: Runtime,
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;
type UnderWay = Answer<u64>;

/// The end of a transaction, as it was sent.
struct Ending {
    statements: Vec<UnderWay>,
    commit: MaybeDone<Answer<()>>,
}

impl Place {
    /// A server's address as in `postgres://user:password@host/database`. With `sslmode=require` its certificate must
    /// be for its host and lead to one of `ca`; anything else is in clear, as nobody would be known to be there.
    pub(crate) fn new(
        mut server: tokio_postgres::Config,
        ca: Option<&Path>,
    ) -> Result<Self, TrustError> {
        server.application_name("greenpin");
        if server.get_connect_timeout().is_none() {
            server.connect_timeout(CONNECT_PATIENCE);
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
        Ok(Self { server, tls })
    }

    /// Brings the schema up to date. Of nodes that start at once one does it, and the others find it done.
    pub(crate) fn prepare(&self) -> Result<(), OpenError> {
        let connection = self.connect()?;
        connection.runtime.block_on(migrate(&connection.client))
    }

    pub(crate) fn connect(&self) -> Result<Connection, OpenError> {
        let io = |source| OpenError::Io {
            path: "a thread's runtime".into(),
            source,
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(io)?;
        let client = runtime.block_on(async {
            let client = match &self.tls {
                Some(tls) => opened(self.server.connect(tls.clone())).await?,
                None => opened(self.server.connect(NoTls)).await?,
            };
            client.batch_execute(SESSION).await?;
            Ok::<_, Error>(client)
        })?;
        Ok(Connection {
            client: Arc::new(client),
            statements: RefCell::default(),
            of_all_rows: RefCell::default(),
            appended: RefCell::default(),
            appended_to: Cell::default(),
            under_way: RefCell::default(),
            changes: Cell::new(0),
            in_transaction: Cell::new(false),
            failed: Cell::new(false),
            version: Cell::new(0),
            next_mark: Cell::new(0),
            ending: RefCell::default(),
            beginning: RefCell::default(),
            ended: RefCell::default(),
            begun: RefCell::default(),
            runtime,
        })
    }
}

/// Has a connection driven by the thread's runtime.
async fn opened<S, T>(
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
    client.batch_execute("BEGIN").await?;
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

/// Ids are compared by their octets, in whatever language the server is set to.
pub(crate) fn for_postgres(step: &str) -> String {
    step.replace(" TEXT", " TEXT COLLATE \"C\"")
        .replace("/* PostgreSQL:", "")
        .replace(":PostgreSQL */", "")
}

impl Connection {
    pub(crate) fn execute(
        &self,
        statement: &'static Statement,
        params: &[Value<'_>],
    ) -> Result<usize, StoreError> {
        self.flush_before(statement)?;
        let prepared = self.prepared(statement)?;
        let changed = self.wait(self.client.execute_raw(&prepared, params.iter().copied()))?;
        self.changes.set(self.changes.get().wrapping_add(changed));
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(crate) fn send(
        &self,
        statement: &'static Statement,
        params: &[Value<'_>],
    ) -> Result<(), StoreError> {
        self.flush_before(statement)?;
        let prepared = self.prepared(statement)?;
        self.changes.set(self.changes.get().wrapping_add(1));
        let (client, owned) = (
            self.client.clone(),
            params.iter().map(Owned::from).collect::<Vec<_>>(),
        );
        self.dispatch(Box::pin(async move {
            let rows = client
                .execute_raw(&prepared, owned.iter().map(Owned::value))
                .await?;
            statement.log_unexpected(usize::try_from(rows).unwrap_or(usize::MAX));
            Ok(rows)
        }))
    }

    /// Has a row inserted before anything asks for it.
    pub(crate) fn append(
        &self,
        statement: &'static Statement,
        row: &[Value<'_>],
    ) -> Result<(), StoreError> {
        let prepared = self.prepared(statement)?;
        self.changes.set(self.changes.get().wrapping_add(1));
        self.appended
            .borrow_mut()
            .push(statement, prepared.params(), row);
        self.appended_to
            .set(self.appended_to.get().with(statement.tables()));
        Ok(())
    }

    /// Sends the rows that wait, if the next statement reads or writes one of their tables.
    fn flush_before(&self, statement: &Statement) -> Result<(), StoreError> {
        if self.appended_to.get().overlap(statement.tables()) {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Sends the rows that wait, all in one statement: each costs the server a message, a plan and an answer.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        let groups = self.appended.borrow_mut().take();
        self.appended_to.set(Tables::NONE);
        if groups.is_empty() {
            return Ok(());
        }
        let statement = self.statement_of_all_rows(&groups)?;
        let client = self.client.clone();
        let columns: Vec<Column> = groups.into_iter().flat_map(|group| group.columns).collect();
        self.dispatch(Box::pin(async move {
            client.execute_raw(&statement, columns).await
        }))
    }

    fn statement_of_all_rows(&self, groups: &[Group]) -> Result<Prepared, StoreError> {
        let names: Vec<&'static str> = groups.iter().map(|group| group.statement.name).collect();
        if let Some(statement) = self.of_all_rows.borrow().get(&names) {
            return Ok(statement.clone());
        }
        let of_one = groups
            .iter()
            .map(|group| self.prepared(group.statement))
            .collect::<Result<Vec<_>, _>>()?;
        let kinds = groups
            .iter()
            .zip(&of_one)
            .map(|(group, prepared)| (group.statement.sql, prepared.params()));
        let text = of_all_rows(kinds).ok_or(StoreError::Unreadable(
            "statement that is to insert many rows",
        ))?;
        let statement = self.wait(self.client.prepare(&text))?;
        self.of_all_rows
            .borrow_mut()
            .insert(names, statement.clone());
        Ok(statement)
    }

    /// Sends a statement without waiting for its answer.
    fn dispatch(&self, mut work: UnderWay) -> Result<(), StoreError> {
        // The answer is looked at when the transaction ends.
        match self.first_look(&mut work) {
            Poll::Ready(result) => self.noted(result).map(|_| ()),
            Poll::Pending => {
                self.under_way.borrow_mut().push(work);
                Ok(())
            }
        }
    }

    /// Looks once whether there is an answer. The first look puts the request where [`Connection::push`] takes it from.
    fn first_look<F: Future + Unpin>(&self, mut work: F) -> Poll<F::Output> {
        self.runtime.block_on(poll_fn(|context| {
            Poll::Ready(Pin::new(&mut work).poll(context))
        }))
    }

    /// Writes what is to be sent, and reads what has come.
    fn push(&self) {
        self.runtime.block_on(tokio::task::yield_now());
    }

    pub(crate) fn query(
        &self,
        statement: &'static Statement,
        params: &[Value<'_>],
        each: &mut dyn FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.flush_before(statement)?;
        let prepared = self.prepared(statement)?;
        if statement.changes_rows() {
            self.changes.set(self.changes.get().wrapping_add(1));
        }
        let rows = self.wait(async {
            let rows: RowStream = self
                .client
                .query_raw(&prepared, params.iter().copied())
                .await?;
            rows.try_collect::<Vec<_>>().await
        })?;
        for row in &rows {
            if !each(&Row::Postgres(row))? {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn begin(&self) -> Result<Turn, StoreError> {
        self.failed.set(false);
        self.forget();
        // If the turn is not given in time the transaction is begun nevertheless, and is to be rolled back.
        self.in_transaction.set(true);
        let answers = self.wait(self.client.simple_query(sql::TURN_BEGIN))?;
        self.turn(&answers)
    }

    /// Reads the turn that was begun.
    fn turn(&self, answers: &[SimpleQueryMessage]) -> Result<Turn, StoreError> {
        let row = answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let column = |name: &str| row.and_then(|row| row.try_get(name).ok().flatten());
        let version = column("version").and_then(|text| text.parse().ok());
        let last_event = column("last_event").and_then(|text| text.parse().ok());
        let turns = column("turns").and_then(|text| text.parse::<i64>().ok());
        let (Some(version), Some(last_event), Some(turns)) = (version, last_event, turns) else {
            return Err(StoreError::Unreadable("turn of the writers"));
        };
        self.version.set(version);
        self.next_mark.set(turns.wrapping_add(1));
        Ok(Turn {
            version,
            last_event,
            mark: turns,
            next_mark: self.next_mark.get(),
        })
    }

    pub(crate) fn commit(&self, last_event: u128, cleared: bool) -> Result<(), StoreError> {
        self.flush()?;
        let last = self.end_of_turn(last_event, cleared);
        let mut commit = pin!(self.client.batch_execute(&last));
        let sent = self.first_look(commit.as_mut());
        self.settle()?;
        match sent {
            Poll::Ready(result) => self.noted(result)?,
            Poll::Pending => self.wait(commit)?,
        }
        self.in_transaction.set(false);
        Ok(())
    }

    /// What ends a turn. In a transaction that has failed the UPDATE fails, so that the COMMIT is not reached.
    fn end_of_turn(&self, last_event: u128, cleared: bool) -> String {
        let version = self.version.get().wrapping_add(i64::from(cleared));
        format!(
            "UPDATE writer_turn SET version = {version}, last_event = '{last_event}', turns = turns + 1; COMMIT"
        )
    }

    pub(crate) fn hand_over(&self, last_event: u128) -> Result<(), StoreError> {
        self.flush()?;
        let (last, client) = (self.end_of_turn(last_event, false), self.client.clone());
        let commit: Answer<()> = Box::pin(async move { client.batch_execute(&last).await });
        let client = self.client.clone();
        let mut begin: Answer<_> =
            Box::pin(async move { client.simple_query(sql::TURN_BEGIN).await });
        let mut commit = MaybeDone::Future(commit);
        let _ = self.first_look(&mut commit);
        if let Poll::Ready(failed) = self.first_look(&mut begin) {
            begin = Box::pin(async { failed });
        }
        *self.ending.borrow_mut() = Some(Ending {
            statements: self.under_way.take(),
            commit,
        });
        *self.beginning.borrow_mut() = Some(begin);
        self.push();
        Ok(())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.push();
        self.ending
            .borrow_mut()
            .as_mut()
            .is_none_or(|ending| self.first_look(&mut ending.commit).is_ready())
    }

    pub(crate) fn ended(&self) -> Result<(), StoreError> {
        self.learn_the_end();
        self.ended.take().unwrap_or(Ok(()))
    }

    pub(crate) fn begun(&self) -> Option<Turn> {
        self.learn_the_turn();
        self.begun.take()
    }

    /// Waits for the end of the transaction that was handed over.
    fn learn_the_end(&self) {
        let Some(mut ending) = self.ending.take() else {
            return;
        };
        let ended = self.runtime.block_on(async {
            let mut result = Ok(0);
            for statement in ending.statements {
                result = result.and(statement.await);
            }
            Pin::new(&mut ending.commit).await;
            let commit = Pin::new(&mut ending.commit).take_output().unwrap_or(Ok(()));
            result.and(commit)
        });
        *self.ended.borrow_mut() = Some(ended.map_err(Into::into));
    }

    /// Waits for the beginning of the transaction after it, too; whether what was sent since is in that one, with nobody
    /// else's between.
    fn learn_the_turn(&self) -> bool {
        self.learn_the_end();
        let Some(beginning) = self.beginning.take() else {
            return true;
        };
        let expected = self.next_mark.get();
        let answers = self.runtime.block_on(beginning).ok();
        let begun = answers.and_then(|answers| self.turn(&answers).ok());
        let follows = begun.as_ref().is_some_and(|turn| turn.mark == expected);
        *self.begun.borrow_mut() = begun;
        if !follows {
            self.failed.set(true);
        }
        follows
    }

    pub(crate) fn roll_back(&self) -> Result<(), StoreError> {
        self.forget();
        if self.in_transaction.replace(false) {
            self.wait(self.client.batch_execute("ROLLBACK"))?;
        }
        self.failed.set(false);
        Ok(())
    }

    /// Runs a statement of the transaction itself, after all that was sent before.
    pub(crate) fn plain(&self, sql: &'static str) -> Result<(), StoreError> {
        if sql.starts_with("ROLLBACK TO") {
            self.forget();
            self.wait(self.client.batch_execute(sql))?;
            self.failed.set(false);
            return Ok(());
        }
        self.settle()?;
        self.wait(self.client.batch_execute(sql))
    }

    /// Waits for the answers to everything that was sent.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        let mut result = self.flush();
        let under_way = self.under_way.take();
        for work in under_way {
            result = result.and(self.wait(work).map(|_| ()));
        }
        result
    }

    /// Forgets what belongs to a transaction that is over.
    fn forget(&self) {
        self.appended.borrow_mut().clear();
        self.appended_to.set(Tables::NONE);
        self.under_way.borrow_mut().clear();
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.get()
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.in_transaction.get() && !self.failed.get() && !self.is_closed()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    fn prepared(&self, statement: &'static Statement) -> Result<Prepared, StoreError> {
        if let Some(prepared) = self.statements.borrow().get(statement.name) {
            return Ok(prepared.clone());
        }
        let prepared = self.wait(self.client.prepare(statement.sql))?;
        self.statements
            .borrow_mut()
            .insert(statement.name, prepared.clone());
        Ok(prepared)
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, StoreError> {
        if !self.learn_the_turn() {
            return Err(StoreError::Database(
                "the transaction does not follow the one before it".into(),
            ));
        }
        let result = self.runtime.block_on(work);
        self.noted(result)
    }

    fn noted<T>(&self, result: Result<T, Error>) -> Result<T, StoreError> {
        if result.is_err() {
            self.failed.set(true);
        }
        Ok(result?)
    }
}

/// A parameter that outlives its caller.
enum Owned {
    Null,
    Integer(i64),
    Text(String),
}

impl From<&Value<'_>> for Owned {
    fn from(value: &Value<'_>) -> Self {
        match *value {
            Value::Null => Self::Null,
            Value::Integer(integer) => Self::Integer(integer),
            Value::Text(text) => Self::Text(text.to_owned()),
        }
    }
}

impl Owned {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Integer(integer) => Value::Integer(*integer),
            Self::Text(text) => Value::Text(text),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error.as_db_error() {
            // Class 08: the connection; 57P: the server stops or starts; 53: it has no room for one more.
            Some(told)
                if ["08", "57P", "53"]
                    .iter()
                    .any(|class| told.code().code().starts_with(class)) =>
            {
                Self::Unreachable
            }
            Some(told) => Self::Database(format!("{}: {}", told.code().code(), told.message())),
            None if error.is_closed() || is_io(&error) => Self::Unreachable,
            None => Self::Database(error.to_string()),
        }
    }
}

fn is_io(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}
