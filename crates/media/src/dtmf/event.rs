//! Telephone-events as received (RFC 4733).

use crate::{Digit, Header};

/// Two seconds of timestamps: how late a packet of an earlier press may come and still be known as such.
const MAX_LATE_SAMPLES: i32 = 16_000;

/// Telephone-events as a party negotiated them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Their payload type.
    pub payload_type: u8,
    /// Ticks of the clock of their durations in a sample of 8 kHz: 1, or 6 for `telephone-event/48000`.
    pub ticks: u16,
}

impl TelephoneEvent {
    /// `telephone-event/8000` under this payload type.
    pub fn at_8000(payload_type: u8) -> Self {
        Self {
            payload_type,
            ticks: 1,
        }
    }

    /// `telephone-event/48000` under this payload type.
    pub fn at_48000(payload_type: u8) -> Self {
        Self {
            payload_type,
            ticks: 6,
        }
    }

    /// Reads an event whose duration is under this clock.
    pub fn parse(self, payload: &[u8]) -> Option<EventPayload> {
        let event = EventPayload::parse(payload)?;
        Some(EventPayload {
            duration: event.duration / self.ticks.max(1),
            ..event
        })
    }

    /// The payload of an event under this clock; one that lasts longer than can be said lasts as long as can be said.
    pub fn octets(self, event: EventPayload) -> [u8; 4] {
        EventPayload {
            duration: event.duration.saturating_mul(self.ticks),
            ..event
        }
        .octets()
    }
}

/// The payload of one telephone-event packet (RFC 4733, section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPayload {
    /// The key.
    pub digit: Digit,
    /// Whether the key was let go.
    pub end: bool,
    /// Level below 0 dBm0, in dB, 0 to 63.
    pub volume: u8,
    /// Since the press, in samples.
    pub duration: u16,
}

impl EventPayload {
    /// Reads one event with a duration under a clock of 8 kHz; `None` for anything but four octets of a keypad's event (flash, fax tones).
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

    /// The four octets of the payload, with the reserved bit clear.
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

/// Finds the presses in a stream of telephone-event packets: one press is one digit, whatever was lost, repeated or
/// reordered.
///
/// A press is known by its RTP timestamp, which all of its packets share. It is reported with the first packet that
/// arrives, be that the last one sent. Packets of an earlier press that come late are ignored.
#[derive(Debug, Clone, Default)]
pub struct EventReceiver {
    current: Option<Press>,
    /// The sequence number of the last packet of any kind.
    last: u16,
    report: EventReport,
}

/// How well telephone-events came through; never of which keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventReport {
    /// Packets that are missing inside presses, by their sequence numbers.
    pub lost_packets: u32,
    /// Presses of which no end packet arrived.
    pub lost_ends: u32,
    /// Presses of which nothing but end packets arrived.
    pub end_only: u32,
    /// Packets of an earlier press that came too late and were dropped.
    pub late_packets: u32,
}

#[derive(Debug, Clone, Copy)]
struct Press {
    ssrc: u32,
    timestamp: u32,
    payload: EventPayload,
}

/// More missing packets in a row than a press lasts: another stream, not loss.
const MAX_LOST_IN_PRESS: u16 = 250;

impl EventReceiver {
    /// Takes one packet of the negotiated telephone-event payload type; gives the digit when it starts a press. Its timestamp
    /// and duration are under one clock.
    pub fn receive(&mut self, header: &Header, payload: &[u8]) -> Option<Digit> {
        self.receive_parsed(header, EventPayload::parse(payload)?)
    }

    /// Like [`EventReceiver::receive`], of a payload that was read.
    pub fn receive_parsed(&mut self, header: &Header, payload: EventPayload) -> Option<Digit> {
        let press = Press {
            ssrc: header.ssrc,
            timestamp: header.timestamp,
            payload,
        };
        let (last, step) = (self.last, header.sequence.wrapping_sub(self.last));
        self.last = header.sequence;
        match self.current.as_mut() {
            Some(current) if current.is_same_press(&press, header.marker) => {
                current.extend(&press);
                self.report.on_sequence_step(step);
                self.last = if step as i16 > 0 {
                    header.sequence
                } else {
                    last
                };
                None
            }
            Some(current) if current.is_after(&press) => {
                self.report.late_packets = self.report.late_packets.saturating_add(1);
                None
            }
            _ => {
                self.report.on_press_ended(self.current.as_ref());
                self.report.end_only = self.report.end_only.saturating_add(u32::from(payload.end));
                self.current = Some(press);
                Some(payload.digit)
            }
        }
    }

    /// Takes note of a packet of another kind in the same stream, so that it is not missed in a press.
    pub fn on_other_packet(&mut self, header: &Header) {
        self.last = header.sequence;
    }

    /// What came of the events so far; a press that lasts is without its end.
    pub fn report(&self) -> EventReport {
        let mut report = self.report;
        report.on_press_ended(self.current.as_ref());
        report
    }
}

impl EventReport {
    fn on_press_ended(&mut self, press: Option<&Press>) {
        let lost = press.is_some_and(|press| !press.payload.end);
        self.lost_ends = self.lost_ends.saturating_add(u32::from(lost));
    }

