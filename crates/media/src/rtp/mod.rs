//! RTP and RTCP: packets, their order and numbering, and statistics.

mod clock;
mod jitter;
mod outbound;
mod packet;
mod quality;
mod rtcp;
mod stats;

pub use clock::InboundClock;
pub use jitter::{Arrival, BufferedPacket, JitterBuffer, Next};
pub use outbound::OutboundStream;
pub use packet::{Header, Packet, RtpError};
pub use quality::{mean_opinion_score, r_factor};
pub use rtcp::{Bye, ReportBlock, Rtcp, RtcpCompound, SenderInfo, build_rtcp, parse_rtcp};
pub use stats::{ReceiverStats, StreamReport};
