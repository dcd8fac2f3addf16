//! What the operator does: every act is written to the audit log in its own transaction.

use std::sync::Arc;

use crate::RecordingKey;
use crate::store::allocations;
use crate::store::tenants::audit;
use crate::store::tenants::audit::Act;
use crate::store::{
    Allocation, CreateError, DeleteError, GreenpinId, NewAllocation, Store, TenantId, Timestamp,
};

/// Who acts, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `operator` for whoever has the operator token, `command line` for who can open the store itself.
    pub name: &'static str,
    /// The id of the request that asked for it.
    pub request_id: Option<String>,
}

impl Actor {
    /// Who sent a request with the operator token.
    pub fn operator(request_id: Option<String>) -> Self {
        Self {
            name: "operator",
            request_id,
        }
    }

    /// Who runs a command on the store itself.
    pub fn command_line() -> Self {
        Self {
            name: "command line",
            request_id: None,
        }
    }
}

/// The store in the hands of an operator, the only way to acts on tenants, credentials and numbers that are audited.
#[derive(Clone)]
pub struct OperatorStore {
    pub(crate) store: Store,
    pub(crate) actor: Arc<Actor>,
}

impl Store {
    /// The handle for an operator's acts.
    pub fn operator(&self, actor: Actor) -> OperatorStore {
        OperatorStore {
            store: self.clone(),
            actor: Arc::new(actor),
        }
    }
}

impl OperatorStore {
    /// What recordings are sealed with.
    pub fn recording_key(&self) -> &RecordingKey {
        self.store.recording_key()
    }

    /// Makes an allocation for a tenant.
    pub async fn create_allocation(
        &self,
        tenant: &TenantId,
        new: NewAllocation,
        now: Timestamp,
    ) -> Result<Allocation, CreateError> {
        let (actor, tenant) = (self.actor.clone(), tenant.clone());
        let write = self.store.writer.write(move |tx| {
            let made = allocations::create(tx, &tenant, new.clone(), now)?;
            let id = made.greenpin_id.as_str();
            let act = Act {
                name: "allocation.create",
                tenant: Some(&tenant),
                object: Some(id),
            };
            audit::write(tx, &actor, act, now)?;
            Ok(made)
        });
        write.await
    }

    /// Deletes an allocation of a tenant. Returns the moment of it.
    pub async fn delete_allocation(
        &self,
        tenant: &TenantId,
        id: &GreenpinId,
        now: Timestamp,
    ) -> Result<Timestamp, DeleteError> {
        let (actor, tenant, id) = (self.actor.clone(), tenant.clone(), id.clone());
        let write = self.store.writer.write(move |tx| {
            let deleted_at = allocations::delete(tx, &tenant, &id, now)?;
            let act = Act {
                name: "allocation.delete",
                tenant: Some(&tenant),
                object: Some(id.as_str()),
            };
            audit::write(tx, &actor, act, now)?;
            Ok(deleted_at)
        });
        write.await
    }
}
