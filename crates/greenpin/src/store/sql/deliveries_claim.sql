UPDATE deliveries SET due_at = $1, attempts = attempts + 1
WHERE (tenant_id, event_id, endpoint_id) IN (
    SELECT d.tenant_id, d.event_id, d.endpoint_id FROM deliveries d
    JOIN endpoints e ON e.tenant_id = d.tenant_id AND e.endpoint_id = d.endpoint_id
    WHERE d.state = 'due' AND d.due_at <= $2 AND (e.paused = 0 OR e.removed_at IS NOT NULL)
    ORDER BY d.due_at LIMIT $3)
RETURNING tenant_id, event_id, endpoint_id, queue, attempts, created_at
