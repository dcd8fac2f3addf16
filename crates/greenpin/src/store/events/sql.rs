//! SQL of the event log, deliveries and attempts.

use crate::store::core::statement::statements;

statements! {
    EVENT_INSERT: ExactlyOne =
        "INSERT INTO events (tenant_id, event_id, greenpin_id, type, sequence, occurred_at, sealed)
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    ALLOCATION_NEXT_SEQUENCE: AtMostOne =
        "UPDATE allocations SET sequence = sequence + 1 WHERE tenant_id = $1 AND greenpin_id = $2
         RETURNING sequence, custom_field";
    DELIVERY_INSERT: ExactlyOne =
        "INSERT INTO deliveries (tenant_id, event_id, endpoint_id, queue, sequence, state, due_at, created_at)
         VALUES ($1, $2, $3, $4, $5,
                 CASE WHEN EXISTS (SELECT 1 FROM deliveries d
                                   WHERE d.endpoint_id = $3 AND d.queue = $4 AND d.state IN ('waiting', 'due'))
                      THEN 'waiting' ELSE 'due' END,
                 $6, $6)";
    EVENTS_AFTER =
        "SELECT event_id, sealed FROM events WHERE tenant_id = $1 AND event_id > $2 ORDER BY event_id LIMIT $3";
    EVENTS_LAST = "SELECT event_id FROM events WHERE tenant_id = $1 ORDER BY event_id DESC LIMIT $2";
    EVENTS_OF_ENDPOINT_AFTER =
        "SELECT v.event_id, v.sealed FROM events v
         WHERE v.tenant_id = $1 AND v.event_id IN (
             SELECT d.event_id FROM deliveries d
             WHERE d.tenant_id = $1 AND d.event_id > $2 AND d.endpoint_id = $3
             ORDER BY d.event_id LIMIT $4)
         ORDER BY v.event_id";
    EVENTS_FAILED_AFTER =
        "SELECT v.event_id, v.sealed FROM events v
         WHERE v.tenant_id = $1 AND v.event_id IN (
             SELECT DISTINCT d.event_id FROM deliveries d
             JOIN endpoints p ON p.tenant_id = d.tenant_id AND p.endpoint_id = d.endpoint_id
             WHERE d.tenant_id = $1 AND d.event_id > $2 AND d.state = 'failed' AND p.removed_at IS NULL
               AND ($3 = '' OR d.endpoint_id = $3)
             ORDER BY d.event_id LIMIT $4)
         ORDER BY v.event_id";
    EVENT_SELECT = "SELECT type, sequence, greenpin_id FROM events WHERE tenant_id = $1 AND event_id = $2";
    EVENTS_BETWEEN =
        "SELECT event_id, type, sequence, greenpin_id FROM events
         WHERE tenant_id = $1 AND event_id > $2 AND event_id < $3 ORDER BY event_id LIMIT $4";
    DELIVERIES_FAILED_BETWEEN =
        "SELECT d.event_id, d.endpoint_id FROM deliveries d
         WHERE d.tenant_id = $1 AND d.event_id >= $2 AND d.event_id <= $3 AND d.state = 'failed'";
    DELIVERY_REQUEUE: ExactlyOne =
        "INSERT INTO deliveries (tenant_id, event_id, endpoint_id, queue, sequence, state, due_at, created_at)
         VALUES ($1, $2, $3, $4, $5,
                 CASE WHEN EXISTS (SELECT 1 FROM deliveries d
                                   WHERE d.endpoint_id = $3 AND d.queue = $4 AND d.state IN ('waiting', 'due'))
                      THEN 'waiting' ELSE 'due' END,
                 $6, $6)
         ON CONFLICT (tenant_id, event_id, endpoint_id) DO UPDATE
         SET state = CASE WHEN deliveries.state IN ('waiting', 'due') THEN deliveries.state ELSE excluded.state END,
             due_at = excluded.due_at, created_at = excluded.created_at, attempts = 0, finished_at = NULL, tried_at = NULL, claimed_by = NULL";
    DELIVERIES_DUE_ENDPOINTS =
        "WITH RECURSIVE due (endpoint_id) AS (
             SELECT MIN(endpoint_id) FROM deliveries WHERE state = 'due'
             UNION ALL
             SELECT (SELECT MIN(d.endpoint_id) FROM deliveries d WHERE d.state = 'due' AND d.endpoint_id > due.endpoint_id)
             FROM due WHERE due.endpoint_id IS NOT NULL)
         SELECT due.endpoint_id,
                (SELECT MIN(d.due_at) FROM deliveries d WHERE d.state = 'due' AND d.endpoint_id = due.endpoint_id)
         FROM due JOIN endpoints e ON e.endpoint_id = due.endpoint_id
         WHERE (e.paused = 0 AND e.disabled_at IS NULL) OR e.removed_at IS NOT NULL";
    DELIVERIES_CLAIM =
        "UPDATE deliveries SET due_at = $1, attempts = attempts + 1, tried_at = COALESCE(tried_at, $2), claimed_by = $3
         WHERE (tenant_id, event_id, endpoint_id) IN (
             SELECT d.tenant_id, d.event_id, d.endpoint_id FROM deliveries d
             WHERE d.state = 'due' AND d.due_at <= $2 AND d.endpoint_id = $4
               AND EXISTS (SELECT 1 FROM endpoints e
                           WHERE e.endpoint_id = $4
                             AND ((e.paused = 0 AND e.disabled_at IS NULL) OR e.removed_at IS NOT NULL))
             ORDER BY d.due_at LIMIT $5)
         RETURNING tenant_id, event_id, endpoint_id, queue, attempts, created_at, tried_at";
    DELIVERY_CONTENT =
        "SELECT v.sealed, p.url, p.format, p.sealed_secret, p.sealed_old_secret, p.old_secret_until, p.removed_at
         FROM events v JOIN endpoints p ON p.tenant_id = v.tenant_id
         WHERE v.tenant_id = $1 AND v.event_id = $2 AND p.endpoint_id = $3";
    DELIVERY_FINISH: AtMostOne =
        "UPDATE deliveries SET state = $1, finished_at = $2
         WHERE tenant_id = $3 AND event_id = $4 AND endpoint_id = $5 AND created_at = $6 AND state = 'due'";
    DELIVERY_NEXT =
        "UPDATE deliveries SET state = 'due', due_at = $1
         WHERE endpoint_id = $2 AND queue = $3 AND state IN ('waiting', 'due') AND state = 'waiting'
           AND sequence = (SELECT MIN(d.sequence) FROM deliveries d
                           WHERE d.endpoint_id = $2 AND d.queue = $3 AND d.state IN ('waiting', 'due')
                             AND d.state = 'waiting')
           AND NOT EXISTS (SELECT 1 FROM deliveries d
                           WHERE d.endpoint_id = $2 AND d.queue = $3 AND d.state IN ('waiting', 'due') AND d.state = 'due')";
    DELIVERY_RETRY: AtMostOne =
        "UPDATE deliveries SET due_at = $1, claimed_by = NULL
         WHERE tenant_id = $2 AND event_id = $3 AND endpoint_id = $4 AND created_at = $5 AND state = 'due'";
    DELIVERIES_RELEASE = "UPDATE deliveries SET due_at = $1 WHERE state = 'due' AND due_at > $1";
    DELIVERIES_RELEASE_NODE =
        "UPDATE deliveries SET due_at = $1, claimed_by = NULL WHERE state = 'due' AND claimed_by = $2";
    DELIVERIES_OPEN = "SELECT CAST(COUNT(*) AS BIGINT) FROM deliveries WHERE state IN ('waiting', 'due')";
    /// `CROSS JOIN` fixes the join order on SQLite, so that only open deliveries of paused or disabled endpoints are
    /// read.
    DELIVERIES_ABANDON =
        "UPDATE deliveries SET state = 'failed', finished_at = $1
         WHERE (tenant_id, event_id, endpoint_id) IN (
             SELECT d.tenant_id, d.event_id, d.endpoint_id FROM endpoints p CROSS JOIN deliveries d
             WHERE (p.paused <> 0 OR p.disabled_at IS NOT NULL)
               AND d.endpoint_id = p.endpoint_id AND d.state IN ('waiting', 'due') AND d.created_at < $2
             LIMIT $3)";
    DELIVERIES_OF_EVENT =
        "SELECT d.endpoint_id, p.url, d.state, d.attempts, d.due_at, d.created_at, d.finished_at
         FROM deliveries d LEFT JOIN endpoints p ON p.tenant_id = d.tenant_id AND p.endpoint_id = d.endpoint_id
         WHERE d.tenant_id = $1 AND d.event_id = $2 ORDER BY d.endpoint_id";
    ATTEMPT_INSERT: AtMostOne =
        "INSERT INTO attempts (tenant_id, event_id, endpoint_id, begun_at, latency, status, error, sealed_answer)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (tenant_id, event_id, endpoint_id, begun_at) DO NOTHING";
    ATTEMPTS_OF_EVENT =
        "SELECT endpoint_id, begun_at, latency, status, error, sealed_answer FROM attempts
         WHERE tenant_id = $1 AND event_id = $2 ORDER BY begun_at DESC LIMIT $3";
    ATTEMPTS_DELETE_OLD =
        "DELETE FROM attempts WHERE (tenant_id, event_id, endpoint_id, begun_at) IN (
             SELECT a.tenant_id, a.event_id, a.endpoint_id, a.begun_at FROM attempts a
             WHERE a.begun_at < $1 ORDER BY a.begun_at LIMIT $2)";
    ENDPOINT_SUCCEEDED: AtMostOne =
        "UPDATE endpoints SET failing_since = NULL, failures = 0 WHERE endpoint_id = $1 AND failing_since IS NOT NULL";
    ENDPOINT_FAILED: AtMostOne =
        "UPDATE endpoints SET failing_since = COALESCE(failing_since, $1), failures = failures + 1
         WHERE endpoint_id = $2 AND disabled_at IS NULL AND removed_at IS NULL
         RETURNING failing_since, failures, url";
    ENDPOINT_DISABLE: ExactlyOne = "UPDATE endpoints SET disabled_at = $1 WHERE endpoint_id = $2";
    ENDPOINT_ENABLE: AtMostOne =
        "UPDATE endpoints SET disabled_at = NULL, failing_since = NULL, failures = 0
         WHERE tenant_id = $1 AND endpoint_id = $2 AND removed_at IS NULL";
    ENDPOINTS_DISABLED =
        "SELECT CAST(COUNT(*) AS BIGINT) FROM endpoints WHERE disabled_at IS NOT NULL AND removed_at IS NULL";
}
