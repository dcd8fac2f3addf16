//! Receiver of telephone-events (RFC 4733).

use crate::{Digit, EventPayload, Header};

/// Maximum age of a late packet of an earlier press, in timestamp units: two seconds.
const MAX_LATE_SAMPLES: i32 = 16_000;

/// Receiver that turns telephone-event packets into digits. A press yields one digit in spite of
/// loss, repetition and reordering.
///
/// All packets of a press have the same RTP timestamp, which identifies it. The first packet to
/// arrive reports the press, even if it is the last one sent. Late packets of an earlier press are
/// ignored.
#[derive(Debug, Clone, Default)]
pub struct EventReceiver {
    current: Option<Press>,
    /// Sequence number of the last packet of any kind.
    last: u16,
    report: EventReport,
}

/// Quality of the received telephone-events. It never contains the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventReport {
    /// Number of packets missing inside presses, according to their sequence numbers.
    pub lost_packets: u32,
    /// Number of presses without an end packet.
    pub lost_ends: u32,
    /// Number of presses with nothing but end packets.
    pub end_only: u32,
    /// Number of dropped packets of an earlier press.
    pub late_packets: u32,
}

#[derive(Debug, Clone, Copy)]
struct Press {
    ssrc: u32,
    timestamp: u32,
    payload: EventPayload,
}

/// Limit for the step of sequence numbers inside a press. A step of this size or more is another
/// stream, not loss.
const MAX_STEP_IN_PRESS: u16 = 250;

impl EventReceiver {
    /// Receives a packet of the negotiated payload type. Returns the digit if the packet starts a
    /// press. The timestamp and the duration must use the same clock.
    pub fn receive(&mut self, header: &Header, payload: &[u8]) -> Option<Digit> {
        self.receive_parsed(header, EventPayload::parse(payload)?)
    }

    /// Like [`EventReceiver::receive`], for a parsed payload.
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

    /// Records a packet of another kind in the same stream, so its sequence number does not count
    /// as lost.
    pub fn on_other_packet(&mut self, header: &Header) {
        self.last = header.sequence;
    }

    /// Returns the statistics so far. A press in progress counts as one without an end.
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

    /// Counts the packets missing between two packets of a press. A late packet corrects the count.
    fn on_sequence_step(&mut self, step: u16) {
        match step {
            2..MAX_STEP_IN_PRESS => {
                self.lost_packets = self.lost_packets.saturating_add(u32::from(step - 1))
            }
            step if step.wrapping_neg() < MAX_STEP_IN_PRESS && step != 0 => {
                self.lost_packets = self.lost_packets.saturating_sub(1);
            }
            _ => {}
        }
    }
}

impl Press {
    /// Returns `true` if `other` belongs to this press: it has the same timestamp, or it continues
    /// the press.
    ///
    /// Events longer than 65535 samples continue with a new timestamp (RFC 4733, section 2.5.1.3),
    /// and some gateways change the timestamp in each packet. Both stay within the known duration
    /// of the press.
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
    fn a_press_with_only_its_last_packet_counts() {
        assert_eq!(
            received_digits(&[packet(1000, '5', true, 800), packet(3000, '5', true, 800)]),
            "55"
        );
    }

    #[test]
    fn a_lost_end_packet_does_not_hide_the_next_press() {
        assert_eq!(
            received_digits(&[packet(1000, '5', false, 160), packet(3000, '5', false, 160)]),
            "55"
        );
    }

    #[test]
    fn a_late_packet_of_the_previous_press_is_ignored() {
        let packets = [
            packet(1000, '1', false, 160),
            packet(3000, '2', false, 160),
            packet(1000, '1', true, 800),
        ];
        assert_eq!(received_digits(&packets), "12");
    }

    #[test]
    fn a_key_held_beyond_the_maximum_duration_is_one_press() {
        let packets = [
            packet(1000, '9', false, 65_000),
            packet(66_535, '9', false, 160),
            packet(66_535, '9', true, 800),
        ];
        assert_eq!(received_digits(&packets), "9");
    }

    #[test]
    fn changing_timestamps_from_a_gateway_are_one_press() {
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
    fn another_event_code_with_the_same_timestamp_is_not_a_new_press() {
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
    fn lost_packets_of_events_are_counted() {
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
    fn audio_between_the_packets_of_an_event_does_not_count_as_loss() {
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
    fn flash_and_malformed_events_are_not_digits() {
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

    /// Returns the packets of a sender for these keys.
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
        fn presses_are_received_in_spite_of_loss_repetition_and_reordering(
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
        fn any_packets_are_accepted_without_a_panic(
            packets in proptest::collection::vec((any::<u32>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 0..8)), 0..50),
        ) {
            let mut receiver = EventReceiver::default();
            for (timestamp, bits, payload) in packets {
                let header = Header { marker: bits & 1 == 0, payload_type: 101, sequence: 0, timestamp, ssrc: u32::from(bits & 2) };
                let _ = receiver.receive(&header, &payload);
            }
        }
    }

    /// Returns `true` if the first packets of all presses arrive in the order of the presses.
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
