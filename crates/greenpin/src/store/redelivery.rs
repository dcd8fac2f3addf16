//! Sending an event again.

use super::writer::Tx;
use super::{EventId, StoreError, TenantId, TenantStore, Timestamp, endpoints, sql};

impl TenantStore {
    /// Queues an event again, under its own id, for each endpoint that asks for its type now; one that still waits is
    /// due now. Returns for how many; `None`: the tenant has no such event.
    pub async fn redeliver(&self, event: &EventId, now: Timestamp) -> Result<Option<usize>, StoreError> {
        let (tenant, event) = (self.tenant_id.clone(), event.clone());
        self.store.writer.write(move |tx| redeliver(tx, &tenant, &event, now)).await
    }
}

fn redeliver(
    tx: &Tx<'_>,
    tenant: &TenantId,
    event: &EventId,
    now: Timestamp,
) -> Result<Option<usize>, StoreError> {
    let found = tx.row(sql::EVENT_SELECT, (tenant.as_str(), event.as_str()), |row| {
        Ok((row.get::<String>(0)?, row.get::<i64>(1)?, row.get::<Option<String>>(2)?))
    })?;
    let Some((event_type, sequence, greenpin_id)) = found else { return Ok(None) };
    let queue = greenpin_id.as_deref().unwrap_or(event.as_str());
    let endpoints = endpoints::of(tx, tenant)?;
    let wanting: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.takes(&event_type)).collect();
    for endpoint in &wanting {
        let (tenant, event, endpoint) = (tenant.as_str(), event.as_str(), endpoint.id.as_str());
        // Whoever is sending it just now claimed it as it was made before: his end of it will not be the end of this.
        tx.execute(sql::DELIVERY_AGAIN, (tenant, event, endpoint, queue, sequence, now.micros()))?;
    }
    tx.wake_deliverer();
    Ok(Some(wanting.len()))
}
