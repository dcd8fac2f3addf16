//! The queue of recordings that go from a node's disk to where recordings are kept.
//!
//! An entry is written with the call's end and goes with the entry's result, so that neither a crash nor a long outage
//! loses a recording. Only the node that has the file works on it: nothing has to be leased.

use crate::store::calls;
use crate::store::calls::sql;
use crate::store::calls::sql::Upload;
use crate::store::{Store, StoreError, Timestamp};

impl Store {
    /// Some of a node's uploads whose time has come, the longest due first.
    pub async fn uploads_due(
        &self,
        node: &str,
        now: Timestamp,
        most: u32,
    ) -> Result<Vec<Upload>, StoreError> {
        let node = node.to_owned();
        let read = self.readers.read(move |snapshot| {
            snapshot.rows(sql::UPLOADS_DUE, (&node, now.micros(), most), Upload::read)
        });
        read.await
    }

    /// How many recordings wait on a node's disk.
    pub async fn pending_uploads(&self, node: &str) -> Result<u64, StoreError> {
        let node = node.to_owned();
        let read = self
            .readers
            .read(move |snapshot| snapshot.count(sql::UPLOAD_COUNT, [node.as_str()]));
        read.await
    }

    /// A recording lies at `location` now: `recording.ready`. Whether its call record still knew of it; if not, nobody
    /// will ask for what was uploaded.
    pub async fn upload_done(
        &self,
        upload: &Upload,
        location: String,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (sid, file) = (upload.call_sid.clone(), upload.file.clone());
        let rules = self.recording_rules.clone();
        let write = self.writer.write(move |tx| {
            tx.execute(sql::UPLOAD_DELETE, [sid.as_str()])?;
            let moved = tx.execute(sql::CALL_MOVE_RECORDING, (&location, sid.as_str(), &file))? > 0;
            if moved {
                calls::write_recording_ready(tx, &sid, now, &rules)?;
            }
            Ok(moved)
        });
        write.await
    }

    /// An upload has failed, and is due again at a later time.
    pub async fn upload_failed(
        &self,
        upload: &Upload,
        due_at: Timestamp,
    ) -> Result<(), StoreError> {
        let sid = upload.call_sid.clone();
        let write = self.writer.write(move |tx| {
            tx.execute(sql::UPLOAD_POSTPONE, (due_at.micros(), sid.as_str()))
                .map(|_| ())
        });
        write.await
    }

    /// There is nothing to upload any more.
    pub async fn delete_upload(&self, upload: &Upload) -> Result<(), StoreError> {
        let sid = upload.call_sid.clone();
        let write = self
            .writer
            .write(move |tx| tx.execute(sql::UPLOAD_DELETE, [sid.as_str()]).map(|_| ()));
        write.await
    }
}
