//! Sender of telephone-events (RFC 4733, section 2.5.1).

use std::collections::VecDeque;

use crate::{Digit, EventPayload, FRAME};

/// Packets during a press: 100 ms, twice the minimum for receivers in ITU-T Q.24.
const PRESS_PACKETS: u16 = 5;
/// Transmissions of the last packet (RFC 4733, section 2.5.1.4).
const END_PACKETS: u16 = 3;
/// Ticks of pause after a press. With the repeated end packets, two presses are 100 ms apart.
const PAUSE_TICKS: u16 = 3;
/// Level of the signalled tone in dB below 0 dBm0.
const VOLUME: u8 = 10;

/// Sender that turns digits into telephone-event packets, one every 20 ms.
#[derive(Debug, Clone, Default)]
pub struct EventSender {
    queue: VecDeque<Digit>,
    current: Option<(Digit, u16)>,
}

/// Result of a tick of 20 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventStep {
    /// Packet to send. All packets of a press have the RTP timestamp of its first packet, and the
    /// first has the marker bit.
    Packet {
        /// First packet of its press.
        first: bool,
        /// Payload of the packet.
        payload: EventPayload,
    },
    /// Pause between two presses.
    Pause,
}

impl EventSender {
    /// Adds presses to the end of the queue.
    pub fn press(&mut self, digits: impl IntoIterator<Item = Digit>) {
        self.queue.extend(digits);
    }

    /// Returns `true` if nothing is left to send.
    pub fn is_idle(&self) -> bool {
        self.current.is_none() && self.queue.is_empty()
    }

    /// Returns the next step; to be called every 20 ms until it returns `None`.
    pub fn tick(&mut self) -> Option<EventStep> {
        let (digit, step) = self
            .current
            .take()
            .or_else(|| Some((self.queue.pop_front()?, 0)))?;
        if step + 1 < PRESS_PACKETS + END_PACKETS - 1 + PAUSE_TICKS {
            self.current = Some((digit, step + 1));
        }
        if step >= PRESS_PACKETS + END_PACKETS - 1 {
            return Some(EventStep::Pause);
        }
        let duration = (step + 1).min(PRESS_PACKETS) * FRAME as u16;
        let payload = EventPayload {
            digit,
            end: step + 1 >= PRESS_PACKETS,
            volume: VOLUME,
            duration,
        };
        Some(EventStep::Packet {
            first: step == 0,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_press_grows_then_ends_three_times_then_pauses() {
        let mut sender = EventSender::default();
        sender.press([Digit::try_from('4').unwrap()]);
        let mut steps = Vec::new();
        while let Some(step) = sender.tick() {
            steps.push(match step {
                EventStep::Packet { first, payload } => {
                    Some((first, payload.end, payload.duration))
                }
                EventStep::Pause => None,
            });
        }
        let expected = [
            Some((true, false, 160)),
            Some((false, false, 320)),
            Some((false, false, 480)),
            Some((false, false, 640)),
            Some((false, true, 800)),
            Some((false, true, 800)),
            Some((false, true, 800)),
            None,
            None,
            None,
        ];
        assert_eq!(steps, expected);
        assert!(sender.is_idle());
    }

    #[test]
    fn queued_digits_follow_each_other() {
        let mut sender = EventSender::default();
        sender.press("12".chars().map(|symbol| Digit::try_from(symbol).unwrap()));
        let mut starts = String::new();
        while let Some(step) = sender.tick() {
            if let EventStep::Packet {
                first: true,
                payload,
            } = step
            {
                starts.push(payload.digit.expose());
            }
        }
        assert_eq!(starts, "12");
    }
}
