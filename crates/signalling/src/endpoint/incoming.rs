//! Incoming calls: from the INVITE of a trunk to its ACK.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::negotiation::{parse_answer, parse_offer, preserve_srtp, unsupported_extensions};
use super::{
    EndReason, Endpoint, Event, IncomingCall, LegId, LegState, LocalContact, Purpose, SipLeg,
    TimerKey, session,
};
use crate::dialog::{Dialog, DialogId};
use crate::identity;
use crate::sdp::{self, Codec, Description, LocalMedia, RemoteMedia};
use crate::sip::{
    FromHeader, HeaderName, MaxForwards, Request, Response, ResponseBuilder, TransactionKey,
};
use crate::wire::{Path, Transport};

/// INVITE that awaits the engine's decision.
#[derive(Debug)]
pub(super) struct ReceivedInvite {
    key: TransactionKey,
    request: Request,
    dialog: Dialog,
    description: Option<Description>,
    session: Option<session::SessionTimer>,
}

impl ReceivedInvite {
    pub(super) fn dialog(&self) -> &Dialog {
        &self.dialog
    }
}

/// Fields shared by all copies of a request, regardless of their path (RFC 3261, section 8.2.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RequestIdentity {
    from_tag: Bytes,
    call_id: Bytes,
    sequence: u32,
}

impl RequestIdentity {
    /// Returns `None` if a field is missing.
    fn from_request(request: &Request) -> Option<Self> {
        let from = request.headers.typed::<FromHeader>()?.ok()?;
        let call_id = request.headers.value(&HeaderName::CallId)?;
        Some(Self {
            from_tag: Bytes::copy_from_slice(from.tag()?),
            call_id: Bytes::copy_from_slice(&call_id),
            sequence: super::receive::sequence(request),
        })
    }
}

/// 2xx that awaits its ACK, for the initial INVITE or a re-INVITE.
#[derive(Debug)]
pub(super) struct SentAnswer {
    pub(super) dialog: Dialog,
    key: TransactionKey,
    response: Response,
    interval: Duration,
    codec: Codec,
    /// The 2xx carries the offer, and the ACK carries the answer.
    answer_awaited: bool,
    sequence: u32,
    /// The 2xx answers the initial INVITE, not a re-INVITE.
    pub(super) initial: bool,
}

impl Endpoint {
    /// Handles an INVITE outside a dialog.
    pub(super) fn on_invite(&mut self, key: &TransactionKey, request: Request, now: Instant) {
        // The other leg counts as the next hop (RFC 7332, section 4).
        if request
            .headers
            .typed::<MaxForwards>()
            .is_some_and(|left| left.is_ok_and(|left| left.0 == 0))
        {
            return self.refuse_invite(key, &request, 483, now);
        }
        if let Some(unsupported) = unsupported_extensions(&request) {
            self.note_refused_invite(key, &request, 420);
            return self.reject_extension(key, &request, unsupported, now);
        }
        let identity = RequestIdentity::from_request(&request);
        if identity
            .as_ref()
            .is_some_and(|identity| self.is_duplicate(identity))
        {
            return self.refuse_invite(key, &request, 482, now);
        }
        let Some(path) = self
            .transactions
            .get(key)
            .map(|transaction| transaction.path)
        else {
            return;
        };
        let description = match parse_offer(&request, self.media_rule(path)) {
            Ok(description) => description,
            Err(status) => return self.refuse_invite(key, &request, status, now),
        };
        let Some(session) = self.negotiate_session(key, &request, now) else {
            return self.note_refused_invite(key, &request, 422);
        };
        let tag = self.token();
        let Some(dialog) = Dialog::accept(&request, &tag) else {
            return self.refuse_invite(key, &request, 400, now);
        };
        let invite = ReceivedInvite {
            key: key.clone(),
            request,
            dialog,
            description,
            session,
        };
        self.add_incoming_leg(invite, identity, path, now);
    }

    /// Rejects an INVITE outside a dialog.
    fn refuse_invite(
        &mut self,
        key: &TransactionKey,
        request: &Request,
        status: u16,
        now: Instant,
    ) {
        self.note_refused_invite(key, request, status);
        self.respond_status(key, request, status, now);
    }

