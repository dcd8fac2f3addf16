//! SQL of retention and erasure.

use crate::store::core::row::row;
use crate::store::core::statement::statements;
use crate::store::{ErasureId, Timestamp};

row! {
    /// Receipt of an erasure.
    pub(crate) struct ReceiptRow from receipt_columns {
        erasure_id: ErasureId,
        begun_at: Timestamp,
        finished_at: Option<Timestamp>,
        /// End of the first rotation of the master key that began after the erasure. The first generation is no rotation.
        key_destroyed_at: Option<Timestamp> =
            "(SELECT MIN(m.finished_at) FROM master_keys m WHERE m.generation > 1 AND m.begun_at >= erasures.finished_at)",
        /// Number of erased rows of each table, as JSON.
        erased: String,
    }
}

statements! {
    TENANTS_SETTINGS = "SELECT tenant_id, settings FROM tenants WHERE erased_at IS NULL";
    RETENTION_RECORDINGS =
        "SELECT call_sid, recording_file, node FROM calls
         WHERE tenant_id = $1 AND call_sid < $2 AND ended_at < $3 AND recording_file IS NOT NULL
           AND ($4 = '' OR node = $4 OR recording_file LIKE 's3://%')
         ORDER BY call_sid LIMIT $5";
    RETENTION_RECORDING_CLEAR: AtMostOne =
        "UPDATE calls SET recording_file = NULL, recording_ms = NULL WHERE tenant_id = $1 AND call_sid = $2";
    RETENTION_CALLS =
        "DELETE FROM calls WHERE (tenant_id, call_sid) IN (
             SELECT c.tenant_id, c.call_sid FROM calls c
             WHERE c.tenant_id = $1 AND c.call_sid < $2 AND c.ended_at < $3 AND c.recording_file IS NULL
             ORDER BY c.call_sid LIMIT $4)";
    RETENTION_TRACES =
        "DELETE FROM call_traces WHERE (tenant_id, call_sid) IN (
             SELECT t.tenant_id, t.call_sid FROM call_traces t
             WHERE t.tenant_id = $1 AND t.call_sid < $2 ORDER BY t.call_sid LIMIT $3)";
    RETENTION_OLD_TRACE = "SELECT 1 FROM call_traces WHERE tenant_id = $1 AND call_sid < $2 LIMIT 1";
    RETENTION_DELETED =
        "SELECT greenpin_id FROM allocations WHERE tenant_id = $1 AND deleted_at < $2 ORDER BY deleted_at LIMIT $3";
    RETENTION_EXPIRED =
        "SELECT greenpin_id FROM allocations
         WHERE tenant_id = $1 AND expires_at < $2 AND expiry_reported_at IS NOT NULL
         ORDER BY expires_at LIMIT $3";
    RETENTION_ALLOCATION: AtMostOne = "DELETE FROM allocations WHERE tenant_id = $1 AND greenpin_id = $2";
    RETENTION_PIN: AtMostOne =
        "DELETE FROM pins
         WHERE number_key = $1 AND pin_key = $2 AND greenpin_id = $3 AND counted = 0 AND free_at <= $4";
    RETENTION_EVENTS =
        "DELETE FROM events WHERE (tenant_id, event_id) IN (
             SELECT v.tenant_id, v.event_id FROM events v
             WHERE v.tenant_id = $1 AND v.event_id < $2
               AND NOT EXISTS (SELECT 1 FROM deliveries d
                               WHERE d.tenant_id = v.tenant_id AND d.event_id = v.event_id AND d.state IN ('waiting', 'due'))
             ORDER BY v.event_id LIMIT $3)";
    RETENTION_DELIVERIES =
        "DELETE FROM deliveries WHERE (tenant_id, event_id, endpoint_id) IN (
             SELECT d.tenant_id, d.event_id, d.endpoint_id FROM deliveries d
             WHERE d.tenant_id = $1 AND d.event_id < $2 AND d.state IN ('delivered', 'failed')
             ORDER BY d.event_id LIMIT $3)";
    RETENTION_ATTEMPTS =
        "DELETE FROM attempts WHERE (tenant_id, event_id, endpoint_id, begun_at) IN (
             SELECT a.tenant_id, a.event_id, a.endpoint_id, a.begun_at FROM attempts a
             WHERE a.tenant_id = $1 AND a.event_id < $2
               AND NOT EXISTS (SELECT 1 FROM deliveries d
                               WHERE d.tenant_id = a.tenant_id AND d.event_id = a.event_id
                                 AND d.endpoint_id = a.endpoint_id AND d.state IN ('waiting', 'due'))
             ORDER BY a.event_id LIMIT $3)";
    ERASURE_SELECT = concat!("SELECT ", receipt_columns!(), " FROM erasures WHERE tenant_id = $1");
    /// Concatenating an empty text keeps the planner on the index of open calls: a tenant may have millions of ended
    /// calls.
    TENANT_OPEN_CALL = "SELECT 1 FROM calls WHERE ended_at IS NULL AND tenant_id || '' = $1 LIMIT 1";
    TENANT_MARK_ERASED: AtMostOne = "UPDATE tenants SET erased_at = $1 WHERE tenant_id = $2 AND erased_at IS NULL";
    ERASE_CREDENTIALS = "DELETE FROM credentials WHERE tenant_id = $1";
    ERASE_SESSIONS = "DELETE FROM sessions WHERE tenant_id = $1";
    ERASE_ENDPOINTS = "DELETE FROM endpoints WHERE tenant_id = $1";
    ERASURE_INSERT: ExactlyOne = "INSERT INTO erasures (tenant_id, erasure_id, begun_at, erased) VALUES ($1, $2, $3, $4)";
    RECORDINGS_OF_TENANT =
        "SELECT call_sid, recording_file, node FROM calls
         WHERE tenant_id = $1 AND recording_file IS NOT NULL AND call_sid > $2 ORDER BY call_sid LIMIT $3";
    TENANTS_IN_ERASURE = "SELECT tenant_id FROM erasures WHERE finished_at IS NULL";
    RECORDINGS_ON_OTHER_NODES =
        "SELECT node, COUNT(*) AS count FROM calls
         WHERE tenant_id = $1 AND recording_file IS NOT NULL AND node <> $2 AND recording_file NOT LIKE 's3://%'
         GROUP BY node ORDER BY node";
    ERASE_ATTEMPTS =
        "DELETE FROM attempts WHERE tenant_id = $1
         AND (event_id, endpoint_id, begun_at) IN
             (SELECT a.event_id, a.endpoint_id, a.begun_at FROM attempts a WHERE a.tenant_id = $1 LIMIT $2)";
    ERASE_DELIVERIES =
        "DELETE FROM deliveries WHERE tenant_id = $1
         AND (event_id, endpoint_id) IN
             (SELECT d.event_id, d.endpoint_id FROM deliveries d WHERE d.tenant_id = $1 LIMIT $2)";
    ERASE_EVENTS =
        "DELETE FROM events WHERE tenant_id = $1
         AND event_id IN (SELECT v.event_id FROM events v WHERE v.tenant_id = $1 LIMIT $2)";
    ERASE_TRACES =
        "DELETE FROM call_traces WHERE tenant_id = $1
         AND call_sid IN (SELECT t.call_sid FROM call_traces t WHERE t.tenant_id = $1 LIMIT $2)";
    ERASE_CALLS =
        "DELETE FROM calls WHERE tenant_id = $1
         AND call_sid IN (SELECT c.call_sid FROM calls c WHERE c.tenant_id = $1 LIMIT $2)";
    ERASE_PARTIES =
        "DELETE FROM parties WHERE tenant_id = $1
         AND (party_key, greenpin_id) IN
             (SELECT p.party_key, p.greenpin_id FROM parties p WHERE p.tenant_id = $1 LIMIT $2)";
    ERASE_PROMPTS =
        "DELETE FROM prompts WHERE tenant_id = $1
         AND name IN (SELECT p.name FROM prompts p WHERE p.tenant_id = $1 LIMIT $2)";
    ERASE_IDEMPOTENCY_KEYS =
        "DELETE FROM idempotency_keys WHERE tenant_id = $1
         AND key_digest IN (SELECT k.key_digest FROM idempotency_keys k WHERE k.tenant_id = $1 LIMIT $2)";
    ALLOCATIONS_OF_TENANT = "SELECT greenpin_id FROM allocations WHERE tenant_id = $1 LIMIT $2";
    PIN_DELETE: AtMostOne = "DELETE FROM pins WHERE number_key = $1 AND pin_key = $2 AND greenpin_id = $3";
    ALLOCATION_ERASE: AtMostOne = "DELETE FROM allocations WHERE tenant_id = $1 AND greenpin_id = $2";
    NUMBERS_OF_TENANT = "SELECT number_key FROM numbers WHERE tenant_id = $1 LIMIT $2";
    ERASURE_COUNT: ExactlyOne = "UPDATE erasures SET erased = $1 WHERE tenant_id = $2";
    TENANT_KEY_DESTROY: AtMostOne = "UPDATE tenants SET sealed_key = NULL, settings = $1 WHERE tenant_id = $2";
    ERASURE_FINISH: AtMostOne = "UPDATE erasures SET finished_at = $1 WHERE tenant_id = $2";
}
