//! Audio: codecs, encryption, direct media, comfort noise, addresses.

mod comfort_noise;
mod direct_media;
mod media_address;
mod opus;
mod srtp;
