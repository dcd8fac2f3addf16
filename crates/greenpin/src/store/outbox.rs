//! The outbox: which event is to go to which endpoint, and when.
//!
//! At each endpoint the events of one allocation form a queue. Its first is `due`, the others are `waiting`, so that a
//! claim never looks at what cannot go yet.

use std::time::Duration;

use super::writer::Tx;
use super::{EndpointId, EventId, Store, StoreError, TenantId, Timestamp, endpoints, events, numbers, sql};

/// An event that is to go to an endpoint now.
#[derive(Clone)]
pub struct Delivery {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The event.
    pub event_id: EventId,
    /// The endpoint.
    pub endpoint_id: EndpointId,
    /// Tries so far, this one included.
    pub attempts: u32,
    /// When the event was written, or was last to be sent again.
    pub created_at: Timestamp,
    /// Where it goes.
    pub url: String,
    /// The endpoint's secret, `whsec_…`.
    pub secret: String,
    /// The event's JSON.
    pub body: String,
    queue: String,
}

impl Store {
    /// Takes up to `limit` due deliveries. Each comes back by itself if nothing is heard of it for the time of `lease`.
    pub async fn claim_deliveries(
        &self,
        limit: u32,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.writer.write(move |tx| claim(tx, limit, now + lease, now)).await
    }

    /// The delivery is over, well or for good; the next one of its queue is due.
    pub async fn finish_delivery(
        &self,
        delivery: &Delivery,
        delivered: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let delivery = delivery.clone();
        let made = delivery.created_at;
        let key = (delivery.tenant_id, delivery.event_id, delivery.endpoint_id, delivery.queue, made);
        self.writer.write(move |tx| finish(tx, &key, delivered, now)).await
    }

    /// The delivery is to be tried again at a later moment.
    pub async fn retry_delivery(&self, delivery: &Delivery, due_at: Timestamp) -> Result<(), StoreError> {
        let delivery = delivery.clone();
        let write = self.writer.write(move |tx| {
            let key =
                (delivery.tenant_id.as_str(), delivery.event_id.as_str(), delivery.endpoint_id.as_str());
            let made = delivery.created_at.micros();
            tx.execute(sql::DELIVERY_RETRY, (due_at.micros(), key.0, key.1, key.2, made)).map(|_| ())
        });
        write.await
    }

    /// Makes every open delivery due now. For the start of the one process that delivers: what was under way when the
    /// last one ended would otherwise hold its queue up until the lease runs out.
    pub async fn release_deliveries(&self, now: Timestamp) -> Result<(), StoreError> {
        self.writer.write(move |tx| tx.execute(sql::DELIVERIES_RELEASE, [now.micros()]).map(|_| ())).await
    }

    /// When the next delivery is due; `None`: there is none.
    pub async fn next_delivery_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let read =
            self.readers.read(|snapshot| snapshot.row(sql::DELIVERIES_NEXT_DUE, (), |row| row.get::<i64>(0)));
        Ok(read.await?.map(Timestamp::from_micros))
    }

    /// Deliveries that are not over.
    pub async fn open_deliveries(&self) -> Result<u64, StoreError> {
        let read =
            self.readers.read(|snapshot| snapshot.row(sql::DELIVERIES_OPEN, (), |row| row.get::<i64>(0)));
        Ok(read.await?.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    }

    /// Waits until a delivery was written since the last time.
    pub async fn delivery_written(&self) {
        self.deliveries.notified().await;
    }
}

/// Whose, which, where to, in which queue, and when it was made: an event that is sent again is made anew.
type Key = (TenantId, EventId, EndpointId, String, Timestamp);

fn claim(tx: &Tx<'_>, limit: u32, lease: Timestamp, now: Timestamp) -> Result<Vec<Delivery>, StoreError> {
    type Claimed = (String, String, String, String, u32, i64);
    let claimed = tx.rows(
        sql::DELIVERIES_CLAIM,
        (lease.micros(), now.micros(), limit),
        |row| -> Result<Claimed, StoreError> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        },
    )?;
    let mut deliveries = Vec::with_capacity(claimed.len());
    for (tenant, event, endpoint, queue, attempts, created_at) in claimed {
        let key = (&tenant, &event, &endpoint);
        let content = tx.row(sql::DELIVERY_CONTENT, key, |row| {
            Ok((row.get::<String>(0)?, row.get(1)?, row.get::<String>(2)?, row.get::<Option<i64>>(3)?))
        })?;
        let tenant_id = numbers::tenant_id(&tenant)?;
        let (event_id, endpoint_id) = (EventId::stored(event), EndpointId::stored(endpoint));
        let created_at = Timestamp::from_micros(created_at);
        match content {
            Some((body, url, secret, None)) => {
                let key = tx.tenant_key(&tenant_id)?;
                deliveries.push(Delivery {
                    secret: key.open(&endpoints::secret_context(&endpoint_id), &secret)?,
                    body: key.open(&events::context(&event_id), &body)?,
                    tenant_id,
                    event_id,
                    endpoint_id,
                    attempts,
                    created_at,
                    url,
                    queue,
                });
            }
            // The endpoint was taken away: nothing is owed to it.
            _ => finish(tx, &(tenant_id, event_id, endpoint_id, queue, created_at), false, now)?,
        }
    }
    Ok(deliveries)
}

fn finish(tx: &Tx<'_>, key: &Key, delivered: bool, now: Timestamp) -> Result<(), StoreError> {
    let (tenant, event, endpoint, queue, made) = key;
    let state = if delivered { "delivered" } else { "failed" };
    let row = (state, now.micros(), tenant.as_str(), event.as_str(), endpoint.as_str(), made.micros());
    tx.execute(sql::DELIVERY_FINISH, row)?;
    if tx.execute(sql::DELIVERY_NEXT, (now.micros(), endpoint.as_str(), queue))? > 0 {
        tx.wake_deliverer();
    }
    Ok(())
}
