//! Progress of a call, from the first INVITE to the call record.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use call::{CallType, Collect, DialStatus, HangupBy, PhoneNumber, Route, Screening};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::store::Tx;
use crate::store::allocations;
use crate::store::allocations::listed_callers::allocations_listing;
use crate::store::calls::record;
use crate::store::calls::record::CallRecord;
use crate::store::calls::sql;
use crate::store::core::reader::Snapshot;
use crate::store::events;
use crate::store::events::Draft;
use crate::store::numbers;
use crate::store::numbers::{NumberMode, NumberRow};
use crate::store::tenants::prompts;
use crate::store::tenants::settings;
use crate::store::{
    AcceptCall, CallLimit, CallSid, DialStrategy, EventType, GreenpinId, Store, StoreError,
    StoreOptions, TenantId, TenantSettings, Timestamp, Voice,
};

/// Maximum number of wrong attempts in one call of an unlisted caller.
const UNLISTED_CALLER_ATTEMPTS: u8 = 3;

/// Incoming call.
#[derive(Debug, Clone)]
pub struct NewCall {
    /// Id of the call.
    pub call_sid: CallSid,
    /// Called number.
    pub virtual_number: PhoneNumber,
    /// Caller; `None` if withheld or unknown.
    pub caller: Option<PhoneNumber>,
    /// Name of the incoming trunk.
    pub trunk: String,
    /// Name of this node.
    pub node: String,
    /// Time of the INVITE.
    pub started_at: Timestamp,
}

/// Call with its route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedCall {
    /// Route of the call.
    pub route: Route,
    /// Prompts of the tenant; `None` if no pool holds the number.
    pub voice: Option<Voice>,
    /// Tenant of the number with its call limit; `None` if no pool holds the number.
    pub tenant: Option<(TenantId, Option<CallLimit>)>,
}

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

/// Finished recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingFile {
    /// Location: a file, or `s3://BUCKET/KEY`.
    pub location: String,
    /// Duration of the recording.
    pub duration: Duration,
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

    fn url(&self, call: &CallRecord) -> Option<String> {
        call.recording_path()
            .map(|path| format!("{}{path}", self.public_url))
    }
}

/// Media statistics of one leg.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LegReport {
    /// Name of the codec; `null` if the leg had no media.
    #[schema(required)]
    pub codec: Option<String>,
    /// SRTP suite of the leg; `null` if the audio was not encrypted.
    #[serde(default)]
    #[schema(required)]
    pub srtp: Option<String>,
    /// `direct` if the audio bypassed the server for some time. The counts cover the rest of the call.
    #[serde(default)]
    #[schema(required)]
    pub media: MediaPath,
    /// Number of received RTP packets.
    pub packets_received: u64,
    /// Number of RTP packets that were sent to the server and did not arrive.
    pub packets_lost: u64,
    /// Number of RTP packets that arrived too late to be decoded, or twice. Counted for decoded audio only; 0 for
    /// relayed audio.
    #[serde(default)]
    #[schema(required)]
    pub packets_late: u64,
    /// Number of sent RTP packets.
    pub packets_sent: u64,
    /// Interarrival jitter in milliseconds (RFC 3550).
    #[schema(minimum = 0)]
    pub jitter_ms: f64,
    /// Estimated mean opinion score of the received audio, 1.0 to 4.5.
    #[schema(required, minimum = 1, maximum = 5)]
    pub mos: Option<f64>,
    /// Statistics of the pressed keys; `null` for a call before this report existed.
    #[serde(default)]
    #[schema(required)]
    pub digits: Option<DigitReport>,
}

/// Path of the audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MediaPath {
    /// Through the server, during the whole call.
    #[default]
    Relay,
    /// Directly between the carriers for some time.
    Direct,
}

/// Statistics of the pressed keys of one party: methods, counts and losses. The keys are not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DigitReport {
    /// Number of pressed keys, each counted once.
    pub pressed: u32,
    /// Number of dropped reports of a key that another method had already reported.
    pub duplicates: u32,
    /// Number of keys by telephone-event (RFC 4733).
    pub rfc4733: u32,
    /// Number of keys by SIP INFO.
    pub info: u32,
    /// Number of keys detected as tones in the audio.
    pub in_band: u32,
    /// Number of telephone-event packets lost within a key.
    pub lost_packets: u32,
    /// Number of keys by telephone-event without an end packet.
    pub lost_ends: u32,
    /// Number of keys by telephone-event with end packets only.
    pub end_only: u32,
    /// Number of dropped telephone-event packets that belong to an earlier key.
    pub late_packets: u32,
}

