//! Durable state of the product, on SQLite or PostgreSQL.
//!
//! Every method that writes is one transaction. It is durable before the method returns, and includes its events.
//! Times are parameters named `now`, so that tests choose them.
//!
//! | Folder | Content |
//! | --- | --- |
//! | `tenants` | Tenants, settings, credentials, webhook endpoints, prompts, audit log, idempotency keys |
//! | `numbers` | Number pool, its administration, capacity |
//! | `allocations` | Creation, change, lists, expiry and deletion of allocations; choice of PINs |
//! | `pins` | PIN attempts: decision, throttle, dry run |
//! | `calls` | Routing, progress and records of calls; recordings, links and uploads |
//! | `events` | Event log, outbox of deliveries, attempts, replay |
//! | `cluster` | Nodes, heartbeats, eviction |
//! | `retention` | Retention limits, erasure of a tenant |
//! | `keys` | Rotation of the master key |
//! | `core` | Databases, migrations, writer thread, readers, encryption, ids; it uses no other folder |
//!
//! Each folder has one `sql.rs` with its statements and row types. Folders do not depend on each other in circles.

mod allocations;
mod calls;
mod cluster;
mod core;
mod events;
mod inspection;
mod keys;
pub mod limits;
mod numbers;
mod pins;
mod retention;
mod tenants;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_postgres::config::SslMode;

pub use self::allocations::{
    Allocation, AllocationChange, AllocationFilter, ChangeError, CreateError, DeleteError,
    GuessOddsError, NewAllocation, PartyList, Status,
};
pub use self::calls::{
    CallEnding, CallEvent, CallFilter, CallKeys, CallLegs, CallRecord, CallTenant, CallTrace,
    CallerVerification, DialledLeg, DigitReport, Disposition, EndedCallFilter, LegReport,
    LinkError, MAX_RECORDED_ATTEMPTS, MediaMode, NewCall, RecordingFile, RoutedCall, SealedTrace,
    TraceEntry, TraceFact, TraceLeg, TraceWord, Upload,
};
pub use self::cluster::{FailureDetector, Heartbeat, Membership, NodeIdentity, NodeRow, NodeState};
pub use self::core::database::sqlite_copy::{
    DatabaseState, KeyCheck, RecordingLocation, copy_database, for_each_recording, pause_endpoints,
};
pub use self::core::database::store_move::{MoveError, StoreMove, TableToMove, plan_move};
pub use self::core::error::{OpenError, StoreError};
pub use self::core::ids::{AuditId, CallSid, EndpointId, ErasureId, EventId, GreenpinId, TenantId};
pub use self::core::last_digits::LastDigits;
pub(crate) use self::core::serialized;
pub use self::core::timestamp::{LocalTime, Timestamp};
pub use self::events::{
    Attempt, AttemptError, AttemptOutcome, Delivery, DeliveryRecord, DeliveryState, DueEndpoint,
    EventType, LoggedEvent, ReplayRequest, Replayed,
};
pub(crate) use self::inspection::{InspectedEndpoint, Inspection, SchemaState, has_key};
pub use self::keys::{RotateError, Rotation, RotationStep};
pub use self::numbers::{
    ImportError, NewNumber, NumberCapacity, NumberChange, NumberError, NumberFilter, NumberMode,
    NumberRecord, PoolError, PoolNumber,
};
pub use self::pins::{PinRefusal, Resolution};
pub use self::retention::{EraseError, ErasureReceipt, RecordingStorage, StoredRecording};
pub use self::tenants::{
    AcceptCall, Actor, AuditEntry, Authenticated, CallLimit, CallerPolicy, Claim,
    CreatedCredential, CreatedTenant, CredentialDigest, CredentialError, CredentialRecord,
    DialStrategy, Endpoint, EndpointFormat, EndpointSpec, GuessOdds, IdempotentRequest, KeyClaim,
    MAX_SESSION_AGE, NewCredential, NewTenant, OperatorStore, PromptSettings, RateLimit, Retention,
    Session, SessionOwner, SettingsError, StoredAnswer, TenantError, TenantPrompt, TenantPrompts,
    TenantRecord, TenantSettings, TenantStatus, TenantStatusError, Voice, WEBHOOK_URL_RULE,
    canonical_webhook_url, draw_account_sid, is_account_sid,
};
pub use call::{CallCause, CallType, Collect, DialStatus, HangupBy, Route, Screening, Verdict};

