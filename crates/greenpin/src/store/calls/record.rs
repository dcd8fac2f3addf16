//! Call records, and their part of the events.

use std::cell::Cell;
use std::time::Duration;

use call::{CallCause, CallType, DialStatus, HangupBy, PhoneNumber};
use jiff::tz::TimeZone;

use crate::store::Tx;
use crate::store::calls::legs::CallLegs;
use crate::store::calls::report::LegReport;
use crate::store::calls::sql;
use crate::store::calls::sql::CallRow;
use crate::store::core::crypto::TenantKey;
use crate::store::core::reader::Snapshot;
use crate::store::core::stored::phone_number;
use crate::store::events::EventAllocation;
use crate::store::events::payload::CallData;
use crate::store::tenants::operator::OperatorStore;
use crate::store::{CallSid, GreenpinId, StoreError, TenantId, TenantStore, Timestamp};

/// Record of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRecord {
    /// Id of the call.
    pub call_sid: CallSid,
    /// Tenant of the called number.
    pub tenant_id: TenantId,
    /// Called number.
    pub virtual_number: PhoneNumber,
    /// Allocation of the call, once it is known.
    pub greenpin_id: Option<GreenpinId>,
    /// Caller; `None` if unknown. May be withheld from the tenant: see [`Self::shown_caller`].
    pub caller: Option<PhoneNumber>,
    /// The caller is used for matching and not shown to the tenant.
    pub caller_withheld: bool,
    /// Incoming trunk.
    pub trunk: String,
    /// Node of the call.
    pub node: String,
    /// Time of the INVITE.
    pub started_at: Timestamp,
    /// Time of the answer to the caller.
    pub answered_at: Option<Timestamp>,
    /// Connected number, or else the last dialled one.
    pub dialled: Option<PhoneNumber>,
    /// Time of its dialling.
    pub dialled_at: Option<Timestamp>,
    /// Time of the connection of both parties.
    pub bridged_at: Option<Timestamp>,
    /// Time of the end; `None` for an open call.
    pub ended_at: Option<Timestamp>,
    /// Result of the call.
    pub call_type: Option<CallType>,
    /// Reason for the result; `None` for an open call, and for a call that ended before the reason was recorded.
    pub cause: Option<CallCause>,
    /// Attempts to reach a number, and Call-IDs. Empty for an open call.
    pub legs: CallLegs,
    /// Result of the dialled leg.
    pub dial_call_status: Option<DialStatus>,
    /// SIP status of the last rejected leg.
    pub sip_cause: Option<u16>,
    /// Side that ended the call.
    pub hangup_by: Option<HangupBy>,
    /// Number of complete blocks of digits.
    pub pin_attempts: u32,
    /// Recording of the call.
    pub recording: Option<RecordingFile>,
    /// Media of the caller.
    pub caller_media: Option<LegReport>,
    /// Media of the callee.
    pub callee_media: Option<LegReport>,
}

/// Finished recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingFile {
    /// Location: a file, or `s3://BUCKET/KEY`.
    pub location: String,
    /// Duration of the recording.
    pub duration: Duration,
}

impl RecordingFile {
    /// Returns the duration in milliseconds.
    pub(crate) fn millis(&self) -> i64 {
        i64::try_from(self.duration.as_millis()).unwrap_or(i64::MAX)
    }
}

impl CallRecord {
    /// Returns the caller for the tenant; `None` if it is withheld or unknown.
    pub fn shown_caller(&self) -> Option<PhoneNumber> {
        self.caller.filter(|_| !self.caller_withheld)
    }

    /// Returns the whole seconds of the dialled leg; `None` if no number was dialled.
    pub fn dial_call_duration(&self) -> Option<u64> {
        Some(self.ended_at?.since(self.dialled_at?).as_secs())
    }

    /// Returns the whole seconds of the conversation; `None` for an open call.
    pub fn on_call_duration(&self) -> Option<u64> {
        let ended_at = self.ended_at?;
        Some(
            self.bridged_at
                .map_or(0, |bridged_at| ended_at.since(bridged_at).as_secs()),
        )
    }

