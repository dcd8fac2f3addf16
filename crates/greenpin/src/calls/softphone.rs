//! A telephone made of the server's own SIP and media: `demo` and `call` use it to call and to be called.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use media::{Clip, Digit};
use signalling::sdes::SrtpMode;
use signalling::sdp::{Codec, RemoteMedia};
use signalling::{
    DialError, EndpointSettings, Event, LegId, Network, OutgoingCall, Transport, Trunk, TrunkPeer,
};
use tokio::sync::mpsc;

use super::StartError;
use super::media::{LegMedia, MediaEvent, MediaPlane, MediaSettings, Remote, SourceRule};
use super::sip::{SipSockets, UserAgent};

/// Where a phone's calls go, and where its own are taken.
#[derive(Debug, Clone)]
pub struct SoftphoneSettings {
    /// The phone's own SIP address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The ports of its audio.
    pub media_ports: std::ops::RangeInclusive<u16>,
    /// The server to call, and the only one to take calls from.
    pub server: SocketAddr,
    /// How messages travel.
    pub transport: Transport,
}

/// A telephone.
pub struct Softphone {
    agent: UserAgent,
    media: MediaPlane,
    media_events: mpsc::UnboundedReceiver<MediaEvent>,
    address: SocketAddr,
    calls: HashMap<LegId, PhoneCall>,
}

struct PhoneCall {
    stream: LegMedia,
    /// Known since the offer, connected with the answer.
    remote: Option<RemoteMedia>,
}

/// What happens on a phone.
#[derive(Debug)]
pub enum SoftphoneEvent {
    /// It rings. The numbers are as the SIP messages name them.
    Incoming {
        /// The call.
        leg: LegId,
        /// The number that was dialled.
        called: String,
        /// The number that is shown.
        shown: Option<String>,
    },
    /// The other phone rings.
    Ringing,
    /// The other side answered.
    Answered(LegId),
    /// The other side refused: a SIP status.
    Failed(u16),
    /// The call is over.
    HungUp,
    /// The other side pressed a key.
    Key(Digit),
    /// What was played is at its end.
    Played,
    /// A recording is complete, or failed.
    Recorded(Result<PathBuf, String>),
}

impl Softphone {
    /// Plugs a phone in.
    pub async fn start(settings: SoftphoneSettings) -> Result<Self, StartError> {
        let io = |what| move |source| StartError::Io { what, source };
        let sockets = SipSockets::bind(settings.listen, Some(settings.listen)).await?;
        let address = sockets
            .udp_address()
            .map_err(io("cannot read the phone's address"))?;
        let (events, media_events) = mpsc::unbounded_channel();
        let media = MediaPlane::start(
            MediaSettings {
                bind: settings.listen.ip(),
                ports: settings.media_ports,
                ..MediaSettings::default()
            },
            events,
        );
        let media = media.map_err(io("cannot start the phone's media"))?;
        let server = settings.server;
        let trunk = Trunk {
            peer: Some(TrunkPeer::at(settings.transport, server)),
            accept_from: vec![Network {
                address: server.ip(),
                prefix: if server.is_ipv4() { 32 } else { 128 },
            }],
            ..Trunk::default()
        };
        let advertised =
            reachable(address, server).map_err(io("cannot find the way to the server"))?;
        let tcp_port = sockets.tcp_address().unwrap_or(address).port();
        let settings = EndpointSettings {
            advertised,
            udp_port: address.port(),
            tcp_port,
            tls_port: tcp_port,
            trunks: vec![trunk],
        };
        let address = SocketAddr::new(advertised, address.port());
        Ok(Self {
            agent: UserAgent::new(settings, sockets),
            media,
            media_events,
            address,
            calls: HashMap::new(),
        })
    }

    /// Where the phone takes calls.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls a number and shows another.
    pub fn dial(&mut self, to: &str, from: &str) -> Result<LegId, SoftphoneError> {
        let stream = self.media.open()?;
        let call = OutgoingCall {
            trunk: 0,
            to: to.to_owned(),
            from: from.to_owned(),
            local: stream.describe(self.address.ip(), SrtpMode::Off),
            preferred: Codec::Pcma,
        };
        let leg = self
            .agent
            .command(|endpoint, now| endpoint.dial(call, now))?;
        self.calls.insert(
            leg,
            PhoneCall {
                stream,
                remote: None,
            },
        );
        Ok(leg)
    }

    /// Takes a call that rings.
    pub fn answer(&mut self, leg: LegId) {
        let Some(call) = self.calls.get(&leg) else {
            return;
        };
        let local = call.stream.describe(self.address.ip(), SrtpMode::Off);
        let remote = self
            .agent
            .command(|endpoint, now| endpoint.answer(leg, local, now));
        if let Some(remote) = remote.or(call.remote) {
            call.connect(remote);
        }
    }

