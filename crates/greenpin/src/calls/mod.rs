//! SIP and RTP engine. It performs the actions of the call machine (crate `call`) on real sockets.
//!
//! Map of the folder:
//!
//! - `call_loop`: the single loop that processes every event of every call.
//! - `call_start`: the start of a call on both clocks.
//! - `context`: the state that all calls share, such as the user agent, the media plane and the trunks.
//! - `leg_owner`: the call of each leg and media stream.
//! - `limits`: the limits that the reference of limits names.
//! - `masked_call`: one call on its legs, in `actions`, `media_path` and `ending`.
//! - `direct_media`: the state machine for media between two carriers.
//! - `record_writer`: the writes of one call to the store, in order.
//! - `call_limits`: the limits of each tenant on this node.
//! - `trunks`: trunk selection, number formats and DNS.
//! - `sip`: sockets, connections and TLS under the SIP endpoint.
//! - `media`: media threads, legs, prompts and recordings.
//! - `unproven_calls`: calls whose source may be forged.
//! - `source_address`: IPv4 peers of sockets on IPv6 addresses.
//! - `traffic_class`: marks of sent packets.
//! - `refused`: the last refused INVITEs.
//! - `trace`: the traces of calls.
//! - `softphone`: a phone for the commands `demo` and `call`.

// Numbers and times come from peers: arithmetic on them is checked, saturating or clamped.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod call_limits;
mod call_loop;
mod call_start;
mod context;
mod direct_media;
mod leg_owner;
pub mod limits;
mod masked_call;
pub mod media;
mod record_writer;
mod refused;
pub mod sip;
pub mod softphone;
mod source_address;
mod trace;
mod traffic_class;
pub mod trunks;
mod unproven_calls;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::refused::RefusedInvite;
pub use self::traffic_class::Dscp;
pub use self::trunks::number_format::NumberFormat;
pub(crate) use self::trunks::selection::DEFAULT_FAILOVER_ON;
pub use self::trunks::selection::{TrunkHealth, TrunkSettings};
use tokio::sync::{mpsc, oneshot};

use self::call_loop::CallLoop;
use self::media::{MediaPlane, MediaSettings, Prompts, RecordingFormat};
use self::sip::{
    BindError, Listen, SipSockets, Tls, TlsCertificates, TlsServer, UserAgent, first_address,
};
use self::trace::{CallTracer, TraceWriter};
use self::trunks::dns::TrunkLookup;
use crate::crypto::private_folder;
use crate::store::{CallLimit, CallSid, Store, Timestamp};
use crate::supervision::{Part, Supervisor};
use signalling::{SipTimers, TargetGroup, Transport};

/// Seconds in `Retry-After` of a call rejected for lack of capacity.
const RETRY_AFTER_SECONDS: u32 = 5;
/// Maximum time to wait for the trunks to confirm the removal of our registrations, in [`Engine::stop`].
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time for the end of the remaining calls, in [`Engine::stop`].
const END_CALLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for the traces of the last calls, in [`Engine::stop`].
const WRITE_TRACES_TIMEOUT: Duration = Duration::from_secs(2);

/// Settings of the engine.
#[derive(Clone)]
pub struct EngineSettings {
    /// Addresses for SIP, at least one of them for UDP.
    pub listen: Vec<ListenSettings>,
    /// Certificate for SIP over TLS; `None`: off.
    pub tls: Option<TlsServer>,
    /// DNS server for the host names of trunks; `None`: the system's resolver.
    pub dns: Option<SocketAddr>,
    /// IP address of this server for all that concerns no single peer.
    pub advertised: IpAddr,
    /// Mark of SIP packets over UDP.
    pub dscp: Dscp,
    /// Timers of SIP transactions.
    pub timers: SipTimers,
    /// Transports on which strangers get no response.
    pub silent: Vec<Transport>,
    /// Carriers to receive calls from and to place calls with.
    pub trunks: Vec<TrunkSettings>,
    /// Ports and threads of the media plane.
    pub media: MediaSettings,
    /// Prompts played to callers.
    pub prompts: Prompts,
    /// Folder for recordings.
    pub recordings: PathBuf,
    /// File format of recordings.
    pub recording_format: RecordingFormat,
    /// Recordings are encrypted with the key of their tenant.
    pub encrypt_recordings: bool,
    /// Name of this node in call records.
    pub node: String,
    /// Maximum number of concurrent calls. The engine rejects further calls with 503.
    pub max_calls: usize,
    /// Default call limit of a tenant, for tenants without a limit in their settings.
    pub tenant_limit: CallLimit,
    /// Supervisor of the engine's tasks.
    pub supervisor: Supervisor,
}

