//! Facts of one call during the call, within bounds, and their masked form at its end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use call::PhoneNumber;
use signalling::Transport;

use super::mask::{Mask, masked_number};
use crate::calls::call_start::CallStart;
use crate::store::{
    CallSid, CallTrace, SealedTrace, StoreError, TenantId, TraceEntry, TraceFact, TraceLeg,
};

/// Maximum size of the SIP messages of a trace in octets.
pub const MAX_TRACE_BYTES: usize = 64 * 1024;
/// Maximum size of the SIP messages of a call whose source is not proven, in octets.
pub const MAX_UNPROVEN_TRACE_BYTES: usize = 8 * 1024;
/// Maximum number of entries of a trace.
pub const MAX_TRACE_ENTRIES: usize = 500;
/// Maximum number of statistics of open legs in a trace. In a longer call they lie further apart.
pub const MAX_MEDIA_FACTS: usize = 120;
/// Maximum number of legs of a trace.
const MAX_TRACE_LEGS: usize = 64;

/// Leg of a trace: 0 is the caller.
pub(in crate::calls) type TraceLegIndex = u16;

/// Facts of a call.
#[derive(Debug)]
pub(super) struct Recorder {
    started: CallStart,
    /// `Call-ID` of each leg.
    pub(super) dialogs: Vec<Vec<u8>>,
    legs: Vec<RecordedLeg>,
    entries: Vec<RecordedEntry>,
    /// Number of recorded statistics of open legs.
    media_facts: usize,
    /// Distance of the recorded ones among the statistics of a leg.
    media_stride: u32,
    /// Size of the recorded SIP messages.
    bytes: usize,
    /// The caller has acknowledged the answer, or its source cannot be forged.
    proven: bool,
    truncated: bool,
    has_ended: bool,
}

#[derive(Debug)]
struct RecordedLeg {
    trunk: String,
    number: Option<PhoneNumber>,
    /// Number of statistics of the open leg, including those that are not recorded.
    media_facts: u32,
}

#[derive(Debug)]
struct RecordedEntry {
    at: Instant,
    leg: Option<TraceLegIndex>,
    fact: RecordedFact,
}

#[derive(Debug)]
enum RecordedFact {
    Sip(RecordedMessage),
    Other(Box<TraceFact>),
    /// Statistics of an open leg, with their position among those of the leg.
    MediaSoFar(u32, Box<TraceFact>),
    Decision(&'static str, Option<&'static str>, &'static str),
}

/// SIP message as it was sent or received.
#[derive(Debug, Clone)]
pub(super) struct RecordedMessage {
    pub(super) received: bool,
    pub(super) transport: Transport,
    /// Index of the listen address.
    pub(super) local: Option<u8>,
    pub(super) peer: SocketAddr,
    pub(super) text: Bytes,
}

/// Owner of a trace, and the numbers that it must not show.
#[derive(Debug)]
pub(in crate::calls) struct TraceOwner {
    pub(in crate::calls) tenant_id: TenantId,
    pub(in crate::calls) call_sid: CallSid,
    /// Numbers of the call besides those of its legs.
    pub(in crate::calls) numbers: Vec<PhoneNumber>,
    /// The caller is withheld.
    pub(in crate::calls) hides_caller: bool,
}

impl Recorder {
    pub(super) fn new(started: CallStart, trunk: String, proven: bool) -> Self {
        Self {
            started,
            dialogs: Vec::new(),
            legs: vec![RecordedLeg {
                trunk,
                number: None,
                media_facts: 0,
            }],
            entries: Vec::new(),
            media_facts: 0,
            media_stride: 1,
            bytes: 0,
            proven,
            truncated: false,
            has_ended: false,
        }
    }

    /// Returns `true` if the call has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    pub(super) fn prove(&mut self) {
        self.proven = true;
    }

    pub(super) fn set_caller(&mut self, number: Option<PhoneNumber>) {
        if let Some(leg) = self.legs.first_mut() {
            leg.number = number;
        }
    }

    /// Adds a dialled leg. Returns its index; `None` beyond the limit.
    pub(super) fn add_leg(&mut self, trunk: String, number: PhoneNumber) -> Option<TraceLegIndex> {
        if self.legs.len() >= MAX_TRACE_LEGS {
            self.truncated = true;
            return None;
        }
        self.legs.push(RecordedLeg {
            trunk,
            number: Some(number),
            media_facts: 0,
        });
        TraceLegIndex::try_from(self.legs.len().saturating_sub(1)).ok()
    }

    /// Records a message, unless that exceeds the limit.
    pub(super) fn message(&mut self, leg: TraceLegIndex, at: Instant, message: RecordedMessage) {
        let limit = match self.proven {
            true => MAX_TRACE_BYTES,
            false => MAX_UNPROVEN_TRACE_BYTES,
        };
        let bytes = self.bytes.saturating_add(message.text.len());
        if bytes > limit {
            self.truncated = true;
            return;
        }
        self.bytes = bytes;
        self.push(Some(leg), at, RecordedFact::Sip(message));
    }

