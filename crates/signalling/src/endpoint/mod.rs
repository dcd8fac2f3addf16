//! SIP user agent without sockets, clock or randomness.
//!
//! Messages, commands and time go in; messages and events come out.

mod admission;
mod challenge;
mod connection;
mod digest_nonce;
mod early;
mod event;
mod in_dialog;
mod incoming;
mod info;
pub(crate) mod keep_alive;
mod large_invite;
mod local_address;
mod media_rule;
mod negotiation;
mod outgoing;
mod probe;
mod reason;
mod receive;
pub(crate) mod redirect;
mod refused;
pub(crate) mod registration;
mod responses;
mod retry;
mod service_route;
pub(crate) mod session;
mod shrink;
mod trunk_state;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::dialog::Dialog;
use crate::sdp::{Codec, LocalMedia, MediaLayout};
use crate::sip::{
    Header, HeaderName, Message, Output, Reliability, Request, RequestBuilder, Response,
    ResponseBuilder, Timer, Timers, TransactionKey, Uri, UriHost,
};
use crate::timer::TimerTable;
use crate::transactions::Transactions;
use crate::trunk::Trunk;
use crate::wire::{Path, Ticket, Transmit, Transport};

pub use connection::UnansweredRequest;
pub use event::{Event, IncomingCall, LegId};
pub use local_address::ListenAddress;
pub use outgoing::{DialError, OutgoingCall};
pub use probe::{Probe, ProbeStep};
pub use reason::{EndReason, PeerReason};
pub use receive::Arrival;
pub use redirect::Redirection;
pub use refused::RefusedInvite;
use responses::response;
use trunk_state::TrunkState;

/// Methods accepted by the endpoint (RFC 3261, section 20.5).
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK";

/// Addresses, ports and trunks of an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// Address of the host, for all that concerns no single peer.
    pub advertised: IpAddr,
    /// Addresses that the host listens on, the preferred ones first.
    pub listen: Vec<ListenAddress>,
    /// Addresses of this host. No audio is sent to them, unless `advertised` is a loopback address
    /// or a trunk allows it.
    pub own_addresses: Vec<IpAddr>,
    /// Timers of the transactions.
    pub timers: SipTimers,
    /// Peers allowed to call and to be called.
    pub trunks: Vec<Trunk>,
}

/// Timers from which those of the transactions are derived (RFC 3261, section 17.1.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SipTimers {
    /// T1, the estimated round-trip time: interval of the first retransmission over UDP. A transaction ends after 64·T1
    /// without a response.
    pub t1: Duration,
    /// T2, the maximum interval of retransmissions.
    pub t2: Duration,
}

impl Default for SipTimers {
    /// The values of RFC 3261: 500 ms and 4 s.
    fn default() -> Self {
        let Timers { t1, t2, .. } = Timers::default();
        Self { t1, t2 }
    }
}

/// Number of objects held by an endpoint. All zero if it is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointLoad {
    /// Number of legs.
    pub legs: usize,
    /// Number of transactions, including completed ones kept for retransmissions.
    pub transactions: usize,
    /// Number of timers.
    pub timers: usize,
}

/// Source of random numbers: a CSPRNG in production, a counter in a test.
pub type Entropy = Box<dyn FnMut() -> u64 + Send>;

/// SIP user agent. See the [crate documentation](crate).
pub struct Endpoint {
    settings: EndpointSettings,
    entropy: Entropy,
    layer: Transactions,
    timing: Timers,
    timers: TimerTable<TimerKey>,
    transactions: HashMap<TransactionKey, Transaction>,
    legs: HashMap<LegId, SipLeg>,
    /// Legs by local tag. Local tags are random and unique.
    by_tag: HashMap<Bytes, LegId>,
    /// INVITEs that await a decision or were answered recently. A copy that arrives on a different
    /// path is rejected with 482.
    recent_invites: HashSet<incoming::RequestIdentity>,
    /// Nonces issued to callers outside the networks of all trunks.
    nonces: digest_nonce::NonceStore,
    /// Runtime state of each trunk, in the order of the settings.
    trunk_states: Vec<TrunkState>,
    /// Transports on which requests from outside the trunks' networks get no response.
    silent: Vec<Transport>,
    /// For each trunk, the realm accepted for its credentials.
    realms: HashMap<usize, String>,
    next_leg: u64,
    /// Leg of the message or timer in process.
    last_leg: Option<LegId>,
    /// Seconds of `Retry-After` in the response to OPTIONS while no call is taken.
    unavailable: Option<u32>,
    transmits: VecDeque<Transmit>,
    unanswered: VecDeque<UnansweredRequest>,
    events: VecDeque<Event>,
    refused: VecDeque<RefusedInvite>,
}

