//! RTP, telephone-event digits, tones and audio, sans-IO.
