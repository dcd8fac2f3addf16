//! Masked calls: PINs, hunting, settings, draining.

mod call_settings;
mod digits;
mod drain;
mod masked_call;
