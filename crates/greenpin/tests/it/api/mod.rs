//! Tenant API over HTTP.
//!
//! - `allocations`, `allocation_update`, `resolve`, `numbers`, `calls`: resources.
//! - `idempotency`, `limits`, `tenant_isolation`: rules for all requests.
//! - `http`: the protocol: connections, heads, bodies, conditions, links.
//! - `https`: TLS, HTTP/2, renewed certificates.
//! - `console`: sessions, masking, the event stream, search.
//! - `openapi`, `metrics`: documentation and metrics.

mod allocation_update;
mod allocations;
mod calls;
mod console;
mod http;
mod https;
mod idempotency;
mod limits;
mod metrics;
mod numbers;
mod openapi;
mod resolve;
mod tenant_isolation;
