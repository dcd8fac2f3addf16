//! Shared limits: token buckets, delays between retries, and log lines that strangers cause.

pub(crate) mod backoff;
pub(crate) mod log_limit;
pub(crate) mod token_bucket;
