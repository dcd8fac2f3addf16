UPDATE deliveries SET state = 'failed', finished_at = $1
WHERE (tenant_id, event_id, endpoint_id) IN (
    SELECT d.tenant_id, d.event_id, d.endpoint_id FROM deliveries d
    JOIN endpoints p ON p.endpoint_id = d.endpoint_id
    WHERE d.state IN ('waiting', 'due') AND (p.paused <> 0 OR p.disabled_at IS NOT NULL) AND d.created_at < $2
    LIMIT $3)
