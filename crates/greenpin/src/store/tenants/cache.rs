//! What the writer keeps of tenants between transactions: their settings and endpoints, which every event needs and
//! which hardly ever change.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use crate::store::tenants::endpoints::Endpoint;
use crate::store::{StoreError, TenantId, TenantPrompts, TenantSettings};

/// Tenants that are kept; beyond it all are forgotten.
const MAX_TENANTS: usize = 10_000;
/// Tenants whose own prompts are kept.
const MAX_TENANTS_WITH_PROMPTS: usize = 32;

/// Copies that hold in the open transaction. Whoever changes a row must call [`TenantCache::change`]; a change by
/// another process is seen by [`TenantCache::refresh`].
#[derive(Default)]
pub(crate) struct TenantCache {
    version: Cell<i64>,
    changed: Cell<bool>,
    settings: RefCell<HashMap<TenantId, Arc<TenantSettings>>>,
    endpoints: RefCell<HashMap<TenantId, Arc<[Endpoint]>>>,
    prompts: RefCell<HashMap<TenantId, Arc<TenantPrompts>>>,
}

impl TenantCache {
    /// Begins a transaction: forgets everything if somebody else has changed something.
    pub(crate) fn refresh(&self, version: i64) {
        self.changed.set(false);
        if self.version.replace(version) != version {
            self.clear();
        }
    }

    /// Forgets everything: a row was changed, and other nodes are to forget it, too.
    pub(crate) fn change(&self) {
        self.changed.set(true);
        self.clear();
    }

    /// Whether this transaction has changed something.
    pub(crate) fn was_changed(&self) -> bool {
        self.changed.get()
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.settings.borrow_mut().clear();
        self.endpoints.borrow_mut().clear();
        self.prompts.borrow_mut().clear();
    }

    /// A tenant's settings, read if they are not kept.
    pub(crate) fn settings(
        &self,
        tenant: &TenantId,
        read: impl FnOnce() -> Result<TenantSettings, StoreError>,
    ) -> Result<Arc<TenantSettings>, StoreError> {
        cached(&self.settings, tenant, || read().map(Arc::new))
    }

    /// A tenant's endpoints, read if they are not kept.
    pub(crate) fn endpoints(
        &self,
        tenant: &TenantId,
        read: impl FnOnce() -> Result<Vec<Endpoint>, StoreError>,
    ) -> Result<Arc<[Endpoint]>, StoreError> {
        cached(&self.endpoints, tenant, || read().map(Arc::from))
    }

    /// A tenant's own prompts, read if they are not kept. They are large: those of few tenants are.
    pub(crate) fn prompts(
        &self,
        tenant: &TenantId,
        read: impl FnOnce() -> Result<TenantPrompts, StoreError>,
    ) -> Result<Arc<TenantPrompts>, StoreError> {
        let own = cached(&self.prompts, tenant, || read().map(Arc::new))?;
        let mut all = self.prompts.borrow_mut();
        if all.values().filter(|own| !own.0.is_empty()).count() > MAX_TENANTS_WITH_PROMPTS {
            all.clear();
        }
        Ok(own)
    }
}

fn cached<T: Clone>(
    table: &RefCell<HashMap<TenantId, T>>,
    tenant: &TenantId,
    read: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    if let Some(found) = table.borrow().get(tenant) {
        return Ok(found.clone());
    }
    let value = read()?;
    let mut table = table.borrow_mut();
    if table.len() >= MAX_TENANTS {
        table.clear();
    }
    table.insert(tenant.clone(), value.clone());
    Ok(value)
}
