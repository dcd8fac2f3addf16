//! Decoding order of a leg's packets, for streams with order-dependent processing.

use std::time::Duration;

use media::{Arrival, BufferedPacket, Codec, Concealment, JitterBuffer, Next, Packet};

use super::MediaLeg;

/// State of a stream decoded in order.
#[derive(Default)]
pub(super) struct PacketOrder {
    buffer: JitterBuffer,
    concealment: Concealment,
}

impl MediaLeg {
    /// Puts a packet into the order of its stream, if its processing depends on the order: tone detection, a listener,
    /// or G.722 and Opus to be decoded or encoded. Returns `None` otherwise, such as for G.711 that is forwarded,
    /// converted by table or recorded by its timestamps.
    pub(in crate::calls::media) fn enqueue(
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
        followed || codec.is_stateful() && recorded || to.is_some_and(|to| codec.needs_decoder(to))
    }

    /// Ends the ordering. The next packet starts it again.
    pub(super) fn reset_order(&mut self) {
        if let Some(order) = self.packet_order.take() {
            self.late = self.late.saturating_add(order.buffer.late());
        }
    }

    /// Returns the next packet or loss that is due.
    pub(in crate::calls::media) fn next_in_order(&mut self, now: Duration) -> Option<Next> {
        self.packet_order.as_mut()?.buffer.next(now)
    }

    /// Returns `true` if packets wait for a missing packet.
    pub(in crate::calls::media) fn is_waiting(&self) -> bool {
        self.packet_order
            .as_ref()
            .is_some_and(|order| order.buffer.is_waiting())
    }

    /// Returns the number of late and duplicate packets.
    pub(super) fn late(&self) -> u64 {
        let order = self.packet_order.as_ref();
        self.late
            .saturating_add(order.map_or(0, |order| order.buffer.late()))
    }

    /// Feeds decoded audio into the concealment.
    pub(super) fn feed_concealment(&mut self, samples: &[i16]) {
        if let Some(order) = &mut self.packet_order {
            order.concealment.observe(samples);
        }
    }

    /// Generates audio for lost packets. Returns the number of samples.
    pub(in crate::calls::media) fn conceal(&mut self, samples: &mut [i16]) -> usize {
        let Some((order, negotiated)) = self.packet_order.as_mut().zip(self.negotiated.as_ref())
        else {
            return 0;
        };
        if negotiated.formats.codec == Codec::Opus {
            let is_audio = |held: &&BufferedPacket| {
                let number = held.header.payload_type;
                !negotiated.formats.is_event(number)
                    && negotiated.formats.codec_for(number) == Some(Codec::Opus)
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
