//! A SIP user agent without sockets, clock or randomness: messages, commands and time go in; messages and events
//! come out.

mod admission;
mod challenge;
mod digest_nonce;
mod in_dialog;
mod incoming;
mod keep_alive;
mod outgoing;
mod receive;
mod redirect;
mod registration;
mod retry;
mod session;
mod shrink;
mod trunk_state;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::dialog::Dialog;
use crate::sdp::{Codec, LocalMedia, RemoteMedia};
use crate::sip::{
    Header, HeaderName, Message, Method, Output, Reliability, Request, RequestBuilder, Response,
    ResponseBuilder, StatusCode, Timer, Timers, To, TransactionKey, Uri, UriHost,
};
use crate::timer::TimerTable;
use crate::transactions::Transactions;
use crate::trunk::Trunk;
use crate::wire::{Path, Ticket, Transmit, Transport};

pub use outgoing::{DialError, OutgoingCall};
pub use redirect::Redirection;
use trunk_state::TrunkState;

/// The methods that we serve (RFC 3261, section 20.5).
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK";

/// How an endpoint presents itself, and whom it knows.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// The address that peers reach us at, in `Via`, `Contact` and `From`.
    pub advertised: IpAddr,
    /// Our port for datagrams.
    pub udp_port: u16,
    /// Our port for connections.
    pub tcp_port: u16,
    /// Our port for encrypted connections.
    pub tls_port: u16,
    /// Who may call and be called.
    pub trunks: Vec<Trunk>,
}

/// One SIP dialog of ours, from the INVITE on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u64);

/// What happened on a leg. After `Failed` or `HungUp` the leg is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A trunk brings a call: answer it, reject it, or hang up.
    IncomingCall(IncomingCall),
    /// The caller has our answer. `remote` is given where its audio was not known before.
    Confirmed {
        /// The leg.
        leg: LegId,
        /// The caller's audio, from the ACK of a late offer.
        remote: Option<RemoteMedia>,
    },
    /// The party that we call is being alerted; told once.
    Ringing(LegId),
    /// The party that we call answered.
    Answered {
        /// The leg.
        leg: LegId,
        /// Its audio.
        remote: RemoteMedia,
    },
    /// The party that we call refused or could not be reached: a status of RFC 3261 (300 to 699).
    Failed {
        /// The leg.
        leg: LegId,
        /// The final status; 408 when nothing answered, 503 when the transport failed.
        status: u16,
    },
    /// The peer changed its audio within the call (hold, resume, codec, address).
    MediaChanged {
        /// The leg.
        leg: LegId,
        /// Its audio now.
        remote: RemoteMedia,
    },
    /// The peer has taken our re-INVITE: its audio goes where [`Endpoint::redirect`] says.
    Redirected {
        /// The leg.
        leg: LegId,
        /// The audio that it named with that.
        remote: RemoteMedia,
    },
    /// The peer has refused our re-INVITE: its audio goes where it went before.
    RedirectFailed {
        /// The leg.
        leg: LegId,
        /// The final status, 300 to 699.
        status: u16,
    },
    /// The peer pressed a key, told by SIP INFO.
    Key {
        /// The leg.
        leg: LegId,
        /// `0`-`9`, `*`, `#`, `A`-`D`. Secret: never to be logged.
        key: char,
    },
    /// The peer hung up, withdrew its call, or stopped sent_answer.
    HungUp {
        /// The leg.
        leg: LegId,
        /// The peer said so itself, and did not just vanish.
        orderly: bool,
    },
    /// A trunk that is kept alive went away, or came back.
    Reachable {
        /// Index of the trunk in [`EndpointSettings::trunks`].
        trunk: usize,
        /// It answers.
        up: bool,
    },
    /// A trunk has taken our registration, or has it no more.
    Registered {
        /// Index of the trunk in [`EndpointSettings::trunks`].
        trunk: usize,
        /// It will bring us calls until it is told again.
        registered: bool,
        /// What it answered; 408: nothing, 503: the transport failed.
        status: u16,
    },
}

