//! End of a call: its record is closed, with the terminal event.

use call::{CallCause, CallType, DialStatus, HangupBy, PhoneNumber};

use crate::store::Tx;
use crate::store::calls::call_event;
use crate::store::calls::legs::CallLegs;
use crate::store::calls::read_of_call;
use crate::store::calls::record;
use crate::store::calls::record::{CallRecord, OpenCall, RecordingFile};
use crate::store::calls::recording;
use crate::store::calls::recording::RecordingRules;
use crate::store::calls::report::LegReport;
use crate::store::calls::sql;
use crate::store::events::Payload;
use crate::store::events::payload::CompletedCallData;
use crate::store::tenants::settings;
use crate::store::{CallSid, Store, StoreError, Timestamp};

/// End of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallEnding {
    /// Time of the end.
    pub ended_at: Timestamp,
    /// Time of the answer to the caller.
    pub answered_at: Option<Timestamp>,
    /// Connected number, or else the last dialled one.
    pub dialled: Option<PhoneNumber>,
    /// Time of its dialling.
    pub dialled_at: Option<Timestamp>,
    /// Time of the connection of both parties.
    pub bridged_at: Option<Timestamp>,
    /// Result of the call.
    pub call_type: CallType,
    /// Reason for the result.
    pub cause: CallCause,
    /// Attempts to reach a number, and Call-IDs.
    pub legs: CallLegs,
    /// Result of the dialled leg; `None` if no number was dialled.
    pub dial_call_status: Option<DialStatus>,
    /// Side that ended the call.
    pub hangup_by: HangupBy,
    /// SIP status of the last rejected leg.
    pub sip_cause: Option<u16>,
    /// Number of complete blocks of digits.
    pub pin_attempts: u32,
    /// Finished recording.
    pub recording: Option<RecordingFile>,
    /// Media of the caller.
    pub caller_media: Option<LegReport>,
    /// Media of the callee.
    pub callee_media: Option<LegReport>,
}

impl Store {
    /// Closes the call record with `call.completed`, and `recording.ready` for a finished recording. A closed record
    /// does not change: repeating the call has no effect.
    pub async fn end_call(&self, sid: &CallSid, ending: CallEnding) -> Result<(), StoreError> {
        let reads = self.read_ahead(|| vec![read_of_call(sid)]);
        let writer = self.writer_of_call(sid).await?;
        let (ended, rules) = (sid.clone(), self.recording_rules.clone());
        let write = writer.write_with(reads, move |tx| match record::find_open(tx, &ended)? {
            Some(open) => end(tx, open, &ending, &rules),
            None => Ok(()),
        });
        let written: Result<(), StoreError> = write.await;
        written?;
        self.known_calls.remove(sid);
        Ok(())
    }
}

/// Closes a batch of calls of a node that has ended, each with record and terminal event. Returns the size of the
/// batch.
pub(crate) fn close_interrupted(
    tx: &Tx<'_>,
    (node, limit): (&str, u32),
    last_seen: Timestamp,
    rules: &RecordingRules,
) -> Result<usize, StoreError> {
    let open: Vec<CallSid> = tx.rows(sql::CALLS_OPEN, (node, limit), |row| row.get("call_sid"))?;
    for sid in &open {
        match close(tx, sid, last_seen, rules) {
            // An unreadable record must not block the others, or the start of a node.
            Err(StoreError::Unreadable(what)) => {
                tracing::error!(call_sid = %sid, what, "unreadable call record; closing it without an event");
                tx.execute(
                    sql::CALL_CLOSE_UNREADABLE,
                    (last_seen.micros(), sid.as_str()),
                )?;
            }
            result => result?,
        }
    }
    Ok(open.len())
}

/// Closes the record of a call that its node has left open.
fn close(
    tx: &Tx<'_>,
    sid: &CallSid,
    last_seen: Timestamp,
    rules: &RecordingRules,
) -> Result<(), StoreError> {
    let Some(open) = record::find_open(tx, sid)? else {
        return Ok(());
    };
    let ending = interrupted_ending(&open.record, last_seen);
    end(tx, open, &ending, rules)
}

