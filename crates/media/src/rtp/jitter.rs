//! Jitter buffer for audio with a stateful decoder or a recording.

use std::{collections::VecDeque, time::Duration};

use crate::{FRAME, Header, Packet, samples_in};

/// Maximum number of buffered packets.
const MAX_BUFFERED_PACKETS: usize = 16;
/// Waiting time for a missing packet in a network without jitter: a packet of 20 ms.
const MIN_DELAY: Duration = Duration::from_millis(20);
/// Maximum waiting time for a missing packet.
const MAX_DELAY: Duration = Duration::from_millis(200);
/// Maximum step of sequence numbers. A greater step is a restart of the stream.
const MAX_SEQUENCE_STEP: u16 = 200;
/// Maximum number of samples per packet: 120 ms. A greater step of timestamps is a pause.
const MAX_PACKET_SAMPLES: u32 = 6 * FRAME as u32;
/// Maximum number of concealed samples per loss: 60 ms. The rest of a longer gap is a pause.
const MAX_CONCEALED_SAMPLES: u32 = 3 * FRAME as u32;

/// Buffer that puts the packets of a party in order. The next packet in sequence is due at once. A
/// packet behind a gap waits for the missing packets; the waiting time grows with the jitter. The
/// limits are 200 ms and sixteen packets. Late and repeated packets are dropped and counted.
#[derive(Debug, Clone, Default)]
pub struct JitterBuffer {
    last: Option<Header>,
    /// Samples per packet, from the last step of timestamps; `None` until the first step, with a
    /// default of 20 ms.
    span: Option<u32>,
    /// Packets after `last`, in order of sequence.
    packets: VecDeque<BufferedPacket>,
    arrivals: Arrivals,
    late: u64,
    lost: u64,
}

/// Packet in the buffer, or from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferedPacket {
    /// Header of the packet.
    pub header: Header,
    /// Payload of the packet.
    pub payload: Vec<u8>,
    since: Duration,
}

/// Result for a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The packet is the next in sequence. Process it now, and then call [`JitterBuffer::next`] for
    /// the packets behind it.
    Due,
    /// The packet waits in the buffer. [`JitterBuffer::next`] returns it later.
    Buffered,
    /// The packet came too late or is a repetition.
    Dropped,
}

/// Next item in sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Buffered packet.
    Packet(BufferedPacket),
    /// Gap before the next packet.
    Lost {
        /// Header that the first missing packet would have, with the payload type of the packet
        /// before the gap.
        header: Header,
        /// Number of missing packets.
        packets: u16,
        /// Number of samples to conceal, at most 60 ms.
        samples: usize,
    },
}

/// Jitter of the arrivals (RFC 3550, appendix A.8), and the waiting time that follows from it.
#[derive(Debug, Clone, Default)]
struct Arrivals {
    /// Timestamp and transit time of the last packet.
    last: Option<(u32, i32)>,
    jitter: f64,
    /// Additional waiting time after a late packet; decays with packets in order.
    extra: Duration,
    last_skipped: Option<SkippedGap>,
}

/// Last gap that the buffer skipped.
#[derive(Debug, Clone, Copy)]
struct SkippedGap {
    first: u16,
    count: u16,
    at: Duration,
}

impl JitterBuffer {
    /// Handles a packet that arrived at `now`, and copies it only if it must wait. Packets without
    /// audio must be passed too if they use the same sequence.
    pub fn arrive(&mut self, packet: &Packet<'_>, now: Duration) -> Arrival {
        let header = &packet.header;
        let Some(ahead) = self.ahead(header) else {
            self.restart(*header, now);
            return Arrival::Due;
        };
        self.arrivals.measure(header, now);
        if ahead <= 0
            || self
                .packets
                .iter()
                .any(|packet| packet.header.sequence == header.sequence)
        {
            self.late += 1;
            self.arrivals.on_late_packet(header.sequence, now);
            return Arrival::Dropped;
        }
        if ahead == 1 {
            self.advance(*header);
            self.arrivals.fade();
            return Arrival::Due;
        }
        self.insert(packet, now);
        Arrival::Buffered
    }

    /// Returns the item that is due at `now`, if there is one. To be called after each packet, and
    /// every 20 ms while [`JitterBuffer::is_waiting`].
    pub fn next(&mut self, now: Duration) -> Option<Next> {
        let front = self.packets.front()?;
        let last = self.last?;
        let missing = front
            .header
            .sequence
            .wrapping_sub(last.sequence)
            .wrapping_sub(1);
        if missing == 0 {
            let packet = self.packets.pop_front()?;
            self.advance(packet.header);
            return Some(Next::Packet(packet));
        }
        let must_wait = now.saturating_sub(front.since) < self.delay();
        if must_wait && self.packets.len() < MAX_BUFFERED_PACKETS {
            return None;
        }
        let front = front.header;
        Some(self.skip_gap(last, front, missing, now))
    }