/// Address for SIP, and the addresses of the audio of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenSettings {
    /// Transport and address. Port 0 takes any free port, for TCP that of UDP at the same IP address.
    pub listen: Listen,
    /// IP address announced to peers for SIP.
    pub advertised: IpAddr,
    /// Local IP address of the media ports.
    pub media_bind: IpAddr,
    /// IP address announced to peers for media.
    pub media_advertised: IpAddr,
}

impl ListenSettings {
    /// Creates settings that announce the listen address itself.
    pub fn plain(listen: Listen) -> Self {
        let ip = listen.address.ip();
        Self {
            listen,
            advertised: ip,
            media_bind: ip,
            media_advertised: ip,
        }
    }
}

/// Settings that a running engine takes over. Calls under way continue with them.
pub struct EngineChanges {
    /// Trunks in the same number and order, each with its present connection.
    pub trunks: Vec<TrunkSettings>,
    /// Prompts for everything that is played from now on.
    pub prompts: Prompts,
    /// Maximum number of concurrent calls.
    pub max_calls: usize,
    /// Default call limit of a tenant.
    pub tenant_limit: CallLimit,
}

/// Error at the start of the engine.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A SIP address cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A media thread cannot be started, or the folder of recordings cannot be used.
    #[error("{step}: {source}")]
    Io {
        /// Failed step.
        step: &'static str,
        /// Cause.
        source: std::io::Error,
    },
}

/// Running engine. [`Engine::stop`] drains the calls and ends it. Without it the call loop runs until the process exits.
pub struct Engine {
    /// Bound addresses of SIP, in the order of the settings.
    pub listen: Vec<Listen>,
    handle: Handle,
    certificates: Arc<TlsCertificates>,
    reloading: tokio::task::JoinHandle<()>,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

/// Cloneable handle for other parts of the server. All clones control the same engine.
#[derive(Clone)]
pub struct Handle(mpsc::UnboundedSender<Command>);

/// Call in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveCall {
    /// Id of the call.
    pub call_sid: CallSid,
    /// Stage of the call.
    pub state: CallState,
    /// Arrival time.
    pub since: Timestamp,
}

/// Stage of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallState {
    /// The caller enters a PIN, or hears a prompt before the engine hangs up.
    Collecting,
    /// At least one callee is being dialled.
    Dialling,
    /// Both parties are connected.
    Bridged,
    /// The call is over; its record is not written yet.
    Ending,
}

/// Request to the call loop.
enum Command {
    /// Stop admitting calls, and reply after the last call has ended.
    Drain(oneshot::Sender<()>),
    /// Admit calls, or reject new calls with 503.
    Admit(bool),
    /// End every call now.
    EndCalls,
    /// End one call now, and reply with `false` if the call does not exist.
    EndCall(CallSid, oneshot::Sender<bool>),
    /// Reply with the calls in progress.
    Calls(oneshot::Sender<Vec<ActiveCall>>),
    /// Reply with the number of objects in use.
    Load(oneshot::Sender<EngineLoad>),
    /// Set the transport and the addresses of a trunk, as resolved from DNS.
    Targets(usize, Transport, Vec<TargetGroup>),
    /// Reply with the state of every trunk.
    Trunks(oneshot::Sender<Vec<TrunkHealth>>),
    /// Reply with the last refused INVITEs.
    Refused(oneshot::Sender<Vec<RefusedInvite>>),
    /// Take over changed settings.
    Change(Box<EngineChanges>),
    /// Write the traces of all ended calls, and reply when they are written.
    WriteTraces(oneshot::Sender<()>),
    /// Remove our registrations from the trunks, and reply when all are removed.
    Unregister(oneshot::Sender<()>),
}

