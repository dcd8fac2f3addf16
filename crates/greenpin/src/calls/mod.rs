//! The SIP and RTP engine: performs what the call machine decides.

mod call_limits;
mod call_loop;
mod context;
mod direct_media;
mod leg_owner;
mod masked_call;
pub mod media;
mod record_writer;
pub mod sip;
pub mod softphone;
pub mod trunks;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::trunks::number_format::NumberFormat;
pub use self::trunks::selection::{TrunkHealth, TrunkSettings};
use tokio::sync::{mpsc, oneshot};

use self::call_loop::CallLoop;
use self::media::{MediaPlane, MediaSettings, Prompts, RecordingFormat};
use self::sip::{BindError, SipSockets, Tls, TlsCertificates, TlsListen, UserAgent};
use self::trunks::dns::{TlsPolicy, TrunkLookup};
use crate::store::{CallLimit, CallSid, Store, Timestamp};
use signalling::Transport;

/// How long the trunks have to take note of our leaving.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(2);

/// What the engine needs to know to start.
pub struct EngineSettings {
    /// Where SIP over UDP is served. Port 0 takes a free one.
    pub udp: SocketAddr,
    /// Where SIP over TCP is served, if anywhere. Port 0 takes the one of UDP.
    pub tcp: Option<SocketAddr>,
    /// Where SIP over TLS is served, if anywhere.
    pub tls: Option<TlsListen>,
    /// The server that is asked where trunks are that have a name; `None`: those of the system.
    pub dns: Option<SocketAddr>,
    /// The address that peers reach SIP and media at.
    pub advertised: IpAddr,
    /// Who brings calls and takes them.
    pub trunks: Vec<TrunkSettings>,
    /// Ports and threads of the audio.
    pub media: MediaSettings,
    /// What callers hear.
    pub prompts: Prompts,
    /// The folder that recordings go to.
    pub recordings: PathBuf,
    /// What they are written as.
    pub recording_format: RecordingFormat,
    /// The name of this node in call records.
    pub node: String,
    /// Calls at once; one more is refused with 503.
    pub max_calls: usize,
    /// The same of a tenant whose settings say nothing.
    pub tenant_limit: CallLimit,
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A SIP address cannot be served.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The media threads cannot be started, or the folder of recordings cannot be made.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// How it failed.
        source: std::io::Error,
    },
}

/// A running engine. Dropping it ends every call at once; [`Engine::stop`] lets them end well.
pub struct Engine {
    /// Where SIP over UDP is served.
    pub udp: SocketAddr,
    /// Where SIP over TCP is served.
    pub tcp: Option<SocketAddr>,
    /// Where SIP over TLS is served.
    pub tls: Option<SocketAddr>,
    handle: Handle,
    certificates: Arc<TlsCertificates>,
    reloading: tokio::task::JoinHandle<()>,
    task: tokio::task::JoinHandle<()>,
}

/// What others than its owner may ask of the engine. Clones are handles on the same one.
#[derive(Clone)]
pub struct Handle(mpsc::UnboundedSender<Command>);

/// A call that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveCall {
    /// Its id.
    pub call_sid: CallSid,
    /// How far it has come.
    pub state: CallState,
    /// When it came in.
    pub since: Timestamp,
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallState {
    /// The caller is asked for a PIN, or hears why there is none to ask for.
    Collecting,
    /// The other side is rung.
    Dialling,
    /// Both talk.
    Bridged,
    /// It is over but for its record.
    Ending,
}

/// What others ask of the engine.
enum Command {
    /// Take no more calls; tell when the last one is over.
    Drain(oneshot::Sender<()>),
    /// Take calls, or refuse new ones with 503.
    Admit(bool),
    /// End every call now.
    EndCalls,
    /// End one call now; tell whether there was such a one.
    EndCall(CallSid, oneshot::Sender<bool>),
    /// Tell which calls are under way.
    Calls(oneshot::Sender<Vec<LiveCall>>),
    /// Tell how much is held.
    Load(oneshot::Sender<EngineLoad>),
    /// The DNS says where a trunk is, and how it is reached.
    Targets(usize, Transport, Vec<SocketAddr>),
    /// Tell how the trunks are.
    Trunks(oneshot::Sender<Vec<TrunkHealth>>),
    /// Take back what is registered with trunks; tell when that is done.
    Unregister(oneshot::Sender<()>),
}

/// How much the engine holds. All zero but `sip.transactions` and `sip.timers`, which linger for half a minute after a
/// call (RFC 3261, section 17): idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLoad {
    /// Masked calls.
    pub calls: usize,
    /// Legs of theirs.
    pub legs: usize,
    /// Streams of theirs.
    pub streams: usize,
    /// Legs of the media plane.
    pub media_legs: usize,
    /// Deadlines.
    pub deadlines: usize,
    /// What the SIP endpoint holds.
    pub sip: signalling::EndpointLoad,
}

