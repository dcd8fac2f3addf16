//! Audio and keys of our own on a leg: prompts, ringback, comfort noise and key presses.

use std::{sync::Arc, time::Duration};

use media::{
    Clip, ComfortNoise, Digit, DigitTones, EventSender, EventStep, FRAME, Header,
    NegotiatedFormats, NoiseGenerator, Packet, RingbackTone,
};

use super::MediaLeg;

/// Present playback of a leg.
pub(super) enum Playback {
    Nothing,
    Clip {
        clip: Arc<Clip>,
        frame: usize,
        token: u64,
    },
    Ringback(Box<RingbackTone>),
    /// Comfort noise in place of the bridged peer, silent since the packet with this header.
    Noise {
        since: Header,
        noise: Box<NoiseGenerator>,
    },
}

/// Pending keys of a leg.
pub(super) enum KeySender {
    Events(EventSender),
    Tones(DigitTones),
}

/// Result of a tick of 20 ms.
#[derive(Default)]
pub(in crate::calls::media) struct Ticked {
    /// `true` if another tick is needed.
    pub(in crate::calls::media) more: bool,
    /// Token of a clip played to its end.
    pub(in crate::calls::media) finished: Option<u64>,
}

impl MediaLeg {
    pub(in crate::calls::media) fn play(&mut self, clip: Arc<Clip>, token: u64) {
        self.playback = Playback::Clip {
            clip,
            frame: 0,
            token,
        };
    }

    pub(in crate::calls::media) fn play_ringback(&mut self, tone: RingbackTone) {
        self.playback = Playback::Ringback(Box::new(tone));
    }

    pub(in crate::calls::media) fn stop_playing(&mut self) {
        self.playback = Playback::Nothing;
    }

    /// Generates comfort noise for a peer without it, until the bridged peer sends audio again.
    pub(in crate::calls::media) fn play_noise(
        &mut self,
        since: Header,
        comfort_noise: &ComfortNoise,
    ) {
        match &mut self.playback {
            Playback::Noise { since: last, noise } => {
                *last = since;
                noise.set_level(comfort_noise);
            }
            Playback::Nothing => {
                let noise = Box::new(NoiseGenerator::new(self.out.ssrc(), comfort_noise));
                self.playback = Playback::Noise { since, noise };
            }
            Playback::Clip { .. } | Playback::Ringback(_) => {}
        }
    }

    /// Stops ringback, if any.
    pub(super) fn stop_ringback(&mut self) {
        if matches!(self.playback, Playback::Ringback(_)) {
            self.stop_playing();
        }
    }

    /// Stops the comfort noise, if any.
    pub(in crate::calls::media) fn stop_noise(&mut self) {
        if matches!(self.playback, Playback::Noise { .. }) {
            self.stop_playing();
        }
    }

    /// Returns `true` if playback has priority over this packet of the bridged leg. Comfort noise has priority only
    /// over packets from before its start.
    pub(super) fn is_playing_over(&self, packet: &Packet<'_>) -> bool {
        match &self.playback {
            Playback::Nothing => false,
            Playback::Clip { .. } | Playback::Ringback(_) => true,
            Playback::Noise { since, .. } => {
                let ahead = packet.header.sequence.wrapping_sub(since.sequence) as i16;
                since.ssrc == packet.header.ssrc && ahead <= 0
            }
        }
    }

    pub(in crate::calls::media) fn send_keys(&mut self, digits: impl IntoIterator<Item = Digit>) {
        let as_events = self
            .negotiated
            .as_ref()
            .is_none_or(|negotiated| negotiated.formats.telephone_event.is_some());
        let keys = self.keys.get_or_insert_with(|| {
            Box::new(if as_events {
                KeySender::Events(EventSender::default())
            } else {
                KeySender::Tones(DigitTones::default())
            })
        });
        match keys.as_mut() {
            KeySender::Events(sender) => sender.press(digits),
            KeySender::Tones(tones) => tones.press(digits),
        }
    }

    /// Returns `true` if the leg has something to send or to check every 20 ms.
    pub(in crate::calls::media) fn needs_ticks(&self) -> bool {
        self.keys.is_some() || self.is_waiting() || !matches!(self.playback, Playback::Nothing)
    }

    /// Sends the packet of this 20 ms tick. Keys have priority over prompts.
    pub(in crate::calls::media) fn tick(&mut self, now: Duration) -> Ticked {
        let mut finished = None;
        if let Some(mut keys) = self.keys.take() {
            if self.send_key_frame(&mut keys, now) {
                self.keys = Some(keys);
            }
        } else {
            finished = self.play_frame(now);
        }
        Ticked {
            more: self.needs_ticks(),
            finished,
        }
    }

    /// Sends the next frame of the pending keys. Returns `false` if no keys remain.
    fn send_key_frame(&mut self, keys: &mut KeySender, now: Duration) -> bool {
        match keys {
            KeySender::Events(sender) => {
                let Some(step) = sender.tick() else {
                    return false;
                };
                let negotiated = self
                    .negotiated
                    .as_ref()
                    .filter(|negotiated| negotiated.send);
                if let EventStep::Packet { first, payload } = step
                    && let Some(event) =
                        negotiated.and_then(|negotiated| negotiated.formats.telephone_event)
                {
                    let header = self.out.event(event.payload_type, first, now);
                    self.send_own(&header, &event.octets(payload));
                }
            }
            KeySender::Tones(tones) => {
                let Some(frame) = tones.frame() else {
                    return false;
                };
                self.send_own_audio(&frame, now);
            }
        }
        true
    }

    /// Plays one frame. Returns the token of a clip at its end.
    fn play_frame(&mut self, now: Duration) -> Option<u64> {
        let frame = match &mut self.playback {
            Playback::Nothing => return None,
            Playback::Ringback(tone) => tone.frame(),
            Playback::Noise { noise, .. } => noise.frame(),
            Playback::Clip { clip, frame, token } => match clip.frame(*frame) {
                Some(samples) => {
                    *frame = frame.saturating_add(1);
                    samples
                }
                None => {
                    let token = *token;
                    self.playback = Playback::Nothing;
                    return Some(token);
                }
            },
        };
        self.send_own_audio(&frame, now)?;
        if self.bridged.is_none() {
            self.record_bridged(self.out.sample(), &frame, now);
        }
        None
    }

    /// Sends one frame of our own audio, unless the peer is on hold.
    fn send_own_audio(&mut self, frame: &[i16; FRAME], now: Duration) -> Option<()> {
        let NegotiatedFormats {
            codec,
            payload_type,
            ..
        } = self
            .negotiated
            .as_ref()
            .filter(|negotiated| negotiated.send)?
            .formats;
        let mut payload = [0; FRAME];
        self.encoder.discard_pending();
        let length = self.encode(codec, frame, &mut payload);
        let header = self.out.own_audio(payload_type, now);
        self.send_own(&header, payload.get(..length)?);
        Some(())
    }
}
