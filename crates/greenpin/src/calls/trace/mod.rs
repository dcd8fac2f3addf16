//! Traces of calls: each SIP message of both legs, keys without their digits, decisions, media facts.
//!
//! During a call, the tracer keeps the messages as they are, within bounds. Shortly after the end of the call, when the
//! last responses have arrived, a task outside of the call loop masks, compresses and writes the trace. A node that fails
//! during a call leaves no trace of it.

mod digits;
mod mask;
mod mask_sdp;
mod recorder;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use call::PhoneNumber;
use signalling::{SipMessage, Transmit, Transport};
use tokio::sync::oneshot;

pub(super) use self::mask::{masked_number, masked_user};
pub use self::recorder::{
    MAX_MEDIA_FACTS, MAX_TRACE_BYTES, MAX_TRACE_ENTRIES, MAX_UNPROVEN_TRACE_BYTES,
};
use self::recorder::{RecordedMessage, Recorder};
pub(super) use self::recorder::{TraceLegIndex, TraceOwner};
pub use self::writer::MAX_QUEUED_TRACES;
pub(super) use self::writer::TraceWriter;
use super::call_start::CallStart;
use super::leg_owner::CallId;
use crate::store::TraceFact;

/// Time after the end of a call in which its trace still records messages, such as the response to the last BYE.
const LINGER: Duration = Duration::from_secs(1);
/// Ended calls are collected for this time, so that their traces are written together.
const BATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum number of characters of a `Call-ID` that identify a dialog, as in [`signalling::Endpoint::call_id`].
const MAX_CALL_ID_BYTES: usize = 255;
/// Maximum number of messages kept for an INVITE that is not a call yet.
const MAX_ARRIVING_MESSAGES: usize = 3;

/// Recorders of the calls in progress.
pub(super) struct CallTracer {
    calls: HashMap<CallId, Recorder>,
    /// Leg of each `Call-ID`.
    dialogs: HashMap<Vec<u8>, TracedDialog>,
    /// The last INVITE that belongs to no call yet, and its first responses. One is enough: its call begins before the
    /// next message is read.
    arriving: Option<ArrivingCall>,
    /// Ended calls whose traces still record messages, oldest first.
    ended: VecDeque<(Instant, CallId, TraceOwner)>,
    writer: TraceWriter,
}

#[derive(Debug, Clone, Copy)]
struct TracedDialog {
    call: CallId,
    leg: TraceLegIndex,
    /// Address of the first message. Messages of other hosts are not recorded.
    peer: Option<IpAddr>,
}

struct ArrivingCall {
    call_id: Vec<u8>,
    messages: Vec<(Instant, RecordedMessage)>,
}

/// Arrival of a message.
pub(super) struct MessageArrival {
    pub(super) transport: Transport,
    pub(super) source: SocketAddr,
    pub(super) local: Option<u8>,
}

impl CallTracer {
    pub(super) fn new(writer: TraceWriter) -> Self {
        Self {
            calls: HashMap::new(),
            dialogs: HashMap::new(),
            arriving: None,
            ended: VecDeque::new(),
            writer,
        }
    }

    /// Records a received message of a call. An INVITE outside of a call is kept until its call begins.
    pub(super) fn on_received(&mut self, arrival: MessageArrival, message: &SipMessage) {
        let is_invite = message.is_invite();
        if self.dialogs.is_empty() && !is_invite {
            return;
        }
        let Some(text) = message.text() else { return };
        let message = RecordedMessage {
            received: true,
            transport: arrival.transport,
            local: arrival.local,
            peer: arrival.source,
            text,
        };
        if !self.record(&message) && is_invite && message.text.len() <= MAX_UNPROVEN_TRACE_BYTES {
            let call_id = call_id(&message.text).map(<[u8]>::to_vec);
            self.arriving = call_id.map(|call_id| ArrivingCall {
                call_id,
                messages: vec![(Instant::now(), message)],
            });
        }
    }

