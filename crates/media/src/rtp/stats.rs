//! Reception statistics: loss, reordering and jitter (RFC 3550, section 6.4.1 and appendix A).

use std::time::Duration;

use crate::{Header, ReportBlock, SAMPLE_RATE, mean_opinion_score, samples_in};

/// Limit for a jump of sequence numbers by loss. A jump of this size or more is a restart of the
/// stream (RFC 3550, appendix A.1).
const MAX_DROPOUT: u16 = 3000;
/// Maximum age of a late packet, in sequence numbers, to count as out of order.
const MAX_MISORDER: u16 = 100;

/// Statistics of the packets from a party, over all of its synchronization sources.
#[derive(Debug, Clone, Default)]
pub struct ReceiverStats {
    source: Option<SourceStats>,
    packets: u64,
    octets: u64,
    out_of_order: u64,
    /// Expected packets of sources that ended.
    expected_before: u64,
    max_jitter: f64,
}

#[derive(Debug, Clone)]
struct SourceStats {
    ssrc: u32,
    base: u16,
    highest: u16,
    cycles: u32,
    received: u64,
    last_transit: i32,
    last_timestamp: u32,
    jitter: f64,
    reported: (u64, u64),
}

/// Statistics of the stream from a party.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StreamReport {
    /// Number of received packets.
    pub packets: u64,
    /// Number of received payload octets.
    pub octets: u64,
    /// Number of packets that were sent, according to their sequence numbers, and did not arrive.
    pub lost: u64,
    /// Number of packets that arrived after a later one.
    pub out_of_order: u64,
    /// Interarrival jitter in milliseconds at the end (RFC 3550, appendix A.8).
    pub jitter_ms: f64,
    /// Maximum interarrival jitter in milliseconds.
    pub max_jitter_ms: f64,
    /// Estimated mean opinion score, 1.0 to 4.5; `None` if no packet arrived.
    pub mos: Option<f64>,
}

impl StreamReport {
    /// Returns the share of lost packets among the sent ones, 0.0 to 1.0.
    pub fn loss(&self) -> f64 {
        let expected = self.packets + self.lost;
        if expected == 0 {
            0.0
        } else {
            self.lost as f64 / expected as f64
        }
    }
}

impl ReceiverStats {
    /// Counts a packet that arrived at `now`.
    pub fn receive(&mut self, header: &Header, octets: usize, now: Duration) {
        self.packets += 1;
        self.octets += octets as u64;
        let arrival = samples_in(now);
        match self.source.as_mut() {
            Some(source) if source.continues(header) => {
                self.out_of_order += u64::from(source.receive(header, arrival));
                self.max_jitter = self.max_jitter.max(source.jitter);
            }
            _ => {
                self.expected_before += self.source.as_ref().map_or(0, SourceStats::expected);
                self.source = Some(SourceStats::new(header, arrival));
            }
        }
    }

    /// Interrupts the statistics while the stream takes another path. Packets missed meanwhile do
    /// not count as lost.
    pub fn interrupt(&mut self) {
        self.expected_before += self.source.take().as_ref().map_or(0, SourceStats::expected);
    }

    /// Returns the current synchronization source of the party.
    pub fn ssrc(&self) -> Option<u32> {
        self.source.as_ref().map(|source| source.ssrc)
    }

    /// Returns the statistics so far. `delay` is the one-way delay in milliseconds for the quality
    /// estimate.
    pub fn report(&self, delay: f64) -> StreamReport {
        let expected = self.expected_before + self.source.as_ref().map_or(0, SourceStats::expected);
        let jitter = self.source.as_ref().map_or(0.0, |source| source.jitter);
        let mut report = StreamReport {
            packets: self.packets,
            octets: self.octets,
            lost: expected.saturating_sub(self.packets),
            out_of_order: self.out_of_order,
            jitter_ms: samples_to_millis(jitter),
            max_jitter_ms: samples_to_millis(self.max_jitter),
            mos: None,
        };
        if self.packets > 0 {
            report.mos = Some(mean_opinion_score(
                delay + 2.0 * report.jitter_ms,
                report.loss(),
            ));
        }
        report
    }

    /// Returns the report block on the current source since the last call of this function (RFC
    /// 3550, section 6.4.1). `last_sender_report` is the middle of the NTP time of its last sender
    /// report, and `delay` is the time since that report arrived.
    pub fn report_block(
        &mut self,
        last_sender_report: Option<u32>,
        delay: Duration,
    ) -> Option<ReportBlock> {
        let source = self.source.as_mut()?;
        let expected = source.expected();
        let lost_since =
            (expected - source.reported.0).saturating_sub(source.received - source.reported.1);
        let fraction = (lost_since * 256)
            .checked_div(expected - source.reported.0)
            .unwrap_or(0)
            .min(255);
        source.reported = (expected, source.received);
        Some(ReportBlock {
            ssrc: source.ssrc,
            fraction_lost: fraction as u8,
            lost: (expected as i64 - source.received as i64).clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: source.cycles | u32::from(source.highest),
            jitter: source.jitter as u32,
            last_sender_report: last_sender_report.unwrap_or(0),
            delay: last_sender_report.map_or(0, |_| (delay.as_secs_f64() * 65_536.0) as u32),
        })
    }
}

impl SourceStats {
    fn new(header: &Header, arrival: u32) -> Self {
        Self {
            ssrc: header.ssrc,
            base: header.sequence,
            highest: header.sequence,
            cycles: 0,
            received: 1,
            last_transit: arrival.wrapping_sub(header.timestamp) as i32,
            last_timestamp: header.timestamp,
            jitter: 0.0,
            reported: (0, 0),
        }
    }

