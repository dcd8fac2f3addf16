//! Outbox: deliveries of events to endpoints.
//!
//! At each endpoint the events of one allocation form a queue. Its first delivery is `due`, the others are `waiting`,
//! so that a claim reads due deliveries only. A claimed delivery is due again after its lease.

use std::time::Duration;

use crate::store::Tx;
use crate::store::core::reader::Snapshot;
use crate::store::events;
use crate::store::events::sql;
use crate::store::events::sql::{ClaimRow, ContentRow, DueEndpoint, QueueState};
use crate::store::tenants::endpoints;
use crate::store::{EndpointFormat, EndpointId, EventId, Store, StoreError, TenantId, Timestamp};

/// Delivery of an event to an endpoint.
#[derive(Clone)]
pub struct Delivery {
    /// Tenant of the event.
    pub tenant_id: TenantId,
    /// Id of the event.
    pub event_id: EventId,
    /// Id of the endpoint.
    pub endpoint_id: EndpointId,
    /// Number of attempts, including this one.
    pub attempts: u32,
    /// Time of the write, or of the last redelivery.
    pub created_at: Timestamp,
    /// Time of the first attempt since then.
    pub tried_at: Timestamp,
    /// URL of the endpoint.
    pub url: String,
    /// Live secrets of the endpoint, `whsec_…`, newest first.
    pub secrets: Vec<String>,
    /// Format of the body.
    pub format: EndpointFormat,
    /// JSON of the event.
    pub body: String,
    queue: String,
}

impl Delivery {
    /// Creates a delivery that is not in the outbox.
    pub(super) fn once(
        (tenant_id, endpoint_id, url, format): (TenantId, EndpointId, String, EndpointFormat),
        event_id: EventId,
        secrets: Vec<String>,
        body: String,
        now: Timestamp,
    ) -> Self {
        Self {
            queue: event_id.to_string(),
            tenant_id,
            event_id,
            endpoint_id,
            attempts: 1,
            created_at: now,
            tried_at: now,
            url,
            secrets,
            format,
            body,
        }
    }

    pub(crate) fn key(&self) -> DeliveryKey {
        DeliveryKey {
            tenant: self.tenant_id.clone(),
            event: self.event_id.clone(),
            endpoint: self.endpoint_id.clone(),
            queue: self.queue.clone(),
            created_at: self.created_at,
        }
    }
}

/// Key of a delivery. A redelivery has a new creation time: the end of an older attempt does not affect it.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryKey {
    pub(crate) tenant: TenantId,
    pub(crate) event: EventId,
    pub(crate) endpoint: EndpointId,
    queue: String,
    created_at: Timestamp,
}

struct ClaimedDelivery {
    key: DeliveryKey,
    attempts: u32,
    tried_at: Timestamp,
}

impl Store {
    /// Returns the endpoints with open deliveries, except paused and disabled ones.
    pub async fn due_endpoints(&self) -> Result<Vec<DueEndpoint>, StoreError> {
        self.readers
            .read(|snapshot| snapshot.rows(sql::DELIVERIES_DUE_ENDPOINTS, (), DueEndpoint::read))
            .await
    }

    /// Claims due deliveries for a node, with a limit for each endpoint. A claim expires after `lease`.
    pub async fn claim_deliveries(
        &self,
        node: &str,
        wanted: Vec<(DueEndpoint, u32)>,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<Delivery>, StoreError> {
        let claims = self
            .writers
            .split(wanted, |(endpoint, _)| &endpoint.tenant_id);
        let claims = claims.map(|(writer, wanted)| {
            let node = node.to_owned();
            writer.write(move |tx| claim(tx, &node, &wanted, now + lease, now))
        });
        let claimed: Result<Vec<_>, StoreError> = futures_util::future::join_all(claims)
            .await
            .into_iter()
            .collect();
        let claimed: Vec<ClaimedDelivery> = claimed?.into_iter().flatten().collect();
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        // The content is read outside the writer, whose time all jobs share.
        let opened = self
            .readers
            .read(move |snapshot| read_contents(snapshot, &claimed, now))
            .await;
        let (deliveries, obsolete) = opened.map_err(|error: StoreError| error)?;
        for (writer, obsolete) in self
            .writers
            .split(obsolete, |key: &DeliveryKey| &key.tenant)
        {
            let finish = move |tx: &Tx<'_>| {
                obsolete
                    .iter()
                    .try_for_each(|key| finish(tx, key, QueueState::Failed, now))
            };
            writer.write::<_, StoreError, _>(finish).await?;
        }
        Ok(deliveries)
    }

    /// Makes every open delivery due now. Called at the start of a single node: claims of its previous process would
    /// otherwise delay their queues until the lease expires.
    pub async fn release_deliveries(&self, now: Timestamp) -> Result<(), StoreError> {
        self.writers
            .whole()
            .write(move |tx| {
                tx.execute(sql::DELIVERIES_RELEASE, [now.micros()])
                    .map(|_| ())
            })
            .await
    }

    /// Makes the claimed deliveries of a node due now, at its restart.
    pub async fn release_deliveries_of(
        &self,
        node: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let node = node.to_owned();
        self.writers
            .whole()
            .write(move |tx| release_node(tx, &node, now))
            .await
    }

