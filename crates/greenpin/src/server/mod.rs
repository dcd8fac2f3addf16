//! The server: store, engine, API and webhooks, started and stopped together.

mod database_lock;
mod descriptors;
mod http_listener;
mod jobs;
pub mod limits;
pub(crate) mod local_client;
mod membership;
mod memory;
mod retention;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) use self::database_lock::DatabaseLock;
use self::database_lock::LockError;
pub(crate) use self::descriptors::{OTHER_DESCRIPTORS, OpenFiles, required_descriptors};
use self::http_listener::{HttpListener, HttpTask};
use self::membership::Node;
use crate::calls::media::{MediaSettings, PromptError, Prompts};
use crate::calls::sip::Listen;
use crate::calls::sip::TlsError;
use crate::calls::{Engine, EngineChanges, EngineSettings, Handle, StartError};
use crate::config::Config;
use crate::http;
use crate::http::{LiveSettings, NodeInfo, Readiness};
use crate::recordings::{BucketError, Recordings};
use crate::store::{self, Database, Membership, NodeIdentity, Store, StoreOptions, Timestamp};
use crate::supervision::{Part, Supervisor};
use crate::webhooks::{Dispatcher, WebhookSettings};

/// A running server.
pub struct Server {
    /// Address of the API.
    pub http: SocketAddr,
    /// Scheme of the API: `http` or `https`.
    pub http_scheme: &'static str,
    /// First address of SIP over UDP.
    pub sip: SocketAddr,
    /// All addresses of SIP, those for UDP first.
    pub sip_listen: Vec<Listen>,
    /// The store.
    pub store: Store,
    engine: Engine,
    dispatcher: Dispatcher,
    readiness: Arc<Readiness>,
    api: HttpTask,
    jobs: Vec<JoinHandle<()>>,
    membership: Membership,
    supervisor: Supervisor,
    live: watch::Sender<LiveSettings>,
    // Last field, so that the store closes before the lock is released.
    _lock: Option<DatabaseLock>,
}

/// UDP ports that are reserved for a call: RTP and RTCP of the caller and of one dialled party.
pub(crate) const PORTS_PER_CALL: usize = 4;

