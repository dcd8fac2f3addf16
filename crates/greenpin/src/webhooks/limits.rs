//! Limits that a receiver of webhooks can notice. The page `docs/reference/limits.md` has a row for each.

pub use super::RESPONSE_TIMEOUT;
pub use super::client::MAX_INTERIM_RESPONSES;
pub use super::concurrency::{
    INITIAL_PER_ENDPOINT, MAX_DELIVERIES, MAX_PER_ENDPOINT, MAX_PER_TENANT,
};
pub use super::connector::MAX_RESPONSE_BYTES;
pub use super::post::{BODY_TIMEOUT, MAX_READ_BYTES, MAX_RETRY_AFTER, MAX_STORED_BYTES};
pub use super::schedule::{FIRST_PAUSE, LIFETIME, MAX_PAUSE};
pub use super::test_sender::MAX_TEST_EVENTS;