/// A call that a trunk brings.
#[derive(Clone, PartialEq, Eq)]
pub struct IncomingCall {
    /// The new leg.
    pub leg: LegId,
    /// Index of the trunk in [`EndpointSettings::trunks`].
    pub trunk: usize,
    /// User part of the Request-URI, without separators.
    pub called: String,
    /// The caller's number, digits with or without `+`; `None`: withheld or malformed.
    pub caller: Option<String>,
    /// Where it came from.
    pub source: IpAddr,
    /// The caller's audio; `None`: it leaves the offer to us.
    pub remote: Option<RemoteMedia>,
}

impl std::fmt::Debug for IncomingCall {
    /// Without the numbers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IncomingCall")
            .field("leg", &self.leg)
            .field("trunk", &self.trunk)
            .finish_non_exhaustive()
    }
}

/// How much an endpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointLoad {
    /// Legs.
    pub legs: usize,
    /// Transactions, their aftermath included.
    pub transactions: usize,
    /// Timers.
    pub timers: usize,
}

/// A source of random numbers: a CSPRNG in production, a counter in a test.
pub type Entropy = Box<dyn FnMut() -> u64 + Send>;

/// The user agent.
pub struct Endpoint {
    settings: EndpointSettings,
    entropy: Entropy,
    layer: Transactions,
    timing: Timers,
    timers: TimerTable<TimerKey>,
    transactions: HashMap<TransactionKey, Transaction>,
    legs: HashMap<LegId, SipLeg>,
    /// Legs by our tag, which we drew and which is unique.
    by_tag: HashMap<Bytes, LegId>,
    /// INVITEs that wait for the engine's decision, or were answered a moment ago: one that comes again by another way is
    /// refused.
    recent_invites: HashSet<incoming::RequestIdentity>,
    /// Who may come from where no trunk is.
    nonces: digest_nonce::NonceStore,
    /// What is known of each trunk, in the order of the settings.
    trunk_states: Vec<TrunkState>,
    /// The realm in which each trunk has taken our credentials.
    realms: HashMap<usize, String>,
    next_leg: u64,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum TimerKey {
    Transaction(TransactionKey, Timer),
    /// Send the 2xx again: RFC 3261, section 13.3.1.4.
    Retransmit2xx(LegId),
    /// No ACK came in 64·T1.
    AckTimeout(LegId),
    /// No final response came after our CANCEL in 64·T1.
    CancelTimeout(LegId),
    /// Try our re-INVITE again: RFC 3261, section 14.1.
    Reinvite(LegId),
    /// No final response came to our re-INVITE in 64·T1.
    ReinviteTimeout(TransactionKey),
    /// The session was not refreshed, or it is for us to refresh it: RFC 4028.
    Session(LegId),
    /// Ask the trunk whether it is alive, or take its silence for an answer.
    KeepAlive(usize),
    /// Register with the trunk, for the first time or again.
    Register(usize),
}

/// What we remember of a transaction beside its state.
#[derive(Debug)]
struct Transaction {
    path: Path,
    purpose: Purpose,
    /// What an INVITE of the peer would have in common with itself by another way.
    identity: Option<Box<incoming::RequestIdentity>>,
}

/// Whose business a transaction is.
#[derive(Debug)]
enum Purpose {
    /// A request of the peer; its leg, if the request is the INVITE of one.
    Serve(Option<LegId>),
    /// Our INVITE. It outlives its leg, to acknowledge repeated 2xx.
    Invite {
        leg: LegId,
        acknowledged: Vec<SentAck>,
    },
    /// Our CANCEL or BYE, whose answer changes nothing.
    NoReplyNeeded,
    /// Our INVITE within a call.
    Reinvite(Box<redirect::SentReinvite>),
    /// Our session refresh.
    Refresh(LegId),
    /// Our question whether a trunk is alive.
    KeepAlive(usize),
    /// Our registration with a trunk.
    Register(usize),
}

/// An ACK that we sent, to be sent again with each repeated 2xx of the same tag.
#[derive(Debug)]
struct SentAck {
    remote_tag: Bytes,
    ack: Transmit,
}

/// One leg.
#[derive(Debug)]
struct SipLeg {
    /// Our tag of the dialog, by which the peer's requests find the leg.
    tag: Bytes,
    path: Path,
    /// User part of our `Contact`: the number that the peer called, or sees as the caller.
    user: String,
    state: LegState,
    local: Option<LocalMedia>,
    session: Option<session::SessionTimer>,
    /// The INVITE of the dialog was ours.
    outgoing: bool,
    /// Our re-INVITE that is not answered yet.
    pending_reinvite: Option<redirect::PendingReinvite>,
    /// The engine hung up: it hears nothing more of this leg.
    abandoned: bool,
}

/// Where a leg stands.
#[derive(Debug)]
enum LegState {
    Incoming(Box<incoming::ReceivedInvite>),
    AwaitingAck(Box<incoming::SentAnswer>),
    Outgoing(Box<outgoing::SentInvite>),
    Confirmed { dialog: Box<Dialog>, codec: Codec },
}

impl Endpoint {
    /// A user agent that has nothing to do yet.
    pub fn new(settings: EndpointSettings, entropy: Entropy) -> Self {
        let timing = Timers::default();
        let trunk_states = settings.trunks.iter().map(TrunkState::new).collect();
        Self {
            settings,
            entropy,
            layer: Transactions::new(timing),
            timing,
            timers: TimerTable::new(),
            transactions: HashMap::new(),
            legs: HashMap::new(),
            by_tag: HashMap::new(),
            recent_invites: HashSet::new(),
            nonces: digest_nonce::NonceStore::default(),
            trunk_states,
            realms: HashMap::new(),
            next_leg: 0,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Endpoint::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// How much is held. All zero: idle.
    pub fn load(&self) -> EndpointLoad {
        EndpointLoad {
            legs: self.legs.len(),
            transactions: self.transactions.len(),
            timers: self.timers.len(),
        }
    }

    /// Fires every timer that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(key) = self.timers.expired(now) {
            match key {
                TimerKey::Transaction(key, timer) => {
                    let outputs = self.layer.on_timer(&key, timer);
                    self.perform(&key, outputs, now);
                }
                TimerKey::Retransmit2xx(leg) => self.retransmit_2xx(leg, now),
                TimerKey::AckTimeout(leg) => self.on_ack_timeout(leg, now),
                TimerKey::CancelTimeout(leg) => self.on_cancel_timeout(leg, now),
                TimerKey::Reinvite(leg) => self.retry_redirect(leg, now),
                TimerKey::ReinviteTimeout(key) => self.on_reinvite_timeout(&key, now),
                TimerKey::Session(leg) => self.on_session_timer(leg, now),
                TimerKey::KeepAlive(trunk) => self.on_keep_alive_timer(trunk, now),
                TimerKey::Register(trunk) => self.register(trunk, now),
            }
        }
    }

