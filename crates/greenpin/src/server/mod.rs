//! The server as a whole: store, engine, API and webhooks, started and stopped together.

mod membership;
mod retention;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::membership::keep;
use crate::RecordingKey;
use crate::calls::media::{MediaSettings, PromptError, Prompts};
use crate::calls::{Engine, EngineSettings, StartError};
use crate::config::Config;
use crate::http;
use crate::http::{NodeInfo, Readiness};
use crate::recordings::{BucketError, Recordings, keep_uploading};
use crate::store::{self, Membership, Store, StoreOptions, Timestamp};
use crate::webhooks::{Dispatcher, WebhookSettings};

/// How often expired allocations are told of. Nothing else waits for it.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(500);
/// How often throttles that have run out are forgotten, in rounds of the above.
const FORGET_EVERY: u32 = 1200;
/// How often what is not kept is removed.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// A running server.
pub struct Server {
    /// Where the API is served.
    pub http: SocketAddr,
    /// Where SIP over UDP is served.
    pub sip: SocketAddr,
    /// Where SIP over TCP is served, if anywhere.
    pub sip_tcp: Option<SocketAddr>,
    /// Where SIP over TLS is served, if anywhere.
    pub sip_tls: Option<SocketAddr>,
    /// Its store.
    pub store: Store,
    engine: Engine,
    dispatcher: Dispatcher,
    readiness: Arc<Readiness>,
    api: JoinHandle<()>,
    api_stop: watch::Sender<bool>,
    sweepers: [JoinHandle<()>; 4],
    membership: Membership,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The HTTP address cannot be served.
    #[error("cannot listen for HTTP on {address}: {source}")]
    Http {
        /// The address.
        address: SocketAddr,
        /// How it failed.
        source: std::io::Error,
    },
    /// The store cannot be opened, or its calls cannot be reconciled.
    #[error(transparent)]
    Open(#[from] store::OpenError),
    /// The store failed at once.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// What is said of the bucket of recordings cannot be used.
    #[error(transparent)]
    Recordings(#[from] BucketError),
    /// A prompt cannot be used.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The engine cannot start.
    #[error(transparent)]
    Engine(#[from] StartError),
}

/// Opens the store that a configuration names; `public_url` goes before links in events.
pub fn open_store(config: &Config, public_url: &str) -> Result<Store, store::OpenError> {
    Store::open(&StoreOptions {
        database: config.store.database.clone(),
        key_file: config.store.key_file.clone(),
        tls_ca: config.store.tls_ca.clone(),
        public_url: public_url.to_owned(),
        upload_recordings: config.recordings.bucket.is_some(),
    })
}

/// Where a configuration keeps recordings; `key` opens those that are sealed.
pub fn open_recordings(config: &Config, key: &RecordingKey) -> Result<Recordings, BucketError> {
    let Config { recordings, .. } = config;
    Recordings::new(
        recordings.folder.clone(),
        recordings.bucket.as_ref(),
        key.clone(),
    )
}

impl Server {
    /// Opens the store, closes calls that a crash cut short, and serves.
    pub async fn start(config: &Config) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Http {
            address: config.http.listen,
            source,
        };
        let listener = TcpListener::bind(config.http.listen)
            .await
            .map_err(failed)?;
        let http = listener.local_addr().map_err(failed)?;
        let public_url = config
            .http
            .public_url
            .clone()
            .unwrap_or_else(|| format!("http://{http}"));
        let store = open_store(config, &public_url)?;
        let recordings = open_recordings(config, store.recording_key())?;
        let (membership, cut_short) = store.join(&config.node, Timestamp::now()).await?;
        if cut_short > 0 {
            tracing::warn!(
                calls = cut_short,
                "closed calls that were cut short when the server last stopped"
            );
        }
        if !store.is_shared() {
            store.release_deliveries(Timestamp::now()).await?;
        }
        store
            .release_deliveries_of(&config.node, Timestamp::now())
            .await?;
        let settings = engine_settings(config, &store)?;
        let languages = settings.prompts.languages();
        let engine = Engine::start(settings, store.clone()).await?;
        let webhooks = WebhookSettings {
            allow_private: config.webhooks_allow_private,
            disable_after: config.webhooks_disable_after,
            node: config.node.clone(),
            ..WebhookSettings::default()
        };
        let dispatcher = Dispatcher::start(store.clone(), webhooks);
        let readiness = Arc::new(Readiness::default());
        readiness.set_sip_bound(true);
        let node = NodeInfo {
            name: config.node.clone(),
            started_at: Timestamp::now(),
            operator_token: config.http.operator_token.clone(),
            trunks: config.trunks.clone(),
            call_limit: config.sip.tenant_limit,
            languages,
            public_url,
            engine: engine.handle(),
        };
        let shelf = recordings.clone();
        let router = http::router(
            store.clone(),
            readiness.clone(),
            shelf,
            config.http.rate_limit,
            node,
        );
        let (api_stop, mut stopping) = watch::channel(false);
        let graceful = async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        let api = tokio::spawn(http::serve(listener, router, graceful));
        let life = keep(
            membership.clone(),
            store.clone(),
            engine.handle(),
            config.node.clone(),
            config.lease,
        );
        let sweepers = [
            tokio::spawn(life),
            tokio::spawn(sweep(store.clone())),
            tokio::spawn(retain(store.clone(), recordings.clone())),
            tokio::spawn(keep_uploading(
                store.clone(),
                recordings,
                config.node.clone(),
            )),
        ];
        let (sip, sip_tcp, sip_tls) = (engine.udp, engine.tcp, engine.tls);
        Ok(Self {
            http,
            sip,
            sip_tcp,
            sip_tls,
            store,
            engine,
            dispatcher,
            readiness,
            api,
            api_stop,
            sweepers,
            membership,
        })
    }

    /// Reads the certificates for SIP over TLS again, without harm to calls and connections. One that cannot be used
    /// leaves the one before in use.
    pub fn reload_certificates(&self) {
        self.engine.reload_certificates();
    }

    /// Takes nothing new, waits for what is under way for as long as `patience` lasts, and ends the rest. Every call
    /// record and event is durable before this returns.
    pub async fn stop(self, patience: Duration) {
        self.readiness.drain();
        self.engine.stop(patience).await;
        self.sweepers.iter().for_each(JoinHandle::abort);
        let _ = self.api_stop.send(true);
        let _ = tokio::time::timeout(Duration::from_secs(10), self.api).await;
        self.dispatcher.stop().await;
        if let Err(error) = self.membership.leave().await {
            tracing::warn!(%error, "the other nodes were not told that this one has gone");
        }
    }
}

fn engine_settings(config: &Config, store: &Store) -> Result<EngineSettings, PromptError> {
    let prompts = match &config.media.prompts {
        Some(folder) => Prompts::from_folder(folder)?,
        None => Prompts::built_in()?,
    };
    Ok(EngineSettings {
        udp: config.sip.udp,
        tcp: config.sip.tcp,
        tls: config.sip.tls.clone(),
        dns: config.sip.dns,
        advertised: config.sip.public_address,
        trunks: config.trunks.clone(),
        media: MediaSettings {
            bind: config.sip.udp.ip(),
            ports: config.media.ports.clone(),
            threads: config.media.threads,
            recording_key: config
                .recordings
                .encrypt
                .then(|| store.recording_key().clone()),
            ..MediaSettings::default()
        },
        prompts,
        recordings: config.recordings.folder.clone(),
        recording_format: config.recordings.format,
        node: config.node.clone(),
        max_calls: config.sip.max_calls,
        tenant_limit: config.sip.tenant_limit,
    })
}

async fn sweep(store: Store) {
    let mut rounds = tokio::time::interval(EXPIRY_INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in (0..FORGET_EVERY).cycle() {
        rounds.tick().await;
        if let Err(error) = report_all_expired(&store).await {
            tracing::error!(%error, "expired allocations were not told of");
        }
        if round == 0
            && let Err(error) = store.forget_strangers(Timestamp::now()).await
        {
            tracing::error!(%error, "throttles that ran out were not forgotten");
        }
    }
}

/// However many there are, a batch at a time: calls and creates get their turn between two.
async fn report_all_expired(store: &Store) -> Result<(), store::StoreError> {
    while store.report_expired(Timestamp::now()).await? > 0 {}
    Ok(())
}

/// Removes what is not kept, apart from the above: there may be much of it at once.
async fn retain(store: Store, recordings: Recordings) {
    let mut rounds = tokio::time::interval(RETENTION_INTERVAL);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        if let Err(error) = retention::enforce(&store, &recordings, Timestamp::now()).await {
            tracing::error!(%error, "what is not to be kept was not removed");
        }
    }
}
