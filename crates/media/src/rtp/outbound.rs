//! RTP stream to a party.

use std::time::Duration;

use crate::{FRAME, Header, samples_in};

/// Maximum gap of sequence numbers between two relayed packets. A greater gap is a restart of the
/// stream.
const MAX_GAP: u16 = 200;
/// Maximum gap of samples between two relayed packets (pauses, discontinuous transmission): one
/// minute.
const MAX_PAUSE: i32 = 60 * 8000;

/// Numbering of all packets to a party. Prompts, ring-back, events and bridged audio form one
/// stream with one synchronization source, like the stream of a single device.
///
/// Only the *steps* of sequence number and timestamp are copied from a relayed packet, so the
/// receiver sees its loss and reordering. Its values, source, extensions and contributing sources
/// never pass. Timestamps in arguments count samples of 8 kHz; timestamps of the stream use the
/// clock of its codec.
#[derive(Debug, Clone)]
pub struct OutboundStream {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    last_at: Option<Duration>,
    clock: Clock,
    last_origin: PacketOrigin,
    packets: u32,
    octets: u32,
}

/// Conversion of samples of 8 kHz to timestamps, from a common origin.
#[derive(Debug, Clone, Copy)]
struct Clock {
    ticks: u32,
    sample: u32,
    timestamp: u32,
}

impl Clock {
    fn timestamp(&self, sample: u32) -> u32 {
        self.timestamp
            .wrapping_add(sample.wrapping_sub(self.sample).wrapping_mul(self.ticks))
    }
}

/// Origin of the last packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PacketOrigin {
    Own,
    Event {
        start: u32,
    },
    /// `missing` is a bit mask of the skipped numbers before `sequence` that can still arrive, with
    /// the nearest as the lowest bit. Their offset to the numbers of the stream has not changed.
    Relayed {
        ssrc: u32,
        sequence: u16,
        timestamp: u32,
        missing: u128,
    },
}

impl OutboundStream {
    /// Creates a stream with a random source and random first numbers (RFC 3550, section 5.1).
    pub fn new(ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        let clock = Clock {
            ticks: 1,
            sample: timestamp,
            timestamp,
        };
        Self {
            ssrc,
            sequence,
            timestamp,
            last_at: None,
            clock,
            last_origin: PacketOrigin::Own,
            packets: 0,
            octets: 0,
        }
    }

    /// Changes the clock to this number of ticks per sample ([`crate::Codec::ticks`]), starting at
    /// the last timestamp (RFC 7160, section 4.1).
    pub fn set_ticks(&mut self, ticks: u32) {
        let timestamp = self.clock.timestamp(self.timestamp);
        self.clock = Clock {
            ticks,
            sample: self.timestamp,
            timestamp,
        };
    }

    /// Returns the ticks of the clock per sample of 8 kHz.
    pub fn ticks(&self) -> u32 {
        self.clock.ticks
    }

    /// Returns the synchronization source of the stream.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Returns the number of packets sent; wraps.
    pub fn packets(&self) -> u32 {
        self.packets
    }

    /// Returns the number of payload octets sent; wraps.
    pub fn octets(&self) -> u32 {
        self.octets
    }

    /// Returns the RTP timestamp of `now`, for sender reports.
    pub fn timestamp_at(&self, now: Duration) -> u32 {
        let since = self
            .last_at
            .map_or(Duration::ZERO, |last| now.saturating_sub(last));
        self.clock
            .timestamp(self.timestamp.wrapping_add(samples_in(since)))
    }

    /// Returns the first sample of the last packet, at 8 kHz.
    pub fn sample(&self) -> u32 {
        self.timestamp
    }

    /// Counts a sent packet with a payload of `octets`.
    pub fn sent(&mut self, octets: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(octets as u32);
    }

    /// Returns the header for 20 ms of our own audio.
    pub fn own_audio(&mut self, payload_type: u8, now: Duration) -> Header {
        let continues = self.last_origin == PacketOrigin::Own && self.is_recent(now);
        let timestamp = if continues {
            self.timestamp.wrapping_add(FRAME as u32)
        } else {
            self.timestamp_after_pause(now)
        };
        self.last_origin = PacketOrigin::Own;
        self.next(payload_type, !continues, timestamp, now)
    }