use self::allocations::number_cache::NumberCache;
use self::core::checkpoint::Checkpoints;
use self::core::crypto::Keyring;
use self::core::database::DatabaseTarget;
use self::core::reader::{IdleReaders, Readers};
use self::core::writer::WriterCache;
use self::tenants::cache::TenantCache;
use self::tenants::idempotency::ClaimedKey;
use self::tenants::prompts::PromptCache;
use self::tenants::settings::SettingsCache;
use crate::RecordingKey;
use crate::supervision::Supervisor;

/// Maximum wait of a readiness probe for the database.
pub const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// Configuration of the store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Location of the database.
    pub database: Database,
    /// File of the master key; created if it does not exist.
    pub key_file: PathBuf,
    /// PEM file with the CA certificates for `sslmode=require`; `None` for those of the system.
    pub tls_ca: Option<PathBuf>,
    /// Prefix of `/v1/…` in links of events; empty for relative links.
    pub public_url: String,
    /// Recordings are uploaded from the disk of their node; `recording.ready` waits for the upload.
    pub upload_recordings: bool,
    /// Supervisor of the store's threads.
    pub supervisor: Supervisor,
}

impl StoreOptions {
    /// Checks that an existing SQLite database has its key file. A new key would not fit it.
    fn require_key(&self) -> Result<(), OpenError> {
        let Database::File(database) = &self.database else {
            return Ok(());
        };
        let has_data = database.metadata().is_ok_and(|metadata| metadata.len() > 0);
        if has_data && !self.key_file.exists() {
            return Err(OpenError::MissingKey {
                path: self.key_file.clone(),
                database: database.display().to_string(),
            });
        }
        Ok(())
    }

    /// Creates a configuration with relative links and without uploads.
    pub fn new(database: Database, key_file: PathBuf) -> Self {
        Self {
            database,
            key_file,
            tls_ca: None,
            public_url: String::new(),
            upload_recordings: false,
            supervisor: Supervisor::default(),
        }
    }
}

/// Location of a database.
#[derive(Debug, Clone)]
pub enum Database {
    /// SQLite file; created with its folder if it does not exist.
    File(PathBuf),
    /// PostgreSQL server.
    Server(Box<tokio_postgres::Config>),
}

impl Database {
    /// Returns whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Server(server) if server.get_ssl_mode() == SslMode::Require)
    }
}

impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "sqlite:{}", path.display()),
            Self::Server(server) => {
                let host = server.get_hosts().first();
                let host = match host {
                    Some(tokio_postgres::config::Host::Tcp(name)) => name.clone(),
                    Some(tokio_postgres::config::Host::Unix(path)) => path.display().to_string(),
                    None => String::new(),
                };
                write!(
                    f,
                    "postgres://{host}/{}",
                    server.get_dbname().unwrap_or_default()
                )
            }
        }
    }
}

/// Rows that the writer caches between transactions.
#[derive(Default)]
pub(crate) struct RowCache {
    /// Settings, endpoints and prompts of tenants.
    pub(crate) tenants: TenantCache,
    /// Shared numbers of recent creates.
    pub(crate) numbers: NumberCache,
}

/// Open transaction of a job.
pub(crate) type Tx<'a> = core::writer::Tx<'a, RowCache>;

type Writer = core::writer::Writer<RowCache>;
type Writers = core::writer::Writers<RowCache>;

impl WriterCache for RowCache {
    fn begin(&self, version: i64, is_alone: bool) {
        if !is_alone {
            self.numbers.clear();
        }
        self.tenants.refresh(version);
    }

    fn flush(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.numbers.flush(tx)
    }

    fn flush_and_evict(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.numbers.flush_and_evict(tx)
    }

    fn clear(&self) {
        self.tenants.clear();
        self.numbers.clear();
    }

    fn was_changed(&self) -> bool {
        self.tenants.was_changed()
    }
}

