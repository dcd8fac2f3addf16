//! A packet's way from one leg's socket to the other's.

use std::net::SocketAddr;

use media::{Codec, Digit, DigitSource, Forward, Packet, Unforwarded};

use super::{Leg, Worker, tell_digit};

impl Worker {
    /// Takes the datagram of `length` octets in `buffer` that arrived at a leg's RTP port.
    pub(super) fn packet(&mut self, leg: &mut Leg, buffer: &mut [u8], length: usize, from: SocketAddr) {
        self.load.packets += 1;
        let Some(datagram) = buffer.get_mut(..length) else { return };
        let Some(packet) = leg.receive(datagram, from, self.now) else { return };
        let digit = self.press(leg, &packet);
        let heard = self.hear(leg, &packet);
        let Some(other) = leg.bridged.and_then(|slot| self.slots.get_mut(slot)?.as_deref_mut()) else {
            return;
        };
        if leg.is_event(&packet) && !leg.press_passes {
            return other.swallow(&packet);
        }
        let Some(formats) = leg.formats() else { return };
        let forward = other.forward(&packet, &formats, self.now);
        let payload = packet.payload_range();
        match forward {
            Forward::Audio { header, from, to } => {
                let octets = buffer.get_mut(payload.clone()).unwrap_or_default();
                if !from.transcode(to, octets) {
                    let count = heard.unwrap_or_else(|| leg.decode(from, octets, &mut self.samples));
                    other.encode(to, self.samples.get(..count).unwrap_or_default(), octets);
                }
                if let Some(range) = header.replace_in(buffer, payload) {
                    other.send(buffer, range);
                }
            }
            Forward::Event { header, payload } => other.emit(&header, &payload),
            Forward::Noise { header, noise } => other.emit(&header, noise.octets()),
            Forward::Nothing(Unforwarded::EventWithoutReceiver) => self.press_anew(leg, digit),
            Forward::Nothing(Unforwarded::NoiseWithoutReceiver(noise)) => {
                other.play_noise(packet.header, &noise);
                leg.bridged.into_iter().for_each(|slot| self.start_ticks(slot));
            }
            Forward::Nothing(_) => {}
        }
    }

    /// Tells of the key whose press begins with this packet.
    fn press(&self, leg: &mut Leg, packet: &Packet<'_>) -> Option<Digit> {
        let digit = leg.event_digit(packet)?;
        tell_digit(&self.events, leg.id, digit, DigitSource::Event);
        leg.press_passes = leg.bridged.is_some();
        Some(digit)
    }

    /// Decodes the packet for those who need samples: recordings, listeners, the search for tones; gives their number.
    fn hear(&mut self, leg: &mut Leg, packet: &Packet<'_>) -> Option<usize> {
        let other = leg.bridged.and_then(|slot| self.slots.get_mut(slot)?.as_deref_mut());
        let other = other.filter(|other| other.recording.is_some());
        if !leg.wants_samples() && other.is_none() {
            return None;
        }
        let Some(codec) = Codec::from_payload_type(packet.header.payload_type) else {
            leg.heard_silence(packet);
            return None;
        };
        let count = leg.decode(codec, packet.payload, &mut self.samples);
        let samples = self.samples.get(..count).unwrap_or_default();
        let id = leg.id;
        leg.heard(&packet.header, samples, self.now, |digit, source| {
            tell_digit(&self.events, id, digit, source)
        });
        if let Some(other) = other {
            other.overheard(&packet.header, samples, self.now);
        }
        Some(count)
    }

    /// Sends a press as one of our own, or as tones; what is left of the peer's must not follow.
    fn press_anew(&mut self, leg: &mut Leg, digit: Option<Digit>) {
        leg.press_passes = false;
        let Some((digit, slot)) = digit.zip(leg.bridged) else { return };
        if let Some(Some(other)) = self.slots.get_mut(slot) {
            other.press([digit]);
        }
        self.start_ticks(slot);
    }
}
