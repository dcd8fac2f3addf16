//! Leaks, guessing, floods and malformed messages.

mod abuse;
mod leak;
mod torture;
