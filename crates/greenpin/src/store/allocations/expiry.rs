//! Events and cleanup for expired allocations. An allocation expires by the clock, without a write.

use crate::store::Tx;
use crate::store::allocations;
use crate::store::allocations::sql;
use crate::store::allocations::sql::DueAllocation;
use crate::store::events;
use crate::store::events::payload::ExpiredAllocationData;
use crate::store::events::{Draft, Payload, Subject};
use crate::store::tenants::settings;
use crate::store::{Store, StoreError, Timestamp};

/// Maximum number of allocations in one transaction, so that calls and creates do not wait long.
const MAX_BATCH_ROWS: u32 = 200;

impl Store {
    /// Writes `allocation.expired` for a batch of due allocations, once for each. Returns the size of the batch; 0 if
    /// none is left. Without a due allocation nothing is written.
    pub async fn report_expired(&self, now: Timestamp) -> Result<usize, StoreError> {
        let read = self.readers.read(move |snapshot| {
            let row = (now.micros(), MAX_BATCH_ROWS);
            snapshot.rows(sql::ALLOCATIONS_DUE, row, DueAllocation::read)
        });
        let due: Vec<DueAllocation> = read.await.map_err(|error: StoreError| error)?;
        let count = due.len();
        for (writer, due) in self.writers.split(due, |due| &due.tenant_id) {
            let write = writer.write::<_, StoreError, _>(move |tx| {
                due.iter()
                    .try_for_each(|allocation| report(tx, allocation, now))
            });
            write.await?;
        }
        Ok(count)
    }
}

/// Reports the expiry of an allocation, unless it was changed since it was read.
fn report(tx: &Tx<'_>, due: &DueAllocation, now: Timestamp) -> Result<(), StoreError> {
    let DueAllocation {
        tenant_id: tenant,
        greenpin_id: id,
        expires_at,
    } = due;
    if tx.execute(
        sql::ALLOCATION_MARK_EXPIRED,
        (now.micros(), tenant.as_str(), id.as_str()),
    )? == 0
    {
        return Ok(());
    }
    let allocation = match allocations::find(tx, tenant, id) {
        Ok(Some(allocation)) => allocation,
        Ok(None) => return Ok(()),
        // An unreadable row must not block the expiry of the others.
        Err(StoreError::Unreadable(what)) => {
            tracing::error!(greenpin_id = %id, what, "unreadable allocation; it expires without an event");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    allocations::delete_listed_callers(tx, tenant, &allocation)?;
    let zone = settings::cached(tx, tenant)?.zone();
    let payload = Payload::AllocationExpired(ExpiredAllocationData {
        virtual_number: allocation.virtual_number.expose(),
        expires_at: expires_at.rfc3339(&zone),
    });
    events::write(
        tx,
        &Draft {
            tenant,
            zone: &zone,
            subject: Subject::Allocation(id),
            occurred_at: now,
            payload,
        },
    )
}
