//! Requests within a call, in both directions: BYE, renegotiation, INFO, OPTIONS.

use std::time::Instant;

use super::negotiation::{parse_later_offer, preserve_srtp, unsupported_extensions};
use super::{EndReason, Endpoint, Event, LegId, LegState, Purpose, Redirection};
use crate::sdp::{self, Codec, Description, LocalMedia, RemoteMedia, SdpError};
use crate::sip::{HeaderName, Method, Request, Response, TransactionKey};

impl Endpoint {
    pub(super) fn serve_in_dialog(
        &mut self,
        id: LegId,
        key: &TransactionKey,
        request: Request,
        now: Instant,
    ) {
        if matches!(
            self.legs.get(&id).map(|leg| &leg.state),
            Some(LegState::Outgoing(_))
        ) {
            return self.serve_in_early_dialog(id, key, &request, now);
        }
        let sequence = super::receive::sequence(&request);
        let accepted = match self.legs.get_mut(&id).map(|leg| &mut leg.state) {
            Some(LegState::Confirmed { dialog, .. }) => dialog.accept_sequence(sequence),
            Some(LegState::AwaitingAck(sent_answer)) => {
                sent_answer.dialog.accept_sequence(sequence)
            }
            _ => false,
        };
        if !accepted {
            return self.respond_status(key, &request, 500, now);
        }
        // A BYE ends the call even if it requires an unknown extension.
        if request.method != Method::Bye
            && let Some(unsupported) = unsupported_extensions(&request)
        {
            return self.reject_extension(key, &request, unsupported, now);
        }
        self.note_source(id, key);
        match request.method {
            Method::Bye => {
                self.respond_status(key, &request, 200, now);
                self.report_peer_reason(id, &request.headers);
                self.end_leg(
                    id,
                    Event::HungUp {
                        leg: id,
                        orderly: true,
                    },
                );
            }
            Method::Invite | Method::Update => self.renegotiate(id, key, &request, now),
            Method::Info => self.on_info(id, key, &request, now),
            Method::Options => self.respond_capabilities(key, &request, now),
            // The endpoint sends no reliable provisional response (RFC 3262), so a PRACK matches
            // nothing.
            Method::Prack => self.respond_status(key, &request, 481, now),
            _ => self.respond_status(key, &request, 405, now),
        }
    }

    /// Notes the source of a request as the place where the peer can be reached.
    fn note_source(&mut self, id: LegId, key: &TransactionKey) {
        let source = self
            .transactions
            .get(key)
            .map(|transaction| transaction.path);
        if let (Some(source), Some(leg)) = (source, self.legs.get_mut(&id))
            && source.transport == leg.path.transport
        {
            leg.path.connection = source.connection;
            leg.path.local = source.local;
        }
    }

    /// Renegotiates hold, resume, codec or address for this leg (RFC 3261, section 14; RFC 3311).
    /// The other leg is not involved.
    fn renegotiate(&mut self, id: LegId, key: &TransactionKey, request: &Request, now: Instant) {
        let Some(leg) = self.legs.get(&id) else {
            return;
        };
        let LegState::Confirmed { codec, .. } = leg.state else {
            // The last 2xx is not yet acknowledged (RFC 3261, section 14.2).
            return self.reject_with_retry_after(key, request, now);
        };
        // An UPDATE without an offer cannot collide with a local offer.
        if self.is_redirecting(id)
            && (request.method == Method::Invite || !request.body().is_empty())
        {
            return self.respond_status(key, request, 491, now);
        }
        let description = match parse_later_offer(request, self.media_rule(leg.path)) {
            Ok(description) => description,
            Err(status) => return self.respond_status(key, request, status, now),
        };
        let Ok(remote) = offered_media(description.as_ref(), leg.local.as_ref(), codec) else {
            return self.respond_status(key, request, 488, now);
        };
        let Some(session) = self.negotiate_session(key, request, now) else {
            return;
        };
        let codec = remote.map_or(codec, |remote| remote.codec);
        let repeated = description
            .as_ref()
            .zip(remote)
            .and_then(|(offer, remote)| self.repeated_redirection(id, offer, remote));
        let body = self.renegotiation_body(id, request, description.as_ref(), (codec, repeated));
        let Some(response) =
            body.and_then(|body| self.renegotiation_response(id, request, body, session))
        else {
            return self.abandon(key);
        };
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        if let LegState::Confirmed {
            dialog,
            codec: current,
        } = &mut leg.state
        {
            dialog.refresh_target(&request.headers);
            *current = codec;
        }
        match request.method {
            Method::Invite => {
                let response = (response, description.is_none());
                self.answer_reinvite(id, key, request, response, codec, now);
            }
            _ => self.respond(key, response, now),
        }
        self.restart_session_timer(id, session, now);
        if let Some(remote) = remote.filter(|_| repeated.is_none()) {
            self.emit(id, Event::MediaChanged { leg: id, remote });
        }
    }

