//! Entry point for received messages: validation, authorization and dispatch.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::negotiation::unsupported_extensions;
use super::responses::{reason_phrase, response};
use super::{ALLOW, Endpoint, Event, LegId, LegState, Purpose, Transaction};
use crate::dialog::DialogId;
use crate::display_name::quote_display_names;
use crate::malformed::{Malformed, is_repeatable};
use crate::sip::{
    CSeq, Dispatch, Header, HeaderName, Message, Method, Request, Response, ResponseBuilder,
    TransactionKey, TuEvent, Via, first_hop_end, validate_request,
};
use crate::wire::{MessageContent, Path, SipMessage, Transmit, Transport};

/// Origin of a received message.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Transport.
    pub transport: Transport,
    /// Address of the sender. Over TCP and TLS this is the peer's end of the connection.
    pub source: SocketAddr,
    /// Index of the address that the message came to, in [`crate::EndpointSettings::listen`]. Responses leave from it.
    pub local: Option<u8>,
    /// Trunks that the certificate of the connection names (`tls_peer_name`).
    pub certified: &'a [usize],
}

impl Endpoint {
    /// Handles a message that arrived from `source`. Over TCP and TLS this is the peer's end of the
    /// connection.
    pub fn receive(
        &mut self,
        transport: Transport,
        source: SocketAddr,
        message: SipMessage,
        now: Instant,
    ) {
        let arrival = Arrival {
            transport,
            source,
            local: None,
            certified: &[],
        };
        self.receive_at(arrival, message, now);
    }

    /// Handles a message that arrived at an address of the host, over a connection if the transport has some.
    pub fn receive_at(&mut self, arrival: Arrival<'_>, message: SipMessage, now: Instant) {
        self.last_leg = None;
        let certified = arrival.certified;
        let path = Path {
            transport: arrival.transport,
            destination: arrival.source,
            connection: Some(arrival.source),
            trunk: None,
            nat: false,
            local: arrival.local,
        };
        match message.content {
            MessageContent::Whole(Message::Request(mut request)) => {
                quote_display_names(&mut request.headers);
                self.receive_request(request, path, certified, now)
            }
            MessageContent::Whole(Message::Response(mut response)) => {
                quote_display_names(&mut response.headers);
                self.receive_response(response, now)
            }
            MessageContent::Malformed(_) if self.is_silent_to(path, certified) => {}
            MessageContent::Malformed(malformed) => {
                self.note_unreadable(malformed.is_invite(), path);
                self.reject_malformed(&malformed, path);
            }
        }
    }

    /// Sends a 400 for a request that cannot be parsed but has a `Via`.
    fn reject_malformed(&mut self, malformed: &Malformed, source: Path) {
        let mut path = source;
        if source.transport == Transport::Udp {
            path.destination
                .set_port(malformed.port(source.destination.port()));
        }
        self.transmits.push_back(Transmit {
            path,
            bytes: malformed.bad_request(),
            ticket: None,
        });
    }

    /// Returns the leg of the message or timer that was processed last, `None` if it concerned no leg.
    pub fn last_leg(&self) -> Option<LegId> {
        self.last_leg
    }

    /// Returns `true` for a request in the dialog of a leg, and for a response to a request of a leg.
    pub fn belongs_to_leg(&self, message: &SipMessage) -> bool {
        match &message.content {
            MessageContent::Whole(Message::Request(request)) => {
                let id = DialogId::from_request(request);
                id.is_some_and(|id| self.leg_for_dialog(&id).is_some())
            }
            MessageContent::Whole(Message::Response(response)) => {
                let transaction = TransactionKey::from_response(response)
                    .and_then(|key| self.transactions.get(&key));
                transaction.is_some_and(|transaction| transaction.purpose.leg().is_some())
            }
            MessageContent::Malformed(_) => false,
        }
    }

