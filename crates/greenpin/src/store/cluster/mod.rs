//! Nodes that share a database: heartbeats, failure detection, eviction.

mod failure_detector;
mod nodes;
pub(crate) mod sql;

pub use self::failure_detector::FailureDetector;
pub use self::nodes::{Heartbeat, Membership, NodeIdentity, NodeState};
pub use self::sql::NodeRow;
