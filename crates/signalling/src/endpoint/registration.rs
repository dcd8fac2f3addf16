//! Registration with trunks (RFC 3261, section 10): registers, renews before expiry, and
//! unregisters at shutdown.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::challenge::AnsweredChallenge;
use super::service_route::service_route;
use super::{Endpoint, Event, Purpose, TimerKey};
use crate::address_list::{self, ListedAddress};
use crate::sip::{Address, HeaderName, Method, Request, Response, TransactionKey, Uri};
use crate::timer::fraction;
use crate::wire::Transport;

/// Registration expiry requested by default.
pub const DEFAULT_EXPIRY: Duration = Duration::from_secs(3600);
/// Maximum expiry that a registrar can demand or grant.
pub const MAX_EXPIRY: Duration = Duration::from_secs(24 * 3600);
/// Minimum expiry. If a registrar grants less, renewals are still at least half of this time apart.
pub const MIN_EXPIRY: Duration = Duration::from_secs(10);
/// Delay after the first failure. It doubles with each further failure.
pub const INITIAL_RETRY_DELAY: Duration = Duration::from_secs(5);
/// Maximum delay between attempts. A longer `Retry-After` is respected up to [`DEFAULT_EXPIRY`].
pub const MAX_RETRY_DELAY: Duration = Duration::from_secs(300);

/// Age from which a flow counts as stable. If flows end earlier, the endpoint registers again with growing delays.
const STABLE_FLOW: Duration = Duration::from_secs(120);

/// Transport and remote address of a registration (RFC 5626, section 2).
type Flow = (Transport, SocketAddr);

/// Registration with one trunk.
#[derive(Debug, Default)]
pub(super) struct Registration {
    /// Shared by all requests to a registrar, with increasing sequence numbers (RFC 3261, section
    /// 10.2).
    call_id: String,
    sequence: u32,
    /// Expiry demanded by the registrar with a 423.
    requested_expiry: Option<Duration>,
    /// `None` until the first final result.
    active: Option<bool>,
    failures: u32,
    /// Flow of the last accepted REGISTER, and the time of its acceptance.
    flow: Option<(Flow, Instant)>,
    /// Route of calls through the registrar (RFC 3608).
    pub(super) service_route: Vec<String>,
    /// Number of successive flows that ended before they were stable.
    short_flows: u32,
    /// The endpoint is unregistering: the requested expiry is zero.
    unregistering: bool,
    attempt: Option<RegisterAttempt>,
}

/// REGISTER that awaits its response.
#[derive(Debug)]
struct RegisterAttempt {
    key: TransactionKey,
    flow: Flow,
    request: Request,
    answered_challenge: Option<AnsweredChallenge>,
    lengthened: bool,
}

impl Endpoint {
    /// Returns `true` if no registration is active or in progress.
    pub fn is_unregistered(&self) -> bool {
        let registrations = self
            .trunk_states
            .iter()
            .filter_map(|state| state.registration.as_ref());
        registrations
            .into_iter()
            .all(|registration| registration.attempt.is_none() && registration.active != Some(true))
    }

    /// Sends the first registration or a renewal.
    pub(super) fn register(&mut self, trunk: usize, now: Instant) {
        if self.send_register(trunk, false, now).is_none() {
            self.on_register_failure(trunk, 503, None, now);
        }
    }

    /// Removes the registration, regardless of requests in progress.
    pub(super) fn unregister(&mut self, trunk: usize, now: Instant) {
        let Some(registration) = self.registration(trunk) else {
            return;
        };
        registration.unregistering = true;
        let attempt = registration.attempt.take();
        let active = registration.active == Some(true) || attempt.is_some();
        if let Some(previous) = attempt.and_then(|attempt| self.transactions.get_mut(&attempt.key))
        {
            previous.purpose = Purpose::NoReplyNeeded;
        }
        if active && self.send_register(trunk, false, now).is_none() {
            self.set_registered(trunk, false, 503);
        }
    }

