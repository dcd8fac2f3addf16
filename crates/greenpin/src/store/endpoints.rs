//! Webhook endpoints of a tenant.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::database::Row;
use super::writer::Tx;
use super::{EndpointId, StoreError, TenantId, TenantStore, Timestamp, sql};
use crate::random;

/// An endpoint as the tenant asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    /// The one to change; `None`: the one with the same URL, else a new one.
    pub id: Option<EndpointId>,
    /// Where events are POSTed to.
    pub url: String,
    /// The types of event that it takes; `None`: all.
    pub types: Option<Vec<String>>,
    /// Events wait while it is set.
    pub paused: bool,
}

/// An endpoint as it is. Its secret is shown once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Where events are POSTed to.
    pub url: String,
    /// The types of event that it takes; `None`: all.
    pub types: Option<Vec<String>>,
    /// Events wait while it is set.
    pub paused: bool,
}

impl Endpoint {
    pub(super) fn takes(&self, event_type: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.iter().any(|wanted| wanted == event_type))
    }

    fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        let types: Option<String> = row.get(2)?;
        Ok(Self {
            id: EndpointId::stored(row.get(0)?),
            url: row.get(1)?,
            types: types.and_then(|types| serde_json::from_str(&types).ok()),
            paused: row.get::<i64>(3)? != 0,
        })
    }
}

impl TenantStore {
    /// The endpoints, oldest first.
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self
            .store
            .readers
            .read(move |snapshot| snapshot.rows(sql::ENDPOINTS_SELECT, [tenant.as_str()], Endpoint::read));
        read.await
    }
}

pub(super) fn of(tx: &Tx<'_>, tenant: &TenantId) -> Result<Arc<[Endpoint]>, StoreError> {
    tx.tenants().endpoints(tenant, || tx.rows(sql::ENDPOINTS_SELECT, [tenant.as_str()], Endpoint::read))
}

/// Makes the list what it is asked to be; returns ids and secrets of the new ones.
pub(super) fn replace(
    tx: &Tx<'_>,
    tenant: &TenantId,
    wanted: &[EndpointSpec],
    now: Timestamp,
) -> Result<Vec<(EndpointId, String)>, StoreError> {
    let mut old = of(tx, tenant)?.to_vec();
    let mut made = Vec::new();
    for spec in wanted {
        let same = |endpoint: &Endpoint| match &spec.id {
            Some(id) => endpoint.id == *id,
            None => endpoint.url == spec.url,
        };
        match old.iter().position(same) {
            Some(index) => update(tx, tenant, &old.remove(index).id, spec)?,
            None => made.push(insert(tx, tenant, spec, now)?),
        }
    }
    for endpoint in old {
        tx.execute(sql::ENDPOINT_REMOVE, (now.micros(), tenant.as_str(), endpoint.id.as_str()))?;
    }
    tx.tenants().change();
    // A pause that ended, or an endpoint that went, is for the deliverer to see.
    tx.wake_deliverer();
    Ok(made)
}

fn update(tx: &Tx<'_>, tenant: &TenantId, id: &EndpointId, spec: &EndpointSpec) -> Result<(), StoreError> {
    let values = (&spec.url, types(spec), i64::from(spec.paused), tenant.as_str(), id.as_str());
    tx.execute(sql::ENDPOINT_UPDATE, values).map(|_| ())
}

/// What an endpoint's secret is sealed for.
pub(super) fn secret_context(id: &EndpointId) -> String {
    format!("secret {id}")
}

fn insert(
    tx: &Tx<'_>,
    tenant: &TenantId,
    spec: &EndpointSpec,
    now: Timestamp,
) -> Result<(EndpointId, String), StoreError> {
    let id = EndpointId::new(now);
    let mut key = [0; 32];
    random::fill(&mut key);
    let secret = format!("whsec_{}", STANDARD.encode(key));
    let sealed = tx.tenant_key(tenant)?.seal(&secret_context(&id), secret.as_str())?;
    tx.execute(
        sql::ENDPOINT_INSERT,
        (tenant.as_str(), id.as_str(), &spec.url, types(spec), sealed, i64::from(spec.paused), now.micros()),
    )?;
    Ok((id, secret))
}

fn types(spec: &EndpointSpec) -> Option<String> {
    spec.types.as_ref().map(|types| serde_json::Value::from(types.clone()).to_string())
}
