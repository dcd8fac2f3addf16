//! Limits of stored data that a tenant or an operator can notice. The page `docs/reference/limits.md` has a row for each.

pub use super::READINESS_TIMEOUT;
pub use super::calls::MAX_RECORDED_ATTEMPTS;
pub use super::calls::route::UNLISTED_CALLER_ATTEMPTS;
pub use super::core::database::postgres::CONNECT_TIMEOUT;
pub use super::core::reader::{MAX_QUEUED_READS, READ_TIMEOUT, READER_THREADS};
pub use super::core::write_scope::TENANT_SHARDS;
pub use super::core::writer::{MAX_QUEUED_JOBS, WRITE_TIMEOUT};
pub use super::events::attempts::{ATTEMPT_RETENTION, MAX_SHOWN_ATTEMPTS};
pub use super::events::endpoint_health::MIN_FAILURES;
pub use super::events::redelivery::{MAX_BATCH_EVENTS, MAX_BATCHES};
pub use super::numbers::{OPEN_PIN_LENGTH, REFILL_INTERVAL, UNLISTED_BURST};
pub use super::pins::throttle::{
    BLOCK_BUDGET, BudgetLimit, MAX_LOCKOUT, MAX_WRONG_ATTEMPTS, MIN_LOCKOUT, OWN_BUDGET,
    OWN_BUDGET_TTL, TRUNK_BUDGET,
};
pub use super::retention::enforce::MIN_EVENT_DAYS;
pub use super::tenants::idempotency::{ANSWER_TTL, CLAIM_TIMEOUT};
pub use super::tenants::sessions::{MAX_SESSION_AGE, MAX_SESSIONS, SESSION_IDLE_TIMEOUT};
