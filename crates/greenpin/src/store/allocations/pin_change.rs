//! Unlocking of an allocation and rotation of its PIN.

use crate::store::Tx;
use crate::store::allocations;
use crate::store::allocations::Allocation;
use crate::store::allocations::change;
use crate::store::allocations::change::ChangeError;
use crate::store::allocations::pin_draw;
use crate::store::allocations::pin_draw::PinClaim;
use crate::store::allocations::sql;
use crate::store::events::Payload;
use crate::store::events::payload::VirtualNumberData;
use crate::store::numbers::NumberMode;
use crate::store::tenants::settings;
use crate::store::{GreenpinId, TenantId, TenantStore, Timestamp};

impl TenantStore {
    /// Resets the number of wrong PINs to 0. If it already is 0, no event is written.
    pub async fn unlock_allocation(
        &self,
        id: &GreenpinId,
        now: Timestamp,
    ) -> Result<Allocation, ChangeError> {
        self.write_allocation(id, move |tx, tenant, id| unlock(tx, tenant, id, now))
            .await
    }

    /// Replaces the PIN. The old PIN is invalid at once and cools off.
    pub async fn rotate_pin(
        &self,
        id: &GreenpinId,
        now: Timestamp,
    ) -> Result<Allocation, ChangeError> {
        self.write_allocation(id, move |tx, tenant, id| rotate(tx, tenant, id, now))
            .await
    }
}

fn unlock(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: &GreenpinId,
    now: Timestamp,
) -> Result<Allocation, ChangeError> {
    let before = change::lock_active(tx, tenant, id, now)?;
    if before.failed_pin_attempts == 0 {
        return Ok(before);
    }
    tx.execute(
        sql::ALLOCATION_UNLOCK,
        (now.micros(), tenant.as_str(), id.as_str()),
    )?;
    let after = Allocation {
        failed_pin_attempts: 0,
        updated_at: now,
        ..before
    };
    let unlocked = Payload::AllocationUnlocked(change::attempts_data(&after));
    change::write_event(tx, tenant, &after, unlocked, now)?;
    Ok(after)
}

/// Rotates the PIN. The old PIN is still in use while the new one is drawn, so they differ.
fn rotate(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: &GreenpinId,
    now: Timestamp,
) -> Result<Allocation, ChangeError> {
    let before = change::lock_active(tx, tenant, id, now)?;
    let number = change::number_of(tx, &before)?;
    let cooloff = settings::cached(tx, tenant)?.cooloff();
    let claim = PinClaim {
        number_key: &number.number_key,
        greenpin_id: id,
        pin_length: number.pin_length,
        active_until: before.expires_at,
        free_at: before.expires_at + cooloff,
        counted: number.mode == NumberMode::Shared,
    };
    let pin = pin_draw::claim(tx, &claim, now)?.ok_or(ChangeError::PinSpaceExhausted)?;
    let old = tx.keys().pin_key(&number.number_key, &before.pin);
    let free_at = (now + cooloff).micros();
    tx.execute(
        sql::PIN_RETIRE,
        (now.micros(), free_at, &number.number_key, old, id.as_str()),
    )?;
    let after = Allocation {
        pin,
        updated_at: now,
        ..before
    };
    let encrypted = allocations::encrypt(&*tx.tenant_key(tenant)?, &after)?;
    tx.execute(
        sql::ALLOCATION_SET_PIN,
        (encrypted, now.micros(), tenant.as_str(), id.as_str()),
    )?;
    let rotated = Payload::AllocationPinRotated(VirtualNumberData {
        virtual_number: after.virtual_number.expose(),
    });
    change::write_event(tx, tenant, &after, rotated, now)?;
    Ok(after)
}