    fn registration(&mut self, trunk: usize) -> Option<&mut Registration> {
        self.trunk_states.get_mut(trunk)?.registration.as_mut()
    }

    fn send_register(&mut self, trunk: usize, lengthened: bool, now: Instant) -> Option<()> {
        let request = self.register_request(trunk)?;
        self.send_attempt(trunk, request, None, lengthened, now)
    }

    fn send_attempt(
        &mut self,
        trunk: usize,
        request: Request,
        answered_challenge: Option<AnsweredChallenge>,
        lengthened: bool,
        now: Instant,
    ) -> Option<()> {
        let path = self.trunk_path(trunk)?;
        let sequence = super::receive::sequence(&request);
        let key = self.request(request.clone(), path, Purpose::Register(trunk), now)?;
        let registration = self.registration(trunk)?;
        registration.sequence = sequence;
        registration.attempt = Some(RegisterAttempt {
            key,
            flow: (path.transport, path.destination),
            request,
            answered_challenge,
            lengthened,
        });
        Some(())
    }

    fn register_request(&mut self, trunk: usize) -> Option<Request> {
        let (tag, fresh) = (self.token(), self.token());
        let registration = self.registration(trunk)?;
        if registration.call_id.is_empty() {
            registration.call_id = fresh;
        }
        let sequence = registration.sequence.checked_add(1)?;
        let call_id = registration.call_id.clone();
        let expires = match registration.unregistering {
            true => Duration::ZERO,
            false => registration.requested_expiry.unwrap_or(DEFAULT_EXPIRY),
        };
        let (contact, path) = (self.registered_contact(trunk)?, self.trunk_path(trunk)?);
        let settings = self.settings.trunks.get(trunk)?;
        let user = escape_user(&settings.credentials.as_ref()?.username);
        let identity = format!("<sip:{user}@{}>", settings.peer.as_ref()?);
        let from = format!("{identity};tag={tag}");
        let builder = self.request_outside(
            (trunk, ""),
            &Method::Register,
            (&from, &identity),
            (&call_id, sequence),
        )?;
        let builder = builder.header(HeaderName::Contact, contact).ok()?;
        let builder = builder
            .header(HeaderName::Expires, expires.as_secs().to_string())
            .ok()?;
        let builder = builder.header(HeaderName::Allow, super::ALLOW).ok()?;
        self.finish_request(builder, path)
    }

    /// Returns the contact registered with the trunk. The trunk sends its calls there.
    fn registered_contact(&self, trunk: usize) -> Option<String> {
        let user = escape_user(
            &self
                .settings
                .trunks
                .get(trunk)?
                .credentials
                .as_ref()?
                .username,
        );
        let contact = super::LocalContact::plain(&user);
        Some(self.contact(&contact, self.trunk_path(trunk)?))
    }

    pub(super) fn on_register_response(&mut self, trunk: usize, response: &Response, now: Instant) {
        match response.status.code() {
            ..200 => {}
            200..300 => self.on_register_success(trunk, response, now),
            401 | 407
                if self
                    .retry_register_with_credentials(trunk, response, now)
                    .is_some() => {}
            423 if self
                .retry_register_with_min_expires(trunk, response, now)
                .is_some() => {}
            status => self.on_register_failure(
                trunk,
                status,
                seconds(response, &HeaderName::RetryAfter),
                now,
            ),
        }
    }

