//! One masked call on real legs: performs what the call machine wants done, and tells it what came of it.

mod actions;
mod ending;
mod media_path;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use call::{Call, Cause, DialAttempt, Input, Keypress, PhoneNumber, Side, Verdict};
use media::{Digit, DigitFilter, DigitSource};
use signalling::sdp::RemoteMedia;
use signalling::{IncomingCall, LegId};

use self::actions::open_stream;
use self::ending::Ending;
use super::call_loop::{CallId, Party, Role};
use super::context::Plant;
use super::direct_media::Direct;
use super::media::{LegMedia, MediaReport, RecordingError};
use super::record_writer::Ledger;
use super::{CallState, LiveCall};
use crate::calls::trunks::selection::another_may_succeed;
use crate::metrics::METRICS;
use crate::store::{CallSid, RecordingFile, RoutedCall, StoreError, TenantId, Timestamp, Voice};

/// The same moment on both clocks: the one that people read, and the one that never jumps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    pub(super) at: Timestamp,
    pub(super) instant: Instant,
}

impl Started {
    fn timestamp(&self, instant: Instant) -> Timestamp {
        self.at + instant.saturating_duration_since(self.instant)
    }
}

pub(super) struct MaskedCall {
    id: CallId,
    sid: CallSid,
    machine: Call,
    number: PhoneNumber,
    started: Started,
    /// The tenant whose limit it counts for.
    tenant: Option<TenantId>,
    voice: Option<Voice>,
    caller: Leg,
    /// Boxed: a table of one has room for four.
    callees: HashMap<DialAttempt, Box<Leg>>,
    talking_to: Option<DialAttempt>,
    direct: Direct,
    /// A recording or a warning tone needs the audio.
    needs_audio: bool,
    /// Keys that wait until the audio is back.
    waiting_keys: Vec<(Side, Digit)>,
    ledger: Ledger,
    last_status: Option<u16>,
    recording: Option<RecordingFile>,
    ending: Option<Ending>,
}

/// A leg of the call: its dialog, and its audio once it has some.
struct Leg {
    id: LegId,
    trunk: usize,
    /// Where its INVITE came from; `None`: it is ours.
    source: Option<IpAddr>,
    stream: Option<LegMedia>,
    remote: Option<RemoteMedia>,
    report: Option<Box<MediaReport>>,
    keys: DigitFilter,
    /// The number that it was dialled to, with what is left to try; `None`: the caller.
    dialled: Option<Dialled>,
}

/// A number on its way through the trunks.
struct Dialled {
    number: PhoneNumber,
    /// Trunks to try if this one fails before anybody is alerted.
    trunks_left: VecDeque<usize>,
}

impl Dialled {
    /// The next trunk that has room.
    fn next_trunk(&mut self, plant: &mut Plant) -> Option<usize> {
        std::iter::from_fn(|| self.trunks_left.pop_front()).find(|trunk| plant.has_room(*trunk))
    }
}

impl MaskedCall {
    pub(super) fn new(
        id: CallId,
        sid: CallSid,
        number: PhoneNumber,
        offer: IncomingCall,
        started: Started,
        ledger: Ledger,
    ) -> Self {
        Self {
            id,
            sid,
            machine: Call::new(),
            number,
            started,
            tenant: None,
            voice: None,
            caller: Leg {
                id: offer.leg,
                trunk: offer.trunk,
                source: Some(offer.source),
                stream: None,
                remote: offer.remote,
                report: None,
                keys: DigitFilter::default(),
                dialled: None,
            },
            callees: HashMap::new(),
            talking_to: None,
            direct: Direct::new(),
            needs_audio: false,
            waiting_keys: Vec::new(),
            ledger,
            last_status: None,
            recording: None,
            ending: None,
        }
    }

    pub(super) fn caller_leg(&self) -> LegId {
        self.caller.id
    }

    pub(super) fn sid(&self) -> &CallSid {
        &self.sid
    }

