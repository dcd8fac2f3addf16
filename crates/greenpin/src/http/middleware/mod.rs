//! Parts shared by all requests.
//!
//! - `auth`, `rate_limit`, `idempotency`: run before a tenant's handler.
//! - `body`, `validation`, `field`: read the request and report all faults together.
//! - `paging`, `range`: parts of a list or of a file.
//! - `problem`: error codes and error responses.
//! - `request_metrics`: counts requests and catches panics.

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