    /// Returns the header for a telephone-event packet of our own. All packets of a press have the
    /// timestamp of the first.
    pub fn event(&mut self, payload_type: u8, first: bool, now: Duration) -> Header {
        let start = match self.last_origin {
            PacketOrigin::Event { start } if !first => start,
            _ => self.timestamp_after_pause(now),
        };
        let header = self.next(payload_type, first, start, now);
        self.last_origin = PacketOrigin::Event { start };
        header
    }

    /// Returns the header for a packet of the other party; `None` if the packet is repeated or too
    /// old, and must not be sent.
    pub fn relay(&mut self, from: &Header, payload_type: u8, now: Duration) -> Option<Header> {
        let Some((step, elapsed, missing)) = self.steps(from) else {
            let timestamp = self.timestamp_after_pause(now);
            let header = self.next(payload_type, true, timestamp, now);
            self.set_relayed(from, 0);
            return Some(header);
        };
        if step <= 0 {
            return self
                .fill_missing(step)
                .then(|| self.late_header(from, payload_type, step, elapsed));
        }
        self.sequence = self.sequence.wrapping_add(step as u16 - 1);
        let timestamp = self.timestamp.wrapping_add(elapsed as u32);
        let header = self.next(payload_type, from.marker, timestamp, now);
        self.set_relayed(from, shift_missing(missing, step.unsigned_abs()));
        Some(header)
    }

    /// Skips a packet of the other party that is not forwarded, so that it leaves no gap in our
    /// sequence numbers.
    pub fn skip(&mut self, from: &Header) {
        if let PacketOrigin::Relayed {
            ssrc,
            sequence,
            timestamp,
            missing,
        } = &mut self.last_origin
            && *ssrc == from.ssrc
            && from.sequence.wrapping_sub(*sequence) < MAX_GAP
            && from.sequence != *sequence
        {
            self.timestamp = self
                .timestamp
                .wrapping_add(from.timestamp.wrapping_sub(*timestamp));
            *sequence = from.sequence;
            *timestamp = from.timestamp;
            *missing = 0;
        }
    }

    /// Returns the steps of sequence and timestamp since the last relayed packet, and its mask of
    /// missing packets. Returns `None` if the packet does not continue the stream.
    fn steps(&self, from: &Header) -> Option<(i16, i32, u128)> {
        let PacketOrigin::Relayed {
            ssrc,
            sequence,
            timestamp,
            missing,
        } = self.last_origin
        else {
            return None;
        };
        let step = from.sequence.wrapping_sub(sequence) as i16;
        let elapsed = from.timestamp.wrapping_sub(timestamp) as i32;
        let near = step.unsigned_abs() <= MAX_GAP && elapsed.unsigned_abs() <= MAX_PAUSE as u32;
        (ssrc == from.ssrc && near).then_some((step, elapsed, missing))
    }

    /// Returns `true` if the packet this many steps back is missing, and clears its bit.
    fn fill_missing(&mut self, step: i16) -> bool {
        let PacketOrigin::Relayed { missing, .. } = &mut self.last_origin else {
            return false;
        };
        let bit = u32::from(step.unsigned_abs())
            .checked_sub(1)
            .and_then(|back| 1u128.checked_shl(back));
        let fills = bit.is_some_and(|bit| *missing & bit != 0);
        *missing &= !bit.unwrap_or(0);
        fills
    }

    fn late_header(&self, from: &Header, payload_type: u8, step: i16, elapsed: i32) -> Header {
        Header {
            marker: from.marker,
            payload_type,
            sequence: self.sequence.wrapping_sub(1).wrapping_add(step as u16),
            timestamp: self
                .clock
                .timestamp(self.timestamp.wrapping_add(elapsed as u32)),
            ssrc: self.ssrc,
        }
    }

