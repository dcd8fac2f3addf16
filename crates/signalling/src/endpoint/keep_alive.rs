//! Whether a trunk is alive: its peer is asked with OPTIONS (RFC 3261, section 11), and any answer but 503 says yes.

use std::time::{Duration, Instant};

use super::{Endpoint, Event, Purpose, TimerKey};
use crate::sip::{Method, TransactionKey};

/// A peer that says nothing for so long is away: over UDP it was asked five times.
const PATIENCE: Duration = Duration::from_secs(8);

impl Endpoint {
    pub(super) fn keep_alive_of(&self, trunk: usize) -> Option<Duration> {
        let trunk = self.settings.trunks.get(trunk)?;
        trunk.keep_alive.filter(|_| trunk.peer.is_some())
    }

    /// It is time to ask, or the time for an answer is over.
    pub(super) fn keep_alive_due(&mut self, trunk: usize, now: Instant) {
        let Some(line) = self.lines.get_mut(trunk) else {
            return;
        };
        if let Some(unanswered) = line.probe.take() {
            if let Some(transaction) = self.transactions.get_mut(&unanswered) {
                transaction.purpose = Purpose::Farewell;
            }
            return self.not_alive(trunk, PATIENCE, now);
        }
        self.timers.set(TimerKey::KeepAlive(trunk), now + PATIENCE);
        let probe = self.ask(trunk, now);
        if let Some(line) = self.lines.get_mut(trunk) {
            line.probe = probe;
        }
    }

    /// A target of the trunk does not answer: the next one is asked at once, and when none does the trunk is away.
    /// `waited`: how long it was asked for.
    fn not_alive(&mut self, trunk: usize, waited: Duration, now: Instant) {
        let Some(interval) = self.keep_alive_of(trunk) else {
            return;
        };
        let asked = self.path_of(trunk);
        if let (Some(asked), Some(line)) = (asked, self.lines.get_mut(trunk)) {
            line.leave(asked.destination);
            if line.others_to_ask() {
                return self.timers.set(TimerKey::KeepAlive(trunk), now);
            }
        }
        self.timers.set(
            TimerKey::KeepAlive(trunk),
            now + interval.saturating_sub(waited),
        );
        self.reachable(trunk, false);
    }

    fn ask(&mut self, trunk: usize, now: Instant) -> Option<TransactionKey> {
        let path = self.path_of(trunk)?;
        let to = format!("<sip:{}>", self.settings.trunks.get(trunk)?.peer.as_ref()?);
        let from = format!(
            "<sip:{}>;tag={}",
            self.local_host(path.transport),
            self.token()
        );
        let call_id = self.token();
        let builder =
            self.request_outside((trunk, ""), &Method::Options, (&from, &to), (&call_id, 1))?;
        let request = self.seal(builder, path.transport)?;
        self.request(request, path, Purpose::KeepAlive(trunk), now)
    }

    /// The peer answered; 408: nothing came, 503: it is overloaded, or the transport failed.
    pub(super) fn keep_alive_answered(&mut self, trunk: usize, status: u16, now: Instant) {
        let Some(interval) = self.keep_alive_of(trunk) else {
            return;
        };
        if status < 200 {
            return;
        }
        let Some(line) = self.lines.get_mut(trunk) else {
            return;
        };
        line.probe = None;
        if matches!(status, 408 | 503) {
            return self.not_alive(trunk, Duration::ZERO, now);
        }
        line.silent = 0;
        self.timers.set(TimerKey::KeepAlive(trunk), now + interval);
        self.reachable(trunk, true);
    }

    /// Tells of a change.
    pub(super) fn reachable(&mut self, trunk: usize, up: bool) {
        let Some(line) = self.lines.get_mut(trunk) else {
            return;
        };
        if line.up != up {
            line.up = up;
            self.events.push_back(Event::Reachable { trunk, up });
        }
    }
}
