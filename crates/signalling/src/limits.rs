//! Limits that a SIP peer can notice. The page `docs/reference/limits.md` has a row for each.

pub use crate::endpoint::keep_alive::PROBE_TIMEOUT;
pub use crate::endpoint::redirect::MAX_REINVITE_ATTEMPTS;
pub use crate::endpoint::registration::{
    DEFAULT_EXPIRY, INITIAL_RETRY_DELAY, MAX_EXPIRY, MAX_RETRY_DELAY, MIN_EXPIRY,
};
pub use crate::endpoint::session::{
    DEFAULT_SESSION_INTERVAL, MAX_SESSION_INTERVAL, MIN_SESSION_INTERVAL,
};

/// Returns the maximum size of a message and of one of its headers, in bytes.
pub fn message_bytes() -> (usize, usize) {
    let limits = crate::sip::Limits::datagram();
    (limits.max_message_bytes, limits.max_header_bytes)
}
