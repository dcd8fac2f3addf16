//! Recordings of calls: completion, recovery after a crash, `recording.ready`.

use std::path::Path;
use std::sync::Arc;

use crate::store::Tx;
use crate::store::calls::call_event;
use crate::store::calls::record;
use crate::store::calls::record::{CallRecord, RecordingFile};
use crate::store::calls::sql;
use crate::store::events::payload::RecordingData;
use crate::store::events::{Payload, Subject};
use crate::store::tenants::settings;
use crate::store::{CallSid, Store, StoreError, StoreOptions, TenantStore, Timestamp};

/// Handling of a recording that a crash left unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Its call continues on another node.
    InUse,
    /// The record of its call refers to it.
    Keep,
    /// No record will refer to it.
    Discard,
}

/// Rules for recordings: upload, and their URL in events.
#[derive(Debug, Clone)]
pub(crate) struct RecordingRules {
    public_url: Arc<str>,
    upload: bool,
}

impl RecordingRules {
    pub(crate) fn from_options(options: &StoreOptions) -> Self {
        let public_url = options.public_url.trim_end_matches('/').into();
        Self {
            public_url,
            upload: options.upload_recordings,
        }
    }

    pub(crate) fn url(&self, call: &CallRecord) -> Option<String> {
        call.recording_path()
            .map(|path| format!("{}{path}", self.public_url))
    }
}

impl TenantStore {
    /// Returns the URL of the recording of a call, with the public address of this server; `None` without a recording.
    pub fn recording_url(&self, call: &CallRecord) -> Option<String> {
        self.store.recording_rules.url(call)
    }
}

impl Store {
    /// Adds a recording left by a crash to the record of its call, with `recording.ready`, if the call has ended
    /// without one. `recording` is `None` if the file holds no audio.
    pub async fn recover_recording(
        &self,
        sid: &CallSid,
        recording: Option<RecordingFile>,
        now: Timestamp,
    ) -> Result<Disposition, StoreError> {
        let writer = self.writer_of_call(sid).await?;
        let (sid, rules) = (sid.clone(), self.recording_rules.clone());
        writer
            .write(move |tx| recover(tx, &sid, recording.as_ref(), &rules, now))
            .await
    }
}

fn recover(
    tx: &Tx<'_>,
    sid: &CallSid,
    recording: Option<&RecordingFile>,
    rules: &RecordingRules,
    now: Timestamp,
) -> Result<Disposition, StoreError> {
    let Some(call) = record::find(tx, sid)? else {
        return Ok(Disposition::Discard);
    };
    if call.ended_at.is_none() {
        return Ok(Disposition::InUse);
    }
    let Some(recording) = recording else {
        return Ok(Disposition::Discard);
    };
    let row = (&recording.location, recording.millis(), sid.as_str());
    if tx.execute(sql::CALL_SET_RECORDING, row)? > 0 {
        on_complete(tx, sid, now, rules)?;
        return Ok(Disposition::Keep);
    }
    // The crash may have come between this write and the final rename, and the folder may have moved since.
    let name = |location: &str| Path::new(location).file_name().map(ToOwned::to_owned);
    let is_recorded = call
        .recording
        .is_some_and(|stored| name(&stored.location) == name(&recording.location));
    Ok(if is_recorded {
        Disposition::Keep
    } else {
        Disposition::Discard
    })
}

/// Handles a complete recording. `recording.ready` waits for its upload, if one is configured.
pub(crate) fn on_complete(
    tx: &Tx<'_>,
    sid: &CallSid,
    now: Timestamp,
    rules: &RecordingRules,
) -> Result<(), StoreError> {
    match rules.upload {
        true => tx
            .execute(sql::UPLOAD_INSERT, (now.micros(), sid.as_str()))
            .map(|_| ()),
        false => write_ready(tx, sid, now, rules),
    }
}

/// Writes `recording.ready`.
pub(crate) fn write_ready(
    tx: &Tx<'_>,
    sid: &CallSid,
    now: Timestamp,
    rules: &RecordingRules,
) -> Result<(), StoreError> {
    let Some(call) = record::find(tx, sid)? else {
        return Ok(());
    };
    let Some(recording) = &call.recording else {
        return Ok(());
    };
    let settings = settings::cached(tx, &call.tenant_id)?;
    let payload = Payload::RecordingReady(RecordingData {
        call_sid: call.call_sid.to_string(),
        virtual_number: call.virtual_number.expose(),
        recording_url: rules.url(&call),
        recording_duration: recording.duration.as_secs(),
    });
    let subject = call
        .greenpin_id
        .as_ref()
        .map_or(Subject::Tenant, Subject::Allocation);
    call_event::write(tx, (&call, subject), &settings, now, payload)
}