    /// Counts what lies between two packets of a press; one that comes late after all was not lost.
    fn on_sequence_step(&mut self, step: u16) {
        match step {
            2..MAX_LOST_IN_PRESS => {
                self.lost_packets = self.lost_packets.saturating_add(u32::from(step - 1))
            }
            step if step.wrapping_neg() < MAX_LOST_IN_PRESS && step != 0 => {
                self.lost_packets = self.lost_packets.saturating_sub(1);
            }
            _ => {}
        }
    }
}

impl Press {
    /// Whether `other` belongs to this press: it has the same timestamp, or it continues it.
    ///
    /// Events longer than 65535 samples go on under a new timestamp (RFC 4733, section 2.5.1.3), and some gateways
    /// move the timestamp with each packet. Both stay inside the time this press is known to have lasted.
    fn is_same_press(&self, other: &Self, marker: bool) -> bool {
        if self.ssrc != other.ssrc {
            return false;
        }
        let ahead = other.timestamp.wrapping_sub(self.timestamp);
        let continues = !marker && self.payload.digit == other.payload.digit;
        let within = ahead <= u32::from(self.payload.duration);
        let long = !self.payload.end && ahead == u32::from(u16::MAX);
        ahead == 0 || (continues && (within || long))
    }

    fn is_after(&self, other: &Self) -> bool {
        let ahead = other.timestamp.wrapping_sub(self.timestamp) as i32;
        self.ssrc == other.ssrc && (-MAX_LATE_SAMPLES..0).contains(&ahead)
    }