    fn receive_request(
        &mut self,
        mut request: Request,
        source: Path,
        certified: &[usize],
        now: Instant,
    ) {
        if !is_answerable(&request) {
            return;
        }
        let Some(path) = answer_path(&mut request, source).filter(|_| has_identity(&request))
        else {
            // A header that the response must repeat is missing or invalid.
            let is_answered =
                request.method != Method::Ack && !self.is_silent_to(source, certified);
            self.note_unreadable(request.method == Method::Invite, source);
            let malformed = Malformed::from_request(&request).filter(|_| is_answered);
            return malformed
                .iter()
                .for_each(|malformed| self.reject_malformed(malformed, source));
        };
        let trunk = match self.authorize(&request, source, certified, now) {
            Ok(trunk) => trunk,
            Err(refusal) => {
                self.note_stateless_refusal(&request, path, &refusal);
                if refusal.challenges.is_empty() && self.is_silent_to(source, certified) {
                    return;
                }
                return self.reject_statelessly(&request, path, refusal);
            }
        };
        let nat = trunk
            .and_then(|trunk| self.settings.trunks.get(trunk))
            .is_some_and(|trunk| trunk.nat)
            || self.is_outside_networks(source);
        let path = Path { trunk, nat, ..path };
        let message = Message::Request(request);
        match self
            .layer
            .receive(message, super::reliability(path.transport))
        {
            Dispatch::Matched { key, outputs } => self.perform(&key, outputs, now),
            Dispatch::Created { key, outputs } => {
                let transaction = Transaction {
                    path,
                    started: now,
                    purpose: Purpose::PeerRequest(None),
                    identity: None,
                };
                self.transactions.insert(key.clone(), transaction);
                self.perform(&key, outputs, now);
            }
            Dispatch::Unmatched(message) => {
                if let Message::Request(request) = *message {
                    self.on_ack(&request, now);
                }
            }
        }
    }

    /// Returns the trunk of a request, or a stateless rejection.
    ///
    /// Invalid messages, unsupported methods and unknown sources are rejected. The result never
    /// depends on the called number.
    fn authorize(
        &mut self,
        request: &Request,
        source: Path,
        certified: &[usize],
        now: Instant,
    ) -> Result<Option<usize>, StatelessRefusal> {
        let address = source.destination.ip();
        // A request of a known call belongs to the call's trunk, whatever the DNS says now.
        let trunk_by_address = self
            .trunk_for_known_call(request, address)
            .or_else(|| self.trunk_for_certificate(certified, address))
            .or_else(|| self.trunk_for_source(address, source.transport));
        if request.method == Method::Ack {
            return Ok(trunk_by_address);
        }
        if let Some(finding) = validate_request(request)
            .into_iter()
            .find(|finding| !finding.is_repairable())
        {
            return Err(StatelessRefusal::with_status(finding.status()));
        }
        match request.method {
            Method::Invite | Method::Bye | Method::Cancel | Method::Options => {}
            Method::Info | Method::Update | Method::Prack => {}
            Method::Other(_) => return Err(StatelessRefusal::with_status(501)),
            _ => return Err(StatelessRefusal::with_status(405)),
        }
        let trunk = trunk_by_address.map_or_else(
            || self.authenticate_unknown_source(request, address, now),
            Ok,
        )?;
        let sip = request.uri.scheme().is_sip() || request.uri.tel_parts().is_some();
        if sip {
            Ok(Some(trunk))
        } else {
            Err(StatelessRefusal::with_status(416))
        }
    }

    /// Returns `true` if a source is in no network of a trunk, so that only a password lets it in.
    pub(super) fn is_outside_networks(&self, source: Path) -> bool {
        let address = source.connection.unwrap_or(source.destination).ip();
        self.trunk_for_source(address, source.transport).is_none()
    }

    /// Returns `true` for a source outside the trunks' networks on a silent transport.
    fn is_silent_to(&self, source: Path, certified: &[usize]) -> bool {
        let address = source.connection.unwrap_or(source.destination).ip();
        self.silent.contains(&source.transport)
            && self.trunk_for_certificate(certified, address).is_none()
            && self.is_outside_networks(source)
    }

    /// Sends a stateless response (RFC 3261, section 8.2.7). Copies of a request get the same tag.
    fn reject_statelessly(&mut self, request: &Request, path: Path, refusal: StatelessRefusal) {
        let StatelessRefusal { status, challenges } = refusal;
        let mut hasher = DefaultHasher::new();
        request.headers.value(&HeaderName::Via).hash(&mut hasher);
        request.headers.value(&HeaderName::CallId).hash(&mut hasher);
        let answer = response(request, status, &format!("{:016x}", hasher.finish()));
        let challenged = |answer: ResponseBuilder| {
            challenges
                .into_iter()
                .try_fold(answer, |answer, challenge| {
                    answer.header(HeaderName::WwwAuthenticate, challenge).ok()
                })
        };
        let bytes = match answer.and_then(challenged) {
            Some(answer) => Some(Message::Response(answer.build()).to_bytes()),
            // The library does not write quoted control characters, which this request has.
            None => Malformed::from_request(request)
                .map(|request| request.response(status, reason_phrase(status))),
        };
        self.transmits.extend(bytes.map(|bytes| Transmit {
            path,
            bytes,
            ticket: None,
        }));
    }