fn end(
    tx: &Tx<'_>,
    open: OpenCall,
    ending: &CallEnding,
    rules: &RecordingRules,
) -> Result<(), StoreError> {
    write_end(tx, &open.record, ending)?;
    let call = ended(open.record, ending);
    let settings = settings::cached(tx, &call.tenant_id)?;
    let url = rules.url(&call);
    let data = CompletedCallData {
        call: record::event_data(&call, &settings.zone(), ending.ended_at, url),
        cause: call.cause.map(CallCause::as_str),
        why: call.why(),
    };
    let subject = open.allocation.as_ref().into();
    let payload = Payload::CallCompleted(data);
    call_event::write(tx, (&call, subject), &settings, ending.ended_at, payload)?;
    if call.recording.is_some() {
        recording::on_complete(tx, &call.call_sid, ending.ended_at, rules)?;
    }
    Ok(())
}

/// Closes the row of a call.
fn write_end(tx: &Tx<'_>, call: &CallRecord, ending: &CallEnding) -> Result<(), StoreError> {
    let micros = |time: Option<Timestamp>| time.map(Timestamp::micros);
    let (sid, key) = (&call.call_sid, tx.tenant_key(&call.tenant_id)?);
    let dialled = ending.dialled;
    let dialled = dialled.map(|dialled| record::encrypt_dialled(&key, sid, dialled));
    let (dialled_key, sealed_dialled) = dialled.transpose()?.unzip();
    let recording = ending.recording.as_ref();
    let row = (
        ending.ended_at.micros(),
        micros(ending.answered_at),
        dialled_key,
        sealed_dialled,
        micros(ending.dialled_at),
        micros(ending.bridged_at),
        ending.call_type.as_str(),
        ending.dial_call_status.map(DialStatus::as_str),
        ending.sip_cause,
        ending.hangup_by.as_str(),
        ending.pin_attempts,
        recording.map(|recording| &recording.location),
        recording.map(RecordingFile::millis),
        report_text(ending.caller_media.as_ref())?,
        report_text(ending.callee_media.as_ref())?,
        ending.cause.as_str(),
        record::encrypt_legs(&key, sid, &ending.legs)?,
        sid.as_str(),
    );
    tx.execute_deferred(sql::CALL_END, row)
}

/// Returns the record after its end.
fn ended(call: CallRecord, ending: &CallEnding) -> CallRecord {
    let ending = ending.clone();
    CallRecord {
        ended_at: Some(ending.ended_at),
        answered_at: ending.answered_at,
        dialled: ending.dialled,
        dialled_at: ending.dialled_at,
        bridged_at: ending.bridged_at,
        call_type: Some(ending.call_type),
        cause: Some(ending.cause),
        legs: ending.legs,
        dial_call_status: ending.dial_call_status,
        sip_cause: ending.sip_cause,
        hangup_by: Some(ending.hangup_by),
        pin_attempts: ending.pin_attempts,
        recording: ending.recording,
        caller_media: ending.caller_media,
        callee_media: ending.callee_media,
        ..call
    }
}

/// Returns the end of a call whose process has ended: the time of the last heartbeat, or of the last recorded event of
/// the call if that is later.
fn interrupted_ending(call: &CallRecord, last_seen: Timestamp) -> CallEnding {
    let times = [
        Some(call.started_at),
        call.answered_at,
        call.dialled_at,
        call.bridged_at,
    ];
    let ended_at = times.into_iter().flatten().fold(last_seen, Timestamp::max);
    let (call_type, dial_call_status) = match (call.bridged_at, call.dialled_at) {
        (Some(_), _) => (CallType::Completed, Some(DialStatus::Completed)),
        (None, Some(_)) => (CallType::Incomplete, Some(DialStatus::Failed)),
        (None, None) => (CallType::CallAttempt, None),
    };
    CallEnding {
        ended_at,
        answered_at: call.answered_at,
        dialled: call.dialled,
        dialled_at: call.dialled_at,
        bridged_at: call.bridged_at,
        call_type,
        cause: CallCause::NodeFailed,
        legs: CallLegs::default(),
        dial_call_status,
        hangup_by: HangupBy::System,
        sip_cause: None,
        pin_attempts: call.pin_attempts,
        recording: None,
        caller_media: None,
        callee_media: None,
    }
}

fn report_text(report: Option<&LegReport>) -> Result<Option<String>, StoreError> {
    let text = report.map(serde_json::to_string).transpose();
    text.map_err(|_| StoreError::Unreadable("media report"))
}
