//! Parts shared by all requests.
//!
//! - `auth`, `rate_limit`, `idempotency`: run before a tenant's handler; `stored_body`: compressed responses.
//! - `body`, `content_encoding`, `validation`, `field`: read the request and report all faults together.
//! - `paging`, `range`, `conditional`: parts of a list or of a file, and files that the client already has.
//! - `problem`: error codes and error responses.
//! - `client_address`: the address of the client, and the network that counts as one source.
//! - `request_metrics`: counts requests and catches panics.

pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod client_address;
pub(crate) mod conditional;
pub(crate) mod content_encoding;
pub(crate) mod field;
pub(crate) mod idempotency;
pub(crate) mod masking;
pub(crate) mod paging;
pub(crate) mod problem;
pub(crate) mod range;
pub(crate) mod rate_limit;
pub(crate) mod request_log;
pub(crate) mod request_metrics;
pub(crate) mod session;
mod stored_body;
pub(crate) mod validation;