    /// A message could not be sent.
    pub fn transport_failed(&mut self, ticket: &Ticket, now: Instant) {
        let outputs = self.layer.on_transport_error(&ticket.0);
        self.perform(&ticket.0, outputs, now);
    }

    /// Does what a transaction wants done.
    fn perform(&mut self, key: &TransactionKey, outputs: Vec<Output>, now: Instant) {
        for output in outputs {
            match output {
                Output::Send(message) => self.send(key, &message),
                Output::SetTimer { timer, after } => {
                    self.timers
                        .set(TimerKey::Transaction(key.clone(), timer), now + after);
                }
                Output::ClearTimer(timer) => self
                    .timers
                    .clear(&TimerKey::Transaction(key.clone(), timer)),
                Output::ToTu(event) => self.transaction_event(key, *event, now),
                Output::Terminated(_) => self.forget(key),
                _ => {}
            }
        }
    }

    fn send(&mut self, key: &TransactionKey, message: &Message) {
        if let Some(transaction) = self.transactions.get(key) {
            let ticket = Some(Ticket(key.clone()));
            self.transmits.push_back(Transmit {
                path: transaction.path,
                bytes: message.to_bytes(),
                ticket,
            });
        }
    }

    fn forget(&mut self, key: &TransactionKey) {
        self.forget_identity(key);
        self.transactions.remove(key);
        self.timers.clear(&TimerKey::ReinviteTimeout(key.clone()));
        for timer in Timer::ALL {
            self.timers
                .clear(&TimerKey::Transaction(key.clone(), timer));
        }
        self.shrink_tables();
    }

