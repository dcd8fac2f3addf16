UPDATE deliveries SET state = 'failed', finished_at = $1
WHERE (tenant_id, event_id, endpoint_id) IN (
    /* SQLite: CROSS JOIN keeps this order, so that only what waits for an endpoint that takes nothing is looked at. */
    SELECT d.tenant_id, d.event_id, d.endpoint_id FROM endpoints p CROSS JOIN deliveries d
    WHERE (p.paused <> 0 OR p.disabled_at IS NOT NULL)
      AND d.endpoint_id = p.endpoint_id AND d.state IN ('waiting', 'due') AND d.created_at < $2
    LIMIT $3)