impl Store {
    /// Routes a call. If a pool holds the number, opens the call record with `call.initiated`.
    pub async fn begin_call(&self, call: NewCall) -> Result<RoutedCall, StoreError> {
        self.writer.write(move |tx| route_call(tx, &call)).await
    }

    /// Records that the dialled party is being alerted: `call.ringing`.
    pub async fn call_ringing(
        &self,
        sid: &CallSid,
        dialled: PhoneNumber,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sid = sid.clone();
        let write = self.writer.write(move |tx| {
            let (key, encrypted) = dialled_number(tx, &sid, Some(dialled))?;
            let row = (key, encrypted, now.micros(), sid.as_str());
            if tx.execute(sql::CALL_RING, row)? == 0 {
                return Ok(());
            }
            write_progress_event(tx, &sid, EventType::CallRinging, now)
        });
        write.await
    }

    /// Records the answer of the dialled party: `call.answered`. Counts a connected call for the allocation.
    pub async fn call_answered(
        &self,
        sid: &CallSid,
        dialled: PhoneNumber,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sid = sid.clone();
        let write = self.writer.write(move |tx| {
            let (key, encrypted) = dialled_number(tx, &sid, Some(dialled))?;
            let row = (key, encrypted, now.micros(), sid.as_str());
            if tx.execute(sql::CALL_ANSWER, row)? == 0 {
                return Ok(());
            }
            if let Some(CallRecord {
                tenant_id,
                greenpin_id: Some(id),
                ..
            }) = record::find(tx, &sid)?
            {
                tx.execute(
                    sql::ALLOCATION_COUNT_CALL,
                    (tenant_id.as_str(), id.as_str()),
                )?;
            }
            write_progress_event(tx, &sid, EventType::CallAnswered, now)
        });
        write.await
    }

    /// Closes the call record with `call.completed`, and `recording.ready` for a finished recording. A closed record
    /// does not change: repeating the call has no effect.
    pub async fn end_call(&self, sid: &CallSid, ending: CallEnding) -> Result<(), StoreError> {
        let (sid, rules) = (sid.clone(), self.recording_rules.clone());
        self.writer
            .write(move |tx| end(tx, &sid, &ending, &rules))
            .await
    }

