//! What a tenant can set.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::Tx;
use crate::store::core::reader::Snapshot;
use crate::store::tenants::endpoints;
use crate::store::tenants::sql;
use crate::store::{EndpointSpec, StoreError, TenantId, TenantStore, Timestamp};

/// How long a copy in memory serves.
const CACHE_TTL: Duration = Duration::from_secs(1);

/// Copies in memory, with the moment that each was read.
pub(crate) type SettingsCache = HashMap<TenantId, (Instant, Arc<TenantSettings>)>;

/// A tenant's settings, in the names of the API. Times are whole seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TenantSettings {
    /// IANA name of the zone that times are written in.
    #[schema(required, examples("Asia/Kolkata"))]
    pub timezone: String,
    /// ISO 3166-1 code for numbers that a trunk presents without `+`.
    #[schema(required, pattern = "^[A-Z]{2}$", examples("IN"))]
    pub country: Option<String>,
    /// Shortest duration of an allocation in seconds.
    #[schema(required, minimum = 300, maximum = 14688000)]
    pub min_duration: u32,
    /// Longest duration of an allocation in seconds.
    #[schema(required, minimum = 300, maximum = 14688000)]
    pub max_duration: u32,
    /// Seconds that a PIN is not drawn again on its number.
    #[schema(required, minimum = 0, maximum = 2592000)]
    pub pin_cooloff: u32,
    /// Who may open an allocation with its PIN.
    #[schema(required)]
    pub caller_policy: CallerPolicy,
    /// How several numbers of the other side are called.
    #[schema(required)]
    pub dial_strategy: DialStrategy,
    /// Seconds that each number is rung.
    #[schema(required, minimum = 5, maximum = 180)]
    pub ring_timeout: u32,
    /// Seconds that two parties may talk.
    #[schema(required, minimum = 10, maximum = 86400)]
    pub max_call_duration: u32,
    /// When a dialled party has taken a call.
    #[schema(required)]
    pub accept_call: AcceptCall,
    /// Tell a dialled party what kind of call this is before it is connected.
    #[schema(required)]
    pub whisper: bool,
    /// Seconds before the end of the longest call at which both parties hear a tone; 0: never.
    #[schema(required, minimum = 0, maximum = 3600)]
    pub warning_tone: u32,
    /// Tell both parties that they are recorded.
    #[schema(required)]
    pub record_announcement: bool,
    /// What callers hear.
    #[schema(required)]
    pub prompts: PromptSettings,
    /// How often the API may be asked; `None`: as the operator has configured it.
    #[schema(required)]
    pub rate_limit: Option<RateLimit>,
    /// How many calls may come in; `None`: as the operator has configured it.
    #[schema(required)]
    pub call_limit: Option<CallLimit>,
    /// What is not kept for ever.
    #[schema(required)]
    pub retention: Retention,
}

/// What callers hear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PromptSettings {
    /// The language of the prompts that the tenant has no audio of its own for.
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

/// When a dialled party has taken a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcceptCall {
    /// When it answers.
    Answer,
    /// When it presses 1: a mailbox that answers never does.
    Key,
}

/// How often the API may be asked: a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RateLimit {
    /// Requests a second in the long run: 1 or more.
    #[schema(minimum = 1)]
    pub requests_per_second: u32,
    /// Requests at once after a quiet time: 1 or more.
    #[schema(minimum = 1)]
    pub burst: u32,
}

/// How many calls a node takes for a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallLimit {
    /// Calls at once: 1 or more.
    #[schema(minimum = 1)]
    pub max_calls: u32,
    /// New calls a second, and as many at once after a quiet time: 1 or more.
    #[schema(minimum = 1)]
    pub calls_per_second: u32,
}

/// Days after which something is removed, counted from its end; `null` in JSON: it is kept for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Retention {
    /// Call records. A recording goes with its record at the latest.
    #[schema(required, minimum = 1, maximum = 3650)]
    pub calls: Option<u32>,
    /// Recordings.
    #[schema(required, minimum = 1, maximum = 3650)]
    pub recordings: Option<u32>,
    /// Allocations that have expired or were deleted.
    #[schema(required, minimum = 1, maximum = 3650)]
    pub ended_allocations: Option<u32>,
}

/// Who may open an allocation with its PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallerPolicy {
    /// Anyone who has it.
    Any,
    /// Only numbers in `from` or `to`.
    Listed,
}

/// How several numbers of the other side are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DialStrategy {
    /// One after the other, in the order given.
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
        }
    }
}

impl TenantSettings {
    /// The zone that times are written in.
    pub fn zone(&self) -> TimeZone {
        // The name was checked when it was set; a zone that has been abolished since is written in UTC.
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

/// The settings that hold in this transaction; the defaults for a tenant that does not exist.
pub(crate) fn cached(tx: &Tx<'_>, tenant: &TenantId) -> Result<Arc<TenantSettings>, StoreError> {
    tx.cache().tenants.settings(tenant, || read(tx, tenant))
}

/// The settings that hold now; the defaults for a tenant that does not exist.
pub(crate) fn read(
    snapshot: &Snapshot<'_>,
    tenant: &TenantId,
) -> Result<TenantSettings, StoreError> {
    let text = snapshot.row(sql::TENANT_SETTINGS, [tenant.as_str()], |row| {
        row.get::<String>("settings")
    })?;
    text.as_deref().map_or(Ok(TenantSettings::default()), parse)
}

impl TenantStore {
    /// The settings, at most a second old. What must be exact reads them again inside its transaction.
    pub async fn settings(&self) -> Result<Arc<TenantSettings>, StoreError> {
        let cached = self.cache().get(&self.tenant_id).cloned();
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
        self.cache()
            .insert(self.tenant_id.clone(), (Instant::now(), settings.clone()));
        Ok(settings)
    }

    /// Changes the settings, and replaces the list of webhook endpoints if one is given. Returns the ids and secrets
    /// of endpoints that were made.
    pub async fn update_settings(
        &self,
        change: impl Fn(&mut TenantSettings) + Send + 'static,
        webhooks: Option<Vec<EndpointSpec>>,
        now: Timestamp,
    ) -> Result<Vec<(crate::store::EndpointId, String)>, StoreError> {
        let tenant = self.tenant_id.clone();
        let made = self.store.writer.write(move |tx| {
            let mut settings = TenantSettings::clone(&*cached(tx, &tenant)?);
            change(&mut settings);
            tx.execute(
                sql::TENANT_SETTINGS_UPDATE,
                (settings.stored()?, tenant.as_str()),
            )?;
            tx.cache().tenants.change();
            match &webhooks {
                Some(webhooks) => endpoints::replace(tx, &tenant, webhooks, now),
                None => Ok(Vec::new()),
            }
        });
        let made = made.await;
        self.cache().remove(&self.tenant_id);
        made
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, SettingsCache> {
        self.store
            .settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