    /// Returns the API path of the recording. [`TenantStore::recording_url`] is for clients.
    pub(crate) fn recording_path(&self) -> Option<String> {
        let path = || {
            format!(
                "/v1/tenants/{}/calls/{}/recording",
                self.tenant_id, self.call_sid
            )
        };
        self.recording.is_some().then(path)
    }
}

impl TenantStore {
    /// Returns a call record; `None` if the tenant does not have the call.
    pub async fn call(&self, call_sid: &CallSid) -> Result<Option<CallRecord>, StoreError> {
        let (tenant, call_sid) = (self.tenant_id.clone(), call_sid.clone());
        let read = self.store.readers.look_up(move |snapshot| {
            let key = (tenant.as_str(), call_sid.as_str());
            let row = snapshot.row(sql::CALL_SELECT, key, CallRow::read)?;
            row.map(|row| row.record(snapshot)).transpose()
        });
        read.await
    }

    /// Returns the calls of an allocation before one, newest first.
    pub async fn calls_of_allocation(
        &self,
        greenpin_id: &GreenpinId,
        before: Option<CallSid>,
        limit: u32,
    ) -> Result<Vec<CallRecord>, StoreError> {
        let (tenant, id) = (self.tenant_id.clone(), greenpin_id.clone());
        let read = self.store.readers.read(move |snapshot| {
            // `~` sorts after every id.
            let before = before.as_ref().map_or("~", CallSid::as_str);
            let key = (tenant.as_str(), id.as_str(), before, limit);
            let rows = snapshot.rows(sql::CALLS_OF_ALLOCATION, key, CallRow::read)?;
            rows.into_iter().map(|row| row.record(snapshot)).collect()
        });
        read.await
    }
}

impl OperatorStore {
    /// Returns a call record of any tenant; `None` if there is no such call.
    pub async fn call(&self, call_sid: &CallSid) -> Result<Option<CallRecord>, StoreError> {
        let call_sid = call_sid.clone();
        let read = self.store.readers.look_up(move |snapshot| {
            let row = snapshot.row(sql::CALL_BY_SID, [call_sid.as_str()], CallRow::read)?;
            row.map(|row| row.record(snapshot)).transpose()
        });
        read.await
    }
}

/// Reads a call of any tenant inside a transaction.
pub(crate) fn find(tx: &Tx<'_>, call_sid: &CallSid) -> Result<Option<CallRecord>, StoreError> {
    let row = tx.row(sql::CALL_BY_SID, [call_sid.as_str()], CallRow::read)?;
    row.map(|row| row.record(tx)).transpose()
}

/// Call without an end, as it was read in this transaction, and the allocation for its events.
pub(crate) struct OpenCall {
    pub(crate) record: CallRecord,
    pub(crate) allocation: Option<EventAllocation>,
}

/// Reads a call without an end; `None` if there is no such call.
pub(crate) fn find_open(tx: &Tx<'_>, call_sid: &CallSid) -> Result<Option<OpenCall>, StoreError> {
    let found = tx.row(sql::CALL_OPEN, [call_sid.as_str()], |row| {
        let sequence: Option<i64> = row.get("event_sequence")?;
        Ok((CallRow::read(row)?, sequence, row.get("custom_field")?))
    })?;
    let Some((row, sequence, custom_field)) = found else {
        return Ok(None);
    };
    let record = row.record(tx)?;
    let allocation = record.greenpin_id.clone().zip(sequence);
    let allocation = allocation.map(|(greenpin_id, sequence)| EventAllocation {
        greenpin_id,
        sequence: Cell::new(sequence),
        custom_field,
    });
    Ok(Some(OpenCall { record, allocation }))
}

