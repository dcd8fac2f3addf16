//! Parts of every request: credentials, rates, idempotency keys, bodies and their validation, problems, metrics.

pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod field;
pub(crate) mod idempotency;
pub(crate) mod paging;
pub(crate) mod problem;
pub(crate) mod range;
pub(crate) mod rate_limit;
pub(crate) mod request_metrics;
pub(crate) mod validation;