    fn receive_response(&mut self, response: Response, now: Instant) {
        if self.end_late_answer(&response, now) {
            return;
        }
        // A response without a transaction is too late to matter.
        let reliability = crate::sip::Reliability::Unreliable;
        if let Dispatch::Matched { key, outputs } =
            self.layer.receive(Message::Response(response), reliability)
        {
            self.perform(&key, outputs, now);
        }
    }

    pub(super) fn transaction_event(&mut self, key: &TransactionKey, event: TuEvent, now: Instant) {
        match event {
            TuEvent::Request(request) => self.on_request(key, *request, now),
            TuEvent::Ack(request) => self.on_ack(&request, now),
            TuEvent::Response(response) => self.on_response(key, &response, now),
            TuEvent::Timeout => {
                self.note_unanswered(key);
                self.on_transaction_failure(key, 408, now);
            }
            TuEvent::TransportError => self.on_transaction_failure(key, 503, now),
            _ => {}
        }
    }

    /// Handles a new request of the peer. The transaction layer filters retransmissions out.
    fn on_request(&mut self, key: &TransactionKey, request: Request, now: Instant) {
        if request.method == Method::Cancel {
            return self.on_cancel(key, &request, now);
        }
        match DialogId::from_request(&request) {
            Some(id) => match self.leg_for_dialog(&id) {
                Some(leg) => {
                    self.last_leg = Some(leg);
                    self.serve_in_dialog(leg, key, request, now);
                }
                None => self.respond_status(key, &request, 481, now),
            },
            None => match request.method {
                Method::Invite => self.on_invite(key, request, now),
                Method::Options => self.respond_capabilities(key, &request, now),
                _ => self.respond_status(key, &request, 481, now),
            },
        }
    }

    pub(super) fn leg_for_dialog(&self, id: &DialogId) -> Option<LegId> {
        let leg = *self.by_tag.get(&id.local_tag)?;
        let matches = match &self.legs.get(&leg)?.state {
            LegState::AwaitingAck(sent_answer) => sent_answer.dialog.matches(id),
            LegState::Confirmed { dialog, .. } => dialog.matches(id),
            LegState::Outgoing(invite) => {
                let mut branches = invite.early.iter();
                branches.any(|early| early.dialog.matches(id))
            }
            LegState::Incoming(_) => false,
        };
        matches.then_some(leg)
    }

    /// Answers OPTIONS with the endpoint's capabilities (RFC 3261, section 11).
    pub(super) fn respond_capabilities(
        &mut self,
        key: &TransactionKey,
        request: &Request,
        now: Instant,
    ) {
        if let Some(unsupported) = unsupported_extensions(request) {
            return self.reject_extension(key, request, unsupported, now);
        }
        if let Some(seconds) = self.unavailable {
            let builder = self.response(request, 503).and_then(|builder| {
                builder
                    .header(HeaderName::RetryAfter, seconds.to_string())
                    .ok()
            });
            return self.respond_or_abandon(key, builder, now);
        }
        let builder = self.response(request, 200).and_then(|builder| {
            let builder = builder.header(HeaderName::Allow, ALLOW).ok()?;
            let builder = builder.header(HeaderName::Supported, "timer").ok()?;
            builder
                .header(HeaderName::Accept, crate::sdp::CONTENT_TYPE)
                .ok()
        });
        self.respond_or_abandon(key, builder, now);
    }

    fn on_response(&mut self, key: &TransactionKey, response: &Response, now: Instant) {
        let transaction = self.transactions.get(key);
        self.last_leg = transaction.and_then(|transaction| transaction.purpose.leg());
        if matches!(response.status.code(), 401 | 407)
            && self.retry_in_dialog(key, response, now).is_some()
        {
            return;
        }
        match self
            .transactions
            .get(key)
            .map(|transaction| &transaction.purpose)
        {
            Some(Purpose::Invite { leg, .. }) => {
                self.on_invite_response(key, *leg, response, now);
                if response.status.code() >= 300 {
                    self.note_invite_ended(key);
                }
            }
            Some(Purpose::Reinvite(_)) => self.on_reinvite_response(key, response, now),
            Some(Purpose::Refresh(leg, _)) => self.on_refresh_response(*leg, response, now),
            Some(Purpose::KeepAlive(trunk)) => {
                self.on_keep_alive_response(*trunk, response.status.code(), now)
            }
            Some(Purpose::Register(trunk)) => self.on_register_response(*trunk, response, now),
            _ => {}
        }
    }