/// Maximum number of characters of a `Call-ID` that [`Endpoint::call_id`] returns.
const MAX_CALL_ID_CHARACTERS: usize = 255;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum TimerKey {
    Transaction(TransactionKey, Timer),
    /// Retransmit the 2xx (RFC 3261, section 13.3.1.4).
    Retransmit2xx(LegId),
    /// No ACK arrived within 64·T1.
    AckTimeout(LegId),
    /// No response to the INVITE arrived within the response timeout of the trunk.
    FirstResponse(LegId),
    /// No final response arrived within 64·T1 of the CANCEL.
    CancelTimeout(LegId),
    /// Retry the re-INVITE (RFC 3261, section 14.1).
    Reinvite(LegId),
    /// No final response to the re-INVITE arrived within 64·T1.
    ReinviteTimeout(TransactionKey),
    /// The session expires, or its refresh is due (RFC 4028).
    Session(LegId),
    /// The next keep-alive probe is due, or the current probe timed out.
    KeepAlive(usize),
    /// The first registration or its renewal is due.
    Register(usize),
}

impl TimerKey {
    fn leg(&self) -> Option<LegId> {
        match self {
            Self::Retransmit2xx(leg)
            | Self::AckTimeout(leg)
            | Self::FirstResponse(leg)
            | Self::CancelTimeout(leg)
            | Self::Reinvite(leg)
            | Self::Session(leg) => Some(*leg),
            _ => None,
        }
    }
}

/// Endpoint data of a transaction. The transaction layer holds the protocol state.
#[derive(Debug)]
struct Transaction {
    path: Path,
    /// Time at which the request was sent or received.
    started: Instant,
    purpose: Purpose,
    /// Identity of the peer's INVITE, used to detect a copy received on a different path.
    identity: Option<Box<incoming::RequestIdentity>>,
}

/// Purpose of a transaction. It selects the code that handles the result.
#[derive(Debug)]
enum Purpose {
    /// Request of the peer. Holds the leg if the request is its initial INVITE.
    PeerRequest(Option<LegId>),
    /// INVITE sent by the endpoint. It outlives its leg to acknowledge retransmitted 2xx responses.
    Invite {
        leg: LegId,
        acknowledged: Vec<SentAck>,
    },
    /// INVITE sent by the endpoint that was rejected or replaced by another one. A late 2xx is acknowledged and ended.
    EndedInvite(Vec<SentAck>),
    /// Request whose response is ignored: a CANCEL or PRACK, or a request that was superseded.
    NoReplyNeeded,
    /// INVITE sent by the endpoint within a call.
    Reinvite(Box<redirect::SentReinvite>),
    /// Session refresh sent by the endpoint, with the challenge that it answers.
    Refresh(LegId, Option<challenge::AnsweredChallenge>),
    /// BYE sent by the endpoint, with the challenge that it answers.
    Bye(Option<challenge::AnsweredChallenge>),
    /// Keep-alive probe of a trunk.
    KeepAlive(usize),
    /// Registration with a trunk.
    Register(usize),
}

impl Purpose {
    /// Returns the leg of the transaction.
    fn leg(&self) -> Option<LegId> {
        match self {
            Self::PeerRequest(leg) => *leg,
            Self::Invite { leg, .. } | Self::Refresh(leg, _) => Some(*leg),
            Self::Reinvite(sent) => Some(sent.leg),
            Self::EndedInvite(_)
            | Self::NoReplyNeeded
            | Self::Bye(_)
            | Self::KeepAlive(_)
            | Self::Register(_) => None,
        }
    }