    fn set_relayed(&mut self, from: &Header, missing: u128) {
        self.last_origin = PacketOrigin::Relayed {
            ssrc: from.ssrc,
            sequence: from.sequence,
            timestamp: from.timestamp,
            missing,
        };
    }

    fn is_recent(&self, now: Duration) -> bool {
        self.last_at
            .is_some_and(|last| now.saturating_sub(last) < Duration::from_millis(100))
    }

    /// Returns the timestamp for a packet that does not continue the one before: it advances by the
    /// elapsed time.
    fn timestamp_after_pause(&self, now: Duration) -> u32 {
        let Some(last) = self.last_at else {
            return self.timestamp;
        };
        self.timestamp
            .wrapping_add(samples_in(now.saturating_sub(last)).max(FRAME as u32))
    }

    fn next(&mut self, payload_type: u8, marker: bool, timestamp: u32, now: Duration) -> Header {
        let (sequence, ssrc) = (self.sequence, self.ssrc);
        let header = Header {
            marker,
            payload_type,
            sequence,
            timestamp: self.clock.timestamp(timestamp),
            ssrc,
        };
        self.sequence = self.sequence.wrapping_add(1);
        if self.timestamp != timestamp || self.last_at.is_none() {
            self.timestamp = timestamp;
            self.last_at = Some(now);
        }
        header
    }
}