/// Returns the data of every event of a call.
pub(crate) fn event_data(
    call: &CallRecord,
    zone: &TimeZone,
    now: Timestamp,
    recording_url: Option<String>,
) -> CallData {
    CallData {
        call_sid: call.call_sid.to_string(),
        virtual_number: call.virtual_number.expose(),
        from: call.shown_caller().map(PhoneNumber::expose),
        to: call.dialled.map(PhoneNumber::expose),
        direction: "incoming",
        start_time: call.started_at.rfc3339(zone),
        current_time: now.rfc3339(zone),
        call_type: call.call_type.map(CallType::as_str),
        dial_call_status: call.dial_call_status.map(DialStatus::as_str),
        dial_call_duration: call.dial_call_duration(),
        on_call_duration: call.on_call_duration(),
        recording_url,
        pin_attempts: call.pin_attempts,
        hangup_by: call.hangup_by.map(HangupBy::as_str),
    }
}

impl CallRow {
    /// Decrypts the numbers and reads the reports.
    pub(crate) fn record(self, snapshot: &Snapshot<'_>) -> Result<CallRecord, StoreError> {
        let key = snapshot.tenant_key(&self.tenant_id)?;
        let call_sid = self.call_sid.as_str();
        let parties = key.decrypt(&context(call_sid), &self.sealed)?;
        let (virtual_number, caller) = parties
            .split_once(' ')
            .ok_or(StoreError::Unreadable("call"))?;
        let caller = (!caller.is_empty()).then(|| phone_number(caller));
        let dialled = self
            .sealed_dialled
            .map(|encrypted| phone_number(&key.decrypt(&dialled_context(call_sid), &encrypted)?));
        let legs = self.sealed_legs.map(|encrypted| {
            let text = key.decrypt(&legs_context(call_sid), &encrypted)?;
            CallLegs::parse(&text)
        });
        let recording = self.recording_file.map(|location| RecordingFile {
            location,
            duration: Duration::from_millis(self.recording_ms.unwrap_or(0)),
        });
        Ok(CallRecord {
            virtual_number: phone_number(virtual_number)?,
            caller: caller.transpose()?,
            caller_withheld: self.caller_withheld,
            dialled: dialled.transpose()?,
            call_sid: self.call_sid,
            tenant_id: self.tenant_id,
            greenpin_id: self.greenpin_id,
            trunk: self.trunk,
            node: self.node,
            started_at: self.started_at,
            answered_at: self.answered_at,
            dialled_at: self.dialled_at,
            bridged_at: self.bridged_at,
            ended_at: self.ended_at,
            call_type: self.call_type,
            cause: self.cause,
            legs: legs.transpose()?.unwrap_or_default(),
            dial_call_status: self.dial_call_status,
            sip_cause: self.sip_cause,
            hangup_by: self.hangup_by,
            pin_attempts: self.pin_attempts,
            recording,
            caller_media: self.caller_media.as_deref().map(leg_report).transpose()?,
            callee_media: self.callee_media.as_deref().map(leg_report).transpose()?,
        })
    }
}

/// Returns the encryption context of the virtual number and the caller, which are separated by a space.
pub(crate) fn context(call_sid: &str) -> String {
    ["call ", call_sid].concat()
}

/// Returns the encryption context of the dialled number.
pub(crate) fn dialled_context(call_sid: &str) -> String {
    format!("dialled {call_sid}")
}

fn legs_context(call_sid: &str) -> String {
    format!("legs {call_sid}")
}

/// Returns the encrypted legs of a call; `None` without any attempt and Call-ID.
pub(crate) fn encrypt_legs(
    key: &TenantKey,
    sid: &CallSid,
    legs: &CallLegs,
) -> Result<Option<String>, StoreError> {
    if *legs == CallLegs::default() {
        return Ok(None);
    }
    let encrypted = key.encrypt(&legs_context(sid.as_str()), legs.stored()?)?;
    Ok(Some(encrypted))
}

fn leg_report(text: &str) -> Result<LegReport, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable("media report"))
}

/// Returns the index key of a dialled number, and the encrypted number.
pub(crate) fn encrypt_dialled(
    key: &TenantKey,
    sid: &CallSid,
    dialled: PhoneNumber,
) -> Result<(String, String), StoreError> {
    let encrypted = key.encrypt(&dialled_context(sid.as_str()), dialled.expose())?;
    Ok((key.party_key(dialled), encrypted))
}
