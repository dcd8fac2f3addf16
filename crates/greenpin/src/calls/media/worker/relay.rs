//! Path of a packet from one leg's socket to the bridged leg's socket.

use std::{net::SocketAddr, ops::Range};

use media::{
    Arrival, BufferedPacket, Codec, Digit, DigitSource, FRAME, Forward, Header, Next, Packet,
    SRTP_OVERHEAD, Unforwarded,
};

use super::{DATAGRAM_BYTES, MediaLeg, Worker, emit_digit};

/// Packet in a buffer, with the results of its processing.
struct ForwardedPacket {
    header: Header,
    payload: Range<usize>,
    /// Keys whose presses start with this packet.
    digits: Vec<Digit>,
    /// Number of samples decoded into the worker's buffer.
    decoded: Option<usize>,
}

impl Worker {
    /// Handles the datagram of `length` octets in `buffer`, received at a leg's RTP port.
    pub(super) fn on_datagram(
        &mut self,
        leg: &mut MediaLeg,
        buffer: &mut [u8],
        length: usize,
        from: SocketAddr,
    ) {
        self.packet_rate.packets = self.packet_rate.packets.saturating_add(1);
        let Some(datagram) = buffer.get_mut(..length) else {
            return;
        };
        let Some(packet) = leg.receive(datagram, from, self.now) else {
            return;
        };
        let digits = self.emit_keys(leg, &packet);
        let arrival = leg.enqueue(&packet, self.bridged(leg), self.now);
        let is_due = !matches!(arrival, Some(Arrival::Buffered | Arrival::Dropped));
        let decoded = if is_due {
            self.decode_for_listeners(leg, &packet)
        } else {
            None
        };
        if is_due || !self.is_transcoded(leg, &packet) {
            let forwarded = ForwardedPacket {
                header: packet.header,
                payload: packet.payload_range(),
                digits,
                decoded,
            };
            self.forward_packet(leg, buffer, forwarded);
        }
        if arrival.is_some() {
            self.release_due(leg);
        }
    }

    /// Forwards a packet to the bridged leg, if any.
    fn forward_packet(
        &mut self,
        leg: &mut MediaLeg,
        buffer: &mut [u8],
        forwarded: ForwardedPacket,
    ) {
        let ForwardedPacket {
            header,
            payload,
            digits,
            decoded,
        } = forwarded;
        let Some(formats) = leg.formats() else { return };
        let Some(other) = leg
            .bridged
            .and_then(|slot| self.slots.get_mut(slot)?.as_deref_mut())
        else {
            return;
        };
        let octets = buffer.get(payload.clone()).unwrap_or_default();
        let packet = Packet {
            header,
            payload: octets,
            offset: payload.start,
        };
        if leg.is_event(&packet) && !leg.forwards_press {
            return other.skip(&packet);
        }
        let irregular = !digits.is_empty() && leg.is_press_irregular();
        match other.forward(&packet, &formats, irregular, self.now) {
            Forward::Audio {
                mut header,
                from,
                to,
            } => {
                let octets = buffer.get_mut(payload.clone()).unwrap_or_default();
                let mut payload = payload;
                if !from.transcode(to, octets) {
                    let count =
                        decoded.unwrap_or_else(|| leg.decode(from, octets, &mut self.samples));
                    let samples = self.samples.get(..count).unwrap_or_default();
                    let free = payload.start..buffer.len().saturating_sub(SRTP_OVERHEAD);
                    let free = buffer.get_mut(free).unwrap_or_default();
                    let length = other.encode_next(&mut header, to, samples, free);
                    payload.end = payload.start.saturating_add(length);
                }
                let is_empty = payload.is_empty();
                let packet = header.replace_in(buffer, payload);
                if let Some(range) = packet.filter(|_| !is_empty) {
                    other.send(buffer, range);
                }
            }
            Forward::Event { header, payload } => other.send_own(&header, &payload),
            Forward::Noise { header, noise } => other.send_own(&header, noise.octets()),
            Forward::Nothing(Unforwarded::EventWithoutReceiver) => self.send_presses(leg, digits),
            Forward::Nothing(Unforwarded::NoiseWithoutReceiver(noise)) => {
                other.play_noise(header, &noise);
                leg.bridged
                    .into_iter()
                    .for_each(|slot| self.start_ticks(slot));
            }
            Forward::Nothing(_) => {}
        }
    }

    /// Processes the queued packets that are due.
    pub(super) fn release_due(&mut self, leg: &mut MediaLeg) {
        while let Some(next) = leg.next_in_order(self.now) {
            match next {
                Next::Packet(held) => self.process_held(leg, &held),
                Next::Lost {
                    header,
                    packets,
                    samples,
                } => self.conceal_loss(leg, header, packets, samples),
            }
        }
    }

    fn process_held(&mut self, leg: &mut MediaLeg, held: &BufferedPacket) {
        let packet = held.packet();
        let decoded = self.decode_for_listeners(leg, &packet);
        if !self.is_transcoded(leg, &packet) {
            // The packet was forwarded on arrival.
            return;
        }
        let mut buffer = vec![0; packet.offset];
        buffer.extend_from_slice(packet.payload);
        let length = buffer.len().max(DATAGRAM_BYTES);
        buffer.resize(length.saturating_add(SRTP_OVERHEAD), 0);
        let forwarded = ForwardedPacket {
            header: packet.header,
            payload: packet.payload_range(),
            digits: Vec::new(),
            decoded,
        };
        self.forward_packet(leg, &mut buffer, forwarded);
    }

