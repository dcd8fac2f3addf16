//! Deletion of an allocation.

use crate::store::Tx;
use crate::store::allocations::sql;
use crate::store::events;
use crate::store::events::payload::DeletedAllocationData;
use crate::store::events::{Draft, Payload, Subject};
use crate::store::tenants::settings;
use crate::store::{GreenpinId, StoreError, TenantId, TenantStore, Timestamp};

use super::allocation::*;

/// Failure to delete an allocation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// The tenant does not have this allocation.
    #[error("there is no such allocation")]
    NotFound,
    /// The allocation was deleted before.
    #[error("the allocation was deleted before")]
    AlreadyDeleted,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TenantStore {
    /// Deletes an allocation and returns the time. An exclusive number is free at once, the PIN after its cool-off.
    /// Connected calls continue.
    pub async fn delete_allocation(
        &self,
        id: &GreenpinId,
        now: Timestamp,
    ) -> Result<Timestamp, DeleteError> {
        self.write_allocation(id, move |tx, tenant, id| delete(tx, tenant, id, now))
            .await
    }
}

/// Deletes an allocation inside a transaction.
pub(crate) fn delete(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: &GreenpinId,
    now: Timestamp,
) -> Result<Timestamp, DeleteError> {
    let key = (now.micros(), tenant.as_str(), id.as_str());
    if tx.row(sql::ALLOCATION_DELETE, key, |_| Ok(()))?.is_none() {
        return Err(match find(tx, tenant, id)? {
            Some(_) => DeleteError::AlreadyDeleted,
            None => DeleteError::NotFound,
        });
    }
    let allocation = find(tx, tenant, id)?.ok_or(DeleteError::NotFound)?;
    let settings = settings::cached(tx, tenant)?;
    let vn = tx.keys().number_key(allocation.virtual_number);
    tx.execute(sql::NUMBER_RELEASE, (&vn, id.as_str()))?;
    let free_at = (now + settings.cooloff()).micros();
    let pin = tx.keys().pin_key(&vn, &allocation.pin);
    tx.execute(sql::PIN_END, (now.micros(), free_at, &vn, pin, id.as_str()))?;
    delete_listed_callers(tx, tenant, &allocation)?;
    let zone = settings.zone();
    let event = Draft {
        tenant,
        zone: &zone,
        subject: Subject::Allocation(id),
        occurred_at: now,
        payload: Payload::AllocationDeleted(DeletedAllocationData {
            virtual_number: allocation.virtual_number.expose(),
            deleted_at: now.rfc3339(&zone),
        }),
    };
    events::write(tx, &event)?;
    Ok(now)
}