    /// Adds the leg of a valid INVITE and emits [`Event::IncomingCall`].
    fn add_incoming_leg(
        &mut self,
        invite: ReceivedInvite,
        identity: Option<RequestIdentity>,
        path: Path,
        now: Instant,
    ) {
        let ReceivedInvite { key, request, .. } = &invite;
        let trunk = path
            .trunk
            .and_then(|trunk| Some((trunk, self.settings.trunks.get(trunk)?)));
        let Some((trunk, settings)) = trunk else {
            return self.refuse_invite(key, request, 403, now);
        };
        let called = identity::called(request, settings.called_from);
        let caller = identity::caller(request, settings.caller_from);
        let source = path.connection.unwrap_or(path.destination).ip();
        let remote = invite.description.as_ref().map(Description::remote);
        let proven = path.transport.is_stream() || self.is_outside_networks(path);
        self.recent_invites.extend(identity.clone());
        let (key, tag) = (key.clone(), invite.dialog.local_tag().clone());
        let description = invite.description.as_ref();
        let layout = description.map(|offer| offer.layout().clone());
        let layout = layout.unwrap_or_default();
        let secure = path.transport == Transport::Tls && needs_secure_contact(&invite);
        let leg = self.add_leg(SipLeg {
            tag,
            path,
            contact: super::LocalContact {
                user: identity::contact_user(&called.text),
                secure,
            },
            state: LegState::Incoming(Box::new(invite)),
            local: None,
            layout,
            session: None,
            outgoing: false,
            pending_reinvite: None,
            redirected: None,
            hung_up: false,
            end_reason: EndReason::default(),
        });
        if let Some(transaction) = self.transactions.get_mut(&key) {
            transaction.purpose = Purpose::PeerRequest(Some(leg));
            transaction.identity = identity.map(Box::new);
        }
        self.events.push_back(Event::IncomingCall(IncomingCall {
            leg,
            trunk,
            called,
            caller,
            source,
            remote,
            proven,
        }));
    }

    /// Returns `true` for an INVITE that must be rejected as a loop.
    ///
    /// It is a copy that arrived on a different path (RFC 3261, section 8.2.2.2), or an INVITE of
    /// this endpoint that was sent back to it. The latter has a local tag in `From`, even if its
    /// Request-URI has changed.
    fn is_duplicate(&self, identity: &RequestIdentity) -> bool {
        self.recent_invites.contains(identity) || self.by_tag.contains_key(&identity.from_tag)
    }

    /// Rejects a request with 420 and names the unsupported extensions (RFC 3261, section 8.2.2.3).
    pub(super) fn reject_extension(
        &mut self,
        key: &TransactionKey,
        request: &Request,
        unsupported: String,
        now: Instant,
    ) {
        let builder = self.response(request, 420);
        let builder =
            builder.and_then(|builder| builder.header(HeaderName::Unsupported, unsupported).ok());
        self.respond_or_abandon(key, builder, now);
    }

    /// Answers an incoming call with 200 and the local audio, and returns the caller's audio.
    ///
    /// Returns `None` if the caller sent no offer; its audio then follows with
    /// [`Event::Confirmed`]. Also returns `None` if the leg does not await an answer, or ends
    /// because its offer is not acceptable.
    pub fn answer(&mut self, id: LegId, local: LocalMedia, now: Instant) -> Option<RemoteMedia> {
        let leg = self.legs.get_mut(&id)?;
        if !matches!(leg.state, LegState::Incoming(_)) {
            return None;
        }
        let Some(remote) = self.acceptable_media(id, &local) else {
            // The caller offers unencrypted audio, but this leg requires SRTP.
            self.reject(id, 488, None, now);
            self.events.push_back(Event::HungUp {
                leg: id,
                orderly: false,
            });
            return None;
        };
        let leg = self.remove_leg(id)?;
        let LegState::Incoming(invite) = leg.state else {
            return None;
        };
        let codec = remote.map_or(Codec::Pcma, |remote| remote.codec);
        let body = match &invite.description {
            Some(description) => description.answer(&local, codec),
            None => sdp::offer(&local, codec, self.codecs_for(leg.path)),
        };
        let Some(response) = self.answer_response(&invite, &leg.contact, leg.path, body) else {
            self.abandon(&invite.key);
            self.events.push_back(Event::HungUp {
                leg: id,
                orderly: false,
            });
            return None;
        };
        let state = LegState::AwaitingAck(Box::new(SentAnswer {
            key: invite.key.clone(),
            response: response.clone(),
            interval: self.timing.t1,
            codec,
            answer_awaited: remote.is_none(),
            sequence: super::receive::sequence(&invite.request),
            initial: true,
            dialog: invite.dialog,
        }));
        self.by_tag.insert(leg.tag.clone(), id);
        let local = preserve_srtp(local, invite.description.as_ref());
        self.legs.insert(
            id,
            SipLeg {
                state,
                local: Some(local),
                ..leg
            },
        );
        self.respond(&invite.key, response, now);
        self.await_ack(id, now);
        self.restart_session_timer(id, invite.session, now);
        remote
    }

