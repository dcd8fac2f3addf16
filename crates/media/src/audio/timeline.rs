//! Alignment of the two sides of a call for a stereo recording.

use std::time::Duration;

use crate::{SAMPLE_RATE, samples_in};

/// Maximum distance in samples between the position by RTP timestamp and the position by arrival:
/// 200 ms. Beyond it the stream has restarted or its clock has drifted, and the arrival counts.
const MAX_SKEW_SAMPLES: u64 = 1600;
/// Frames per block: one second.
const BLOCK_FRAMES: u64 = SAMPLE_RATE as u64;
/// Maximum number of samples per packet: G.711 calls have no longer packets. The rest of a longer
/// packet is dropped.
const MAX_PACKET_SAMPLES: usize = 2400;

/// Channel of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Leg of the caller.
    Left,
    /// Leg of the other party.
    Right,
}

/// Places the audio of both sides by arrival and RTP timestamp, and emits interleaved blocks, left
/// sample first. Missing audio is silence. Packets may be up to 200 ms late or early; the late part
/// beyond is cut off.
#[derive(Debug, Clone)]
pub struct StereoTimeline {
    start: Duration,
    /// Number of frames emitted so far.
    emitted: u64,
    /// Interleaved samples from frame `emitted` on.
    window: Vec<i16>,
    left: Option<Anchor>,
    right: Option<Anchor>,
}

/// Timestamp and its frame.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    timestamp: u32,
    frame: u64,
}

impl StereoTimeline {
    /// Creates the timeline of a recording that starts at `start`.
    pub fn new(start: Duration) -> Self {
        Self {
            start,
            emitted: 0,
            window: Vec::new(),
            left: None,
            right: None,
        }
    }

    /// Places samples with this RTP timestamp that arrived at `now`.
    pub fn place(&mut self, channel: Channel, timestamp: u32, samples: &[i16], now: Duration) {
        let arrival = self.frame_at(now);
        let anchor = match channel {
            Channel::Left => &mut self.left,
            Channel::Right => &mut self.right,
        };
        let frame = anchor
            .and_then(|anchor| anchor.frame_of(timestamp))
            .filter(|frame| frame.abs_diff(arrival) <= MAX_SKEW_SAMPLES)
            .unwrap_or(arrival);
        *anchor = Some(Anchor { timestamp, frame });
        let late = self
            .emitted
            .saturating_sub(frame)
            .min(MAX_PACKET_SAMPLES as u64) as usize;
        let samples = samples
            .get(late..samples.len().min(MAX_PACKET_SAMPLES))
            .unwrap_or_default();
        self.write(channel, frame.max(self.emitted) - self.emitted, samples);
    }

    /// Returns the next second of interleaved samples as soon as it is final.
    pub fn next_block(&mut self, now: Duration) -> Option<Vec<i16>> {
        let complete = self.frame_at(now).saturating_sub(MAX_SKEW_SAMPLES);
        (complete >= self.emitted + BLOCK_FRAMES).then(|| self.emit(BLOCK_FRAMES))
    }

    /// Returns the rest up to `now`, at most one second per call, and then `None`.
    pub fn finish(&mut self, now: Duration) -> Option<Vec<i16>> {
        let rest = self
            .frame_at(now)
            .saturating_sub(self.emitted)
            .min(BLOCK_FRAMES);
        (rest > 0).then(|| self.emit(rest))
    }

    fn frame_at(&self, now: Duration) -> u64 {
        let since = now.saturating_sub(self.start);
        since.as_secs() * BLOCK_FRAMES
            + u64::from(samples_in(Duration::from_nanos(u64::from(
                since.subsec_nanos(),
            ))))
    }

    fn write(&mut self, channel: Channel, offset: u64, samples: &[i16]) {
        let Ok(offset) = usize::try_from(offset) else {
            return;
        };
        let end = (offset + samples.len()) * 2;
        if self.window.len() < end {
            self.window.resize(end, 0);
        }
        let first = offset * 2 + usize::from(channel == Channel::Right);
        let slots = self
            .window
            .get_mut(first..)
            .unwrap_or_default()
            .iter_mut()
            .step_by(2);
        slots
            .zip(samples)
            .for_each(|(slot, sample)| *slot = *sample);
    }

