//! Limits of the upload of recordings that an operator can notice. The page `docs/reference/limits.md` has a row for each.

pub use super::bucket::REQUEST_TIMEOUT;
pub use super::upload::{FIRST_PAUSE, MAX_CONCURRENT, MAX_PAUSE};
