//! Health of endpoints: an endpoint without a success for days is disabled, with an event.

use std::time::Duration;

use crate::store::Tx;
use crate::store::events;
use crate::store::events::outbox::DeliveryKey;
use crate::store::events::payload::EndpointData;
use crate::store::events::sql;
use crate::store::events::sql::FailureRow;
use crate::store::events::{Draft, Payload, Subject};
use crate::store::tenants::settings;
use crate::store::{EndpointId, Store, StoreError, TenantId, TenantStore, Timestamp};

/// Minimum number of consecutive failures before an endpoint is disabled. A clock that jumps can turn an hour into
/// days.
pub const MIN_FAILURES: i64 = 10;

impl Store {
    /// Returns the number of disabled endpoints.
    pub async fn disabled_endpoints(&self) -> Result<u64, StoreError> {
        self.readers
            .read(|snapshot| snapshot.count(sql::ENDPOINTS_DISABLED, ()))
            .await
    }
}

impl TenantStore {
    /// Enables an endpoint; waiting events are delivered first. Returns `false` if the tenant does not have the
    /// endpoint.
    pub async fn enable_endpoint(&self, id: &EndpointId) -> Result<bool, StoreError> {
        let (tenant, id) = (self.tenant_id.clone(), id.clone());
        let write = self.writer().write(move |tx| {
            let found = tx.execute(sql::ENDPOINT_ENABLE, (tenant.as_str(), id.as_str()))? > 0;
            tx.cache().tenants.change();
            tx.wake_deliverer();
            Ok(found)
        });
        write.await
    }
}

/// Resets the failures of an endpoint.
pub(crate) fn on_success(tx: &Tx<'_>, key: &DeliveryKey) -> Result<(), StoreError> {
    tx.execute_deferred(sql::ENDPOINT_SUCCEEDED, [key.endpoint.as_str()])
}

/// Counts a failure of an endpoint. Disables it after failures for `disable_after`.
pub(crate) fn on_failure(
    tx: &Tx<'_>,
    key: &DeliveryKey,
    disable_after: Duration,
    now: Timestamp,
) -> Result<(), StoreError> {
    let row = (now.micros(), key.endpoint.as_str());
    let found = tx.row(sql::ENDPOINT_FAILED, row, FailureRow::read)?;
    let Some(failure) = found else {
        return Ok(());
    };
    if now.since(failure.failing_since) < disable_after || failure.failures < MIN_FAILURES {
        return Ok(());
    }
    tracing::error!(endpoint_id = %key.endpoint, failures = failure.failures, "endpoint disabled after days of failures");
    disable(tx, key, &failure, now)
}

/// Disables an endpoint that wants no more events, unless it is disabled already.
pub(crate) fn on_gone(tx: &Tx<'_>, key: &DeliveryKey, now: Timestamp) -> Result<(), StoreError> {
    let row = (now.micros(), key.endpoint.as_str());
    match tx.row(sql::ENDPOINT_FAILED, row, FailureRow::read)? {
        Some(failure) => disable(tx, key, &failure, now),
        None => Ok(()),
    }
}

fn disable(
    tx: &Tx<'_>,
    key: &DeliveryKey,
    failure: &FailureRow,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(sql::ENDPOINT_DISABLE, (now.micros(), key.endpoint.as_str()))?;
    tx.cache().tenants.change();
    write_disabled_event(
        tx,
        &key.tenant,
        &key.endpoint,
        &failure.url,
        failure.failing_since,
        now,
    )
}

fn write_disabled_event(
    tx: &Tx<'_>,
    tenant: &TenantId,
    endpoint: &EndpointId,
    url: &str,
    since: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let zone = settings::cached(tx, tenant)?.zone();
    let payload = Payload::EndpointDisabled(EndpointData {
        endpoint_id: endpoint.as_str(),
        url,
        failing_since: since.rfc3339(&zone),
    });
    events::write(
        tx,
        &Draft {
            tenant,
            zone: &zone,
            subject: Subject::Tenant,
            occurred_at: now,
            payload,
        },
    )
}
