//! Comfort noise (RFC 3389): its payload, and a generator for parties without support for it.

use crate::FRAME;

/// Maximum number of coefficients to forward: the order of the example for G.711 (appendix II of
/// ITU-T G.711).
const MAX_ORDER: usize = 10;
/// Octet that is not a coefficient: the values are 0 to 254 (RFC 3389, section 3.2).
const NO_COEFFICIENT: u8 = 255;

/// Validated comfort noise payload (RFC 3389, section 3): a level and at most ten reflection
/// coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComfortNoise {
    octets: [u8; 1 + MAX_ORDER],
    length: usize,
}

/// Generator of white noise at a given level.
#[derive(Debug, Clone)]
pub struct NoiseGenerator {
    state: u32,
    /// Maximum sample value, 0 to 32767.
    peak: f32,
}

impl ComfortNoise {
    /// Static payload type (RFC 3551, table 4).
    pub const PAYLOAD_TYPE: u8 = 13;

    /// Parses a payload. Coefficients after the tenth are dropped, as section 3.2 allows. Returns
    /// `None` for an empty payload, a level above 127 or an invalid coefficient.
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

    /// Returns the payload for the wire, 1 to 11 octets.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// Returns the level in -dBov, from 0 (loudest) to 127.
    pub fn level(&self) -> u8 {
        self.octets[0]
    }
}

impl NoiseGenerator {
    /// Creates a generator from a random seed at the level of `noise`. The spectrum is flat: the
    /// coefficients are ignored.
    pub fn new(seed: u32, noise: &ComfortNoise) -> Self {
        let mut generator = Self {
            state: seed | 1,
            peak: 0.0,
        };
        generator.set_level(noise);
        generator
    }

    /// Changes the level.
    pub fn set_level(&mut self, noise: &ComfortNoise) {
        // Uniform noise of amplitude 1 has a power of 1/3; 0 dBov is the power of a full-scale
        // square wave.
        let amplitude = 32_768.0 * 10f32.powf(-f32::from(noise.level()) / 20.0) * 3f32.sqrt();
        self.peak = amplitude.min(f32::from(i16::MAX));
    }

    /// Returns the next 20 ms.
    pub fn frame(&mut self) -> [i16; FRAME] {
        std::array::from_fn(|_| (self.draw() * self.peak) as i16)
    }

    /// Returns a random number from -1 to 1 (Marsaglia's xorshift).
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
    fn the_noise_has_the_level_of_the_payload() {
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
    fn each_seed_gives_different_noise() {
        let noise = ComfortNoise::parse(&[30]).unwrap();
        let frame = |seed| NoiseGenerator::new(seed, &noise).frame();
        assert_eq!(frame(5), frame(5));
        assert_ne!(frame(5), frame(9));
    }

    #[test]
    fn invalid_comfort_noise_is_rejected_and_a_long_payload_truncated() {
        assert_eq!(ComfortNoise::parse(&[]), None);
        assert_eq!(ComfortNoise::parse(&[128]), None);
        assert_eq!(ComfortNoise::parse(&[40, 127, 255]), None);
        let long = ComfortNoise::parse(&[40; 160]).unwrap();
        assert_eq!((long.octets(), long.level()), (&[40; 11][..], 40));
    }

    proptest! {
        #[test]
        fn a_parsed_payload_parses_again(payload in proptest::collection::vec(any::<u8>(), 0..40), seed in any::<u32>()) {
            if let Some(noise) = ComfortNoise::parse(&payload) {
                prop_assert!(payload.starts_with(noise.octets()));
                prop_assert_eq!(ComfortNoise::parse(noise.octets()), Some(noise));
                let _ = NoiseGenerator::new(seed, &noise).frame();
            }
        }
    }
}
