//! Limits of a node that an operator can notice. The page `docs/reference/limits.md` has a row for each.

use std::time::Duration;

pub use super::membership::HEARTBEATS_PER_LEASE;

/// Time for live calls to finish after SIGTERM. A second signal ends them at once.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
