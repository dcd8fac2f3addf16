//! Tenants, as the operator sees them: creation, lists, suspension.

use crate::destinations::{DestinationChange, DestinationRules};
use crate::store::Tx;
use crate::store::core::reader::Snapshot;
use crate::store::tenants;
use crate::store::tenants::audit;
use crate::store::tenants::audit::AuditAction;
use crate::store::tenants::operator::OperatorStore;
use crate::store::tenants::settings;
use crate::store::tenants::sql;
use crate::store::tenants::sql::{StatusRow, TenantRow};
use crate::store::{
    CallSid, CreatedTenant, NewTenant, StoreError, TenantError, TenantId, TenantSettings, Timestamp,
};
use call::words;

words! {
    /// Status of a tenant.
    pub enum TenantStatus {
        /// Unrestricted.
        Active = "active",
        /// No new requests and calls.
        Suspended = "suspended",
        /// Its erasure is running or was interrupted.
        Erasing = "erasing",
        /// Its data is erased. The name remains reserved.
        Erased = "erased",
    }
}

/// Tenant.
#[derive(Debug, Clone)]
pub struct TenantRecord {
    /// Name of the tenant.
    pub tenant_id: TenantId,
    /// Status of the tenant.
    pub status: TenantStatus,
    /// Settings of the tenant.
    pub settings: TenantSettings,
    /// Time of its creation.
    pub created_at: Timestamp,
    /// Start of its suspension.
    pub suspended_at: Option<Timestamp>,
    /// Start of its erasure.
    pub erased_at: Option<Timestamp>,
    /// Size of its number pool.
    pub numbers: u64,
    /// Number of valid credentials.
    pub credentials: u64,
}

