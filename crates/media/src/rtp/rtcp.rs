//! RTCP: sender and receiver reports, source description, goodbye (RFC 3550, section 6).

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const CNAME: u8 = 1;

/// Statistics of a sender on its own stream (RFC 3550, section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP time: 32 bits of seconds since 1900 and 32 bits of fraction.
    pub ntp: u64,
    /// RTP timestamp of the same time.
    pub timestamp: u32,
    /// Number of packets sent; wraps.
    pub packets: u32,
    /// Number of payload octets sent; wraps.
    pub octets: u32,
}

/// Statistics of a receiver on a stream (RFC 3550, section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// Source of the reported stream.
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Total number of lost packets, 24 bits; negative if packets were repeated.
    pub lost: i32,
    /// Highest received sequence number, with the number of wraps above its 16 bits.
    pub highest_sequence: u32,
    /// Interarrival jitter: in ticks of the RTP clock on the wire, in samples of 8 kHz from
    /// [`ReceiverStats`](crate::ReceiverStats).
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 without a report.
    pub last_sender_report: u32,
    /// Time since that report arrived, in 65536ths of a second.
    pub delay: u32,
}

/// Goodbye at the end of a compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bye {
    /// The stream continues.
    No,
    /// The stream has ended (RFC 3550, section 6.6).
    Yes,
}

/// Compound to be sent.
#[derive(Debug, Clone, Copy)]
pub struct RtcpCompound<'a> {
    /// Our synchronization source.
    pub ssrc: u32,
    /// Statistics of our stream. With them the compound is a sender report, without them a receiver
    /// report.
    pub sender: Option<SenderInfo>,
    /// Report on the received stream.
    pub block: Option<ReportBlock>,
    /// Random name for this leg alone; at most 255 octets are sent.
    pub cname: &'a str,
    /// Goodbye in the last compound.
    pub bye: Bye,
}

/// Item of a received compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rtcp {
    /// Sender part of a sender report.
    Sender {
        /// Source of the sender.
        ssrc: u32,
        /// Statistics of the sender.
        info: SenderInfo,
    },
    /// Report on a stream. The report is on our stream if the source is ours.
    Report(ReportBlock),
    /// Goodbye of a source.
    Bye {
        /// Source that ends.
        ssrc: u32,
    },
}

/// Writes a compound: report, source description and an optional goodbye.
pub fn build_rtcp(compound: &RtcpCompound<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let start = out.len();
    let kind = if compound.sender.is_some() {
        SENDER_REPORT
    } else {
        RECEIVER_REPORT
    };
    begin_packet(&mut out, usize::from(compound.block.is_some()), kind);
    out.extend(compound.ssrc.to_be_bytes());
    if let Some(info) = &compound.sender {
        out.extend(info.ntp.to_be_bytes());
        out.extend(
            [info.timestamp, info.packets, info.octets]
                .into_iter()
                .flat_map(u32::to_be_bytes),
        );
    }
    if let Some(block) = &compound.block {
        write_block(&mut out, block);
    }
    finish_packet(&mut out, start);
    write_source_description(&mut out, compound.ssrc, compound.cname.as_bytes());
    if compound.bye == Bye::Yes {
        let start = out.len();
        begin_packet(&mut out, 1, GOODBYE);
        out.extend(compound.ssrc.to_be_bytes());
        finish_packet(&mut out, start);
    }
    out
}

fn begin_packet(out: &mut Vec<u8>, count: usize, kind: u8) {
    out.extend([0x80 | (count as u8 & 0x1f), kind, 0, 0]);
}

/// Pads the packet from `start` to whole words and writes its length.
fn finish_packet(out: &mut Vec<u8>, start: usize) {
    while !out.len().is_multiple_of(4) {
        out.push(0);
    }
    let words = ((out.len() - start) / 4 - 1) as u16;
    if let Some(length) = out.get_mut(start + 2..start + 4) {
        length.copy_from_slice(&words.to_be_bytes());
    }
}

fn write_block(out: &mut Vec<u8>, block: &ReportBlock) {
    let [_, l0, l1, l2] = block.lost.to_be_bytes();
    out.extend(block.ssrc.to_be_bytes());
    out.extend([block.fraction_lost, l0, l1, l2]);
    let rest = [
        block.highest_sequence,
        block.jitter,
        block.last_sender_report,
        block.delay,
    ];
    out.extend(rest.into_iter().flat_map(u32::to_be_bytes));
}

fn write_source_description(out: &mut Vec<u8>, ssrc: u32, cname: &[u8]) {
    let start = out.len();
    let cname = cname.get(..255).unwrap_or(cname);
    begin_packet(out, 1, SOURCE_DESCRIPTION);
    out.extend(ssrc.to_be_bytes());
    out.extend([CNAME, cname.len() as u8]);
    out.extend(cname);
    out.push(0);
    finish_packet(out, start);
}

/// Parses the reports and goodbyes of a compound. Parsing stops at the first malformed packet and
/// keeps the items before it. Names and private extensions are skipped, because the server does not
/// use them.
pub fn parse_rtcp(datagram: &[u8]) -> impl Iterator<Item = Rtcp> {
    CompoundPackets(datagram).flat_map(|(count, kind, body)| ReportItems {
        count,
        kind,
        body,
        at_start: true,
    })
}

