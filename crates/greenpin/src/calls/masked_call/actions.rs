//! What the call machine wants done, one action after the other.

use call::{Action, Cause, DialAttempt, Input, PhoneNumber, Prompt, Side};
use media::DigitFilter;
use signalling::OutgoingCall;
use signalling::sdes::SrtpMode;
use signalling::sdp::{Codec, LocalMedia};

use super::media_path::connect;
use super::{Dialled, Leg, MaskedCall};
use crate::calls::call_loop::{Party, Role};
use crate::calls::context::Plant;
use crate::calls::media::LegMedia;
use crate::calls::trunks::selection;
use crate::crypto::random;

impl MaskedCall {
    /// Does one thing. What fails at once comes back as an input.
    pub(super) fn perform(&mut self, action: Action, plant: &mut Plant) -> Option<Input> {
        match action {
            Action::Reject(cause) => self.reject(cause, plant),
            Action::Answer => self.answer(plant),
            Action::Play(prompt, playback) => self.play(prompt, playback, plant),
            Action::PlayTo(attempt, prompt, playback) => {
                if let Some(stream) = self
                    .callees
                    .get(&attempt)
                    .and_then(|leg| leg.stream.as_ref())
                {
                    stream.play(
                        plant.prompts.get(prompt, self.voice.as_ref()),
                        u64::from(playback),
                    );
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
        plant
            .agent
            .command(|endpoint, now| endpoint.reject(leg, status, retry_after, now));
    }

    fn answer(&mut self, plant: &mut Plant) {
        let Some(stream) = &self.caller.stream else {
            return;
        };
        let local = stream.describe(plant.settings.advertised, srtp(plant, self.caller.trunk));
        let leg = self.caller.id;
        if let Some(agreed) = plant
            .agent
            .command(|endpoint, now| endpoint.answer(leg, local, now))
        {
            self.caller.remote = Some(agreed);
            connect(&self.caller, plant);
        }
    }

    fn play(&mut self, prompt: Prompt, playback: u32, plant: &mut Plant) {
        if let Some(stream) = &self.caller.stream {
            stream.play(
                plant.prompts.get(prompt, self.voice.as_ref()),
                u64::from(playback),
            );
        }
    }

    /// Nobody waits for the end of it.
    fn play_to_both(&mut self, prompt: Prompt, plant: &mut Plant) {
        let clip = plant.prompts.get(prompt, self.voice.as_ref());
        let callee = self
            .talking_to
            .and_then(|attempt| self.callees.get(&attempt))
            .map(Box::as_ref);
        for stream in [Some(&self.caller), callee]
            .into_iter()
            .flatten()
            .filter_map(|leg| leg.stream.as_ref())
        {
            stream.play(clip.clone(), 0);
        }
    }

    fn dial(
        &mut self,
        attempt: DialAttempt,
        number: PhoneNumber,
        plant: &mut Plant,
    ) -> Option<Input> {
        let draw = |most: u64| random::u64() % most.max(1);
        let trunks_left = selection::order(
            &plant.settings.trunks,
            |trunk| plant.is_up(trunk),
            self.caller.trunk,
            draw,
        )
        .into();
        self.dial_by(
            attempt,
            Dialled {
                number,
                trunks_left,
            },
            plant,
        )
    }

    /// The new leg: built from the dialled number, the virtual number and our own audio, and nothing else.
    pub(super) fn dial_by(
        &mut self,
        attempt: DialAttempt,
        mut dialled: Dialled,
        plant: &mut Plant,
    ) -> Option<Input> {
        let failed = Some(Input::Failed(attempt, Cause::Unreachable));
        let role = Role::Callee(attempt);
        let Some(trunk) = dialled.next_trunk(plant) else {
            return failed;
        };
        let Some(way) = plant.settings.trunks.get(trunk) else {
            return failed;
        };
        let to = format!(
            "{}{}",
            way.prefix,
            way.number_format.write(dialled.number, way.country)
        );
        let from = way.number_format.write(self.number, way.country);
        let party = Party {
            call: self.id,
            role,
            trunk,
        };
        let Some(stream) = open_stream(plant, party) else {
            return failed;
        };
        let call = OutgoingCall {
            trunk,
            to,
            from,
            local: LocalMedia {
                comfort_noise: self
                    .caller
                    .remote
                    .is_some_and(|remote| remote.comfort_noise),
                ..stream.describe(plant.settings.advertised, srtp(plant, trunk))
            },
            preferred: self
                .caller
                .remote
                .map_or(Codec::Pcma, |remote| remote.codec),
        };
        match plant
            .agent
            .command(|endpoint, now| endpoint.dial(call, now))
        {
            Ok(id) => {
                plant.add(id, party);
                let (stream, dialled) = (Some(stream), Some(dialled));
                let keys = DigitFilter::default();
                let leg = Leg {
                    id,
                    trunk,
                    source: None,
                    stream,
                    remote: None,
                    report: None,
                    keys,
                    dialled,
                };
                self.callees.insert(attempt, Box::new(leg));
                None
            }
            Err(error) => {
                tracing::error!(call_sid = %self.sid, %error, "a number could not be dialled");
                failed
            }
        }
    }

    fn abandon(&mut self, attempt: DialAttempt, plant: &mut Plant) {
        if let Some(leg) = self.callees.remove(&attempt) {
            plant
                .agent
                .command(|endpoint, now| endpoint.hang_up(leg.id, now));
            plant.forget(leg.id, leg.stream.as_ref());
        }
    }

    fn bridge(&mut self, attempt: DialAttempt, plant: &mut Plant) {
        self.talking_to = Some(attempt);
        let callee = self
            .callees
            .get(&attempt)
            .and_then(|leg| leg.stream.as_ref());
        if let (Some(caller), Some(callee)) = (&self.caller.stream, callee) {
            caller.bridge(callee);
        }
        tracing::info!(call_sid = %self.sid, "both parties are connected");
        self.route_media(plant);
    }

    fn record(&mut self, plant: &Plant) {
        if let Some(stream) = &self.caller.stream {
            let end = plant.settings.recording_format.extension();
            stream.record(
                plant
                    .settings
                    .recordings
                    .join(format!("{}.{end}", self.sid)),
            );
        }
    }

    fn hang_up(&mut self, side: Side, plant: &mut Plant) {
        let leg = match side {
            Side::Caller => Some(self.caller.id),
            Side::Callee => self
                .talking_to
                .and_then(|attempt| self.callees.get(&attempt))
                .map(|leg| leg.id),
        };
        if let Some(leg) = leg {
            plant
                .agent
                .command(|endpoint, now| endpoint.hang_up(leg, now));
            plant.legs.remove(&leg);
        }
    }
}

pub(super) fn open_stream(plant: &mut Plant, party: Party) -> Option<LegMedia> {
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
    plant
        .settings
        .trunks
        .get(trunk)
        .map_or(SrtpMode::Off, |trunk| trunk.srtp)
}