    /// An INVITE that was refused, or is over: it may come again.
    fn forget_identity(&mut self, key: &TransactionKey) {
        let transaction = self.transactions.get_mut(key);
        if let Some(identity) = transaction.and_then(|transaction| transaction.identity.take()) {
            self.recent_invites.remove(&*identity);
        }
    }

    /// Starts a client transaction.
    fn request(
        &mut self,
        request: Request,
        path: Path,
        purpose: Purpose,
        now: Instant,
    ) -> Option<TransactionKey> {
        let (key, outputs) = self
            .layer
            .send_request(request, reliability(path.transport))?;
        self.transactions.insert(
            key.clone(),
            Transaction {
                path,
                purpose,
                identity: None,
            },
        );
        self.perform(&key, outputs, now);
        Some(key)
    }

    /// Answers within a server transaction.
    fn respond(&mut self, key: &TransactionKey, response: Response, now: Instant) {
        let outputs = self.layer.send_response(key, response);
        self.perform(key, outputs, now);
    }

    fn respond_status(
        &mut self,
        key: &TransactionKey,
        request: &Request,
        status: u16,
        now: Instant,
    ) {
        let builder = self.response(request, status);
        self.respond_or_abandon(key, builder, now);
    }

    fn respond_or_abandon(
        &mut self,
        key: &TransactionKey,
        builder: Option<ResponseBuilder>,
        now: Instant,
    ) {
        match builder {
            Some(builder) => self.respond(key, builder.build(), now),
            None => self.abandon(key),
        }
    }

    /// Forgets a server transaction whose request cannot be answered: it holds what no answer may repeat.
    fn abandon(&mut self, key: &TransactionKey) {
        self.layer.abandon(key);
        self.forget(key);
    }

    /// A response with a tag in its `To`, as every response but 100 must have.
    fn response(&mut self, request: &Request, status: u16) -> Option<ResponseBuilder> {
        let tag = self.token();
        response(request, status, &tag)
    }

    /// An identifier that nobody can guess: 64 random bits.
    fn token(&mut self) -> String {
        format!("{:016x}", (self.entropy)())
    }

    fn via(&mut self, transport: Transport) -> String {
        let (host, branch) = (self.local_host(transport), self.token());
        format!(
            "SIP/2.0/{} {host};branch=z9hG4bK{branch};rport",
            transport.via()
        )
    }

    fn local_host(&self, transport: Transport) -> SocketAddr {
        let port = match transport {
            Transport::Udp => self.settings.udp_port,
            Transport::Tcp => self.settings.tcp_port,
            Transport::Tls => self.settings.tls_port,
        };
        SocketAddr::new(self.settings.advertised, port)
    }

    fn contact(&self, user: &str, transport: Transport) -> String {
        let at = if user.is_empty() { "" } else { "@" };
        format!(
            "<sip:{user}{at}{}{}>",
            self.local_host(transport),
            transport.parameter()
        )
    }

    /// Finishes a request with a `Via` of its own at the top.
    fn finish_request(&mut self, builder: RequestBuilder, transport: Transport) -> Option<Request> {
        let via = self.via(transport);
        let mut request = builder.build();
        request
            .headers
            .push_front(Header::build(HeaderName::Via, via).ok()?);
        Some(request)
    }

    fn add_leg(&mut self, leg: SipLeg) -> LegId {
        self.next_leg = self.next_leg.wrapping_add(1);
        let id = LegId(self.next_leg);
        self.by_tag.insert(leg.tag.clone(), id);
        self.legs.insert(id, leg);
        id
    }

