//! Audit log of the operators' actions. It contains no tokens and no complete numbers.

use crate::store::Tx;
use crate::store::tenants::operator::{Actor, OperatorStore};
use crate::store::tenants::sql;
use crate::store::tenants::sql::AuditEntry;
use crate::store::{AuditId, StoreError, TenantId, Timestamp};

/// Action of an operator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AuditAction<'a> {
    pub(crate) name: &'static str,
    pub(crate) tenant: Option<&'a TenantId>,
    pub(crate) object: Option<&'a str>,
}

/// Writes an entry in the transaction of the action.
pub(crate) fn write(
    tx: &Tx<'_>,
    actor: &Actor,
    action: AuditAction<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let row = (
        AuditId::next(tx, now).as_str().to_owned(),
        now.micros(),
        actor.name,
        action.name,
        action.tenant.map(TenantId::as_str),
        action.object,
        actor.request_id.as_deref(),
    );
    tx.execute(sql::AUDIT_INSERT, row).map(|_| ())
}

impl AuditId {
    /// Returns the next id, after all previous ones. Audit ids and event ids share one generator.
    fn next(tx: &Tx<'_>, now: Timestamp) -> Self {
        Self::from_event(&tx.event_id(now))
    }
}

impl OperatorStore {
    /// Records an action that changes nothing in the store, such as draining this node.
    pub async fn audit(
        &self,
        action: &'static str,
        object: Option<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.audit_of(None, action, object, now).await
    }

    /// Records an action that concerns a tenant and changes nothing in the store.
    pub async fn audit_of(
        &self,
        tenant: Option<&TenantId>,
        action: &'static str,
        object: Option<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (actor, tenant) = (self.actor.clone(), tenant.cloned());
        let write = self.store.writers.common().write(move |tx| {
            write(
                tx,
                &actor,
                AuditAction {
                    name: action,
                    tenant: tenant.as_ref(),
                    object: object.as_deref(),
                },
                now,
            )
        });
        write.await
    }

    /// Returns the entries of a tenant before one, newest first.
    pub async fn audit_before(
        &self,
        tenant: &TenantId,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let tenant = tenant.clone();
        let read = self.store.readers.read(move |snapshot| {
            // `~` sorts after every id.
            let before = before.as_ref().map_or("~", AuditId::as_str);
            let key = (before, tenant.as_str(), i64::from(limit));
            snapshot.rows(sql::AUDIT_BEFORE, key, AuditEntry::read)
        });
        read.await
    }

    /// Returns the entries after one, oldest first.
    pub async fn audit_after(
        &self,
        after: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let read = self.store.readers.read(move |snapshot| {
            let after = after.as_ref().map_or("", AuditId::as_str);
            snapshot.rows(
                sql::AUDIT_AFTER,
                (after, i64::from(limit)),
                AuditEntry::read,
            )
        });
        read.await
    }
}
