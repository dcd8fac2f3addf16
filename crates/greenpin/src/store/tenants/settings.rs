//! Settings of a tenant.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::destinations::DestinationRules;
use crate::store::Tx;
use crate::store::core::reader::Snapshot;
use crate::store::tenants::endpoints;
use crate::store::tenants::sql;
use crate::store::{EndpointSpec, GuessOdds, Store, StoreError, TenantId, TenantStore, Timestamp};

/// Lifetime of a cached copy.
const CACHE_TTL: Duration = Duration::from_secs(1);

/// Cached copies with the time of their read.
pub(crate) type SettingsCache = HashMap<TenantId, (Instant, Arc<TenantSettings>)>;

/// Settings of a tenant, with the names of the API. Durations are whole seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TenantSettings {
    /// IANA name of the time zone for times in answers and events.
    #[schema(required, examples("Asia/Kolkata"))]
    pub timezone: String,
    /// ISO 3166-1 code for numbers that a trunk sends without `+`.
    #[schema(required, pattern = "^[A-Z]{2}$", examples("IN"))]
    pub country: Option<String>,
    /// Minimum duration of an allocation in seconds.
    #[schema(required, minimum = 300, maximum = 14688000)]
    pub min_duration: u32,
    /// Maximum duration of an allocation in seconds.
    #[schema(required, minimum = 300, maximum = 14688000)]
    pub max_duration: u32,
    /// Cool-off in seconds before a PIN is used again on its number.
    #[schema(required, minimum = 0, maximum = 2592000)]
    pub pin_cooloff: u32,
    /// Callers that may open an allocation with its PIN.
    #[schema(required)]
    pub caller_policy: CallerPolicy,
    /// Maximum probability that unlisted callers guess a PIN of a shared number within a year; `null` for no limit.
    #[schema(required, value_type = Option<f64>, exclusive_minimum = 0, maximum = 1)]
    pub max_guess_odds: Option<GuessOdds>,
    /// Order of dialling several numbers of the other side.
    #[schema(required)]
    pub dial_strategy: DialStrategy,
    /// Ring time of each number in seconds.
    #[schema(required, minimum = 5, maximum = 180)]
    pub ring_timeout: u32,
    /// Maximum duration of a connected call in seconds.
    #[schema(required, minimum = 10, maximum = 86400)]
    pub max_call_duration: u32,
    /// Condition for a dialled party to accept a call.
    #[schema(required)]
    pub accept_call: AcceptCall,
    /// Announce the kind of call to a dialled party before the connection.
    #[schema(required)]
    pub whisper: bool,
    /// Seconds before the maximum duration of a call at which both parties hear a tone; 0 for no tone.
    #[schema(required, minimum = 0, maximum = 3600)]
    pub warning_tone: u32,
    /// Announce the recording to both parties.
    #[schema(required)]
    pub record_announcement: bool,
    /// Prompts for callers.
    #[schema(required)]
    pub prompts: PromptSettings,
    /// Rate limit of the API; `null` for the default of the operator.
    #[schema(required)]
    pub rate_limit: Option<RateLimit>,
    /// Limit of incoming calls; `null` for the default of the operator.
    #[schema(required)]
    pub call_limit: Option<CallLimit>,
    /// Retention of data.
    #[schema(required)]
    pub retention: Retention,
    /// Numbers that may be dialled. Only the operator can change them.
    #[schema(required)]
    pub destinations: DestinationRules,
}

/// Prompts for callers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PromptSettings {
    /// Language of the built-in prompts.
    #[schema(required, examples("en"))]
    pub language: String,
}

impl Default for PromptSettings {
    fn default() -> Self {
        Self {
            language: "en".into(),
        }
    }
}

/// Condition for a dialled party to accept a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcceptCall {
    /// The party answers.
    Answer,
    /// The party presses 1. A mailbox does not.
    Key,
}

/// Rate limit of the API: a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RateLimit {
    /// Sustained requests per second: 1 or more.
    #[schema(minimum = 1)]
    pub requests_per_second: u32,
    /// Size of a burst in requests: 1 or more.
    #[schema(minimum = 1)]
    pub burst: u32,
}

/// Limit of calls per tenant on each node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallLimit {
    /// Maximum number of concurrent calls: 1 or more.
    #[schema(minimum = 1)]
    pub max_calls: u32,
    /// New calls per second, and the size of a burst: 1 or more.
    #[schema(minimum = 1)]
    pub calls_per_second: u32,
}

/// Days after its end from which data is removed; `null` for unlimited retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Retention {
    /// Call records. The removal of a record includes its recording.
    #[schema(required, minimum = 1, maximum = 3650)]
    pub calls: Option<u32>,
    /// Recordings.
    #[schema(required, minimum = 1, maximum = 3650)]
    pub recordings: Option<u32>,
    /// Expired and deleted allocations.
    #[schema(required, minimum = 1, maximum = 3650)]
    pub ended_allocations: Option<u32>,
    /// Traces of calls; 0: none are recorded.
    #[schema(required, minimum = 0, maximum = 3650)]
    pub trace: u32,
}

/// Default retention of traces, in days.
const DEFAULT_TRACE_DAYS: u32 = 7;

impl Default for Retention {
    fn default() -> Self {
        Self {
            calls: None,
            recordings: None,
            ended_allocations: None,
            trace: DEFAULT_TRACE_DAYS,
        }
    }
}

