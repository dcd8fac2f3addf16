//! Comfort noise (RFC 3389): what a party says of the noise in its silence, and that noise for one that cannot make it.

use crate::FRAME;

/// Coefficients that are passed on: the order of the RFC's own example for G.711 (appendix II of ITU-T G.711).
const MAX_ORDER: usize = 10;
/// Of a coefficient's octet: values are 0 to 254 (RFC 3389, section 3.2).
const NO_COEFFICIENT: u8 = 255;

/// A checked comfort noise payload (RFC 3389, section 3): a level and at most ten reflection coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComfortNoise {
    octets: [u8; 1 + MAX_ORDER],
    length: usize,
}

/// White noise of a level, frame by frame.
#[derive(Debug, Clone)]
pub struct NoiseGenerator {
    state: u32,
    /// The greatest sample, 0 to 32767.
    peak: f32,
}

impl ComfortNoise {
    /// The static payload type (RFC 3551, table 4).
    pub const PAYLOAD_TYPE: u8 = 13;

    /// Reads a payload. Coefficients beyond the tenth are cut off, as section 3.2 allows; `None` for an empty payload,
    /// a level above 127 or an octet that is no coefficient.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let length = payload.len().min(1 + MAX_ORDER);
        let (level, coefficients) = payload.get(..length)?.split_first()?;
        if *level > 127 || coefficients.contains(&NO_COEFFICIENT) {
            return None;
        }
        let mut octets = [0; 1 + MAX_ORDER];
        octets
            .iter_mut()
            .zip(payload)
            .for_each(|(octet, from)| *octet = *from);
        Some(Self { octets, length })
    }

    /// The payload as it is sent, 1 to 11 octets.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// The level in -dBov, 0 (the loudest) to 127.
    pub fn level(&self) -> u8 {
        self.octets[0]
    }
}

impl NoiseGenerator {
    /// Noise from a random number, at the level that was told; its spectrum is flat whatever the coefficients say.
    pub fn new(seed: u32, noise: &ComfortNoise) -> Self {
        let mut generator = Self {
            state: seed | 1,
            peak: 0.0,
        };
        generator.set_level(noise);
        generator
    }

    /// Goes on at another level.
    pub fn set_level(&mut self, noise: &ComfortNoise) {
        // Even noise of amplitude 1 has a power of 1/3; 0 dBov is the power of the greatest square wave.
        let amplitude = 32_768.0 * 10f32.powf(-f32::from(noise.level()) / 20.0) * 3f32.sqrt();
        self.peak = amplitude.min(f32::from(i16::MAX));
    }

    /// The next 20 ms.
    pub fn frame(&mut self) -> [i16; FRAME] {
        std::array::from_fn(|_| (self.draw() * self.peak) as i16)
    }

    /// A number from -1 to 1 (Marsaglia's xorshift).
    fn draw(&mut self) -> f32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        self.state as i32 as f32 / 2f32.powi(31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_level_that_was_told_is_heard() {
        for level in [6, 20, 40, 60, 78] {
            let mut generator = NoiseGenerator::new(7, &ComfortNoise::parse(&[level]).unwrap());
            let samples: Vec<i16> = (0..100).flat_map(|_| generator.frame()).collect();
            let power: f64 = samples
                .iter()
                .map(|sample| f64::from(*sample).powi(2))
                .sum::<f64>()
                / 16_000.0;
            let measured = 10.0 * (power / 32_768f64.powi(2)).log10();
            assert!(
                (measured + f64::from(level)).abs() < 1.0,
                "{level}: {measured}"
            );
            let mean = samples.iter().map(|sample| f64::from(*sample)).sum::<f64>() / 16_000.0;
            assert!(mean.abs() < power.sqrt() / 20.0 + 1.0, "{mean}");
        }
    }

    #[test]
    fn the_lowest_level_is_silence_and_the_highest_does_not_overflow() {
        let mut generator = NoiseGenerator::new(0, &ComfortNoise::parse(&[127]).unwrap());
        assert_eq!(generator.frame(), [0; FRAME]);
        generator.set_level(&ComfortNoise::parse(&[0]).unwrap());
        let loud = generator.frame();
        assert!(
            loud.iter().any(|sample| *sample > 20_000)
                && loud.iter().any(|sample| *sample < -20_000)
        );
    }

    #[test]
    fn a_seed_gives_its_own_noise() {
        let noise = ComfortNoise::parse(&[30]).unwrap();
        let frame = |seed| NoiseGenerator::new(seed, &noise).frame();
        assert_eq!(frame(5), frame(5));
        assert_ne!(frame(5), frame(9));
    }

    #[test]
    fn what_is_no_comfort_noise_is_refused_and_what_is_too_long_is_cut() {
        assert_eq!(ComfortNoise::parse(&[]), None);
        assert_eq!(ComfortNoise::parse(&[128]), None);
        assert_eq!(ComfortNoise::parse(&[40, 127, 255]), None);
        let long = ComfortNoise::parse(&[40; 160]).unwrap();
        assert_eq!((long.octets(), long.level()), (&[40; 11][..], 40));
    }

    proptest! {
        #[test]
        fn whatever_is_read_can_be_read_again(payload in proptest::collection::vec(any::<u8>(), 0..40), seed in any::<u32>()) {
            if let Some(noise) = ComfortNoise::parse(&payload) {
                prop_assert!(payload.starts_with(noise.octets()));
                prop_assert_eq!(ComfortNoise::parse(noise.octets()), Some(noise));
                let _ = NoiseGenerator::new(seed, &noise).frame();
            }
        }
    }
}
