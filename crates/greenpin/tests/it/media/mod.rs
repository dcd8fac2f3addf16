//! Audio: codecs, encryption, direct media, early media, comfort noise, addresses.

mod comfort_noise;
mod direct_media;
mod early_media;
mod media_address;
mod opus;
mod srtp;
