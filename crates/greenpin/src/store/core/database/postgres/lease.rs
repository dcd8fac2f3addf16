//! Begin and end of a transaction on PostgreSQL, which holds the lease of the writers.

use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::Poll;

use futures_util::future::MaybeDone;
use tokio_postgres::SimpleQueryMessage;

use super::{PendingAnswer, PendingCommit, PostgresConnection};
use crate::store::StoreError;
use crate::store::core::database::WriterLease;
use crate::store::core::statement::Tables;

impl PostgresConnection {
    /// Begins a transaction and waits for the lease.
    pub(crate) fn begin(&self) -> Result<WriterLease, StoreError> {
        self.begin_with(&[])
    }

    pub(super) fn read_lease(
        &self,
        answers: &[SimpleQueryMessage],
    ) -> Result<WriterLease, StoreError> {
        let rows = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        // The versions of all rows grow only: their sum stays the same while none of them changes.
        let mut lease = None;
        for row in rows {
            let column = |name: &str| row.try_get(name).ok().flatten();
            let cache_version = column("version").and_then(|text| text.parse::<i64>().ok());
            let last_event = column("last_event").and_then(|text| text.parse::<u128>().ok());
            let version = column("turns").and_then(|text| text.parse::<i64>().ok());
            let (Some(cache_version), Some(last_event), Some(version)) =
                (cache_version, last_event, version)
            else {
                return Err(StoreError::Unreadable("lease of the writers"));
            };
            let lease = lease.get_or_insert(WriterLease::default());
            lease.cache_version = lease.cache_version.wrapping_add(cache_version);
            lease.last_event = lease.last_event.max(last_event);
            lease.version = lease.version.wrapping_add(version);
            // The transaction changes each of them by one.
            lease.next_version = lease.next_version.wrapping_add(version).wrapping_add(1);
        }
        let lease = lease.ok_or(StoreError::Unreadable("lease of the writers"))?;
        self.next_version.set(lease.next_version);
        Ok(lease)
    }

    /// Commits the transaction. The commit is sent before the answers to deferred statements are read.
    pub(crate) fn commit(&self, last_event: u128, cleared: bool) -> Result<(), StoreError> {
        self.forget_fetched();
        self.flush()?;
        // If the transaction has failed, the UPDATE fails and the COMMIT is skipped.
        let text = self.scope.commit(last_event, cleared);
        let mut commit = pin!(self.client.batch_execute(&text));
        let sent = self.poll_once(commit.as_mut());
        self.await_deferred()?;
        match sent {
            Poll::Ready(result) => self.track(result)?,
            Poll::Pending => self.wait(commit)?,
        }
        self.in_transaction.set(false);
        Ok(())
    }

    /// Sends the commit and the begin of the next transaction without waiting for either answer.
    pub(crate) fn commit_and_begin(&self, last_event: u128) -> Result<(), StoreError> {
        self.forget_fetched();
        self.flush()?;
        let (text, client) = (self.scope.commit(last_event, false), self.client.clone());
        let commit: PendingAnswer<()> = Box::pin(async move { client.batch_execute(&text).await });
        let (text, client) = (self.scope.begin(), self.client.clone());
        let mut begin: PendingAnswer<_> = Box::pin(async move { client.simple_query(&text).await });
        let mut commit = MaybeDone::Future(commit);
        let _ = self.poll_once(&mut commit);
        if let Poll::Ready(failed) = self.poll_once(&mut begin) {
            begin = Box::pin(async { failed });
        }
        *self.pending_commit.borrow_mut() = Some(PendingCommit {
            statements: self.deferred.take(),
            commit,
        });
        *self.pending_lease.borrow_mut() = Some(begin);
        self.drive();
        Ok(())
    }

    /// Returns whether the answer to the pipelined commit has arrived. Does not block.
    pub(crate) fn has_committed(&self) -> bool {
        self.drive();
        self.pending_commit
            .borrow_mut()
            .as_mut()
            .is_none_or(|pending| self.poll_once(&mut pending.commit).is_ready())
    }

