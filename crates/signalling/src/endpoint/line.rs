//! The way to a trunk's peer, as it is known now.

use std::time::Instant;

use super::registration::Registration;
use super::{Endpoint, TimerKey};
use crate::sip::{HeaderName, Method, RequestBuilder, TransactionKey};
use crate::trunk::Trunk;
use crate::wire::Path;

/// What is known of a trunk.
#[derive(Debug)]
pub(super) struct Line {
    /// Its peer answers, as far as we know.
    pub(super) up: bool,
    /// The question whether it is alive that waits for an answer.
    pub(super) probe: Option<TransactionKey>,
    pub(super) registration: Option<Registration>,
}

impl Line {
    pub(super) fn new(trunk: &Trunk) -> Self {
        let registration = (trunk.register && trunk.peer.is_some()).then(Registration::default);
        Self { up: true, probe: None, registration }
    }
}

impl Endpoint {
    /// Begins to keep trunks alive and to register with them, where they are configured so.
    pub fn start(&mut self, now: Instant) {
        for trunk in 0..self.lines.len() {
            if self.keep_alive_of(trunk).is_some() {
                self.timers.set(TimerKey::KeepAlive(trunk), now);
            }
            if self.lines.get(trunk).is_some_and(|line| line.registration.is_some()) {
                self.timers.set(TimerKey::Register(trunk), now);
            }
        }
    }

    /// Keeps no trunk alive any more, and takes back what is registered (RFC 3261, section 10.2.2).
    /// [`Endpoint::has_left`] tells when that is done.
    pub fn leave(&mut self, now: Instant) {
        for trunk in 0..self.lines.len() {
            self.timers.clear(&TimerKey::KeepAlive(trunk));
            self.timers.clear(&TimerKey::Register(trunk));
            self.unregister(trunk, now);
        }
    }

    /// Whether a trunk answers, as far as is known.
    pub fn is_up(&self, trunk: usize) -> bool {
        self.lines.get(trunk).is_some_and(|line| line.up)
    }

    /// The way to a trunk's peer; `None` if it takes no calls.
    pub(super) fn path_of(&self, trunk: usize) -> Option<Path> {
        let peer = self.settings.trunks.get(trunk)?.peer.as_ref()?;
        Some(Path { transport: peer.transport, destination: peer.address, connection: Some(peer.address) })
    }

    /// A request to a trunk's peer outside any dialog, as `user`, without `Via`.
    pub(super) fn request_outside(
        &self,
        trunk: usize,
        method: &Method,
        (from, to): (&str, &str),
        (call_id, sequence): (&str, u32),
    ) -> Option<RequestBuilder> {
        let peer = self.settings.trunks.get(trunk)?.peer.as_ref()?;
        let builder = RequestBuilder::new(method.clone(), peer.uri("")?).max_forwards(70);
        let builder = builder.header(HeaderName::From, from.to_owned()).ok()?;
        let builder = builder.header(HeaderName::To, to.to_owned()).ok()?;
        let builder = builder.header(HeaderName::CallId, call_id.to_owned()).ok()?;
        builder.cseq(sequence, method).ok()
    }
}
