//! Audio clips for playback.

use crate::{FRAME, SAMPLE_RATE};

/// Audio of at most ten minutes at 8 kHz, mono, 16-bit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clip {
    samples: Vec<i16>,
}

/// Error for audio longer than [`Clip::MAX_SECONDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("longer than {} seconds", Clip::MAX_SECONDS)]
pub struct ClipTooLong;

impl Clip {
    /// Maximum length in seconds.
    pub const MAX_SECONDS: u32 = 600;

    /// Creates a clip from samples at 8000 Hz.
    pub fn new(samples: Vec<i16>) -> Result<Self, ClipTooLong> {
        let fits = samples.len() <= (Self::MAX_SECONDS * SAMPLE_RATE) as usize;
        fits.then_some(Self { samples }).ok_or(ClipTooLong)
    }

    /// Returns the samples.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// Returns the number of packets of 20 ms in the clip.
    pub fn frames(&self) -> usize {
        self.samples.len().div_ceil(FRAME)
    }

    /// Returns the samples of one packet, padded with silence in the last packet; `None` past the
    /// end.
    pub fn frame(&self, index: usize) -> Option<[i16; FRAME]> {
        let start = index.checked_mul(FRAME)?;
        let samples = self.samples.get(start..).filter(|rest| !rest.is_empty())?;
        let mut frame = [0; FRAME];
        for (slot, sample) in frame.iter_mut().zip(samples) {
            *slot = *sample;
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_frame_is_filled_with_silence() {
        let clip = Clip::new(vec![5; 200]).unwrap();
        assert_eq!(clip.frames(), 2);
        assert_eq!(clip.frame(0), Some([5; FRAME]));
        assert_eq!(clip.frame(1).unwrap()[39..42], [5, 0, 0]);
        assert_eq!(clip.frame(2), None);
        assert_eq!(clip.frame(usize::MAX), None);
    }

    #[test]
    fn an_empty_clip_has_no_frame() {
        assert_eq!(Clip::new(Vec::new()).unwrap().frame(0), None);
    }

    #[test]
    fn a_clip_longer_than_ten_minutes_is_rejected() {
        assert_eq!(Clip::new(vec![0; 600 * 8000 + 1]), Err(ClipTooLong));
    }
}
