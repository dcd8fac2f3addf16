//! SQL of the event log, deliveries and attempts.

use crate::store::core::database::word_columns;
use crate::store::core::row::row;
use crate::store::core::statement::statements;
use crate::store::{EndpointFormat, EndpointId, EventId, GreenpinId, TenantId, Timestamp};
use call::words;

row! {
    /// Event of the log, encrypted.
    pub(crate) struct LogRow from log_columns {
        event_id: EventId = "v.event_id",
        sealed: String = "v.sealed",
    }
}

row! {
    /// Event without its body.
    pub(crate) struct HeadRow from head_columns {
        event_id: EventId,
        event_type: String = "type",
        sequence: i64,
        greenpin_id: Option<GreenpinId>,
    }
}

row! {
    /// Delivery that was given up.
    pub(crate) struct FailedRow from failed_columns {
        event_id: EventId = "d.event_id",
        endpoint_id: EndpointId = "d.endpoint_id",
    }
}

row! {
    /// Endpoint with due deliveries.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DueEndpoint from due_endpoint_columns {
        /// Id of the endpoint.
        endpoint_id: EndpointId = "due.endpoint_id",
        /// Tenant of the endpoint.
        tenant_id: TenantId = "e.tenant_id",
        /// Time of its first delivery.
        due_at: Timestamp =
            "(SELECT MIN(d.due_at) FROM deliveries d WHERE d.state = 'due' AND d.endpoint_id = due.endpoint_id)",
    }
}

row! {
    /// Claimed delivery.
    pub(crate) struct ClaimRow from claim_columns {
        tenant_id: TenantId,
        event_id: EventId,
        endpoint_id: EndpointId,
        queue: String,
        attempts: u32,
        created_at: Timestamp,
        tried_at: Timestamp,
    }
}

row! {
    /// Content of a delivery, encrypted.
    pub(crate) struct ContentRow from content_columns {
        sealed: String = "v.sealed",
        url: String = "p.url",
        format: EndpointFormat = "p.format",
        sealed_secret: String = "p.sealed_secret",
        sealed_old_secret: Option<String> = "p.sealed_old_secret",
        old_secret_until: Timestamp = "p.old_secret_until",
        removed_at: Option<Timestamp> = "p.removed_at",
    }
}

row! {
    /// Endpoint of a test event.
    pub(crate) struct TestEndpointRow from test_endpoint_columns {
        url: String,
        format: EndpointFormat,
        sealed_secret: String,
        sealed_old_secret: Option<String>,
        old_secret_until: Timestamp,
    }
}

words! {
    /// State of a delivery in its queue.
    pub enum QueueState {
        /// An earlier event of the same allocation is not delivered yet.
        Waiting = "waiting",
        /// First of its queue: it is sent at `due_at`.
        Due = "due",
        /// Delivered.
        Delivered = "delivered",
        /// Given up.
        Failed = "failed",
    }
}

word_columns!(QueueState);

row! {
    /// State of a delivery.
    pub(crate) struct DeliveryRow from delivery_columns {
        endpoint_id: EndpointId = "d.endpoint_id",
        url: Option<String> = "p.url",
        state: QueueState = "d.state",
        attempts: u32 = "d.attempts",
        due_at: Timestamp = "d.due_at",
        created_at: Timestamp = "d.created_at",
        finished_at: Option<Timestamp> = "d.finished_at",
    }
}

row! {
    /// Attempt of a delivery.
    pub(crate) struct AttemptRow from attempt_columns {
        endpoint_id: String,
        begun_at: Timestamp,
        /// Microseconds.
        latency: i64,
        status: Option<u16>,
        error: Option<String>,
        sealed_answer: String,
    }
}

row! {
    /// Failures of an endpoint since its last success.
    pub(crate) struct FailureRow from failure_columns {
        failing_since: Timestamp,
        failures: i64,
        url: String,
    }
}