/// Errors that keep a server from starting.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The HTTP address cannot be bound.
    #[error("cannot listen for HTTP on {address}: {source}")]
    Http {
        /// The address.
        address: SocketAddr,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// The certificate for HTTPS cannot be used.
    #[error("http.tls_certificate: {0}")]
    Certificate(#[from] TlsError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] store::OpenError),
    /// Another server uses the database.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The store failed during the start.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The configuration of the bucket cannot be used.
    #[error(transparent)]
    Recordings(#[from] BucketError),
    /// A prompt cannot be used.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The system grants no thread to the delivery of webhooks.
    #[error("cannot start the delivery of webhooks: {0}")]
    Threads(std::io::Error),
    /// The engine cannot start.
    #[error(transparent)]
    Engine(#[from] StartError),
}

/// Opens the configured store. `public_url` is the prefix of links in events.
pub fn open_store(config: &Config, public_url: &str) -> Result<Store, store::OpenError> {
    open_supervised(config, public_url, &Supervisor::default())
}

fn open_supervised(
    config: &Config,
    public_url: &str,
    supervisor: &Supervisor,
) -> Result<Store, store::OpenError> {
    Store::open(&StoreOptions {
        database: config.store.database.clone(),
        key_file: config.store.key_file.clone(),
        tls_ca: config.store.tls_ca.clone(),
        public_url: public_url.to_owned(),
        upload_recordings: config.recordings.bucket.is_some(),
        supervisor: supervisor.clone(),
    })
}

/// Logs the number of calls that the media ports allow, if it is below the configured maximum.
fn report_port_limit(config: &Config) {
    let ports = config.media.ports.len();
    let calls = ports / PORTS_PER_CALL;
    if calls < config.sip.max_calls {
        let max_calls = config.sip.max_calls;
        tracing::info!(calls, max_calls, "media.ports limits the number of calls");
    }
}

/// Opens the configured storage of recordings.
pub fn open_recordings(config: &Config) -> Result<Recordings, BucketError> {
    let Config { recordings, .. } = config;
    let opened = Recordings::new(recordings.folder.clone(), recordings.bucket.as_ref())?;
    let is_shared = recordings.shared || matches!(config.store.database, Database::File(_));
    Ok(match is_shared {
        true => opened,
        false => opened.of_node(config.node.clone()),
    })
}

/// Warns if other nodes cannot read the recordings of this one.
fn warn_of_unshared_recordings(config: &Config) {
    let is_of_node = matches!(config.store.database, Database::Server(_))
        && !config.recordings.shared
        && config.recordings.bucket.is_none();
    if is_of_node {
        tracing::warn!(
            "no recordings.url: only this node has the recordings that it makes; set it to a bucket, or to a folder with recordings.shared = true"
        );
    }
}

impl Server {
    /// Opens the store, closes the records of calls that a crash cut short, and starts all parts.
    pub async fn start(config: &Config) -> Result<Self, ServerError> {
        Self::start_supervised(config, Supervisor::new()).await
    }

    async fn start_supervised(
        config: &Config,
        supervisor: Supervisor,
    ) -> Result<Self, ServerError> {
        let files = descriptors::raise_limit(config.sip.max_calls);
        report_port_limit(config);
        let listener = HttpListener::bind(config, files).await?;
        let (http, http_scheme) = (listener.address, listener.scheme);
        let public_url = listener.public_url.clone();
        let lock = DatabaseLock::acquire(&config.store.database)?;
        let store = open_supervised(config, &public_url, &supervisor)?;
        let recordings = open_recordings(config)?;
        warn_of_unshared_recordings(config);
        let membership = join(&store, config).await?;
        let settings = engine_settings(config, &supervisor)?;
        let (live, settled) = watch::channel(live_settings(config, &settings.prompts));
        let engine = Engine::start(settings, store.clone()).await?;
        let dispatcher = Dispatcher::start(store.clone(), webhook_settings(config, &supervisor))
            .map_err(ServerError::Threads)?;
        let readiness = Arc::new(Readiness::new(supervisor.clone()));
        readiness.set_sip_bound(true);
        let node = node_info(config, settled, public_url, (&engine, &dispatcher));
        let router = http::router(store.clone(), readiness.clone(), recordings.clone(), node);
        let api = listener.serve(router, &supervisor);
        let node = Node {
            membership: membership.clone(),
            store: store.clone(),
            engine: engine.handle(),
            readiness: readiness.clone(),
            name: config.node.clone(),
            lease: config.lease,
        };
        let heartbeats = node.keep_alive(supervisor.clone());
        let jobs = jobs::start(&store, recordings, &config.node, heartbeats, &supervisor);
        Ok(Self {
            http,
            http_scheme,
            sip: engine.udp(),
            sip_listen: engine.listen.clone(),
            store,
            engine,
            dispatcher,
            readiness,
            api,
            jobs,
            membership,
            supervisor,
            live,
            _lock: lock,
        })
    }

    /// Takes over a configuration from [`Config::reload`]. Calls and connections continue. A folder of prompts that
    /// cannot be used changes nothing.
    pub fn reload(&self, config: &Config) -> Result<(), PromptError> {
        let prompts = read_prompts(config)?;
        descriptors::raise_limit(config.sip.max_calls);
        report_port_limit(config);
        self.live.send_replace(live_settings(config, &prompts));
        self.engine.handle().change(EngineChanges {
            trunks: config.trunks.clone(),
            prompts,
            max_calls: config.sip.max_calls,
            tenant_limit: config.sip.tenant_limit,
        });
        Ok(())
    }

    /// Reads the certificates for SIP over TLS and for HTTPS again. Calls and connections continue. If a file
    /// cannot be used, the previous certificate stays in use.
    pub fn reload_certificates(&self) {
        self.engine.reload_certificates();
        self.api.reload_certificate();
    }

    /// Returns a handle to the calls, which also works during the stop.
    pub fn liveness(&self) -> Handle {
        self.engine.handle()
    }

    /// Waits until a task or thread ends that must not end. The server is not ready from then on and should be stopped.
    pub async fn failure(&self) -> Part {
        self.supervisor.failure().await
    }

    /// Rejects new calls, waits up to `drain_timeout` for live ones and ends the rest. Every call
    /// record and event is durable before this returns.
    pub async fn stop(self, drain_timeout: Duration) {
        self.readiness.drain();
        self.supervisor.stop();
        self.engine.stop(drain_timeout).await;
        self.jobs.iter().for_each(JoinHandle::abort);
        self.api.stop().await;
        self.dispatcher.stop().await;
        if let Err(error) = self.membership.leave().await {
            tracing::warn!(%error, "leaving the cluster failed");
        }
    }
}

fn node_info(
    config: &Config,
    live: watch::Receiver<LiveSettings>,
    public_url: String,
    (engine, dispatcher): (&Engine, &Dispatcher),
) -> NodeInfo {
    NodeInfo {
        name: config.node.clone(),
        started_at: Timestamp::now(),
        operator_token: config.http.operator_token.clone(),
        live,
        public_url,
        engine: engine.handle(),
        test_sender: dispatcher.test_sender(),
    }
}

/// Joins the cluster: closes the records of calls that the last stop of this node cut short, and releases its claimed
/// deliveries.
async fn join(store: &Store, config: &Config) -> Result<Membership, ServerError> {
    let now = Timestamp::now();
    let node = NodeIdentity {
        name: config.node.clone(),
        lease: config.lease,
        version: env!("CARGO_PKG_VERSION"),
        started_at: now,
    };
    let (membership, cut_short) = store.join(node, now).await?;
    if cut_short > 0 {
        tracing::warn!(
            calls = cut_short,
            "closed the records of calls that the last stop cut short"
        );
    }
    if !store.is_shared() {
        store.release_deliveries(now).await?;
    }
    store.release_deliveries_of(&config.node, now).await?;
    Ok(membership)
}

fn webhook_settings(config: &Config, supervisor: &Supervisor) -> WebhookSettings {
    WebhookSettings {
        allow_private: config.webhooks_allow_private,
        disable_after: config.webhooks_disable_after,
        node: config.node.clone(),
        supervisor: supervisor.clone(),
        ..WebhookSettings::default()
    }
}

fn live_settings(config: &Config, prompts: &Prompts) -> LiveSettings {
    LiveSettings {
        trunks: config.trunks.clone(),
        call_limit: config.sip.tenant_limit,
        rate_limit: config.http.rate_limit,
        languages: prompts.languages(),
    }
}

fn read_prompts(config: &Config) -> Result<Prompts, PromptError> {
    match &config.media.prompts {
        Some(folder) => Prompts::from_folder(folder),
        None => Prompts::built_in(),
    }
}

fn engine_settings(
    config: &Config,
    supervisor: &Supervisor,
) -> Result<EngineSettings, PromptError> {
    let prompts = read_prompts(config)?;
    Ok(EngineSettings {
        listen: config.listen_settings(),
        tls: config.sip.tls.clone(),
        dns: config.sip.dns,
        advertised: config.sip.public_address,
        dscp: config.sip.dscp,
        timers: config.sip.timers,
        silent: config.sip.silent.clone(),
        trunks: config.trunks.clone(),
        media: MediaSettings {
            bind: config.media.listen.unwrap_or(config.sip.udp().ip()),
            dscp: config.media.dscp,
            silence_limit: config.media.silence_timeout,
            ports: config.media.ports.clone(),
            threads: config.media.threads,
            ..MediaSettings::default()
        },
        prompts,
        recordings: config.recordings.folder.clone(),
        recording_format: config.recordings.format,
        encrypt_recordings: config.recordings.encrypt,
        node: config.node.clone(),
        max_calls: config.sip.max_calls,
        tenant_limit: config.sip.tenant_limit,
        supervisor: supervisor.clone(),
    })
}

#[cfg(test)]
mod tests;