/// Callers that may open an allocation with its PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallerPolicy {
    /// Any caller with the PIN.
    Any,
    /// Only numbers in `from` or `to`.
    Listed,
}

/// Order of dialling several numbers of the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DialStrategy {
    /// One after the other, in the given order.
    Sequential,
    /// All at once.
    Parallel,
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self {
            timezone: "Asia/Kolkata".into(),
            country: None,
            min_duration: 300,
            max_duration: 14_688_000,
            pin_cooloff: 3600,
            caller_policy: CallerPolicy::Any,
            max_guess_odds: None,
            dial_strategy: DialStrategy::Sequential,
            ring_timeout: 30,
            max_call_duration: 3600,
            accept_call: AcceptCall::Answer,
            whisper: false,
            warning_tone: 0,
            record_announcement: false,
            prompts: PromptSettings::default(),
            rate_limit: None,
            call_limit: None,
            retention: Retention::default(),
            destinations: DestinationRules::default(),
        }
    }
}

impl TenantSettings {
    /// Returns the time zone.
    pub fn zone(&self) -> TimeZone {
        // The name was valid at the change of the settings. If the zone has been abolished since, UTC applies.
        TimeZone::get(&self.timezone).unwrap_or(TimeZone::UTC)
    }

    pub(crate) fn cooloff(&self) -> Duration {
        Duration::from_secs(self.pin_cooloff.into())
    }

    pub(crate) fn stored(&self) -> Result<String, StoreError> {
        serde_json::to_string(self).map_err(|_| StoreError::Unreadable("settings"))
    }
}

pub(crate) fn parse(text: &str) -> Result<TenantSettings, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable("settings"))
}

/// Returns the settings in this transaction; the defaults if the tenant does not exist.
pub(crate) fn cached(tx: &Tx<'_>, tenant: &TenantId) -> Result<Arc<TenantSettings>, StoreError> {
    tx.cache().tenants.settings(tenant, || read(tx, tenant))
}

/// Reads the current settings; the defaults if the tenant does not exist.
pub(crate) fn read(
    snapshot: &Snapshot<'_>,
    tenant: &TenantId,
) -> Result<TenantSettings, StoreError> {
    let text = snapshot.row(sql::TENANT_SETTINGS, [tenant.as_str()], |row| {
        row.get::<String>("settings")
    })?;
    text.as_deref().map_or(Ok(TenantSettings::default()), parse)
}

/// Changes the settings of a tenant inside a transaction. Returns the new settings.
pub(crate) fn change_in(
    tx: &Tx<'_>,
    tenant: &TenantId,
    change: impl FnOnce(&mut TenantSettings),
) -> Result<TenantSettings, StoreError> {
    let mut settings = TenantSettings::clone(&*cached(tx, tenant)?);
    change(&mut settings);
    tx.execute(
        sql::TENANT_SETTINGS_UPDATE,
        (settings.stored()?, tenant.as_str()),
    )?;
    tx.cache().tenants.change();
    Ok(settings)
}

/// Failure to change the settings of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// `min_duration` exceeds `max_duration`.
    #[error("min_duration must not exceed max_duration")]
    Durations,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TenantStore {
    /// Returns the settings, at most one second old. Code that needs exact values reads them in its transaction.
    pub async fn settings(&self) -> Result<Arc<TenantSettings>, StoreError> {
        let cached = self.store.cached_settings().get(&self.tenant_id).cloned();
        if let Some((_, settings)) = cached.filter(|(read_at, _)| read_at.elapsed() < CACHE_TTL) {
            return Ok(settings);
        }
        let tenant = self.tenant_id.clone();
        let settings = self
            .store
            .readers
            .look_up(move |snapshot| read(snapshot, &tenant))
            .await;
        let settings = Arc::new(settings.map_err(|error: StoreError| error)?);
        self.store
            .cached_settings()
            .insert(self.tenant_id.clone(), (Instant::now(), settings.clone()));
        Ok(settings)
    }

    /// Changes the settings, and replaces the list of webhook endpoints if one is given. Returns the ids and secrets
    /// of new endpoints.
    ///
    /// # Errors
    ///
    /// The result breaks a rule, because another request has changed the settings since this one was checked.
    pub async fn update_settings(
        &self,
        change: impl Fn(&mut TenantSettings) + Send + 'static,
        webhooks: Option<Vec<EndpointSpec>>,
        now: Timestamp,
    ) -> Result<Vec<(crate::store::EndpointId, String)>, SettingsError> {
        let tenant = self.tenant_id.clone();
        let created = self.writer().write(move |tx| {
            let changed = change_in(tx, &tenant, &change)?;
            if changed.min_duration > changed.max_duration {
                return Err(SettingsError::Durations);
            }
            match &webhooks {
                Some(webhooks) => Ok(endpoints::replace(tx, &tenant, webhooks, now)?),
                None => Ok(Vec::new()),
            }
        });
        let created = created.await;
        self.store.forget_settings(&self.tenant_id);
        created
    }
}

impl Store {
    /// Makes the next read of a tenant's settings read the database.
    pub(crate) fn forget_settings(&self, tenant: &TenantId) {
        self.cached_settings().remove(tenant);
    }

    fn cached_settings(&self) -> std::sync::MutexGuard<'_, SettingsCache> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