    /// Refuses a call that rings, with a status of RFC 3261 (400 to 699).
    pub fn decline(&mut self, leg: LegId, status: u16) {
        self.agent
            .command(|endpoint, now| endpoint.reject(leg, status, None, now));
        self.calls.remove(&leg);
    }

    /// Presses keys, one after the other, as RFC 4733 events.
    pub fn press(&self, leg: LegId, keys: &str) {
        let digits = keys
            .chars()
            .filter_map(|key| Digit::try_from(key).ok())
            .collect();
        if let Some(call) = self.calls.get(&leg) {
            call.stream.send_digits(digits);
        }
    }

    /// Says something.
    pub fn play(&self, leg: LegId, clip: Arc<Clip>) {
        if let Some(call) = self.calls.get(&leg) {
            call.stream.play(clip, 0);
        }
    }

    /// What is heard from now on, in pieces of 8 kHz samples.
    pub fn listen(&self, leg: LegId) -> mpsc::UnboundedReceiver<Vec<i16>> {
        let (sender, samples) = mpsc::unbounded_channel();
        if let Some(call) = self.calls.get(&leg) {
            call.stream.listen(sender);
        }
        samples
    }

    /// Records the call: left what is heard, right what is said.
    pub fn record(&self, leg: LegId, file: PathBuf) {
        if let Some(call) = self.calls.get(&leg) {
            call.stream.record(file);
        }
    }

    /// Hangs up, or withdraws a call that was not answered.
    pub fn hang_up(&mut self, leg: LegId) {
        self.agent
            .command(|endpoint, now| endpoint.hang_up(leg, now));
        self.agent.flush();
        if let Some(call) = self.calls.remove(&leg) {
            call.stream.close();
        }
    }

    /// The next thing that happens. Dropping the future loses nothing.
    pub async fn event(&mut self) -> SoftphoneEvent {
        loop {
            let event = tokio::select! {
                event = self.agent.event() => self.on_sip_event(event),
                Some(event) = self.media_events.recv() => on_media_event(event),
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    fn on_sip_event(&mut self, event: Event) -> Option<SoftphoneEvent> {
        match event {
            Event::IncomingCall(incoming) => {
                let stream = self.media.open().ok()?;
                self.calls.insert(
                    incoming.leg,
                    PhoneCall {
                        stream,
                        remote: incoming.remote,
                    },
                );
                Some(SoftphoneEvent::Incoming {
                    leg: incoming.leg,
                    called: incoming.called,
                    shown: incoming.caller,
                })
            }
            Event::Confirmed {
                leg,
                remote: Some(remote),
            }
            | Event::MediaChanged { leg, remote } => {
                self.calls.get(&leg)?.connect(remote);
                None
            }
            // A phone has one trunk, and asks it nothing.
            Event::Confirmed { .. } | Event::Reachable { .. } | Event::Registered { .. } => None,
            // A telephone sends nobody elsewhere.
            Event::Redirected { .. } | Event::RedirectFailed { .. } => None,
            Event::Ringing(_) => Some(SoftphoneEvent::Ringing),
            Event::Answered { leg, remote } => {
                self.calls.get(&leg)?.connect(remote);
                Some(SoftphoneEvent::Answered(leg))
            }
            Event::Failed { leg, status } => {
                self.calls.remove(&leg);
                Some(SoftphoneEvent::Failed(status))
            }
            Event::Key { key, .. } => Digit::try_from(key).ok().map(SoftphoneEvent::Key),
            Event::HungUp { leg, .. } => {
                if let Some(call) = self.calls.remove(&leg) {
                    call.stream.close();
                }
                Some(SoftphoneEvent::HungUp)
            }
        }
    }
}

impl PhoneCall {
    fn connect(&self, remote: RemoteMedia) {
        self.stream
            .connect(Remote::negotiated(remote, SourceRule::Negotiated));
    }
}

fn on_media_event(event: MediaEvent) -> Option<SoftphoneEvent> {
    match event {
        MediaEvent::Digit { digit, .. } => Some(SoftphoneEvent::Key(digit)),
        MediaEvent::PlayFinished { .. } => Some(SoftphoneEvent::Played),
        MediaEvent::RecordingFinished { path, result, .. } => Some(SoftphoneEvent::Recorded(
            result.map(|_| path).map_err(|error| error.to_string()),
        )),
        MediaEvent::Silent { .. } | MediaEvent::Closed { .. } => None,
    }
}

/// A call that a phone cannot make.
#[derive(Debug, thiserror::Error)]
pub enum SoftphoneError {
    /// No audio port.
    #[error(transparent)]
    Media(#[from] crate::calls::media::OpenLegError),
    /// Not a number.
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// Our address as the server sees it: the one that the system would send from.
fn reachable(own: SocketAddr, server: SocketAddr) -> std::io::Result<IpAddr> {
    if !own.ip().is_unspecified() {
        return Ok(own.ip());
    }
    let probe = std::net::UdpSocket::bind(SocketAddr::new(own.ip(), 0))?;
    probe.connect(server)?;
    Ok(probe.local_addr()?.ip())
}
