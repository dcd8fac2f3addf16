//! Audio in place of lost packets.

use crate::FRAME;

/// Fills in lost samples: repeats the last 20 ms at half the level each time.
#[derive(Debug, Clone)]
pub struct Concealment {
    last: [i16; FRAME],
}

impl Default for Concealment {
    fn default() -> Self {
        Self { last: [0; FRAME] }
    }
}

impl Concealment {
    /// Records decoded samples for later repetition.
    pub fn observe(&mut self, samples: &[i16]) {
        let recent = samples
            .get(samples.len().saturating_sub(FRAME)..)
            .unwrap_or_default();
        let unchanged = FRAME - recent.len();
        self.last.rotate_left(recent.len());
        self.last
            .iter_mut()
            .skip(unchanged)
            .zip(recent)
            .for_each(|(slot, sample)| *slot = *sample);
    }

    /// Fills `samples` with the last audio at half its level, then at a quarter, and so on.
    pub fn fill(&mut self, samples: &mut [i16]) {
        for frame in samples.chunks_mut(FRAME) {
            self.last.iter_mut().for_each(|sample| *sample /= 2);
            frame
                .iter_mut()
                .zip(&self.last)
                .for_each(|(slot, sample)| *slot = *sample);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concealed_audio_fades() {
        let mut concealment = Concealment::default();
        concealment.observe(&[1; 100]);
        concealment.observe(&[8000; 160]);
        let mut samples = [0; 480];
        concealment.fill(&mut samples);
        assert_eq!((samples[0], samples[160], samples[479]), (4000, 2000, 1000));
        concealment.observe(&[800; 60]);
        concealment.fill(&mut samples[..160]);
        assert_eq!((samples[0], samples[159]), (500, 400));
    }
}
