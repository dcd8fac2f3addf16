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
use crate::store::calls::legs::CallLegs;
use crate::store::calls::read_ahead::CallKeys;
use crate::store::calls::record;
use crate::store::calls::record::{CallRecord, OpenCall};
use crate::store::calls::sql;
use crate::store::core::reader::Snapshot;
use crate::store::events::{EventAllocation, Payload};
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
/// Maximum number of tries to route a call whose number moves to another tenant meanwhile.
const MAX_ROUTE_TRIES: u32 = 3;

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
    /// Keys for the reads of later writes; `None` on a local database, or if no pool holds the number.
    pub keys: Option<Arc<CallKeys>>,
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
        let caller = call.caller.number(None);
        for _ in 0..MAX_ROUTE_TRIES {
            let owner = self.owner_of_number(call.virtual_number).await?;
            let writer = match &owner {
                Some(tenant) => self.writers.tenant(tenant),
                None => self.writers.common(),
            };
            let reads = self
                .read_ahead(|| self.reads_of_begin(call.virtual_number, caller, call.started_at));
            let (wanted, is_sharded) = (call.clone(), self.writers.is_sharded());
            let write = move |tx: &Tx<'_>| {
                let number = numbers::find(tx, wanted.virtual_number)?;
                let found = number.as_ref().map(|number| &number.tenant_id);
                if is_sharded && found != owner.as_ref() {
                    return Ok(None);
                }
                route_call(tx, &wanted, number).map(Some)
            };
            let routed: Result<_, StoreError> = writer.write_with(reads, write).await;
            if let Some((routed, voice)) = routed? {
                return Ok(self.on_routed(&call.call_sid, routed, voice).await);
            }
            let number_key = self.keys.number_key(call.virtual_number);
            self.known_numbers.remove(&number_key);
        }
        Err(StoreError::Unavailable(
            "the number moves between tenants".into(),
        ))
    }

    /// Returns the tenant of a number, where tenants have writers of their own; it may be outdated. `None` if no pool
    /// holds the number.
    async fn owner_of_number(&self, number: PhoneNumber) -> Result<Option<TenantId>, StoreError> {
        if !self.writers.is_sharded() {
            return Ok(None);
        }
        let number_key = self.keys.number_key(number);
        if let Some((tenant, _)) = self.known_numbers.get(&number_key) {
            return Ok(Some(tenant));
        }
        let read = self
            .readers
            .look_up(move |snapshot| numbers::find(snapshot, number));
        let found = read.await.map_err(|error: StoreError| error)?;
        if let Some(found) = &found {
            let row = (found.tenant_id.clone(), found.mode);
            self.known_numbers.insert(number_key, row);
        }
        Ok(found.map(|found| found.tenant_id))
    }

    async fn on_routed(
        &self,
        call_sid: &CallSid,
        mut routed: RoutedCall,
        voice: Option<VoiceVersion>,
    ) -> RoutedCall {
        if let Some((tenant, keys)) = routed.tenant.as_ref().zip(routed.keys.as_ref()) {
            let tenant = &tenant.tenant_id;
            let row = (tenant.clone(), keys.mode);
            self.known_numbers.insert(keys.number_key.clone(), row);
            self.known_calls.insert(call_sid.clone(), tenant.clone());
        }
        if let Some(voice) = voice {
            routed.voice = Some(self.voice(voice).await);
        }
        routed
    }
}

/// Routes a call. Returns the version of its prompts, whose audio is read afterwards.
fn route_call(
    tx: &Tx<'_>,
    call: &NewCall,
    number: Option<NumberRow>,
) -> Result<(RoutedCall, Option<VoiceVersion>), StoreError> {
    let Some(number) = number else {
        let unknown = RoutedCall {
            route: Route::UnknownNumber,
            voice: None,
            tenant: None,
            keys: None,
        };
        return Ok((unknown, None));
    };
    let settings = settings::cached(tx, &number.tenant_id)?;
    let voice = prompts::voice_version(tx, &number.tenant_id, &settings)?;
    let country = settings.country.as_deref().and_then(numbering::country);
    let caller = call.caller.number(country);
    let found = collection(tx, &number, caller, &settings, call.started_at)?;
    let (route, allocation) = found.map_or((Route::NotInUse, None), |(collect, allocation)| {
        (Route::Collect(collect), allocation)
    });
    let begun = OpenCall {
        record: begun(call, &number, caller, allocation.as_ref()),
        allocation,
    };
    insert(tx, &begun.record, &number)?;
    if let Some(id) = &begun.record.greenpin_id {
        count_attempt(tx, &number.tenant_id, id)?;
    }
    call_event::write_progress(tx, &begun, Payload::CallInitiated, call.started_at)?;
    let tenant = Some(CallTenant {
        tenant_id: number.tenant_id.clone(),
        settings,
        recording_key: tx.recording_key(&number.tenant_id)?,
    });
    // Only reads over a network need them.
    let keys = tx.is_remote().then(|| {
        let owner = (&number.tenant_id, number.mode);
        CallKeys::new(tx.keys(), number.number_key.clone(), owner, caller)
    });
    let routed = RoutedCall {
        route,
        voice: None,
        tenant,
        keys: keys.map(Arc::new),
    };
    Ok((routed, Some(voice)))
}

