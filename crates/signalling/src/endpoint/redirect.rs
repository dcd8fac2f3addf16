//! Re-INVITEs of the endpoint (RFC 3261, section 14.1): move a peer's audio to a different address
//! and back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::challenge::AnsweredChallenge;
use super::negotiation::response_description;
use super::{Endpoint, Event, LegId, LegState, Purpose, TimerKey};
use crate::dialog::Dialog;
use crate::sdp::{
    self, Codec, Description, OpusParameters, RemoteMedia, SdpError, TelephoneEventFormat,
};
use crate::sip::{HeaderName, Message, Method, Request, Response, TransactionKey};
use crate::wire::{Path, Transmit};

/// Maximum number of attempts, the first included, of a re-INVITE that collides with one of the
/// peer.
pub const MAX_REINVITE_ATTEMPTS: u8 = 5;

/// Destination and format of a peer's audio. The peer learns nothing else about the other leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirection {
    /// Address of the other leg's peer. `None` for the local address.
    pub rtp: Option<SocketAddr>,
    /// The only codec offered.
    pub codec: Codec,
    /// Payload type of the codec, as expected at the destination.
    pub payload_type: u8,
    /// Opus parameters requested by the destination.
    pub opus: OpusParameters,
    /// Telephone events (RFC 4733) accepted by the destination.
    pub telephone_event: Option<TelephoneEventFormat>,
}

/// Re-INVITE that waits to be sent or answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingReinvite {
    redirection: Redirection,
    attempts: u8,
    /// The request was sent.
    sent: bool,
    /// The request collided with a re-INVITE of the peer and waits for its next attempt.
    deferred: bool,
}

/// Redirection that the peer accepted, and the audio of its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct AcceptedRedirection {
    redirection: Redirection,
    remote: RemoteMedia,
}

impl AcceptedRedirection {
    /// Returns the redirection if the audio of an offer is that of the answer to it. What only an offer of the endpoint
    /// decides does not count.
    fn unchanged_by(&self, offered: RemoteMedia) -> Option<Redirection> {
        let essential = |remote: RemoteMedia| RemoteMedia {
            offered_telephone_event: None,
            comfort_noise: false,
            ..remote
        };
        (essential(offered) == essential(self.remote)).then_some(self.redirection)
    }
}

/// INVITE sent within a dialog. It outlives its leg to acknowledge late or retransmitted 2xx
/// responses.
#[derive(Debug)]
pub(super) struct SentReinvite {
    pub(super) leg: LegId,
    /// State of the dialog at the time of sending.
    pub(super) dialog: Dialog,
    path: Path,
    acknowledgement: Option<Transmit>,
    /// Challenge that the request answers.
    pub(super) answered_challenge: Option<AnsweredChallenge>,
}

