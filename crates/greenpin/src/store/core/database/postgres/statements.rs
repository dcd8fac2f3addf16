//! Statements on a PostgreSQL connection: awaited, deferred, or batched.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::Poll;

use futures_util::TryStreamExt;
use tokio_postgres::Statement as Prepared;
use tokio_postgres::{Error, RowStream};

use super::{Deferred, PostgresConnection};
use crate::store::StoreError;
use crate::store::core::database::batch_insert::{ColumnValues, RowGroup, multi_row_insert};
use crate::store::core::database::{OwnedValue, Row, Value};
use crate::store::core::statement::{Statement, Tables};

impl PostgresConnection {
    /// Runs a statement and waits for its answer. Returns the number of changed rows.
    pub(crate) fn execute(
        &self,
        statement: &'static Statement,
        params: &[Value<'_>],
    ) -> Result<usize, StoreError> {
        self.flush_before(statement)?;
        self.forget_changed(statement, params);
        let prepared = self.prepared(statement)?;
        let changed = self.wait(self.client.execute_raw(&prepared, params.iter().copied()))?;
        self.changes.set(self.changes.get().wrapping_add(changed));
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    /// Sends a statement. Its answer is read at the end of the transaction.
    pub(crate) fn execute_deferred(
        &self,
        statement: &'static Statement,
        params: &[Value<'_>],
    ) -> Result<(), StoreError> {
        self.flush_before(statement)?;
        self.forget_changed(statement, params);
        let prepared = self.prepared(statement)?;
        self.changes.set(self.changes.get().wrapping_add(1));
        let (client, owned) = (
            self.client.clone(),
            params.iter().map(OwnedValue::from).collect::<Vec<_>>(),
        );
        self.defer(Box::pin(async move {
            let rows = client
                .execute_raw(&prepared, owned.iter().map(OwnedValue::value))
                .await?;
            statement.log_unexpected(usize::try_from(rows).unwrap_or(usize::MAX));
            Ok(rows)
        }))
    }

    /// Adds a row to the batch. It is sent before a statement that reads or writes its table, or with the commit.
    pub(crate) fn insert_batched(
        &self,
        statement: &'static Statement,
        row: &[Value<'_>],
    ) -> Result<(), StoreError> {
        self.forget_changed(statement, row);
        let prepared = self.prepared(statement)?;
        self.changes.set(self.changes.get().wrapping_add(1));
        self.batched
            .borrow_mut()
            .push(statement, prepared.params(), row);
        self.batched_tables
            .set(self.batched_tables.get().with(statement.tables()));
        Ok(())
    }

    /// Sends the batched rows if the statement reads or writes one of their tables.
    fn flush_before(&self, statement: &Statement) -> Result<(), StoreError> {
        if self.batched_tables.get().overlap(statement.tables()) {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Sends the batched rows in one statement. Each statement costs the server a message, a plan and an answer.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        let groups = self.batched.borrow_mut().take();
        self.batched_tables.set(Tables::NONE);
        if groups.is_empty() {
            return Ok(());
        }
        let prepared = self.prepared_batch(&groups)?;
        let client = self.client.clone();
        let columns: Vec<ColumnValues> =
            groups.into_iter().flat_map(|group| group.columns).collect();
        self.defer(Box::pin(async move {
            client.execute_raw(&prepared, columns).await
        }))
    }

    fn prepared_batch(&self, groups: &[RowGroup]) -> Result<Prepared, StoreError> {
        let names: Vec<&'static str> = groups.iter().map(|group| group.statement.name).collect();
        if let Some(prepared) = self.prepared_batches.borrow().get(&names) {
            return Ok(prepared.clone());
        }
        let inserts = groups
            .iter()
            .map(|group| self.prepared(group.statement))
            .collect::<Result<Vec<_>, _>>()?;
        let kinds = groups
            .iter()
            .zip(&inserts)
            .map(|(group, prepared)| (group.statement.sql, prepared.params()));
        let text = multi_row_insert(kinds)
            .ok_or(StoreError::Unreadable("statement for a batch of rows"))?;
        let prepared = self.wait(self.client.prepare(&text))?;
        self.prepared_batches
            .borrow_mut()
            .insert(names, prepared.clone());
        Ok(prepared)
    }

    /// Runs a query and passes each row to `each` until it returns `false`.
    pub(crate) fn query(
        &self,
        statement: &'static Statement,
        params: &[Value<'_>],
        each: &mut dyn FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let fetched = self.fetched.borrow().find(statement, params);
        if let Some(rows) = fetched {
            return pass_rows(&rows, each);
        }
        self.flush_before(statement)?;
        let prepared = self.prepared(statement)?;
        if statement.changes_rows() {
            self.forget_changed(statement, params);
            self.changes.set(self.changes.get().wrapping_add(1));
        }
        let rows = self.wait(async {
            let rows: RowStream = self
                .client
                .query_raw(&prepared, params.iter().copied())
                .await?;
            rows.try_collect::<Vec<_>>().await
        })?;
        pass_rows(&rows, each)
    }

    pub(super) fn prepared(&self, statement: &'static Statement) -> Result<Prepared, StoreError> {
        if let Some(prepared) = self.prepared.borrow().get(statement.name) {
            return Ok(prepared.clone());
        }
        let prepared = self.wait(self.client.prepare(statement.sql))?;
        self.prepared
            .borrow_mut()
            .insert(statement.name, prepared.clone());
        Ok(prepared)
    }

    /// Sends a statement and stores its pending answer.
    fn defer(&self, mut work: Deferred) -> Result<(), StoreError> {
        match self.poll_once(&mut work) {
            Poll::Ready(result) => self.track(result).map(|_| ()),
            Poll::Pending => {
                self.deferred.borrow_mut().push(work);
                Ok(())
            }
        }
    }

    /// Polls a future once. The first poll of a request queues it for [`PostgresConnection::drive`].
    pub(super) fn poll_once<F: Future + Unpin>(&self, mut work: F) -> Poll<F::Output> {
        self.runtime.block_on(poll_fn(|context| {
            Poll::Ready(Pin::new(&mut work).poll(context))
        }))
    }

    /// Writes queued requests to the socket and reads the answers that have arrived.
    pub(super) fn drive(&self) {
        self.runtime.block_on(tokio::task::yield_now());
    }

    /// Waits for a future, after the answers to a pipelined commit and begin.
    pub(super) fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        if !self.receive_lease() {
            return Err(StoreError::Database(
                "the transaction does not follow the previous one".into(),
            ));
        }
        match self.within_limit(work) {
            Some(result) => self.track(result),
            None => Err(StoreError::Unreachable),
        }
    }

    /// Waits for a future within the limit for answers. After the limit the connection is given up.
    pub(super) fn within_limit<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        if self.is_given_up.get() {
            return None;
        }
        let limit = self.answer_timeout.get();
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(limit, work).await });
        if answer.is_err() {
            tracing::error!(
                ?limit,
                "database server does not answer; closing the connection"
            );
            self.is_given_up.set(true);
            self.has_failed.set(true);
        }
        answer.ok()
    }

    /// Records a failure: the transaction cannot continue.
    pub(super) fn track<T>(&self, result: Result<T, Error>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.has_failed.set(true);
            self.note_read_only(error);
        }
        Ok(result?)
    }

    /// Gives up every connection to a server that is read-only.
    pub(super) fn note_read_only(&self, error: &Error) {
        let code = error.as_db_error().map(|reply| reply.code().code());
        if code == Some(super::READ_ONLY) {
            let next = self.generation.saturating_add(1);
            self.current_generation.fetch_max(next, Ordering::Relaxed);
        }
    }

    /// Sets the limit for the answers to the next statements.
    pub(crate) fn set_long(&self, is_long: bool) {
        self.answer_timeout.set(match is_long {
            true => super::LONG_ANSWER_TIMEOUT,
            false => super::ANSWER_TIMEOUT,
        });
    }
}

/// Passes each row to `each` until it returns `false`.
fn pass_rows(
    rows: &[tokio_postgres::Row],
    each: &mut dyn FnMut(&Row<'_>) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    for row in rows {
        if !each(&Row::Postgres(row))? {
            break;
        }
    }
    Ok(())
}
