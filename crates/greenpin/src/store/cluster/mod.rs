//! Nodes that share a database: who is alive, and the calls of one that is not.

mod nodes;
pub(crate) mod sql;

pub use self::nodes::{FailureDetector, Heartbeat, Membership};
pub use self::sql::NodeRow;