    /// Returns the description in the response to a re-INVITE or UPDATE; the inner `None`: it has none.
    fn renegotiation_body(
        &mut self,
        id: LegId,
        request: &Request,
        description: Option<&Description>,
        (codec, repeated): (Codec, Option<Redirection>),
    ) -> Option<Option<String>> {
        let leg = self.legs.get_mut(&id)?;
        let local = leg.local.as_mut()?;
        if let Some(redirection) = repeated {
            return Some(Some(sdp::redirection(&leg.layout, local, &redirection)));
        }
        // The answer names the local address, even if the peer's audio was redirected before.
        Some(match description {
            Some(description) => {
                leg.redirected = None;
                local.version = local.version.wrapping_add(1);
                let answer = description.answer(local, codec);
                *local = preserve_srtp(*local, Some(description));
                leg.layout = description.layout().clone();
                Some(answer)
            }
            None if request.method == Method::Invite => {
                leg.redirected = None;
                local.version = local.version.wrapping_add(1);
                let trunk = leg
                    .path
                    .trunk
                    .and_then(|trunk| self.settings.trunks.get(trunk));
                Some(sdp::later_offer(
                    &leg.layout,
                    local,
                    codec,
                    trunk.map_or(&[], |trunk| &trunk.codecs),
                ))
            }
            None => None,
        })
    }

    fn renegotiation_response(
        &mut self,
        id: LegId,
        request: &Request,
        body: Option<String>,
        session: Option<super::session::SessionTimer>,
    ) -> Option<Response> {
        let leg = self.legs.get(&id)?;
        let (path, contact) = (leg.path, leg.contact.clone());
        let builder = self.response(request, 200)?;
        let mut builder = self.success_headers(builder, request, &contact, path)?;
        if let Some(session) = session {
            builder = session.add_to_response(builder)?;
        }
        match body {
            Some(body) => {
                let builder = builder
                    .header(HeaderName::ContentType, sdp::CONTENT_TYPE)
                    .ok()?;
                Some(builder.body(body).build())
            }
            None => Some(builder.build()),
        }
    }

    fn reject_with_retry_after(&mut self, key: &TransactionKey, request: &Request, now: Instant) {
        let builder = self.response(request, 500);
        let builder = builder.and_then(|builder| builder.header(HeaderName::RetryAfter, "1").ok());
        self.respond_or_abandon(key, builder, now);
    }

    /// Ends a leg in any state and emits no further events of it.
    ///
    /// The endpoint still completes the SIP exchange: it sends a CANCEL, or an ACK and a BYE if a
    /// late answer arrives.
    pub fn hang_up(&mut self, id: LegId, now: Instant) {
        self.hang_up_for(id, EndReason::Normal, now);
    }

    /// Ends a leg like [`Endpoint::hang_up`] and gives the peer a reason.
    pub fn hang_up_for(&mut self, id: LegId, reason: EndReason, now: Instant) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        leg.hung_up = true;
        leg.end_reason = reason;
        match &leg.state {
            LegState::Incoming(_) => self.reject(id, 480, None, now),
            LegState::Outgoing(_) => self.cancel(id, now),
            LegState::Confirmed { .. } => self.send_bye(id, now),
            LegState::AwaitingAck(answer) if !answer.initial => self.send_bye(id, now),
            // A BYE must not precede the ACK of the initial INVITE (RFC 3261, section 15). It is
            // sent when the ACK arrives or times out.
            LegState::AwaitingAck(_) => {}
        }
    }

    /// Ends a leg without waiting for the ACK of its answer, because the source of the call may be forged.
    pub fn give_up(&mut self, id: LegId, now: Instant) {
        match self.legs.get(&id).map(|leg| &leg.state) {
            Some(LegState::AwaitingAck(_)) => self.send_bye(id, now),
            _ => self.hang_up(id, now),
        }
    }

    /// Sends a BYE and removes the leg.
    pub(super) fn send_bye(&mut self, id: LegId, now: Instant) {
        let Some(mut leg) = self.remove_leg(id) else {
            return;
        };
        let dialog = match &mut leg.state {
            LegState::Confirmed { dialog, .. } => &mut **dialog,
            LegState::AwaitingAck(sent_answer) => &mut sent_answer.dialog,
            LegState::Incoming(_) | LegState::Outgoing(_) => return,
        };
        let path = super::path_to(&dialog.next_hop(), leg.path);
        let reason = super::reason::header_name();
        let builder = dialog
            .request(Method::Bye)
            .and_then(|builder| builder.header(reason, leg.end_reason.value()).ok());
        let Some(builder) = builder else {
            return;
        };
        if let Some(request) = self.finish_request(builder, path) {
            self.request(request, path, Purpose::Bye(None), now);
        }
    }
}

/// Returns the audio of an offer within a call, with the codec in use if it offers it. Fails if the audio is in clear but
/// the leg is encrypted.
fn offered_media(
    offer: Option<&Description>,
    local: Option<&LocalMedia>,
    codec: Codec,
) -> Result<Option<RemoteMedia>, SdpError> {
    let Some(offer) = offer else { return Ok(None) };
    let crypto = local.map(|local| offer.offered_key(local)).transpose()?;
    Ok(Some(RemoteMedia {
        crypto: crypto.flatten(),
        ..offer.remote_preferring(codec)
    }))
}
