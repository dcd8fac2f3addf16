//! Further attempts of an INVITE: with credentials, or to the next target of the trunk.

use std::time::Instant;

use super::{Endpoint, LegId, LegState, Purpose, SipLeg};
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
        if let Some(previous) = previous.and_then(|key| self.transactions.get_mut(&key)) {
            previous.purpose = Purpose::NoReplyNeeded;
        }
        self.send_invite(id, request, now);
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
        let next = self.next_path(failed, &attempted)?;
        if let Some(trunk) = failed.trunk {
            self.register_at_current_target(trunk, now);
        }
        let sequence = super::receive::sequence(&request).checked_add(1)?;
        let via = self.via(next.transport);
        for name in [
            HeaderName::Via,
            HeaderName::CSeq,
            HeaderName::Authorization,
            HeaderName::ProxyAuthorization,
        ] {
            request.headers.remove_all(&name);
        }
        let sequence = format!("{sequence} {}", Method::Invite);
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
            invite.early.clear();
        }
        self.resend_invite(id, request, now);
        Some(())
    }
}
