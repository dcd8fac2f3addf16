//! Shared limits: token buckets and delays between retries.

pub(crate) mod backoff;
pub(crate) mod token_bucket;
