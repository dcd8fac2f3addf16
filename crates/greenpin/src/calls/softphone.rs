//! Softphone built from the server's own SIP and media. The commands `demo` and `call` use it as caller and as callee.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use media::{Clip, Digit};
use signalling::sdes::SrtpMode;
use signalling::sdp::{Codec, RemoteMedia};
use signalling::{
    DialError, EndpointSettings, Event, LegId, ListenAddress, Network, OutgoingCall, SipTimers,
    Transport, Trunk, TrunkPeer,
};
use tokio::sync::mpsc;

use super::StartError;
use super::media::{LegMedia, MediaEvent, MediaPlane, MediaSettings, Remote, SourceRule};
use super::sip::{SipSockets, UserAgent};

/// Settings of a softphone.
#[derive(Debug, Clone)]
pub struct SoftphoneSettings {
    /// SIP address of the phone. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// Port range for RTP.
    pub media_ports: std::ops::RangeInclusive<u16>,
    /// Server to call.
    pub server: SocketAddr,
    /// Networks that may call the phone, besides the server.
    pub accept_from: Vec<Network>,
    /// Transport of outgoing calls.
    pub transport: Transport,
}

/// Softphone.
pub struct Softphone {
    agent: UserAgent,
    media: MediaPlane,
    media_events: mpsc::UnboundedReceiver<MediaEvent>,
    address: SocketAddr,
    calls: HashMap<LegId, PhoneCall>,
}

struct PhoneCall {
    stream: LegMedia,
    /// Media of an incoming call, known before the answer.
    remote: Option<RemoteMedia>,
}

/// Event of a softphone.
#[derive(Debug)]
pub enum SoftphoneEvent {
    /// Incoming call. The numbers appear as in the SIP messages.
    Incoming {
        /// Leg of the call.
        leg: LegId,
        /// Dialled number.
        called: String,
        /// Presented caller number.
        shown: Option<String>,
    },
    /// The callee is alerted.
    Ringing,
    /// The callee has answered.
    Answered(LegId),
    /// The callee has refused, with this SIP status.
    Failed(u16),
    /// The call has ended.
    HungUp,
    /// The peer has pressed a key.
    Key(Digit),
    /// A clip was played to its end.
    Played,
    /// A recording is complete, or has failed.
    Recorded(Result<PathBuf, String>),
}

impl Softphone {
    /// Binds the sockets of the phone.
    pub async fn start(settings: SoftphoneSettings) -> Result<Self, StartError> {
        let io = |step| move |source| StartError::Io { step, source };
        let sockets = SipSockets::bind(settings.listen, Some(settings.listen))?;
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
        let mut accept_from = settings.accept_from;
        accept_from.push(Network::single(server.ip()));
        let trunk = Trunk {
            peer: Some(TrunkPeer::at(settings.transport, server)),
            accept_from,
            ..Trunk::default()
        };
        let advertised = local_address_towards(server, address)
            .map_err(io("cannot determine our address towards the server"))?;
        let tcp_port = sockets.tcp_address().unwrap_or(address).port();
        let settings = EndpointSettings {
            advertised,
            own_addresses: Vec::new(),
            listen: ListenAddress::for_each_transport(
                advertised,
                [address.port(), tcp_port, tcp_port],
            ),
            timers: SipTimers::default(),
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

    /// Address for incoming calls.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls a number and presents another number as the caller.
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

    /// Returns the legs of the calls in progress.
    pub fn legs(&self) -> Vec<LegId> {
        self.calls.keys().copied().collect()
    }

    /// Returns the `Call-ID` of a leg.
    pub fn call_id(&self, leg: LegId) -> Option<String> {
        self.agent.call_id(leg)
    }

    /// Answers an incoming call.
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

    /// Rejects an incoming call with a SIP status from 400 to 699.
    pub fn decline(&mut self, leg: LegId, status: u16) {
        self.agent
            .command(|endpoint, now| endpoint.reject(leg, status, None, now));
        self.calls.remove(&leg);
    }

    /// Sends keys in sequence as RFC 4733 events.
    pub fn press(&self, leg: LegId, keys: &str) {
        let digits = keys
            .chars()
            .filter_map(|key| Digit::try_from(key).ok())
            .collect();
        if let Some(call) = self.calls.get(&leg) {
            call.stream.send_digits(digits);
        }
    }

    /// Plays a clip to the peer.
    pub fn play(&self, leg: LegId, clip: Arc<Clip>) {
        if let Some(call) = self.calls.get(&leg) {
            call.stream.play(clip, 0);
        }
    }

    /// Returns a channel with the received audio as 8 kHz samples, starting now.
    pub fn listen(&self, leg: LegId) -> mpsc::UnboundedReceiver<Vec<i16>> {
        let (sender, samples) = mpsc::unbounded_channel();
        if let Some(call) = self.calls.get(&leg) {
            call.stream.listen(sender);
        }
        samples
    }

    /// Records the call: received audio on the left, sent audio on the right.
    pub fn record(&self, leg: LegId, file: PathBuf) {
        if let Some(call) = self.calls.get(&leg) {
            call.stream.record(file, None);
        }
    }

    /// Ends a call, or cancels it before the answer.
    pub fn hang_up(&mut self, leg: LegId) {
        self.agent
            .command(|endpoint, now| endpoint.hang_up(leg, now));
        self.agent.flush();
        if let Some(call) = self.calls.remove(&leg) {
            call.stream.close();
        }
    }

    /// Waits for the next event. Dropping the future loses nothing.
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
                    called: incoming.called.text,
                    shown: incoming
                        .caller
                        .numbers
                        .into_iter()
                        .next()
                        .map(|number| number.text),
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
            // The phone has a single trunk without keep-alive and registration.
            Event::Confirmed { .. } | Event::Reachable { .. } | Event::Registered { .. } => None,
            // The phone sends no redirections.
            Event::NoResponse { .. }
            | Event::PeerReason { .. }
            | Event::Progress { .. }
            | Event::EarlyMedia { .. }
            | Event::EarlyMediaEnded(_)
            | Event::Redirected { .. }
            | Event::RedirectFailed { .. } => None,
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
        MediaEvent::Silent { .. }
        | MediaEvent::Report { .. }
        | MediaEvent::Closed { .. }
        | MediaEvent::Failed { .. } => None,
    }
}

/// Error while placing a call.
#[derive(Debug, thiserror::Error)]
pub enum SoftphoneError {
    /// No media port is available.
    #[error(transparent)]
    Media(#[from] crate::calls::media::OpenLegError),
    /// The number is not valid.
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// Returns our address as seen by the server: the source address of packets to it.
fn local_address_towards(server: SocketAddr, bound: SocketAddr) -> std::io::Result<IpAddr> {
    if !bound.ip().is_unspecified() {
        return Ok(bound.ip());
    }
    let probe = std::net::UdpSocket::bind(SocketAddr::new(bound.ip(), 0))?;
    probe.connect(server)?;
    Ok(probe.local_addr()?.ip())
}