    /// Returns the caller's audio as negotiated by the answer. `None` if the offer is not
    /// acceptable.
    fn acceptable_media(&self, id: LegId, local: &LocalMedia) -> Option<Option<RemoteMedia>> {
        let LegState::Incoming(invite) = &self.legs.get(&id)?.state else {
            return None;
        };
        let Some(description) = &invite.description else {
            return Some(None);
        };
        let crypto = description.offered_key(local).ok()?;
        Some(Some(RemoteMedia {
            crypto,
            ..description.remote()
        }))
    }

    fn answer_response(
        &mut self,
        invite: &ReceivedInvite,
        contact: &LocalContact,
        path: Path,
        body: String,
    ) -> Option<Response> {
        let tag = String::from_utf8_lossy(invite.dialog.local_tag()).into_owned();
        let builder = super::response(&invite.request, 200, &tag)?;
        let mut builder = self.success_headers(builder, &invite.request, contact, path)?;
        if let Some(session) = invite.session {
            builder = session.add_to_response(builder)?;
        }
        let builder = builder
            .header(HeaderName::ContentType, sdp::CONTENT_TYPE)
            .ok()?;
        Some(builder.body(body).build())
    }

    /// Adds the headers common to all 2xx responses to INVITE and UPDATE (RFC 3261, section
    /// 13.3.1.4): routes, contact and capabilities.
    pub(super) fn success_headers(
        &self,
        mut builder: ResponseBuilder,
        request: &Request,
        contact: &LocalContact,
        path: Path,
    ) -> Option<ResponseBuilder> {
        for route in request.headers.get_all(&HeaderName::RecordRoute) {
            builder = builder
                .header(HeaderName::RecordRoute, route.value().into_owned())
                .ok()?;
        }
        let builder = builder
            .header(HeaderName::Contact, self.contact(contact, path))
            .ok()?;
        let builder = builder.header(HeaderName::Allow, super::ALLOW).ok()?;
        builder.header(HeaderName::Supported, "timer").ok()
    }

    /// Starts retransmission of the 2xx until its ACK arrives, for at most 64·T1.
    pub(super) fn await_ack(&mut self, id: LegId, now: Instant) {
        self.timers
            .set(TimerKey::Retransmit2xx(id), now, self.timing.t1);
        self.timers
            .set(TimerKey::AckTimeout(id), now, self.transaction_timeout());
    }

    pub(super) fn retransmit_2xx(&mut self, id: LegId, now: Instant) {
        let Some(SipLeg {
            state: LegState::AwaitingAck(sent_answer),
            ..
        }) = self.legs.get_mut(&id)
        else {
            return;
        };
        sent_answer.interval = self.timing.double_capped(sent_answer.interval);
        let (key, response, after) = (
            sent_answer.key.clone(),
            sent_answer.response.clone(),
            sent_answer.interval,
        );
        self.respond(&key, response, now);
        self.timers.set(TimerKey::Retransmit2xx(id), now, after);
    }

