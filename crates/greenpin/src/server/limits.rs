//! Limits of a node that an operator can notice. The page `docs/reference/limits.md` has a row for each.

pub use super::membership::HEARTBEATS_PER_LEASE;