/// Objects in use. In an idle engine every field is zero, except `sip.transactions` and `sip.timers`. Those stay for
/// half a minute after a call (RFC 3261, section 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLoad {
    /// Masked calls.
    pub calls: usize,
    /// Masked calls whose source is not proven.
    pub unproven_calls: usize,
    /// Legs of masked calls.
    pub legs: usize,
    /// Media streams of masked calls.
    pub streams: usize,
    /// Legs of the media plane.
    pub media_legs: usize,
    /// Pending deadlines of calls.
    pub deadlines: usize,
    /// Objects of the SIP endpoint.
    pub sip: signalling::EndpointLoad,
}

impl EngineSettings {
    /// Returns the address at which the peer of a trunk reaches the media ports of a leg at this listen address.
    fn media_address(&self, trunk: usize, local: Option<u8>) -> IpAddr {
        let trunk = self.trunks.get(trunk);
        let own = trunk.and_then(|trunk| trunk.media_address.or(trunk.sip.advertised));
        let listen = self.listen_settings(local);
        own.or(listen.map(|listen| listen.media_advertised))
            .unwrap_or(self.advertised)
    }

    /// Returns the address at which the peer of a trunk reaches SIP of a leg at this listen address.
    fn announced_address(&self, trunk: usize, local: Option<u8>) -> IpAddr {
        let trunk = self.trunks.get(trunk);
        let listen = self.listen_settings(local).map(|listen| listen.advertised);
        let own = trunk.and_then(|trunk| trunk.sip.advertised).or(listen);
        own.unwrap_or(self.advertised)
    }

    /// Returns the local IP address of the media ports of a leg at this listen address.
    fn media_bind(&self, local: Option<u8>) -> IpAddr {
        let listen = self.listen_settings(local);
        listen.map_or(self.media.bind, |listen| listen.media_bind)
    }

    /// Returns the settings of a listen address; without an index those of the first one.
    fn listen_settings(&self, local: Option<u8>) -> Option<&ListenSettings> {
        self.listen.get(local.map_or(0, usize::from))
    }

    /// Returns the media ports of each trunk with its own range.
    fn trunk_ports(&self) -> Vec<Option<RangeInclusive<u16>>> {
        let trunks = self.trunks.iter();
        trunks.map(|trunk| trunk.media_ports.clone()).collect()
    }

    /// Returns the name in the client certificate of each trunk's peer.
    fn peer_names(&self) -> Vec<Option<String>> {
        let trunks = self.trunks.iter();
        trunks
            .map(|trunk| trunk.sip.tls_peer_name.clone())
            .collect()
    }
}

impl Engine {
    /// Binds every socket, recovers unfinished recordings and starts to serve calls.
    pub async fn start(settings: EngineSettings, store: Store) -> Result<Self, StartError> {
        let io = |step| move |source| StartError::Io { step, source };
        let folder = &settings.recordings;
        private_folder::create(folder).map_err(io("cannot create the folder of recordings"))?;
        media::recording::recovery::recover_unfinished(folder, &store)
            .await
            .map_err(io("cannot recover the folder of recordings"))?;
        let peers: Vec<_> = settings
            .trunks
            .iter()
            .map(TrunkSettings::tls_peer)
            .collect();
        let encrypted: Vec<bool> = peers.iter().map(Option::is_some).collect();
        let tls = Tls {
            server: settings.tls.clone(),
            peers,
            peer_names: settings.peer_names(),
        };
        let supervisor = settings.supervisor.clone();
        let wanted: Vec<Listen> = settings.listen.iter().map(|own| own.listen).collect();
        let sockets = SipSockets::bind_with(&wanted, tls, &supervisor)?;
        sockets
            .mark(settings.dscp)
            .map_err(io("cannot mark the SIP packets"))?;
        let listen = sockets.addresses().to_vec();
        let certificates = sockets.certificates();
        let (media_events, media_inbox) = mpsc::unbounded_channel();
        let media = MediaSettings {
            supervisor: supervisor.clone(),
            trunk_ports: settings.trunk_ports(),
            ..settings.media.clone()
        };
        let media =
            MediaPlane::start(media, media_events).map_err(io("cannot start the media plane"))?;
        // Without DNS settings of the system, session descriptions with a host name are rejected.
        let resolver = trunks::dns::resolver(settings.dns).ok();
        let agent = UserAgent::new(endpoint_settings(&settings, &listen), sockets)
            .with_resolver(resolver)
            .with_silence(settings.silent.clone());
        let locals = shown_addresses(&settings, &listen);
        let traces = TraceWriter::start(store.clone(), locals, &supervisor);
        let agent = agent.with_tracer(CallTracer::new(traces));
        let (commands, inbox) = mpsc::unbounded_channel();
        resolve_trunk_names(&settings, &encrypted, &commands)
            .map_err(io("cannot read the system's DNS settings"))?;
        let call_loop = CallLoop::new(agent, media, store, Arc::new(settings));
        let watched = certificates.clone();
        let reloading =
            supervisor.spawn_restarting(Part::Certificates, move || watched.clone().watch());
        let task = supervisor.spawn(Part::CallLoop, call_loop.run(media_inbox, inbox));
        Ok(Self {
            listen,
            handle: Handle(commands),
            certificates,
            reloading,
            task,
        })
    }