impl Endpoint {
    /// Asks the peer of an established leg to send its audio to a different address.
    ///
    /// The endpoint sends one re-INVITE once no other is in progress, and retries it after a 491.
    /// [`Event::Redirected`] or [`Event::RedirectFailed`] follows, unless the leg ends. Returns
    /// `false` if the leg does not exist or a previous redirection is still pending.
    pub fn redirect(&mut self, id: LegId, redirection: Redirection, now: Instant) -> bool {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| !leg.hung_up) else {
            return false;
        };
        if !matches!(
            leg.state,
            LegState::Confirmed { .. } | LegState::AwaitingAck(_)
        ) || leg.pending_reinvite.is_some()
        {
            return false;
        }
        leg.pending_reinvite = Some(PendingReinvite {
            redirection,
            attempts: 0,
            sent: false,
            deferred: false,
        });
        self.send_pending(id, now);
        true
    }

    /// Returns `true` if a re-INVITE of the endpoint awaits its response. Offers of the peer are
    /// then rejected with 491 (RFC 3261, section 14.2; RFC 3311, section 5.2).
    pub(super) fn is_redirecting(&self, id: LegId) -> bool {
        self.legs
            .get(&id)
            .and_then(|leg| leg.pending_reinvite)
            .is_some_and(|pending| pending.sent)
    }

    /// Returns the redirection in force if an offer of the peer changes nothing about it, such as that of a session
    /// refresh. The answer is then the last description of the endpoint again (RFC 3264, section 8).
    pub(super) fn repeated_redirection(
        &self,
        id: LegId,
        offer: &Description,
        remote: RemoteMedia,
    ) -> Option<Redirection> {
        let leg = self.legs.get(&id)?;
        let has_same_lines = offer.layout().has_lines_of(&leg.layout);
        let redirected = leg.redirected.as_ref().filter(|_| has_same_lines)?;
        redirected.unchanged_by(remote)
    }

    /// Sends the pending re-INVITE, unless an INVITE of the peer is still unacknowledged.
    pub(super) fn send_pending(&mut self, id: LegId, now: Instant) {
        let Some(leg) = self.legs.get(&id) else {
            return;
        };
        let waits = leg
            .pending_reinvite
            .is_some_and(|pending| !pending.sent && !pending.deferred);
        if waits
            && matches!(leg.state, LegState::Confirmed { .. })
            && self.reinvite(id, now).is_none()
        {
            self.end_lost_leg(id, now);
        }
    }

    /// Retries a re-INVITE after the delay following a 491.
    pub(super) fn retry_redirect(&mut self, id: LegId, now: Instant) {
        if let Some(pending) = self
            .legs
            .get_mut(&id)
            .and_then(|leg| leg.pending_reinvite.as_mut())
        {
            pending.deferred = false;
        }
        self.send_pending(id, now);
    }

    fn reinvite(&mut self, id: LegId, now: Instant) -> Option<()> {
        let leg = self.legs.get_mut(&id)?;
        let pending = leg.pending_reinvite.as_mut()?;
        pending.sent = true;
        pending.attempts = pending.attempts.saturating_add(1);
        let redirection = pending.redirection;
        let local = leg.local.as_mut()?;
        local.version = local.version.wrapping_add(1);
        let body = sdp::redirection(&leg.layout, local, &redirection);
        let LegState::Confirmed { dialog, .. } = &mut leg.state else {
            return None;
        };
        let path = super::path_to(&dialog.next_hop(), leg.path);
        let builder = dialog.request(Method::Invite)?;
        let (dialog, session) = (Dialog::clone(dialog), leg.session);
        let contact = leg.contact.clone();
        let mut builder = builder
            .header(HeaderName::Contact, self.contact(&contact, path))
            .ok()?;
        builder = builder.header(HeaderName::Allow, super::ALLOW).ok()?;
        builder = builder.header(HeaderName::Supported, "timer").ok()?;
        // Without this header the session timer would be switched off (RFC 4028, section 7.4).
        if let Some(session) = session {
            builder = session.add_to_reinvite(builder)?;
        }
        let builder = builder
            .header(HeaderName::ContentType, sdp::CONTENT_TYPE)
            .ok()?;
        let request: Request = self.finish_request(builder.body(body), path)?;
        let purpose = Purpose::Reinvite(Box::new(SentReinvite {
            leg: id,
            dialog,
            path,
            acknowledgement: None,
            answered_challenge: None,
        }));
        self.send_reinvite(request, path, purpose, now)
    }

    fn send_reinvite(
        &mut self,
        request: Request,
        path: Path,
        purpose: Purpose,
        now: Instant,
    ) -> Option<()> {
        let key = self.request(request, path, purpose, now)?;
        self.timers.set(
            TimerKey::ReinviteTimeout(key),
            now,
            self.transaction_timeout(),
        );
        Some(())
    }

    /// Sends a re-INVITE again with credentials. `sent` is the one that was challenged.
    pub(super) fn reinvite_with_credentials(
        &mut self,
        sent: (LegId, Dialog, Path),
        request: Request,
        answered: AnsweredChallenge,
        now: Instant,
    ) -> Option<()> {
        let (leg, mut dialog, path) = sent;
        dialog.note_sequence(super::receive::sequence(&request));
        let purpose = Purpose::Reinvite(Box::new(SentReinvite {
            leg,
            dialog,
            path,
            acknowledgement: None,
            answered_challenge: Some(answered),
        }));
        self.send_reinvite(request, path, purpose, now)
    }

    /// Ends a re-INVITE that got a provisional response but no final one, as if the peer had not
    /// responded at all.
    pub(super) fn on_reinvite_timeout(&mut self, key: &TransactionKey, now: Instant) {
        let outputs = self.layer.on_transport_error(key);
        self.perform(key, outputs, now);
    }

    pub(super) fn on_reinvite_response(
        &mut self,
        key: &TransactionKey,
        response: &Response,
        now: Instant,
    ) {
        let status = response.status.code();
        if status < 200 {
            return;
        }
        self.timers.clear(&TimerKey::ReinviteTimeout(key.clone()));
        let Some(Purpose::Reinvite(reinvite)) =
            self.transactions.get(key).map(|found| &found.purpose)
        else {
            return;
        };
        let id = reinvite.leg;
        match status {
            200..300 => {
                if let Some(ack) = reinvite.acknowledgement.clone() {
                    return self.transmits.push_back(ack);
                }
                self.acknowledge_reinvite(key, response);
                self.on_redirect_answer(id, response, now);
            }
            408 | 481 => self.end_lost_leg(id, now),
            491 => self.schedule_redirect_retry(id, now),
            _ => self.on_redirect_failure(id, status),
        }
    }

    /// Sends the ACK for a 2xx (RFC 3261, section 13.2.2.4) to the peer's new contact.
    fn acknowledge_reinvite(&mut self, key: &TransactionKey, response: &Response) -> Option<()> {
        let Purpose::Reinvite(reinvite) = &mut self.transactions.get_mut(key)?.purpose else {
            return None;
        };
        reinvite.dialog.refresh_target(&response.headers);
        let path = super::path_to(&reinvite.dialog.next_hop(), reinvite.path);
        let ack = reinvite.dialog.request(Method::Ack)?;
        let ack = match self.layer.client_request(key) {
            Some(request) => self.with_credentials_of(request, ack, path)?,
            None => ack,
        };
        let ack = self.finish_request(ack, path)?;
        let ack = Transmit {
            path,
            bytes: Message::Request(ack).to_bytes(),
            ticket: None,
        };
        if let Purpose::Reinvite(reinvite) = &mut self.transactions.get_mut(key)?.purpose {
            reinvite.acknowledgement = Some(ack.clone());
        }
        self.transmits.push_back(ack);
        Some(())
    }

    fn on_redirect_answer(&mut self, id: LegId, response: &Response, now: Instant) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        let Some(pending) = leg.pending_reinvite.take() else {
            return;
        };
        let (agreed, path, offered) = (leg.session, leg.path, pending.redirection);
        if let LegState::Confirmed { dialog, .. } = &mut leg.state {
            dialog.refresh_target(&response.headers);
        }
        let answer = response_description(response).unwrap_or(Err(SdpError::Malformed));
        let rule = self.media_rule(path);
        let answer = answer.and_then(|answer| {
            rule.check(&answer)?;
            answer.restrict_to(&[offered.codec])
        });
        match answer {
            Ok(answer) if !answer.is_secure() => {
                self.restart_session_timer(id, agreed, now);
                let remote = RemoteMedia {
                    offered_telephone_event: offered.telephone_event,
                    ..answer.remote()
                };
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.redirected = Some(Box::new(AcceptedRedirection {
                        redirection: offered,
                        remote,
                    }));
                }
                self.emit(id, Event::Redirected { leg: id, remote });
            }
            // The response does not answer the offer, so the destination of the audio is unknown.
            _ => self.end_lost_leg(id, now),
        }
    }

    /// Schedules a retry after a collision with a re-INVITE of the peer. The two sides use
    /// different delays (RFC 3261, section 14.1).
    fn schedule_redirect_retry(&mut self, id: LegId, now: Instant) {
        let random = (self.entropy)();
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        let Some(pending) = leg.pending_reinvite.as_mut() else {
            return;
        };
        if pending.attempts >= MAX_REINVITE_ATTEMPTS {
            return self.on_redirect_failure(id, 491);
        }
        (pending.sent, pending.deferred) = (false, true);
        // The owner of the Call-ID waits longer: 2.1 to 4 s instead of 0 to 2 s.
        let steps = if leg.outgoing {
            (random % 191).saturating_add(210)
        } else {
            random % 201
        };
        self.timers.set(
            TimerKey::Reinvite(id),
            now,
            Duration::from_millis(steps.saturating_mul(10)),
        );
    }

    /// Reports a refused re-INVITE. The session continues unchanged (RFC 3261, section 14.1).
    fn on_redirect_failure(&mut self, id: LegId, status: u16) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        if leg.pending_reinvite.take().is_some() {
            self.emit(id, Event::RedirectFailed { leg: id, status });
        }
    }
}
