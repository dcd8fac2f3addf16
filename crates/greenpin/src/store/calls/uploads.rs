//! Queue of recordings that wait for their upload from the disk of a node.
//!
//! An entry is written with the end of its call and deleted with its result, so that neither a crash nor a long outage
//! loses a recording. Only the node with the file uses the entry, so no lease is necessary.

use crate::store::calls::recording;
use crate::store::calls::sql;
use crate::store::calls::sql::Upload;
use crate::store::{Store, StoreError, Timestamp, Writer};

impl Store {
    /// Returns a batch of due uploads of a node, the longest due first.
    pub async fn uploads_due(
        &self,
        node: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Upload>, StoreError> {
        let node = node.to_owned();
        let read = self.readers.read(move |snapshot| {
            snapshot.rows(sql::UPLOADS_DUE, (&node, now.micros(), limit), Upload::read)
        });
        read.await
    }

    /// Returns the number of recordings that wait on the disk of a node.
    pub async fn pending_uploads(&self, node: &str) -> Result<u64, StoreError> {
        let node = node.to_owned();
        let read = self
            .readers
            .read(move |snapshot| snapshot.count(sql::UPLOAD_COUNT, [node.as_str()]));
        read.await
    }

    /// Records the uploaded recording at `location`: `recording.ready`. Returns `false` if its call record no longer
    /// refers to it; the uploaded copy is then unused.
    pub async fn upload_done(
        &self,
        upload: &Upload,
        location: String,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (sid, file) = (upload.call_sid.clone(), upload.file.clone());
        let rules = self.recording_rules.clone();
        let write = self.writer_of_upload(upload).write(move |tx| {
            tx.execute(sql::UPLOAD_DELETE, [sid.as_str()])?;
            let moved = tx.execute(sql::CALL_MOVE_RECORDING, (&location, sid.as_str(), &file))? > 0;
            if moved {
                recording::write_ready(tx, &sid, now, &rules)?;
            }
            Ok(moved)
        });
        write.await
    }

    /// Postpones a failed upload.
    pub async fn upload_failed(
        &self,
        upload: &Upload,
        due_at: Timestamp,
    ) -> Result<(), StoreError> {
        let sid = upload.call_sid.clone();
        let write = self.writer_of_upload(upload).write(move |tx| {
            tx.execute(sql::UPLOAD_POSTPONE, (due_at.micros(), sid.as_str()))
                .map(|_| ())
        });
        write.await
    }

    /// Deletes an upload that is no longer necessary.
    pub async fn delete_upload(&self, upload: &Upload) -> Result<(), StoreError> {
        let sid = upload.call_sid.clone();
        let write = self
            .writer_of_upload(upload)
            .write(move |tx| tx.execute(sql::UPLOAD_DELETE, [sid.as_str()]).map(|_| ()));
        write.await
    }

    /// Returns the writer of the call of an upload.
    fn writer_of_upload(&self, upload: &Upload) -> &Writer {
        match &upload.tenant_id {
            Some(tenant) => self.writers.tenant(tenant),
            None => self.writers.whole(),
        }
    }
}
