//! One masked call on real legs: performs what the call machine wants done, and tells it what came of it.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use call::script::{Action, Attempt, Collect, Connection, Input, Key, Outcome, Prompt, Side, Verdict};
use call::{Call, Cause, PhoneNumber};
use media::{Digit, DigitCounts, DigitFilter, DigitSource, EventReport};
use signalling::sdes::SrtpMode;
use signalling::sdp::{Codec, LocalMedia, RemoteMedia};
use signalling::{LegId, Network, Offer, OutgoingCall, Redirection};

use super::audio::{LegMedia, MediaReport, RecordingError, Remote, SourceRule};
use super::direct::{Direct, Facts, Step};
use super::exchange::{CallId, Party, Role};
use super::ledger::Ledger;
use super::plant::Plant;
use super::trunks::{self, another_may_succeed};
use super::{CallState, LiveCall};
use crate::metrics::METRICS;
use crate::random;
use crate::store::{
    self, Begun, CallEnding, CallSid, DigitReport, LegReport, MediaPath, PinVerdict, RecordingFile,
    StoreError, TenantId, Timestamp, Voice,
};

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
    callees: HashMap<Attempt, Leg>,
    talking_to: Option<Attempt>,
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
    report: Option<MediaReport>,
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

/// The call is over; its record waits for the streams to close.
struct Ending {
    outcome: Outcome,
    open_streams: usize,
}

impl MaskedCall {
    pub(super) fn new(
        id: CallId,
        sid: CallSid,
        number: PhoneNumber,
        offer: Offer,
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
        self.step(Input::Routed(call::script::Route::Refuse(Cause::Overloaded)), plant);
    }

    /// The call as others may see it.
    pub(super) fn live(&self) -> LiveCall {
        let state = match (&self.ending, self.talking_to) {
            (Some(_), _) => CallState::Ending,
            (None, Some(_)) => CallState::Bridged,
            (None, None) if self.callees.is_empty() => CallState::Collecting,
            (None, None) => CallState::Dialling,
        };
        LiveCall { call_sid: self.sid.clone(), state, since: self.started.at }
    }

    /// When [`Input::Elapsed`] is due.
    pub(super) fn alarm(&self) -> Option<Instant> {
        self.machine.deadline()
    }

    /// A dialled party refused, or could not be reached; the status is for the call record.
    pub(super) fn callee_failed(&mut self, attempt: Attempt, status: u16, plant: &mut Plant) {
        self.last_status = Some(status);
        if let Some(leg) = self.callees.remove(&attempt) {
            plant.forget(leg.id, leg.stream.as_ref());
            let left = leg.dialled.filter(|left| another_may_succeed(status) && !left.trunks_left.is_empty());
            if let Some(left) = left
                && self.dial_by(attempt, left, plant).is_none()
            {
                tracing::info!(call_sid = %self.sid, status, "a trunk failed; another one is tried");
                return;
            }
        }
        self.step(Input::Failed(attempt, Cause::from_status(status)), plant);
    }

    pub(super) fn routed(&mut self, begun: Result<Begun, StoreError>, plant: &mut Plant) {
        let route = begun.map(|begun| {
            self.voice = begun.voice;
            begun.route
        });
        let route = match route {
            Ok(store::Route::UnknownNumber) => call::script::Route::UnknownNumber,
            Ok(store::Route::NotInUse) => self.answerable(call::script::Route::NotInUse, plant),
            Ok(store::Route::Collect(collect)) => {
                self.needs_audio = collect.settings.warning.is_some();
                self.answerable(call::script::Route::Collect(collect_plan(&collect)), plant)
            }
            Err(error) => {
                tracing::error!(call_sid = %self.sid, %error, "a call was not routed");
                call::script::Route::Refuse(Cause::Overloaded)
            }
        };
        self.step(Input::Routed(route), plant);
    }

    /// A call that is to be answered needs audio first.
    fn answerable(&mut self, route: call::script::Route, plant: &mut Plant) -> call::script::Route {
        match open_stream(plant, Party { call: self.id, role: Role::Caller, trunk: self.caller.trunk }) {
            Some(stream) => {
                self.caller.stream = Some(stream);
                route
            }
            None => call::script::Route::Refuse(Cause::Overloaded),
        }
    }

