//! A trunk's own challenge (RFC 3261, section 22; RFC 7616; RFC 8760), and nobody else's: what a called party asks for
//! is never answered with a trunk's credentials.

use std::time::Instant;

use super::{Endpoint, Leg, LegId, Purpose, Usage};
use crate::sip::{self, Challenge, Header, HeaderName, Method, Request, Response};

/// What a trunk knows us by.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
    /// The only realm that they are for. `None`: the first one that has taken them.
    pub realm: Option<String>,
}

impl std::fmt::Debug for Credentials {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("realm", &self.realm).finish_non_exhaustive()
    }
}

/// A challenge that was answered.
#[derive(Debug)]
pub(super) struct Answered {
    realm: String,
    /// How often: a second time only for a nonce that is stale.
    times: u32,
}

impl Endpoint {
    /// Sends an INVITE again with what the trunk asks for; whether it did. Once a party is being alerted it is no more
    /// the trunk that asks.
    pub(super) fn authenticated(&mut self, id: LegId, response: &Response, now: Instant) -> bool {
        let Some((request, realm)) = self.with_credentials(id, response) else { return false };
        let Some(Leg { usage: Usage::Calling(calling), path, .. }) = self.legs.get_mut(&id) else {
            return false;
        };
        let times = calling.answered.as_ref().map_or(1, |answered| answered.times.saturating_add(1));
        calling.answered = Some(Answered { realm, times });
        calling.request = request.clone();
        calling.proceeding = false;
        let (path, before) = (*path, calling.key.take());
        // What becomes of the first INVITE's transaction is nobody's business any more.
        if let Some(before) = before.and_then(|key| self.transactions.get_mut(&key)) {
            before.purpose = Purpose::Farewell;
        }
        let key = self.request(request, path, Purpose::Invite { leg: id, acknowledged: Vec::new() }, now);
        if let Some(Leg { usage: Usage::Calling(calling), .. }) = self.legs.get_mut(&id) {
            calling.key = key;
        }
        true
    }

    /// The INVITE once more, with the next sequence number and the answer to the strongest challenge that is for our
    /// credentials; also its realm.
    fn with_credentials(&mut self, id: LegId, response: &Response) -> Option<(Request, String)> {
        let Leg { usage: Usage::Calling(calling), path, .. } = self.legs.get(&id)? else { return None };
        if calling.ringing || calling.withdrawn || !calling.early.is_empty() {
            return None;
        }
        let credentials = self.settings.trunks.get(calling.trunk)?.credentials.clone()?;
        let pinned = credentials.realm.as_ref().or_else(|| self.realms.get(&calling.trunk));
        let ours = |challenge: &Challenge| pinned.is_none_or(|realm| *realm == challenge.realm);
        let challenge = sip::strongest(challenges(response).filter(ours).collect())?;
        let allowed = match &calling.answered {
            None => true,
            Some(answered) => challenge.stale && answered.times < 2,
        };
        if !allowed {
            return None;
        }
        let (mut request, transport) = (calling.request.clone(), path.transport);
        let sequence = super::receive::sequence(&request).checked_add(1)?;
        let (via, cnonce) = (self.via(transport), self.token());
        let known = sip::Credentials::new(credentials.username, credentials.password);
        let uri = request.uri.to_string();
        let answer = sip::respond(&challenge, &known, "INVITE", &uri, 1, &cnonce);
        for name in [HeaderName::Via, HeaderName::CSeq, challenge.response_header()] {
            request.headers.remove_first(&name);
        }
        let sequence = format!("{sequence} {}", Method::Invite);
        request.headers.push_front(Header::build(HeaderName::CSeq, sequence).ok()?);
        request.headers.push_front(Header::build(challenge.response_header(), answer).ok()?);
        request.headers.push_front(Header::build(HeaderName::Via, via).ok()?);
        Some((request, challenge.realm))
    }

    /// A trunk that went on with a call after it was answered: its realm is the one that our credentials are for.
    pub(super) fn pin_realm(&mut self, id: LegId) {
        if let Some(Leg { usage: Usage::Calling(calling), .. }) = self.legs.get(&id)
            && let Some(answered) = &calling.answered
        {
            self.realms.entry(calling.trunk).or_insert_with(|| answered.realm.clone());
        }
    }
}

/// The challenges of a 401 or a 407 that we can answer.
fn challenges(response: &Response) -> impl Iterator<Item = Challenge> {
    let (name, from_proxy) = match response.status.code() {
        407 => (HeaderName::ProxyAuthenticate, true),
        _ => (HeaderName::WwwAuthenticate, false),
    };
    let headers = response.headers.get_all(&name).map(|header| header.value().to_vec());
    let values: Vec<Vec<u8>> = headers.collect();
    values.into_iter().filter_map(move |value| Challenge::parse(&value, from_proxy))
}