    /// Returns `true` if the packet is decoded and encoded on its way to the bridged leg.
    fn is_transcoded(&self, leg: &MediaLeg, packet: &Packet<'_>) -> bool {
        // A peer may use a payload type for events that elsewhere belongs to a codec.
        if leg.is_event(packet) {
            return false;
        }
        let from = leg
            .formats()
            .and_then(|formats| formats.codec_for(packet.header.payload_type));
        from.zip(self.bridged(leg).and_then(MediaLeg::codec))
            .is_some_and(|(from, to)| from.needs_decoder(to))
    }

    fn bridged(&self, leg: &MediaLeg) -> Option<&MediaLeg> {
        self.slots.get(leg.bridged?)?.as_deref()
    }

    /// Emits the keys whose presses start with this packet.
    fn emit_keys(&self, leg: &mut MediaLeg, packet: &Packet<'_>) -> Vec<Digit> {
        let digits = leg.event_digits(packet, self.now);
        for digit in &digits {
            emit_digit(&self.events, leg.id, *digit, DigitSource::Event);
            // Keys are not passed on before the answer.
            leg.forwards_press = self
                .bridged(leg)
                .is_some_and(|other| other.early_source.is_none());
        }
        digits
    }

    /// Decodes the packet for recordings, listeners and tone detection. Returns the number of samples.
    fn decode_for_listeners(&mut self, leg: &mut MediaLeg, packet: &Packet<'_>) -> Option<usize> {
        if !leg.needs_samples()
            && self
                .bridged(leg)
                .is_none_or(|other| other.recording.is_none())
        {
            return None;
        }
        let codec = leg
            .formats()
            .and_then(|formats| formats.codec_for(packet.header.payload_type));
        let Some(codec) = codec.filter(|_| !leg.is_event(packet)) else {
            leg.on_silence(packet);
            return None;
        };
        let count = leg.decode(codec, packet.payload, &mut self.samples);
        self.on_samples(leg, packet.header.timestamp, count);
        Some(count)
    }

    /// Generates audio for lost packets, for recordings, listeners and tone detection.
    fn conceal_loss(&mut self, leg: &mut MediaLeg, header: Header, packets: u16, count: usize) {
        let count = leg.conceal(self.samples.get_mut(..count).unwrap_or_default());
        self.on_samples(leg, header.timestamp, count);
        self.forward_concealed(leg, header, packets, count);
    }

    /// Forwards concealed audio if the call transcodes from or to Opus. An Opus decoder may recover the lost audio, and
    /// an Opus encoder needs all audio for its redundancy. Other peers detect the loss by our sequence numbers and
    /// conceal it themselves.
    fn forward_concealed(
        &mut self,
        leg: &mut MediaLeg,
        header: Header,
        packets: u16,
        count: usize,
    ) {
        let (from, to) = (leg.formats(), self.bridged(leg).and_then(MediaLeg::codec));
        let Some((from, to)) = from.zip(to) else {
            return;
        };
        if !from.codec.needs_decoder(to) || ![from.codec, to].contains(&Codec::Opus) {
            return;
        }
        let parts = usize::from(packets).min(count / FRAME).max(1);
        let length = count.checked_div(parts).unwrap_or(count);
        let mut header = Header {
            payload_type: from.payload_type,
            ..header
        };
        let mut buffer = [0; DATAGRAM_BYTES];
        for _ in 0..parts {
            let payload = Header::LENGTH..Header::LENGTH;
            self.forward_packet(
                leg,
                &mut buffer,
                ForwardedPacket {
                    header,
                    payload,
                    digits: Vec::new(),
                    decoded: Some(length),
                },
            );
            self.samples.copy_within(length.., 0);
            header.sequence = header.sequence.wrapping_add(1);
            header.timestamp = header.timestamp.wrapping_add(length as u32);
        }
    }

    /// Distributes decoded samples to the leg and the bridged leg.
    fn on_samples(&mut self, leg: &mut MediaLeg, timestamp: u32, count: usize) {
        let samples = self.samples.get(..count).unwrap_or_default();
        let id = leg.id;
        leg.on_samples(timestamp, samples, self.now, |digit, source| {
            emit_digit(&self.events, id, digit, source)
        });
        if let Some(other) = leg
            .bridged
            .and_then(|slot| self.slots.get_mut(slot)?.as_deref_mut())
        {
            other.record_bridged(timestamp, samples, self.now);
        }
    }

    /// Sends key presses as our own events or tones. The rest of the peer's event is not forwarded.
    fn send_presses(&mut self, leg: &mut MediaLeg, digits: Vec<Digit>) {
        leg.forwards_press = false;
        let Some(slot) = leg.bridged.filter(|_| !digits.is_empty()) else {
            return;
        };
        if let Some(Some(other)) = self.slots.get_mut(slot) {
            other.send_keys(digits);
        }
        self.start_ticks(slot);
    }
}