    /// Returns the first address of SIP over UDP.
    pub fn udp(&self) -> SocketAddr {
        let unbound = SocketAddr::from(([0, 0, 0, 0], 0));
        first_address(&self.listen, Transport::Udp).unwrap_or(unbound)
    }

    /// Returns a handle to this engine.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Reads the certificates for SIP over TLS again. An unusable file leaves the previous certificate in use.
    pub fn reload_certificates(&self) {
        self.certificates.request_reload();
    }

    /// Returns the objects in use, or `None` if the engine has stopped.
    pub async fn load(&self) -> Option<EngineLoad> {
        self.handle.load().await
    }

    /// Stops the engine. It rejects new calls with 503, removes its registrations, waits up to `drain_timeout` for calls in
    /// progress, and then ends the remaining calls. Every call record is written before this method returns.
    pub async fn stop(self, drain_timeout: Duration) {
        let unregistered = self.handle.ask(Command::Unregister);
        let _ = tokio::time::timeout(UNREGISTER_TIMEOUT, unregistered).await;
        let (reply, mut drained) = oneshot::channel();
        if self.handle.0.send(Command::Drain(reply)).is_err() {
            return;
        }
        if tokio::time::timeout(drain_timeout, &mut drained)
            .await
            .is_err()
        {
            let _ = self.handle.0.send(Command::EndCalls);
            let _ = tokio::time::timeout(END_CALLS_TIMEOUT, drained).await;
        }
        let written = self.handle.ask(Command::WriteTraces);
        let _ = tokio::time::timeout(WRITE_TRACES_TIMEOUT, written).await;
        self.task.abort();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.reloading.abort();
    }
}

/// Returns the settings of the SIP endpoint with these bound addresses.
fn endpoint_settings(settings: &EngineSettings, bound: &[Listen]) -> signalling::EndpointSettings {
    let trunks = settings.trunks.iter();
    let listen = bound.iter().zip(&settings.listen);
    let listen = listen.map(|(bound, own)| signalling::ListenAddress {
        transport: bound.transport,
        address: bound.address,
        advertised: own.advertised,
    });
    signalling::EndpointSettings {
        advertised: settings.advertised,
        listen: listen.collect(),
        own_addresses: own_addresses(settings),
        timers: settings.timers,
        trunks: trunks.map(|trunk| trunk.sip.clone()).collect(),
    }
}

/// Returns the address of each listen address that traces show: the announced one instead of "any".
fn shown_addresses(settings: &EngineSettings, bound: &[Listen]) -> Vec<SocketAddr> {
    let listen = bound.iter().zip(&settings.listen);
    let shown = listen.map(|(bound, own)| match bound.address.ip().is_unspecified() {
        true => SocketAddr::new(own.advertised, bound.address.port()),
        false => bound.address,
    });
    shown.collect()
}

