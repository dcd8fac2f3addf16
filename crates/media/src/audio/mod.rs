//! Linear audio: clips, tones, noise, concealment of loss, and the timeline of a recording.

mod clip;
mod concealment;
mod noise;
mod oscillator;
mod ringback;
mod timeline;

pub use clip::{Clip, ClipTooLong};
pub use concealment::Concealment;
pub use noise::{ComfortNoise, NoiseGenerator};
pub use oscillator::Oscillator;
pub use ringback::{Ringback, RingbackTone};
pub use timeline::{Channel, StereoTimeline};
