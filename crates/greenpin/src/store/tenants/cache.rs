//! Cache of tenants for the writer: settings and endpoints, which every event needs and which rarely change.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use crate::store::tenants::endpoints::Endpoint;
use crate::store::tenants::prompts::PromptVersions;
use crate::store::{StoreError, TenantId, TenantSettings};

/// Maximum number of cached tenants. Beyond it the cache is cleared.
const MAX_TENANTS: usize = 10_000;

/// Rows that are valid in the open transaction. Code that changes a row must call [`TenantCache::change`];
/// [`TenantCache::refresh`] detects changes by other processes.
#[derive(Default)]
pub(crate) struct TenantCache {
    version: Cell<i64>,
    changed: Cell<bool>,
    settings: RefCell<HashMap<TenantId, Arc<TenantSettings>>>,
    endpoints: RefCell<HashMap<TenantId, Arc<[Endpoint]>>>,
    prompts: RefCell<HashMap<TenantId, Arc<PromptVersions>>>,
}

impl TenantCache {
    /// Starts a transaction. Clears the cache if another process has changed a row.
    pub(crate) fn refresh(&self, version: i64) {
        self.changed.set(false);
        if self.version.replace(version) != version {
            self.clear();
        }
    }

    /// Clears the cache after a change, on the other nodes as well.
    pub(crate) fn change(&self) {
        self.changed.set(true);
        self.clear();
    }

    /// Returns whether this transaction has changed a row.
    pub(crate) fn was_changed(&self) -> bool {
        self.changed.get()
    }

    /// Clears the cache.
    pub(crate) fn clear(&self) {
        self.settings.borrow_mut().clear();
        self.endpoints.borrow_mut().clear();
        self.prompts.borrow_mut().clear();
    }

    /// Returns the settings of a tenant, reading them if necessary.
    pub(crate) fn settings(
        &self,
        tenant: &TenantId,
        read: impl FnOnce() -> Result<TenantSettings, StoreError>,
    ) -> Result<Arc<TenantSettings>, StoreError> {
        cached(&self.settings, tenant, || read().map(Arc::new))
    }

    /// Returns the endpoints of a tenant, reading them if necessary.
    pub(crate) fn endpoints(
        &self,
        tenant: &TenantId,
        read: impl FnOnce() -> Result<Vec<Endpoint>, StoreError>,
    ) -> Result<Arc<[Endpoint]>, StoreError> {
        cached(&self.endpoints, tenant, || read().map(Arc::from))
    }

    /// Returns the versions of a tenant's uploaded prompts, reading them if necessary.
    pub(crate) fn prompts(
        &self,
        tenant: &TenantId,
        read: impl FnOnce() -> Result<PromptVersions, StoreError>,
    ) -> Result<Arc<PromptVersions>, StoreError> {
        cached(&self.prompts, tenant, || read().map(Arc::new))
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
