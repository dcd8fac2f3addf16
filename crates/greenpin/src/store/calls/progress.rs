//! Calls: what the engine asks and tells, from the first INVITE to the call record.

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

/// Wrong tries in one call of a caller that no allocation lists.
const UNLISTED_CALLER_ATTEMPTS: u8 = 3;

/// A call that came in.
#[derive(Debug, Clone)]
pub struct NewCall {
    /// Its id.
    pub call_sid: CallSid,
    /// The number that was called.
    pub virtual_number: PhoneNumber,
    /// Who calls; `None`: withheld or unknown.
    pub caller: Option<PhoneNumber>,
    /// The name of the trunk that brought it.
    pub trunk: String,
    /// The name of this node.
    pub node: String,
    /// When it came in.
    pub started_at: Timestamp,
}

/// A call that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedCall {
    /// Where it goes.
    pub route: Route,
    /// How its tenant speaks to callers; `None`: no pool holds the number.
    pub voice: Option<Voice>,
    /// Whose number it is, and how many calls its settings let in; `None`: no pool holds the number.
    pub tenant: Option<(TenantId, Option<CallLimit>)>,
}

/// The end of a call, as the engine saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct CallEnding {
    /// When it ended.
    pub ended_at: Timestamp,
    /// When the caller was answered.
    pub answered_at: Option<Timestamp>,
    /// The number that was connected, else the last that was dialled.
    pub dialled: Option<PhoneNumber>,
    /// When that number was dialled.
    pub dialled_at: Option<Timestamp>,
    /// When both sides began to hear each other.
    pub bridged_at: Option<Timestamp>,
    /// How far it came.
    pub call_type: CallType,
    /// How the dialled leg ended; `None`: nobody was dialled.
    pub dial_call_status: Option<DialStatus>,
    /// Who ended it.
    pub hangup_by: HangupBy,
    /// The SIP status with which the last dialled number refused.
    pub sip_cause: Option<u16>,
    /// Completed blocks of digits.
    pub pin_attempts: u32,
    /// The recording, if it is finished.
    pub recording: Option<RecordingFile>,
    /// The caller's media.
    pub caller_media: Option<LegReport>,
    /// The callee's media.
    pub callee_media: Option<LegReport>,
}

/// What a recording is that a crash left unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Its call goes on, on another node.
    InUse,
    /// The record of its call names it now.
    Keep,
    /// No record will ever name it.
    Discard,
}

/// A finished recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingFile {
    /// Where it lies: a file, or `s3://BUCKET/KEY`.
    pub location: String,
    /// How long it is.
    pub duration: Duration,
}

/// What becomes of recordings, and how events name them.
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

/// What one leg's media was like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LegReport {
    /// The codec's name; `null` in JSON: the leg had no media.
    #[schema(required)]
    pub codec: Option<String>,
    /// The suite with which the audio was encrypted; `null`: it was not.
    #[serde(default)]
    #[schema(required)]
    pub srtp: Option<String>,
    /// `direct`: for some time it went past us, from carrier to carrier, and the counts are of the rest.
    #[serde(default)]
    #[schema(required)]
    pub media: MediaPath,
    /// RTP packets that came in.
    pub packets_received: u64,
    /// RTP packets that were sent to us and did not come in.
    pub packets_lost: u64,
    /// RTP packets that came in too late to be decoded in their order, or a second time. Counted where audio is decoded;
    /// 0 where it passes as it is.
    #[serde(default)]
    #[schema(required)]
    pub packets_late: u64,
    /// RTP packets that we sent.
    pub packets_sent: u64,
    /// Interarrival jitter in milliseconds (RFC 3550).
    #[schema(minimum = 0)]
    pub jitter_ms: f64,
    /// Estimated mean opinion score of what came in, 1.0 to 4.5.
    #[schema(required, minimum = 1, maximum = 5)]
    pub mos: Option<f64>,
    /// How the keys came that the party pressed; `null`: the call is older than this report.
    #[serde(default)]
    #[schema(required)]
    pub digits: Option<DigitReport>,
}

/// Which way audio went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MediaPath {
    /// Through us, all the time.
    #[default]
    Relay,
    /// For some time from carrier to carrier.
    Direct,
}

/// How one party's keys came: by which methods, how many, what was lost on the way. Never which keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DigitReport {
    /// Keys pressed, each counted once.
    pub pressed: u32,
    /// Reports that were dropped because another method had told of the same press.
    pub duplicates: u32,
    /// Presses told by telephone-event (RFC 4733).
    pub rfc4733: u32,
    /// Presses told by SIP INFO.
    pub info: u32,
    /// Presses heard as tones in the audio.
    pub in_band: u32,
    /// Telephone-event packets that are missing inside presses.
    pub lost_packets: u32,
    /// Presses by telephone-event of which no end packet came.
    pub lost_ends: u32,
    /// Presses by telephone-event of which nothing but the end came.
    pub end_only: u32,
    /// Telephone-event packets dropped because they belong to an earlier press.
    pub late_packets: u32,
}

impl Store {
    /// Looks the number up and, when a pool holds it, opens the call record with `call.initiated`.
    pub async fn begin_call(&self, call: NewCall) -> Result<RoutedCall, StoreError> {
        self.writer.write(move |tx| route_call(tx, &call)).await
    }

    /// The dialled party is being alerted: `call.ringing`.
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

    /// The dialled party answered: `call.answered`, and the allocation has one connected call more.
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

    /// Closes the call record with `call.completed`, and `recording.ready` if there is a recording. Once closed, a
    /// record stays as it is: telling the end twice is harmless.
    pub async fn end_call(&self, sid: &CallSid, ending: CallEnding) -> Result<(), StoreError> {
        let (sid, rules) = (sid.clone(), self.recording_rules.clone());
        self.writer
            .write(move |tx| end(tx, &sid, &ending, &rules))
            .await
    }

    /// What becomes of a recording that a crash left: it is taken into the record of its call, with `recording.ready`,
    /// where that has ended without one. `None`: nothing of it can be heard.
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
    // The crash may have come between this and the file's last name; the folder may have moved since.
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

/// Closes some calls of a node that ended with it, with record and terminal event each. How many there were.
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

/// Returns the rules of the PIN collection, and the allocation of the call as far as it is known without a PIN; `None` if
/// no allocation is active on the number, or its tenant is suspended.
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

/// Returns the only allocation of a shared number that lists the caller, and the maximum number of wrong attempts in one
/// call; the outer `None` if no allocation is active.
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

/// A dialled number as it is found and as it is sealed.
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

/// What is known of a call that ended with the process that served it. It ended when that process was last seen, or
/// when the last thing happened that is known of it.
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

/// A recording is complete. Where it has to be uploaded, it cannot be fetched everywhere before that.
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
