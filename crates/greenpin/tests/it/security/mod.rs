//! Leaks, guessing, floods and malformed messages.

mod abuse;
mod forgery;
mod leak;
mod torture;
