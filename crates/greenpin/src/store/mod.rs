//! Durable state: tenants, numbers, allocations, calls, events.
//!
//! Every method that writes is one transaction, durable before it returns, with the events that tell of it written
//! inside. Moments come in as `now`, so that what is true at a second can be tested at that second.

mod allocations;
mod calls;
mod checkpoint;
mod endpoints;
mod error;
mod events;
mod expiry;
mod ids;
mod key;
mod listing;
mod numbers;
mod outbox;
mod pin_draw;
mod pin_try;
mod reader;
mod records;
mod schema;
mod settings;
mod sql;
mod strangers;
mod tenant_cache;
mod tenants;
mod timestamp;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

pub use allocations::{Allocation, CreateError, DeleteError, NewAllocation, Status};
pub use call::DialStatus;
pub use call::script::{CallType, HangupBy};
pub(crate) use calls::call_type;
pub use calls::{CallEnding, CallSettings, Collect, LegReport, NewCall, RecordingFile, Route};
pub use endpoints::{Endpoint, EndpointSpec};
pub use error::{OpenError, StoreError};
pub use events::{EventType, LoggedEvent};
pub use ids::{CallSid, EndpointId, EventId, GreenpinId, TenantId};
pub use listing::AllocationFilter;
pub use numbers::{NewNumber, NumberError, NumberMode, PoolNumber};
pub use outbox::Delivery;
pub use pin_try::{Connection, PinVerdict};
pub use records::CallRecord;
pub use settings::{CallerPolicy, DialStrategy, TenantSettings};
pub use tenants::{CredentialDigest, MadeTenant, NewTenant, TenantError, TenantSummary};
pub use timestamp::Timestamp;

use checkpoint::Checkpoints;
use key::Keys;
use reader::Readers;
use settings::SettingsCache;
use writer::Writer;

/// Where the store lies.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The database file; made, with its folder, where there is none.
    pub path: PathBuf,
    /// The file of the master key; made where there is none.
    pub key_file: PathBuf,
    /// What stands before `/v1/…` in links of events; empty: links are paths.
    pub public_url: String,
}

/// The store. Clones are handles on the same one.
#[derive(Clone)]
pub struct Store {
    writer: Writer,
    readers: Readers,
    keys: Arc<Keys>,
    deliveries: Arc<Notify>,
    settings: Arc<Mutex<SettingsCache>>,
    public_url: Arc<str>,
    _checkpoints: Arc<Checkpoints>,
}

/// One tenant's part of the store, the only way to its tables.
#[derive(Clone)]
pub struct TenantStore {
    store: Store,
    tenant_id: TenantId,
}

impl Store {
    /// Opens the store; blocks while files are made and the schema is brought up to date.
    pub fn open(options: &StoreOptions) -> Result<Self, OpenError> {
        let keys = Keys::open(&options.key_file)?;
        let connection = schema::open(&options.path)?;
        let readers = Readers::open(&options.path)?;
        let deliveries = Arc::new(Notify::new());
        let writer = Writer::start(connection, deliveries.clone())
            .map_err(|source| OpenError::Io { path: options.path.clone(), source })?;
        Ok(Self {
            writer,
            readers,
            keys: Arc::new(keys),
            deliveries,
            settings: Arc::default(),
            public_url: options.public_url.trim_end_matches('/').into(),
            _checkpoints: Arc::new(Checkpoints::start(&options.path)?),
        })
    }

    /// The handle on one tenant's tables.
    pub fn tenant(&self, tenant_id: TenantId) -> TenantStore {
        TenantStore { store: self.clone(), tenant_id }
    }

    /// Whether the database answers.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.readers.read(|snapshot| snapshot.row(sql::READY, [], |_| Ok(())).map(|_| ())).await
    }
}

impl TenantStore {
    /// Whose it is.
    pub fn tenant_id(&self) -> &TenantId {
        &self.tenant_id
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl std::fmt::Debug for TenantStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TenantStore({})", self.tenant_id)
    }
}

#[cfg(test)]
mod tests;
