//! The order in which a leg's packets are decoded, where a decoder or a listener depends on it.

use std::time::Duration;

use media::{Arrival, Codec, Concealment, Held, JitterBuffer, Next, Packet};

use super::MediaLeg;

/// What is kept of a stream whose packets are taken in order.
#[derive(Default)]
pub(super) struct PacketOrder {
    buffer: JitterBuffer,
    concealment: Concealment,
}

impl MediaLeg {
    /// Takes a packet into the order of its stream, where what is done with it depends on that: a search for tones,
    /// somebody who listens, G.722 or Opus that is decoded or made for the bridged leg. `None` where it does not: G.711 that
    /// passes, by table too, or is recorded by its timestamps.
    pub(in crate::calls::media) fn arrive(
        &mut self,
        packet: &Packet<'_>,
        bridged: Option<&Self>,
        now: Duration,
    ) -> Option<Arrival> {
        if !self.depends_on_order(bridged) {
            self.reset_order();
            return None;
        }
        Some(
            self.packet_order
                .get_or_insert_default()
                .buffer
                .arrive(packet, now),
        )
    }

    fn depends_on_order(&self, bridged: Option<&Self>) -> bool {
        let Some(codec) = self.codec() else {
            return false;
        };
        let followed = self.detector.is_some() || self.listener.is_some();
        let recorded =
            self.recording.is_some() || bridged.is_some_and(|other| other.recording.is_some());
        let to = bridged.and_then(Self::codec);
        followed || codec.has_state() && recorded || to.is_some_and(|to| codec.needs_decoder(to))
    }

    /// Ends the order: the next packet begins it anew.
    pub(super) fn reset_order(&mut self) {
        if let Some(order) = self.packet_order.take() {
            self.late += order.buffer.late();
        }
    }

    /// What is due of what waited.
    pub(in crate::calls::media) fn next_in_order(&mut self, now: Duration) -> Option<Next> {
        self.packet_order.as_mut()?.buffer.next(now)
    }

    /// Whether packets wait for a missing one.
    pub(in crate::calls::media) fn is_waiting(&self) -> bool {
        self.packet_order
            .as_ref()
            .is_some_and(|order| order.buffer.is_waiting())
    }

    /// Packets that came too late, or again, to be decoded.
    pub(super) fn late(&self) -> u64 {
        self.late
            + self
                .packet_order
                .as_ref()
                .map_or(0, |order| order.buffer.late())
    }

    /// Takes note of decoded samples, for what may be missing after them.
    pub(super) fn feed_concealment(&mut self, samples: &[i16]) {
        if let Some(order) = &mut self.packet_order {
            order.concealment.heard(samples);
        }
    }

    /// Makes up what is missing; gives the number of samples.
    pub(in crate::calls::media) fn conceal(&mut self, samples: &mut [i16]) -> usize {
        let Some((order, negotiated)) = self.packet_order.as_mut().zip(self.negotiated.as_ref())
        else {
            return 0;
        };
        if negotiated.formats.codec == Codec::Opus {
            let is_audio = |held: &&Held| {
                let number = held.header.payload_type;
                !negotiated.formats.is_event(number)
                    && negotiated.formats.codec_of(number) == Some(Codec::Opus)
            };
            let next = order
                .buffer
                .front()
                .filter(is_audio)
                .map(|held| held.payload.as_slice());
            return self.decoder.conceal(Codec::Opus, next, samples);
        }
        order.concealment.fill(samples);
        samples.len()
    }
}