impl Engine {
    /// Binds every socket and serves calls.
    pub async fn start(settings: EngineSettings, store: Store) -> Result<Self, StartError> {
        let io = |what| move |source| StartError::Io { what, source };
        let folder = &settings.recordings;
        tokio::fs::create_dir_all(folder)
            .await
            .map_err(io("cannot make the folder of recordings"))?;
        media::recording::recovery::recover_unfinished(folder, &store)
            .await
            .map_err(io("cannot tidy the folder of recordings"))?;
        let peers: Vec<_> = settings
            .trunks
            .iter()
            .map(TrunkSettings::tls_peer)
            .collect();
        let encrypted: Vec<bool> = peers.iter().map(Option::is_some).collect();
        let tls = Tls {
            listen: settings.tls.clone(),
            peers,
        };
        let sockets = SipSockets::bind_with(settings.udp, settings.tcp, tls).await?;
        let udp = sockets
            .udp_address()
            .map_err(io("cannot read the SIP address"))?;
        let (tcp, tls) = (sockets.tcp_address(), sockets.tls_address());
        let certificates = sockets.certificates();
        let (media_events, media_inbox) = mpsc::unbounded_channel();
        let media = MediaPlane::start(settings.media.clone(), media_events)
            .map_err(io("cannot start media"))?;
        let agent = UserAgent::new(
            signalling::EndpointSettings {
                advertised: settings.advertised,
                udp_port: udp.port(),
                tcp_port: tcp.unwrap_or(udp).port(),
                tls_port: tls.or(tcp).unwrap_or(udp).port(),
                trunks: settings
                    .trunks
                    .iter()
                    .map(|trunk| trunk.sip.clone())
                    .collect(),
            },
            sockets,
        );
        let (commands, inbox) = mpsc::unbounded_channel();
        resolve_trunk_names(&settings, &encrypted, &commands)
            .map_err(io("cannot read how this system looks names up"))?;
        let call_loop = CallLoop::new(agent, media, store, Arc::new(settings));
        let reloading = tokio::spawn(certificates.clone().watch());
        let task = tokio::spawn(call_loop.run(media_inbox, inbox));
        Ok(Self {
            udp,
            tcp,
            tls,
            handle: Handle(commands),
            certificates,
            reloading,
            task,
        })
    }

    /// A handle on it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Reads the certificates for SIP over TLS again. One that cannot be used leaves the one before in use.
    pub fn reload_certificates(&self) {
        self.certificates.request_reload();
    }

    /// How much is held now; `None` if the engine has stopped.
    pub async fn load(&self) -> Option<EngineLoad> {
        self.handle.ask(Command::Load).await
    }

    /// Takes no more calls (503) and takes back what is registered with trunks, waits for calls under way for as long
    /// as `timeout` lasts, then ends the rest. Every call record is written before this returns.
    pub async fn stop(self, timeout: Duration) {
        let unregistered = self.handle.ask(Command::Unregister);
        let _ = tokio::time::timeout(UNREGISTER_TIMEOUT, unregistered).await;
        let (reply, drained) = oneshot::channel();
        if self.handle.0.send(Command::Drain(reply)).is_err() {
            return;
        }
        let mut drained = drained;
        if tokio::time::timeout(timeout, &mut drained).await.is_err() {
            let _ = self.handle.0.send(Command::EndCalls);
            let _ = tokio::time::timeout(Duration::from_secs(10), drained).await;
        }
        self.task.abort();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.reloading.abort();
    }
}

/// Begins to look up the trunks that have a name.
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
            let hop = trunk.sip.next_hop().filter(|hop| hop.address().is_none())?;
            let tls = match encrypted.get(index) {
                Some(true) if trunk.has_tls_files() => TlsPolicy::Always,
                Some(true) => TlsPolicy::Possible,
                _ => TlsPolicy::Never,
            };
            Some((
                (index, trunk.name.clone()),
                TrunkLookup {
                    peer: hop.clone(),
                    tls,
                },
            ))
        });
    let mut shared = None;
    for (trunk, lookup) in named {
        let resolver = match &shared {
            Some(resolver) => resolver,
            None => {
                shared.insert(trunks::dns::resolver(settings.dns).map_err(std::io::Error::other)?)
            }
        };
        tokio::spawn(trunks::dns::keep_resolved(
            resolver.clone(),
            trunk,
            lookup,
            engine.clone(),
        ));
    }
    Ok(())
}

impl Handle {
    /// The calls that are under way, oldest first; none if the engine has stopped.
    pub async fn calls(&self) -> Vec<LiveCall> {
        self.ask(Command::Calls).await.unwrap_or_default()
    }

    /// Ends a call as if a party had hung up; whether there was such a one.
    pub async fn end_call(&self, call_sid: CallSid) -> bool {
        self.ask(|reply| Command::EndCall(call_sid, reply))
            .await
            .unwrap_or(false)
    }

    /// How the trunks are, in the order of the configuration; none if the engine has stopped.
    pub async fn trunks(&self) -> Vec<TrunkHealth> {
        self.ask(Command::Trunks).await.unwrap_or_default()
    }

    /// Takes new calls, or refuses them with 503. Calls under way go on.
    pub fn admit(&self, calls: bool) {
        // An engine that has stopped takes none.
        let _ = self.0.send(Command::Admit(calls));
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.0.send(command(reply)).ok()?;
        answer.await.ok()
    }
}

impl CallState {
    /// Its word.
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