/// Returns the record of a call at its begin.
fn begun(
    call: &NewCall,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    allocation: Option<&EventAllocation>,
) -> CallRecord {
    CallRecord {
        call_sid: call.call_sid.clone(),
        tenant_id: number.tenant_id.clone(),
        virtual_number: call.virtual_number,
        greenpin_id: allocation.map(|allocation| allocation.greenpin_id.clone()),
        caller,
        caller_withheld: call.caller.withheld,
        trunk: call.trunk.clone(),
        node: call.node.clone(),
        started_at: call.started_at,
        answered_at: None,
        dialled: None,
        dialled_at: None,
        bridged_at: None,
        ended_at: None,
        call_type: None,
        cause: None,
        legs: CallLegs::default(),
        dial_call_status: None,
        sip_cause: None,
        hangup_by: None,
        pin_attempts: 0,
        recording: None,
        caller_media: None,
        callee_media: None,
    }
}

/// Inserts the record of a call. The row holds the number of a withheld caller for matching; a search by party must not
/// find it.
fn insert(tx: &Tx<'_>, call: &CallRecord, number: &NumberRow) -> Result<(), StoreError> {
    let key = tx.tenant_key(&call.tenant_id)?;
    let exposed = call.caller.map(PhoneNumber::expose).unwrap_or_default();
    let parties = format!("{} {exposed}", call.virtual_number.expose());
    let row = (
        call.tenant_id.as_str(),
        call.call_sid.as_str(),
        &number.number_key,
        call.greenpin_id.as_ref().map(GreenpinId::as_str),
        call.shown_caller().map(|caller| key.party_key(caller)),
        key.encrypt(&record::context(call.call_sid.as_str()), parties)?,
        i64::from(call.caller_withheld),
        &call.trunk,
        &call.node,
        call.started_at.micros(),
    );
    tx.insert_batched(sql::CALL_INSERT, row)
}

/// Counts a call for an allocation.
pub(crate) fn count_attempt(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: &GreenpinId,
) -> Result<(), StoreError> {
    let key = (tenant.as_str(), id.as_str());
    tx.execute_deferred(sql::ALLOCATION_COUNT_ATTEMPT, key)
}

/// Returns the rules of the PIN collection, and the allocation of the call if it is known without a PIN; `None` if no
/// allocation is active on the number or its tenant is suspended.
pub(crate) fn collection(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    settings: &TenantSettings,
    now: Timestamp,
) -> Result<Option<(Collect, Option<EventAllocation>)>, StoreError> {
    if number.suspended {
        return Ok(None);
    }
    let target = match number.mode {
        NumberMode::Exclusive => exclusive_target(snapshot, number, now)?,
        NumberMode::Shared => shared_target(snapshot, number, caller, now)?,
    };
    Ok(target.map(|(allocation, max_attempts)| {
        (
            collect(settings, number.pin_length, max_attempts),
            allocation,
        )
    }))
}

/// Returns the allocation that holds an exclusive number, and the maximum number of wrong attempts in one call.
fn exclusive_target(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    now: Timestamp,
) -> Result<Option<(Option<EventAllocation>, u8)>, StoreError> {
    if number.held_by(now).is_none() {
        return Ok(None);
    }
    let holder = allocations::find_holder(snapshot, number)?;
    let holder = holder.ok_or(StoreError::Unreadable("allocation of a number"))?;
    let max_attempts = holder.allocation.max_pin_attempts;
    Ok(Some((Some(holder.for_events), max_attempts)))
}

/// Returns the only allocation of a shared number that lists the caller, and the maximum number of wrong attempts in
/// one call. The outer `None` means that no allocation is active.
fn shared_target(
    snapshot: &Snapshot<'_>,
    number: &NumberRow,
    caller: Option<PhoneNumber>,
    now: Timestamp,
) -> Result<Option<(Option<EventAllocation>, u8)>, StoreError> {
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
        [only] => Some(only.for_events()),
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
