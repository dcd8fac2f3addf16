//! The queue of recordings that go from a node's disk to where recordings are kept.
//!
//! An entry is written with the call's end and goes with the entry's result, so that neither a crash nor a long outage
//! loses a recording. Only the node that has the file works on it: nothing has to be leased.

use crate::store::calls;
use crate::store::calls::sql;
use crate::store::core::stored;
use crate::store::{CallSid, Store, StoreError, TenantId, Timestamp};

/// A recording on this node's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The call that it is of.
    pub call_sid: CallSid,
    /// The file.
    pub file: String,
    /// How often its upload has failed.
    pub tries: u32,
    /// Whose it is; `None`: its call record knows nothing of it any more, so that the file is only to be removed.
    pub tenant_id: Option<TenantId>,
}

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
            snapshot.rows(sql::UPLOADS_DUE, (&node, now.micros(), most), |row| {
                let tenant = row.get::<Option<String>>(3)?;
                Ok(Upload {
                    call_sid: CallSid::stored(row.get(0)?),
                    file: row.get(1)?,
                    tries: stored::integer(row.get(2)?, "tries of an upload")?,
                    tenant_id: tenant.as_deref().map(stored::tenant_id).transpose()?,
                })
            })
        });
        read.await
    }

    /// How many recordings wait on a node's disk.
    pub async fn uploads_waiting(&self, node: &str) -> Result<u64, StoreError> {
        let node = node.to_owned();
        let read = self.readers.read(move |snapshot| {
            let count =
                snapshot.row(sql::UPLOAD_COUNT, [node.as_str()], |row| row.get::<i64>(0))?;
            Ok::<_, StoreError>(
                count
                    .and_then(|count| u64::try_from(count).ok())
                    .unwrap_or(0),
            )
        });
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
                calls::tell_recording(tx, &sid, now, &rules)?;
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
    pub async fn forget_upload(&self, upload: &Upload) -> Result<(), StoreError> {
        let sid = upload.call_sid.clone();
        let write = self
            .writer
            .write(move |tx| tx.execute(sql::UPLOAD_DELETE, [sid.as_str()]).map(|_| ()));
        write.await
    }
}