    /// The tenant whose limit it counts for; `None`: nobody's.
    pub(super) fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    pub(super) fn count_for(&mut self, tenant: TenantId) {
        self.tenant = Some(tenant);
    }

    /// The tenant has as many calls as it may: this one is refused, and is in its call records as such.
    pub(super) fn too_many(&mut self, plant: &mut Plant) {
        tracing::info!(call_sid = %self.sid, "a call was refused: its tenant has as many as it may");
        self.step(Input::Routed(call::Route::Refuse(Cause::Overloaded)), plant);
    }

    /// The call as others may see it.
    pub(super) fn live(&self) -> LiveCall {
        let state = match (&self.ending, self.talking_to) {
            (Some(_), _) => CallState::Ending,
            (None, Some(_)) => CallState::Bridged,
            (None, None) if self.callees.is_empty() => CallState::Collecting,
            (None, None) => CallState::Dialling,
        };
        LiveCall {
            call_sid: self.sid.clone(),
            state,
            since: self.started.at,
        }
    }

    /// When [`Input::Elapsed`] is due.
    pub(super) fn alarm(&self) -> Option<Instant> {
        self.machine.deadline()
    }

    /// A dialled party refused, or could not be reached; the status is for the call record.
    pub(super) fn callee_failed(&mut self, attempt: DialAttempt, status: u16, plant: &mut Plant) {
        self.last_status = Some(status);
        if let Some(leg) = self.callees.remove(&attempt) {
            plant.forget(leg.id, leg.stream.as_ref());
            let left = leg
                .dialled
                .filter(|left| another_may_succeed(status) && !left.trunks_left.is_empty());
            if let Some(left) = left
                && self.dial_by(attempt, left, plant).is_none()
            {
                tracing::info!(call_sid = %self.sid, status, "a trunk failed; another one is tried");
                return;
            }
        }
        self.step(Input::Failed(attempt, Cause::from_status(status)), plant);
    }

    pub(super) fn routed(&mut self, begun: Result<RoutedCall, StoreError>, plant: &mut Plant) {
        let route = begun.map(|begun| {
            self.voice = begun.voice;
            begun.route
        });
        let route = match route {
            Ok(route @ (call::Route::UnknownNumber | call::Route::Refuse(_))) => route,
            Ok(call::Route::NotInUse) => self.answerable(call::Route::NotInUse, plant),
            Ok(call::Route::Collect(collect)) => {
                self.needs_audio = collect.warning.is_some();
                self.answerable(call::Route::Collect(collect), plant)
            }
            Err(error) => {
                tracing::error!(call_sid = %self.sid, %error, "a call was not routed");
                call::Route::Refuse(Cause::Overloaded)
            }
        };
        self.step(Input::Routed(route), plant);
    }

    /// A call that is to be answered needs audio first.
    fn answerable(&mut self, route: call::Route, plant: &mut Plant) -> call::Route {
        match open_stream(
            plant,
            Party {
                call: self.id,
                role: Role::Caller,
                trunk: self.caller.trunk,
            },
        ) {
            Some(stream) => {
                self.caller.stream = Some(stream);
                route
            }
            None => call::Route::Refuse(Cause::Overloaded),
        }
    }

    pub(super) fn pin_checked(&mut self, verdict: Result<Verdict, StoreError>, plant: &mut Plant) {
        METRICS.pin_tried(match &verdict {
            Ok(Verdict::Accepted(_)) => "accepted",
            Ok(Verdict::Refused) => "refused",
            Err(_) => "failed",
        });
        if let Ok(Verdict::Accepted(connection)) = &verdict {
            self.needs_audio |= connection.record;
        }
        let input = match verdict {
            Ok(verdict) => Input::PinChecked(verdict),
            Err(error) => {
                tracing::error!(call_sid = %self.sid, %error, "a PIN was not checked");
                Input::StoreFailed
            }
        };
        self.step(input, plant);
    }