    /// Skips the missing packets between `last` and `front`.
    fn skip_gap(&mut self, last: Header, front: Header, missing: u16, now: Duration) -> Next {
        let span = self.span.unwrap_or(FRAME as u32);
        let timestamp = last.timestamp.wrapping_add(span);
        let until = front.timestamp.wrapping_sub(timestamp) as i32;
        let samples = until.clamp(0, MAX_CONCEALED_SAMPLES as i32) as usize;
        self.lost += u64::from(missing);
        let first = last.sequence.wrapping_add(1);
        self.arrivals.last_skipped = Some(SkippedGap {
            first,
            count: missing,
            at: now,
        });
        self.last = Some(Header {
            sequence: front.sequence.wrapping_sub(1),
            timestamp: front.timestamp.wrapping_sub(span),
            ..last
        });
        let header = Header {
            marker: false,
            sequence: first,
            timestamp,
            ..last
        };
        Next::Lost {
            header,
            packets: missing,
            samples,
        }
    }

    /// Returns the first packet after the gap.
    pub fn front(&self) -> Option<&BufferedPacket> {
        self.packets.front()
    }

    /// Returns `true` if packets wait for a missing packet.
    pub fn is_waiting(&self) -> bool {
        !self.packets.is_empty()
    }

    /// Returns the current waiting time for a missing packet, 20 to 200 ms.
    pub fn delay(&self) -> Duration {
        (MIN_DELAY + self.arrivals.spread() + self.arrivals.extra).min(MAX_DELAY)
    }

    /// Returns the number of late and repeated packets.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Returns the number of skipped packets.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Returns the distance from the last packet: 0 or less for earlier packets, `None` for another
    /// stream.
    fn ahead(&self, header: &Header) -> Option<i16> {
        let last = self.last.filter(|last| last.ssrc == header.ssrc)?;
        let ahead = header.sequence.wrapping_sub(last.sequence) as i16;
        (ahead.unsigned_abs() <= MAX_SEQUENCE_STEP).then_some(ahead)
    }

    fn advance(&mut self, header: Header) {
        let step = self
            .last
            .map(|last| header.timestamp.wrapping_sub(last.timestamp));
        self.span = step
            .filter(|step| (1..=MAX_PACKET_SAMPLES).contains(step))
            .or(self.span);
        self.last = Some(header);
    }

    /// Starts another stream. Buffered packets of the old stream are discarded and count as late.
    fn restart(&mut self, header: Header, now: Duration) {
        self.late += self.packets.len() as u64;
        self.packets.clear();
        self.span = None;
        self.last = Some(header);
        self.arrivals = Arrivals::default();
        self.arrivals.measure(&header, now);
    }

    fn insert(&mut self, packet: &Packet<'_>, now: Duration) {
        let sequence = packet.header.sequence;
        let last = self.last.map_or(sequence, |last| last.sequence);
        let place = self.packets.partition_point(|buffered| {
            buffered.header.sequence.wrapping_sub(last) < sequence.wrapping_sub(last)
        });
        self.packets.insert(
            place,
            BufferedPacket {
                header: packet.header,
                payload: packet.payload.to_vec(),
                since: now,
            },
        );
    }
}

impl BufferedPacket {
    /// Returns the packet in its received form.
    pub fn packet(&self) -> Packet<'_> {
        Packet {
            header: self.header,
            payload: &self.payload,
            offset: Header::LENGTH,
        }
    }
}

