//! Format and payload of telephone-events (RFC 4733).

use crate::Digit;

/// Negotiated format of telephone-events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventFormat {
    /// RTP payload type.
    pub payload_type: u8,
    /// Ticks of the duration clock per sample of 8 kHz: 1, or 6 for `telephone-event/48000`.
    pub ticks: u16,
}

impl EventFormat {
    /// Returns `telephone-event/8000` with this payload type.
    pub fn at_8000(payload_type: u8) -> Self {
        Self {
            payload_type,
            ticks: 1,
        }
    }

    /// Returns `telephone-event/48000` with this payload type.
    pub fn at_48000(payload_type: u8) -> Self {
        Self {
            payload_type,
            ticks: 6,
        }
    }

    /// Parses an event and converts its duration from this clock to 8 kHz.
    pub fn parse(self, payload: &[u8]) -> Option<EventPayload> {
        let event = EventPayload::parse(payload)?;
        Some(EventPayload {
            duration: event.duration / self.ticks.max(1),
            ..event
        })
    }

    /// Returns the payload of an event with its duration in this clock. A longer duration than the
    /// field can hold saturates.
    pub fn octets(self, event: EventPayload) -> [u8; 4] {
        EventPayload {
            duration: event.duration.saturating_mul(self.ticks),
            ..event
        }
        .octets()
    }
}

/// Payload of a telephone-event packet (RFC 4733, section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPayload {
    /// The key.
    pub digit: Digit,
    /// End bit: the key was released.
    pub end: bool,
    /// Level in dB below 0 dBm0, 0 to 63.
    pub volume: u8,
    /// Duration since the press, in samples.
    pub duration: u16,
}

impl EventPayload {
    /// Parses an event with a duration in a clock of 8 kHz. Returns `None` unless the payload is
    /// four octets with the event of a key; flash and fax tones are not keys.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [event, flags, d0, d1] = *payload else {
            return None;
        };
        let digit = Digit::from_event(event)?;
        let duration = u16::from_be_bytes([d0, d1]);
        Some(Self {
            digit,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration,
        })
    }

    /// Returns the four octets of the payload, with the reserved bit clear.
    pub fn octets(&self) -> [u8; 4] {
        let [d0, d1] = self.duration.to_be_bytes();
        [
            self.digit.event(),
            u8::from(self.end) << 7 | (self.volume & 0x3f),
            d0,
            d1,
        ]
    }
}
