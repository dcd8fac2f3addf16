//! SQL of the nodes.

use crate::store::core::statement::statements;

statements! {
    NODE_JOIN: ExactlyOne =
        "INSERT INTO nodes (node, life, beat, seen_at) VALUES ($1, $2, 1, $3)
         ON CONFLICT (node) DO UPDATE SET life = excluded.life, beat = 1, seen_at = excluded.seen_at";
    NODE_SELECT = "SELECT life, beat, seen_at FROM nodes WHERE node = $1";
    NODES_SELECT = "SELECT node, life, beat, seen_at FROM nodes ORDER BY node";
    NODE_HEARTBEAT: AtMostOne = "UPDATE nodes SET beat = beat + 1, seen_at = $1 WHERE node = $2 AND life = $3";
    NODE_LEAVE: AtMostOne = "DELETE FROM nodes WHERE node = $1 AND life = $2";
    CALLS_OPEN_OF_NODE = "SELECT call_sid, tenant_id FROM calls WHERE node = $1 AND ended_at IS NULL";
}
