//! Tenant API over HTTP.
//!
//! - `allocations`, `allocation_update`, `resolve`, `numbers`, `calls`: resources.
//! - `idempotency`, `limits`, `tenant_isolation`: rules for all requests.
//! - `http`: the protocol: connections, heads, bodies, conditions, links.
//! - `openapi`, `metrics`: documentation and metrics.

mod allocation_update;
mod allocations;
mod calls;
mod http;
mod idempotency;
mod limits;
mod metrics;
mod numbers;
mod openapi;
mod resolve;
mod tenant_isolation;
