//! Webhook endpoints of a tenant.

use call::words;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::crypto::random;
use crate::store::Tx;
use crate::store::core::crypto::TenantKey;
use crate::store::core::database::word_columns;
use crate::store::core::reader::Snapshot;
use crate::store::tenants::sql;
use crate::store::tenants::sql::EndpointRow;
use crate::store::tenants::webhook_url::canonical_webhook_url;
use crate::store::{EndpointId, StoreError, StoredAnswer, TenantId, TenantStore, Timestamp};

/// Requested endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Endpoint to change; `None` for the endpoint with the same URL, or else a new one.
    pub id: Option<EndpointId>,
    /// URL for the POST requests, in the form of [`canonical_webhook_url`].
    pub url: String,
    /// Subscribed event types; `None` for all.
    pub types: Option<Vec<String>>,
    /// Format of the body.
    pub format: EndpointFormat,
    /// Events wait while this is set.
    pub paused: bool,
}

impl EndpointSpec {
    /// Creates a new endpoint for all events in the standard format.
    pub fn to(url: impl Into<String>) -> Self {
        let (url, format) = (url.into(), EndpointFormat::Standard);
        Self {
            id: None,
            url,
            types: None,
            format,
            paused: false,
        }
    }
}

words! {
    /// Format of the body.
    pub enum EndpointFormat {
        /// JSON of the event: an envelope with `data` inside.
        Standard = "standard",
        /// All fields on one level.
        Flat = "flat",
    }
}

/// Stored endpoint. Its secret is shown once, at its creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Id of the endpoint.
    pub id: EndpointId,
    /// URL for the POST requests.
    pub url: String,
    /// Subscribed event types; `None` for all.
    pub types: Option<Vec<String>>,
    /// Format of the body.
    pub format: EndpointFormat,
    /// Events wait while this is set.
    pub paused: bool,
    /// End of the overlap in which the previous secret signs as well; in the past if there is one secret only.
    pub previous_secret_until: Timestamp,
    /// Start of the current failures; `None` after a success or before the first event.
    pub failing_since: Option<Timestamp>,
    /// Time at which it was disabled for its failures; events wait.
    pub disabled_at: Option<Timestamp>,
}

impl Endpoint {
    pub(crate) fn takes(&self, event_type: &str) -> bool {
        self.types
            .as_ref()
            .is_none_or(|types| types.iter().any(|wanted| wanted == event_type))
    }
}

impl From<EndpointRow> for Endpoint {
    fn from(row: EndpointRow) -> Self {
        Self {
            id: row.endpoint_id,
            url: row.url,
            types: row
                .types
                .and_then(|types| serde_json::from_str(&types).ok()),
            format: row.format,
            paused: row.paused,
            previous_secret_until: row.old_secret_until,
            failing_since: row.failing_since,
            disabled_at: row.disabled_at,
        }
    }
}

word_columns!(EndpointFormat);

impl TenantStore {
    /// Returns the endpoints, oldest first.
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, StoreError> {
        let tenant = self.tenant_id.clone();
        self.store
            .readers
            .read(move |snapshot| read(snapshot, &tenant))
            .await
    }

    /// Creates and returns a new secret. The previous one remains live until `until`. `None` if the tenant does not
    /// have the endpoint.
    pub async fn rotate_secret(
        &self,
        id: &EndpointId,
        until: Timestamp,
        answer: impl Fn(&String) -> StoredAnswer + Send + 'static,
    ) -> Result<Option<String>, StoreError> {
        let (id, secret) = (id.clone(), draw_secret());
        let rotate = move |tx: &Tx<'_>, tenant: &TenantId| {
            let encrypted = tx
                .tenant_key(tenant)?
                .encrypt(&secret_context(&id), secret.as_str())?;
            let row = (until.micros(), encrypted, tenant.as_str(), id.as_str());
            let found = tx.execute(sql::ENDPOINT_ROTATE, row)? > 0;
            tx.cache().tenants.change();
            Ok(found.then(|| secret.clone()))
        };
        self.write_answered(rotate, answer).await
    }
}

