//! The order in which a leg's packets are decoded, where a decoder or a listener depends on it.

use std::time::Duration;

use media::{Arrival, BufferedPacket, Codec, Concealment, JitterBuffer, Next, Packet};

use super::Leg;

/// What is kept of a stream whose packets are taken in order.
#[derive(Default)]
pub(super) struct Order {
    buffer: JitterBuffer,
    concealment: Concealment,
}

impl Leg {
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
            self.forget_order();
            return None;
        }
        Some(
            self.order
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
        followed || codec.is_stateful() && recorded || to.is_some_and(|to| codec.needs_decoder(to))
    }

    /// Ends the order: the next packet begins it anew.
    pub(super) fn forget_order(&mut self) {
        if let Some(order) = self.order.take() {
            self.late += order.buffer.late();
        }
    }

    /// What is due of what waited.
    pub(in crate::calls::media) fn next_in_order(&mut self, now: Duration) -> Option<Next> {
        self.order.as_mut()?.buffer.next(now)
    }

    /// Whether packets wait for a missing one.
    pub(in crate::calls::media) fn is_waiting(&self) -> bool {
        self.order
            .as_ref()
            .is_some_and(|order| order.buffer.is_waiting())
    }

    /// Packets that came too late, or again, to be decoded.
    pub(super) fn late(&self) -> u64 {
        self.late + self.order.as_ref().map_or(0, |order| order.buffer.late())
    }

    /// Takes note of decoded samples, for what may be missing after them.
    pub(super) fn remember(&mut self, samples: &[i16]) {
        if let Some(order) = &mut self.order {
            order.concealment.observe(samples);
        }
    }

    /// Makes up what is missing; gives the number of samples.
    pub(in crate::calls::media) fn conceal(&mut self, samples: &mut [i16]) -> usize {
        let Some((order, link)) = self.order.as_mut().zip(self.link.as_ref()) else {
            return 0;
        };
        if link.formats.codec == Codec::Opus {
            let is_audio = |held: &&BufferedPacket| {
                let number = held.header.payload_type;
                !link.formats.is_event(number)
                    && link.formats.codec_for(number) == Some(Codec::Opus)
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
