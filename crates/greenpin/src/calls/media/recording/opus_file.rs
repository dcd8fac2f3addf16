//! Ogg Opus file with two channels (RFC 7845). An incomplete file is playable up to its last page.

use std::io::{self, Write};

use media::{FRAME, SAMPLE_RATE};
use opus_pure::{
    Application, MAX_PACKET_BYTES, OggOpusWriter, OpusEncoder, OpusHead, OpusTags, RateControl,
};

/// Bit rate of both channels together, an eighth of WAV.
const BITS_PER_SECOND: i32 = 32_000;
/// Encoder complexity from 0 to 10. A higher value costs CPU without audible gain for speech at 8 kHz.
const COMPLEXITY: i32 = 5;
/// Page size in octets, about one second of speech.
const PAGE_BYTES: usize = 4000;
/// Maximum number of packets in a page: half a second. Pages of silence would last for many seconds, and a crash loses the
/// last page.
const MAX_PAGE_PACKETS: u32 = 25;
/// Ticks of the 48 kHz clock per sample (RFC 7845, section 4).
const TICKS_PER_SAMPLE: u64 = 48_000 / SAMPLE_RATE as u64;
/// Samples of both channels in a packet of 20 ms.
const PACKET_SAMPLES: usize = 2 * FRAME;

pub(crate) struct OpusFile<W: Write> {
    encoder: OpusEncoder,
    writer: OggOpusWriter<W>,
    /// Ticks to skip at the start of the stream (RFC 7845, section 4.2).
    pre_skip: u64,
    /// Interleaved samples of an incomplete packet.
    pending: Vec<i16>,
    frames: u64,
    /// Packets in the last page, which is not written yet.
    page_packets: u32,
}

impl<W: Write> OpusFile<W> {
    /// Creates a file with this stream serial number.
    pub(crate) fn new(output: W, serial: u32) -> io::Result<Self> {
        let mut encoder =
            OpusEncoder::new(SAMPLE_RATE as i32, 2, Application::Voip).map_err(io::Error::other)?;
        encoder.bitrate_bps = BITS_PER_SECOND;
        encoder.complexity = COMPLEXITY;
        encoder.rate_control = RateControl::Vbr;
        let head = OpusHead::for_encoder(&encoder, SAMPLE_RATE);
        let pre_skip = head.pre_skip.into();
        let tags = OpusTags {
            vendor: "greenpin".to_owned(),
            comments: Vec::new(),
        };
        let mut writer =
            OggOpusWriter::with_serial(output, head, tags, serial).map_err(io::Error::other)?;
        writer.set_page_target(PAGE_BYTES);
        Ok(Self {
            encoder,
            writer,
            pre_skip,
            pending: Vec::with_capacity(PACKET_SAMPLES),
            frames: 0,
            page_packets: 0,
        })
    }

    /// Returns the number of frames so far. A frame holds one sample of each channel.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// Appends interleaved samples, and writes the full pages.
    pub(crate) fn append(&mut self, samples: &[i16]) -> io::Result<()> {
        self.frames += samples.len() as u64 / 2;
        for sample in samples {
            self.pending.push(*sample);
            if self.pending.len() == PACKET_SAMPLES {
                self.packet(u64::MAX)?;
            }
        }
        self.writer.get_mut().map_or(Ok(()), Write::flush)
    }

    /// Writes the remaining samples and the end of the recording (RFC 7845, section 4.4).
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let end = self.pre_skip + self.frames * TICKS_PER_SAMPLE;
        while self.position() < end {
            self.pending.resize(PACKET_SAMPLES, 0);
            self.packet(end - self.position())?;
        }
        self.writer.finish().map_err(io::Error::other)
    }

    /// Encodes a packet. At most `max_ticks` of it belong to the recording.
    fn packet(&mut self, max_ticks: u64) -> io::Result<()> {
        let mut octets = [0; MAX_PACKET_BYTES];
        let length = self
            .encoder
            .encode_s16(&self.pending, FRAME, &mut octets)
            .map_err(io::Error::other)?;
        self.pending.clear();
        let ticks = max_ticks.min(FRAME as u64 * TICKS_PER_SAMPLE) as u32;
        let packet = octets.get(..length).unwrap_or_default();
        if self.page_packets >= MAX_PAGE_PACKETS {
            // With this target the page is written before the packet is added.
            self.writer.set_page_target(1);
            self.page_packets = 0;
        }
        self.page_packets = self.page_packets.saturating_add(1);
        let written = self.writer.write_packet_with_duration(packet, ticks);
        self.writer.set_page_target(PAGE_BYTES);
        written.map_err(io::Error::other)
    }

    /// Returns the number of ticks so far.
    fn position(&self) -> u64 {
        u64::try_from(self.writer.granule()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use media::Oscillator;
    use opus_pure::{MAX_PACKET_SAMPLES, OggOpusReader, Trim};

    use super::*;

    fn tones(frames: usize) -> Vec<i16> {
        let [mut left, mut right] = [440.0, 1000.0].map(|hertz| Oscillator::new(hertz, -10.0));
        (0..frames)
            .flat_map(|_| [left.next_sample() as i16, right.next_sample() as i16])
            .collect()
    }

    fn written(frames: usize) -> Vec<u8> {
        let mut file = OpusFile::new(Vec::new(), 7).unwrap();
        tones(frames)
            .chunks(2 * 7001)
            .for_each(|samples| file.append(samples).unwrap());
        assert_eq!(file.frames(), frames as u64);
        file.finish().unwrap()
    }

    /// Decodes a file like a player, at 48 kHz.
    fn played(file: &[u8]) -> Vec<i16> {
        let mut reader = OggOpusReader::new(Cursor::new(file)).unwrap();
        let mut decoder = reader.head().decoder(48_000).unwrap();
        let mut trim = Trim::new(reader.head(), 48_000, 2).unwrap();
        let (mut block, mut all) = (vec![0; MAX_PACKET_SAMPLES * 2], Vec::new());
        while let Ok(Some(packet)) = reader.read_packet() {
            let count = decoder
                .decode_s16(&packet.data, MAX_PACKET_SAMPLES, &mut block)
                .unwrap();
            all.extend_from_slice(trim.keep(&packet, &block[..count * 2]));
        }
        all
    }

    #[test]
    fn an_opus_file_has_the_exact_length_of_the_recording() {
        for frames in [0, 1, 159, 160, 161, 8000, 20_123] {
            assert_eq!(played(&written(frames)).len(), frames * 6 * 2, "{frames}");
        }
    }

    #[test]
    fn an_unfinished_recording_of_four_silent_seconds_is_lost_only_at_its_end() {
        let mut file = OpusFile::new(Vec::new(), 7).unwrap();
        (0..8).for_each(|_| file.append(&[0; 8000]).unwrap());
        let written = file.writer.get_ref().unwrap().clone();
        let played = played(&written).len() / 2;
        assert!(played > 3 * 48_000, "{played}");
    }

    #[test]
    fn an_unfinished_opus_file_is_playable_up_to_its_last_page() {
        let mut file = OpusFile::new(Vec::new(), 7).unwrap();
        let seconds = 10;
        tones(8000 * seconds)
            .chunks(16_000)
            .for_each(|second| file.append(second).unwrap());
        let written = file.writer.get_ref().unwrap().clone();
        let whole = played(&written).len() / 2 / 48_000;
        assert!(whole >= seconds - 2, "{whole}");
        let cut = played(&written[..written.len() / 2]).len() / 2;
        assert!(cut > 48_000 * seconds / 2 - 3 * 48_000, "{cut}");
    }
}