    /// Takes a leg out, with everything that could still fire for it.
    fn remove_leg(&mut self, id: LegId) -> Option<SipLeg> {
        let leg = self.legs.remove(&id)?;
        self.by_tag.remove(&leg.tag);
        let timers = [
            TimerKey::Retransmit2xx,
            TimerKey::AckTimeout,
            TimerKey::CancelTimeout,
        ];
        for timer in timers
            .into_iter()
            .chain([TimerKey::Session, TimerKey::Reinvite])
        {
            self.timers.clear(&timer(id));
        }
        Some(leg)
    }

    /// Takes a leg out and tells the engine, unless the engine gave it up itself.
    fn end_leg(&mut self, id: LegId, event: Event) {
        if self.remove_leg(id).is_some_and(|leg| !leg.abandoned) {
            self.events.push_back(event);
        }
    }

    fn emit(&mut self, id: LegId, event: Event) {
        if self.legs.get(&id).is_some_and(|leg| !leg.abandoned) {
            self.events.push_back(event);
        }
    }

    fn transaction_timeout(&self) -> Duration {
        self.timing.timeout()
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("load", &self.load())
            .finish_non_exhaustive()
    }
}

fn reliability(transport: Transport) -> Reliability {
    match transport {
        Transport::Udp => Reliability::Unreliable,
        Transport::Tcp | Transport::Tls => Reliability::Reliable,
    }
}

/// A response to a request, with a tag in its `To` (RFC 3261, section 8.2.6.2).
fn response(request: &Request, status: u16, tag: &str) -> Option<ResponseBuilder> {
    let status = StatusCode::new(status)?;
    let mut builder = ResponseBuilder::to_request(request, status, reason(status.code())).ok()?;
    if let Some((name, value)) = required_header(request, status.code()) {
        builder = builder.header(name, value).ok()?;
    }
    let tagged = request
        .headers
        .typed::<To>()
        .is_some_and(|to| to.is_ok_and(|to| to.tag().is_some()));
    if tagged {
        return Some(builder);
    }
    let to = [
        &request.headers.value(&HeaderName::To)?[..],
        b";tag=",
        tag.as_bytes(),
    ]
    .concat();
    builder.set_header(&HeaderName::To, to).ok()
}

/// What a refusal must tell of what would be taken instead (RFC 3261, sections 21.4.6 and 21.4.13).
fn required_header(request: &Request, status: u16) -> Option<(HeaderName, &'static str)> {
    match status {
        405 => Some((HeaderName::Allow, ALLOW)),
        415 if request.method == Method::Info => {
            Some((HeaderName::Accept, in_dialog::DTMF_CONTENT_TYPES))
        }
        415 => Some((HeaderName::Accept, crate::sdp::CONTENT_TYPE)),
        _ => None,
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        422 => "Session Interval Too Small",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "Version Not Supported",
        603 => "Decline",
        _ => "Unspecified",
    }
}

/// The way to a URI: its address where it is one, else the way that is known to work. Names are not looked up.
fn path_to(uri: &Uri, known: Path) -> Path {
    let address = match uri.host() {
        Some(UriHost::Ip(address)) => Some(*address),
        _ => None,
    };
    let transport = match uri.transport() {
        // What began encrypted stays so.
        _ if known.transport == Transport::Tls || uri.scheme().is_secure() => Transport::Tls,
        Some(name) if name.eq_ignore_ascii_case(b"tls") => Transport::Tls,
        Some(name) if name.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
        Some(name) if name.eq_ignore_ascii_case(b"udp") => Transport::Udp,
        _ => known.transport,
    };
    let port = uri.port().unwrap_or(transport.default_port());
    let destination = address.map_or(known.destination, |ip| SocketAddr::new(ip, port));
    let connection = known
        .connection
        .filter(|_| transport.is_stream() && transport == known.transport);
    Path {
        transport,
        destination,
        connection,
        ..known
    }
}
