//! Nodes that share a database: who is alive, and the calls of one that is not.

mod nodes;

pub use self::nodes::{Beat, DeathWatch, Membership, NodeRow};
