//! RTCP of a leg: our reports about the peer's stream, and the peer's reports about ours (RFC 3550, section 6).

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use media::{
    Bye, ReportBlock, Rtcp, RtcpCompound, SAMPLE_RATE, SenderInfo, build_rtcp, mean_opinion_score,
    parse_rtcp,
};

use super::MediaLeg;
use crate::calls::media::PeerReport;

/// Interval of RTCP reports (RFC 3550, section 6.2).
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// One-way delay in milliseconds assumed for opinion scores without a measured round trip. It covers the network and
/// the jitter buffer.
const ASSUMED_DELAY_MS: f64 = 60.0;
/// Seconds from 1900 (NTP) to 1970 (Unix).
const NTP_TO_UNIX: u64 = 2_208_988_800;

impl MediaLeg {
    /// Sends an RTCP report if it is due. Returns `true` if it was.
    pub(in crate::calls::media) fn report_if_due(&mut self, now: Duration) -> bool {
        let is_due = self.negotiated.is_some() && now >= self.rtcp_state.due;
        if is_due {
            self.rtcp_state.due = now.saturating_add(REPORT_INTERVAL);
            self.send_rtcp(Bye::No, now);
        }
        is_due
    }

    /// Sends an RTCP BYE, if there is a peer.
    pub(in crate::calls::media) fn send_bye(&mut self, now: Duration) {
        self.send_rtcp(Bye::Yes, now);
    }

    fn send_rtcp(&mut self, bye: Bye, now: Duration) {
        let negotiated = self.negotiated.as_ref();
        let Some(negotiated) =
            negotiated.filter(|negotiated| negotiated.send_rtcp && negotiated.peer.may_send())
        else {
            return;
        };
        let (ntp, timestamp) = (ntp_now(), self.out.timestamp_at(now));
        let (packets, octets) = (self.out.packets(), self.out.octets());
        let sender = (packets > 0).then_some(SenderInfo {
            ntp,
            timestamp,
            packets,
            octets,
        });
        let last = self.rtcp_state.last_sender;
        let since = last.map_or(Duration::ZERO, |(_, at)| now.saturating_sub(at));
        let mut block = self.stats.report_block(last.map(|(ntp, _)| ntp), since);
        if let Some(block) = &mut block {
            // The peer counts jitter in ticks of its codec's clock.
            block.jitter = block
                .jitter
                .saturating_mul(negotiated.formats.codec.ticks());
        }
        let cname = std::str::from_utf8(&self.rtcp_state.cname).unwrap_or_default();
        let mut octets = build_rtcp(&RtcpCompound {
            ssrc: self.out.ssrc(),
            sender,
            block,
            cname,
            bye,
        });
        if self.srtp.encrypt_rtcp(&mut octets) {
            // The next report replaces a report refused by the system.
            let _ = self.ports.rtcp.send_to(&octets, negotiated.peer.rtcp());
        }
    }

    /// Handles a datagram at the RTCP port.
    pub(in crate::calls::media) fn receive_rtcp(
        &mut self,
        datagram: &mut [u8],
        from: SocketAddr,
        now: Duration,
    ) {
        if !self
            .negotiated
            .as_ref()
            .is_some_and(|negotiated| negotiated.peer.accepts_rtcp(from))
        {
            return;
        }
        let Some(length) = self.srtp.decrypt_rtcp(datagram) else {
            return;
        };
        if let Some(negotiated) = &mut self.negotiated {
            negotiated.peer.on_received();
        }
        for item in parse_rtcp(datagram.get(..length).unwrap_or_default()) {
            match item {
                Rtcp::Sender { ssrc, info } if self.stats.ssrc() == Some(ssrc) => {
                    self.rtcp_state.last_sender = Some(((info.ntp >> 16) as u32, now));
                }
                Rtcp::Report(block) if block.ssrc == self.out.ssrc() => {
                    self.rtcp_state.peer_report =
                        Some(peer_report(&block, self.out.packets(), self.out.ticks()));
                }
                _ => {}
            }
        }
    }
}

/// Converts a report block about our stream. `ticks` is the number of clock ticks per sample at 8 kHz.
fn peer_report(block: &ReportBlock, sent: u32, ticks: u32) -> PeerReport {
    let lost = u64::try_from(block.lost).unwrap_or(0);
    let jitter_ms = f64::from(block.jitter) * 1000.0 / f64::from(SAMPLE_RATE.saturating_mul(ticks));
    let taken = ((ntp_now() >> 16) as u32)
        .wrapping_sub(block.last_sender_report)
        .wrapping_sub(block.delay);
    // A round trip above one minute is an invalid report.
    let plausible = block.last_sender_report != 0 && taken < 60 << 16;
    let round_trip = plausible.then(|| Duration::from_secs_f64(f64::from(taken) / 65_536.0));
    let share = lost as f64 / f64::from(sent.max(1));
    PeerReport {
        lost,
        jitter_ms,
        round_trip,
        mos: mean_opinion_score(one_way_delay_ms(round_trip) + 2.0 * jitter_ms, share),
    }
}

/// Returns the one-way delay in milliseconds for opinion scores.
pub(super) fn one_way_delay_ms(round_trip: Option<Duration>) -> f64 {
    round_trip.map_or(ASSUMED_DELAY_MS, |round_trip| {
        ASSUMED_DELAY_MS + round_trip.as_secs_f64() * 500.0
    })
}

fn ntp_now() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    (now.as_secs().wrapping_add(NTP_TO_UNIX) << 32) | fraction
}
