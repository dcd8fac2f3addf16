//! A trunk's own challenge (RFC 3261, section 22; RFC 7616; RFC 8760), and nobody else's: what a called party asks for
//! is never answered with a trunk's credentials.

use std::time::Instant;

use super::{Endpoint, Leg, LegId, Usage};
use crate::sip::{self, Challenge, Header, HeaderName, Request, Response};
use crate::wire::Transport;

/// A challenge that was answered.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    realm: String,
    /// How often: a second time only for a nonce that is stale.
    times: u32,
}

impl Endpoint {
    /// Sends an INVITE again with what the trunk asks for; whether it did. Once a party is being alerted it is no more
    /// the trunk that asks.
    pub(super) fn authenticated(&mut self, id: LegId, response: &Response, now: Instant) -> bool {
        let Some(Leg {
            usage: Usage::Calling(calling),
            path,
            ..
        }) = self.legs.get(&id)
        else {
            return false;
        };
        if calling.ringing || calling.withdrawn || !calling.early.is_empty() {
            return false;
        }
        let (trunk, transport, request) = (calling.trunk, path.transport, calling.request.clone());
        let before = calling.answered.clone();
        let Some((request, answered)) =
            self.with_credentials(trunk, transport, request, before, response)
        else {
            return false;
        };
        if let Some(Leg {
            usage: Usage::Calling(calling),
            ..
        }) = self.legs.get_mut(&id)
        {
            calling.answered = Some(answered);
        }
        self.invite_again(id, request, now);
        true
    }

    /// A request once more, with the next sequence number and the answer to the strongest challenge that is for the
    /// trunk's credentials. `before`: the challenge that it answers already.
    pub(super) fn with_credentials(
        &mut self,
        trunk: usize,
        transport: Transport,
        mut request: Request,
        before: Option<Answered>,
        response: &Response,
    ) -> Option<(Request, Answered)> {
        let credentials = self.settings.trunks.get(trunk)?.credentials.clone()?;
        let pinned = credentials
            .realm
            .as_ref()
            .or_else(|| self.realms.get(&trunk));
        let ours = |challenge: &Challenge| pinned.is_none_or(|realm| *realm == challenge.realm);
        let challenge = sip::strongest(challenges(response).filter(ours).collect())?;
        let times = before.map_or(0, |answered| answered.times);
        if times > 0 && !(challenge.stale && times < 2) {
            return None;
        }
        let sequence = super::receive::sequence(&request).checked_add(1)?;
        let (via, cnonce) = (self.via(transport), self.token());
        let known = sip::Credentials::new(credentials.username, credentials.password);
        let (method, uri) = (request.method.to_string(), request.uri.to_string());
        let answer = sip::respond(&challenge, &known, &method, &uri, 1, &cnonce);
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
            Answered {
                realm: challenge.realm,
                times: times.saturating_add(1),
            },
        ))
    }

    /// A trunk that went on with a call after it was answered: its realm is the one that our credentials are for.
    pub(super) fn pin_realm(&mut self, id: LegId) {
        if let Some(Leg {
            usage: Usage::Calling(calling),
            ..
        }) = self.legs.get(&id)
            && let Some(answered) = &calling.answered
        {
            self.realms
                .entry(calling.trunk)
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
