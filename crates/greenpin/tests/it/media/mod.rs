//! Audio: codecs, encryption, direct media, comfort noise.

mod comfort_noise;
mod direct_media;
mod opus;
mod srtp;