    pub(super) fn fact(&mut self, leg: Option<TraceLegIndex>, fact: TraceFact) {
        self.push(leg, Instant::now(), RecordedFact::Other(Box::new(fact)));
    }

    /// Records the statistics of an open leg. At the limit every second one is dropped, and from then on the distance is
    /// twice as long.
    pub(super) fn media_so_far(&mut self, leg: TraceLegIndex, fact: TraceFact) {
        let Some(recorded) = self.legs.get_mut(usize::from(leg)) else {
            return;
        };
        let position = recorded.media_facts;
        recorded.media_facts = position.saturating_add(1);
        if self.media_facts >= MAX_MEDIA_FACTS {
            self.thin_out_media();
        }
        if position.is_multiple_of(self.media_stride) {
            self.media_facts = self.media_facts.saturating_add(1);
            let fact = RecordedFact::MediaSoFar(position, Box::new(fact));
            self.push(Some(leg), Instant::now(), fact);
        }
    }

    fn thin_out_media(&mut self) {
        self.media_stride = self.media_stride.saturating_mul(2);
        let stride = self.media_stride;
        let before = self.entries.len();
        self.entries.retain(|entry| match entry.fact {
            RecordedFact::MediaSoFar(position, _) => position.is_multiple_of(stride),
            _ => true,
        });
        let dropped = before.saturating_sub(self.entries.len());
        self.media_facts = self.media_facts.saturating_sub(dropped);
    }

    pub(super) fn decision(
        &mut self,
        leg: Option<TraceLegIndex>,
        action: &'static str,
        reason: Option<&'static str>,
        text: &'static str,
    ) {
        let fact = RecordedFact::Decision(action, reason, text);
        self.push(leg, Instant::now(), fact);
    }

    fn push(&mut self, leg: Option<TraceLegIndex>, at: Instant, fact: RecordedFact) {
        if self.entries.len() >= MAX_TRACE_ENTRIES {
            self.truncated = true;
            return;
        }
        self.entries.push(RecordedEntry { at, leg, fact });
    }

    /// Returns the masked trace. `locals` are the addresses of the listen addresses.
    pub(super) fn masked(self, owner: &TraceOwner, locals: &[SocketAddr]) -> CallTrace {
        let numbers = self.legs.iter().filter_map(|leg| leg.number);
        let numbers = numbers.chain(owner.numbers.iter().copied());
        let mut mask = Mask::new(numbers, owner.hides_caller);
        let started = self.started.instant;
        for entry in &self.entries {
            if let RecordedFact::Sip(message) = &entry.fact {
                mask.learn(&message.text);
            }
        }
        let legs = self.legs.iter().enumerate().map(|(index, leg)| {
            let is_hidden = index == 0 && owner.hides_caller;
            TraceLeg {
                trunk: leg.trunk.clone(),
                number: leg.number.filter(|_| !is_hidden).map(masked_number),
            }
        });
        let entries = self.entries.iter().map(|entry| {
            let at = match entry.at.checked_duration_since(started) {
                Some(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
                None => 0,
            };
            TraceEntry {
                at,
                leg: entry.leg,
                fact: entry.fact.masked(&mask, locals),
            }
        });
        let mut trace = CallTrace {
            truncated: self.truncated,
            legs: legs.collect(),
            entries: entries.collect(),
        };
        // The INVITE arrives before the call begins.
        trace.entries.sort_by_key(|entry| entry.at);
        trace
    }

    /// Returns the encoded masked trace.
    pub(super) fn seal(
        self,
        owner: TraceOwner,
        locals: &[SocketAddr],
    ) -> Result<SealedTrace, StoreError> {
        let trace = self.masked(&owner, locals);
        SealedTrace::new(owner.tenant_id, owner.call_sid, &trace)
    }
}

impl RecordedFact {
    fn masked(&self, mask: &Mask, locals: &[SocketAddr]) -> TraceFact {
        match self {
            Self::Sip(message) => TraceFact::Sip {
                received: message.received,
                transport: transport_word(message.transport).into(),
                local: message.local_address(locals),
                peer: message.peer,
                text: mask.message(&message.text),
            },
            Self::Other(fact) | Self::MediaSoFar(_, fact) => TraceFact::clone(fact),
            Self::Decision(action, reason, text) => TraceFact::Decision {
                action: (*action).into(),
                reason: reason.map(Into::into),
                text: (*text).into(),
            },
        }
    }
}

impl RecordedMessage {
    fn local_address(&self, locals: &[SocketAddr]) -> SocketAddr {
        let index = self.local.map_or(0, usize::from);
        let unbound = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5060);
        locals.get(index).copied().unwrap_or(unbound)
    }
}

fn transport_word(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
    }
}
