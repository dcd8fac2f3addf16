UPDATE deliveries SET due_at = $1, attempts = attempts + 1, tried_at = COALESCE(tried_at, $2), claimed_by = $3
WHERE (tenant_id, event_id, endpoint_id) IN (
    SELECT d.tenant_id, d.event_id, d.endpoint_id FROM deliveries d
    WHERE d.state = 'due' AND d.due_at <= $2 AND d.endpoint_id = $4
      AND EXISTS (SELECT 1 FROM endpoints e
                  WHERE e.endpoint_id = $4
                    AND ((e.paused = 0 AND e.disabled_at IS NULL) OR e.removed_at IS NOT NULL))
    ORDER BY d.due_at LIMIT $5)
RETURNING tenant_id, event_id, endpoint_id, queue, attempts, created_at, tried_at
