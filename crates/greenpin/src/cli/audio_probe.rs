//! Analysis of the audio that a built-in phone receives.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

/// Threshold above which a sample counts as sound (16-bit linear, about -36 dBFS).
const SOUND_THRESHOLD: u16 = 500;
/// Silence after which a prompt counts as ended.
const SILENCE: Duration = Duration::from_millis(500);
/// Samples in which a tone is searched: 200 ms.
const TONE_WINDOW: usize = 1600;

/// Audio of one call.
pub(super) struct AudioProbe {
    samples: UnboundedReceiver<Vec<i16>>,
    recent: Vec<i16>,
}

impl AudioProbe {
    /// Starts with a stream of samples, 8 kHz linear.
    pub(super) fn new(samples: UnboundedReceiver<Vec<i16>>) -> Self {
        Self {
            samples,
            recent: Vec::new(),
        }
    }

    /// Waits for speech and half a second of silence after it. `false`: the call ended first.
    pub(super) async fn wait_for_prompt(&mut self) -> bool {
        while !self.next_is_loud().await.unwrap_or(true) {}
        loop {
            match tokio::time::timeout(SILENCE, self.until_loud()).await {
                Ok(true) => {}
                Ok(false) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Waits for a tone of about `frequency` Hz. `false`: the call ended first.
    pub(super) async fn wait_for_tone(&mut self, frequency: f64) -> bool {
        self.recent.clear();
        while let Some(samples) = self.samples.recv().await {
            self.recent.extend(samples);
            let surplus = self.recent.len().saturating_sub(TONE_WINDOW);
            self.recent.drain(..surplus);
            if self.recent.len() == TONE_WINDOW && is_tone(&self.recent, frequency) {
                return true;
            }
        }
        false
    }

    async fn until_loud(&mut self) -> bool {
        loop {
            match self.next_is_loud().await {
                Some(true) => return true,
                Some(false) => {}
                None => return false,
            }
        }
    }

    async fn next_is_loud(&mut self) -> Option<bool> {
        let samples = self.samples.recv().await?;
        Some(
            samples
                .iter()
                .any(|sample| sample.unsigned_abs() > SOUND_THRESHOLD),
        )
    }
}

/// Returns whether samples are one steady, loud tone. The number of zero crossings must match the
/// frequency within 3 %.
pub(super) fn is_tone(samples: &[i16], frequency: f64) -> bool {
    let loud = samples
        .iter()
        .filter(|sample| sample.unsigned_abs() > SOUND_THRESHOLD)
        .count();
    let crossings = samples
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if (*a < 0) != (*b < 0)))
        .count();
    let expected = 2.0 * frequency * samples.len() as f64 / f64::from(media::SAMPLE_RATE);
    loud * 2 > samples.len() && (crossings as f64 - expected).abs() <= 2.0 + expected * 0.03
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frequency: f64, length: usize) -> Vec<i16> {
        let step = std::f64::consts::TAU * frequency / f64::from(media::SAMPLE_RATE);
        (0..length)
            .map(|index| ((index as f64 * step).sin() * 8000.0) as i16)
            .collect()
    }

    #[test]
    fn a_tone_is_told_from_another_and_from_silence() {
        assert!(is_tone(&tone(440.0, TONE_WINDOW), 440.0));
        assert!(!is_tone(&tone(880.0, TONE_WINDOW), 440.0));
        assert!(!is_tone(&tone(440.0, TONE_WINDOW), 880.0));
        assert!(!is_tone(&vec![0; TONE_WINDOW], 440.0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_prompt_ends_with_a_pause() {
        let (samples, heard) = tokio::sync::mpsc::unbounded_channel();
        let mut audio = AudioProbe::new(heard);
        samples.send(vec![0; 160]).unwrap();
        samples.send(tone(440.0, 160)).unwrap();
        assert!(audio.wait_for_prompt().await);
        drop(samples);
        assert!(!audio.wait_for_prompt().await);
    }
}