    pub(super) fn pin_checked(&mut self, verdict: Result<PinVerdict, StoreError>, plant: &mut Plant) {
        METRICS.pin_tried(match &verdict {
            Ok(PinVerdict::Accepted(_)) => "accepted",
            Ok(PinVerdict::Refused) => "refused",
            Err(_) => "failed",
        });
        if let Ok(PinVerdict::Accepted(connection)) = &verdict {
            self.needs_audio |= connection.record;
        }
        let input = match verdict {
            Ok(PinVerdict::Refused) => Input::PinChecked(Verdict::Refused),
            Ok(PinVerdict::Accepted(connection)) => Input::PinChecked(Verdict::Accepted(Connection {
                dial: connection.dial,
                record: connection.record,
            })),
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
            Role::Callee(attempt) => self.callees.get_mut(&attempt),
        };
        if !leg.is_some_and(|leg| leg.keys.is_new(digit, source, now)) {
            return;
        }
        match self.talking_to {
            None => {
                let input = Key::new(digit.expose()).map(|key| match role {
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
            plant.agent.command(|endpoint, now| endpoint.hang_up(leg, now));
            plant.legs.remove(&leg);
        }
        tracing::info!(call_sid = %self.sid, "a party sent no audio for too long");
        self.hung_up(role, Cause::MediaLost, plant);
    }

    /// A party named its audio, or changed it.
    pub(super) fn media_changed(&mut self, role: Role, remote: RemoteMedia, plant: &mut Plant) {
        let leg = match role {
            Role::Caller => Some(&mut self.caller),
            Role::Callee(attempt) => self.callees.get_mut(&attempt),
        };
        if let Some(leg) = leg {
            leg.remote = Some(remote);
            connect(leg, plant);
        }
        if self.talking_to.is_some() {
            self.direct.changed(role.side());
            self.leg(role.side())
                .and_then(|leg| leg.stream.as_ref())
                .into_iter()
                .for_each(LegMedia::interrupt);
            self.route_media(plant);
        }
    }

    /// A party's gateway does what our re-INVITE asked for.
    pub(super) fn redirected(&mut self, role: Role, remote: RemoteMedia, plant: &mut Plant) {
        let side = role.side();
        let leg = match role {
            Role::Caller => Some(&mut self.caller),
            Role::Callee(attempt) => self.callees.get_mut(&attempt),
        };
        let Some(leg) = leg else { return };
        let before = leg.remote.replace(remote);
        connect(leg, plant);
        let place = |media: RemoteMedia| (media.rtp, media.telephone_event);
        // The caller's gateway was told of the callee's before this one answered.
        if side == Side::Callee && before.map(place) != Some(place(remote)) {
            self.direct.misled();
        }
        self.direct.accepted(side);
        self.route_media(plant);
    }

    /// A party's gateway refused our re-INVITE.
    pub(super) fn not_redirected(&mut self, role: Role, status: u16, plant: &mut Plant) {
        tracing::info!(call_sid = %self.sid, status, "a gateway refused to change where its audio goes");
        self.direct.refused(role.side());
        self.route_media(plant);
    }

    /// Lets the two gateways talk to each other, or brings their audio back, as the call is now.
    fn route_media(&mut self, plant: &mut Plant) {
        if self.talking_to.is_none() || self.ending.is_some() {
            return;
        }
        while let Some(step) = self.direct.step(self.facts(plant)) {
            match step {
                Step::Send(side) => self.redirect(side, true, plant),
                Step::Return(side) => self.redirect(side, false, plant),
                Step::GiveUp => return self.step(Input::EndRequested, plant),
            }
        }
        if !self.direct.is_away() {
            for (side, digit) in std::mem::take(&mut self.waiting_keys) {
                let stream = self.leg(side).and_then(|leg| leg.stream.as_ref());
                stream.into_iter().for_each(|stream| stream.send_digits(vec![digit]));
            }
        }
    }

    fn facts(&self, plant: &Plant) -> Facts {
        let legs = self.leg(Side::Caller).zip(self.leg(Side::Callee));
        let allows = |leg: &Leg| {
            let trunk = plant.settings.trunks.get(leg.trunk);
            trunk.is_some_and(|trunk| trunk.direct_media && !trunk.symmetric_rtp)
        };
        let informs = |leg: &Leg| leg.keys.counts().info > 0;
        Facts {
            allowed: legs.is_some_and(|(caller, callee)| allows(caller) && allows(callee)),
            bridged: self.talking_to.is_some() && self.ending.is_none(),
            needed: self.needs_audio
                || legs.is_some_and(|(caller, callee)| informs(caller) || informs(callee)),
            media: legs.and_then(|(caller, callee)| caller.remote.zip(callee.remote)),
        }
    }

    /// All that a gateway learns of the other one is in the redirection.
    fn redirect(&self, side: Side, away: bool, plant: &mut Plant) {
        let other = match side {
            Side::Caller => Side::Callee,
            Side::Callee => Side::Caller,
        };
        let Some((leg, other)) = self.leg(side).zip(self.leg(other)) else { return };
        let Some((own, there)) = leg.remote.zip(other.remote) else { return };
        let redirection = match away {
            true => Redirection {
                rtp: Some(there.rtp),
                codec: there.codec,
                telephone_event: there.telephone_event,
            },
            false => {
                leg.stream.iter().for_each(LegMedia::interrupt);
                Redirection { rtp: None, codec: own.codec, telephone_event: own.telephone_event }
            }
        };
        let id = leg.id;
        plant.agent.command(|endpoint, now| endpoint.redirect(id, redirection, now));
    }

    fn leg(&self, side: Side) -> Option<&Leg> {
        match side {
            Side::Caller => Some(&self.caller),
            Side::Callee => self.callees.get(&self.talking_to?),
        }
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
        let leg = match role {
            Role::Caller => Some(&mut self.caller),
            Role::Callee(attempt) => self.callees.get_mut(&attempt),
        };
        if let Some(leg) = leg {
            leg.report = Some(report);
        }
        if let Some(ending) = &mut self.ending {
            ending.open_streams = ending.open_streams.saturating_sub(1);
            self.close_when_silent();
        }
    }

    /// Gives the machine an input, and does what it then wants done.
    pub(super) fn step(&mut self, input: Input, plant: &mut Plant) {
        if let Input::Ringing(attempt) = &input
            && let Some(dialled) = self.callees.get_mut(attempt).and_then(|leg| leg.dialled.as_mut())
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

    /// Does one thing. What fails at once comes back as an input.
    fn perform(&mut self, action: Action, plant: &mut Plant) -> Option<Input> {
        match action {
            Action::Reject(cause) => self.reject(cause, plant),
            Action::Answer => self.answer(plant),
            Action::Play(prompt, playback) => self.play(prompt, playback, plant),
            Action::PlayTo(attempt, prompt, playback) => {
                if let Some(stream) = self.callees.get(&attempt).and_then(|leg| leg.stream.as_ref()) {
                    stream.play(plant.prompts.get(prompt, self.voice.as_ref()), u64::from(playback));
                }
            }
            Action::PlayToBoth(prompt) => self.play_to_both(prompt, plant),
            Action::PlayRingback => self.caller.stream.iter().for_each(LegMedia::play_ringback),
            Action::StopPlaying => self.caller.stream.iter().for_each(LegMedia::stop_playing),
            Action::CheckPin(pin) => self.ledger.try_pin(pin),
            Action::Dial(attempt, number) => return self.dial(attempt, number, plant),
            Action::Abandon(attempt) => self.abandon(attempt, plant),
            Action::Bridge(attempt) => self.bridge(attempt, plant),
            Action::Record => self.record(plant),
            Action::ReportRinging(number) => self.ledger.ringing(number),
            Action::ReportAnswered(number) => self.ledger.answered(number),
            Action::HangUp(side, _) => self.hang_up(side, plant),
            Action::Finish(outcome) => self.finish(outcome),
        }
        None
    }

    fn reject(&mut self, cause: Cause, plant: &mut Plant) {
        let (leg, status) = (self.caller.id, cause.status());
        let retry_after = (cause == Cause::Overloaded).then_some(5);
        plant.agent.command(|endpoint, now| endpoint.reject(leg, status, retry_after, now));
    }

    fn answer(&mut self, plant: &mut Plant) {
        let Some(stream) = &self.caller.stream else { return };
        let local = stream.describe(plant.settings.advertised, srtp(plant, self.caller.trunk));
        let leg = self.caller.id;
        if let Some(agreed) = plant.agent.command(|endpoint, now| endpoint.answer(leg, local, now)) {
            self.caller.remote = Some(agreed);
            connect(&self.caller, plant);
        }
    }

    fn play(&mut self, prompt: Prompt, playback: u32, plant: &mut Plant) {
        if let Some(stream) = &self.caller.stream {
            stream.play(plant.prompts.get(prompt, self.voice.as_ref()), u64::from(playback));
        }
    }

    /// Nobody waits for the end of it.
    fn play_to_both(&mut self, prompt: Prompt, plant: &mut Plant) {
        let clip = plant.prompts.get(prompt, self.voice.as_ref());
        let callee = self.talking_to.and_then(|attempt| self.callees.get(&attempt));
        for stream in [Some(&self.caller), callee].into_iter().flatten().filter_map(|leg| leg.stream.as_ref())
        {
            stream.play(clip.clone(), 0);
        }
    }

    fn dial(&mut self, attempt: Attempt, number: PhoneNumber, plant: &mut Plant) -> Option<Input> {
        let draw = |most: u64| random::u64() % most.max(1);
        let trunks_left =
            trunks::order(&plant.settings.trunks, |trunk| plant.is_up(trunk), self.caller.trunk, draw).into();
        self.dial_by(attempt, Dialled { number, trunks_left }, plant)
    }

    /// The new leg: built from the dialled number, the virtual number and our own audio, and nothing else.
    fn dial_by(&mut self, attempt: Attempt, mut dialled: Dialled, plant: &mut Plant) -> Option<Input> {
        let failed = Some(Input::Failed(attempt, Cause::Unreachable));
        let role = Role::Callee(attempt);
        let Some(trunk) = dialled.next_trunk(plant) else { return failed };
        let Some(way) = plant.settings.trunks.get(trunk) else { return failed };
        let to = format!("{}{}", way.prefix, way.number_format.write(dialled.number, way.country));
        let from = way.number_format.write(self.number, way.country);
        let party = Party { call: self.id, role, trunk };
        let Some(stream) = open_stream(plant, party) else { return failed };
        let call = OutgoingCall {
            trunk,
            to,
            from,
            local: LocalMedia {
                comfort_noise: self.caller.remote.is_some_and(|remote| remote.comfort_noise),
                ..stream.describe(plant.settings.advertised, srtp(plant, trunk))
            },
            preferred: self.caller.remote.map_or(Codec::Pcma, |remote| remote.codec),
        };
        match plant.agent.command(|endpoint, now| endpoint.dial(call, now)) {
            Ok(id) => {
                plant.add(id, party);
                let (stream, dialled) = (Some(stream), Some(dialled));
                let keys = DigitFilter::default();
                let leg = Leg { id, trunk, source: None, stream, remote: None, report: None, keys, dialled };
                self.callees.insert(attempt, leg);
                None
            }
            Err(error) => {
                tracing::error!(call_sid = %self.sid, %error, "a number could not be dialled");
                failed
            }
        }
    }

    fn abandon(&mut self, attempt: Attempt, plant: &mut Plant) {
        if let Some(leg) = self.callees.remove(&attempt) {
            plant.agent.command(|endpoint, now| endpoint.hang_up(leg.id, now));
            plant.forget(leg.id, leg.stream.as_ref());
        }
    }

    fn bridge(&mut self, attempt: Attempt, plant: &mut Plant) {
        self.talking_to = Some(attempt);
        let callee = self.callees.get(&attempt).and_then(|leg| leg.stream.as_ref());
        if let (Some(caller), Some(callee)) = (&self.caller.stream, callee) {
            caller.bridge(callee);
        }
        tracing::info!(call_sid = %self.sid, "both parties are connected");
        self.route_media(plant);
    }

    fn record(&mut self, plant: &Plant) {
        if let Some(stream) = &self.caller.stream {
            stream.record(plant.settings.recordings.join(format!("{}.wav", self.sid)));
        }
    }

    fn hang_up(&mut self, side: Side, plant: &mut Plant) {
        let leg = match side {
            Side::Caller => Some(self.caller.id),
            Side::Callee => self.talking_to.and_then(|attempt| self.callees.get(&attempt)).map(|leg| leg.id),
        };
        if let Some(leg) = leg {
            plant.agent.command(|endpoint, now| endpoint.hang_up(leg, now));
            plant.legs.remove(&leg);
        }
    }

    /// Closes every stream; the record is written when the last has reported.
    fn finish(&mut self, outcome: Outcome) {
        let legs = std::iter::once(&mut self.caller).chain(self.callees.values_mut());
        let streams: Vec<LegMedia> = legs.filter_map(|leg| leg.stream.take()).collect();
        self.ending = Some(Ending { outcome, open_streams: streams.len() });
        streams.into_iter().for_each(LegMedia::close);
        self.close_when_silent();
    }

    fn close_when_silent(&mut self) {
        let Some(Ending { outcome, open_streams: 0 }) = &self.ending else { return };
        let ending = self.ending_of(outcome);
        tracing::info!(call_sid = %self.sid, call_type = ?outcome.call_type, hangup_by = ?outcome.hangup_by, "a call ended");
        METRICS.call_ended(store::call_type(ending.call_type));
        self.ledger.end(ending);
        self.ending = None;
    }

    fn ending_of(&self, outcome: &Outcome) -> CallEnding {
        let at = |instant: Instant| self.started.timestamp(instant);
        let callee = self.talking_to.and_then(|attempt| self.callees.get(&attempt));
        CallEnding {
            ended_at: at(outcome.ended_at),
            answered_at: outcome.answered_at.map(at),
            dialled: outcome.dialled,
            dialled_at: outcome.dialled_at.map(at),
            bridged_at: outcome.bridged_at.map(at),
            call_type: outcome.call_type,
            dial_call_status: outcome.dial_status,
            hangup_by: outcome.hangup_by,
            sip_cause: self.last_status.filter(|_| outcome.bridged_at.is_none()),
            pin_attempts: outcome.pin_attempts,
            recording: self.recording.clone(),
            caller_media: self.leg_report(&self.caller),
            callee_media: callee.and_then(|leg| self.leg_report(leg)),
        }
    }

    fn leg_report(&self, leg: &Leg) -> Option<LegReport> {
        let report = leg.report?;
        let received = report.received;
        Some(LegReport {
            codec: report.codec.map(|codec| codec.name().to_owned()),
            srtp: report.srtp.map(str::to_owned),
            media: if self.direct.was_direct() { MediaPath::Direct } else { MediaPath::Relay },
            packets_received: received.packets,
            packets_lost: received.lost,
            packets_sent: report.sent_packets,
            jitter_ms: received.jitter_ms,
            mos: received.mos,
            digits: Some(digit_report(leg.keys.counts(), report.events)),
        })
    }
}

fn open_stream(plant: &mut Plant, party: Party) -> Option<LegMedia> {
    match plant.media.open() {
        Ok(stream) => {
            plant.streams.insert(stream.id(), party);
            Some(stream)
        }
        Err(error) => {
            tracing::warn!(%error, "no media port for a leg");
            None
        }
    }
}

/// Whether audio is encrypted on a trunk.
fn srtp(plant: &Plant, trunk: usize) -> SrtpMode {
    plant.settings.trunks.get(trunk).map_or(SrtpMode::Off, |trunk| trunk.srtp)
}

/// Lets a leg's stream talk to its peer, if both are known.
fn connect(leg: &Leg, plant: &Plant) {
    let (Some(stream), Some(remote)) = (&leg.stream, leg.remote) else { return };
    let trunk = plant.settings.trunks.get(leg.trunk);
    let source = match trunk.filter(|trunk| trunk.symmetric_rtp) {
        Some(_) => {
            let mut networks = plant.agent.networks(leg.trunk);
            // One who was let in by a password is in none of them.
            networks.extend(leg.source.map(Network::of));
            SourceRule::Latch(networks)
        }
        None => SourceRule::Negotiated,
    };
    stream.connect(Remote::negotiated(remote, source));
}

fn collect_plan(collect: &store::Collect) -> Collect {
    Collect {
        pin_length: collect.pin_length,
        max_tries: collect.max_tries,
        ring_timeout: collect.settings.ring_timeout,
        max_call_duration: collect.settings.max_call_duration,
        parallel: collect.settings.parallel,
        screening: collect.settings.screening,
        announce_recording: collect.settings.record_announcement,
        warning: collect.settings.warning,
    }
}

fn digit_report(counts: DigitCounts, events: EventReport) -> DigitReport {
    DigitReport {
        pressed: counts.pressed,
        duplicates: counts.duplicates,
        rfc4733: counts.rfc4733,
        info: counts.info,
        in_band: counts.in_band,
        lost_packets: events.lost_packets,
        lost_ends: events.lost_ends,
        end_only: events.end_only,
        late_packets: events.late_packets,
    }
}
