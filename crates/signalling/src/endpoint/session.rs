//! Session timers (RFC 4028): a call whose peer vanished without a word is found out.

use std::time::{Duration, Instant};

use super::{Endpoint, Event, LegId, Purpose, TimerKey, Usage};
use crate::sip::{
    Header, HeaderName, Headers, Method, MinSe, Refresher, Request, RequestBuilder, Response,
    ResponseBuilder, SessionExpires,
};

/// The shortest interval allowed: RFC 4028, section 5.
const SHORTEST: Duration = Duration::from_secs(90);

/// What we ask for where the peer only says that it knows session timers (RFC 4028, section 4 recommends it).
const USUAL: Duration = Duration::from_secs(1800);

/// What was agreed about refreshing a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timer {
    interval: Duration,
    we_refresh: bool,
}

impl Timer {
    /// What the peer's request asks for; `Ok(None)` if nothing, `Err` if it is too short (answered with 422).
    ///
    /// The peer refreshes unless it leaves that to us by name and takes UPDATE, the one request that we refresh
    /// with. Where it asks for nothing and would take both, we do (section 9).
    pub(super) fn asked_by(headers: &Headers) -> Result<Option<Self>, ()> {
        let Some(Ok(asked)) = headers.typed::<SessionExpires>() else {
            let both = lists(headers, &HeaderName::Supported, b"timer") && allows_update(headers);
            return Ok(both.then_some(Self {
                interval: USUAL,
                we_refresh: true,
            }));
        };
        if asked.interval < SHORTEST {
            return Err(());
        }
        let we_refresh = asked.refresher == Some(Refresher::Uas);
        if we_refresh && !allows_update(headers) {
            return Ok(None);
        }
        Ok(Some(Self {
            interval: asked.interval,
            we_refresh,
        }))
    }

    /// When to act after a refresh: the refresher at half the interval, the other side shortly before its end.
    fn act_after(self) -> Duration {
        if self.we_refresh {
            return self.interval / 2;
        }
        self.interval
            .saturating_sub(Duration::from_secs(32).min(self.interval / 3))
    }

    /// Writes the agreement into a 2xx of ours.
    pub(super) fn write(self, builder: ResponseBuilder) -> Option<ResponseBuilder> {
        let refresher = if self.we_refresh { "uas" } else { "uac" };
        let value = format!("{};refresher={refresher}", self.interval.as_secs());
        let builder = builder.header(HeaderName::SessionExpires, value).ok()?;
        if self.we_refresh {
            Some(builder)
        } else {
            builder.header(HeaderName::Require, "timer").ok()
        }
    }

    /// Writes what was agreed into a re-INVITE of ours: whoever refreshes goes on to.
    pub(super) fn write_reinvite(self, builder: RequestBuilder) -> Option<RequestBuilder> {
        let refresher = if self.we_refresh { "uac" } else { "uas" };
        let value = format!("{};refresher={refresher}", self.interval.as_secs());
        builder.header(HeaderName::SessionExpires, value).ok()
    }

    fn write_request(self, builder: RequestBuilder) -> Option<RequestBuilder> {
        let value = format!("{};refresher=uac", self.interval.as_secs());
        builder.header(HeaderName::SessionExpires, value).ok()
    }
}

fn allows_update(headers: &Headers) -> bool {
    lists(headers, &HeaderName::Allow, b"UPDATE")
}

/// Whether a token is in the list of a header.
fn lists(headers: &Headers, name: &HeaderName, token: &[u8]) -> bool {
    headers.get_all(name).any(|header: &Header| {
        header
            .value()
            .split(|byte| *byte == b',')
            .any(|listed| listed.trim_ascii() == token)
    })
}

/// A 422 names the shortest interval that we take.
pub(super) fn too_brief(builder: ResponseBuilder) -> Option<ResponseBuilder> {
    builder
        .header(HeaderName::MinSe, SHORTEST.as_secs().to_string())
        .ok()
}

impl Endpoint {
    /// Starts the time of a session again, by what was agreed last.
    pub(super) fn session_refreshed(&mut self, id: LegId, agreed: Option<Timer>, now: Instant) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        leg.session = agreed;
        match agreed {
            Some(timer) => self
                .timers
                .set(TimerKey::Session(id), now + timer.act_after()),
            None => self.timers.clear(&TimerKey::Session(id)),
        }
    }

    pub(super) fn session_due(&mut self, id: LegId, now: Instant) {
        match self.legs.get(&id).and_then(|leg| leg.session) {
            Some(timer) if timer.we_refresh => {
                if self.refresh(id, timer, now).is_none() {
                    self.session_lost(id, now);
                }
            }
            _ => self.session_lost(id, now),
        }
    }

    fn refresh(&mut self, id: LegId, timer: Timer, now: Instant) -> Option<()> {
        let leg = self.legs.get_mut(&id)?;
        let Usage::Established { dialog, .. } = &mut leg.usage else {
            return None;
        };
        let path = super::path_to(&dialog.next_hop(), leg.path);
        let user = leg.user.clone();
        let builder = dialog.request(Method::Update)?;
        let contact = self.contact(&user, path.transport);
        let builder = timer.write_request(builder.header(HeaderName::Contact, contact).ok()?)?;
        let request = self.seal(
            builder.header(HeaderName::Supported, "timer").ok()?,
            path.transport,
        )?;
        self.request(request, path, Purpose::Refresh(id), now)?;
        Some(())
    }

    pub(super) fn refresh_responded(&mut self, id: LegId, response: &Response, now: Instant) {
        let status = response.status.code();
        match status {
            ..200 => {}
            200..300 => {
                let agreed = self.legs.get(&id).and_then(|leg| leg.session);
                self.session_refreshed(id, agreed, now);
            }
            // The peer has forgotten the call (RFC 4028, section 10; RFC 5057).
            408 | 481 => self.session_lost(id, now),
            _ => {
                let shorter = response.headers.typed::<MinSe>().and_then(Result::ok);
                let interval = shorter.map_or(SHORTEST, |min| min.0.max(SHORTEST));
                let agreed = Timer {
                    interval,
                    we_refresh: true,
                };
                self.session_refreshed(id, Some(agreed), now);
            }
        }
    }

    /// The peer is gone: a BYE in case it is not, and the engine is told.
    pub(super) fn session_lost(&mut self, id: LegId, now: Instant) {
        if self.legs.contains_key(&id) {
            self.tell(
                id,
                Event::HungUp {
                    leg: id,
                    orderly: false,
                },
            );
            self.hang_up(id, now);
        }
    }

    /// What a request of the peer asks about its session, or the 422 that refuses it.
    pub(super) fn session_asked(
        &mut self,
        key: &crate::sip::TransactionKey,
        request: &Request,
        now: Instant,
    ) -> Option<Option<Timer>> {
        match Timer::asked_by(&request.headers) {
            Ok(timer) => Some(timer),
            Err(()) => {
                let refusal = self.response(request, 422).and_then(too_brief);
                self.respond_or_abandon(key, refusal, now);
                None
            }
        }
    }
}
