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
    }
}

statements! {
    NODE_JOIN: ExactlyOne =
        "INSERT INTO nodes (node, life, beat, seen_at) VALUES ($1, $2, 1, $3)
         ON CONFLICT (node) DO UPDATE SET life = excluded.life, beat = 1, seen_at = excluded.seen_at";
    NODE_SELECT = concat!("SELECT ", node_columns!(), " FROM nodes WHERE node = $1");
    NODES_SELECT = concat!("SELECT ", node_columns!(), " FROM nodes ORDER BY node");
    NODE_HEARTBEAT: AtMostOne = "UPDATE nodes SET beat = beat + 1, seen_at = $1 WHERE node = $2 AND life = $3";
    NODE_LEAVE: AtMostOne = "DELETE FROM nodes WHERE node = $1 AND life = $2";
    CALLS_OPEN_OF_NODE =
        concat!("SELECT ", open_call_columns!(), " FROM calls WHERE node = $1 AND ended_at IS NULL");
}