impl Arrivals {
    fn measure(&mut self, header: &Header, now: Duration) {
        // Packets with the same timestamp (telephone-events) do not measure the network.
        if self
            .last
            .is_some_and(|(timestamp, _)| timestamp == header.timestamp)
        {
            return;
        }
        let transit = samples_in(now).wrapping_sub(header.timestamp) as i32;
        if let Some((_, before)) = self.last.replace((header.timestamp, transit)) {
            let difference = f64::from(transit.wrapping_sub(before).unsigned_abs());
            // A difference over two seconds is a pause or another clock.
            if difference < 16_000.0 {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
    }

    /// Returns four times the mean deviation, which covers nearly all of the jitter.
    fn spread(&self) -> Duration {
        Duration::from_secs_f64(4.0 * self.jitter / 8000.0)
    }

    /// Handles a packet of the skipped gap. A repeated packet does not measure the network.
    fn on_late_packet(&mut self, sequence: u16, now: Duration) {
        let missed = self
            .last_skipped
            .filter(|missed| sequence.wrapping_sub(missed.first) < missed.count);
        if let Some(missed) = missed {
            self.extra = (self.extra + now.saturating_sub(missed.at)).min(MAX_DELAY);
        }
    }

    /// Decays to a half within 44 packets in order.
    fn fade(&mut self) {
        self.extra = self.extra * 63 / 64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn header(ssrc: u32, sequence: u16) -> Header {
        let timestamp = u32::from(sequence) * 160;
        Header {
            marker: false,
            payload_type: 9,
            sequence,
            timestamp,
            ssrc,
        }
    }

    fn arrive(buffer: &mut JitterBuffer, sequence: u16, millis: u64) -> Arrival {
        let packet = Packet {
            header: header(1, sequence),
            payload: &sequence.to_be_bytes(),
            offset: 12,
        };
        buffer.arrive(&packet, at(millis))
    }

    fn due_packets(buffer: &mut JitterBuffer, millis: u64) -> Vec<Option<u16>> {
        let next = std::iter::from_fn(|| buffer.next(at(millis)));
        next.map(|next| match next {
            Next::Packet(packet) => Some(packet.header.sequence),
            Next::Lost { .. } => None,
        })
        .collect()
    }

    #[test]
    fn packets_in_order_are_due_at_once_across_the_wrap() {
        let mut buffer = JitterBuffer::default();
        for step in 0..100u16 {
            let sequence = step.wrapping_add(65_500);
            assert_eq!(
                arrive(&mut buffer, sequence, u64::from(step) * 20),
                Arrival::Due
            );
            assert_eq!(due_packets(&mut buffer, u64::from(step) * 20), []);
        }
        assert_eq!(
            (buffer.late(), buffer.lost(), buffer.is_waiting()),
            (0, 0, false)
        );
    }

    #[test]
    fn an_overtaken_packet_is_still_returned_in_order() {
        let mut buffer = JitterBuffer::default();
        assert_eq!(arrive(&mut buffer, 10, 0), Arrival::Due);
        assert_eq!(arrive(&mut buffer, 13, 20), Arrival::Buffered);
        assert_eq!(arrive(&mut buffer, 12, 21), Arrival::Buffered);
        assert_eq!(arrive(&mut buffer, 12, 22), Arrival::Dropped);
        assert_eq!(arrive(&mut buffer, 11, 23), Arrival::Due);
        assert_eq!(due_packets(&mut buffer, 23), [Some(12), Some(13)]);
        assert_eq!((buffer.late(), buffer.lost()), (1, 0));
    }

    #[test]
    fn a_missing_packet_is_skipped_and_reported_with_its_position() {
        let mut buffer = JitterBuffer::default();
        arrive(&mut buffer, 10, 0);
        arrive(&mut buffer, 13, 60);
        assert_eq!(buffer.next(at(60)), None);
        let later = at(60) + buffer.delay();
        let lost = Next::Lost {
            header: header(1, 11),
            packets: 2,
            samples: 320,
        };
        assert_eq!(buffer.next(later), Some(lost));
        assert!(
            matches!(buffer.next(later), Some(Next::Packet(packet)) if packet.payload == [0, 13])
        );
        assert_eq!((buffer.next(later), buffer.lost()), (None, 2));
        assert_eq!(arrive(&mut buffer, 12, 200), Arrival::Dropped);
    }

    #[test]
    fn lost_packets_of_another_length_leave_gaps_of_that_length() {
        let mut buffer = JitterBuffer::default();
        let packet = |sequence: u16| Header {
            timestamp: u32::from(sequence) * 480,
            ..header(1, sequence)
        };
        let mut lost = Vec::new();
        for sequence in [1, 2, 4, 5, 7] {
            let now = at(u64::from(sequence) * 60);
            buffer.arrive(
                &Packet {
                    header: packet(sequence),
                    payload: &[],
                    offset: 12,
                },
                now,
            );
            lost.extend(
                std::iter::from_fn(|| buffer.next(now + MAX_DELAY)).filter_map(|next| match next {
                    Next::Lost {
                        header, samples, ..
                    } => Some((header.timestamp, samples)),
                    Next::Packet(_) => None,
                }),
            );
        }
        assert_eq!(lost, [(1440, 480), (2880, 480)]);
    }

    #[test]
    fn the_waiting_time_grows_with_jitter_and_shrinks_again() {
        let mut buffer = JitterBuffer::default();
        arrive(&mut buffer, 0, 0);
        arrive(&mut buffer, 2, 40);
        let even = buffer.delay();
        assert_eq!(
            due_packets(&mut buffer, 40 + even.as_millis() as u64 + 1),
            [None, Some(2)]
        );
        assert_eq!(arrive(&mut buffer, 1, 140), Arrival::Dropped);
        let uneven = buffer.delay();
        assert!(
            uneven > even + at(20) && uneven <= at(200),
            "{even:?} {uneven:?}"
        );
        for sequence in 3..400u16 {
            arrive(&mut buffer, sequence, u64::from(sequence) * 20);
        }
        assert!(buffer.delay() < at(25), "{:?}", buffer.delay());
    }

    #[test]
    fn a_repeated_packet_does_not_extend_the_waiting_time() {
        let mut buffer = JitterBuffer::default();
        for sequence in 0..50u16 {
            let millis = 1000 + u64::from(sequence) * 20;
            assert_eq!(arrive(&mut buffer, sequence, millis), Arrival::Due);
            assert_eq!(arrive(&mut buffer, sequence, millis), Arrival::Dropped);
        }
        assert_eq!((buffer.delay(), buffer.late()), (at(20), 50));
    }

    #[test]
    fn the_packets_of_a_press_do_not_count_as_jitter() {
        let mut buffer = JitterBuffer::default();
        for sequence in 0..50u16 {
            let header = Header {
                timestamp: 8000,
                payload_type: 101,
                ..header(1, sequence)
            };
            let packet = Packet {
                header,
                payload: &[5, 10, 0, 160],
                offset: 12,
            };
            assert_eq!(
                buffer.arrive(&packet, at(u64::from(sequence) * 20)),
                Arrival::Due
            );
        }
        assert_eq!(buffer.delay(), at(20));
    }

    #[test]
    fn another_source_and_a_jump_restart_the_buffer() {
        let mut buffer = JitterBuffer::default();
        arrive(&mut buffer, 10, 0);
        arrive(&mut buffer, 12, 20);
        let other = Packet {
            header: header(2, 11),
            payload: &[],
            offset: 12,
        };
        assert_eq!(buffer.arrive(&other, at(40)), Arrival::Due);
        assert_eq!(
            (due_packets(&mut buffer, 400), buffer.is_waiting()),
            (vec![], false)
        );
        assert_eq!(arrive(&mut buffer, 5000, 60), Arrival::Due);
    }

    proptest! {
        #[test]
        fn any_order_is_returned_in_sequence_and_the_buffer_is_bounded(
            packets in proptest::collection::vec((0u16..60, 0u64..60), 0..200),
            base in any::<u16>(),
        ) {
            let mut buffer = JitterBuffer::default();
            let (mut now, mut last, mut taken) = (0, None::<u16>, 0);
            let total = packets.len() as u64;
            for (step, pause) in packets {
                now += pause;
                let header = Header {
                    timestamp: u32::from(step) * 160,
                    ..header(1, base.wrapping_add(step))
                };
                let packet = Packet { header, payload: &[0; 160], offset: 12 };
                let due = (buffer.arrive(&packet, at(now)) == Arrival::Due).then_some(header);
                let waited = std::iter::from_fn(|| buffer.next(at(now))).filter_map(|next| match next {
                    Next::Packet(packet) => Some(packet.header),
                    Next::Lost { samples, .. } => { assert!(samples <= 480); None }
                }).collect::<Vec<_>>();
                for header in due.into_iter().chain(waited) {
                    let place = header.sequence.wrapping_sub(base);
                    prop_assert!(last.is_none_or(|last| place > last), "{last:?} {place}");
                    prop_assert_eq!(header.timestamp, u32::from(place) * 160);
                    last = Some(place);
                    taken += 1;
                }
                prop_assert!(buffer.packets.len() < MAX_BUFFERED_PACKETS && buffer.delay() <= MAX_DELAY);
            }
            taken += std::iter::from_fn(|| buffer.next(at(now + 200))).filter(|next| matches!(next, Next::Packet(_))).count() as u64;
            prop_assert!(!buffer.is_waiting());
            prop_assert_eq!(taken + buffer.late(), total);
        }

        #[test]
        fn any_packets_keep_the_limits(packets in proptest::collection::vec((0u32..2, any::<u16>(), any::<u32>(), any::<u32>()), 0..200)) {
            let mut buffer = JitterBuffer::default();
            for (ssrc, sequence, timestamp, micros) in packets {
                let header = Header { marker: false, payload_type: 0, sequence: sequence % 300, timestamp, ssrc };
                let now = Duration::from_micros(micros.into());
                buffer.arrive(&Packet { header, payload: &[1], offset: 12 }, now);
                while let Some(next) = buffer.next(now) {
                    if let Next::Lost { samples, .. } = next {
                        prop_assert!(samples <= 480);
                    }
                }
                prop_assert!(buffer.packets.len() < MAX_BUFFERED_PACKETS);
            }
        }
    }
}