    /// Ends a dialog whose ACK never arrived, with a BYE (RFC 3261, section 13.3.1.4).
    pub(super) fn on_ack_timeout(&mut self, id: LegId, now: Instant) {
        self.emit(
            id,
            Event::HungUp {
                leg: id,
                orderly: false,
            },
        );
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.end_reason = EndReason::Lost;
        }
        self.send_bye(id, now);
    }

    /// Handles the ACK of a 2xx.
    pub(super) fn on_ack(&mut self, ack: &Request, now: Instant) {
        let Some(id) = DialogId::from_request(ack).and_then(|id| self.leg_for_dialog(&id)) else {
            return;
        };
        self.last_leg = Some(id);
        let Some(leg) = self.legs.get(&id) else {
            return;
        };
        let local = leg.local;
        let rule = self.media_rule(leg.path);
        let LegState::AwaitingAck(sent_answer) = &leg.state else {
            return;
        };
        if sent_answer.sequence != super::receive::sequence(ack) {
            return;
        }
        let remote = sent_answer
            .answer_awaited
            .then(|| parse_answer(ack, local.as_ref(), rule))
            .flatten();
        let (unusable, initial) = (
            sent_answer.answer_awaited && remote.is_none(),
            sent_answer.initial,
        );
        let codec = remote.map_or(sent_answer.codec, |remote| remote.codec);
        let established = LegState::Confirmed {
            dialog: Box::new(sent_answer.dialog.clone()),
            codec,
        };
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        leg.state = established;
        let hung_up = leg.hung_up;
        self.timers.clear(&TimerKey::Retransmit2xx(id));
        self.timers.clear(&TimerKey::AckTimeout(id));
        if hung_up || unusable {
            self.emit(
                id,
                Event::HungUp {
                    leg: id,
                    orderly: false,
                },
            );
            return self.send_bye(id, now);
        }
        match (initial, remote) {
            (true, remote) => self.emit(id, Event::Confirmed { leg: id, remote }),
            (false, Some(remote)) => self.emit(id, Event::MediaChanged { leg: id, remote }),
            (false, None) => {}
        }
        self.send_pending(id, now);
    }

    /// Rejects an incoming call before its answer. `retry_after` is in seconds and accompanies a
    /// 503.
    pub fn reject(&mut self, id: LegId, status: u16, retry_after: Option<u32>, now: Instant) {
        if !matches!(
            self.legs.get(&id).map(|leg| &leg.state),
            Some(LegState::Incoming(_))
        ) {
            return;
        }
        let Some(SipLeg {
            state: LegState::Incoming(invite),
            ..
        }) = self.remove_leg(id)
        else {
            return;
        };
        self.remove_identity(&invite.key);
        let tag = String::from_utf8_lossy(invite.dialog.local_tag()).into_owned();
        let builder = super::response(&invite.request, status, &tag);
        let builder = match retry_after {
            Some(seconds) => builder.and_then(|builder| {
                builder
                    .header(HeaderName::RetryAfter, seconds.to_string())
                    .ok()
            }),
            None => builder,
        };
        self.respond_or_abandon(&invite.key, builder, now);
    }

    /// Handles a CANCEL (RFC 3261, section 9.2). It has no effect on an answered INVITE.
    pub(super) fn on_cancel(&mut self, key: &TransactionKey, cancel: &Request, now: Instant) {
        let invite = TransactionKey::for_cancelled_invite(cancel);
        let purpose = invite
            .and_then(|invite| self.transactions.get(&invite))
            .map(|found| &found.purpose);
        let Some(Purpose::PeerRequest(leg)) = purpose else {
            return self.respond_status(key, cancel, 481, now);
        };
        let leg = *leg;
        // The response to the CANCEL carries the same tag as the response to the INVITE.
        let tag = leg
            .and_then(|leg| self.legs.get(&leg))
            .map(|leg| leg.tag.clone());
        let answer = match tag {
            Some(tag) => super::response(cancel, 200, &String::from_utf8_lossy(&tag)),
            None => self.response(cancel, 200),
        };
        self.respond_or_abandon(key, answer, now);
        if let Some(leg) = leg
            && matches!(
                self.legs.get(&leg).map(|leg| &leg.state),
                Some(LegState::Incoming(_))
            )
        {
            self.report_peer_reason(leg, &cancel.headers);
            self.emit(leg, Event::HungUp { leg, orderly: true });
            self.reject(leg, 487, None, now);
        }
    }

    /// Answers a re-INVITE and waits for its ACK, with the answer if the response is an offer.
    pub(super) fn answer_reinvite(
        &mut self,
        id: LegId,
        key: &TransactionKey,
        request: &Request,
        (response, answer_awaited): (Response, bool),
        codec: Codec,
        now: Instant,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        let LegState::Confirmed { dialog, .. } = &leg.state else {
            return;
        };
        leg.state = LegState::AwaitingAck(Box::new(SentAnswer {
            dialog: Dialog::clone(dialog),
            key: key.clone(),
            response: response.clone(),
            interval: self.timing.t1,
            codec,
            answer_awaited,
            sequence: super::receive::sequence(request),
            initial: false,
        }));
        self.respond(key, response, now);
        self.await_ack(id, now);
    }
}

/// Returns `true` if the Request-URI, or the top route or else the contact of an INVITE is a SIPS URI (RFC 3261, section
/// 12.1.1).
fn needs_secure_contact(invite: &ReceivedInvite) -> bool {
    let hop = invite.dialog.next_hop();
    invite.request.uri.scheme().is_secure() || hop.scheme().is_secure()
}