    /// Returns the ACKs of an INVITE.
    fn acknowledged(&self) -> Option<&Vec<SentAck>> {
        match self {
            Self::Invite { acknowledged, .. } | Self::EndedInvite(acknowledged) => {
                Some(acknowledged)
            }
            _ => None,
        }
    }

    fn acknowledged_mut(&mut self) -> Option<&mut Vec<SentAck>> {
        match self {
            Self::Invite { acknowledged, .. } | Self::EndedInvite(acknowledged) => {
                Some(acknowledged)
            }
            _ => None,
        }
    }
}

/// ACK sent for a 2xx. Sent again for each retransmitted 2xx with the same tag.
#[derive(Debug)]
struct SentAck {
    remote_tag: Bytes,
    ack: Transmit,
}

/// State of one leg.
#[derive(Debug)]
struct SipLeg {
    /// Local tag of the dialog, used to match requests of the peer.
    tag: Bytes,
    path: Path,
    contact: LocalContact,
    state: LegState,
    local: Option<LocalMedia>,
    /// Media lines of the session, for the offers of the endpoint.
    layout: MediaLayout,
    session: Option<session::SessionTimer>,
    /// The endpoint sent the initial INVITE of the dialog.
    outgoing: bool,
    /// Re-INVITE requested by the engine and not yet answered.
    pending_reinvite: Option<redirect::PendingReinvite>,
    /// Last redirection that the peer accepted, if it has not changed its audio since.
    redirected: Option<Box<redirect::AcceptedRedirection>>,
    /// The engine hung up and receives no further events of this leg.
    hung_up: bool,
    /// Reason for which the engine hung up.
    end_reason: EndReason,
}

/// `Contact` of the endpoint in a dialog.
#[derive(Debug, Clone)]
struct LocalContact {
    /// User part: the called number, or the number shown to the called party. May be empty.
    user: String,
    /// The dialog is secure and needs a SIPS URI (RFC 3261, section 12.1.1).
    secure: bool,
}

impl LocalContact {
    fn plain(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            secure: false,
        }
    }
}

/// Phase of a leg's dialog (RFC 3261, section 12).
#[derive(Debug)]
enum LegState {
    /// INVITE received, not yet answered.
    Incoming(Box<incoming::ReceivedInvite>),
    /// 2xx sent, ACK not yet received.
    AwaitingAck(Box<incoming::SentAnswer>),
    /// INVITE sent, no final response yet.
    Outgoing(Box<outgoing::SentInvite>),
    /// Dialog established on both sides.
    Confirmed { dialog: Box<Dialog>, codec: Codec },
}