    fn extend(&mut self, other: &Self) {
        if other.timestamp != self.timestamp {
            self.timestamp = other.timestamp;
            self.payload.duration = 0;
        }
        self.payload.end |= other.payload.end;
        self.payload.duration = self.payload.duration.max(other.payload.duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventSender, EventStep};
    use proptest::prelude::*;

    fn digit(symbol: char) -> Digit {
        Digit::try_from(symbol).unwrap()
    }

    fn packet(timestamp: u32, symbol: char, end: bool, duration: u16) -> (Header, [u8; 4]) {
        let header = Header {
            marker: false,
            payload_type: 101,
            sequence: 0,
            timestamp,
            ssrc: 1,
        };
        (
            header,
            EventPayload {
                digit: digit(symbol),
                end,
                volume: 10,
                duration,
            }
            .octets(),
        )
    }

    fn received_digits(packets: &[(Header, [u8; 4])]) -> String {
        let mut receiver = EventReceiver::default();
        packets
            .iter()
            .filter_map(|(header, payload)| receiver.receive(header, payload))
            .map(Digit::expose)
            .collect()
    }

    #[test]
    fn one_press_with_three_end_packets_is_one_digit() {
        let packets = [
            (false, 160),
            (false, 320),
            (true, 480),
            (true, 480),
            (true, 480),
        ];
        assert_eq!(
            received_digits(&packets.map(|(end, duration)| packet(1000, '5', end, duration))),
            "5"
        );
    }

    #[test]
    fn a_press_of_which_only_the_last_packet_arrives_counts() {
        assert_eq!(
            received_digits(&[packet(1000, '5', true, 800), packet(3000, '5', true, 800)]),
            "55"
        );
    }

    #[test]
    fn a_press_whose_end_was_lost_does_not_swallow_the_next() {
        assert_eq!(
            received_digits(&[packet(1000, '5', false, 160), packet(3000, '5', false, 160)]),
            "55"
        );
    }

    #[test]
    fn a_late_packet_of_the_press_before_is_ignored() {
        let packets = [
            packet(1000, '1', false, 160),
            packet(3000, '2', false, 160),
            packet(1000, '1', true, 800),
        ];
        assert_eq!(received_digits(&packets), "12");
    }

    #[test]
    fn a_key_held_beyond_the_longest_duration_is_one_press() {
        let packets = [
            packet(1000, '9', false, 65_000),
            packet(66_535, '9', false, 160),
            packet(66_535, '9', true, 800),
        ];
        assert_eq!(received_digits(&packets), "9");
    }

    #[test]
    fn a_gateway_that_moves_the_timestamp_with_each_packet_sends_one_press() {
        let packets = [
            packet(1000, '9', false, 160),
            packet(1160, '9', false, 320),
            packet(1320, '9', true, 480),
        ];
        assert_eq!(received_digits(&packets), "9");
        assert_eq!(
            received_digits(&[packet(1000, '9', true, 480), packet(1160, '9', true, 480)]),
            "9"
        );
    }

    #[test]
    fn another_event_code_under_the_same_timestamp_is_not_another_press() {
        assert_eq!(
            received_digits(&[packet(1000, '1', false, 160), packet(1000, '2', false, 320)]),
            "1"
        );
    }

    #[test]
    fn a_new_source_starts_a_new_press() {
        let mut other = packet(1000, '1', false, 160);
        other.0.ssrc = 2;
        assert_eq!(
            received_digits(&[packet(1000, '1', false, 160), other]),
            "11"
        );
    }

    fn report_for(packets: &[(u16, u32, bool)]) -> EventReport {
        let mut receiver = EventReceiver::default();
        for (sequence, timestamp, end) in packets {
            let (header, payload) = packet(*timestamp, '5', *end, 160);
            receiver.receive(
                &Header {
                    sequence: *sequence,
                    ..header
                },
                &payload,
            );
        }
        receiver.report()
    }

    #[test]
    fn what_was_lost_of_events_is_counted() {
        let whole = [
            (0, 1000, false),
            (1, 1000, false),
            (2, 1000, true),
            (3, 1000, true),
        ];
        assert_eq!(report_for(&whole), EventReport::default());
        let gap = [(65_535, 1000, false), (2, 1000, true)];
        assert_eq!(
            report_for(&gap),
            EventReport {
                lost_packets: 2,
                ..EventReport::default()
            }
        );
        let reordered = [
            (0, 1000, false),
            (2, 1000, false),
            (1, 1000, false),
            (3, 1000, true),
        ];
        assert_eq!(report_for(&reordered), EventReport::default());
        let no_end = [(0, 1000, false), (9, 3000, false)];
        assert_eq!(
            report_for(&no_end),
            EventReport {
                lost_ends: 2,
                ..EventReport::default()
            }
        );
        let end_alone = [(9, 3000, true), (2, 1000, true)];
        let expected = EventReport {
            end_only: 1,
            late_packets: 1,
            ..EventReport::default()
        };
        assert_eq!(report_for(&end_alone), expected);
    }

    #[test]
    fn audio_sent_between_the_packets_of_an_event_is_no_loss() {
        let mut receiver = EventReceiver::default();
        let (header, payload) = packet(1000, '5', true, 160);
        receiver.receive(&header, &payload);
        receiver.on_other_packet(&Header {
            sequence: 1,
            ..header
        });
        receiver.receive(
            &Header {
                sequence: 2,
                ..header
            },
            &payload,
        );
        assert_eq!(receiver.report().lost_packets, 0);
    }

    #[test]
    fn flash_and_malformed_events_are_no_digits() {
        let mut receiver = EventReceiver::default();
        let (header, _) = packet(1, '0', false, 0);
        for payload in [
            &[][..],
            &[1, 0, 0],
            &[16, 0, 0, 160],
            &[255, 0x80, 0, 0],
            &[1, 0, 0, 160, 1, 0, 0, 160],
        ] {
            assert_eq!(receiver.receive(&header, payload), None);
        }
    }

    /// What a sender puts on the wire for these keys.
    fn sent_packets(keys: &str) -> Vec<(Header, [u8; 4])> {
        let mut sender = EventSender::default();
        sender.press(keys.chars().map(digit));
        let mut timestamp = 0xffff_0000u32;
        let mut start = timestamp;
        let mut packets = Vec::new();
        while let Some(step) = sender.tick() {
            if let EventStep::Packet { first, payload } = step {
                start = if first { timestamp } else { start };
                let (mut header, _) = packet(start, '0', false, 0);
                header.marker = first;
                packets.push((header, payload.octets()));
            }
            timestamp = timestamp.wrapping_add(160);
        }
        packets
    }

    proptest! {
        #[test]
        fn what_was_pressed_is_heard_despite_loss_repeats_and_reordering(
            keys in "[0-9*#A-D]{1,12}",
            network_effects in proptest::collection::vec(0u8..10, 120),
        ) {
            let packets = sent_packets(&keys);
            let mut arriving: Vec<(Header, [u8; 4])> = Vec::new();
            for (index, packet) in packets.iter().enumerate() {
                let last_of_press = packets.get(index + 1).is_none_or(|next| next.0.timestamp != packet.0.timestamp);
                match network_effects[index % network_effects.len()] {
                    0..=2 if !last_of_press => {}
                    3 => arriving.extend([*packet, *packet]),
                    4 => arriving.insert(arriving.len().saturating_sub(2), *packet),
                    _ => arriving.push(*packet),
                }
            }
            prop_assume!(in_order(&arriving));
            prop_assert_eq!(received_digits(&arriving), keys);
        }

        #[test]
        fn any_packets_are_taken(
            packets in proptest::collection::vec((any::<u32>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 0..8)), 0..50),
        ) {
            let mut receiver = EventReceiver::default();
            for (timestamp, bits, payload) in packets {
                let header = Header { marker: bits & 1 == 0, payload_type: 101, sequence: 0, timestamp, ssrc: u32::from(bits & 2) };
                let _ = receiver.receive(&header, &payload);
            }
        }
    }

    /// Whether each press's first packet arrives before the next press's first.
    fn in_order(packets: &[(Header, [u8; 4])]) -> bool {
        let mut starts: Vec<u32> = Vec::new();
        for (header, _) in packets {
            if !starts.contains(&header.timestamp) {
                starts.push(header.timestamp);
            }
        }
        starts
            .windows(2)
            .all(|pair| (pair[1].wrapping_sub(pair[0]) as i32) > 0)
    }
}