statements! {
    EVENT_INSERT: ExactlyOne =
        "INSERT INTO events (tenant_id, event_id, greenpin_id, type, sequence, occurred_at, sealed)
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    ALLOCATION_SEQUENCE = "SELECT sequence, custom_field FROM allocations WHERE tenant_id = $1 AND greenpin_id = $2";
    ALLOCATION_SET_SEQUENCE: ExactlyOne =
        "UPDATE allocations SET sequence = $1 WHERE tenant_id = $2 AND greenpin_id = $3";
    DELIVERY_INSERT: ExactlyOne =
        "INSERT INTO deliveries (tenant_id, event_id, endpoint_id, queue, sequence, state, due_at, created_at)
         VALUES ($1, $2, $3, $4, $5,
                 CASE WHEN EXISTS (SELECT 1 FROM deliveries d
                                   WHERE d.endpoint_id = $3 AND d.queue = $4 AND d.state IN ('waiting', 'due'))
                      THEN 'waiting' ELSE 'due' END,
                 $6, $6)";
    EVENTS_AFTER = concat!(
        "SELECT ", log_columns!(), " FROM events v
         WHERE v.tenant_id = $1 AND v.event_id > $2 ORDER BY v.event_id LIMIT $3"
    );
    EVENTS_LAST = "SELECT event_id FROM events WHERE tenant_id = $1 ORDER BY event_id DESC LIMIT $2";
    EVENTS_OF_ENDPOINT_AFTER = concat!(
        "SELECT ", log_columns!(), " FROM events v
         WHERE v.tenant_id = $1 AND v.event_id IN (
             SELECT d.event_id FROM deliveries d
             WHERE d.tenant_id = $1 AND d.event_id > $2 AND d.endpoint_id = $3
             ORDER BY d.event_id LIMIT $4)
         ORDER BY v.event_id"
    );
    EVENTS_FAILED_AFTER = concat!(
        "SELECT ", log_columns!(), " FROM events v
         WHERE v.tenant_id = $1 AND v.event_id IN (
             SELECT DISTINCT d.event_id FROM deliveries d
             JOIN endpoints p ON p.tenant_id = d.tenant_id AND p.endpoint_id = d.endpoint_id
             WHERE d.tenant_id = $1 AND d.event_id > $2 AND d.state = 'failed' AND p.removed_at IS NULL
               AND ($3 = '' OR d.endpoint_id = $3)
             ORDER BY d.event_id LIMIT $4)
         ORDER BY v.event_id"
    );
    EVENT_LOGGED = concat!(
        "SELECT ", log_columns!(), " FROM events v WHERE v.tenant_id = $1 AND v.event_id = $2"
    );
    EVENTS_OF_SUBJECT = concat!(
        "SELECT ", log_columns!(), " FROM (
             SELECT w.event_id, w.greenpin_id, w.sealed FROM events w
             WHERE w.tenant_id = $1 AND w.event_id > $2 AND w.event_id < $3
             ORDER BY w.event_id LIMIT $4) AS v
         WHERE ($5 = '' AND v.greenpin_id IS NULL) OR v.greenpin_id = $5
         ORDER BY v.event_id"
    );
    EVENT_SELECT =
        concat!("SELECT ", head_columns!(), " FROM events WHERE tenant_id = $1 AND event_id = $2");
    EVENTS_BETWEEN = concat!(
        "SELECT ", head_columns!(), " FROM events
         WHERE tenant_id = $1 AND event_id > $2 AND event_id < $3 ORDER BY event_id LIMIT $4"
    );
    DELIVERIES_FAILED_BETWEEN = concat!(
        "SELECT ", failed_columns!(), " FROM deliveries d
         WHERE d.tenant_id = $1 AND d.event_id >= $2 AND d.event_id <= $3 AND d.state = 'failed'"
    );
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
    DELIVERIES_DUE_ENDPOINTS = concat!(
        "WITH RECURSIVE due (endpoint_id) AS (
             SELECT MIN(endpoint_id) FROM deliveries WHERE state = 'due'
             UNION ALL
             SELECT (SELECT MIN(d.endpoint_id) FROM deliveries d WHERE d.state = 'due' AND d.endpoint_id > due.endpoint_id)
             FROM due WHERE due.endpoint_id IS NOT NULL)
         SELECT ", due_endpoint_columns!(), "
         FROM due JOIN endpoints e ON e.endpoint_id = due.endpoint_id
         WHERE (e.paused = 0 AND e.disabled_at IS NULL) OR e.removed_at IS NOT NULL"
    );
    DELIVERIES_CLAIM = concat!(
        "UPDATE deliveries SET due_at = $1, attempts = attempts + 1, tried_at = COALESCE(tried_at, $2), claimed_by = $3
         WHERE (tenant_id, event_id, endpoint_id) IN (
             SELECT d.tenant_id, d.event_id, d.endpoint_id FROM deliveries d
             WHERE d.state = 'due' AND d.due_at <= $2 AND d.endpoint_id = $4
               AND EXISTS (SELECT 1 FROM endpoints e
                           WHERE e.endpoint_id = $4
                             AND ((e.paused = 0 AND e.disabled_at IS NULL) OR e.removed_at IS NOT NULL))
             ORDER BY d.due_at LIMIT $5)
         RETURNING ", claim_columns!()
    );
    DELIVERY_CONTENT = concat!(
        "SELECT ", content_columns!(), "
         FROM events v JOIN endpoints p ON p.tenant_id = v.tenant_id
         WHERE v.tenant_id = $1 AND v.event_id = $2 AND p.endpoint_id = $3"
    );
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
    DELIVERIES_OPEN = "SELECT CAST(COUNT(*) AS BIGINT) AS count FROM deliveries WHERE state IN ('waiting', 'due')";
    /// `CROSS JOIN` fixes the join order on SQLite, so that only open deliveries of paused or disabled endpoints are
    /// read.
    DELIVERIES_ABANDON =
        "UPDATE deliveries SET state = 'failed', finished_at = $1
         WHERE (tenant_id, event_id, endpoint_id) IN (
             SELECT d.tenant_id, d.event_id, d.endpoint_id FROM endpoints p CROSS JOIN deliveries d
             WHERE (p.paused <> 0 OR p.disabled_at IS NOT NULL)
               AND d.endpoint_id = p.endpoint_id AND d.state IN ('waiting', 'due') AND d.created_at < $2
             LIMIT $3)";
    DELIVERIES_OF_EVENT = concat!(
        "SELECT ", delivery_columns!(), "
         FROM deliveries d LEFT JOIN endpoints p ON p.tenant_id = d.tenant_id AND p.endpoint_id = d.endpoint_id
         WHERE d.tenant_id = $1 AND d.event_id = $2 ORDER BY d.endpoint_id"
    );
    ATTEMPT_INSERT: AtMostOne =
        "INSERT INTO attempts (tenant_id, event_id, endpoint_id, begun_at, latency, status, error, sealed_answer)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (tenant_id, event_id, endpoint_id, begun_at) DO NOTHING";
    ATTEMPTS_OF_EVENT = concat!(
        "SELECT ", attempt_columns!(), " FROM attempts
         WHERE tenant_id = $1 AND event_id = $2 ORDER BY begun_at DESC LIMIT $3"
    );
    ATTEMPTS_DELETE_OLD =
        "DELETE FROM attempts WHERE (tenant_id, event_id, endpoint_id, begun_at) IN (
             SELECT a.tenant_id, a.event_id, a.endpoint_id, a.begun_at FROM attempts a
             WHERE a.begun_at < $1 ORDER BY a.begun_at LIMIT $2)";
    ENDPOINT_SUCCEEDED: AtMostOne =
        "UPDATE endpoints SET failing_since = NULL, failures = 0 WHERE endpoint_id = $1 AND failing_since IS NOT NULL";
    ENDPOINT_FAILED: AtMostOne = concat!(
        "UPDATE endpoints SET failing_since = COALESCE(failing_since, $1), failures = failures + 1
         WHERE endpoint_id = $2 AND disabled_at IS NULL AND removed_at IS NULL
         RETURNING ", failure_columns!()
    );
    ENDPOINT_DISABLE: ExactlyOne = "UPDATE endpoints SET disabled_at = $1 WHERE endpoint_id = $2";
    ENDPOINT_ENABLE: AtMostOne =
        "UPDATE endpoints SET disabled_at = NULL, failing_since = NULL, failures = 0
         WHERE tenant_id = $1 AND endpoint_id = $2 AND removed_at IS NULL";
    ENDPOINT_TO_TEST = concat!(
        "SELECT ", test_endpoint_columns!(), " FROM endpoints
         WHERE tenant_id = $1 AND endpoint_id = $2 AND removed_at IS NULL"
    );
    ENDPOINTS_DISABLED =
        "SELECT CAST(COUNT(*) AS BIGINT) AS count FROM endpoints WHERE disabled_at IS NOT NULL AND removed_at IS NULL";
}
