//! SQL of the nodes.

use crate::store::core::row::row;
use crate::store::core::statement::statements;
use crate::store::{CallSid, TenantId, Timestamp};

row! {
    /// Call without an end.
    pub(crate) struct OpenCallRow from open_call_columns {
        call_sid: CallSid,
        tenant_id: TenantId,
    }
}

row! {
    /// Node, as the database knows it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NodeRow from node_columns {
        /// Name of the node.
        node: String,
        /// Id of the process, drawn when it joins.
        process: String = "life",
        /// Number of heartbeats of this process.
        heartbeats: i64 = "beat",
        /// Time of the last heartbeat, by the clock of the node.
        seen_at: Timestamp,
        /// Lease of the node in seconds; `None` for a node of an earlier version.
        lease_seconds: Option<i64>,
        /// Version of greenpin; empty for a node of an earlier version.
        version: String,
        /// Start of the process, by the clock of the node.
        started_at: Timestamp,
        /// Number of active calls at the last heartbeat.
        calls: u64,
        /// The node rejected new calls at the last heartbeat.
        draining: bool,
        /// The operator wants the node to reject new calls.
        drain_wanted: bool,
    }
}

statements! {
    NODE_JOIN: ExactlyOne =
        "INSERT INTO nodes (node, life, beat, seen_at, lease_seconds, version, started_at, calls, draining, drain_wanted)
         VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (node) DO UPDATE SET life = excluded.life, beat = 1, seen_at = excluded.seen_at,
             lease_seconds = excluded.lease_seconds, version = excluded.version, started_at = excluded.started_at,
             calls = excluded.calls, draining = excluded.draining, drain_wanted = excluded.drain_wanted";
    NODE_SELECT = concat!("SELECT ", node_columns!(), " FROM nodes WHERE node = $1");
    NODES_SELECT = concat!("SELECT ", node_columns!(), " FROM nodes ORDER BY node");
    NODE_HEARTBEAT: AtMostOne =
        "UPDATE nodes SET beat = beat + 1, seen_at = $1, calls = $2, draining = $3
         WHERE node = $4 AND life = $5 RETURNING drain_wanted";
    NODE_WANT_DRAIN: AtMostOne = "UPDATE nodes SET drain_wanted = $1 WHERE node = $2";
    NODE_LEAVE: AtMostOne = "DELETE FROM nodes WHERE node = $1 AND life = $2";
    CALLS_OPEN_OF_NODE =
        concat!("SELECT ", open_call_columns!(), " FROM calls WHERE node = $1 AND ended_at IS NULL");
}
