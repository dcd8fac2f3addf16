//! Session timers (RFC 4028). They detect a peer that vanished without a BYE.

use std::time::{Duration, Instant};

use super::{EndReason, Endpoint, Event, LegId, LegState, Purpose, TimerKey};
use crate::sip::{
    Header, HeaderName, Headers, Method, MinSe, Refresher, Request, RequestBuilder, Response,
    ResponseBuilder, SessionExpires,
};
use crate::timer::fraction;

/// Minimum session interval (RFC 4028, section 5).
pub const MIN_SESSION_INTERVAL: Duration = Duration::from_secs(90);

/// Session interval for a peer that supports session timers but proposes no interval (recommended
/// by RFC 4028, section 4).
pub const DEFAULT_SESSION_INTERVAL: Duration = Duration::from_secs(1800);

/// Maximum session interval. An endpoint may shorten the interval that the peer proposes (RFC 4028,
/// section 9); a peer that insists on more gets no session timer.
pub const MAX_SESSION_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// Delay before a refresh is sent again that could not be sent or was refused for another reason
/// than its interval.
const REFRESH_RETRY_DELAY: Duration = Duration::from_secs(10);

/// Negotiated session interval and refresher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionTimer {
    /// At most [`MAX_SESSION_INTERVAL`].
    interval: Duration,
    we_refresh: bool,
    /// Minimum of the peer, sent with each refresh after a 422 named it (RFC 4028, section 7.4).
    min_interval: Option<Duration>,
}

/// Next step after the response to a refresh.
#[derive(Debug, PartialEq, Eq)]
enum AfterRefresh {
    /// The session continues with these values, or without a timer.
    Continue(Option<SessionTimer>),
    /// The interval was too short for the peer: refresh at once with this one.
    RefreshWith(SessionTimer),
    /// The refresh was refused for another reason: send it again later.
    Retry,
    /// The peer no longer has the call.
    Lost,
}

impl SessionTimer {
    /// Reads the session timer requested by the peer (RFC 4028, section 9). Returns `Ok(None)` if
    /// the session gets no timer, and `Err` if the interval is below the minimum (rejected with
    /// 422).
    ///
    /// A peer that supports session timers refreshes by default. The endpoint refreshes if such a
    /// peer asks for it, or proposes no interval, or if a proxy added the interval for a peer that
    /// does not support session timers; each time only if the peer accepts UPDATE, the only refresh
    /// that the endpoint sends.
    pub(super) fn from_request_headers(headers: &Headers) -> Result<Option<Self>, ()> {
        let supports_timer = has_token(headers, &HeaderName::Supported, b"timer");
        let Some(Ok(requested)) = headers.typed::<SessionExpires>() else {
            let interval = DEFAULT_SESSION_INTERVAL.max(min_interval(headers).unwrap_or_default());
            let agreed =
                supports_timer && allows_update(headers) && interval <= MAX_SESSION_INTERVAL;
            return Ok(agreed.then_some(Self::new(interval, true)));
        };
        // A proxy that adds an interval names no refresher (RFC 4028, section 8.1).
        let supports_timer = supports_timer || requested.refresher.is_some();
        if requested.interval < MIN_SESSION_INTERVAL {
            // Only a peer that supports session timers understands a 422.
            return if supports_timer { Err(()) } else { Ok(None) };
        }
        if min_interval(headers).is_some_and(|minimum| minimum > MAX_SESSION_INTERVAL) {
            return Ok(None);
        }
        let we_refresh = !supports_timer || requested.refresher == Some(Refresher::Uas);
        if we_refresh && !allows_update(headers) {
            return Ok(None);
        }
        Ok(Some(Self::new(requested.interval, we_refresh)))
    }

    fn new(interval: Duration, we_refresh: bool) -> Self {
        Self {
            interval: interval.min(MAX_SESSION_INTERVAL),
            we_refresh,
            min_interval: None,
        }
    }

    /// Returns the delay from a refresh to the next action. The refresher acts after half the
    /// interval. The other side acts 32 s before its end, or after two thirds of an interval below
    /// 96 s (RFC 4028, section 10).
    fn act_after(self) -> Duration {
        if self.we_refresh {
            return fraction(self.interval, 2);
        }
        self.interval
            .saturating_sub(Duration::from_secs(32).min(fraction(self.interval, 3)))
    }

