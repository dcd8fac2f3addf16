//! The tenant API over HTTP.

mod allocation_update;
mod allocations;
mod calls;
mod idempotency;
mod limits;
mod metrics;
mod numbers;
mod openapi;
mod resolve;
mod tenant_isolation;
