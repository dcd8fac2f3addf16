//! Receiver of telephone-events (RFC 4733).

use std::{collections::VecDeque, time::Duration};

use super::press::{MAX_STEP_IN_PRESS, Press, Relation, Report};
use crate::{Digit, EventFormat, EventPayload, Header};

/// Maximum number of remembered presses before the current one.
const MAX_EARLIER_PRESSES: usize = 8;

/// Receiver that turns telephone-event packets into digits. A press yields one digit in spite of
/// loss, repetition, reordering, and senders that do not follow the RFC.
///
/// The first packet to arrive reports the press, even if it is the last one sent. Late packets of
/// an earlier press are ignored.
#[derive(Debug, Clone, Default)]
pub struct EventReceiver {
    current: Option<Press>,
    /// Presses before the current one, from old to new.
    earlier: VecDeque<Press>,
    irregular: bool,
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

impl EventReceiver {
    /// Receives a packet of a negotiated payload type. Returns the digits of the presses that start
    /// with the packet, usually none or one. The timestamp counts samples at 8 kHz.
    pub fn receive(
        &mut self,
        header: &Header,
        format: EventFormat,
        payload: &[u8],
        now: Duration,
    ) -> Vec<Digit> {
        let mut digits = Vec::new();
        let mut behind = None;
        let mut report = None;
        for event in format.parse_all(payload) {
            let mut next = Report::next(header, &event, report.as_ref(), now);
            next.max_duration /= format.ticks.max(1);
            // All events of a packet have its sequence number.
            let behind = *behind.get_or_insert_with(|| {
                self.current.is_some_and(|current| current.is_behind(&next))
            });
            let first = report.is_none();
            if self.receive_report(&next, behind) {
                self.irregular |= !first;
                digits.push(event.digit);
            }
            report = Some(next);
        }
        digits
    }

    /// Returns `true` if the current press is recognized only by evidence beyond RFC 4733. Its
    /// packets must not be forwarded, because their receiver may count another number of presses.
    pub fn is_irregular(&self) -> bool {
        self.irregular
    }

    /// Receives the report of an event. Returns `true` if it starts a press.
    fn receive_report(&mut self, report: &Report, behind: bool) -> bool {
        let (last, step) = (self.last, report.sequence.wrapping_sub(self.last));
        self.last = report.sequence;
        let Some(current) = self.current.as_mut() else {
            self.start_press(report);
            return true;
        };
        let relation = current.relation(report, behind, self.earlier.iter().copied());
        match relation {
            Relation::Continues | Relation::Repeated => {
                if relation == Relation::Continues {
                    current.extend(report);
                }
                self.report.on_sequence_step(step);
                self.last = if step as i16 > 0 {
                    report.sequence
                } else {
                    last
                };
                false
            }
            Relation::Earlier => {
                self.report.late_packets = self.report.late_packets.saturating_add(1);
                false
            }
            Relation::New => {
                self.start_press(report);
                true
            }
        }
    }

    fn start_press(&mut self, report: &Report) {
        self.report.on_press_ended(self.current.as_ref());
        self.report.end_only = self.report.end_only.saturating_add(u32::from(report.end));
        self.irregular = false;
        if let Some(before) = self.current.replace(Press::new(report)) {
            self.irregular = !before.is_followed_regularly_by(report);
            if self.earlier.len() == MAX_EARLIER_PRESSES {
                self.earlier.pop_front();
            }
            self.earlier.push_back(before);
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
        let lost = press.is_some_and(|press| !press.ended);
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

impl Report {
    /// Creates the report of the next event of a packet. It starts at the end of the previous one
    /// (RFC 4733, section 2.5.1.5).
    fn next(header: &Header, event: &EventPayload, previous: Option<&Self>, now: Duration) -> Self {
        let start = previous.map(|previous| {
            previous
                .timestamp
                .wrapping_add(u32::from(previous.duration))
        });
        Self {
            ssrc: header.ssrc,
            sequence: header.sequence,
            timestamp: start.unwrap_or(header.timestamp),
            marker: header.marker && previous.is_none(),
            digit: event.digit,
            end: event.end,
            duration: event.duration,
            max_duration: u16::MAX,
            now,
        }
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

    const FORMAT: EventFormat = EventFormat {
        payload_type: 101,
        ticks: 1,
    };

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
        let mut received = String::new();
        for ((header, payload), index) in packets.iter().zip(0..) {
            let now = 20 * Duration::from_millis(index);
            let digits = receiver.receive(header, FORMAT, payload, now);
            received.extend(digits.into_iter().map(Digit::expose));
        }
        received
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
    fn another_key_with_the_same_timestamp_is_a_new_press_unless_it_is_late() {
        let [mut one, mut two] = ['1', '2'].map(|key| packet(1000, key, false, 160));
        (one.0.sequence, two.0.sequence) = (1, 2);
        assert_eq!(received_digits(&[one, two, one]), "12");
        assert_eq!(received_digits(&[two, one]), "2");
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

    #[test]
    fn a_source_that_changes_within_a_press_continues_it() {
        let moved = |sequence, end| {
            let mut moved = packet(1000, '1', end, 320);
            moved.0.ssrc = 2;
            moved.0.sequence = sequence;
            moved
        };
        let first = packet(1000, '1', false, 160);
        let next = first.0.sequence.wrapping_add(1);
        let packets = [first, moved(next, false), moved(next.wrapping_add(1), true)];
        assert_eq!(received_digits(&packets), "1");
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
                FORMAT,
                &payload,
                Duration::ZERO,
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
        receiver.receive(&header, FORMAT, &payload, Duration::ZERO);
        receiver.on_other_packet(&Header {
            sequence: 1,
            ..header
        });
        receiver.receive(
            &Header {
                sequence: 2,
                ..header
            },
            FORMAT,
            &payload,
            Duration::ZERO,
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
            &[1; 44],
        ] {
            assert!(
                receiver
                    .receive(&header, FORMAT, payload, Duration::ZERO)
                    .is_empty()
            );
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
                header.sequence = 65_530u16.wrapping_add(packets.len() as u16);
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
                let header = Header { marker: bits & 1 == 0, payload_type: 101, sequence: u16::from(bits), timestamp, ssrc: u32::from(bits & 2) };
                let _ = receiver.receive(&header, FORMAT, &payload, Duration::ZERO);
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