    /// A key of either party. The caller's are for the machine until the call is bridged; then those that did not
    /// come as audio are passed on.
    pub(super) fn key(&mut self, role: Role, digit: Digit, source: DigitSource, plant: &mut Plant) {
        let now = self.started.instant.elapsed();
        let leg = match role {
            Role::Caller => Some(&mut self.caller),
            Role::Callee(attempt) => self.callees.get_mut(&attempt).map(Box::as_mut),
        };
        if !leg.is_some_and(|leg| leg.keys.is_new(digit, source, now)) {
            return;
        }
        match self.talking_to {
            None => {
                let input = Keypress::new(digit.expose()).map(|key| match role {
                    Role::Caller => Input::Key(key),
                    Role::Callee(attempt) => Input::CalleeKey(attempt, key),
                });
                input.into_iter().for_each(|input| self.step(input, plant));
            }
            Some(_) if source == DigitSource::Info => {
                let other = match role {
                    Role::Caller => Side::Callee,
                    Role::Callee(_) => Side::Caller,
                };
                self.waiting_keys.push((other, digit));
                self.route_media(plant);
            }
            _ => {}
        }
    }

    pub(super) fn hung_up(&mut self, role: Role, cause: Cause, plant: &mut Plant) {
        match role {
            Role::Callee(attempt) if self.talking_to != Some(attempt) => {
                // It had answered, and was not connected yet.
                if let Some(leg) = self.callees.remove(&attempt) {
                    plant.forget(leg.id, leg.stream.as_ref());
                    self.step(Input::Failed(attempt, Cause::NoAnswer), plant);
                }
            }
            _ => self.step(Input::HungUp(role.side(), cause), plant),
        }
    }

    /// No audio came from a party for too long: its leg is dead, and is hung up like the other.
    pub(super) fn fell_silent(&mut self, role: Role, plant: &mut Plant) {
        if self.direct.is_away() {
            return;
        }
        let attempt = match role {
            Role::Caller => None,
            Role::Callee(attempt) => Some(attempt),
        };
        let leg = match attempt {
            None => Some(self.caller.id),
            Some(attempt) => self.callees.get(&attempt).map(|leg| leg.id),
        };
        if let Some(leg) = leg {
            plant
                .agent
                .command(|endpoint, now| endpoint.hang_up(leg, now));
            plant.legs.remove(&leg);
        }
        tracing::info!(call_sid = %self.sid, "a party sent no audio for too long");
        self.hung_up(role, Cause::MediaLost, plant);
    }

    pub(super) fn recorded(&mut self, path: PathBuf, result: Result<Duration, RecordingError>) {
        match result {
            Ok(duration) => {
                let location = path.to_string_lossy().into_owned();
                self.recording = Some(RecordingFile { location, duration });
            }
            Err(error) => tracing::error!(call_sid = %self.sid, %error, "a call was not recorded"),
        }
    }

    pub(super) fn stream_closed(&mut self, role: Role, report: MediaReport) {
        METRICS.rtp_received.inc_by(report.received.packets);
        METRICS.rtp_lost.inc_by(report.received.lost);
        METRICS.rtp_late.inc_by(report.late);
        let leg = match role {
            Role::Caller => Some(&mut self.caller),
            Role::Callee(attempt) => self.callees.get_mut(&attempt).map(Box::as_mut),
        };
        if let Some(leg) = leg {
            leg.report = Some(Box::new(report));
        }
        if let Some(ending) = &mut self.ending {
            ending.open_streams = ending.open_streams.saturating_sub(1);
            self.close_when_silent();
        }
    }

    /// Gives the machine an input, and does what it then wants done.
    pub(super) fn step(&mut self, input: Input, plant: &mut Plant) {
        if let Input::Ringing(attempt) = &input
            && let Some(dialled) = self
                .callees
                .get_mut(attempt)
                .and_then(|leg| leg.dialled.as_mut())
        {
            // Somebody is alerted: whatever comes now is that party's answer.
            dialled.trunks_left.clear();
        }
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.machine.handle(input, Instant::now());
            while let Some(action) = self.machine.poll() {
                inputs.extend(self.perform(action, plant));
            }
        }
    }
}