    /// Handles a transaction without a final response: 408 after a timeout, 503 after a transport
    /// failure.
    fn on_transaction_failure(&mut self, key: &TransactionKey, status: u16, now: Instant) {
        if status == 503 && self.fall_back_to_udp(key, now).is_some() {
            return;
        }
        match self
            .transactions
            .get(key)
            .map(|transaction| &transaction.purpose)
        {
            Some(Purpose::Invite { leg, .. }) => self.on_invite_failure(*leg, status, now),
            Some(Purpose::Reinvite(reinvite)) => self.end_lost_leg(reinvite.leg, now),
            Some(Purpose::Refresh(leg, _)) => self.end_lost_leg(*leg, now),
            Some(Purpose::KeepAlive(trunk)) => self.on_keep_alive_response(*trunk, status, now),
            Some(Purpose::Register(trunk)) => self.on_register_failure(*trunk, status, None, now),
            Some(Purpose::PeerRequest(Some(leg))) => {
                let leg = *leg;
                // A rejected leg is already gone; only the ACK is missing. A leg that still exists
                // belongs to a caller who can no longer be answered.
                if matches!(
                    self.legs.get(&leg).map(|leg| &leg.state),
                    Some(LegState::Incoming(_))
                ) {
                    self.end_leg(
                        leg,
                        Event::HungUp {
                            leg,
                            orderly: false,
                        },
                    );
                }
            }
            _ => {}
        }
    }
}

/// Rejection sent without creating a transaction.
#[derive(Debug)]
pub(super) struct StatelessRefusal {
    pub(super) status: u16,
    /// Values of `WWW-Authenticate`.
    pub(super) challenges: Vec<String>,
}

impl StatelessRefusal {
    pub(super) fn with_status(status: u16) -> Self {
        Self {
            status,
            challenges: Vec::new(),
        }
    }
}

/// Returns `true` if a response may repeat the values it must repeat (RFC 3261, sections 8.2.6.2
/// and 12.1.1).
fn is_answerable(request: &Request) -> bool {
    let repeated = [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::CSeq,
        HeaderName::RecordRoute,
    ];
    repeated.iter().all(|name| {
        request
            .headers
            .get_all(name)
            .all(|header| is_repeatable(&header.value()))
    })
}

/// Returns `true` if the request has all headers that a response must repeat (RFC 3261, section
/// 8.2.6.2).
fn has_identity(request: &Request) -> bool {
    let repeated = [
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::CSeq,
    ];
    repeated
        .iter()
        .all(|name| request.headers.get(name).is_some())
}

/// Returns the path of the response (RFC 3261, section 18.2.2; RFC 3581).
///
/// The topmost `Via` gets the address that the request came from. Its port is added if the sender
/// asks for it with `rport`. Over TCP and TLS, the response uses the connection of the request. If
/// it is closed, the response goes to the port of the `Via` over a new one.
fn answer_path(request: &mut Request, source: Path) -> Option<Path> {
    let via = request.headers.typed::<Via>()?.ok()?;
    let value = request.headers.value(&HeaderName::Via)?.into_owned();
    let symmetric = via.rport().is_some();
    let (top, rest) = value.split_at_checked(first_hop_end(&value))?;
    let mut parameters: Vec<Vec<u8>> = Vec::new();
    for parameter in top.split(|byte| *byte == b';') {
        let name = parameter
            .split(|byte| *byte == b'=')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        if !name.eq_ignore_ascii_case(b"received") && !name.eq_ignore_ascii_case(b"rport") {
            parameters.push(parameter.to_vec());
        }
    }
    parameters.push(format!("received={}", source.destination.ip()).into_bytes());
    if symmetric {
        parameters.push(format!("rport={}", source.destination.port()).into_bytes());
    }
    let top = [&parameters.join(&b';')[..], rest].concat();
    request.headers.remove_first(&HeaderName::Via)?;
    request
        .headers
        .push_front(Header::build(HeaderName::Via, Bytes::from(top)).ok()?);
    let port = if symmetric && source.transport == Transport::Udp {
        source.destination.port()
    } else {
        via.port.unwrap_or(source.transport.default_port())
    };
    Some(Path {
        destination: SocketAddr::new(source.destination.ip(), port),
        ..source
    })
}

/// Returns the sequence number of a validated request.
pub(super) fn sequence(request: &Request) -> u32 {
    request
        .headers
        .typed::<CSeq>()
        .and_then(Result::ok)
        .map_or(0, |cseq| cseq.sequence)
}
