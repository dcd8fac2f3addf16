//! Test event for an endpoint. It is sent once, and is in no log.

use serde_json::json;

use super::outbox::Delivery;
use crate::store::events::sql;
use crate::store::events::sql::TestEndpointRow;
use crate::store::tenants::{endpoints, settings};
use crate::store::{EndpointId, EventId, StoreError, TenantStore, Timestamp};

/// Type of a test event.
const TEST_TYPE: &str = "test";

impl TenantStore {
    /// Returns a test event for an endpoint, signed like any other; `None` if the tenant does not have the endpoint.
    pub async fn test_event(
        &self,
        endpoint: &EndpointId,
        now: Timestamp,
    ) -> Result<Option<Delivery>, StoreError> {
        let (tenant, endpoint) = (self.tenant_id.clone(), endpoint.clone());
        let read = self.store.readers.read(move |snapshot| {
            let key = (tenant.as_str(), endpoint.as_str());
            let Some(row) = snapshot.row(sql::ENDPOINT_TO_TEST, key, TestEndpointRow::read)? else {
                return Ok(None);
            };
            let key = snapshot.tenant_key(&tenant)?;
            let old = (row.sealed_old_secret, row.old_secret_until);
            let secrets = endpoints::live_secrets(&key, &endpoint, row.sealed_secret, old, now)?;
            let event_id = EventId::new(now);
            let zone = settings::read(snapshot, &tenant)?.zone();
            let body = json!({
                "event_id": event_id.as_str(), "type": TEST_TYPE, "sequence": 0, "occurred_at": now.rfc3339(&zone),
                "tenant_id": tenant.as_str(), "greenpin_id": null, "custom_field": null, "data": {},
            });
            let target = (tenant.clone(), endpoint.clone(), row.url, row.format);
            Ok(Some(Delivery::once(target, event_id, secrets, body.to_string(), now)))
        });
        read.await
    }
}
