//! Answers to digest challenges of a trunk (RFC 3261, section 22; RFC 7616; RFC 8760).
//!
//! Challenges of a called party are never answered with the credentials of a trunk.

use std::time::Instant;

use super::{Endpoint, LegId, LegState, SipLeg};
use crate::sip::{self, Challenge, Header, HeaderName, Request, Response};
use crate::wire::Transport;

/// Challenge that a request already answers.
#[derive(Debug, Clone)]
pub(super) struct AnsweredChallenge {
    realm: String,
    /// Number of challenges answered so far. A second one is answered only if it reports a stale
    /// nonce.
    attempts: u32,
}

impl Endpoint {
    /// Resends an INVITE with credentials in response to a challenge. Returns `false` if the
    /// challenge is not answered.
    ///
    /// Once the phone rings, a challenge may come from the called party instead of the trunk. Such
    /// a challenge is never answered.
    pub(super) fn retry_with_credentials(
        &mut self,
        id: LegId,
        response: &Response,
        now: Instant,
    ) -> bool {
        let Some(SipLeg {
            state: LegState::Outgoing(invite),
            path,
            ..
        }) = self.legs.get(&id)
        else {
            return false;
        };
        if invite.ringing || invite.withdrawn || !invite.early.is_empty() {
            return false;
        }
        let (trunk, transport, request) = (invite.trunk, path.transport, invite.request.clone());
        let previous = invite.answered_challenge.clone();
        let Some((request, answered)) =
            self.answer_challenge(trunk, transport, request, previous, response)
        else {
            return false;
        };
        if let Some(SipLeg {
            state: LegState::Outgoing(invite),
            ..
        }) = self.legs.get_mut(&id)
        {
            invite.answered_challenge = Some(answered);
        }
        self.resend_invite(id, request, now);
        true
    }

    /// Returns a copy of a request with the next sequence number and an answer to the strongest
    /// challenge for the trunk's credentials. `previous` is the challenge that the request already
    /// answers.
    pub(super) fn answer_challenge(
        &mut self,
        trunk: usize,
        transport: Transport,
        mut request: Request,
        previous: Option<AnsweredChallenge>,
        response: &Response,
    ) -> Option<(Request, AnsweredChallenge)> {
        let credentials = self.settings.trunks.get(trunk)?.credentials.clone()?;
        let pinned = credentials
            .realm
            .as_ref()
            .or_else(|| self.realms.get(&trunk));
        let in_realm = |challenge: &Challenge| pinned.is_none_or(|realm| *realm == challenge.realm);
        let challenge = sip::strongest(challenges(response).filter(in_realm).collect())?;
        let attempts = previous.map_or(0, |answered| answered.attempts);
        if attempts > 0 && !(challenge.stale && attempts < 2) {
            return None;
        }
        let sequence = super::receive::sequence(&request).checked_add(1)?;
        let (via, cnonce) = (self.via(transport), self.token());
        let user = sip::Credentials::new(credentials.username, credentials.password);
        let (method, uri) = (request.method.to_string(), request.uri.to_string());
        let answer = sip::respond(&challenge, &user, &method, &uri, 1, &cnonce);
        for name in [
            HeaderName::Via,
            HeaderName::CSeq,
            challenge.response_header(),
        ] {
            request.headers.remove_first(&name);
        }
        request
            .headers
            .push_front(Header::build(HeaderName::CSeq, format!("{sequence} {method}")).ok()?);
        request
            .headers
            .push_front(Header::build(challenge.response_header(), answer).ok()?);
        request
            .headers
            .push_front(Header::build(HeaderName::Via, via).ok()?);
        Some((
            request,
            AnsweredChallenge {
                realm: challenge.realm,
                attempts: attempts.saturating_add(1),
            },
        ))
    }

    /// Pins the realm of a challenge once the trunk has accepted the answer. From then on the
    /// credentials are used for this realm only.
    pub(super) fn pin_realm(&mut self, id: LegId) {
        if let Some(SipLeg {
            state: LegState::Outgoing(invite),
            ..
        }) = self.legs.get(&id)
            && let Some(answered) = &invite.answered_challenge
        {
            self.realms
                .entry(invite.trunk)
                .or_insert_with(|| answered.realm.clone());
        }
    }
}

/// Returns the supported challenges of a 401 or 407.
fn challenges(response: &Response) -> impl Iterator<Item = Challenge> {
    let (name, from_proxy) = match response.status.code() {
        407 => (HeaderName::ProxyAuthenticate, true),
        _ => (HeaderName::WwwAuthenticate, false),
    };
    let headers = response
        .headers
        .get_all(&name)
        .map(|header| header.value().to_vec());
    let values: Vec<Vec<u8>> = headers.collect();
    values
        .into_iter()
        .filter_map(move |value| Challenge::parse(&value, from_proxy))
}