    fn continues(&self, header: &Header) -> bool {
        let ahead = header.sequence.wrapping_sub(self.highest);
        self.ssrc == header.ssrc && (ahead < MAX_DROPOUT || ahead.wrapping_neg() <= MAX_MISORDER)
    }

    /// Returns `true` if the packet came out of order.
    fn receive(&mut self, header: &Header, arrival: u32) -> bool {
        self.received += 1;
        let ahead = header.sequence.wrapping_sub(self.highest);
        let in_order = ahead < MAX_DROPOUT;
        if in_order {
            self.cycles = self
                .cycles
                .wrapping_add(u32::from(header.sequence < self.highest) << 16);
            self.highest = header.sequence;
        }
        self.measure_jitter(header.timestamp, arrival);
        !in_order
    }

    /// Updates the jitter (RFC 3550, appendix A.8). Packets with the same timestamp
    /// (telephone-events) do not measure the network.
    fn measure_jitter(&mut self, timestamp: u32, arrival: u32) {
        if timestamp == self.last_timestamp {
            return;
        }
        let transit = arrival.wrapping_sub(timestamp) as i32;
        let difference = transit.wrapping_sub(self.last_transit).unsigned_abs();
        self.last_transit = transit;
        self.last_timestamp = timestamp;
        // A step of over two seconds is a new base of timestamps, not jitter.
        if difference < 2 * SAMPLE_RATE {
            self.jitter += (f64::from(difference) - self.jitter) / 16.0;
        }
    }

    fn expected(&self) -> u64 {
        u64::from((self.cycles | u32::from(self.highest)).wrapping_sub(u32::from(self.base))) + 1
    }
}

fn samples_to_millis(samples: f64) -> f64 {
    samples * 1000.0 / f64::from(SAMPLE_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(stats: &mut ReceiverStats, ssrc: u32, sequence: u16, millis: u64) {
        let timestamp = u32::from(sequence).wrapping_mul(160);
        let header = Header {
            marker: false,
            payload_type: 8,
            sequence,
            timestamp,
            ssrc,
        };
        stats.receive(&header, 160, Duration::from_millis(millis));
    }

    #[test]
    fn an_even_stream_has_no_loss_no_jitter_and_a_good_score() {
        let mut stats = ReceiverStats::default();
        for packet in 0..100u16 {
            feed(
                &mut stats,
                1,
                packet.wrapping_add(65_500),
                u64::from(packet) * 20,
            );
        }
        let report = stats.report(20.0);
        assert_eq!(
            (
                report.packets,
                report.octets,
                report.lost,
                report.out_of_order
            ),
            (100, 16_000, 0, 0)
        );
        assert!(report.mos.unwrap() > 4.3, "{report:?}");
    }

    #[test]
    fn loss_and_reordering_are_counted() {
        let mut stats = ReceiverStats::default();
        for sequence in [0, 1, 2, 5, 4, 6, 9] {
            feed(&mut stats, 1, sequence, u64::from(sequence) * 20);
        }
        let report = stats.report(20.0);
        assert_eq!(
            (report.packets, report.lost, report.out_of_order),
            (7, 3, 1)
        );
        let block = stats.report_block(None, Duration::ZERO).unwrap();
        assert_eq!(
            (block.lost, block.fraction_lost, block.highest_sequence),
            (3, 76, 9)
        );
        assert_eq!(
            stats
                .report_block(None, Duration::ZERO)
                .unwrap()
                .fraction_lost,
            0
        );
    }

    #[test]
    fn jitter_follows_the_formula_of_rfc_3550() {
        let mut stats = ReceiverStats::default();
        feed(&mut stats, 1, 0, 0);
        feed(&mut stats, 1, 1, 36);
        assert_eq!(stats.report(0.0).jitter_ms, 1.0);
        feed(&mut stats, 1, 2, 56);
        assert_eq!(stats.report(0.0).jitter_ms, 1.0 - 1.0 / 16.0);
    }

    #[test]
    fn a_new_source_does_not_count_as_loss() {
        let mut stats = ReceiverStats::default();
        feed(&mut stats, 1, 10, 0);
        feed(&mut stats, 2, 40_000, 20);
        feed(&mut stats, 2, 40_002, 60);
        assert_eq!(
            (
                stats.report(0.0).packets,
                stats.report(0.0).lost,
                stats.ssrc()
            ),
            (3, 1, Some(2))
        );
    }

    #[test]
    fn packets_missed_during_an_interruption_do_not_count_as_loss() {
        let mut stats = ReceiverStats::default();
        for sequence in [1, 2, 4] {
            feed(&mut stats, 1, sequence, u64::from(sequence) * 20);
        }
        stats.interrupt();
        for sequence in [1500, 1501] {
            feed(&mut stats, 1, sequence, u64::from(sequence) * 20);
        }
        assert_eq!((stats.report(0.0).packets, stats.report(0.0).lost), (5, 1));
    }

    #[test]
    fn a_stream_without_packets_has_no_score() {
        assert_eq!(
            ReceiverStats::default().report(20.0),
            StreamReport::default()
        );
    }

    proptest! {
        #[test]
        fn any_packets_are_counted(packets in proptest::collection::vec((0u32..3, any::<u16>(), any::<u32>(), 0u64..1_000_000), 0..200)) {
            let mut stats = ReceiverStats::default();
            for (ssrc, sequence, timestamp, micros) in &packets {
                let header = Header { marker: false, payload_type: 8, sequence: *sequence, timestamp: *timestamp, ssrc: *ssrc };
                stats.receive(&header, 160, Duration::from_micros(*micros));
                let _ = stats.report_block(Some(1), Duration::from_secs(1));
            }
            let report = stats.report(20.0);
            prop_assert_eq!(report.packets, packets.len() as u64);
            prop_assert!((0.0..=1.0).contains(&report.loss()));
        }
    }
}
