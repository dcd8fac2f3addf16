//! The SIP and RTP engine: performs what the call machine decides.

pub mod audio;
