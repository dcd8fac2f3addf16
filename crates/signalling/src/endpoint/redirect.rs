//! Re-INVITEs of ours (RFC 3261, section 14.1): a peer is told to send its audio somewhere else, and back to us.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Endpoint, Event, LegId, LegState, Purpose, TimerKey};
use crate::dialog::Dialog;
use crate::sdp::{self, Codec, Description, OpusParameters, TelephoneEventFormat};
use crate::sip::{HeaderName, Message, Method, Request, Response, TransactionKey};
use crate::wire::{Path, Transmit};

/// How often a re-INVITE is tried that meets one of the peer's, the first time included.
const MAX_ATTEMPTS: u8 = 5;

/// Where a leg's peer is to send its audio, and in what. All that is told of the other leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirection {
    /// The address of the other leg's peer; `None`: our own.
    pub rtp: Option<SocketAddr>,
    /// The one codec.
    pub codec: Codec,
    /// Its payload type as whoever is there takes it.
    pub payload_type: u8,
    /// What whoever is there wants of Opus.
    pub opus: OpusParameters,
    /// Telephone events (RFC 4733) as whoever is there takes them.
    pub telephone_event: Option<TelephoneEventFormat>,
}

/// A re-INVITE that waits to be sent, or for its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingReinvite {
    redirection: Redirection,
    attempts: u8,
    /// It is on its way.
    sent: bool,
    /// It has met one of the peer's, and is not to be sent again yet.
    deferred: bool,
}

/// An INVITE of ours within a dialog. Outlives its leg, to acknowledge a 2xx that comes late or again.
#[derive(Debug)]
pub(super) struct SentReinvite {
    pub(super) leg: LegId,
    /// The dialog as it was when the INVITE went out.
    dialog: Dialog,
    path: Path,
    acknowledgement: Option<Transmit>,
}

impl Endpoint {
    /// Asks the peer of an established leg to send its audio elsewhere: one re-INVITE, as soon as no other is under way,
    /// and again after 491. [`Event::Redirected`] or [`Event::RedirectFailed`] follows, unless the leg ends.
    /// `false`: there is no such leg, or the one before is not answered yet.
    pub fn redirect(&mut self, id: LegId, redirection: Redirection, now: Instant) -> bool {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| !leg.abandoned) else {
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

    /// Whether a re-INVITE of ours waits for its answer: the peer's gets 491 (section 14.2; RFC 3311, section 5.2).
    pub(super) fn is_redirecting(&self, id: LegId) -> bool {
        self.legs
            .get(&id)
            .and_then(|leg| leg.pending_reinvite)
            .is_some_and(|pending| pending.sent)
    }

    /// Sends the re-INVITE that waits, unless the peer's INVITE is not acknowledged yet.
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
            self.end_lost_session(id, now);
        }
    }

    /// The time after a 491 is over.
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
        let body = sdp::redirection(local, &redirection);
        let LegState::Confirmed { dialog, .. } = &mut leg.state else {
            return None;
        };
        let path = super::path_to(&dialog.next_hop(), leg.path);
        let builder = dialog.request(Method::Invite)?;
        let (dialog, user, session) = (Dialog::clone(dialog), leg.user.clone(), leg.session);
        let mut builder = builder
            .header(HeaderName::Contact, self.contact(&user, path.transport))
            .ok()?;
        builder = builder.header(HeaderName::Allow, super::ALLOW).ok()?;
        builder = builder.header(HeaderName::Supported, "timer").ok()?;
        // Without it the session timer would be off (RFC 4028, section 7.4).
        if let Some(session) = session {
            builder = session.write_reinvite(builder)?;
        }
        let builder = builder
            .header(HeaderName::ContentType, sdp::CONTENT_TYPE)
            .ok()?;
        let request: Request = self.finish_request(builder.body(body), path.transport)?;
        let purpose = Purpose::Reinvite(Box::new(SentReinvite {
            leg: id,
            dialog,
            path,
            acknowledgement: None,
        }));
        let key = self.request(request, path, purpose, now)?;
        self.timers.set(
            TimerKey::ReinviteTimeout(key),
            now + self.transaction_timeout(),
        );
        Some(())
    }

    /// A peer that says it has the INVITE, and then nothing: as with one that says nothing at all.
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
            408 | 481 => self.end_lost_session(id, now),
            491 => self.schedule_redirect_retry(id, now),
            _ => self.on_redirect_failure(id, status),
        }
    }

    /// The ACK of a 2xx (RFC 3261, section 13.2.2.4), to the peer's new contact.
    fn acknowledge_reinvite(&mut self, key: &TransactionKey, response: &Response) -> Option<()> {
        let Purpose::Reinvite(reinvite) = &mut self.transactions.get_mut(key)?.purpose else {
            return None;
        };
        reinvite.dialog.refresh_target(&response.headers);
        let path = super::path_to(&reinvite.dialog.next_hop(), reinvite.path);
        let ack = reinvite.dialog.request(Method::Ack)?;
        let ack = self.finish_request(ack, path.transport)?;
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
        let (agreed, codec) = (leg.session, pending.redirection.codec);
        if let LegState::Confirmed { dialog, .. } = &mut leg.state {
            dialog.refresh_target(&response.headers);
        }
        let answer =
            Description::parse(response.body()).and_then(|answer| answer.restrict_to(&[codec]));
        match answer {
            Ok(answer) if !answer.is_secure() => {
                self.restart_session_timer(id, agreed, now);
                self.emit(
                    id,
                    Event::Redirected {
                        leg: id,
                        remote: answer.remote(),
                    },
                );
            }
            // No answer to our offer: nobody knows where the audio goes.
            _ => self.end_lost_session(id, now),
        }
    }

    /// Our INVITE met the peer's: both are made again, after times that differ (section 14.1).
    fn schedule_redirect_retry(&mut self, id: LegId, now: Instant) {
        let random = (self.entropy)();
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        let Some(pending) = leg.pending_reinvite.as_mut() else {
            return;
        };
        if pending.attempts >= MAX_ATTEMPTS {
            return self.on_redirect_failure(id, 491);
        }
        (pending.sent, pending.deferred) = (false, true);
        // Whoever made the Call-ID waits longer.
        let steps = if leg.outgoing {
            210 + random % 191
        } else {
            random % 201
        };
        self.timers.set(
            TimerKey::Reinvite(id),
            now + Duration::from_millis(10 * steps),
        );
    }

    /// The session is as it was before (section 14.1).
    fn on_redirect_failure(&mut self, id: LegId, status: u16) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        if leg.pending_reinvite.take().is_some() {
            self.emit(id, Event::RedirectFailed { leg: id, status });
        }
    }
}