    /// Returns the number of open deliveries.
    pub async fn open_deliveries(&self) -> Result<u64, StoreError> {
        self.readers
            .read(|snapshot| snapshot.count(sql::DELIVERIES_OPEN, ()))
            .await
    }

    /// Waits for the next write of a delivery.
    pub async fn delivery_written(&self) {
        self.deliveries.notified().await;
    }
}

fn claim(
    tx: &Tx<'_>,
    node: &str,
    wanted: &[(DueEndpoint, u32)],
    lease: Timestamp,
    now: Timestamp,
) -> Result<Vec<ClaimedDelivery>, StoreError> {
    let mut claimed = Vec::new();
    for (endpoint, limit) in wanted {
        let key = (
            lease.micros(),
            now.micros(),
            node,
            endpoint.endpoint_id.as_str(),
            *limit,
        );
        let rows = tx.rows(sql::DELIVERIES_CLAIM, key, ClaimRow::read)?;
        claimed.extend(rows.into_iter().map(ClaimedDelivery::from));
    }
    Ok(claimed)
}

impl From<ClaimRow> for ClaimedDelivery {
    fn from(row: ClaimRow) -> Self {
        let key = DeliveryKey {
            tenant: row.tenant_id,
            event: row.event_id,
            endpoint: row.endpoint_id,
            queue: row.queue,
            created_at: row.created_at,
        };
        Self {
            key,
            attempts: row.attempts,
            tried_at: row.tried_at,
        }
    }
}

impl ClaimedDelivery {
    /// Reads the content of a delivery; `None` if its endpoint was removed.
    fn read_content(
        &self,
        snapshot: &Snapshot<'_>,
        now: Timestamp,
    ) -> Result<Option<Delivery>, StoreError> {
        let DeliveryKey {
            tenant,
            event,
            endpoint,
            queue,
            created_at,
        } = &self.key;
        let row = (tenant.as_str(), event.as_str(), endpoint.as_str());
        let content = snapshot.row(sql::DELIVERY_CONTENT, row, ContentRow::read)?;
        let Some(content) = content.filter(|content| content.removed_at.is_none()) else {
            return Ok(None);
        };
        let key = snapshot.tenant_key(tenant)?;
        let old = (content.sealed_old_secret, content.old_secret_until);
        let secrets = endpoints::live_secrets(&key, endpoint, content.sealed_secret, old, now)?;
        Ok(Some(Delivery {
            secrets,
            body: key.decrypt(&events::context(event), &content.sealed)?,
            format: content.format,
            tenant_id: tenant.clone(),
            event_id: event.clone(),
            endpoint_id: endpoint.clone(),
            attempts: self.attempts,
            created_at: *created_at,
            tried_at: self.tried_at,
            url: content.url,
            queue: queue.clone(),
        }))
    }
}

/// Returns the deliveries with their content, and the keys of obsolete ones.
fn read_contents(
    snapshot: &Snapshot<'_>,
    claimed: &[ClaimedDelivery],
    now: Timestamp,
) -> Result<(Vec<Delivery>, Vec<DeliveryKey>), StoreError> {
    let (mut deliveries, mut obsolete) = (Vec::with_capacity(claimed.len()), Vec::new());
    for claim in claimed {
        match claim.read_content(snapshot, now) {
            Ok(Some(delivery)) => deliveries.push(delivery),
            Ok(None) => obsolete.push(claim.key.clone()),
            // An unreadable event must not block the others.
            Err(StoreError::Unreadable(what)) => {
                tracing::error!(event_id = %claim.key.event, what, "unreadable event; its delivery is given up");
                obsolete.push(claim.key.clone());
            }
            Err(error) => return Err(error),
        }
    }
    Ok((deliveries, obsolete))
}

/// Makes the claimed deliveries of a node due at a time.
pub(crate) fn release_node(tx: &Tx<'_>, node: &str, due_at: Timestamp) -> Result<(), StoreError> {
    if tx.execute(sql::DELIVERIES_RELEASE_NODE, (due_at.micros(), node))? > 0 {
        tx.wake_deliverer();
    }
    Ok(())
}

pub(crate) fn finish(
    tx: &Tx<'_>,
    key: &DeliveryKey,
    state: QueueState,
    now: Timestamp,
) -> Result<(), StoreError> {
    let DeliveryKey {
        tenant,
        event,
        endpoint,
        queue,
        created_at,
    } = key;
    let row = (
        state.as_str(),
        now.micros(),
        tenant.as_str(),
        event.as_str(),
        endpoint.as_str(),
        created_at.micros(),
    );
    tx.execute(sql::DELIVERY_FINISH, row)?;
    // An event without an allocation has its own queue.
    if queue == event.as_str() {
        return Ok(());
    }
    if tx.execute(sql::DELIVERY_NEXT, (now.micros(), endpoint.as_str(), queue))? > 0 {
        tx.wake_deliverer();
    }
    Ok(())
}

pub(crate) fn retry(tx: &Tx<'_>, key: &DeliveryKey, due_at: Timestamp) -> Result<(), StoreError> {
    let DeliveryKey {
        tenant,
        event,
        endpoint,
        created_at,
        ..
    } = key;
    let row = (
        due_at.micros(),
        tenant.as_str(),
        event.as_str(),
        endpoint.as_str(),
        created_at.micros(),
    );
    tx.execute(sql::DELIVERY_RETRY, row).map(|_| ())
}