    /// Records a sent message of a call.
    pub(super) fn on_sent(&mut self, transmit: &Transmit) {
        if self.dialogs.is_empty() && self.arriving.is_none() {
            return;
        }
        let path = &transmit.path;
        let message = RecordedMessage {
            received: false,
            transport: path.transport,
            local: path.local,
            peer: path
                .connection
                .filter(|_| path.transport.is_stream())
                .unwrap_or(path.destination),
            text: transmit.bytes.clone(),
        };
        if self.record(&message) {
            return;
        }
        if let Some(arriving) = &mut self.arriving
            && arriving.messages.len() < MAX_ARRIVING_MESSAGES
            && call_id(&message.text) == Some(&arriving.call_id)
        {
            arriving.messages.push((Instant::now(), message));
        }
    }

    /// Returns `true` if the message belongs to a call.
    fn record(&mut self, message: &RecordedMessage) -> bool {
        let Some(dialog) = call_id(&message.text).and_then(|id| self.dialogs.get_mut(id)) else {
            return false;
        };
        let host = message.peer.ip();
        match dialog.peer {
            Some(peer) if peer != host && message.received => return true,
            Some(_) => {}
            None => dialog.peer = Some(host),
        }
        if let Some(recorder) = self.calls.get_mut(&dialog.call) {
            recorder.message(dialog.leg, Instant::now(), message.clone());
        }
        true
    }

    /// Begins the trace of a call with the messages of its INVITE.
    pub(super) fn begin(
        &mut self,
        call: CallId,
        call_id: Option<&str>,
        started: CallStart,
        trunk: String,
        proven: bool,
    ) {
        let mut recorder = Recorder::new(started, trunk, proven);
        let arriving = self.arriving.take();
        if let Some(call_id) = call_id {
            let arriving = arriving.filter(|arriving| arriving.call_id == call_id.as_bytes());
            let messages = arriving
                .map(|arriving| arriving.messages)
                .unwrap_or_default();
            let peer = messages.first().map(|(_, message)| message.peer.ip());
            for (at, message) in messages {
                recorder.message(0, at, message);
            }
            self.add_dialog(call_id, TracedDialog { call, leg: 0, peer });
            recorder.dialogs.push(call_id.as_bytes().to_vec());
        }
        self.calls.insert(call, recorder);
    }

    /// Adds a dialog, unless a call in progress has the same `Call-ID`.
    fn add_dialog(&mut self, call_id: &str, dialog: TracedDialog) {
        let other = self.dialogs.get(call_id.as_bytes());
        let other = other.and_then(|other| self.calls.get(&other.call));
        if other.is_none_or(Recorder::has_ended) {
            self.dialogs.insert(call_id.as_bytes().to_vec(), dialog);
        }
    }

    /// Adds a dialled leg.
    pub(super) fn add_leg(
        &mut self,
        call: CallId,
        call_id: Option<&str>,
        trunk: &str,
        number: PhoneNumber,
    ) -> Option<TraceLegIndex> {
        let recorder = self.calls.get_mut(&call)?;
        let leg = recorder.add_leg(trunk.to_owned(), number)?;
        recorder.fact(
            Some(leg),
            TraceFact::Dial {
                trunk: Some(trunk.to_owned()),
                number: masked_number(number),
            },
        );
        if let Some(call_id) = call_id {
            let dialog = TracedDialog {
                call,
                leg,
                peer: None,
            };
            recorder.dialogs.push(call_id.as_bytes().to_vec());
            self.add_dialog(call_id, dialog);
        }
        Some(leg)
    }

    /// Sets the number of the caller.
    pub(super) fn set_caller(&mut self, call: CallId, number: Option<PhoneNumber>) {
        if let Some(recorder) = self.calls.get_mut(&call) {
            recorder.set_caller(number);
        }
    }

