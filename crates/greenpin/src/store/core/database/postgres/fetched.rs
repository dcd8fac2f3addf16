//! Rows that were read ahead: the reads of all waiting jobs share one round trip.
//!
//! The lease of the writers excludes other writers, so rows change only by the statements of this connection. A change
//! forgets what it may affect. A statement on a unique key names the row in its parameters: it affects a read that has this
//! key among its own parameters, or in a key column of its rows. Any other change of a table affects all reads of it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::PostgresConnection;
use crate::store::StoreError;
use crate::store::core::database::{OwnedValue, ReadAhead, Value, WriterLease};
use crate::store::core::statement::Statement;

/// Columns of the keys of other rows that a read depends on.
const KEY_COLUMNS: [&str; 3] = ["greenpin_id", "held_by", "call_sid"];
/// Column of the tenant, which is part of most keys and identifies no row alone.
const TENANT_COLUMN: &str = "tenant_id";

/// Rows of reads, by statement and parameters.
#[derive(Default)]
pub(super) struct FetchedRows {
    reads: HashMap<&'static str, HashMap<Vec<OwnedValue>, Read>>,
    /// Reads by the keys that they depend on.
    by_key: HashMap<String, Vec<(&'static Statement, Vec<OwnedValue>)>>,
}

struct Read {
    statement: &'static Statement,
    rows: Arc<Vec<Row>>,
}

impl FetchedRows {
    /// Returns the rows of a read, unless they were forgotten.
    pub(super) fn find(
        &self,
        statement: &Statement,
        params: &[Value<'_>],
    ) -> Option<Arc<Vec<Row>>> {
        let reads = self.reads.get(statement.name)?;
        let params: Vec<_> = params.iter().map(OwnedValue::from).collect();
        reads.get(&params).map(|read| read.rows.clone())
    }

    fn insert(&mut self, read: &ReadAhead, rows: Vec<Row>) {
        let (statement, params) = (read.statement, &read.params);
        let tenants: Vec<&str> = texts(&rows, &[TENANT_COLUMN]).collect();
        let own = params.iter().filter_map(|param| match param {
            OwnedValue::Text(text) => Some(text.as_str()),
            OwnedValue::Null | OwnedValue::Integer(_) => None,
        });
        let keys = own.chain(texts(&rows, &KEY_COLUMNS));
        for key in keys.filter(|key| !tenants.contains(key)) {
            let reads = self.by_key.entry(key.to_owned()).or_default();
            reads.push((statement, params.clone()));
        }
        let rows = Arc::new(rows);
        self.reads
            .entry(statement.name)
            .or_default()
            .insert(params.clone(), Read { statement, rows });
    }

    /// Forgets the reads that a change may affect.
    fn forget_changed(&mut self, statement: &Statement, params: &[Value<'_>]) {
        if self.reads.is_empty() {
            return;
        }
        let tables = statement.tables();
        if !statement.changes_one_row() {
            self.reads.retain(|_, reads| {
                reads.retain(|_, read| !read.statement.tables().overlap(tables));
                !reads.is_empty()
            });
            return;
        }
        for key in params.iter().filter_map(|param| param.text()) {
            for (read, params) in self.by_key.get(key).into_iter().flatten() {
                if read.tables().overlap(tables)
                    && let Some(reads) = self.reads.get_mut(read.name)
                {
                    reads.remove(params);
                }
            }
        }
    }
}

/// Returns the texts in the columns of these names.
fn texts<'a>(rows: &'a [Row], names: &'a [&str]) -> impl Iterator<Item = &'a str> {
    rows.iter().flat_map(move |row| {
        let columns = row.columns().iter().enumerate();
        let named = columns.filter(move |(_, column)| {
            names.contains(&column.name()) && *column.type_() == Type::TEXT
        });
        named.filter_map(move |(index, _)| row.try_get::<_, Option<&str>>(index).ok().flatten())
    })
}

impl PostgresConnection {
    /// Begins a transaction, waits for the lease and reads rows, in one round trip.
    pub(crate) fn begin_with(&self, reads: &[&ReadAhead]) -> Result<WriterLease, StoreError> {
        self.has_failed.set(false);
        self.discard_deferred();
        self.forget_fetched();
        let queries = self.prepare_reads(reads)?;
        // After a timeout of the lock the transaction is open nevertheless, and must be rolled back.
        self.in_transaction.set(true);
        let begin = self.scope.begin();
        let begin = self.client.simple_query(&begin);
        let (answers, rows) = self.wait(async {
            let rows = futures_util::future::join_all(queries);
            let (answers, rows) = futures_util::future::join(begin, rows).await;
            // After a failed begin the reads fail, too.
            Ok((answers?, rows.into_iter().collect::<Result<Vec<_>, _>>()?))
        })?;
        let lease = self.read_lease(&answers)?;
        self.keep_fetched(reads, rows);
        Ok(lease)
    }

    /// Reads rows in one round trip, after everything that was sent before.
    pub(crate) fn fetch(&self, reads: &[&ReadAhead]) -> Result<(), StoreError> {
        if reads.is_empty() {
            return Ok(());
        }
        self.flush()?;
        let queries = self.prepare_reads(reads)?;
        let rows = self.wait(futures_util::future::try_join_all(queries))?;
        self.keep_fetched(reads, rows);
        Ok(())
    }

    /// Forgets all rows that were read ahead.
    pub(crate) fn forget_fetched(&self) {
        let mut fetched = self.fetched.borrow_mut();
        if !fetched.reads.is_empty() {
            *fetched = FetchedRows::default();
        }
    }

    /// Forgets the rows that a statement may change.
    pub(super) fn forget_changed(&self, statement: &Statement, params: &[Value<'_>]) {
        self.fetched.borrow_mut().forget_changed(statement, params);
    }

    fn keep_fetched(&self, reads: &[&ReadAhead], rows: Vec<Vec<Row>>) {
        let mut fetched = self.fetched.borrow_mut();
        for (read, rows) in reads.iter().zip(rows) {
            fetched.insert(read, rows);
        }
    }

    fn prepare_reads(
        &self,
        reads: &[&ReadAhead],
    ) -> Result<Vec<impl Future<Output = Result<Vec<Row>, tokio_postgres::Error>>>, StoreError>
    {
        let queries = reads.iter().map(|read| {
            let prepared = self.prepared(read.statement)?;
            let (client, params) = (self.client.clone(), read.params.clone());
            Ok(async move {
                let params = params.iter().map(OwnedValue::value);
                let rows = client.query_raw(&prepared, params).await?;
                futures_util::TryStreamExt::try_collect(rows).await
            })
        });
        queries.collect()
    }
}
