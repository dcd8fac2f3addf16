//! Routing of an incoming call.

use std::sync::Arc;
use std::time::Duration;

use call::{Collect, PhoneNumber, Route, Screening};

use crate::RecordingKey;
use crate::numbering::{self, TrunkCaller};
use crate::store::Tx;
use crate::store::allocations;
use crate::store::allocations::listed_callers::allocations_listing;
use crate::store::calls::call_event;
use crate::store::calls::record;
use crate::store::calls::sql;
use crate::store::core::reader::Snapshot;
use crate::store::events::Payload;
use crate::store::numbers;
use crate::store::numbers::{NumberMode, NumberRow};
use crate::store::tenants::prompts::{self, VoiceVersion};
use crate::store::tenants::settings;
use crate::store::{
    AcceptCall, CallSid, DialStrategy, GreenpinId, Store, StoreError, TenantId, TenantSettings,
    Timestamp, Voice,
};

/// Maximum number of wrong attempts in one call of an unlisted caller.
pub const UNLISTED_CALLER_ATTEMPTS: u8 = 3;

/// Incoming call.
#[derive(Debug, Clone)]
pub struct NewCall {
    /// Id of the call.
    pub call_sid: CallSid,
    /// Called number.
    pub virtual_number: PhoneNumber,
    /// Caller, as the trunk presents it.
    pub caller: TrunkCaller,
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
    /// Tenant of the number; `None` if no pool holds the number.
    pub tenant: Option<CallTenant>,
}

/// Tenant of a call, with its settings at the start of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallTenant {
    /// Name of the tenant.
    pub tenant_id: TenantId,
    /// Settings of the tenant.
    pub settings: Arc<TenantSettings>,
    /// Encryption of its recordings.
    pub recording_key: RecordingKey,
}

impl Store {
    /// Routes a call. If a pool holds the number, opens the call record with `call.initiated`.
    pub async fn begin_call(&self, call: NewCall) -> Result<RoutedCall, StoreError> {
        let route = self.writer.write(move |tx| route_call(tx, &call));
        let (mut routed, voice) = route.await?;
        if let Some(voice) = voice {
            routed.voice = Some(self.voice(voice).await);
        }
        Ok(routed)
    }
}

/// Routes a call. Returns the version of its prompts, whose audio is read afterwards.
fn route_call(
    tx: &Tx<'_>,
    call: &NewCall,
) -> Result<(RoutedCall, Option<VoiceVersion>), StoreError> {
    let Some(number) = numbers::find(tx, call.virtual_number)? else {
        let unknown = RoutedCall {
            route: Route::UnknownNumber,
            voice: None,
            tenant: None,
        };
        return Ok((unknown, None));
    };
    let settings = settings::cached(tx, &number.tenant_id)?;
    let voice = prompts::voice_version(tx, &number.tenant_id, &settings)?;
    let country = settings.country.as_deref().and_then(numbering::country);
    let caller = call.caller.number(country);
    let found = collection(tx, &number, caller, &settings, call.started_at)?;
    let (route, greenpin_id) = found.map_or((Route::NotInUse, None), |(collect, greenpin_id)| {
        (Route::Collect(collect), greenpin_id)
    });
    insert(tx, call, &number, caller, greenpin_id.as_ref())?;
    if let Some(id) = &greenpin_id {
        count_attempt(tx, &number.tenant_id, id)?;
    }
    call_event::write_progress(tx, &call.call_sid, Payload::CallInitiated, call.started_at)?;
    let tenant = Some(CallTenant {
        tenant_id: number.tenant_id.clone(),
        settings,
        recording_key: tx.recording_key(&number.tenant_id)?,
    });
    let routed = RoutedCall {
        route,
        voice: None,
        tenant,
    };
    Ok((routed, Some(voice)))
}

/// Opens the record of a call. The record holds the number of a withheld caller for matching; a search by party must not
/// find it.
fn insert(
    tx: &Tx<'_>,
    call: &NewCall,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    greenpin_id: Option<&GreenpinId>,
) -> Result<(), StoreError> {
    let key = tx.tenant_key(&number.tenant_id)?;
    let exposed = caller.map(PhoneNumber::expose).unwrap_or_default();
    let parties = format!("{} {exposed}", call.virtual_number.expose());
    let shown = caller.filter(|_| !call.caller.withheld);
    let row = (
        number.tenant_id.as_str(),
        call.call_sid.as_str(),
        &number.number_key,
        greenpin_id.map(GreenpinId::as_str),
        shown.map(|caller| key.party_key(caller)),
        key.encrypt(&record::context(call.call_sid.as_str()), parties)?,
        i64::from(call.caller.withheld),
        &call.trunk,
        &call.node,
        call.started_at.micros(),
    );
    tx.execute(sql::CALL_INSERT, row).map(|_| ())
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