/// Returns the mask of missing packets before a packet `step` numbers after the last one.
fn shift_missing(missing: u128, step: u16) -> u128 {
    let between = 1u128
        .checked_shl(u32::from(step).saturating_sub(1))
        .map_or(u128::MAX, |bit| bit - 1);
    missing.checked_shl(step.into()).unwrap_or(0) | between
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn inbound(ssrc: u32, sequence: u16, timestamp: u32) -> Header {
        Header {
            marker: false,
            payload_type: 8,
            sequence,
            timestamp,
            ssrc,
        }
    }

    #[test]
    fn prompt_then_bridge_then_event_is_one_gapless_stream() {
        let mut stream = OutboundStream::new(7, 0xfffe, 0xffff_ff00);
        let mut headers = vec![stream.own_audio(8, at(0)), stream.own_audio(8, at(20))];
        headers.extend(stream.relay(&inbound(99, 5, 1_000_000), 8, at(50)));
        headers.extend(stream.relay(&inbound(99, 6, 1_000_160), 8, at(70)));
        headers.extend([
            stream.event(101, true, at(90)),
            stream.event(101, false, at(110)),
        ]);
        headers.extend(stream.relay(&inbound(99, 9, 1_000_640), 8, at(130)));
        assert!(headers.iter().all(|header| header.ssrc == 7));
        let sequences: Vec<u16> = headers
            .iter()
            .map(|header| header.sequence.wrapping_sub(0xfffe))
            .collect();
        assert_eq!(sequences, [0, 1, 2, 3, 4, 5, 6]);
        let times: Vec<u32> = headers
            .iter()
            .map(|header| header.timestamp.wrapping_sub(0xffff_ff00))
            .collect();
        assert_eq!(times, [0, 160, 400, 560, 720, 720, 1040]);
        let markers: Vec<bool> = headers.iter().map(|header| header.marker).collect();
        assert_eq!(markers, [true, false, true, false, true, false, true]);
    }

    #[test]
    fn loss_and_reordering_pass_as_steps_and_repeats_are_dropped() {
        let mut stream = OutboundStream::new(7, 100, 0);
        let relayed: Vec<Option<(u16, u32)>> = [10u16, 11, 14, 13, 14, 15]
            .iter()
            .map(|sequence| {
                stream.relay(&inbound(1, *sequence, u32::from(*sequence) * 160), 8, at(0))
            })
            .map(|header| header.map(|header| (header.sequence, header.timestamp)))
            .collect();
        let expected = [
            Some((100, 0)),
            Some((101, 160)),
            Some((104, 640)),
            Some((103, 480)),
            None,
            Some((105, 800)),
        ];
        assert_eq!(relayed, expected);
    }

    #[test]
    fn a_repeated_late_packet_passes_only_once() {
        let mut stream = OutboundStream::new(7, 100, 0);
        let mut relay = |sequence: u16| {
            let from = inbound(1, sequence, u32::from(sequence) * 160);
            stream.relay(&from, 8, at(0)).map(|header| header.sequence)
        };
        let relayed = [10, 13, 11, 11, 12, 12, 11, 10, 9].map(&mut relay);
        assert_eq!(
            relayed,
            [
                Some(100),
                Some(103),
                Some(101),
                None,
                Some(102),
                None,
                None,
                None,
                None
            ]
        );
        let relayed = [150, 149, 14, 22, 23, 23, 149].map(&mut relay);
        let expected = [Some(240), Some(239), None, Some(112), Some(113), None, None];
        assert_eq!(relayed, expected, "a packet 128 numbers back is too late");
    }

    #[test]
    fn a_skipped_packet_leaves_a_gap_in_time_but_not_in_numbers() {
        let mut stream = OutboundStream::new(7, 100, 0);
        stream.relay(&inbound(1, 10, 0), 8, at(0));
        stream.skip(&inbound(1, 11, 160));
        let header = stream.relay(&inbound(1, 12, 320), 8, at(40)).unwrap();
        assert_eq!((header.sequence, header.timestamp), (101, 320));
    }

    #[test]
    fn a_new_clock_continues_from_the_last_timestamp() {
        let mut stream = OutboundStream::new(7, 0, 0xffff_ff00);
        let first = stream.own_audio(8, at(0)).timestamp;
        stream.set_ticks(6);
        let times = [
            stream.own_audio(96, at(20)),
            stream.own_audio(96, at(40)),
            stream.event(101, true, at(60)),
        ];
        assert_eq!(
            times.map(|header| header.timestamp.wrapping_sub(first)),
            [960, 1920, 2880]
        );
        assert_eq!(stream.timestamp_at(at(70)).wrapping_sub(first), 3360);
        let relayed = stream.relay(&inbound(9, 1, 0), 96, at(80)).unwrap();
        let late = [inbound(9, 3, 320), inbound(9, 2, 160)]
            .map(|from| stream.relay(&from, 96, at(90)).unwrap());
        assert_eq!(
            late.map(|header| header.timestamp.wrapping_sub(relayed.timestamp)),
            [1920, 960]
        );
        stream.set_ticks(1);
        assert_eq!(
            stream
                .own_audio(8, at(140))
                .timestamp
                .wrapping_sub(relayed.timestamp),
            1920 + 400
        );
    }

    #[test]
    fn another_source_continues_after_the_last_packet() {
        let mut stream = OutboundStream::new(7, 100, 0);
        stream.relay(&inbound(1, 10, 0), 8, at(0));
        let header = stream
            .relay(&inbound(2, 50_000, 4_000_000_000), 8, at(100))
            .unwrap();
        assert_eq!(
            (header.sequence, header.timestamp, header.marker),
            (101, 800, true)
        );
    }

    proptest! {
        #[test]
        fn any_packets_are_numbered_without_using_a_number_twice(
            packets in proptest::collection::vec((0u32..2, 0u16..40, any::<u32>(), 0u8..4), 0..100),
        ) {
            let mut stream = OutboundStream::new(7, 0xfff0, 1);
            let mut seen = std::collections::HashSet::new();
            for (index, (ssrc, sequence, timestamp, kind)) in packets.into_iter().enumerate() {
                let now = at(index as u64 * 20);
                let from = inbound(ssrc, sequence, timestamp % 5000);
                let header = match kind {
                    0 => Some(stream.own_audio(8, now)),
                    1 => Some(stream.event(101, timestamp % 2 == 0, now)),
                    2 => { stream.skip(&from); None }
                    _ => stream.relay(&from, 8, now),
                };
                if let Some(header) = header {
                    prop_assert_eq!(header.ssrc, 7);
                    prop_assert!(seen.insert(header.sequence));
                }
            }
        }
    }
}
