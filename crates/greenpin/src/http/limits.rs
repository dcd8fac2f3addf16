//! Limits that a client of the API can notice. The page `docs/reference/limits.md` has a row for each.

pub use super::middleware::body::{BODY_TIMEOUT, MAX_JSON_BYTES, MAX_WAV_BYTES};
pub use super::middleware::idempotency::{MAX_KEY_LENGTH, MAX_STORED_RESPONSE_BYTES};
pub use super::middleware::paging::{DEFAULT_PAGE_ITEMS, MAX_PAGE_ITEMS};
pub use super::middleware::problem::MAX_FAULTS;
pub use super::middleware::rate_limit::FAILURE_LIMIT;
pub use super::middleware::request_log::{MAX_LOGGED_REQUESTS, MAX_LOGGED_TENANTS};
pub use super::operator::number_import::{MAX_FILE_BYTES, MAX_LINES};
pub use super::serving::{HEADER_TIMEOUT, MAX_HEADER_BYTES, MAX_STREAMS, WRITE_TIMEOUT};
pub use super::tenant::allocations::bulk_update::MAX_ITEMS;
pub use super::tenant::events::log::MAX_WAIT_SECONDS;
pub use super::tenant::events::of_subject::MAX_SCANNED_EVENTS;
pub use super::tenant::events::stream::{
    MAX_STREAM_DURATION, MAX_STREAMS_PER_SOURCE, MAX_STREAMS_PER_TENANT, STREAM_HEARTBEAT_INTERVAL,
};
pub use super::tenant::search::{MAX_FOUND, MAX_SEARCHED};
