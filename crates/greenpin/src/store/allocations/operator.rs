//! Creation and deletion of allocations by operators, with an entry in the audit log.

use super::{create, delete};
use crate::store::tenants::audit::{self, AuditAction};
use crate::store::{
    Allocation, CreateError, DeleteError, GreenpinId, NewAllocation, OperatorStore, TenantId,
    Timestamp,
};

impl OperatorStore {
    /// Creates an allocation for a tenant.
    pub async fn create_allocation(
        &self,
        tenant: &TenantId,
        new: NewAllocation,
        now: Timestamp,
    ) -> Result<Allocation, CreateError> {
        let (actor, tenant) = (self.actor.clone(), tenant.clone());
        let write = self.store.writers.whole().write(move |tx| {
            let created = create(tx, &tenant, new.clone(), now)?;
            let id = created.greenpin_id.as_str();
            let action = AuditAction {
                name: "allocation.create",
                tenant: Some(&tenant),
                object: Some(id),
            };
            audit::write(tx, &actor, action, now)?;
            Ok(created)
        });
        write.await
    }

    /// Deletes an allocation of a tenant. Returns the time of the deletion.
    pub async fn delete_allocation(
        &self,
        tenant: &TenantId,
        id: &GreenpinId,
        now: Timestamp,
    ) -> Result<Timestamp, DeleteError> {
        let (actor, tenant, id) = (self.actor.clone(), tenant.clone(), id.clone());
        let write = self.store.writers.whole().write(move |tx| {
            let deleted_at = delete(tx, &tenant, &id, now)?;
            let action = AuditAction {
                name: "allocation.delete",
                tenant: Some(&tenant),
                object: Some(id.as_str()),
            };
            audit::write(tx, &actor, action, now)?;
            Ok(deleted_at)
        });
        write.await
    }
}
