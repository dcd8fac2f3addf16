//! Limits that a caller or a carrier can notice. The page `docs/reference/limits.md` has a row for each.

pub use super::direct_media::MAX_DIRECT_ATTEMPTS;
pub use super::record_writer::MAX_END_ATTEMPTS;
pub use super::refused::{MAX_REFUSED_INVITES, MAX_REFUSED_SOURCES};
pub use super::sip::certificates::RELOAD_INTERVAL;
pub use super::sip::connections::{
    CONNECT_TIMEOUT, FIRST_MESSAGE_TIMEOUT, IDLE_TIMEOUT, MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_SOURCE, MAX_UNLISTED_CONNECTIONS, MESSAGE_TIMEOUT, UNACKNOWLEDGED_TIMEOUT,
};
pub use super::sip::listen::MAX_LISTEN_ADDRESSES;
pub use super::sip::media_hosts::{MAX_MEDIA_HOST_LOOKUPS, MEDIA_HOST_TIMEOUT};
pub use super::sip::sockets::MAX_DATAGRAM_BYTES;
pub use super::trace::{
    MAX_MEDIA_FACTS, MAX_QUEUED_TRACES, MAX_TRACE_BYTES, MAX_TRACE_ENTRIES,
    MAX_UNPROVEN_TRACE_BYTES,
};
pub use super::trunks::dns::{
    EMPTY_LOOKUP_INTERVAL, MAX_LOOKUP_INTERVAL, MAX_RETRY_DELAY, MIN_LOOKUP_INTERVAL,
    MIN_RETRY_DELAY,
};
pub use super::trunks::selection::RESPONSE_TIMEOUT;
pub use super::unproven_calls::MAX_UNPROVEN_CALLS;
