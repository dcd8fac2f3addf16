//! An INVITE of ours that is made once more: with what the trunk asks for, or to another target of it.

use std::time::Instant;

use super::{Endpoint, Leg, LegId, Purpose, Usage};
use crate::sip::{Header, HeaderName, Method, Request};

impl Endpoint {
    /// An INVITE under way is made once more in another form; what becomes of the transaction before is nobody's
    /// business any more.
    pub(super) fn invite_again(&mut self, id: LegId, request: Request, now: Instant) {
        let Some(Leg {
            usage: Usage::Calling(calling),
            path,
            ..
        }) = self.legs.get_mut(&id)
        else {
            return;
        };
        calling.request = request.clone();
        calling.proceeding = false;
        let (path, before) = (*path, calling.key.take());
        if let Some(before) = before.and_then(|key| self.transactions.get_mut(&key)) {
            before.purpose = Purpose::Farewell;
        }
        let key = self.request(
            request,
            path,
            Purpose::Invite {
                leg: id,
                acknowledged: Vec::new(),
            },
            now,
        );
        if let Some(Leg {
            usage: Usage::Calling(calling),
            ..
        }) = self.legs.get_mut(&id)
        {
            calling.key = key;
        }
    }

    /// The next target of a trunk that has several is called, where one was away before anybody was alerted (RFC 3263,
    /// section 4.3): as a new request, since the same one by another way would be taken for a loop.
    pub(super) fn invite_elsewhere(&mut self, id: LegId, now: Instant) -> Option<()> {
        let Leg {
            usage: Usage::Calling(calling),
            path,
            ..
        } = self.legs.get_mut(&id)?
        else {
            return None;
        };
        if calling.ringing || calling.withdrawn || !calling.early.is_empty() {
            return None;
        }
        calling.tried.push(path.destination);
        let (mut request, tried, failed) = (calling.request.clone(), calling.tried.clone(), *path);
        let next = self.path_beside(failed, &tried)?;
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
        if let Usage::Calling(calling) = &mut leg.usage {
            calling.answered = None;
        }
        self.invite_again(id, request, now);
        Some(())
    }
}