/// Handle of the store. Clones share one store.
#[derive(Clone)]
pub struct Store(Arc<StoreParts>);

/// Parts of a store, in one allocation: every request clones several handles.
pub struct StoreParts {
    writers: Writers,
    readers: Readers,
    keys: Arc<Keyring>,
    deliveries: Arc<Notify>,
    idle: IdleReaders,
    settings: Mutex<SettingsCache>,
    prompts: Mutex<PromptCache>,
    recording_rules: calls::RecordingRules,
    known_numbers: calls::KnownNumbers,
    known_calls: calls::KnownCalls,
    checkpoints: Option<Checkpoints>,
}

impl Deref for Store {
    type Target = StoreParts;

    fn deref(&self) -> &StoreParts {
        &self.0
    }
}

/// Handle on the tables of one tenant.
#[derive(Clone)]
pub struct TenantStore {
    store: Store,
    tenant_id: TenantId,
    claimed: Option<Arc<ClaimedKey>>,
}

impl Store {
    /// Opens the store. Blocks while files are created and the schema is migrated.
    pub fn open(options: &StoreOptions) -> Result<Self, OpenError> {
        options.require_key()?;
        let target = DatabaseTarget::new(&options.database, options.tls_ca.as_deref())?;
        let checkpoints = match &options.database {
            Database::File(path) => Some(path),
            Database::Server(_) => None,
        };
        let deliveries = Arc::new(Notify::new());
        let idle = IdleReaders::default();
        let (writers, keys) = Writers::start(
            target.clone(),
            &options.key_file,
            deliveries.clone(),
            idle.clone(),
            &options.supervisor,
        )?;
        let checkpoints = checkpoints
            .map(|path| Checkpoints::start(path, idle.clone(), &options.supervisor))
            .transpose()?;
        Ok(Self(Arc::new(StoreParts {
            writers,
            readers: Readers::open(&target, &keys, idle.clone(), &options.supervisor)?,
            idle,
            keys,
            deliveries,
            settings: Mutex::default(),
            prompts: Mutex::default(),
            recording_rules: calls::RecordingRules::from_options(options),
            known_numbers: calls::KnownNumbers::default(),
            known_calls: calls::KnownCalls::default(),
            checkpoints,
        })))
    }

    /// Reads the keys again if another process has begun a rotation of the master key.
    pub async fn refresh_keys(&self) -> Result<(), StoreError> {
        self.readers
            .look_up(|snapshot| snapshot.refresh_keys())
            .await
    }

    /// Returns the handle on the tables of a tenant.
    pub fn tenant(&self, tenant_id: TenantId) -> TenantStore {
        TenantStore {
            store: self.clone(),
            tenant_id,
            claimed: None,
        }
    }

    /// Returns whether other nodes may use the same database.
    pub fn is_shared(&self) -> bool {
        matches!(self.readers, Readers::Server { .. })
    }

    /// Returns the number of commits of this process, to wait for the next one. Other processes may write, too.
    pub fn watch_commits(&self) -> watch::Receiver<u64> {
        self.idle.watch_commits()
    }

    /// Checks that the database answers, and that it took the last write. Each node writes heartbeats.
    pub async fn ready(&self) -> Result<(), StoreError> {
        if self.writers.is_failing() {
            return Err(StoreError::Unavailable("the last write failed".into()));
        }
        let answers = self
            .readers
            .look_up(|snapshot| snapshot.row(core::sql::READY, (), |_| Ok(())).map(|_| ()));
        match tokio::time::timeout(READINESS_TIMEOUT, answers).await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::Unreachable),
        }
    }
}

impl TenantStore {
    /// Returns the encryption of the tenant's recordings.
    pub async fn recording_key(&self) -> Result<RecordingKey, StoreError> {
        let tenant = self.tenant_id.clone();
        let read = self
            .store
            .readers
            .look_up(move |snapshot| snapshot.recording_key(&tenant));
        read.await
    }

    /// Returns the writer of the rows of the tenant.
    fn writer(&self) -> &Writer {
        self.store.writers.tenant(&self.tenant_id)
    }

    /// Returns the id of the tenant.
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