pub(crate) fn cached(tx: &Tx<'_>, tenant: &TenantId) -> Result<Arc<[Endpoint]>, StoreError> {
    tx.cache().tenants.endpoints(tenant, || read(tx, tenant))
}

fn read(snapshot: &Snapshot<'_>, tenant: &TenantId) -> Result<Vec<Endpoint>, StoreError> {
    let rows = snapshot.rows(sql::ENDPOINTS_SELECT, [tenant.as_str()], EndpointRow::read)?;
    Ok(rows.into_iter().map(Endpoint::from).collect())
}

/// Replaces the list of endpoints. Returns ids and secrets of the new ones.
pub(crate) fn replace(
    tx: &Tx<'_>,
    tenant: &TenantId,
    wanted: &[EndpointSpec],
    now: Timestamp,
) -> Result<Vec<(EndpointId, String)>, StoreError> {
    let mut old = cached(tx, tenant)?.to_vec();
    let mut created = Vec::new();
    for spec in wanted {
        let same = |endpoint: &Endpoint| match &spec.id {
            Some(id) => endpoint.id == *id,
            None => is_same_url(&endpoint.url, &spec.url),
        };
        match old.iter().position(same) {
            Some(index) => update(tx, tenant, &old.remove(index).id, spec)?,
            None => created.push(insert(tx, tenant, spec, now)?),
        }
    }
    for endpoint in old {
        tx.execute(
            sql::ENDPOINT_REMOVE,
            (now.micros(), tenant.as_str(), endpoint.id.as_str()),
        )?;
    }
    tx.cache().tenants.change();
    // The deliverer must learn of ended pauses and removed endpoints.
    tx.wake_deliverer();
    Ok(created)
}

/// Returns `true` if a stored URL, possibly not in canonical form, and a requested one are the same.
fn is_same_url(stored: &str, requested: &str) -> bool {
    stored == requested || canonical_webhook_url(stored).is_some_and(|stored| stored == requested)
}

fn update(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: &EndpointId,
    spec: &EndpointSpec,
) -> Result<(), StoreError> {
    let paused = i64::from(spec.paused);
    let values = (
        &spec.url,
        types(spec),
        spec.format.as_str(),
        paused,
        tenant.as_str(),
        id.as_str(),
    );
    tx.execute(sql::ENDPOINT_UPDATE, values).map(|_| ())
}

/// Returns the live secrets of an endpoint, newest first: its secret, and the old one until `old_until`.
pub(crate) fn live_secrets(
    key: &TenantKey,
    id: &EndpointId,
    sealed: String,
    (old, old_until): (Option<String>, Timestamp),
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    let context = secret_context(id);
    let old = old.filter(|_| now < old_until);
    let secrets = std::iter::once(sealed).chain(old);
    secrets
        .map(|encrypted| key.decrypt(&context, &encrypted))
        .collect()
}

/// Returns the encryption context of an endpoint's secret.
pub(crate) fn secret_context(id: &EndpointId) -> String {
    format!("secret {id}")
}

fn insert(
    tx: &Tx<'_>,
    tenant: &TenantId,
    spec: &EndpointSpec,
    now: Timestamp,
) -> Result<(EndpointId, String), StoreError> {
    let id = EndpointId::new(now);
    let secret = draw_secret();
    let encrypted = tx
        .tenant_key(tenant)?
        .encrypt(&secret_context(&id), secret.as_str())?;
    tx.execute(
        sql::ENDPOINT_INSERT,
        (
            tenant.as_str(),
            id.as_str(),
            &spec.url,
            types(spec),
            spec.format.as_str(),
            encrypted,
            i64::from(spec.paused),
            now.micros(),
        ),
    )?;
    Ok((id, secret))
}

/// Returns 32 random bytes in the format of Standard Webhooks.
fn draw_secret() -> String {
    let mut key = [0; 32];
    random::fill(&mut key);
    format!("whsec_{}", STANDARD.encode(key))
}

fn types(spec: &EndpointSpec) -> Option<String> {
    spec.types
        .as_ref()
        .map(|types| serde_json::Value::from(types.clone()).to_string())
}