    fn on_register_success(&mut self, trunk: usize, response: &Response, now: Instant) {
        let contact = self.registered_contact(trunk);
        let Some(registration) = self.registration(trunk) else {
            return;
        };
        let attempt = registration.attempt.take();
        registration.flow = attempt.map(|attempt| (attempt.flow, now));
        registration.failures = 0;
        registration.service_route = service_route(response);
        if registration.unregistering {
            return self.set_registered(trunk, false, response.status.code());
        }
        let requested = registration.requested_expiry.unwrap_or(DEFAULT_EXPIRY);
        let granted =
            granted_expiry(response, contact.as_deref().unwrap_or_default()).unwrap_or(requested);
        // Enough time for an attempt that gets no response, and a second one.
        let margin = self.timing.timeout().saturating_mul(2);
        let after = granted
            .min(MAX_EXPIRY)
            .saturating_sub(margin.min(fraction(granted, 2)))
            .max(fraction(MIN_EXPIRY, 2));
        self.timers.set(TimerKey::Register(trunk), now, after);
        self.set_registered(trunk, true, response.status.code());
    }

    /// Resends a REGISTER with credentials in response to a challenge.
    fn retry_register_with_credentials(
        &mut self,
        trunk: usize,
        response: &Response,
        now: Instant,
    ) -> Option<()> {
        let path = self.trunk_path(trunk)?;
        let attempt = self.registration(trunk)?.attempt.as_ref()?;
        let (request, previous, lengthened) = (
            attempt.request.clone(),
            attempt.answered_challenge.clone(),
            attempt.lengthened,
        );
        let sequence = super::receive::sequence(&request);
        let (request, answered_challenge) =
            self.answer_challenge(path, (request, sequence), previous, response)?;
        self.send_attempt(trunk, request, Some(answered_challenge), lengthened, now)
    }

    /// Resends a REGISTER with the minimum expiry named by a 423 (RFC 3261, section 10.2.8).
    fn retry_register_with_min_expires(
        &mut self,
        trunk: usize,
        response: &Response,
        now: Instant,
    ) -> Option<()> {
        let minimum = seconds(response, &HeaderName::MinExpires)?;
        let registration = self.registration(trunk)?;
        if registration.unregistering
            || registration.attempt.as_ref()?.lengthened
            || minimum > MAX_EXPIRY
            || minimum <= registration.requested_expiry.unwrap_or(DEFAULT_EXPIRY)
        {
            return None;
        }
        registration.requested_expiry = Some(minimum);
        self.send_register(trunk, true, now)
    }

    /// Handles a failed registration and schedules the next attempt. `status` is the registrar's
    /// status, 408 for no response, or 503 for a transport failure.
    pub(super) fn on_register_failure(
        &mut self,
        trunk: usize,
        status: u16,
        retry_after: Option<Duration>,
        now: Instant,
    ) {
        let random = (self.entropy)();
        // The next attempt uses the next target of the trunk.
        if matches!(status, 408 | 503)
            && let Some(path) = self.trunk_path(trunk)
            && let Some(state) = self.trunk_states.get_mut(trunk)
        {
            state.switch_from(path.destination);
        }
        let Some(registration) = self.registration(trunk) else {
            return;
        };
        registration.attempt = None;
        if !registration.unregistering {
            let delay = retry_delay(registration.failures, random);
            registration.failures = registration.failures.saturating_add(1);
            let delay = delay.max(retry_after.unwrap_or_default().min(DEFAULT_EXPIRY));
            self.timers.set(TimerKey::Register(trunk), now, delay);
        }
        self.set_registered(trunk, false, status);
    }

    /// Registers again after `delay`, unless an attempt is in progress: the registrar, or the way to it, may have lost the
    /// registration.
    pub(super) fn register_again(&mut self, trunk: usize, delay: Duration, now: Instant) {
        if let Some(registration) = self.registration(trunk)
            && !registration.unregistering
            && registration.attempt.is_none()
            && registration.active.is_some()
        {
            self.timers.set(TimerKey::Register(trunk), now, delay);
        }
    }

    /// Returns the address at which the endpoint is registered.
    fn registered_at(&mut self, trunk: usize) -> Option<SocketAddr> {
        let ((_, address), _) = self.registration(trunk)?.flow?;
        Some(address)
    }

    /// Registers at the target in use if the one of the registration has failed.
    pub(super) fn register_at_current_target(&mut self, trunk: usize, now: Instant) {
        if let Some(registered) = self.registered_at(trunk)
            && self.has_failed(trunk, registered)
        {
            self.register_again(trunk, Duration::ZERO, now);
        }
    }