/// Failure to change the status of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantStatusError {
    /// The tenant does not exist.
    #[error("there is no such tenant")]
    NotFound,
    /// The tenant is erased or being erased.
    #[error("the tenant was erased")]
    Erased,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OperatorStore {
    /// Creates a tenant with one credential.
    pub async fn create_tenant(
        &self,
        new: NewTenant,
        now: Timestamp,
    ) -> Result<CreatedTenant, TenantError> {
        let token = tenants::NewToken::for_tenant(&new, &self.store);
        let (actor, digest) = (self.actor.clone(), token.digest);
        let webhooks = self.store.writers.whole().write(move |tx| {
            let webhooks = tenants::insert(tx, &new, &digest, now)?;
            let action = AuditAction {
                name: "tenant.create",
                tenant: Some(&new.tenant_id),
                object: Some(&new.account_sid),
            };
            audit::write(tx, &actor, action, now)?;
            Ok::<_, TenantError>(webhooks)
        });
        Ok(CreatedTenant {
            webhooks: webhooks.await?,
            token: token.token,
        })
    }

    /// Returns a tenant; `None` if it does not exist.
    pub async fn tenant(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<Option<TenantRecord>, StoreError> {
        let key = tenant.clone();
        let read = self.store.readers.read(move |snapshot| {
            snapshot.row(
                sql::TENANT_DETAIL,
                (now.micros(), key.as_str()),
                TenantRow::read,
            )
        });
        read.await?.map(TenantRow::record).transpose()
    }

    /// Returns the tenants after one, by name.
    pub async fn tenants_after(
        &self,
        after: Option<TenantId>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<TenantRecord>, StoreError> {
        let read = self.store.readers.read(move |snapshot| {
            let after = after.as_ref().map_or("", TenantId::as_str);
            snapshot.rows(
                sql::TENANT_PAGE,
                (now.micros(), after, i64::from(limit)),
                TenantRow::read,
            )
        });
        read.await?.into_iter().map(TenantRow::record).collect()
    }

    /// Returns the open calls of a node, each with its tenant.
    pub async fn open_calls(&self, node: &str) -> Result<Vec<(CallSid, TenantId)>, StoreError> {
        self.store.open_calls(node).await
    }

    /// Returns the number of active allocations of a tenant.
    pub async fn active_allocations(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let key = (tenant.clone(), now.micros());
        self.store
            .readers
            .read(move |snapshot| {
                snapshot.count(sql::TENANT_ACTIVE_ALLOCATIONS, (key.0.as_str(), key.1))
            })
            .await
    }

    /// Suspends a tenant. Repeating it has no effect.
    pub async fn suspend(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<(), TenantStatusError> {
        let (actor, tenant) = (self.actor.clone(), tenant.clone());
        let write = self.store.writers.whole().write(move |tx| {
            require_live(tx, &tenant)?;
            if tx.execute(sql::TENANT_SUSPEND, (now.micros(), tenant.as_str()))? > 0 {
                let action = AuditAction {
                    name: "tenant.suspend",
                    tenant: Some(&tenant),
                    object: None,
                };
                audit::write(tx, &actor, action, now)?;
            }
            Ok(())
        });
        write.await
    }

    /// Changes the destination rules of a tenant. Returns the new rules.
    pub async fn set_destinations(
        &self,
        tenant: &TenantId,
        change: DestinationChange,
        now: Timestamp,
    ) -> Result<DestinationRules, TenantStatusError> {
        let (actor, tenant) = (self.actor.clone(), tenant.clone());
        let forgotten = tenant.clone();
        let write = self.store.writers.whole().write(move |tx| {
            require_live(tx, &tenant)?;
            let settings = settings::change_in(tx, &tenant, |settings| {
                change.apply(&mut settings.destinations);
            })?;
            let action = AuditAction {
                name: "tenant.destinations",
                tenant: Some(&tenant),
                object: None,
            };
            audit::write(tx, &actor, action, now)?;
            Ok(settings.destinations)
        });
        let changed = write.await;
        self.store.forget_settings(&forgotten);
        changed
    }

    /// Ends the suspension of a tenant. Repeating it has no effect.
    pub async fn resume(&self, tenant: &TenantId, now: Timestamp) -> Result<(), TenantStatusError> {
        let (actor, tenant) = (self.actor.clone(), tenant.clone());
        let write = self.store.writers.whole().write(move |tx| {
            require_live(tx, &tenant)?;
            if tx.execute(sql::TENANT_RESUME, [tenant.as_str()])? > 0 {
                let action = AuditAction {
                    name: "tenant.resume",
                    tenant: Some(&tenant),
                    object: None,
                };
                audit::write(tx, &actor, action, now)?;
            }
            Ok(())
        });
        write.await
    }
}

/// Reads the dates of a tenant; `None` if it does not exist.
pub(crate) fn find(
    snapshot: &Snapshot<'_>,
    tenant: &TenantId,
) -> Result<Option<StatusRow>, StoreError> {
    snapshot.row(sql::TENANT_STATUS, [tenant.as_str()], StatusRow::read)
}

/// Checks that a tenant exists and is not erased.
pub(crate) fn require_live(tx: &Tx<'_>, tenant: &TenantId) -> Result<(), TenantStatusError> {
    match find(tx, tenant)? {
        None => Err(TenantStatusError::NotFound),
        Some(row) if row.erased_at.is_some() => Err(TenantStatusError::Erased),
        Some(_) => Ok(()),
    }
}

impl TenantRow {
    fn record(self) -> Result<TenantRecord, StoreError> {
        let status = match (self.erased_at, self.suspended_at) {
            (Some(_), _) if self.unfinished_erasures > 0 => TenantStatus::Erasing,
            (Some(_), _) => TenantStatus::Erased,
            (None, Some(_)) => TenantStatus::Suspended,
            (None, None) => TenantStatus::Active,
        };
        Ok(TenantRecord {
            tenant_id: self.tenant_id,
            status,
            settings: settings::parse(&self.settings)?,
            created_at: self.created_at,
            suspended_at: self.suspended_at,
            erased_at: self.erased_at,
            numbers: self.numbers,
            credentials: self.credentials,
        })
    }
}