    /// Waits for the result of the pipelined commit.
    pub(crate) fn await_commit(&self) -> Result<(), StoreError> {
        self.receive_commit();
        self.commit_result.take().unwrap_or(Ok(()))
    }

    /// Waits for the lease of the pipelined begin; `None` if it failed or nothing was pipelined.
    pub(crate) fn await_lease(&self) -> Option<WriterLease> {
        self.receive_lease();
        self.next_lease.take()
    }

    /// Reads the answer to the pipelined commit and stores it for [`PostgresConnection::await_commit`].
    fn receive_commit(&self) {
        let Some(mut pending) = self.pending_commit.take() else {
            return;
        };
        let committed = self.within_limit(async {
            let mut result = Ok(0);
            for statement in pending.statements {
                result = result.and(statement.await);
            }
            Pin::new(&mut pending.commit).await;
            let commit = Pin::new(&mut pending.commit)
                .take_output()
                .unwrap_or(Ok(()));
            result.and(commit)
        });
        let committed = committed.map(|committed| {
            committed.map_err(|error| {
                self.note_read_only(&error);
                StoreError::from(error)
            })
        });
        let committed = committed.unwrap_or(Err(StoreError::Unreachable));
        *self.commit_result.borrow_mut() = Some(committed.map(|_| ()));
    }

    /// Reads the answers to the pipelined commit and begin, if they are pending. Returns `false` if the statements that
    /// were sent since are not in a transaction that directly follows the previous one of this node.
    pub(super) fn receive_lease(&self) -> bool {
        self.receive_commit();
        let Some(pending) = self.pending_lease.take() else {
            return true;
        };
        let expected = self.next_version.get();
        let answers = self.within_limit(pending).and_then(Result::ok);
        let lease = answers.and_then(|answers| self.read_lease(&answers).ok());
        let follows = lease
            .as_ref()
            .is_some_and(|lease| lease.version == expected);
        *self.next_lease.borrow_mut() = lease;
        if !follows {
            self.has_failed.set(true);
        }
        follows
    }

    /// Rolls the transaction back, if one is open.
    pub(crate) fn roll_back(&self) -> Result<(), StoreError> {
        self.forget_fetched();
        self.discard_deferred();
        if self.in_transaction.replace(false) {
            self.wait(self.client.batch_execute("ROLLBACK"))?;
        }
        self.has_failed.set(false);
        Ok(())
    }

    /// Runs a statement of transaction control, after the answers to everything that was sent before.
    pub(crate) fn control(&self, sql: &'static str) -> Result<(), StoreError> {
        if sql.starts_with("ROLLBACK TO") {
            self.forget_fetched();
            self.discard_deferred();
            self.wait(self.client.batch_execute(sql))?;
            self.has_failed.set(false);
            return Ok(());
        }
        self.await_deferred()?;
        self.wait(self.client.batch_execute(sql))
    }

    /// Sends the batched rows and waits for all pending answers.
    pub(crate) fn await_deferred(&self) -> Result<(), StoreError> {
        let mut result = self.flush();
        let deferred = self.deferred.take();
        for work in deferred {
            result = result.and(self.wait(work).map(|_| ()));
        }
        result
    }

    /// Drops batched rows and pending answers of a transaction that is undone.
    pub(super) fn discard_deferred(&self) {
        self.batched.borrow_mut().clear();
        self.batched_tables.set(Tables::NONE);
        self.deferred.borrow_mut().clear();
    }

    /// Returns a counter that grows with every change of a row.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// Returns whether the transaction can continue. A failed statement ends it.
    pub(crate) fn is_sound(&self) -> bool {
        self.in_transaction.get() && !self.has_failed.get() && !self.is_closed()
    }

    /// Returns whether the connection cannot be used any more: the server has closed it, did not answer in time, or has
    /// turned read-only.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
            || self.is_given_up.get()
            || self.current_generation.load(Ordering::Relaxed) != self.generation
    }
}
