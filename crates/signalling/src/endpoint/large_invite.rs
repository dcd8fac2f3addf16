//! INVITEs that are too large for UDP (RFC 3261, section 18.1.1). They go over TCP, and over UDP if the peer has no TCP.

use std::time::{Duration, Instant};

use super::{Endpoint, LegId, LegState, Purpose, SipLeg, TimerKey};
use crate::sip::{Header, HeaderName, Message, Request, TransactionKey};
use crate::wire::{Path, Transport};

/// Maximum size of an INVITE over UDP. A larger one may exceed the MTU of the path.
const MAX_UDP_REQUEST_BYTES: usize = 1300;
/// Time for which a peer without TCP is not asked again.
const WITHOUT_TCP: Duration = Duration::from_secs(3600);

impl Endpoint {
    /// Sends the INVITE of a leg.
    pub(super) fn send_invite(&mut self, id: LegId, request: Request, now: Instant) {
        let Some(path) = self.legs.get(&id).map(|leg| leg.path) else {
            return;
        };
        let (request, path) = match self.over_tcp(&request, path, now) {
            Some(over_tcp) => over_tcp,
            None => (request, path),
        };
        let purpose = Purpose::Invite {
            leg: id,
            acknowledged: Vec::new(),
        };
        let key = self.request(request.clone(), path, purpose, now);
        if let Some(SipLeg {
            state: LegState::Outgoing(invite),
            ..
        }) = self.legs.get_mut(&id)
        {
            invite.request = request;
            invite.key = key;
            let trunk = self.settings.trunks.get(invite.trunk);
            if let Some(timeout) = trunk.and_then(|trunk| trunk.response_timeout) {
                self.timers.set(TimerKey::FirstResponse(id), now, timeout);
            }
        }
    }

    /// Returns a large request and its path over TCP. `None` if it goes over UDP.
    fn over_tcp(&mut self, request: &Request, path: Path, now: Instant) -> Option<(Request, Path)> {
        let state = self.trunk_states.get(path.trunk?)?;
        let is_asked = state
            .without_tcp
            .is_none_or(|since| now.saturating_duration_since(since) >= WITHOUT_TCP);
        if path.transport != Transport::Udp || !is_asked {
            return None;
        }
        let request = request.clone();
        if Message::Request(request.clone()).to_bytes().len() <= MAX_UDP_REQUEST_BYTES {
            return None;
        }
        let path = Path {
            transport: Transport::Tcp,
            connection: None,
            ..path
        };
        let request = self.with_new_via(request, path)?;
        Some((request, path))
    }

    fn with_new_via(&mut self, mut request: Request, path: Path) -> Option<Request> {
        let via = self.via(path);
        request.headers.remove_all(&HeaderName::Via);
        request
            .headers
            .push_front(Header::build(HeaderName::Via, via).ok()?);
        Some(request)
    }

    /// Sends an INVITE over UDP whose connection failed. Returns `None` if it was not sent over TCP for its size, or has
    /// been abandoned.
    pub(super) fn fall_back_to_udp(&mut self, key: &TransactionKey, now: Instant) -> Option<()> {
        let transaction = self.transactions.get(key)?;
        let Purpose::Invite { leg: id, .. } = transaction.purpose else {
            return None;
        };
        let leg = self.legs.get(&id)?;
        let LegState::Outgoing(invite) = &leg.state else {
            return None;
        };
        let is_large = leg.path.transport == Transport::Udp
            && transaction.path.transport == Transport::Tcp
            && !invite.withdrawn;
        let request = is_large.then(|| invite.request.clone())?;
        let path = leg.path;
        self.trunk_states.get_mut(path.trunk?)?.without_tcp = Some(now);
        let request = self.with_new_via(request, path)?;
        self.send_invite(id, request, now);
        Some(())
    }
}
