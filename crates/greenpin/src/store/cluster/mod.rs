//! Nodes that share a database: heartbeats, failure detection, eviction.

mod nodes;
pub(crate) mod sql;

pub use self::nodes::{FailureDetector, Heartbeat, Membership};
pub use self::sql::NodeRow;