    /// Registers again if the address of the registration is no longer a target of the trunk.
    pub(super) fn register_at_listed_target(&mut self, trunk: usize, now: Instant) {
        if let Some(registered) = self.registered_at(trunk)
            && !self.is_target(trunk, registered)
        {
            self.register_again(trunk, Duration::ZERO, now);
        }
    }

    /// Registers again after the end of the flow of the registration (RFC 5626, section 4.5).
    pub(super) fn on_flow_closed(&mut self, trunk: usize, closed: Flow, now: Instant) {
        let random = (self.entropy)();
        let Some(registration) = self.registration(trunk) else {
            return;
        };
        let Some((_, since)) = registration.flow.take_if(|(flow, _)| *flow == closed) else {
            return;
        };
        if now.saturating_duration_since(since) >= STABLE_FLOW {
            registration.short_flows = 0;
        }
        let delay = retry_delay(registration.short_flows, random);
        registration.short_flows = registration.short_flows.saturating_add(1);
        self.register_again(trunk, delay, now);
    }

    /// Stores the state of a registration and emits an event if it changed.
    fn set_registered(&mut self, trunk: usize, registered: bool, status: u16) {
        let Some(registration) = self.registration(trunk) else {
            return;
        };
        if registration.active.replace(registered) != Some(registered) {
            self.events.push_back(Event::Registered {
                trunk,
                registered,
                status,
            });
        }
    }
}

/// Returns the delay after a number of failures: a random time between half and full length, so that clients do not all
/// return to a recovered registrar at once.
fn retry_delay(failures: u32, random: u64) -> Duration {
    let delay = INITIAL_RETRY_DELAY
        .saturating_mul(1_u32 << failures.min(10))
        .min(MAX_RETRY_DELAY);
    let spread = fraction(delay, 2).mul_f64((random % 1000) as f64 / 1000.0);
    fraction(delay, 2).saturating_add(spread)
}

/// Escapes a username for use in a URI (RFC 3261, section 25.1).
pub(super) fn escape_user(username: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte);
    username
        .bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// Returns the expiry granted by a 200 (RFC 3261, section 10.2.4): the value for the endpoint's own
/// contact, otherwise the value for all contacts.
fn granted_expiry(response: &Response, own: &str) -> Option<Duration> {
    let own = Address::parse(own.as_bytes(), "Contact").ok()?;
    let same = |uri: &Uri| {
        uri.user() == own.uri.user() && uri.port() == own.uri.port() && {
            uri.host()
                .zip(own.uri.host())
                .is_some_and(|(host, own_host)| host.equivalent(own_host))
        }
    };
    let contact = HeaderName::Contact;
    let contacts: Vec<ListedAddress> = response
        .headers
        .get_all(&contact)
        .flat_map(|list| address_list::read(&list.value()))
        .flatten()
        .collect();
    let granted = |contact: &ListedAddress| leading_seconds(contact.parameters("expires").next()?);
    match contacts.iter().find(|contact| same(&contact.uri)) {
        Some(contact) => granted(contact),
        // The registrar has changed our contact: a NAT, or another user. The shortest grant is safe.
        None => {
            let grants = contacts.iter().filter_map(granted);
            grants.filter(|expires| !expires.is_zero()).min()
        }
    }
    .or_else(|| seconds(response, &HeaderName::Expires))
}

/// Returns the number of seconds at the beginning of a header.
fn seconds(response: &Response, name: &HeaderName) -> Option<Duration> {
    leading_seconds(&response.headers.value(name)?)
}

fn leading_seconds(text: &[u8]) -> Option<Duration> {
    let text = text.trim_ascii();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..digits)?)
        .ok()?
        .parse()
        .ok()
        .map(|seconds: u32| Duration::from_secs(seconds.into()))
}
