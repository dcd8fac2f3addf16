//! INVITEs that the endpoint rejects itself, for the log of its user.

use std::net::IpAddr;

use super::receive::StatelessRefusal;
use super::{Endpoint, Purpose};
use crate::identity;
use crate::sip::{HeaderName, Method, Request, TransactionKey};
use crate::trunk::CalledFrom;
use crate::wire::Path;

/// Maximum number of refused INVITEs that wait for [`Endpoint::poll_refused`].
const MAX_WAITING_REFUSALS: usize = 64;

/// INVITE outside of a call that the endpoint has rejected, or left without a response.
#[derive(Clone, PartialEq, Eq)]
pub struct RefusedInvite {
    /// Address of the sender.
    pub source: IpAddr,
    /// Index of the trunk; `None` for an unknown source.
    pub trunk: Option<usize>,
    /// SIP status of the response.
    pub status: u16,
    /// Reason.
    pub reason: &'static str,
    /// Called number as the Request-URI names it. Empty if it names none.
    pub called: String,
}

impl std::fmt::Debug for RefusedInvite {
    /// Omits the called number.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefusedInvite")
            .field("source", &self.source)
            .field("trunk", &self.trunk)
            .field("status", &self.status)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Returns the next refused INVITE.
    pub fn poll_refused(&mut self) -> Option<RefusedInvite> {
        self.refused.pop_front()
    }

    fn note_refused(&mut self, refused: RefusedInvite) {
        if self.refused.len() < MAX_WAITING_REFUSALS {
            self.refused.push_back(refused);
        }
    }

    /// Notes the stateless refusal of a request, if it is an INVITE. A challenge is a refusal only if the request tried to
    /// answer one.
    pub(super) fn note_stateless_refusal(
        &mut self,
        request: &Request,
        source: Path,
        refusal: &StatelessRefusal,
    ) {
        let is_authorized = request.headers.get(&HeaderName::Authorization).is_some();
        let is_challenge = !refusal.challenges.is_empty();
        if request.method != Method::Invite || is_challenge && !is_authorized {
            return;
        }
        let reason = match refusal.status {
            401 => "password not accepted",
            403 => "unknown source",
            _ => "invalid request",
        };
        let address = source.destination.ip();
        self.note_refused(RefusedInvite {
            source: address,
            trunk: self.trunk_for_source(address, source.transport),
            status: refusal.status,
            reason,
            called: called(request),
        });
    }

    /// Notes an INVITE that cannot be read.
    pub(super) fn note_unreadable(&mut self, is_invite: bool, source: Path) {
        let address = source.connection.unwrap_or(source.destination).ip();
        if is_invite {
            self.note_refused(RefusedInvite {
                source: address,
                trunk: self.trunk_for_source(address, source.transport),
                status: 400,
                reason: "unreadable message",
                called: String::new(),
            });
        }
    }

    /// Notes that an INVITE of a trunk gets an error instead of a leg.
    pub(super) fn note_refused_invite(
        &mut self,
        key: &TransactionKey,
        request: &Request,
        status: u16,
    ) {
        let Some(transaction) = self.transactions.get(key) else {
            return;
        };
        if !matches!(transaction.purpose, Purpose::PeerRequest(None)) {
            return;
        }
        let path = transaction.path;
        let reason = match status {
            400 => "invalid request",
            403 => "unknown source",
            415 => "body is not a session description",
            420 => "unsupported extension",
            422 => "session interval too short",
            482 => "loop",
            483 => "too many hops",
            488 => "no acceptable media format",
            _ => "not acceptable",
        };
        self.note_refused(RefusedInvite {
            source: path.connection.unwrap_or(path.destination).ip(),
            trunk: path.trunk,
            status,
            reason,
            called: called(request),
        });
    }
}

fn called(request: &Request) -> String {
    identity::called(request, CalledFrom::RequestUri).text
}
