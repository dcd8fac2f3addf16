//! Further attempts of an INVITE: with credentials, or to the next target of the trunk.

use std::time::Instant;

use bytes::Bytes;

use super::outgoing::SentInvite;
use super::{EndReason, Endpoint, Event, LegId, LegState, Purpose, SipLeg};
use crate::sdp::MediaLayout;
use crate::sip::{Header, HeaderName, Method, Request};

impl Endpoint {
    /// Replaces an INVITE in progress with a new request. The result of the previous transaction is
    /// ignored.
    pub(super) fn resend_invite(&mut self, id: LegId, request: Request, now: Instant) {
        let Some(SipLeg {
            state: LegState::Outgoing(invite),
            ..
        }) = self.legs.get_mut(&id)
        else {
            return;
        };
        invite.proceeding = false;
        let previous = invite.key.take();
        if let Some(previous) = previous {
            self.note_invite_ended(&previous);
        }
        self.send_invite(id, request, now);
    }

    /// Handles a target that sends no response: the next target of the trunk is tried. Without one, the engine decides
    /// whether to wait on.
    pub(super) fn on_missing_response(&mut self, id: LegId, now: Instant) {
        let Some(SipLeg {
            state: LegState::Outgoing(invite),
            ..
        }) = self.legs.get(&id)
        else {
            return;
        };
        let (abandoned, trunk) = (invite.clone(), invite.trunk);
        if self.invite_next_target(id, now).is_some() {
            self.keep_abandoned(id, *abandoned, now);
        } else {
            self.emit(id, Event::NoResponse { leg: id, trunk });
        }
    }

    /// Keeps the INVITE to an abandoned target as a leg of its own, so that a late response is still canceled or
    /// ended. The transaction ends the leg.
    fn keep_abandoned(&mut self, id: LegId, mut invite: SentInvite, now: Instant) {
        let Some(leg) = self.legs.get(&id) else {
            return;
        };
        let (contact, local) = (leg.contact.clone(), leg.local);
        let Some((key, path)) = invite.key.as_ref().and_then(|key| {
            let transaction = self.transactions.get(key)?;
            Some((key.clone(), transaction.path))
        }) else {
            return;
        };
        invite.withdrawn = true;
        // Requests that name the tag of the call belong to its live leg.
        let tag = Bytes::from(self.token());
        let abandoned = self.add_leg(SipLeg {
            tag,
            path,
            contact,
            state: LegState::Outgoing(Box::new(invite)),
            local,
            layout: MediaLayout::default(),
            session: None,
            outgoing: true,
            pending_reinvite: None,
            redirected: None,
            hung_up: true,
            end_reason: EndReason::default(),
        });
        if let Some(transaction) = self.transactions.get_mut(&key) {
            transaction.purpose = Purpose::Invite {
                leg: abandoned,
                acknowledged: Vec::new(),
            };
        }
        self.cancel(abandoned, now);
    }

    /// Sends the INVITE to the next target of its trunk if a target failed before the phone rang
    /// (RFC 3263, section 4.3).
    ///
    /// The INVITE becomes a new request. An unchanged copy on a different path would be rejected as
    /// a loop.
    pub(super) fn invite_next_target(&mut self, id: LegId, now: Instant) -> Option<()> {
        let SipLeg {
            state: LegState::Outgoing(invite),
            path,
            contact,
            ..
        } = self.legs.get_mut(&id)?
        else {
            return None;
        };
        if invite.ringing || invite.withdrawn {
            return None;
        }
        invite.attempted.push(path.destination);
        let (mut request, attempted, failed) =
            (invite.request.clone(), invite.attempted.clone(), *path);
        let contact = contact.clone();
        let next = self.next_path(failed, &attempted)?;
        if let Some(trunk) = failed.trunk {
            self.register_at_current_target(trunk, now);
        }
        let sequence = super::receive::sequence(&request).checked_add(1)?;
        let via = self.via(next);
        let contact = self.contact(&contact, next);
        for name in [
            HeaderName::Via,
            HeaderName::Contact,
            HeaderName::CSeq,
            HeaderName::Authorization,
            HeaderName::ProxyAuthorization,
        ] {
            request.headers.remove_all(&name);
        }
        let sequence = format!("{sequence} {}", Method::Invite);
        request
            .headers
            .push_front(Header::build(HeaderName::Contact, contact).ok()?);
        request
            .headers
            .push_front(Header::build(HeaderName::CSeq, sequence).ok()?);
        request
            .headers
            .push_front(Header::build(HeaderName::Via, via).ok()?);
        let leg = self.legs.get_mut(&id)?;
        leg.path = next;
        if let LegState::Outgoing(invite) = &mut leg.state {
            invite.answered_challenge = None;
            invite.progress = None;
            let has_audio = invite.early.drain(..).any(|early| early.answer.is_some());
            if has_audio {
                self.emit(id, Event::EarlyMediaEnded(id));
            }
        }
        self.resend_invite(id, request, now);
        Some(())
    }
}