impl Endpoint {
    /// Creates an idle endpoint.
    pub fn new(settings: EndpointSettings, entropy: Entropy) -> Self {
        let SipTimers { t1, t2 } = settings.timers;
        let timing = Timers {
            t1,
            t2,
            ..Timers::default()
        };
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
            silent: Vec::new(),
            realms: HashMap::new(),
            next_leg: 0,
            last_leg: None,
            unavailable: None,
            transmits: VecDeque::new(),
            unanswered: VecDeque::new(),
            events: VecDeque::new(),
            refused: VecDeque::new(),
        }
    }

    /// Takes calls, or not: then OPTIONS gets a 503 with these seconds of `Retry-After`, so that peers place their calls
    /// elsewhere (RFC 3261, section 11.2). INVITEs are for the user of the endpoint to reject.
    pub fn set_unavailable(&mut self, retry_after: Option<u32>) {
        self.unavailable = retry_after;
    }

    /// Replaces the settings of the trunks. Calls under way continue with the new ones. The trunks stay in number and
    /// order, and each keeps its connection: a change of `peer`, `outbound_proxy`, `advertised`, `tls_peer_name`,
    /// `keep_alive`, `register` and `credentials` has no effect on what is under way and is for a new endpoint.
    pub fn set_trunks(&mut self, trunks: Vec<Trunk>) {
        if trunks.len() == self.trunk_states.len() {
            self.settings.trunks = trunks;
        }
    }

    /// Sets the transports on which rejected requests from outside the trunks' networks get no response, so that a
    /// scanner finds nothing. Callers with a password still get their challenge.
    pub fn set_silent(&mut self, transports: Vec<Transport>) {
        self.silent = transports;
    }

    /// Returns the next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let mut transmit = self.transmits.pop_front()?;
        transmit.path.local = self.local_index(transmit.path);
        Some(transmit)
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns the time of the next call to [`Endpoint::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Returns the `Call-ID` of a leg, at most [`MAX_CALL_ID_CHARACTERS`] characters of it. Characters that are not
    /// printable ASCII are replaced by `?`.
    pub fn call_id(&self, leg: LegId) -> Option<String> {
        let id = match &self.legs.get(&leg)?.state {
            LegState::Incoming(invite) => invite.dialog().call_id().clone(),
            LegState::AwaitingAck(answer) => answer.dialog.call_id().clone(),
            LegState::Confirmed { dialog, .. } => dialog.call_id().clone(),
            LegState::Outgoing(invite) => {
                let value = invite.request.headers.value(&HeaderName::CallId)?;
                Bytes::copy_from_slice(&value)
            }
        };
        let printable = |byte: &u8| match byte.is_ascii_graphic() {
            true => char::from(*byte),
            false => '?',
        };
        Some(
            id.iter()
                .take(MAX_CALL_ID_CHARACTERS)
                .map(printable)
                .collect(),
        )
    }

    /// Returns the number of objects held.
    pub fn load(&self) -> EndpointLoad {
        EndpointLoad {
            legs: self.legs.len(),
            transactions: self.transactions.len(),
            timers: self.timers.len(),
        }
    }

    /// Fires all timers due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(key) = self.timers.expired(now) {
            self.last_leg = key.leg();
            match key {
                TimerKey::Transaction(key, timer) => {
                    let outputs = self.layer.on_timer(&key, timer);
                    self.perform(&key, outputs, now);
                }
                TimerKey::Retransmit2xx(leg) => self.retransmit_2xx(leg, now),
                TimerKey::AckTimeout(leg) => self.on_ack_timeout(leg, now),
                TimerKey::FirstResponse(leg) => self.on_missing_response(leg, now),
                TimerKey::CancelTimeout(leg) => self.on_cancel_timeout(leg, now),
                TimerKey::Reinvite(leg) => self.retry_redirect(leg, now),
                TimerKey::ReinviteTimeout(key) => self.on_reinvite_timeout(&key, now),
                TimerKey::Session(leg) => self.on_session_timer(leg, now),
                TimerKey::KeepAlive(trunk) => self.on_keep_alive_timer(trunk, now),
                TimerKey::Register(trunk) => self.register(trunk, now),
            }
        }
    }

    /// Reports a failure to send the message with this ticket.
    pub fn transport_failed(&mut self, ticket: &Ticket, now: Instant) {
        let transaction = self.transactions.get(&ticket.0);
        self.last_leg = transaction.and_then(|transaction| transaction.purpose.leg());
        let outputs = self.layer.on_transport_error(&ticket.0);
        self.perform(&ticket.0, outputs, now);
    }

    /// Applies the outputs of the transaction layer.
    fn perform(&mut self, key: &TransactionKey, outputs: Vec<Output>, now: Instant) {
        for output in outputs {
            match output {
                Output::Send(message) => self.send(key, &message),
                Output::SetTimer { timer, after } => {
                    self.timers
                        .set(TimerKey::Transaction(key.clone(), timer), now, after);
                }
                Output::ClearTimer(timer) => self
                    .timers
                    .clear(&TimerKey::Transaction(key.clone(), timer)),
                Output::ToTu(event) => self.transaction_event(key, *event, now),
                Output::Terminated(_) => self.remove_transaction(key),
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

    fn remove_transaction(&mut self, key: &TransactionKey) {
        self.remove_identity(key);
        self.transactions.remove(key);
        self.timers.clear(&TimerKey::ReinviteTimeout(key.clone()));
        for timer in Timer::ALL {
            self.timers
                .clear(&TimerKey::Transaction(key.clone(), timer));
        }
        self.shrink_tables();
    }

    /// Removes the identity of an INVITE after its rejection or end. The caller may send it again.
    fn remove_identity(&mut self, key: &TransactionKey) {
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
                started: now,
                purpose,
                identity: None,
            },
        );
        self.perform(&key, outputs, now);
        Some(key)
    }

    /// Sends a response within a server transaction.
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

    /// Drops a server transaction without a response, because a value of the request must not be
    /// repeated in one.
    fn abandon(&mut self, key: &TransactionKey) {
        self.layer.abandon(key);
        self.remove_transaction(key);
    }

    /// Starts a response with a tag in its `To`. All responses except 100 need it.
    fn response(&mut self, request: &Request, status: u16) -> Option<ResponseBuilder> {
        let tag = self.token();
        response(request, status, &tag)
    }

    /// Returns an unguessable identifier of 64 random bits.
    fn token(&mut self) -> String {
        format!("{:016x}", (self.entropy)())
    }

    fn via(&mut self, path: Path) -> String {
        let (host, branch) = (self.local_host(path), self.token());
        format!(
            "SIP/2.0/{} {host};branch=z9hG4bK{branch};rport",
            path.transport.via()
        )
    }

    fn contact(&self, contact: &LocalContact, path: Path) -> String {
        let LocalContact { user, secure } = contact;
        let at = if user.is_empty() { "" } else { "@" };
        if *secure {
            let path = Path {
                transport: Transport::Tls,
                ..path
            };
            return format!("<sips:{user}{at}{}>", self.local_host(path));
        }
        format!(
            "<sip:{user}{at}{}{}>",
            self.local_host(path),
            path.transport.uri_parameter()
        )
    }

    /// Builds a request with a new `Via` at the top.
    fn finish_request(&mut self, builder: RequestBuilder, path: Path) -> Option<Request> {
        let via = self.via(path);
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

    /// Removes a leg together with its timers.
    fn remove_leg(&mut self, id: LegId) -> Option<SipLeg> {
        let leg = self.legs.remove(&id)?;
        self.by_tag.remove(&leg.tag);
        let timers = [
            TimerKey::Retransmit2xx,
            TimerKey::AckTimeout,
            TimerKey::FirstResponse,
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

    /// Removes a leg and emits `event`, unless the engine hung up before.
    fn end_leg(&mut self, id: LegId, event: Event) {
        if self.remove_leg(id).is_some_and(|leg| !leg.hung_up) {
            self.events.push_back(event);
        }
    }

    fn emit(&mut self, id: LegId, event: Event) {
        if self.legs.get(&id).is_some_and(|leg| !leg.hung_up) {
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

/// Returns the path to a URI: its address if it has one, otherwise `fallback`. Names are not
/// resolved.
fn path_to(uri: &Uri, fallback: Path) -> Path {
    let address = match uri.host() {
        Some(UriHost::Ip(address)) => Some(*address),
        _ => None,
    };
    let transport = match uri.transport() {
        // A dialog established over TLS stays on TLS.
        _ if fallback.transport == Transport::Tls || uri.scheme().is_secure() => Transport::Tls,
        Some(name) if name.eq_ignore_ascii_case(b"tls") => Transport::Tls,
        Some(name) if name.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
        Some(name) if name.eq_ignore_ascii_case(b"udp") => Transport::Udp,
        _ => fallback.transport,
    };
    let port = uri.port().unwrap_or(transport.default_port());
    let source = fallback.connection.unwrap_or(fallback.destination);
    let destination = match address {
        Some(ip) if is_behind_nat(ip, source.ip(), fallback.nat) => source,
        Some(ip) => SocketAddr::new(ip, port),
        None => fallback.destination,
    };
    let connection = fallback
        .connection
        .filter(|_| transport.is_stream() && transport == fallback.transport);
    Path {
        transport,
        destination,
        connection,
        ..fallback
    }
}

/// Returns `true` if the address that a peer names cannot be reached: it differs from the source of the peer's messages,
/// and the peer is known to be behind a NAT or names a private address (RFC 1918, RFC 6598) while it sends from another
/// network.
fn is_behind_nat(named: IpAddr, source: IpAddr, nat: bool) -> bool {
    let (named, source) = (named.to_canonical(), source.to_canonical());
    named != source && (nat || is_private(named) && !is_private(source))
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private() || first == 100 && second & 0xc0 == 64
        }
        IpAddr::V6(address) => address.is_unique_local(),
    }
}