/// Returns the addresses of this host that the configuration names.
fn own_addresses(settings: &EngineSettings) -> Vec<IpAddr> {
    let listening = settings.listen.iter().flat_map(|own| {
        let ListenSettings {
            listen,
            advertised,
            media_bind,
            media_advertised,
        } = own;
        [
            listen.address.ip(),
            *advertised,
            *media_bind,
            *media_advertised,
        ]
    });
    [settings.advertised, settings.media.bind]
        .into_iter()
        .chain(
            settings
                .trunks
                .iter()
                .filter_map(|trunk| trunk.sip.advertised),
        )
        .chain(
            settings
                .trunks
                .iter()
                .filter_map(|trunk| trunk.media_address),
        )
        .chain(listening)
        .filter(|address| !address.is_unspecified())
        .collect()
}

/// Starts a resolver task for every trunk with a host name.
fn resolve_trunk_names(
    settings: &EngineSettings,
    encrypted: &[bool],
    engine: &mpsc::UnboundedSender<Command>,
) -> std::io::Result<()> {
    let named = settings
        .trunks
        .iter()
        .enumerate()
        .filter_map(|(index, trunk)| {
            let has_tls = encrypted.get(index).is_some_and(|encrypted| *encrypted);
            let lookup = TrunkLookup::of(trunk, has_tls)?;
            let is_named = lookup.peer.address().is_none();
            is_named.then(|| ((index, trunk.name.clone()), lookup))
        });
    let mut shared = None;
    for (trunk, lookup) in named {
        let resolver = match &shared {
            Some(resolver) => resolver,
            None => {
                shared.insert(trunks::dns::resolver(settings.dns).map_err(std::io::Error::other)?)
            }
        };
        let (resolver, engine) = (resolver.clone(), engine.clone());
        settings.supervisor.spawn_restarting(Part::Dns, move || {
            trunks::dns::keep_resolved(
                resolver.clone(),
                trunk.clone(),
                lookup.clone(),
                engine.clone(),
            )
        });
    }
    Ok(())
}

impl Handle {
    /// Returns the calls in progress, oldest first; empty if the engine has stopped.
    pub async fn calls(&self) -> Vec<ActiveCall> {
        self.ask(Command::Calls).await.unwrap_or_default()
    }

    /// Ends a call as if a party had hung up. Returns `false` if the call does not exist.
    pub async fn end_call(&self, call_sid: CallSid) -> bool {
        self.ask(|reply| Command::EndCall(call_sid, reply))
            .await
            .unwrap_or(false)
    }

    /// Returns the state of every trunk in the order of the configuration; empty if the engine has stopped.
    pub async fn trunks(&self) -> Vec<TrunkHealth> {
        self.ask(Command::Trunks).await.unwrap_or_default()
    }

    /// Returns the last refused INVITEs, newest first; empty if the engine has stopped.
    pub async fn refused(&self) -> Vec<RefusedInvite> {
        self.ask(Command::Refused).await.unwrap_or_default()
    }

    /// Changes the settings of the running engine.
    pub fn change(&self, changes: EngineChanges) {
        // A stopped engine has no calls, so there is no receiver to notify.
        let _ = self.0.send(Command::Change(Box::new(changes)));
    }

    /// Returns the objects in use; `None` if the engine has stopped.
    pub async fn load(&self) -> Option<EngineLoad> {
        self.ask(Command::Load).await
    }

    /// Ends every call in progress.
    pub fn end_calls(&self) {
        // A stopped engine has no calls, so there is no receiver to notify.
        let _ = self.0.send(Command::EndCalls);
    }

    /// Admits new calls, or rejects them with 503. Calls in progress continue.
    pub fn admit(&self, calls: bool) {
        // A stopped engine admits no calls, so there is no receiver to notify.
        let _ = self.0.send(Command::Admit(calls));
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.0.send(command(reply)).ok()?;
        answer.await.ok()
    }
}

impl CallState {
    /// Returns the name of the state in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Collecting => "collecting",
            Self::Dialling => "dialling",
            Self::Bridged => "bridged",
            Self::Ending => "ending",
        }
    }
}

#[cfg(test)]
mod tests;
