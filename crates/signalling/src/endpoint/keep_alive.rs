//! Trunk keep-alive by OPTIONS (RFC 3261, section 11).
//!
//! Any final response except 408 and 503 marks the trunk as reachable.

use std::time::{Duration, Instant};

use super::{Endpoint, Event, Purpose, TimerKey};
use crate::sip::{Method, TransactionKey};

/// Time allowed for a response to a probe. Over UDP the request is sent five times within this
/// time.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(8);

impl Endpoint {
    pub(super) fn keep_alive_interval(&self, trunk: usize) -> Option<Duration> {
        let trunk = self.settings.trunks.get(trunk)?;
        trunk.keep_alive.filter(|_| trunk.peer.is_some())
    }

    /// Sends the next probe, or fails the current one after its timeout.
    pub(super) fn on_keep_alive_timer(&mut self, trunk: usize, now: Instant) {
        let Some(state) = self.trunk_states.get_mut(trunk) else {
            return;
        };
        if let Some(unanswered) = state.probe.take() {
            self.note_unanswered(&unanswered);
            if let Some(transaction) = self.transactions.get_mut(&unanswered) {
                transaction.purpose = Purpose::NoReplyNeeded;
            }
            return self.on_probe_failure(trunk, PROBE_TIMEOUT, now);
        }
        self.timers
            .set(TimerKey::KeepAlive(trunk), now, PROBE_TIMEOUT);
        let probe = self.send_probe(trunk, now);
        if let Some(state) = self.trunk_states.get_mut(trunk) {
            state.probe = probe;
        }
    }

    /// Switches to the next target and probes it at once. When all targets have failed, the trunk
    /// is marked as unreachable. `waited` is the time already spent on the probe.
    fn on_probe_failure(&mut self, trunk: usize, waited: Duration, now: Instant) {
        let Some(interval) = self.keep_alive_interval(trunk) else {
            return;
        };
        let probed = self.trunk_path(trunk);
        if let (Some(probed), Some(state)) = (probed, self.trunk_states.get_mut(trunk)) {
            state.switch_from(probed.destination);
            if state.advance_probe_round() {
                return self
                    .timers
                    .set(TimerKey::KeepAlive(trunk), now, Duration::ZERO);
            }
        }
        self.timers.set(
            TimerKey::KeepAlive(trunk),
            now,
            interval.saturating_sub(waited),
        );
        self.set_reachable(trunk, false, now);
    }

    fn send_probe(&mut self, trunk: usize, now: Instant) -> Option<TransactionKey> {
        let path = self.trunk_path(trunk)?;
        let to = format!("<sip:{}>", self.settings.trunks.get(trunk)?.peer.as_ref()?);
        let from = format!("<sip:{}>;tag={}", self.local_host(path), self.token());
        let call_id = self.token();
        let builder =
            self.request_outside((trunk, ""), &Method::Options, (&from, &to), (&call_id, 1))?;
        let request = self.finish_request(builder, path)?;
        self.request(request, path, Purpose::KeepAlive(trunk), now)
    }

    /// Handles the response to a probe. 408: no response; 503: overload or transport failure.
    pub(super) fn on_keep_alive_response(&mut self, trunk: usize, status: u16, now: Instant) {
        let Some(interval) = self.keep_alive_interval(trunk) else {
            return;
        };
        if status < 200 {
            return;
        }
        let Some(state) = self.trunk_states.get_mut(trunk) else {
            return;
        };
        state.probe = None;
        if matches!(status, 408 | 503) {
            return self.on_probe_failure(trunk, Duration::ZERO, now);
        }
        state.failed_targets = 0;
        self.timers.set(TimerKey::KeepAlive(trunk), now, interval);
        self.set_reachable(trunk, true, now);
        self.register_at_current_target(trunk, now);
    }

    /// Stores the reachability of a trunk and emits an event if it changed. A trunk that is reachable again may have
    /// lost its registrations, so the endpoint registers anew.
    pub(super) fn set_reachable(&mut self, trunk: usize, up: bool, now: Instant) {
        let Some(state) = self.trunk_states.get_mut(trunk) else {
            return;
        };
        if state.up != up {
            state.up = up;
            self.events.push_back(Event::Reachable { trunk, up });
            if up {
                self.register_again(trunk, Duration::ZERO, now);
            }
        }
    }
}