    /// Adds a recording left by a crash to the record of its call, with `recording.ready`, if the call has ended
    /// without one. `recording` is `None` if the file holds no audio.
    pub async fn recover_recording(
        &self,
        sid: &CallSid,
        recording: Option<RecordingFile>,
        now: Timestamp,
    ) -> Result<Disposition, StoreError> {
        let (sid, rules) = (sid.clone(), self.recording_rules.clone());
        self.writer
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
    let row = (&recording.location, millis(recording), sid.as_str());
    if tx.execute(sql::CALL_SET_RECORDING, row)? > 0 {
        on_recording_complete(tx, sid, now, rules)?;
        return Ok(Disposition::Keep);
    }
    // The crash may have come between this write and the final rename, and the folder may have moved since.
    let name = |location: &str| Path::new(location).file_name().map(ToOwned::to_owned);
    let known = call
        .recording
        .is_some_and(|recording| name(&recording.location) == name(&recording.location));
    Ok(if known {
        Disposition::Keep
    } else {
        Disposition::Discard
    })
}

/// Closes a batch of calls of a node that has ended, each with record and terminal event. Returns the size of the
/// batch.
pub(crate) fn close_interrupted(
    tx: &Tx<'_>,
    (node, most): (&str, u32),
    last_seen: Timestamp,
    rules: &RecordingRules,
) -> Result<usize, StoreError> {
    let open: Vec<CallSid> = tx.rows(sql::CALLS_OPEN, (node, most), |row| row.get("call_sid"))?;
    for sid in &open {
        if let Some(call) = record::find(tx, sid)? {
            end(tx, sid, &interrupted_ending(call, last_seen), rules)?;
        }
    }
    Ok(open.len())
}

fn route_call(tx: &Tx<'_>, call: &NewCall) -> Result<RoutedCall, StoreError> {
    let Some(number) = numbers::find(tx, call.virtual_number)? else {
        return Ok(RoutedCall {
            route: Route::UnknownNumber,
            voice: None,
            tenant: None,
        });
    };
    let settings = settings::cached(tx, &number.tenant_id)?;
    let voice = Some(prompts::voice(tx, &number.tenant_id, &settings)?);
    let found = collection(tx, &number, call.caller, &settings, call.started_at)?;
    let (route, greenpin_id) = found.map_or((Route::NotInUse, None), |(collect, greenpin_id)| {
        (Route::Collect(collect), greenpin_id)
    });
    let key = tx.tenant_key(&number.tenant_id)?;
    let caller = call.caller.map(PhoneNumber::expose).unwrap_or_default();
    let parties = format!("{} {caller}", call.virtual_number.expose());
    let row = (
        number.tenant_id.as_str(),
        call.call_sid.as_str(),
        &number.number_key,
        greenpin_id.as_ref().map(GreenpinId::as_str),
        call.caller.map(|caller| key.party_key(caller)),
        key.encrypt(&record::context(call.call_sid.as_str()), parties)?,
        &call.trunk,
        &call.node,
        call.started_at.micros(),
    );
    tx.execute(sql::CALL_INSERT, row)?;
    if let Some(id) = &greenpin_id {
        count_attempt(tx, &number.tenant_id, id)?;
    }
    write_progress_event(
        tx,
        &call.call_sid,
        EventType::CallInitiated,
        call.started_at,
    )?;
    let tenant = Some((number.tenant_id.clone(), settings.call_limit));
    Ok(RoutedCall {
        route,
        voice,
        tenant,
    })
}

/// Counts a call for an allocation.
pub(crate) fn count_attempt(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: &GreenpinId,
) -> Result<(), StoreError> {
    tx.execute(
        sql::ALLOCATION_COUNT_ATTEMPT,
        (tenant.as_str(), id.as_str()),
    )
    .map(|_| ())
}

/// Returns the rules of the PIN collection, and the allocation of the call if it is known without a PIN; `None` if no
/// allocation is active on the number or its tenant is suspended.
pub(crate) fn collection(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    settings: &TenantSettings,
    now: Timestamp,
) -> Result<Option<(Collect, Option<GreenpinId>)>, StoreError> {
    if number.suspended {
        return Ok(None);
    }
    let target = match number.mode {
        NumberMode::Exclusive => exclusive_target(snapshot, number, now)?,
        NumberMode::Shared => shared_target(snapshot, number, caller, now)?,
    };
    Ok(target.map(|(greenpin_id, max_attempts)| {
        (
            collect(settings, number.pin_length, max_attempts),
            greenpin_id,
        )
    }))
}

/// Returns the allocation that holds an exclusive number, and the maximum number of wrong attempts in one call.
fn exclusive_target(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    now: Timestamp,
) -> Result<Option<(Option<GreenpinId>, u8)>, StoreError> {
    let Some(holder) = number.held_by(now).cloned() else {
        return Ok(None);
    };
    let allocation = allocations::find(snapshot, &number.tenant_id, &holder)?;
    let max_attempts = allocation.map_or(UNLISTED_CALLER_ATTEMPTS, |allocation| {
        allocation.max_pin_attempts
    });
    Ok(Some((Some(holder), max_attempts)))
}

/// Returns the only allocation of a shared number that lists the caller, and the maximum number of wrong attempts in
/// one call. The outer `None` means that no allocation is active.
fn shared_target(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    now: Timestamp,
) -> Result<Option<(Option<GreenpinId>, u8)>, StoreError> {
    let key = (&number.number_key, now.micros());
    let active = snapshot.row(sql::PINS_ANY_ACTIVE, key, |_| Ok(()))?;
    if active.is_none() {
        return Ok(None);
    }
    let listing = match caller {
        Some(caller) => allocations_listing(snapshot, number, caller, now)?,
        None => Vec::new(),
    };
    let limits = listing.iter().map(|allocation| allocation.max_pin_attempts);
    let max_attempts = limits.max().unwrap_or(UNLISTED_CALLER_ATTEMPTS);
    let sole = match listing.as_slice() {
        [only] => Some(only.greenpin_id.clone()),
        _ => None,
    };
    Ok(Some((sole, max_attempts)))
}

fn collect(settings: &TenantSettings, pin_length: u8, max_attempts: u8) -> Collect {
    Collect {
        pin_length,
        max_attempts,
        ring_timeout: Duration::from_secs(settings.ring_timeout.into()),
        max_call_duration: Duration::from_secs(settings.max_call_duration.into()),
        parallel: settings.dial_strategy == DialStrategy::Parallel,
        screening: match (settings.accept_call, settings.whisper) {
            (AcceptCall::Key, _) => Screening::Key,
            (AcceptCall::Answer, true) => Screening::Whisper,
            (AcceptCall::Answer, false) => Screening::None,
        },
        announce_recording: settings.record_announcement,
        warning: (settings.warning_tone > 0)
            .then(|| Duration::from_secs(settings.warning_tone.into())),
    }
}

fn end(
    tx: &Tx<'_>,
    sid: &CallSid,
    ending: &CallEnding,
    rules: &RecordingRules,
) -> Result<(), StoreError> {
    let micros = |time: Option<Timestamp>| time.map(Timestamp::micros);
    let (dialled_key, sealed_dialled) = dialled_number(tx, sid, ending.dialled)?;
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
        ending
            .recording
            .as_ref()
            .map(|recording| &recording.location),
        ending.recording.as_ref().map(millis),
        report_text(ending.caller_media.as_ref())?,
        report_text(ending.callee_media.as_ref())?,
        sid.as_str(),
    );
    if tx.execute(sql::CALL_END, row)? == 0 {
        return Ok(());
    }
    let Some(call) = record::find(tx, sid)? else {
        return Ok(());
    };
    let settings = settings::cached(tx, &call.tenant_id)?;
    let url = rules.url(&call);
    let data = record::event_data(&call, &settings.zone(), ending.ended_at, url);
    write_event(
        tx,
        &call,
        &settings,
        EventType::CallCompleted,
        ending.ended_at,
        data,
    )?;
    if call.recording.is_some() {
        on_recording_complete(tx, sid, ending.ended_at, rules)?;
    }
    Ok(())
}