    /// Notes that the source of a call is proven.
    pub(super) fn prove(&mut self, call: CallId) {
        if let Some(recorder) = self.calls.get_mut(&call) {
            recorder.prove();
        }
    }

    /// Records a fact.
    pub(super) fn fact(&mut self, call: CallId, leg: Option<TraceLegIndex>, fact: TraceFact) {
        if let Some(recorder) = self.calls.get_mut(&call) {
            recorder.fact(leg, fact);
        }
    }

    /// Records the statistics of an open leg.
    pub(super) fn media_so_far(&mut self, call: CallId, leg: TraceLegIndex, fact: TraceFact) {
        if let Some(recorder) = self.calls.get_mut(&call) {
            recorder.media_so_far(leg, fact);
        }
    }

    /// Records a decision or an input of the call machine.
    pub(super) fn decision(
        &mut self,
        call: CallId,
        leg: Option<TraceLegIndex>,
        (action, reason, text): (&'static str, Option<&'static str>, &'static str),
    ) {
        if let Some(recorder) = self.calls.get_mut(&call) {
            recorder.decision(leg, action, reason, text);
        }
    }

    /// Drops the trace of a call that gets none.
    pub(super) fn discard(&mut self, call: CallId) {
        self.remove(call);
    }

    fn remove(&mut self, call: CallId) -> Option<Recorder> {
        let recorder = self.calls.remove(&call)?;
        for call_id in &recorder.dialogs {
            // A later call may have taken over the `Call-ID`.
            if self
                .dialogs
                .get(call_id)
                .is_some_and(|dialog| dialog.call == call)
            {
                self.dialogs.remove(call_id);
            }
        }
        Some(recorder)
    }

    /// Ends the trace of a call. It is written after [`LINGER`].
    pub(super) fn end(&mut self, call: CallId, owner: TraceOwner) {
        if let Some(recorder) = self.calls.get_mut(&call) {
            recorder.end();
            self.ended.push_back((Instant::now(), call, owner));
        }
    }

    /// Returns the time at which the next trace is written.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (ended, ..) = self.ended.front()?;
        ended.checked_add(LINGER)
    }

    /// Writes the traces of the calls that ended long enough ago.
    pub(super) fn write_due(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let linger = LINGER.saturating_sub(BATCH_INTERVAL);
        self.write_ended(|ended| now.saturating_duration_since(ended) >= linger);
    }

    /// Writes the traces of all ended calls, and replies when they are written.
    pub(super) fn flush(&mut self, reply: oneshot::Sender<()>) {
        self.write_ended(|_| true);
        self.writer.flush(reply);
    }

    fn write_ended(&mut self, is_due: impl Fn(Instant) -> bool) {
        while self.ended.front().is_some_and(|(ended, ..)| is_due(*ended)) {
            let Some((_, call, owner)) = self.ended.pop_front() else {
                break;
            };
            if let Some(recorder) = self.remove(call) {
                self.writer.write(recorder, owner);
            }
        }
    }
}

/// Returns the `Call-ID` of a message, at most [`MAX_CALL_ID_BYTES`] of it.
fn call_id(message: &Bytes) -> Option<&[u8]> {
    let mut rest = &message[..];
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = rest.get(..end)?;
        rest = rest.get(end.saturating_add(1)..)?;
        let value = match line.first()? {
            b'C' | b'c' if line.len() > 8 => {
                let (name, value) = line.split_at(7);
                name.eq_ignore_ascii_case(b"Call-ID").then_some(value)
            }
            b'i' | b'I' => line.get(1..),
            b'\r' => return None,
            _ => None,
        };
        let value = value.map(<[u8]>::trim_ascii_start);
        if let Some(value) = value.and_then(|value| value.strip_prefix(b":")) {
            let value = value.trim_ascii();
            return Some(value.get(..MAX_CALL_ID_BYTES).unwrap_or(value));
        }
    }
}