struct CompoundPackets<'a>(&'a [u8]);

impl<'a> Iterator for CompoundPackets<'a> {
    /// Count, packet type and the octets after the first word.
    type Item = (u8, u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let ([first, kind, l0, l1], rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([*l0, *l1])) * 4;
        let (body, rest) = rest.split_at_checked(length).filter(|_| first >> 6 == 2)?;
        self.0 = rest;
        Some((first & 0x1f, *kind, body))
    }
}

struct ReportItems<'a> {
    count: u8,
    kind: u8,
    body: &'a [u8],
    at_start: bool,
}

impl ReportItems<'_> {
    fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.body.split_first_chunk::<4>()?;
        self.body = rest;
        Some(u32::from_be_bytes(*word))
    }

    fn sender(&mut self) -> Option<Rtcp> {
        let ssrc = self.word()?;
        let ntp = u64::from(self.word()?) << 32 | u64::from(self.word()?);
        let info = SenderInfo {
            ntp,
            timestamp: self.word()?,
            packets: self.word()?,
            octets: self.word()?,
        };
        Some(Rtcp::Sender { ssrc, info })
    }

    fn block(&mut self) -> Option<Rtcp> {
        self.count = self.count.checked_sub(1)?;
        let ssrc = self.word()?;
        let loss = self.word()?;
        Some(Rtcp::Report(ReportBlock {
            ssrc,
            fraction_lost: (loss >> 24) as u8,
            lost: (loss << 8) as i32 >> 8,
            highest_sequence: self.word()?,
            jitter: self.word()?,
            last_sender_report: self.word()?,
            delay: self.word()?,
        }))
    }
}

impl Iterator for ReportItems<'_> {
    type Item = Rtcp;

    fn next(&mut self) -> Option<Rtcp> {
        let first = std::mem::take(&mut self.at_start);
        match self.kind {
            SENDER_REPORT if first => self.sender(),
            RECEIVER_REPORT if first => self.word().and_then(|_| self.block()),
            SENDER_REPORT | RECEIVER_REPORT => self.block(),
            GOODBYE => {
                self.count = self.count.checked_sub(1)?;
                self.word().map(|ssrc| Rtcp::Bye { ssrc })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INFO: SenderInfo = SenderInfo {
        ntp: 0x0102_0304_0506_0708,
        timestamp: 9,
        packets: 10,
        octets: 1600,
    };
    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 77,
        fraction_lost: 3,
        lost: -2,
        highest_sequence: 70_000,
        jitter: 12,
        last_sender_report: 5,
        delay: 6,
    };

    #[test]
    fn a_sender_report_with_goodbye_reads_back() {
        let compound = RtcpCompound {
            ssrc: 1,
            sender: Some(INFO),
            block: Some(BLOCK),
            cname: "a1b2",
            bye: Bye::Yes,
        };
        let octets = build_rtcp(&compound);
        assert!(octets.len().is_multiple_of(4));
        let items: Vec<Rtcp> = parse_rtcp(&octets).collect();
        assert_eq!(
            items,
            [
                Rtcp::Sender {
                    ssrc: 1,
                    info: INFO
                },
                Rtcp::Report(BLOCK),
                Rtcp::Bye { ssrc: 1 }
            ]
        );
    }

    #[test]
    fn a_receiver_report_reads_back() {
        let compound = RtcpCompound {
            ssrc: 1,
            sender: None,
            block: Some(BLOCK),
            cname: "x",
            bye: Bye::No,
        };
        assert_eq!(
            parse_rtcp(&build_rtcp(&compound)).collect::<Vec<_>>(),
            [Rtcp::Report(BLOCK)]
        );
        let empty = RtcpCompound {
            block: None,
            ..compound
        };
        assert_eq!(parse_rtcp(&build_rtcp(&empty)).count(), 0);
    }

    #[test]
    fn the_source_description_ends_with_a_null_and_on_a_word_boundary() {
        for name in ["", "a", "ab", "abc", "abcd", &"n".repeat(300)] {
            let compound = RtcpCompound {
                ssrc: 1,
                sender: None,
                block: None,
                cname: name,
                bye: Bye::No,
            };
            let octets = build_rtcp(&compound);
            let description = &octets[8..];
            assert_eq!(description[1], SOURCE_DESCRIPTION);
            assert_eq!(
                usize::from(u16::from_be_bytes([description[2], description[3]])) * 4 + 4,
                description.len()
            );
            assert_eq!(description[description.len() - 1], 0, "{name}");
        }
    }

    #[test]
    fn a_truncated_compound_yields_the_items_before_the_end() {
        let compound = RtcpCompound {
            ssrc: 1,
            sender: Some(INFO),
            block: None,
            cname: "x",
            bye: Bye::Yes,
        };
        let octets = build_rtcp(&compound);
        let items: Vec<Rtcp> = parse_rtcp(&octets[..octets.len() - 1]).collect();
        assert_eq!(
            items,
            [Rtcp::Sender {
                ssrc: 1,
                info: INFO
            }]
        );
    }

    proptest! {
        #[test]
        fn any_octets_are_parsed(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(parse_rtcp(&octets).count() <= octets.len());
        }
    }
}