    /// Decides about the response to a refresh (RFC 4028, sections 7.2 to 7.4).
    fn after_response(self, status: u16, headers: &Headers) -> AfterRefresh {
        match status {
            ..300 => AfterRefresh::Continue(Some(self.accepted(headers))),
            // RFC 4028, section 10; RFC 5057.
            408 | 481 => AfterRefresh::Lost,
            422 => match min_interval(headers) {
                Some(minimum) if minimum > MAX_SESSION_INTERVAL => AfterRefresh::Continue(None),
                Some(minimum) if minimum > self.interval => AfterRefresh::RefreshWith(Self {
                    interval: minimum,
                    min_interval: Some(minimum),
                    ..self
                }),
                _ => AfterRefresh::Retry,
            },
            _ => AfterRefresh::Retry,
        }
    }

    /// Returns the timer that a 2xx to a refresh names. The peer may shorten the interval and take
    /// the refreshing over.
    fn accepted(self, headers: &Headers) -> Self {
        let Some(Ok(named)) = headers.typed::<SessionExpires>() else {
            return self;
        };
        Self {
            interval: named
                .interval
                .clamp(MIN_SESSION_INTERVAL, MAX_SESSION_INTERVAL),
            we_refresh: named.refresher != Some(Refresher::Uas),
            ..self
        }
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
        let builder = builder.header(HeaderName::SessionExpires, value).ok()?;
        match self.min_interval {
            Some(minimum) => {
                let value = minimum.as_secs().to_string();
                builder.header(HeaderName::MinSe, value).ok()
            }
            None => Some(builder),
        }
    }
}

fn min_interval(headers: &Headers) -> Option<Duration> {
    let minimum = headers.typed::<MinSe>()?.ok()?;
    Some(minimum.0.max(MIN_SESSION_INTERVAL))
}

fn allows_update(headers: &Headers) -> bool {
    has_token(headers, &HeaderName::Allow, b"UPDATE")
}

