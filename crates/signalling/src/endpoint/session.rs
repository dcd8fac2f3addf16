//! Session timers (RFC 4028). They detect a peer that vanished without a BYE.

use std::time::{Duration, Instant};

use super::{Endpoint, Event, LegId, LegState, Purpose, TimerKey};
use crate::sip::{
    Header, HeaderName, Headers, Method, MinSe, Refresher, Request, RequestBuilder, Response,
    ResponseBuilder, SessionExpires,
};

/// Minimum session interval (RFC 4028, section 5).
const MIN_SESSION_INTERVAL: Duration = Duration::from_secs(90);

/// Session interval for a peer that supports session timers but proposes no interval (recommended
/// by RFC 4028, section 4).
const DEFAULT_SESSION_INTERVAL: Duration = Duration::from_secs(1800);

/// Negotiated session interval and refresher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionTimer {
    interval: Duration,
    we_refresh: bool,
}

impl SessionTimer {
    /// Reads the session timer requested by the peer. Returns `Ok(None)` if it requests none, and
    /// `Err` if the interval is below the minimum (rejected with 422).
    ///
    /// The peer refreshes by default. The endpoint refreshes if the peer asks for it and accepts
    /// UPDATE, the only refresh that the endpoint sends. It also refreshes if the peer proposes no
    /// interval but supports both session timers and UPDATE (RFC 4028, section 9).
    pub(super) fn from_request_headers(headers: &Headers) -> Result<Option<Self>, ()> {
        let Some(Ok(requested)) = headers.typed::<SessionExpires>() else {
            let both =
                has_token(headers, &HeaderName::Supported, b"timer") && allows_update(headers);
            return Ok(both.then_some(Self {
                interval: DEFAULT_SESSION_INTERVAL,
                we_refresh: true,
            }));
        };
        if requested.interval < MIN_SESSION_INTERVAL {
            return Err(());
        }
        let we_refresh = requested.refresher == Some(Refresher::Uas);
        if we_refresh && !allows_update(headers) {
            return Ok(None);
        }
        Ok(Some(Self {
            interval: requested.interval,
            we_refresh,
        }))
    }

    /// Returns the delay from a refresh to the next action. The refresher acts after half the
    /// interval. The other side acts 32 s before its end, or after two thirds of an interval below
    /// 96 s.
    fn act_after(self) -> Duration {
        if self.we_refresh {
            return self.interval / 2;
        }
        self.interval
            .saturating_sub(Duration::from_secs(32).min(self.interval / 3))
    }

    /// Adds the negotiated session timer to a 2xx.
    pub(super) fn add_to_response(self, builder: ResponseBuilder) -> Option<ResponseBuilder> {
        let refresher = if self.we_refresh { "uas" } else { "uac" };
        let value = format!("{};refresher={refresher}", self.interval.as_secs());
        let builder = builder.header(HeaderName::SessionExpires, value).ok()?;
        if self.we_refresh {
            Some(builder)
        } else {
            builder.header(HeaderName::Require, "timer").ok()
        }
    }

    /// Adds the negotiated session timer to a re-INVITE. The refresher stays the same.
    pub(super) fn add_to_reinvite(self, builder: RequestBuilder) -> Option<RequestBuilder> {
        let refresher = if self.we_refresh { "uac" } else { "uas" };
        let value = format!("{};refresher={refresher}", self.interval.as_secs());
        builder.header(HeaderName::SessionExpires, value).ok()
    }

    fn add_to_update(self, builder: RequestBuilder) -> Option<RequestBuilder> {
        let value = format!("{};refresher=uac", self.interval.as_secs());
        builder.header(HeaderName::SessionExpires, value).ok()
    }
}

fn allows_update(headers: &Headers) -> bool {
    has_token(headers, &HeaderName::Allow, b"UPDATE")
}

/// Returns `true` if a header lists the token.
fn has_token(headers: &Headers, name: &HeaderName, token: &[u8]) -> bool {
    headers.get_all(name).any(|header: &Header| {
        header
            .value()
            .split(|byte| *byte == b',')
            .any(|listed| listed.trim_ascii() == token)
    })
}

/// Adds the minimum session interval to a 422.
pub(super) fn with_min_se(builder: ResponseBuilder) -> Option<ResponseBuilder> {
    builder
        .header(
            HeaderName::MinSe,
            MIN_SESSION_INTERVAL.as_secs().to_string(),
        )
        .ok()
}

impl Endpoint {
    /// Stores the negotiated session timer and restarts it.
    pub(super) fn restart_session_timer(
        &mut self,
        id: LegId,
        agreed: Option<SessionTimer>,
        now: Instant,
    ) {
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

    pub(super) fn on_session_timer(&mut self, id: LegId, now: Instant) {
        match self.legs.get(&id).and_then(|leg| leg.session) {
            Some(timer) if timer.we_refresh => {
                if self.refresh(id, timer, now).is_none() {
                    self.end_lost_session(id, now);
                }
            }
            _ => self.end_lost_session(id, now),
        }
    }

    fn refresh(&mut self, id: LegId, timer: SessionTimer, now: Instant) -> Option<()> {
        let leg = self.legs.get_mut(&id)?;
        let LegState::Confirmed { dialog, .. } = &mut leg.state else {
            return None;
        };
        let path = super::path_to(&dialog.next_hop(), leg.path);
        let user = leg.user.clone();
        let builder = dialog.request(Method::Update)?;
        let contact = self.contact(&user, path.transport);
        let builder = timer.add_to_update(builder.header(HeaderName::Contact, contact).ok()?)?;
        let request = self.finish_request(
            builder.header(HeaderName::Supported, "timer").ok()?,
            path.transport,
        )?;
        self.request(request, path, Purpose::Refresh(id), now)?;
        Some(())
    }

    pub(super) fn on_refresh_response(&mut self, id: LegId, response: &Response, now: Instant) {
        let status = response.status.code();
        match status {
            ..200 => {}
            200..300 => {
                let agreed = self.legs.get(&id).and_then(|leg| leg.session);
                self.restart_session_timer(id, agreed, now);
            }
            // The peer no longer has the call (RFC 4028, section 10; RFC 5057).
            408 | 481 => self.end_lost_session(id, now),
            _ => {
                let minimum = response.headers.typed::<MinSe>().and_then(Result::ok);
                let interval =
                    minimum.map_or(MIN_SESSION_INTERVAL, |min| min.0.max(MIN_SESSION_INTERVAL));
                let agreed = SessionTimer {
                    interval,
                    we_refresh: true,
                };
                self.restart_session_timer(id, Some(agreed), now);
            }
        }
    }

    /// Ends a call whose session is lost. Emits `HungUp` and sends a BYE in case the peer is still
    /// there.
    pub(super) fn end_lost_session(&mut self, id: LegId, now: Instant) {
        if self.legs.contains_key(&id) {
            self.emit(
                id,
                Event::HungUp {
                    leg: id,
                    orderly: false,
                },
            );
            self.hang_up(id, now);
        }
    }

    /// Reads the session timer requested by the peer. Sends a 422 and returns `None` if the
    /// interval is too short.
    pub(super) fn negotiate_session(
        &mut self,
        key: &crate::sip::TransactionKey,
        request: &Request,
        now: Instant,
    ) -> Option<Option<SessionTimer>> {
        match SessionTimer::from_request_headers(&request.headers) {
            Ok(timer) => Some(timer),
            Err(()) => {
                let rejection = self.response(request, 422).and_then(with_min_se);
                self.respond_or_abandon(key, rejection, now);
                None
            }
        }
    }
}
