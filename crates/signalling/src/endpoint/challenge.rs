//! Answers to digest challenges of a trunk (RFC 3261, section 22; RFC 7616; RFC 8760).
//!
//! Challenges of a called party are never answered with the credentials of a trunk.

use std::net::IpAddr;
use std::time::Instant;

use super::{Endpoint, LegId, LegState, Purpose, SipLeg, TimerKey};
use crate::dialog::Dialog;
use crate::sip::{
    self, Challenge, Header, HeaderName, Request, RequestBuilder, Response, TransactionKey,
};
use crate::trunk::Credentials;
use crate::wire::Path;

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
        if invite.progress.is_some() || invite.withdrawn {
            return false;
        }
        let (path, request) = (*path, invite.request.clone());
        let previous = invite.answered_challenge.clone();
        let sequence = super::receive::sequence(&request);
        let Some((request, answered)) =
            self.answer_challenge(path, (request, sequence), previous, response)
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

    /// Sends a BYE, a session refresh or a re-INVITE again with credentials in response to a challenge.
    ///
    /// The challenge must come from an address of the trunk and name the realm that took the credentials before. So it
    /// yields nothing that an INVITE does not.
    pub(super) fn retry_in_dialog(
        &mut self,
        key: &TransactionKey,
        response: &Response,
        now: Instant,
    ) -> Option<()> {
        let transaction = self.transactions.get(key)?;
        let previous = match &transaction.purpose {
            Purpose::Bye(answered) | Purpose::Refresh(_, answered) => answered.clone(),
            Purpose::Reinvite(sent) => sent.answered_challenge.clone(),
            _ => return None,
        };
        let (path, leg) = (transaction.path, transaction.purpose.leg());
        let trunk = path.trunk?;
        self.accepted_realm(trunk)?;
        if !self.is_address_of(trunk, path.destination.ip()) {
            return None;
        }
        let request = self.layer.client_request(key)?.clone();
        let sent = super::receive::sequence(&request);
        let dialog = leg.map(|leg| self.confirmed_dialog(leg));
        let sequence = match dialog {
            Some(dialog) => dialog?.local_sequence().max(sent),
            None => sent,
        };
        let (request, answered) =
            self.answer_challenge(path, (request, sequence), previous, response)?;
        if let Some(dialog) = leg.and_then(|leg| self.confirmed_dialog(leg)) {
            dialog.note_sequence(super::receive::sequence(&request));
        }
        self.send_again_in_dialog(key, request, answered, now)
    }

    fn send_again_in_dialog(
        &mut self,
        key: &TransactionKey,
        request: Request,
        answered: AnsweredChallenge,
        now: Instant,
    ) -> Option<()> {
        let transaction = self.transactions.get(key)?;
        let path = transaction.path;
        let purpose = match &transaction.purpose {
            Purpose::Bye(_) => Purpose::Bye(Some(answered)),
            Purpose::Refresh(leg, _) => Purpose::Refresh(*leg, Some(answered)),
            Purpose::Reinvite(sent) => {
                let sent = (sent.leg, sent.dialog.clone(), path);
                self.timers.clear(&TimerKey::ReinviteTimeout(key.clone()));
                return self.reinvite_with_credentials(sent, request, answered, now);
            }
            _ => return None,
        };
        self.request(request, path, purpose, now)?;
        Some(())
    }

    fn confirmed_dialog(&mut self, leg: LegId) -> Option<&mut Dialog> {
        match &mut self.legs.get_mut(&leg)?.state {
            LegState::Confirmed { dialog, .. } => Some(dialog),
            _ => None,
        }
    }

    /// Returns the realm for the credentials of a trunk, if it is known.
    fn accepted_realm(&self, trunk: usize) -> Option<&String> {
        let credentials = self.settings.trunks.get(trunk)?.credentials.as_ref()?;
        let realm = credentials.realm.as_ref();
        realm.or_else(|| self.realms.get(&trunk))
    }

    /// Returns `true` if an address belongs to a trunk: one of its targets, or in its networks.
    fn is_address_of(&self, trunk: usize, address: IpAddr) -> bool {
        let networks = self.networks(trunk);
        let listed = networks.iter().any(|network| network.contains(address));
        listed || self.has_target_at(trunk, address)
    }

    /// Adds the credentials of an INVITE to its ACK (RFC 3261, section 13.2.2.4), if the ACK goes to the trunk. A peer
    /// elsewhere has no use for them.
    pub(super) fn with_credentials_of(
        &self,
        invite: &Request,
        mut ack: RequestBuilder,
        path: Path,
    ) -> Option<RequestBuilder> {
        let address = path.destination.ip();
        let is_trunk = path
            .trunk
            .is_some_and(|trunk| self.is_address_of(trunk, address));
        for name in [HeaderName::Authorization, HeaderName::ProxyAuthorization] {
            for header in invite.headers.get_all(&name).filter(|_| is_trunk) {
                ack = ack.header(name.clone(), header.value().into_owned()).ok()?;
            }
        }
        Some(ack)
    }

    /// Returns a copy of a request with a sequence number after `sequence` and an answer to the
    /// strongest challenge for the credentials of the path's trunk. `previous` is the challenge that the request
    /// already answers.
    pub(super) fn answer_challenge(
        &mut self,
        path: Path,
        (mut request, sequence): (Request, u32),
        previous: Option<AnsweredChallenge>,
        response: &Response,
    ) -> Option<(Request, AnsweredChallenge)> {
        let trunk = path.trunk?;
        let credentials = self.settings.trunks.get(trunk)?.credentials.clone()?;
        let pinned = self.accepted_realm(trunk);
        let in_realm = |challenge: &Challenge| pinned.is_none_or(|realm| *realm == challenge.realm);
        let challenge = sip::strongest(challenges(response).filter(in_realm).collect())?;
        let attempts = previous.map_or(0, |answered| answered.attempts);
        if attempts > 0 && !(challenge.stale && attempts < 2) {
            return None;
        }
        let sequence = sequence.checked_add(1)?;
        let (via, cnonce) = (self.via(path), self.token());
        authorize(
            &mut request,
            &challenge,
            credentials,
            (sequence, &via, &cnonce),
        )?;
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

/// Answers a challenge in a request, which gets a new sequence number and a new `Via`.
pub(super) fn authorize(
    request: &mut Request,
    challenge: &Challenge,
    credentials: Credentials,
    (sequence, via, cnonce): (u32, &str, &str),
) -> Option<()> {
    let user = sip::Credentials::new(credentials.username, credentials.password);
    let (method, uri) = (request.method.to_string(), request.uri.to_string());
    let answer = sip::respond(challenge, &user, &method, &uri, 1, cnonce);
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
        .push_front(Header::build(HeaderName::Via, via.to_owned()).ok()?);
    Some(())
}

/// Returns the supported challenges of a 401 or 407.
pub(super) fn challenges(response: &Response) -> impl Iterator<Item = Challenge> {
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