/// Returns the index key of a dialled number, and the encrypted number.
fn dialled_number(
    tx: &Tx<'_>,
    sid: &CallSid,
    dialled: Option<PhoneNumber>,
) -> Result<(Option<String>, Option<String>), StoreError> {
    let Some(dialled) = dialled else {
        return Ok((None, None));
    };
    let tenant = tx.row(sql::CALL_TENANT, [sid.as_str()], |row| row.get("tenant_id"))?;
    let Some(tenant) = tenant else {
        return Ok((None, None));
    };
    let key = tx.tenant_key(&tenant)?;
    let encrypted = key.encrypt(&record::dialled_context(sid.as_str()), dialled.expose())?;
    Ok((Some(key.party_key(dialled)), Some(encrypted)))
}

/// Returns the end of a call whose process has ended: the time of the last heartbeat, or of the last recorded event of
/// the call if that is later.
fn interrupted_ending(call: CallRecord, last_seen: Timestamp) -> CallEnding {
    let known = [
        Some(call.started_at),
        call.answered_at,
        call.dialled_at,
        call.bridged_at,
    ];
    let ended_at = known.into_iter().flatten().fold(last_seen, Timestamp::max);
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
        dial_call_status,
        hangup_by: HangupBy::System,
        sip_cause: None,
        pin_attempts: call.pin_attempts,
        recording: None,
        caller_media: None,
        callee_media: None,
    }
}

fn write_progress_event(
    tx: &Tx<'_>,
    sid: &CallSid,
    event_type: EventType,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(call) = record::find(tx, sid)? else {
        return Ok(());
    };
    let settings = settings::cached(tx, &call.tenant_id)?;
    let data = record::event_data(&call, &settings.zone(), now, None);
    write_event(tx, &call, &settings, event_type, now, data)
}

/// Handles a complete recording. `recording.ready` waits for its upload, if one is configured.
fn on_recording_complete(
    tx: &Tx<'_>,
    sid: &CallSid,
    now: Timestamp,
    rules: &RecordingRules,
) -> Result<(), StoreError> {
    match rules.upload {
        true => tx
            .execute(sql::UPLOAD_INSERT, (now.micros(), sid.as_str()))
            .map(|_| ()),
        false => write_recording_ready(tx, sid, now, rules),
    }
}

/// Writes `recording.ready`.
pub(crate) fn write_recording_ready(
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
    let data = json!({
        "call_sid": call.call_sid.as_str(),
        "virtual_number": call.virtual_number.expose(),
        "recording_url": rules.url(&call),
        "recording_duration": recording.duration.as_secs(),
    });
    let Value::Object(data) = data else {
        return Ok(());
    };
    write_event(tx, &call, &settings, EventType::RecordingReady, now, data)
}

fn write_event(
    tx: &Tx<'_>,
    call: &CallRecord,
    settings: &TenantSettings,
    event_type: EventType,
    occurred_at: Timestamp,
    data: Map<String, Value>,
) -> Result<(), StoreError> {
    let zone = settings.zone();
    let greenpin_id = call.greenpin_id.as_ref();
    let data = Value::Object(data);
    events::write(
        tx,
        &Draft {
            tenant: &call.tenant_id,
            zone: &zone,
            subject: greenpin_id.into(),
            event_type,
            occurred_at,
            data,
        },
    )
}

fn millis(recording: &RecordingFile) -> i64 {
    i64::try_from(recording.duration.as_millis()).unwrap_or(i64::MAX)
}

fn report_text(report: Option<&LegReport>) -> Result<Option<String>, StoreError> {
    let text = report.map(serde_json::to_string).transpose();
    text.map_err(|_| StoreError::Unreadable("media report"))
}