    fn emit(&mut self, frames: u64) -> Vec<i16> {
        let length = frames as usize * 2;
        self.emitted += frames;
        if self.window.len() < length {
            self.window.resize(length, 0);
        }
        let rest = self.window.split_off(length);
        std::mem::replace(&mut self.window, rest)
    }
}

impl Anchor {
    fn frame_of(self, timestamp: u32) -> Option<u64> {
        self.frame
            .checked_add_signed(i64::from(timestamp.wrapping_sub(self.timestamp) as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn all(timeline: &mut StereoTimeline, end: Duration) -> (Vec<i16>, Vec<i16>) {
        let samples: Vec<i16> = std::iter::from_fn(|| timeline.finish(end))
            .flatten()
            .collect();
        samples
            .chunks_exact(2)
            .map(|frame| (frame[0], frame[1]))
            .unzip()
    }

    #[test]
    fn both_sides_are_aligned_and_gaps_are_silence() {
        let mut timeline = StereoTimeline::new(at(1000));
        timeline.place(Channel::Left, 50_000, &[1; 160], at(1000));
        timeline.place(Channel::Right, 9, &[2; 160], at(1020));
        timeline.place(Channel::Left, 50_320, &[3; 160], at(1045));
        let (left, right) = all(&mut timeline, at(1060));
        assert_eq!(left, [vec![1; 160], vec![0; 160], vec![3; 160]].concat());
        assert_eq!(right, [vec![0; 160], vec![2; 160], vec![0; 160]].concat());
    }

    #[test]
    fn jitter_and_reordering_do_not_move_the_audio() {
        let mut timeline = StereoTimeline::new(at(0));
        for (packet, arrival) in [(0u32, 0u64), (2, 35), (1, 60), (3, 61)] {
            timeline.place(
                Channel::Left,
                packet.wrapping_mul(160),
                &[packet as i16 + 1; 160],
                at(arrival),
            );
        }
        let (left, _) = all(&mut timeline, at(80));
        assert_eq!(
            left,
            [vec![1; 160], vec![2; 160], vec![3; 160], vec![4; 160]].concat()
        );
    }

    #[test]
    fn a_stream_with_a_new_clock_is_placed_by_arrival() {
        let mut timeline = StereoTimeline::new(at(0));
        timeline.place(Channel::Right, 0, &[1; 160], at(0));
        timeline.place(Channel::Right, 4_000_000_000, &[2; 160], at(500));
        let (_, right) = all(&mut timeline, at(520));
        assert_eq!(
            (right[159], right[160], right[3999], right[4000]),
            (1, 0, 0, 2)
        );
    }

    #[test]
    fn a_block_is_returned_as_soon_as_it_is_final() {
        let mut timeline = StereoTimeline::new(at(0));
        assert_eq!(timeline.next_block(at(1199)), None);
        assert_eq!(timeline.next_block(at(1200)), Some(vec![0; 16_000]));
        assert_eq!(timeline.next_block(at(1201)), None);
    }

    #[test]
    fn an_hour_of_silence_is_returned_in_blocks_of_a_second() {
        let mut timeline = StereoTimeline::new(at(0));
        assert_eq!(
            std::iter::from_fn(|| timeline.next_block(Duration::from_secs(3601))).count(),
            3600
        );
        assert_eq!(
            std::iter::from_fn(|| timeline.finish(Duration::from_secs(3601))).count(),
            1
        );
    }

    proptest! {
        #[test]
        fn any_packets_give_frames_for_the_elapsed_time(
            packets in proptest::collection::vec((any::<bool>(), any::<u32>(), 0usize..3000, 0u64..3000), 0..60),
        ) {
            let mut timeline = StereoTimeline::new(at(0));
            let mut frames = 0;
            let mut now = 0;
            for (left, timestamp, length, step) in packets {
                now += step;
                let channel = if left { Channel::Left } else { Channel::Right };
                timeline.place(channel, timestamp, &vec![1; length], at(now));
                frames += std::iter::from_fn(|| timeline.next_block(at(now))).map(|block| block.len() / 2).sum::<usize>();
            }
            frames += std::iter::from_fn(|| timeline.finish(at(now))).map(|block| block.len() / 2).sum::<usize>();
            prop_assert_eq!(frames as u64, now * 8);
        }
    }
}