/// Returns `true` if a header lists the token. Option tags are compared without case (RFC 3261,
/// section 7.3.1).
fn has_token(headers: &Headers, name: &HeaderName, token: &[u8]) -> bool {
    headers.get_all(name).any(|header: &Header| {
        header
            .value()
            .split(|byte| *byte == b',')
            .any(|listed| listed.trim_ascii().eq_ignore_ascii_case(token))
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
                .set(TimerKey::Session(id), now, timer.act_after()),
            None => self.timers.clear(&TimerKey::Session(id)),
        }
    }

    pub(super) fn on_session_timer(&mut self, id: LegId, now: Instant) {
        match self.legs.get(&id).and_then(|leg| leg.session) {
            Some(timer) if timer.we_refresh => {
                if self.refresh(id, timer, now).is_none() {
                    // The dialog is busy with another request.
                    self.retry_refresh(id, now);
                }
            }
            _ => self.end_lost_leg(id, now),
        }
    }

    fn retry_refresh(&mut self, id: LegId, now: Instant) {
        if self.legs.contains_key(&id) {
            self.timers
                .set(TimerKey::Session(id), now, REFRESH_RETRY_DELAY);
        }
    }

    fn refresh(&mut self, id: LegId, timer: SessionTimer, now: Instant) -> Option<()> {
        let leg = self.legs.get_mut(&id)?;
        let LegState::Confirmed { dialog, .. } = &mut leg.state else {
            return None;
        };
        let path = super::path_to(&dialog.next_hop(), leg.path);
        let contact = leg.contact.clone();
        let builder = dialog.request(Method::Update)?;
        let contact = self.contact(&contact, path);
        let builder = timer.add_to_update(builder.header(HeaderName::Contact, contact).ok()?)?;
        let request =
            self.finish_request(builder.header(HeaderName::Supported, "timer").ok()?, path)?;
        self.request(request, path, Purpose::Refresh(id, None), now)?;
        Some(())
    }

    pub(super) fn on_refresh_response(&mut self, id: LegId, response: &Response, now: Instant) {
        let status = response.status.code();
        let agreed = self.legs.get(&id).and_then(|leg| leg.session);
        let Some(agreed) = agreed.filter(|_| status >= 200) else {
            return;
        };
        match agreed.after_response(status, &response.headers) {
            AfterRefresh::Continue(timer) => self.restart_session_timer(id, timer, now),
            AfterRefresh::RefreshWith(timer) => {
                self.restart_session_timer(id, Some(timer), now);
                if self.refresh(id, timer, now).is_none() {
                    self.retry_refresh(id, now);
                }
            }
            AfterRefresh::Retry => self.retry_refresh(id, now),
            AfterRefresh::Lost => self.end_lost_leg(id, now),
        }
    }

    /// Ends a leg that cannot continue. Emits `HungUp` and sends a BYE in case the peer is still
    /// there.
    pub fn end_lost_leg(&mut self, id: LegId, now: Instant) {
        if self.legs.contains_key(&id) {
            self.emit(
                id,
                Event::HungUp {
                    leg: id,
                    orderly: false,
                },
            );
            self.hang_up_for(id, EndReason::Lost, now);
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in lines {
            let name = HeaderName::parse(&Bytes::copy_from_slice(name.as_bytes()));
            headers.push(Header::build(name, (*value).to_owned()).unwrap());
        }
        headers
    }

    fn requested(value: &str, others: &[(&str, &str)]) -> Result<Option<SessionTimer>, ()> {
        let mut lines = vec![("Session-Expires", value), ("Allow", "INVITE, UPDATE")];
        lines.extend(others);
        SessionTimer::from_request_headers(&headers(&lines))
    }

    const SUPPORTED: (&str, &str) = ("Supported", "100rel, Timer");

    #[test]
    fn each_interval_of_a_peer_is_refused_or_bounded() {
        for value in ["0", "1", "89"] {
            assert_eq!(requested(value, &[SUPPORTED]), Err(()));
            assert_eq!(requested(value, &[]), Ok(None));
        }
        let bounded = [
            "86400",
            "86401",
            "2147483648",
            "4294967295",
            "4294967296",
            "9223372036854775807",
            "18446744073709551615",
        ];
        for value in bounded {
            let timer = requested(value, &[SUPPORTED]).unwrap().unwrap();
            assert_eq!(timer.interval, MAX_SESSION_INTERVAL);
            assert!(timer.act_after() < MAX_SESSION_INTERVAL);
            assert_eq!(
                requested("1800", &[("Min-SE", value), SUPPORTED])
                    .unwrap()
                    .is_none(),
                value != "86400"
            );
        }
        for value in ["-1", "99999999999999999999", "", "1.5", "x"] {
            let timer = requested(value, &[SUPPORTED]).unwrap().unwrap();
            assert_eq!(timer, SessionTimer::new(DEFAULT_SESSION_INTERVAL, true));
        }
    }

    #[test]
    fn the_refresher_follows_the_table_of_rfc_4028() {
        let refreshes = |value, others: &[_]| {
            requested(value, others)
                .unwrap()
                .map(|timer| timer.we_refresh)
        };
        assert_eq!(refreshes("1800", &[SUPPORTED]), Some(false));
        assert_eq!(refreshes("1800;refresher=uac", &[SUPPORTED]), Some(false));
        assert_eq!(refreshes("1800;refresher=uas", &[SUPPORTED]), Some(true));
        // A proxy added the interval; the peer itself does not refresh.
        assert_eq!(refreshes("1800", &[]), Some(true));
        let without_update = headers(&[("Session-Expires", "1800;refresher=uas"), SUPPORTED]);
        assert_eq!(
            SessionTimer::from_request_headers(&without_update),
            Ok(None)
        );
    }

    #[test]
    fn a_refresh_adopts_what_the_peer_answers() {
        let timer = SessionTimer::new(Duration::from_secs(1800), true);
        let after = |status, lines: &[_]| timer.after_response(status, &headers(lines));
        let longer = SessionTimer {
            interval: Duration::from_secs(3600),
            min_interval: Some(Duration::from_secs(3600)),
            ..timer
        };
        assert_eq!(after(200, &[]), AfterRefresh::Continue(Some(timer)));
        let shorter = after(200, &[("Session-Expires", "600;refresher=uas")]);
        assert_eq!(
            shorter,
            AfterRefresh::Continue(Some(SessionTimer::new(Duration::from_secs(600), false)))
        );
        assert_eq!(
            after(422, &[("Min-SE", "3600")]),
            AfterRefresh::RefreshWith(longer)
        );
        for value in ["86401", "4294967296", "18446744073709551615"] {
            assert_eq!(
                after(422, &[("Min-SE", value)]),
                AfterRefresh::Continue(None)
            );
            let AfterRefresh::Continue(Some(timer)) = after(200, &[("Session-Expires", value)])
            else {
                panic!("the session ended")
            };
            assert_eq!(timer.interval, MAX_SESSION_INTERVAL);
        }
        for value in ["0", "90", "-1", "99999999999999999999"] {
            assert_eq!(after(422, &[("Min-SE", value)]), AfterRefresh::Retry);
        }
        assert_eq!(after(491, &[]), AfterRefresh::Retry);
        assert_eq!(after(481, &[]), AfterRefresh::Lost);
    }
}
