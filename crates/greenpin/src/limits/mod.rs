//! Limits that several parts share: token buckets and pauses between retries.

pub(crate) mod backoff;
pub(crate) mod token_bucket;
