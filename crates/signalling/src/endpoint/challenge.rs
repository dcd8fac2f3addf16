//! A trunk's own challenge (RFC 3261, section 22; RFC 7616; RFC 8760), and nobody else's: what a called party asks for
//! is never answered with a trunk's credentials.

use std::time::Instant;

use super::{Endpoint, LegId, LegState, SipLeg};
use crate::sip::{self, Challenge, Header, HeaderName, Request, Response};
use crate::wire::Transport;

/// A challenge that was answered.
#[derive(Debug, Clone)]
pub(super) struct AnsweredChallenge {
    realm: String,
    /// How often: a second time only for a nonce that is stale.
    attempts: u32,
}

impl Endpoint {
    /// Sends an INVITE again with what the trunk asks for; whether it did. Once a party is being alerted it is no more
    /// the trunk that asks.
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

    /// A request once more, with the next sequence number and the answer to the strongest challenge that is for the
    /// trunk's credentials. `previous`: the challenge that it answers already.
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

    /// A trunk that went on with a call after it was answered: its realm is the one that our credentials are for.
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

/// The challenges of a 401 or a 407 that we can answer.
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
